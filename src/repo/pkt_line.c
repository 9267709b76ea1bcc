// git's pkt-lines, read strictly: the head of a push decides what is built.
#include "repo/pkt_line.h"

#include "base/str.h"

#include <stdio.h>
#include <string.h>

enum { PKT_HEAD = 4, HEX = 40, REF_MAX = 1024, ID_MAX = 64, DEPLOYMENT_SIZE_MAX = 16 };

static int pkt_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

pkt_kind pkt_cut(str *in, str *line)
{
    size_t size = 0;
    for (size_t i = 0; i < PKT_HEAD && i < in->len; i++) {
        int digit = pkt_digit(in->at[i]);
        if (digit < 0)
            return PKT_BAD;
        size = size * 16 + (size_t)digit;
    }
    if (in->len < PKT_HEAD)
        return PKT_MORE;
    if (size == 0) {
        *in = str_from(*in, PKT_HEAD);
        *line = (str){NULL, 0};
        return PKT_FLUSH;
    }
    if (size < PKT_HEAD ||
        size > PKT_DATA_MAX + PKT_HEAD) // 1 and 2 have a meaning in protocol v2 alone
        return PKT_BAD;
    if (in->len < size)
        return PKT_MORE;
    *line = str_from(str_first(*in, size), PKT_HEAD);
    *in = str_from(*in, size);
    return PKT_LINE;
}

void pkt_add(buf *out, str line)
{
    buf_add_format(out, "%04zx", line.len + PKT_HEAD);
    buf_add(out, line);
}

void pkt_add_format(buf *out, const char *format, ...)
{
    char line[4096];
    va_list list;
    va_start(list, format);
    int n = vsnprintf(line, sizeof(line), format, list);
    va_end(list);
    if (n > 0)
        pkt_add(out, (str){line, (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1});
}

void pkt_add_flush(buf *out)
{
    buf_add(out, STR("0000"));
}

void pkt_add_band(buf *out, char band, str bytes)
{
    while (bytes.len > 0) {
        str piece = str_first(bytes, PKT_DATA_MAX - 1);
        bytes = str_from(bytes, piece.len);
        buf_add_format(out, "%04zx%c", piece.len + PKT_HEAD + 1, band);
        buf_add(out, piece);
    }
}

static bool pkt_is_commit(str text)
{
    if (text.len != HEX)
        return false;
    for (size_t i = 0; i < HEX; i++)
        if (pkt_digit(text.at[i]) < 0 || (text.at[i] >= 'A' && text.at[i] <= 'F'))
            return false;
    return true;
}

static str pkt_without_newline(str line)
{
    return str_ends(line, STR("\n")) ? str_first(line, line.len - 1) : line;
}

static const char *push_capabilities(str list, push_head *h)
{
    while (list.len > 0) {
        str word = str_cut(&list, ' ');
        if (str_is(word, STR("report-status")) || str_is(word, STR("report-status-v2")))
            h->report_status = true;
        else if (str_is(word, STR("side-band-64k")))
            h->side_band = true;
        else if (str_is(word, STR("atomic")))
            h->atomic = true;
        else if (str_is(word, STR("push-options")))
            h->push_options = true;
        else if (str_starts(word, STR("object-format=")) &&
                 !str_is(word, STR("object-format=sha1")))
            return "this repository's objects are named by SHA-1";
    }
    return NULL;
}

static const char *push_command_read(str line, push_command *out)
{
    str rest = line;
    out->before = str_cut(&rest, ' ');
    out->after = str_cut(&rest, ' ');
    out->ref = rest;
    if (!pkt_is_commit(out->before) || !pkt_is_commit(out->after))
        return "a push's command is OLD NEW REF";
    if (rest.len == 0 || rest.len > REF_MAX)
        return "a ref's name is empty or too long";
    for (size_t i = 0; i < rest.len; i++)
        if ((unsigned char)rest.at[i] <= ' ' || rest.at[i] == 0x7f)
            return "a ref's name holds a blank or a control character";
    return NULL;
}

static const char *push_option_read(str option, push_head *h)
{
    if (!str_starts(option, STR("deployment=")))
        return NULL; // somebody else's
    str size = str_from(option, STR("deployment=").len);
    str id = str_cut(&size, '/');
    const char *wrong = "the push option is deployment=ID/N, with N from 1 to 16";
    if (id.len == 0 || id.len > ID_MAX || str_number(size, &h->deployment_size).code != OK ||
        h->deployment_size < 1 || h->deployment_size > DEPLOYMENT_SIZE_MAX)
        return wrong;
    for (size_t i = 0; i < id.len; i++) {
        char c = id.at[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
              c == '-' || c == '_'))
            return wrong;
    }
    h->deployment = id;
    return NULL;
}

// One line of the first section. The first command brings the capabilities.
static const char *push_line(str line, push_head *h, push_command *commands)
{
    line = pkt_without_newline(line);
    if (str_starts(line, STR("shallow ")))
        return pkt_is_commit(str_from(line, 8)) ? NULL : "a shallow line names a commit";
    size_t end = str_find_byte(line, '\0');
    if (end < line.len && h->count > 0)
        return "capabilities stand behind the first command only";
    if (end < line.len) {
        const char *why = push_capabilities(str_from(line, end + 1), h);
        if (why != NULL)
            return why;
    }
    line = str_first(line, end);
    if (str_is(line, STR("push-cert")))
        return "signed pushes are not taken here";
    push_command c;
    const char *why = push_command_read(line, &c);
    if (why != NULL)
        return why;
    if (h->count >= PUSH_COMMANDS_MAX)
        return "a push changes at most 10,000 refs";
    if (commands != NULL)
        commands[h->count] = c;
    h->count++;
    return NULL;
}

// Once to see whether all is there and how many commands there are, then again to keep them.
static push_head_result
push_head_scan(str bytes, push_command *commands, push_head *h, const char **why)
{
    *h = (push_head){.commands = commands};
    str line;
    pkt_kind kind;
    while ((kind = pkt_cut(&bytes, &line)) == PKT_LINE) {
        *why = push_line(line, h, commands);
        if (*why != NULL)
            return PUSH_HEAD_BAD;
    }
    if (kind == PKT_FLUSH && h->count > 0 && h->push_options) {
        size_t options = 0;
        while ((kind = pkt_cut(&bytes, &line)) == PKT_LINE) {
            *why = ++options > PUSH_OPTIONS_MAX ? "a push has at most 64 options"
                                                : push_option_read(pkt_without_newline(line), h);
            if (*why != NULL)
                return PUSH_HEAD_BAD;
        }
    }
    if (kind == PKT_FLUSH)
        return PUSH_HEAD_WHOLE;
    *why = "this is no pkt-line";
    return kind == PKT_MORE ? PUSH_HEAD_MORE : PUSH_HEAD_BAD;
}

push_head_result push_head_read(arena *a, str bytes, push_head *out, const char **why)
{
    push_head h;
    push_head_result result = push_head_scan(bytes, NULL, &h, why);
    if (result == PUSH_HEAD_MORE && bytes.len >= PUSH_HEAD_MAX) {
        *why = "a push's commands are at most 1 MiB";
        return PUSH_HEAD_BAD;
    }
    if (result != PUSH_HEAD_WHOLE)
        return result;
    push_command *commands = arena_take(a, (h.count + 1) * sizeof(*commands));
    if (commands == NULL) {
        *why = "out of memory";
        return PUSH_HEAD_BAD;
    }
    return push_head_scan(bytes, commands, out, why);
}

bool push_answer_split(str answer, bool side_band, buf *shown, buf *report)
{
    if (!side_band) {
        buf_add(report, answer);
        return true;
    }
    str line;
    pkt_kind kind;
    while ((kind = pkt_cut(&answer, &line)) == PKT_LINE) {
        if (line.len == 0)
            return false;
        if (line.at[0] == 1)
            buf_add(report, str_from(line, 1));
        else
            pkt_add(shown, line);
    }
    return kind == PKT_FLUSH;
}

void push_report_rewrite(str report, const char *(*why)(void *data, str ref), void *data, buf *out)
{
    str line;
    while (pkt_cut(&report, &line) == PKT_LINE) {
        str ref = pkt_without_newline(line);
        const char *text = NULL;
        if (str_starts(ref, STR("ok "))) {
            ref = str_from(ref, 3);
            text = why(data, ref);
        }
        if (text != NULL)
            pkt_add_format(out, "ng %.*s %s\n", STR_ARG(ref), text);
        else
            pkt_add(out, line);
    }
    pkt_add_flush(out);
}
