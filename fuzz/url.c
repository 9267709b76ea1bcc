// Clean paths are a fixed point without dot segments, and what we encode decodes to itself.
#include "http/url.h"

#include "base/str.h"

#include <stdlib.h>

static void path_check(arena *a, str path)
{
    str clean, again;
    if (http_path_clean(a, path, &clean).code != OK)
        return;
    if (clean.len == 0 || clean.at[0] != '/' || clean.at[clean.len] != 0)
        abort();
    for (size_t i = 0; i < clean.len; i++)
        if ((unsigned char)clean.at[i] < 0x20 || clean.at[i] == '\\')
            abort();
    for (str rest = str_from(clean, 1); rest.at != NULL;) {
        str segment = str_cut(&rest, '/');
        if (str_is(segment, STR("..")) || str_is(segment, STR(".")) ||
            (segment.len == 0 && rest.at != NULL))
            abort();
    }
    // A path that was cleaned is decoded: as a path of its own it is clean if no '%' is left in it.
    if (str_find_byte(clean, '%') == clean.len &&
        (http_path_clean(a, clean, &again).code != OK || !str_is(clean, again)))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    OWNED(arena_drop) arena *a = NULL;
    str text = {(const char *)data, size}, decoded, name, value;
    if (size > 4096 || arena_open(&a, 1024 * 1024).code != OK)
        return 0;
    path_check(a, text);
    if (http_decode(a, text, true, &decoded).code == OK && decoded.len > text.len)
        abort();
    str encoded = http_encode(a, text);
    if (http_decode(a, encoded, false, &decoded).code != OK || !str_is(decoded, text))
        abort();
    for (str rest = text; http_query_next(&rest, &name, &value);)
        (void)http_query_value(a, text, name);
    return 0;
}
