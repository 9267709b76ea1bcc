// One call of the client: writes the request, reads the answer, and ends exactly once.
#include "base/fault.h"
#include "base/str.h"
#include "http/client_inner.h"

#include <stdlib.h>

void client_call_release(http_call *c)
{
    if (--c->holds == 0 && c->state == CALL_DONE)
        client_call_free(c);
}

// Gives the link back or closes it, and leaves the client's list: nothing of the client is used
// afterwards.
static void call_leave(http_call *c, bool clean)
{
    http_client *client = c->client;
    if (c->link != NULL) {
        bool again = clean && c->parsed.keep_alive && c->upload_over && !c->excess && !c->ended &&
                     !client->closed;
        if (again && !c->reading)
            conn_resume(c->link->c);
        if (again)
            client_link_idle(c->link);
        else
            client_link_close(c->link);
    }
    if (c->previous != NULL)
        c->previous->next = c->next;
    else
        client->calls = c->next;
    if (c->next != NULL)
        c->next->previous = c->previous;
    client_pool_release(c->pool);
    c->pool = NULL;
    c->state = CALL_DONE;
    client_tick_update(client);
}

void client_call_done(http_call *c, err e)
{
    if (c->state == CALL_DONE)
        return;
    c->holds++;
    bool has_head = c->state == CALL_BODY;
    call_leave(c, e.code == OK);
    if (c->on_done != NULL)
        c->on_done(c->data, c, e, has_head ? &c->answer : NULL,
                   e.code == OK ? (str){c->body.len > 0 ? c->body.at : "", c->body.len}
                                : (str){"", 0});
    client_call_release(c);
}

void http_call_cancel(http_call *c)
{
    if (c->state == CALL_DONE)
        return;
    c->holds++;
    c->on_done = NULL;
    call_leave(c, false);
    client_call_release(c);
}

// The connection is read while the reader wants it and has taken what came before.
static void reading_update(http_call *c)
{
    bool wanted = !c->paused && c->rest.len < CLIENT_REST_MAX;
    if (wanted == c->reading || c->state == CALL_DONE || !c->link->connected)
        return;
    c->reading = wanted;
    if (wanted)
        conn_resume(c->link->c);
    else
        conn_pause(c->link->c);
}

void client_call_broke(http_call *c, err e)
{
    bool again = c->repeatable && c->link->reused && !c->answered;
    client_link_close(c->link);
    c->reading = true;
    c->ended = false;
    if (again) {
        c->repeatable = false;
        e = client_link_open(c);
        if (e.code == OK)
            return;
    }
    client_call_done(c,
                     e.code != OK ? e : fail(ERR_CLOSED, 0, "connection ended before the answer"));
}

static void call_tell_drain(http_call *c)
{
    if (c->state != CALL_DONE && c->on_drain != NULL && !c->upload_over)
        c->on_drain(c->data, c);
}

void client_call_started(http_call *c)
{
    str request = buf_str(&c->out);
    err e = conn_write(c->link->c, &request, 1);
    if (e.code != OK) {
        c->failed = fail(ERR_CLOSED, e.sys, e.what);
        client_call_schedule(c);
        return;
    }
    if (!c->repeatable || !c->link->reused)
        buf_close(&c->out);
    reading_update(c);
}

static void call_refuse(http_call *c, http_refusal r)
{
    err_code code = r.status == 501 ? ERR_UNSUPPORTED : r.status == 431 ? ERR_LIMIT : ERR_SYNTAX;
    client_call_done(c, fail(code, 0, r.what));
}

// RFC 9112 6.3: how long the body is.
static void answer_begin(http_call *c)
{
    const http_request *r = &c->parsed.request;
    c->state = CALL_BODY;
    c->answer = (http_answer_head){c->parsed.status, r->headers, UINT64_MAX};
    if (c->parsed.has_length)
        c->answer.content_length = r->content_length;
    if (c->is_head || c->parsed.status == 204 || c->parsed.status == 304) {
        c->parsed.chunked = false;
        c->left = 0;
    } else if (!c->parsed.chunked) {
        c->left = c->answer.content_length;
        if (c->left == UINT64_MAX)
            c->parsed.keep_alive = false;
    }
    if (c->on_head != NULL)
        c->on_head(c->data, c, &c->answer);
}

static void head_parse(http_call *c, size_t length)
{
    if (c->scan.start != 0 || c->scan.lines > CLIENT_HEADERS_MAX + 1) {
        client_call_done(
            c, fail(c->scan.start != 0 ? ERR_SYNTAX : ERR_LIMIT, 0, "head of the answer"));
        return;
    }
    free(c->headers);
    c->headers = fault_hits(FAULT_MEMORY) ? NULL : calloc(c->scan.lines, sizeof(*c->headers));
    if (c->headers == NULL) {
        client_call_done(c, fail(ERR_MEMORY, 0, "head of the answer"));
        return;
    }
    http_head_room room = {c->headers, c->scan.lines, CLIENT_HEADERS_MAX, 0};
    http_refusal refusal = http_parse_answer((str){c->head.at, length}, &room, &c->parsed);
    if (refusal.status != 0) {
        call_refuse(c, refusal);
    } else if (c->parsed.status >= 200) {
        answer_begin(c);
    } else if (c->parsed.status == 101 || ++c->interim > CLIENT_INTERIM_MAX) {
        client_call_done(c, fail(ERR_UNSUPPORTED, 0, "interim answer"));
    } else {
        buf_clear(&c->head);
        c->scan = (http_scan){.seen = 0};
    }
}

static void head_step(http_call *c, str *in)
{
    size_t before = c->head.len, length = 0;
    str some = str_first(*in, CLIENT_HEAD_MAX - before); // room for it all there is
    buf_add(&c->head, some);
    if (c->head.error.code != OK) {
        client_call_done(c, c->head.error);
        return;
    }
    http_scan_result found = http_scan_head(&c->scan, buf_str(&c->head), &length);
    if (found == HTTP_SCAN_BAD) {
        client_call_done(c, fail(ERR_SYNTAX, 0, "bare line feed in the answer"));
    } else if (found == HTTP_SCAN_WHOLE) {
        *in = str_from(*in, length - before);
        head_parse(c, length);
    } else if (c->head.len == CLIENT_HEAD_MAX) {
        client_call_done(c, fail(ERR_LIMIT, 0, "head of the answer"));
    } else {
        *in = str_from(*in, in->len);
    }
}

static http_chunk_result body_cut(http_call *c, str *in, str *piece)
{
    if (c->parsed.chunked)
        return http_chunked_step(&c->chunked, in, piece);
    if (c->left == 0)
        return HTTP_CHUNK_END;
    if (in->len == 0)
        return HTTP_CHUNK_MORE;
    *piece = str_first(*in, c->left < in->len ? (size_t)c->left : in->len);
    *in = str_from(*in, piece->len);
    if (c->left != UINT64_MAX)
        c->left -= piece->len;
    return HTTP_CHUNK_PIECE;
}

// False when more bytes are needed, or the reader is paused.
static bool body_step(http_call *c, str *in)
{
    str piece = {NULL, 0};
    switch (body_cut(c, in, &piece)) {
    case HTTP_CHUNK_PIECE:
        if (c->on_piece != NULL)
            c->on_piece(c->data, c, piece);
        else
            buf_add(&c->body, piece);
        if (c->body.error.code != OK)
            client_call_done(c, c->body.error);
        return true;
    case HTTP_CHUNK_END:
        c->excess = in->len > 0;
        client_call_done(c, ok());
        return false;
    case HTTP_CHUNK_BAD:
        client_call_done(c, fail(ERR_SYNTAX, 0, "bad chunk in the answer"));
        return false;
    default:
        return false;
    }
}

static void call_feed(http_call *c, str *in)
{
    while (c->state != CALL_DONE && !c->paused) {
        if (c->state == CALL_BODY) {
            if (!body_step(c, in))
                break;
        } else if (in->len == 0) {
            break;
        } else {
            head_step(c, in);
        }
    }
    // All that will ever come was read: a body without a length is whole now, anything else broke.
    if (c->state == CALL_DONE || c->paused || !c->ended)
        return;
    if (c->state == CALL_BODY && c->left == UINT64_MAX && !c->parsed.chunked && c->end.code == OK)
        client_call_done(c, ok());
    else
        client_call_broke(c, c->end);
}

static void call_feed_rest(http_call *c)
{
    str in = buf_str(&c->rest);
    call_feed(c, &in);
    if (c->state == CALL_DONE)
        return;
    buf_drop_front(&c->rest, c->rest.len - in.len);
    reading_update(c);
}

static void call_on_turn(void *data)
{
    http_call *c = data;
    c->scheduled = false;
    if (c->state != CALL_DONE && c->failed.code != OK) {
        if (c->failed.code == ERR_CLOSED && c->link != NULL) {
            err e = c->failed;
            c->failed = ok();
            client_call_broke(c, e);
        } else {
            client_call_done(c, c->failed);
        }
    } else if (c->state != CALL_DONE && !c->paused) {
        call_feed_rest(c);
    }
    client_call_release(c);
}

void client_call_schedule(http_call *c)
{
    // Without memory for it the tick asks again.
    if (c->scheduled || loop_defer(c->client->loop, call_on_turn, c).code != OK)
        return;
    c->scheduled = true;
    c->holds++;
}

static void link_on_read(void *owner, conn *at, str bytes)
{
    client_link *k = owner;
    (void)at;
    if (k == NULL)
        return;
    http_call *c = k->call;
    if (c == NULL) { // nobody asked for anything
        client_link_close(k);
        return;
    }
    c->holds++;
    c->answered = true;
    if (c->rest.len > 0) {
        buf_add(&c->rest, bytes);
        if (c->rest.error.code == OK)
            call_feed_rest(c);
    } else {
        call_feed(c, &bytes);
        if (c->state != CALL_DONE && bytes.len > 0)
            buf_add(&c->rest, bytes);
        reading_update(c);
    }
    if (c->rest.error.code != OK)
        client_call_done(c, c->rest.error);
    client_call_release(c);
}

static void link_on_end(void *owner, conn *at, err e)
{
    client_link *k = owner;
    (void)at;
    if (k == NULL)
        return;
    http_call *c = k->call;
    if (c == NULL) {
        client_link_close(k);
        return;
    }
    c->holds++;
    c->ended = true;
    c->end = e;
    if (!c->paused)
        call_feed_rest(c);
    client_call_release(c);
}

static void link_on_drain(void *owner, conn *at)
{
    client_link *k = owner;
    (void)at;
    if (k == NULL || k->call == NULL)
        return;
    http_call *c = k->call;
    c->holds++;
    call_tell_drain(c);
    client_call_release(c);
}

const conn_events client_link_events = {
    .on_read = link_on_read, .on_end = link_on_end, .on_drain = link_on_drain};

void client_call_connected(http_call *c)
{
    c->holds++;
    client_call_started(c);
    if (c->link != NULL && c->failed.code == OK && !conn_write_full(c->link->c))
        call_tell_drain(c);
    client_call_release(c);
}

err http_call_send(http_call *c, str piece)
{
    char head[24];
    if (c->state == CALL_DONE || c->failed.code != OK || c->upload_over)
        return fail(ERR_CLOSED, 0, "send body");
    if (piece.len == 0)
        return ok();
    str pieces[3] = {{head, http_chunk_head(head, piece.len)}, piece, STR("\r\n")};
    if (!c->link->connected) {
        if (c->out.len + piece.len + sizeof(head) + 2 > CLIENT_UPLOAD_MAX)
            return fail(ERR_LIMIT, 0, "body waits for its connection");
        for (size_t i = 0; i < COUNT(pieces); i++)
            buf_add(&c->out, pieces[i]);
        return c->out.error;
    }
    err e = conn_write(c->link->c, pieces, COUNT(pieces));
    if (e.code != OK && e.code != ERR_LIMIT) {
        c->failed = e;
        client_call_schedule(c);
    }
    return e;
}

void http_call_send_end(http_call *c)
{
    str last = STR("0\r\n\r\n");
    if (c->state == CALL_DONE || c->upload_over)
        return;
    c->upload_over = true;
    err e;
    if (!c->link->connected) {
        buf_add(&c->out, last);
        e = c->out.error;
    } else {
        e = conn_write(c->link->c, &last, 1);
    }
    if (e.code != OK && c->failed.code == OK) {
        c->failed = e;
        client_call_schedule(c);
    }
}

bool http_call_send_full(const http_call *c)
{
    if (c->state == CALL_DONE)
        return false;
    return c->link->connected ? conn_write_full(c->link->c) : c->out.len > CLIENT_UPLOAD_MAX / 16;
}

void http_call_read_pause(http_call *c, bool paused)
{
    if (c->state == CALL_DONE || c->paused == paused)
        return;
    c->paused = paused;
    if (paused)
        reading_update(c);
    else
        client_call_schedule(c); // what waits is delivered first, then reading goes on
}
