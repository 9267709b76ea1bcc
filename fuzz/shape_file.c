// Fuzzes shape files: whatever is accepted is written back to the same shape.
#include "model/shape_file.h"

#include "base/str.h"

#include <stdlib.h>

enum { MEMORY_BYTES = 64 << 20, INPUT_BYTES_MAX = 70 * 1024 };

static void must(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    OWNED(arena_drop) arena *a = NULL;
    OWNED(buf_close) buf once, twice;
    diagnoses found;
    shape first, second;
    buf_open(&once, 1 << 20);
    buf_open(&twice, 1 << 20);
    if (size > INPUT_BYTES_MAX || arena_open(&a, MEMORY_BYTES).code != OK)
        return 0;
    diagnoses_init(&found, a, 100);
    err e = shape_read(a, STR("a.yaml"), (str){(const char *)bytes, size}, &found, &first);
    must(e.code == ERR_MEMORY || (e.code == OK) == (found.count == 0));
    if (e.code != OK)
        return 0;
    shape_write(&once, &first);
    must(once.error.code == OK);
    e = shape_read(a, STR("b.yaml"), buf_str(&once), &found, &second);
    must(e.code == OK || e.code == ERR_MEMORY);
    if (e.code != OK)
        return 0;
    shape_write(&twice, &second);
    must(str_is(buf_str(&once), buf_str(&twice)));
    return 0;
}
