// Walks the archive that tools/pack makes: two lengths, path, NUL, bytes, NUL, again and again.
#include "base/assets.h"

#include "base/str.h"

#include <assert.h>
#include <string.h>

// Weak, since a test program may have nothing embedded: both are NULL then.
extern const char assets_begin[] __attribute__((weak));
extern const char assets_end[] __attribute__((weak));

static size_t assets_number(const char *at)
{
    const unsigned char *byte = (const unsigned char *)at;
    return byte[0] | (size_t)byte[1] << 8 | (size_t)byte[2] << 16 | (size_t)byte[3] << 24;
}

bool assets_next(size_t *at, str *path, str *bytes)
{
    size_t all = (size_t)((uintptr_t)assets_end - (uintptr_t)assets_begin);
    if (*at >= all)
        return false;
    assert(all - *at >= 8); // our own build made it
    const char *head = assets_begin + *at;
    path->len = assets_number(head);
    bytes->len = assets_number(head + 4);
    assert(path->len + bytes->len + 10 <= all - *at);
    path->at = head + 8;
    bytes->at = path->at + path->len + 1;
    *at += path->len + bytes->len + 10;
    return true;
}

str assets_find(const char *path)
{
    str wanted = str_of(path);
    str name;
    str bytes;
    for (size_t at = 0; assets_next(&at, &name, &bytes);)
        if (str_is(name, wanted))
            return bytes;
    return (str){0};
}
