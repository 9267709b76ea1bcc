// Reads names and values out of a URL's raw query.
#include "base/str.h"
#include "vm/vm_inner.h"

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// Appends the decoded text; false (and nothing appended) for a broken escape: such a pair is left
// out.
static bool query_decode(str text, buf *out)
{
    size_t before = out->len;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.at[i];
        if (c == '+') {
            c = ' ';
        } else if (c == '%') {
            int high = i + 2 < text.len ? hex_value(text.at[i + 1]) : -1;
            int low = i + 2 < text.len ? hex_value(text.at[i + 2]) : -1;
            if (high < 0 || low < 0) {
                out->len = before;
                return false;
            }
            c = (char)(high << 4 | low);
            i += 2;
        }
        buf_add_byte(out, c);
    }
    return true;
}

// Cuts the next pair with a name off `rest`.
static bool query_next(str *rest, str *name, str *value)
{
    while (rest->at != NULL) {
        str pair = str_cut(rest, '&');
        if (pair.len == 0)
            continue;
        *value = pair;
        *name = str_cut(value, '=');
        return true;
    }
    return false;
}

bool query_value(str query, str key, buf *out)
{
    str name, value;
    str rest = query;
    while (query_next(&rest, &name, &value)) {
        buf_clear(out);
        if (!query_decode(name, out) || !str_is(buf_str(out), key))
            continue;
        buf_clear(out);
        if (query_decode(value, out))
            return true;
    }
    buf_clear(out);
    return false;
}

static bool list_has(str list, str entry)
{
    while (list.len > 0)
        if (str_is(str_cut(&list, '\0'), entry))
            return true;
    return false;
}

void query_keys(str query, buf *out)
{
    str name, value;
    str rest = query;
    buf_clear(out);
    for (int count = 0; count < LIST_ENTRIES_MAX && query_next(&rest, &name, &value); count++) {
        size_t before = out->len;
        if (!query_decode(name, out))
            continue;
        if (out->error.code != OK)
            return;
        str key = {out->len > 0 ? out->at + before : NULL, out->len - before};
        if (list_has((str){out->at, before}, key))
            out->len = before;
        else
            buf_add_byte(out, '\0');
    }
}
