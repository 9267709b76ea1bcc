// Any text as a deny list: read or refused with a place, never more entries than lines.
#include "mesh/deny.h"

#include "base/str.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    str text = {(const char *)data, size};
    size_t count, line, lines = 1;
    const char *reason;
    for (size_t i = 0; i < size; i++)
        lines += data[i] == '\n';
    err e = deny_check(text, &count, &line, &reason);
    if (e.code == ERR_SYNTAX && (reason == NULL || line == 0 || line > lines || count != 0))
        abort();
    if (e.code == OK && (reason != NULL || line != 0 || count > lines))
        abort();
    return 0;
}
