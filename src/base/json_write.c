// Writes JSON into a buffer and places the commas.
#include "base/json.h"
#include "base/str.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static void json_add_text(buf *out, str s)
{
    static const char digits[] = "0123456789abcdef";
    static const char letters[32] = {
        ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
    size_t from = 0; // bytes before it are written
    size_t at = 0;
    buf_add_byte(out, '"');
    while (at < s.len) {
        unsigned char c = (unsigned char)s.at[at];
        size_t len = c < 0x80 ? 1 : str_utf8_len(s, at);
        if (len > 0 && c >= ' ' && c != '"' && c != '\\') {
            at += len;
            continue;
        }
        buf_add(out, (str){s.at + from, at - from});
        if (len == 0)
            buf_add(out, STR("\xEF\xBF\xBD"));
        else if (c >= ' ')
            buf_add(out, (str){(char[]){'\\', (char)c}, 2});
        else if (letters[c] != 0)
            buf_add(out, (str){(char[]){'\\', letters[c]}, 2});
        else
            buf_add(out, (str){(char[]){'\\', 'u', '0', '0', digits[c >> 4], digits[c & 15]}, 6});
        from = ++at;
    }
    if (from < s.len)
        buf_add(out, (str){s.at + from, s.len - from});
    buf_add_byte(out, '"');
}

// What stands before each value: a comma when one is due, and the name.
static void json_start(json_writer *w, const char *name)
{
    if (w->comma)
        buf_add_byte(w->out, ',');
    w->comma = true;
    if (name == NULL)
        return;
    json_add_text(w->out, str_of(name));
    buf_add_byte(w->out, ':');
}

void json_open_object(json_writer *w, const char *name)
{
    json_start(w, name);
    buf_add_byte(w->out, '{');
    w->comma = false;
}

void json_close_object(json_writer *w)
{
    buf_add_byte(w->out, '}');
    w->comma = true;
}

void json_open_list(json_writer *w, const char *name)
{
    json_start(w, name);
    buf_add_byte(w->out, '[');
    w->comma = false;
}

void json_close_list(json_writer *w)
{
    buf_add_byte(w->out, ']');
    w->comma = true;
}

void json_put_text(json_writer *w, const char *name, str value)
{
    json_start(w, name);
    json_add_text(w->out, value);
}

void json_put_whole(json_writer *w, const char *name, uint64_t value)
{
    char digits[20];
    size_t at = sizeof(digits);
    do
        digits[--at] = (char)('0' + value % 10);
    while ((value /= 10) > 0);
    json_start(w, name);
    buf_add(w->out, (str){digits + at, sizeof(digits) - at});
}

// The shortest text that reads back as the same number; NaN and infinities have none: null.
void json_put_real(json_writer *w, const char *name, double value)
{
    char text[32] = "null";
    for (int digits = 15; isfinite(value) && digits <= 17; digits++) {
        (void)snprintf(text, sizeof(text), "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    json_start(w, name);
    buf_add(w->out, str_of(text));
}

void json_put_flag(json_writer *w, const char *name, bool value)
{
    json_start(w, name);
    buf_add(w->out, value ? STR("true") : STR("false"));
}

void json_put_null(json_writer *w, const char *name)
{
    json_start(w, name);
    buf_add(w->out, STR("null"));
}

void json_put_raw(json_writer *w, const char *name, str already_json)
{
    json_start(w, name);
    buf_add(w->out, already_json);
}
