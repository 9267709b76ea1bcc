// What comes in on a server's connection: heads are collected and parsed, bodies cut and delivered.
#include "base/clock.h"
#include "base/fault.h"
#include "base/str.h"
#include "http/server_inner.h"

#include <stdlib.h>
#include <string.h>

static void answer_clear(http_exchange *x)
{
    x->answer = ANSWER_NONE;
    x->answer_bytes = 0;
    x->body_over = true;
    x->started_us = x->server->settings.on_finished != NULL ? clock_now_us() : 0;
}

// Refuses what never became a request, so that nothing of the former one is taken for it.
void exchange_refuse_head(http_exchange *x, unsigned status, const char *what)
{
    answer_clear(x);
    memset(&x->parsed.request, 0, sizeof(x->parsed.request));
    exchange_refuse(x, status, what);
}

// Collects a head whose end has not come. False: refused.
static bool head_keep(http_exchange *x, str bytes)
{
    size_t need = x->head_len + bytes.len;
    if (need > x->head_room) {
        size_t room = x->head_room * 2 > need ? x->head_room * 2 : need;
        char *grown = fault_hits(FAULT_MEMORY) ? NULL : malloc(room);
        if (grown == NULL) {
            exchange_break(x, true);
            return false;
        }
        memcpy(grown, x->head, x->head_len);
        if (x->head != x->head_inline)
            free(x->head);
        x->head = grown;
        x->head_room = room;
    }
    memcpy(x->head + x->head_len, bytes.at, bytes.len);
    x->head_len = need;
    return true;
}

static bool headers_reserve(http_exchange *x, size_t count)
{
    if (count <= x->headers_room)
        return true;
    http_header *room = fault_hits(FAULT_MEMORY) ? NULL : calloc(count, sizeof(*room));
    if (room == NULL)
        return false;
    if (x->headers != x->headers_inline)
        free(x->headers);
    x->headers = room;
    x->headers_room = count;
    return true;
}

static void request_begin(http_exchange *x)
{
    http_server *s = x->server;
    x->phase = PHASE_BUSY;
    x->deadline_ms = 0;
    x->mode = READ_NONE;
    x->body_over = x->continued = x->refused = false;
    x->body_left = x->parsed.chunked ? 0 : x->parsed.request.content_length;
    x->body_seen = 0;
    if (x->parsed.chunked)
        x->chunked = (http_chunked){.state = 0};
    x->last =
        !x->parsed.keep_alive || s->draining || ++x->requests >= s->limits.requests_per_connection;
    s->settings.handler(s->settings.data, x);
}

// A whole head lies in x->head[start, length).
static void head_parse(http_exchange *x, size_t length)
{
    const http_limits *l = &x->server->limits;
    if (length > l->head_bytes) {
        exchange_refuse_head(x, 431, "head too large");
        return;
    }
    size_t lines = x->scan.lines < l->header_count + 1 ? x->scan.lines : l->header_count + 1;
    if (!headers_reserve(x, lines)) {
        exchange_break(x, true);
        return;
    }
    http_head_room room = {x->headers, x->headers_room, l->header_count, l->target_bytes};
    str head = {x->head + x->scan.start, length - x->scan.start};
    answer_clear(x);
    http_refusal refusal = http_parse_request(head, &room, &x->parsed);
    if (refusal.status != 0) {
        x->parsed.request.headers.count = 0; // read in part
        exchange_refuse(x, refusal.status, refusal.what);
        return;
    }
    request_begin(x);
}

static void head_wait(http_exchange *x, bool first)
{
    const http_limits *l = &x->server->limits;
    if (first)
        x->deadline_ms = exchange_now(x) + l->head_ms;
    if (x->scan.lines == 0 && x->head_len > l->target_bytes + HTTP_METHOD_MAX + 16)
        exchange_refuse_head(x, 414, "target too long");
    else if (x->head_len > l->head_bytes)
        exchange_refuse_head(x, 431, "head too large");
}

// Takes bytes of a head; false when nothing more can be done with what is there.
static bool head_step(http_exchange *x, str *in)
{
    if (in->len == 0)
        return false;
    bool first = x->head_len == 0;
    size_t before = x->head_len, length = 0;
    // The first byte tells a TLS or HTTP/2 client at once.
    if (first && !((in->at[0] >= 'A' && in->at[0] <= 'Z') || in->at[0] == '\r')) {
        exchange_refuse_head(x, 400, "not HTTP");
        return false;
    }
    // A head that is whole is scanned where it lies, and only its own bytes are copied: the handler
    // may keep slices of it for as long as the exchange lives.
    http_scan_result found;
    if (first) {
        found = http_scan_head(&x->scan, *in, &length);
        if (!head_keep(x, found == HTTP_SCAN_WHOLE ? str_first(*in, length) : *in))
            return false;
    } else {
        if (!head_keep(x, *in))
            return false;
        found = http_scan_head(&x->scan, (str){x->head, x->head_len}, &length);
    }
    *in = found == HTTP_SCAN_WHOLE ? str_from(*in, length - before) : (str){in->at, 0};
    if (found == HTTP_SCAN_WHOLE) {
        head_parse(x, length);
    } else if (found == HTTP_SCAN_BAD) {
        exchange_refuse_head(x, 400, "bare line feed");
    } else {
        head_wait(x, first);
    }
    return x->phase < PHASE_ZOMBIE && in->len > 0;
}

// One piece of the body, or its end, to whom asked for it.
static void body_deliver(http_exchange *x, str piece, bool end)
{
    x->body_seen += piece.len;
    if (x->body_seen > x->body_max) {
        exchange_refuse(x, 413, "body too large");
        return;
    }
    if (x->mode == READ_COLLECT && !end) {
        size_t before = x->body.len;
        if (x->server->bodies + piece.len > x->server->limits.bodies_bytes) {
            exchange_refuse(x, 503, "too many bodies at once");
            return;
        }
        buf_add(&x->body, piece);
        x->server->bodies += x->body.len - before;
        if (x->body.error.code != OK)
            exchange_refuse(x, 500, "out of memory");
        return;
    }
    if (end) {
        x->body_over = true;
        x->deadline_ms = 0;
    }
    if (x->mode == READ_STREAM)
        x->on_piece(x->user, x, piece, end);
    else
        x->on_body(x->user, x, x->body.len > 0 ? buf_str(&x->body) : (str){"", 0});
}

// Cuts the next piece of the body from the front of *in.
static http_chunk_result body_cut(http_exchange *x, str *in, str *piece)
{
    if (x->parsed.chunked)
        return http_chunked_step(&x->chunked, in, piece);
    if (x->body_left == 0)
        return HTTP_CHUNK_END;
    if (in->len == 0)
        return HTTP_CHUNK_MORE;
    *piece = str_first(*in, x->body_left < in->len ? (size_t)x->body_left : in->len);
    *in = str_from(*in, piece->len);
    x->body_left -= piece->len;
    return HTTP_CHUNK_PIECE;
}

static bool body_step(http_exchange *x, str *in)
{
    if (x->refused) {
        exchange_refuse(x, 413, "body too large");
        return false;
    }
    if (x->mode == READ_NONE || x->body_over || x->paused)
        return false;
    str piece = {NULL, 0};
    switch (body_cut(x, in, &piece)) {
    case HTTP_CHUNK_PIECE:
        body_deliver(x, piece, false);
        return true;
    case HTTP_CHUNK_END:
        body_deliver(x, (str){"", 0}, true);
        return true;
    case HTTP_CHUNK_MORE:
        if (x->ended)
            exchange_break(x, true);
        else
            x->deadline_ms = exchange_now(x) + x->server->limits.body_idle_ms;
        return false;
    default:
        x->body_over = true;
        exchange_refuse(x, 400, "bad chunk");
        return false;
    }
}

static bool skip_step(http_exchange *x, str *in)
{
    str piece = {NULL, 0};
    size_t before = in->len;
    switch (body_cut(x, in, &piece)) {
    case HTTP_CHUNK_END:
        x->body_over = true;
        exchange_next(x);
        return true;
    case HTTP_CHUNK_BAD:
        exchange_break(x, true);
        return false;
    default:
        x->body_seen += before - in->len;
        if (x->body_seen > EXCHANGE_SKIP_BYTES || (before == 0 && x->ended)) {
            exchange_break(x, true);
            return false;
        }
        return before > 0;
    }
}

// One step with what is there; false when it needs more bytes, or somebody else's turn.
bool exchange_step(http_exchange *x, str *in, unsigned *budget)
{
    switch (x->phase) {
    case PHASE_HEAD:
        if (in->len == 0 && x->ended) {
            exchange_flush(x);
            return false;
        }
        if (in->len == 0 || conn_write_full(x->c))
            return false;
        if ((*budget)-- == 0) {
            exchange_schedule(x);
            return false;
        }
        head_step(x, in);
        return true;
    case PHASE_BUSY:
        return body_step(x, in);
    case PHASE_SKIP:
        return skip_step(x, in);
    default:
        *in = (str){in->at, 0};
        return false;
    }
}

static void body_want(http_exchange *x, read_mode mode, uint64_t bytes_max)
{
    x->mode = mode;
    x->body_max = bytes_max != 0 ? bytes_max : x->server->limits.body_bytes;
    buf_open(&x->body, x->body_max < SIZE_MAX ? (size_t)x->body_max : SIZE_MAX);
    x->refused = !x->parsed.chunked && x->body_left > x->body_max; // before a byte of it is read
    // Behind the head of an answer an interim one would be part of the answer's body.
    if (!x->refused && x->parsed.expects_continue && !x->continued && x->answer == ANSWER_NONE) {
        str line = STR("HTTP/1.1 100 Continue\r\n\r\n");
        x->continued = true;
        if (conn_write(x->c, &line, 1).code != OK)
            x->dead = true;
    }
    if (!x->pumping || x->dead)
        exchange_schedule(x);
}

// Nobody will ever be called for a body whose connection is gone.
static bool body_lost(http_exchange *x)
{
    if (x->phase != PHASE_ZOMBIE)
        return false;
    exchange_bury(x);
    return true;
}

void http_collect(http_exchange *x,
                  uint64_t bytes_max,
                  void (*on_body)(void *user, http_exchange *x, str body))
{
    if (body_lost(x))
        return;
    x->on_body = on_body;
    body_want(x, READ_COLLECT, bytes_max);
}

void http_stream(http_exchange *x,
                 uint64_t bytes_max,
                 void (*on_piece)(void *user, http_exchange *x, str piece, bool end))
{
    if (body_lost(x))
        return;
    x->on_piece = on_piece;
    body_want(x, READ_STREAM, bytes_max);
}

void http_read_pause(http_exchange *x, bool paused)
{
    if (x->phase != PHASE_BUSY || x->paused == paused)
        return;
    x->paused = paused;
    if (paused)
        x->deadline_ms = 0;
    else
        exchange_schedule(x); // which resumes reading as well
}
