// What goes out on a server's connection: whole answers in one write, and answers piece by piece.
#include "base/fault.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/str.h"
#include "http/server_inner.h"

#include <string.h>

enum { ANSWER_FIXED_MAX = SERVER_COMMON_MAX + 160 }; // status line and the headers that are ours

static char *put(char *p, str s)
{
    memcpy(p, s.at, s.len);
    return p + s.len;
}

static char *put_number(char *p, uint64_t number)
{
    char digits[20];
    size_t len = 0;
    do
        digits[len++] = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    while (len > 0)
        *p++ = digits[--len];
    return p;
}

static char *put_status(char *p, unsigned status)
{
    if (status == 200)
        return put(p, STR("HTTP/1.1 200 OK\r\n"));
    p = put(p, STR("HTTP/1.1 "));
    p = put_number(p, status);
    *p++ = ' ';
    p = put(p, str_of(http_reason(status)));
    return put(p, STR("\r\n"));
}

// Those that say how the message is framed or how long the connection lives, and Date.
static bool header_is_ours(str name)
{
    switch (name.len) {
    case 4:
        return str_is_nocase(name, STR("date"));
    case 7:
        return str_is_nocase(name, STR("trailer"));
    case 10:
        return str_is_nocase(name, STR("connection")) || str_is_nocase(name, STR("keep-alive"));
    case 14:
        return str_is_nocase(name, STR("content-length"));
    case 17:
        return str_is_nocase(name, STR("transfer-encoding"));
    default:
        return false;
    }
}

static char *put_headers(char *p, const http_headers *headers)
{
    for (size_t i = 0; i < headers->count; i++) {
        const http_header *h = &headers->at[i];
        if (header_is_ours(h->name) || !http_is_token(h->name) || !http_is_value(h->value))
            continue;
        p = put(p, h->name);
        *p++ = ':';
        *p++ = ' ';
        if (h->value.len > 0)
            p = put(p, h->value);
        *p++ = '\r';
        *p++ = '\n';
    }
    return p;
}

static size_t headers_size(const http_headers *headers)
{
    size_t size = 0;
    for (size_t i = 0; headers != NULL && i < headers->count; i++)
        size += headers->at[i].name.len + headers->at[i].value.len + 4;
    return size;
}

// Writes the head of an answer into the server's scratch buffer, with room for `more` bytes behind
// it. `length` UINT64_MAX: none is announced. NULL when there is no memory or the head is past its
// limit.
static char *head_make(
    http_exchange *x, unsigned status, const http_headers *headers, uint64_t length, size_t more)
{
    http_server *s = x->server;
    const http_request *r = &x->parsed.request;
    buf_clear(&s->out);
    char *p = buf_reserve(&s->out, ANSWER_FIXED_MAX + headers_size(headers) + more);
    if (p == NULL)
        return NULL;
    bool bodiless = status < 200 || status == 204 || status == 304;
    x->status = status;
    x->answer_bodiless = bodiless || str_is(r->method, STR("HEAD"));
    x->answer_chunked = length == UINT64_MAX && !r->minor_zero && !bodiless;
    if (length == UINT64_MAX && r->minor_zero && !x->answer_bodiless)
        x->last = true;
    p = put_status(p, status);
    p = put(p, http_server_common(s));
    if (x->answer_chunked) {
        p = put(p, STR("Transfer-Encoding: chunked\r\n"));
    } else if (length != UINT64_MAX && !bodiless) {
        p = put(p, STR("Content-Length: "));
        p = put_number(p, length);
        p = put(p, STR("\r\n"));
    }
    if (x->last)
        p = put(p, STR("Connection: close\r\n"));
    else if (r->minor_zero)
        p = put(p, STR("Connection: keep-alive\r\n"));
    if (headers != NULL)
        p = put_headers(p, headers);
    return put(p, STR("\r\n"));
}

// The handler has done its part, but the peer will not get it.
static void answer_lost(http_exchange *x)
{
    x->disowned = true;
    exchange_break(x, true);
}

void exchange_answer(http_exchange *x, unsigned status, const http_headers *headers, str body)
{
    exchange_weigh_body(x);
    bool joined = body.len <= ANSWER_JOIN_MAX;
    char *end = head_make(x, status, headers, body.len, joined ? body.len : 0);
    if (end == NULL) {
        answer_lost(x);
        return;
    }
    str pieces[2] = {{x->server->out.at, 0}, body};
    size_t count = 1;
    if (!x->answer_bodiless && body.len > 0) {
        x->answer_bytes = body.len;
        if (joined)
            end = put(end, body);
        else
            count = 2;
    }
    pieces[0].len = (size_t)(end - pieces[0].at);
    if (conn_write(x->c, pieces, count).code != OK) {
        answer_lost(x);
        return;
    }
    if (x->server->out.room > ANSWER_KEEP_MAX)
        buf_close(&x->server->out);
    exchange_answered(x);
}

// Whether there is anybody to answer; if not, the handler is done with the exchange.
static bool answer_open(http_exchange *x)
{
    if (x->phase == PHASE_BUSY)
        return true;
    if (x->phase == PHASE_ZOMBIE)
        exchange_bury(x);
    return false;
}

void http_answer(http_exchange *x, unsigned status, const http_headers *headers, str body)
{
    if (!answer_open(x))
        return;
    x->holds++;
    if (x->answer == ANSWER_NONE)
        exchange_answer(x, status, headers, body);
    else
        answer_lost(x); // half an answer is on its way already
    exchange_release(x);
}

void http_answer_text(http_exchange *x, unsigned status, const char *type, str body)
{
    http_header h = {STR("Content-Type"), str_of(type)};
    http_answer(x, status, &(http_headers){&h, 1}, body);
}

void http_answer_json(http_exchange *x, unsigned status, str text)
{
    http_answer_text(x, status, "application/json", text);
}

void http_answer_err(http_exchange *x, err e)
{
    buf text;
    buf_open(&text, 4096);
    json_writer w = {.out = &text};
    json_open_object(&w, NULL);
    json_open_object(&w, "error");
    json_put_text(&w, "code", str_of(err_name(e.code)));
    json_put_text(&w, "message", str_of(e.what));
    json_put_text(&w, "request", http_request_id(x));
    json_close_object(&w);
    json_close_object(&w);
    http_header h[] = {{STR("Content-Type"), STR("application/json")},
                       {STR("Retry-After"), STR("1")}};
    http_headers headers = {h, e.code == ERR_BUSY ? 2 : 1};
    http_answer(x, http_status_of(e.code), &headers, buf_str(&text));
    buf_close(&text);
}

void http_start(http_exchange *x, unsigned status, const http_headers *headers, uint64_t length)
{
    if (x->phase != PHASE_BUSY || x->answer != ANSWER_NONE)
        return;
    if (x->mode == READ_NONE)
        exchange_weigh_body(x);
    char *end = head_make(x, status, headers, length, 0);
    x->answer = ANSWER_STARTED;
    x->answer_left = length;
    str piece = {x->server->out.at, 0};
    if (end != NULL)
        piece.len = (size_t)(end - piece.at);
    if (end == NULL || conn_write(x->c, &piece, 1).code != OK) {
        x->dead = true;
        exchange_schedule(x);
    }
}

err http_send(http_exchange *x, str piece)
{
    if (x->phase != PHASE_BUSY || x->dead || x->answer != ANSWER_STARTED)
        return fail(ERR_CLOSED, 0, "send");
    if (piece.len == 0 || x->answer_bodiless)
        return ok();
    if (x->answer_left != UINT64_MAX) {
        if (piece.len > x->answer_left)
            return fail(ERR_LIMIT, 0, "past the announced length");
    }
    char head[HTTP_CHUNK_HEAD_MAX];
    str pieces[3] = {{head, http_chunk_head(head, piece.len)}, piece, STR("\r\n")};
    err e = x->answer_chunked ? conn_write(x->c, pieces, 3) : conn_write(x->c, &piece, 1);
    if (e.code == ERR_LIMIT)
        return e;
    if (e.code != OK) {
        x->dead = true;
        exchange_schedule(x);
        return e;
    }
    x->answer_bytes += piece.len;
    if (x->answer_left != UINT64_MAX)
        x->answer_left -= piece.len;
    return ok();
}

bool http_send_full(const http_exchange *x)
{
    return x->phase == PHASE_BUSY && conn_write_full(x->c);
}

void http_on_drain(http_exchange *x, void (*on_drain)(void *user, http_exchange *x))
{
    x->on_drain = on_drain;
}

void http_finish(http_exchange *x)
{
    if (!answer_open(x))
        return;
    str end = STR("0\r\n\r\n");
    bool whole = x->answer_bodiless || x->answer_left == UINT64_MAX || x->answer_left == 0;
    x->holds++;
    if (x->answer != ANSWER_STARTED || x->dead || !whole ||
        (x->answer_chunked && !x->answer_bodiless && conn_write(x->c, &end, 1).code != OK))
        answer_lost(x);
    else
        exchange_answered(x);
    exchange_release(x);
}

void http_break(http_exchange *x)
{
    if (!answer_open(x))
        return;
    x->holds++;
    answer_lost(x);
    exchange_release(x);
}

conn *http_take_connection(http_exchange *x)
{
    if (!answer_open(x))
        return NULL;
    conn *c = x->c;
    // Bytes that came before the answer belong to no protocol that was agreed on.
    bool early = x->rest.len > 0 || (x->input != NULL && x->input->len > 0) ||
                 (!x->body_over && x->parsed.request.has_body);
    x->holds++;
    if (early || x->dead || x->ended || x->answer != ANSWER_NONE) {
        answer_lost(x);
        c = NULL;
    } else {
        exchange_report(x, 101);
        exchange_detach(x);
        conn_resume(c);
    }
    exchange_release(x);
    return c;
}

const http_request *http_request_of(const http_exchange *x)
{
    return &x->parsed.request;
}

arena *http_arena(http_exchange *x)
{
    return x->memory;
}

void *http_door(const http_exchange *x)
{
    return x->door;
}

const tls_peer *http_peer(const http_exchange *x)
{
    return x->c != NULL ? conn_peer(x->c) : NULL;
}

const char *http_remote(const http_exchange *x)
{
    return x->c != NULL ? conn_address(x->c) : "unknown";
}

str http_request_id(http_exchange *x)
{
    if (x->id.at == NULL)
        x->id = id_new(x->memory);
    return x->id.at != NULL ? x->id : STR("unknown");
}

void http_set_user(http_exchange *x, void *user)
{
    x->user = user;
}

void *http_user(const http_exchange *x)
{
    return x->user;
}

void http_on_broken(http_exchange *x, void (*broken)(void *user, http_exchange *x))
{
    x->broken = broken;
    if (x->phase == PHASE_ZOMBIE)
        exchange_schedule(x);
}
