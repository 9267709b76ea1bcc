// Slices that live in an arena: copies, joins, formatted text.
#include "base/str.h"

#include <stdio.h>
#include <string.h>

static char *str_take(arena *a, size_t len)
{
    return len == SIZE_MAX ? NULL : arena_take(a, len + 1);
}

str str_copy(arena *a, str s)
{
    char *copy = str_take(a, s.len);
    if (copy == NULL)
        return (str){NULL, 0};
    if (s.len > 0)
        memcpy(copy, s.at, s.len);
    return (str){copy, s.len};
}

const char *str_c(arena *a, str s)
{
    return str_copy(a, s).at;
}

str str_lower(arena *a, str s)
{
    char *copy = str_take(a, s.len);
    if (copy == NULL)
        return (str){NULL, 0};
    for (size_t i = 0; i < s.len; i++)
        copy[i] = s.at[i] >= 'A' && s.at[i] <= 'Z' ? (char)(s.at[i] + ('a' - 'A')) : s.at[i];
    return (str){copy, s.len};
}

str str_join(arena *a, const str *parts, size_t count, str between)
{
    size_t len = 0;
    for (size_t i = 0; i < count; i++)
        if (__builtin_add_overflow(len, parts[i].len, &len) ||
            (i > 0 && __builtin_add_overflow(len, between.len, &len)))
            return (str){NULL, 0};
    char *all = str_take(a, len);
    if (all == NULL)
        return (str){NULL, 0};
    char *end = all;
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && between.len > 0)
            end = mempcpy(end, between.at, between.len);
        if (parts[i].len > 0)
            end = mempcpy(end, parts[i].at, parts[i].len);
    }
    return (str){all, len};
}

str str_format_list(arena *a, const char *format, va_list list)
{
    char small[256];
    va_list again;
    va_copy(again, list);
    int len = vsnprintf(small, sizeof(small), format, list);
    char *text = len < 0 ? NULL : str_take(a, (size_t)len);
    if (text != NULL && (size_t)len < sizeof(small))
        memcpy(text, small, (size_t)len);
    else if (text != NULL)
        (void)vsnprintf(text, (size_t)len + 1, format, again);
    va_end(again);
    return (str){text, text == NULL ? 0 : (size_t)len};
}

str str_format(arena *a, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    str text = str_format_list(a, format, list);
    va_end(list);
    return text;
}

str str_printable(arena *a, str s)
{
    static const char digits[] = "0123456789abcdef";
    size_t want = 0;
    for (size_t at = 0; at < s.len;) {
        size_t len = str_printable_len(s, at);
        want += len == 0 ? 4 : len;
        at += len == 0 ? 1 : len;
    }
    char *text = str_take(a, want);
    if (text == NULL)
        return (str){NULL, 0};
    char *end = text;
    for (size_t at = 0; at < s.len;) {
        size_t len = str_printable_len(s, at);
        if (len > 0) {
            end = mempcpy(end, s.at + at, len);
            at += len;
            continue;
        }
        unsigned char c = (unsigned char)s.at[at++];
        end = mempcpy(end, (char[]){'\\', 'x', digits[c >> 4], digits[c & 15]}, 4);
    }
    return (str){text, want};
}
