// Paths and queries of request targets: decoding, encoding and the normal form of paths.
#include "http/url.h"

#include "base/str.h"

#include <string.h>

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// The byte of the escape at text[i], which is '%'; -1 when it is none.
static int escape_read(str text, size_t i)
{
    if (text.len - i < 3)
        return -1;
    int high = hex_value(text.at[i + 1]), low = hex_value(text.at[i + 2]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

err http_decode(arena *a, str text, bool plus_is_blank, str *out)
{
    char *decoded = arena_take(a, text.len + 1);
    if (decoded == NULL)
        return fail(ERR_MEMORY, 0, "decode");
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.at[i];
        if (c == '%') {
            int byte = escape_read(text, i);
            if (byte < 0)
                return fail(ERR_SYNTAX, 0, "bad percent escape");
            c = (char)byte;
            i += 2;
        } else if (c == '+' && plus_is_blank) {
            c = ' ';
        }
        decoded[len++] = c;
    }
    decoded[len] = 0;
    *out = (str){decoded, len};
    return ok();
}

static bool unreserved(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

str http_encode(arena *a, str text)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++)
        len += unreserved(text.at[i]) ? 1 : 3;
    char *encoded = arena_take(a, len + 1);
    if (encoded == NULL)
        return (str){NULL, 0};
    char *p = encoded;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.at[i];
        if (unreserved((char)c)) {
            *p++ = (char)c;
        } else {
            *p++ = '%';
            *p++ = digits[c >> 4];
            *p++ = digits[c & 15];
        }
    }
    *p = 0;
    return (str){encoded, len};
}

bool http_query_next(str *rest, str *name, str *value)
{
    while (rest->at != NULL) {
        str pair = str_cut(rest, '&');
        if (pair.len == 0)
            continue;
        *name = str_cut(&pair, '=');
        *value = pair.at == NULL ? (str){"", 0} : pair;
        return true;
    }
    return false;
}

str http_query_value(arena *a, str query, str name)
{
    str rest = query, raw, value, decoded;
    while (http_query_next(&rest, &raw, &value)) {
        if (!str_is(raw, name)) {
            // A decoded name is never longer than the raw one.
            if (raw.len <= name.len || memchr(raw.at, '%', raw.len) == NULL)
                continue;
            if (http_decode(a, raw, true, &decoded).code != OK || !str_is(decoded, name))
                continue;
        }
        if (http_decode(a, value, true, &decoded).code == OK)
            return decoded;
    }
    return (str){NULL, 0};
}

// Appends one decoded segment to out[0, *len), which ends in '/'. False for what may not be in a
// path.
static bool segment_add(char *out, size_t *len, str raw, bool last)
{
    size_t start = *len, at = start;
    for (size_t i = 0; i < raw.len; i++) {
        int c = (unsigned char)raw.at[i];
        if (c == '%') {
            c = escape_read(raw, i);
            i += 2;
        }
        // An encoded slash or NUL would mean one thing to us and another to a file system.
        if (c < 0x20 || c == 0x7f || c == '/' || c == '\\')
            return false;
        out[at++] = (char)c;
    }
    size_t size = at - start;
    if (size == 0 || (size == 1 && out[start] == '.'))
        return true;
    if (size == 2 && out[start] == '.' && out[start + 1] == '.') {
        if (start == 1)
            return false;
        for (start--; out[start - 1] != '/';)
            start--;
        *len = start;
        return true;
    }
    if (!last)
        out[at++] = '/';
    *len = at;
    return true;
}

err http_path_clean(arena *a, str path, str *out)
{
    if (path.len == 0 || path.at[0] != '/')
        return fail(ERR_SYNTAX, 0, "path does not start with a slash");
    char *clean = arena_take(a, path.len + 2);
    if (clean == NULL)
        return fail(ERR_MEMORY, 0, "clean path");
    size_t len = 1;
    clean[0] = '/';
    for (str rest = str_from(path, 1); rest.at != NULL;) {
        str segment = str_cut(&rest, '/');
        if (!segment_add(clean, &len, segment, rest.at == NULL))
            return fail(ERR_SYNTAX, 0, "bad path");
    }
    clean[len] = 0;
    *out = (str){clean, len};
    return ok();
}
