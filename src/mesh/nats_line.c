// Reads what a NATS server says: lines, and the payloads that some of them announce.
//
// The happy path is: a line and its payload lie whole in the bytes that came, and are given out
// where they are. Otherwise they are gathered in `kept` first. What can fail: grammar, limits,
// memory.
#include "mesh/nats_line.h"

#include "base/str.h"

#include <string.h>

enum { KEPT_BYTES_IDLE = 64 << 10, HEADERS_BYTES_MIN = 12 }; // "NATS/1.0" and two CR LF

// What a MSG or HMSG line announces.
typedef struct line_sizes {
    uint64_t headers, total;
    bool has_body;
} line_sizes;

void nats_line_open(nats_line *l, size_t payload_bytes_max)
{
    *l = (nats_line){.payload_bytes_max = payload_bytes_max};
    nats_line_limit(l, payload_bytes_max);
}

void nats_line_limit(nats_line *l, size_t payload_bytes_max)
{
    l->payload_bytes_max = payload_bytes_max;
    l->kept.bytes_max = payload_bytes_max + 2 + NATS_INFO_BYTES_MAX;
}

void nats_line_close(nats_line *l)
{
    buf_close(&l->kept);
}

static bool line_is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static str line_word(str *rest)
{
    size_t at = 0;
    while (at < rest->len && line_is_blank(rest->at[at]))
        at++;
    size_t end = at;
    while (end < rest->len && !line_is_blank(rest->at[end]))
        end++;
    str word = {rest->at + at, end - at};
    *rest = str_from(*rest, end);
    return word;
}

bool nats_subject_is(str subject, bool wild)
{
    size_t token = 0; // bytes of it so far
    for (size_t i = 0; i < subject.len; i++) {
        unsigned char c = (unsigned char)subject.at[i];
        if (c <= ' ' || c == 0x7f)
            return false;
        bool last = i + 1 == subject.len;
        bool alone = token == 0 && (last || subject.at[i + 1] == '.');
        if (alone && c == '*' && !wild)
            return false;
        if (alone && c == '>' && !(wild && last))
            return false;
        if (c == '.' && (token == 0 || last))
            return false;
        token = c == '.' ? 0 : token + 1;
    }
    return subject.len > 0;
}

bool nats_subject_match(str pattern, str subject)
{
    while (pattern.at != NULL && subject.at != NULL) {
        str want = str_cut(&pattern, '.');
        if (str_is(want, STR(">")) && pattern.at == NULL)
            return subject.len > 0;
        str have = str_cut(&subject, '.');
        if (have.len == 0 || (!str_is(want, STR("*")) && !str_is(want, have)))
            return false;
    }
    return pattern.at == NULL && subject.at == NULL;
}

static err line_number(str word, uint64_t *out, const char *what)
{
    return str_number(word, out).code == OK ? ok() : fail(ERR_SYNTAX, 0, what);
}

// "subject sid [reply] size" and "subject sid [reply] headers total".
static err line_read_message(str rest, bool headers, nats_event *out, line_sizes *sizes)
{
    str words[NATS_WORDS_MAX];
    size_t count = 0;
    for (str word; (word = line_word(&rest)).len > 0; count++) {
        if (count == NATS_WORDS_MAX)
            return fail(ERR_SYNTAX, 0, "NATS: too many words before a payload");
        words[count] = word;
    }
    size_t least = headers ? 4 : 3;
    if (count < least || count > least + 1)
        return fail(ERR_SYNTAX, 0, "NATS: wrong count of words before a payload");
    out->subject = words[0];
    out->reply = count > least ? words[2] : STR("");
    if (!nats_subject_is(out->subject, false))
        return fail(ERR_SYNTAX, 0, "NATS: not a subject");
    TRY(line_number(words[1], &out->subscription, "NATS: not a subscription's number"));
    TRY(line_number(words[count - 1], &sizes->total, "NATS: not a payload's size"));
    if (headers)
        TRY(line_number(words[count - 2], &sizes->headers, "NATS: not the size of headers"));
    if (headers && (sizes->headers < HEADERS_BYTES_MIN || sizes->headers > sizes->total))
        return fail(ERR_SYNTAX, 0, "NATS: size of headers out of range");
    sizes->has_body = true;
    out->kind = NATS_MESSAGE;
    return ok();
}

static err line_read_error(str rest, nats_event *out)
{
    out->kind = NATS_ERROR;
    out->text = str_trim(rest);
    if (out->text.len >= 2 && str_starts(out->text, STR("'")) && str_ends(out->text, STR("'")))
        out->text = (str){out->text.at + 1, out->text.len - 2};
    return ok();
}

// `line` without its CR LF.
static err line_read(str line, nats_event *out, line_sizes *sizes)
{
    *out = (nats_event){.kind = NATS_NOTHING};
    *sizes = (line_sizes){.headers = 0};
    str rest = line, verb = line_word(&rest);
    if (str_is_nocase(verb, STR("MSG")))
        return line_read_message(rest, false, out, sizes);
    if (str_is_nocase(verb, STR("HMSG")))
        return line_read_message(rest, true, out, sizes);
    if (str_is_nocase(verb, STR("-ERR")))
        return line_read_error(rest, out);
    if (str_is_nocase(verb, STR("INFO"))) {
        out->kind = NATS_INFO;
        out->text = str_trim(rest);
        return out->text.len > 0 ? ok() : fail(ERR_SYNTAX, 0, "NATS: INFO without its JSON");
    }
    if (str_is_nocase(verb, STR("PING")))
        out->kind = NATS_PING;
    else if (str_is_nocase(verb, STR("PONG")))
        out->kind = NATS_PONG;
    else if (str_is_nocase(verb, STR("+OK")))
        out->kind = NATS_OK;
    else
        return fail(ERR_SYNTAX, 0, "NATS: a line that begins with no known word");
    return str_trim(rest).len == 0 ? ok() : fail(ERR_SYNTAX, 0, "NATS: words after PING or PONG");
}

// "NATS/1.0[ STATUS[ text]]\r\n", lines, "\r\n".
static err line_read_headers(str block, nats_event *out)
{
    size_t first = str_find(block, STR("\r\n"));
    str line = str_first(block, first);
    if (!str_starts(line, STR("NATS/1.0")) || !str_ends(block, STR("\r\n\r\n")))
        return fail(ERR_SYNTAX, 0, "NATS: headers that are not NATS/1.0");
    str rest = str_from(line, 8);
    if (rest.len > 0 && !line_is_blank(rest.at[0]))
        return fail(ERR_SYNTAX, 0, "NATS: headers of an unknown version");
    str word = line_word(&rest);
    uint64_t status = 0;
    if (word.len > 0 && (word.len != 3 || str_number(word, &status).code != OK))
        return fail(ERR_SYNTAX, 0, "NATS: a status that is not three digits");
    out->status = (unsigned)status;
    out->headers = str_from(str_first(block, block.len - 2), first + 2);
    return ok();
}

// The body is headers, payload and CR LF.
static err line_read_body(str body, const line_sizes *sizes, nats_event *out)
{
    if (!str_ends(body, STR("\r\n")))
        return fail(ERR_SYNTAX, 0, "NATS: a payload is not followed by CR LF");
    body.len -= 2;
    if (sizes->headers > 0)
        TRY(line_read_headers(str_first(body, sizes->headers), out));
    out->payload = str_from(body, sizes->headers);
    return ok();
}

static size_t line_limit(str begin)
{
    bool info = begin.len >= 4 && str_is_nocase(str_first(begin, 4), STR("INFO"));
    return info ? NATS_INFO_BYTES_MAX : NATS_LINE_BYTES_MAX;
}

static err line_keep(nats_line *l, str *bytes, size_t len)
{
    buf_add(&l->kept, str_first(*bytes, len));
    *bytes = str_from(*bytes, len);
    return l->kept.error;
}

static err line_body_size(nats_line *l, const line_sizes *sizes, size_t *out)
{
    *out = 0;
    if (!sizes->has_body)
        return ok();
    if (sizes->total > l->payload_bytes_max)
        return fail(ERR_LIMIT, 0, "NATS: a payload larger than allowed");
    *out = (size_t)sizes->total + 2;
    return ok();
}

// A whole line lies at `at`, with its CR LF; `len` bytes of what follows are there as well.
static err line_take(nats_line *l, str at, size_t line, nats_event *out, size_t *used)
{
    line_sizes sizes;
    if (line > line_limit(at))
        return fail(ERR_LIMIT, 0, "NATS: a line too long");
    if (line < 2 || at.at[line - 2] != '\r')
        return fail(ERR_SYNTAX, 0, "NATS: a line that does not end with CR LF");
    TRY(line_read(str_first(at, line - 2), out, &sizes));
    TRY(line_body_size(l, &sizes, &l->body_bytes));
    if (at.len - line < l->body_bytes) {
        l->line_bytes = line;
        out->kind = NATS_NOTHING;
        return ok();
    }
    if (sizes.has_body)
        TRY(line_read_body(str_first(str_from(at, line), l->body_bytes), &sizes, out));
    *used = line + l->body_bytes;
    return ok();
}

// Fills up `kept` until its line or its payload is whole.
static err line_gather(nats_line *l, str *bytes, nats_event *out)
{
    size_t used = 0;
    if (l->line_bytes == 0) {
        size_t end = str_find_byte(*bytes, '\n');
        size_t want = end < bytes->len ? end + 1 : end;
        size_t room = NATS_INFO_BYTES_MAX - l->kept.len;
        bool whole = end < bytes->len && want <= room;
        TRY(line_keep(l, bytes, want < room ? want : room));
        if (!whole)
            return l->kept.len < line_limit(buf_str(&l->kept))
                       ? ok()
                       : fail(ERR_LIMIT, 0, "NATS: a line too long");
        TRY(line_take(l, buf_str(&l->kept), l->kept.len, out, &used));
    }
    if (l->line_bytes > 0) {
        size_t need = l->line_bytes + l->body_bytes - l->kept.len;
        TRY(line_keep(l, bytes, need < bytes->len ? need : bytes->len));
        size_t line = l->line_bytes;
        TRY(line_take(l, buf_str(&l->kept), line, out, &used));
    }
    l->given = used > 0;
    return ok();
}

static err line_next(nats_line *l, str *bytes, nats_event *out)
{
    if (l->kept.len > 0)
        return line_gather(l, bytes, out);
    size_t end = str_find_byte(*bytes, '\n'), used = 0;
    if (end == bytes->len) {
        if (bytes->len >= line_limit(*bytes))
            return fail(ERR_LIMIT, 0, "NATS: a line too long");
        return line_keep(l, bytes, bytes->len);
    }
    TRY(line_take(l, *bytes, end + 1, out, &used));
    if (used == 0)
        return line_keep(l, bytes, bytes->len);
    *bytes = str_from(*bytes, used);
    return ok();
}

err nats_line_next(nats_line *l, str *bytes, nats_event *out)
{
    *out = (nats_event){.kind = NATS_NOTHING};
    TRY(l->error);
    if (l->given) {
        l->given = false;
        l->line_bytes = 0;
        if (l->kept.room > KEPT_BYTES_IDLE) {
            buf_close(&l->kept);
            nats_line_open(l, l->payload_bytes_max);
        }
        buf_clear(&l->kept);
    }
    if (bytes->len == 0)
        return ok();
    nats_event event = *out;
    l->error = line_next(l, bytes, &event);
    TRY(l->error);
    *out = event;
    return ok();
}
