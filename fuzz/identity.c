// Any text as the identity of a node: what is read is the text again, and elders are elders alone.
#include "mesh/identity.h"

#include "base/str.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    OWNED(arena_drop) arena *a = NULL;
    str text = {(const char *)data, size};
    identity i;
    if (arena_open(&a, 64 << 10).code != OK || identity_read(text, &i).code != OK)
        return 0;
    str again = str_format(a, "ctau://%.*s/%.*s/%.*s", STR_ARG(i.universe), STR_ARG(i.node),
                           STR_ARG(i.protocols));
    if (!str_is(again, text) || str_find_byte(i.node, '.') < i.node.len ||
        str_find_byte(i.node, '*') < i.node.len || str_is(i.node, STR("any")))
        abort();
    if (identity_is_elder(&i) &&
        (identity_has(&i, STR("auth")) || identity_may(&i, STR("tns.get"))))
        abort();
    return 0;
}
