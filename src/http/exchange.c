// One connection of the server: its life, its turns and its ends; one request at a time.
//
// The happy path is: 1. bytes arrive and are pumped in place, 2. a whole head is parsed and the
// handler called, 3. the body flows to whom asked for it, 4. the answer ends and the next request's
// turn comes. What can fail: a) bad input (our answer, then the end), b) the peer goes or is too
// slow (the handler's on_broken is called), c) memory (the connection ends).
#include "base/clock.h"
#include "base/str.h"
#include "http/server_inner.h"

#include <stdio.h>
#include <stdlib.h>

uint64_t exchange_now(const http_exchange *x)
{
    return loop_now_ms(x->server->settings.loop);
}

static bool body_pending(const http_exchange *x)
{
    return !x->body_over && (x->parsed.chunked || x->body_left > 0);
}

void exchange_release(http_exchange *x)
{
    if (--x->holds == 0 && x->phase == PHASE_GONE)
        http_server_recycle(x);
}

// Pauses and resumes the connection as the handler and the room for early bytes want it.
static void reading_update(http_exchange *x)
{
    bool wanted = x->rest.len < EXCHANGE_REST_MAX && !(x->phase == PHASE_BUSY && x->paused);
    if (wanted == x->reading || x->ended)
        return;
    x->reading = wanted;
    if (wanted)
        conn_resume(x->c);
    else
        conn_pause(x->c);
}

void exchange_detach(http_exchange *x)
{
    conn_set_owner(x->c, NULL);
    x->c = NULL;
    http_server_forget(x);
    x->phase = PHASE_GONE;
}

void exchange_report(http_exchange *x, unsigned status)
{
    const http_server_settings *s = &x->server->settings;
    if (s->on_finished != NULL)
        s->on_finished(s->data, x, status, x->answer_bytes, clock_now_us() - x->started_us);
}

// The handler's part ends without its answer. Whoever waits for a body is told by on_broken alone;
// who does not has the exchange until it answers into the void.
static void exchange_tell_broken(http_exchange *x)
{
    if (x->disowned)
        return;
    if (x->broken == NULL) {
        if (x->mode != READ_NONE && !x->body_over)
            return;
        x->phase = PHASE_ZOMBIE;
        if (x->on_drain != NULL) // who waits for room would wait for ever
            x->on_drain(x->user, x);
        return;
    }
    void (*broken)(void *user, http_exchange *x) = x->broken;
    x->broken = NULL;
    broken(x->user, x);
}

void exchange_break(http_exchange *x, bool abort)
{
    if (x->phase >= PHASE_ZOMBIE)
        return;
    bool owed = x->phase == PHASE_BUSY && x->answer != ANSWER_DONE;
    conn *c = x->c;
    exchange_detach(x);
    if (abort)
        conn_abort(c);
    else
        conn_close(c);
    x->holds++;
    if (owed) {
        exchange_report(x, 499); // as nginx logs it: the client was gone first
        exchange_tell_broken(x);
    }
    exchange_release(x);
}

void exchange_leave(http_exchange *x)
{
    conn *c = x->c;
    x->holds++;
    exchange_detach(x);
    conn_close_after_writes(c);
    exchange_release(x);
}

void exchange_bury(http_exchange *x)
{
    x->holds++;
    x->phase = PHASE_GONE;
    exchange_release(x);
}

void exchange_flush(http_exchange *x)
{
    // The connection itself flushes for a few seconds only: longer queues stay under our own
    // limits.
    if (conn_write_queued(x->c) <= EXCHANGE_FLUSH_BYTES) {
        exchange_leave(x);
        return;
    }
    x->phase = PHASE_FLUSH;
    x->deadline_ms = 0;
}

void exchange_next(http_exchange *x)
{
    x->phase = PHASE_HEAD;
    x->head_len = 0;
    x->scan = (http_scan){.seen = 0};
    x->deadline_ms = exchange_now(x) + x->server->limits.idle_ms;
    if (x->head_room > EXCHANGE_HEAD_KEEP) { // an idle connection keeps little
        free(x->head);
        x->head = x->head_inline;
        x->head_room = sizeof(x->head_inline);
    }
    if (!x->pumping && (x->rest.len > 0 || x->ended))
        exchange_schedule(x);
}

void exchange_drop_body(http_exchange *x)
{
    x->server->bodies -= x->body.len;
    buf_close(&x->body);
}

static void request_clear(http_exchange *x)
{
    x->user = NULL;
    x->broken = NULL;
    x->on_drain = NULL;
    x->id = (str){NULL, 0};
    x->paused = x->disowned = false;
    arena_reset(x->memory);
    if (x->body.room > 0)
        exchange_drop_body(x);
}

void exchange_weigh_body(http_exchange *x)
{
    // Whether a client that waits for "100 Continue" still sends its body can not be known.
    if (body_pending(x) && ((x->parsed.expects_continue && !x->continued) ||
                            (!x->parsed.chunked && x->body_left > EXCHANGE_SKIP_MAX)))
        x->last = true;
}

void exchange_answered(http_exchange *x)
{
    x->answer = ANSWER_DONE;
    exchange_report(x, x->status);
    if (x->phase >= PHASE_ZOMBIE)
        return;
    request_clear(x);
    exchange_weigh_body(x);
    if (x->last) {
        exchange_flush(x);
    } else if (body_pending(x)) {
        x->phase = PHASE_SKIP;
        x->body_seen = 0;
        x->deadline_ms = exchange_now(x) + x->server->limits.body_idle_ms;
        if (!x->pumping)
            exchange_schedule(x);
    } else {
        exchange_next(x);
    }
    if (x->phase < PHASE_ZOMBIE && !x->reading)
        reading_update(x);
}

void exchange_refuse(http_exchange *x, unsigned status, const char *what)
{
    if (x->phase >= PHASE_ZOMBIE)
        return;
    if (x->answer == ANSWER_STARTED) {
        exchange_break(x, true);
        return;
    }
    x->last = true;
    x->holds++;
    if (x->phase == PHASE_BUSY && x->broken != NULL)
        exchange_tell_broken(x);
    char text[128];
    int len = snprintf(text, sizeof(text), "%s\n", what);
    http_header type = {STR("Content-Type"), STR("text/plain; charset=utf-8")};
    if (x->phase < PHASE_ZOMBIE)
        exchange_answer(x, status, &(http_headers){&type, 1}, (str){text, (size_t)len});
    exchange_release(x);
}

void exchange_timeout(http_exchange *x)
{
    if (x->phase == PHASE_BUSY)
        exchange_refuse(x, 408, "body took too long");
    else if (x->phase == PHASE_HEAD && x->head_len > 0)
        exchange_refuse_head(x, 408, "head took too long");
    else
        exchange_break(x, x->phase == PHASE_SKIP);
}

static void exchange_pump(http_exchange *x, str *in)
{
    unsigned budget = EXCHANGE_PUMP_MAX;
    x->pumping = true;
    x->input = in;
    while (x->phase < PHASE_ZOMBIE && exchange_step(x, in, &budget))
        ;
    x->input = NULL;
    x->pumping = false;
}

static void exchange_pump_rest(http_exchange *x)
{
    str in = buf_str(&x->rest);
    exchange_pump(x, &in);
    if (x->phase >= PHASE_ZOMBIE)
        return;
    if (in.len == 0)
        buf_close(&x->rest);
    else
        buf_drop_front(&x->rest, x->rest.len - in.len);
    reading_update(x);
}

static void exchange_on_turn(void *data)
{
    http_exchange *x = data;
    x->scheduled = false;
    if (x->phase == PHASE_ZOMBIE && x->broken != NULL) {
        x->phase = PHASE_GONE;
        exchange_tell_broken(x);
    } else if (x->dead) {
        exchange_break(x, true);
    } else if (x->phase < PHASE_ZOMBIE && !x->pumping) {
        exchange_pump_rest(x);
    }
    exchange_release(x);
}

void exchange_schedule(http_exchange *x)
{
    if (x->scheduled)
        return;
    if (loop_defer(x->server->settings.loop, exchange_on_turn, x).code != OK) {
        x->dead = true; // no memory for a later turn: the sweep ends the connection
        return;
    }
    x->scheduled = true;
    x->holds++;
}

static void exchange_on_read(void *owner, conn *c, str bytes)
{
    http_exchange *x = owner;
    (void)c;
    if (x == NULL)
        return;
    x->holds++;
    if (x->rest.len == 0) {
        str in = bytes;
        exchange_pump(x, &in);
        if (x->phase < PHASE_ZOMBIE && in.len > 0)
            buf_add(&x->rest, in);
        if (x->phase < PHASE_ZOMBIE && (in.len > 0 || x->paused))
            reading_update(x);
    } else {
        buf_add(&x->rest, bytes);
        exchange_pump_rest(x);
    }
    if (x->phase < PHASE_ZOMBIE && x->rest.error.code != OK)
        exchange_break(x, true);
    exchange_release(x);
}

static void exchange_on_end(void *owner, conn *c, err e)
{
    http_exchange *x = owner;
    (void)c;
    if (x == NULL)
        return;
    x->ended = true;
    x->holds++;
    // A peer that closes its side may still read our answer. But most have gone, and a handler that
    // asked to be told wants to stop working for them.
    if (e.code != OK || x->phase == PHASE_SKIP || (x->phase == PHASE_BUSY && x->broken != NULL) ||
        (x->phase == PHASE_HEAD && x->head_len > 0))
        exchange_break(x, e.code != OK);
    else if (x->phase != PHASE_FLUSH)
        exchange_pump_rest(x);
    exchange_release(x);
}

static void exchange_on_drain(void *owner, conn *c)
{
    http_exchange *x = owner;
    (void)c;
    if (x == NULL)
        return;
    x->holds++;
    if (x->phase == PHASE_FLUSH)
        exchange_leave(x);
    else if (x->phase == PHASE_BUSY && x->on_drain != NULL)
        x->on_drain(x->user, x);
    else if (x->phase == PHASE_HEAD && x->rest.len > 0)
        exchange_pump_rest(x);
    exchange_release(x);
}

const conn_events exchange_events = {
    .on_read = exchange_on_read, .on_end = exchange_on_end, .on_drain = exchange_on_drain};

void exchange_begin(http_exchange *x)
{
    x->phase = PHASE_HEAD;
    x->holds = 0;
    x->ended = x->dead = x->last = x->scheduled = x->pumping = false;
    x->reading = true;
    x->requests = 0;
    x->flow_left = 0;
    request_clear(x);
    if (x->rest.room > 0)
        buf_close(&x->rest);
    buf_open(&x->rest, EXCHANGE_REST_BYTES);
    exchange_next(x);
    // A connection that never says anything has as long as a head may take.
    x->deadline_ms = exchange_now(x) + x->server->limits.head_ms;
}
