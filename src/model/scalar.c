// Writes one scalar: plain where that reads back as the same text, quoted where it would not.
#include "base/str.h"
#include "model/yaml_inner.h"

#include <string.h>

// Characters that YAML or a terminal takes for something else, NEL, LS, PS and BOM among them.
static size_t special_at(str s, size_t at, unsigned *code)
{
    unsigned char c = (unsigned char)s.at[at];
    *code = c;
    if (c < 0x20 || c == 0x7f)
        return 1;
    if (c == 0xc2 && at + 1 < s.len && (unsigned char)s.at[at + 1] < 0xa0) {
        *code = (unsigned char)s.at[at + 1];
        return 2;
    }
    str rest = str_first(str_from(s, at), 3);
    if (str_is(rest, STR("\xe2\x80\xa8")) || str_is(rest, STR("\xe2\x80\xa9"))) {
        *code = 0x2000 + ((unsigned char)rest.at[2] & 0x3f);
        return 3;
    }
    if (str_is(rest, STR("\xef\xbb\xbf"))) {
        *code = 0xfeff;
        return 3;
    }
    return 0;
}

static bool is_printable(str s)
{
    unsigned code;
    for (size_t i = 0; i < s.len; i++)
        if (special_at(s, i, &code) > 0)
            return false;
    return true;
}

// Whether a YAML reader would take the plain text for a number, a flag, a date or nothing.
static bool is_ambiguous(str s)
{
    static const char *const words[] = {"~",  "null", "true", "false", "yes", "no",
                                        "on", "off",  "y",    "n",     "<<",  "="};
    for (size_t i = 0; i < COUNT(words); i++)
        if (str_is_nocase(s, str_of(words[i])))
            return true;
    bool digit = false;
    for (size_t i = 0; i < s.len; i++) {
        if (strchr("0123456789abcdefABCDEFxXoO_+-.:TZ ", s.at[i]) == NULL)
            return false;
        digit = digit || (s.at[i] >= '0' && s.at[i] <= '9');
    }
    return digit || str_is_nocase(s, STR(".nan"));
}

static bool is_plain(str s, bool flow, bool bare)
{
    if (s.len == 0 || !is_printable(s))
        return false;
    if (strchr("-?:,[]{}#&*!|>'\"%@` ", s.at[0]) != NULL || s.at[s.len - 1] == ' ')
        return bare && s.at[0] == '-' && s.len > 1 && s.at[1] >= '0' && s.at[1] <= '9';
    for (size_t i = 0; i < s.len; i++) {
        char next = ' ';
        if (i + 1 < s.len)
            next = s.at[i + 1];
        if ((s.at[i] == ':' && next == ' ') || (s.at[i] == ' ' && next == '#'))
            return false;
        if (flow && strchr(",[]{}", s.at[i]) != NULL)
            return false;
    }
    return bare || !is_ambiguous(s);
}

static void write_single(buf *out, str text)
{
    buf_add_byte(out, '\'');
    for (size_t i = 0; i < text.len; i++) {
        buf_add_byte(out, text.at[i]);
        if (text.at[i] == '\'')
            buf_add_byte(out, '\'');
    }
    buf_add_byte(out, '\'');
}

static void write_double(buf *out, str text)
{
    buf_add_byte(out, '"');
    for (size_t i = 0; i < text.len; i++) {
        unsigned code = 0;
        size_t special = special_at(text, i, &code);
        if (text.at[i] == '"' || text.at[i] == '\\')
            buf_add_format(out, "\\%c", text.at[i]);
        else if (text.at[i] == '\n')
            buf_add(out, STR("\\n"));
        else if (text.at[i] == '\t')
            buf_add(out, STR("\\t"));
        else if (special > 0)
            buf_add_format(out, "\\u%04x", code);
        else
            buf_add_byte(out, text.at[i]);
        i += special > 1 ? special - 1 : 0;
    }
    buf_add_byte(out, '"');
}

void scalar_write(buf *out, str text, char style, bool flow, bool bare)
{
    bool quoted = style == '\'' || style == '"';
    if ((bare || !quoted) && is_plain(text, flow, bare))
        buf_add(out, text);
    else if (style != '"' && is_printable(text))
        write_single(out, text);
    else
        write_double(out, text);
}
