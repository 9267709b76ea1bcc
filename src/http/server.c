// The server: doors, the list of its connections, one coarse timer for all their limits.
//
// The happy path: a door accepts, exchange.c reads and calls the handler, answer.c writes.
// What can fail: memory (the connection is closed at once), limits (the sweep ends connections).
#include "base/clock.h"
#include "base/fault.h"
#include "base/str.h"
#include "http/server_inner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { // what a limit of 0 means
    HEAD_BYTES = 32 * 1024,
    HEADER_COUNT = 100,
    TARGET_BYTES = 8 * 1024,
    BODY_BYTES = 10 * 1000 * 1000,
    BODIES_BYTES = 256 * 1000 * 1000,
    HEAD_MS = 10 * 1000,
    IDLE_MS = 60 * 1000,
    BODY_IDLE_MS = 30 * 1000,
    WRITE_IDLE_MS = 60 * 1000,
    REQUESTS = 1000 * 1000,
    CONNECTIONS = 10 * 1000,
};

static void limits_fill(http_limits *l)
{
    l->head_bytes = l->head_bytes != 0 ? l->head_bytes : HEAD_BYTES;
    l->header_count = l->header_count != 0 ? l->header_count : HEADER_COUNT;
    l->target_bytes = l->target_bytes != 0 ? l->target_bytes : TARGET_BYTES;
    l->body_bytes = l->body_bytes != 0 ? l->body_bytes : BODY_BYTES;
    l->bodies_bytes = l->bodies_bytes != 0 ? l->bodies_bytes : BODIES_BYTES;
    l->head_ms = l->head_ms != 0 ? l->head_ms : HEAD_MS;
    l->idle_ms = l->idle_ms != 0 ? l->idle_ms : IDLE_MS;
    l->body_idle_ms = l->body_idle_ms != 0 ? l->body_idle_ms : BODY_IDLE_MS;
    l->write_idle_ms = l->write_idle_ms != 0 ? l->write_idle_ms : WRITE_IDLE_MS;
    l->requests_per_connection =
        l->requests_per_connection != 0 ? l->requests_per_connection : REQUESTS;
    l->connections = l->connections != 0 ? l->connections : CONNECTIONS;
}

// Whether the peer has taken anything lately of what is queued for it.
static bool flow_stopped(http_exchange *x, uint64_t now_ms)
{
    uint64_t queued = conn_write_queued(x->c);
    // A producer refills the queue, so growth does not prove that the peer stands still; but a
    // producer stops at the high mark, and then only the peer can change the number.
    if (queued == 0 || queued != x->flow_left) {
        x->flow_left = queued;
        x->flow_since_ms = now_ms;
        return false;
    }
    return now_ms - x->flow_since_ms > x->server->limits.write_idle_ms;
}

static void exchange_sweep(http_exchange *x, uint64_t now_ms)
{
    if (x->phase >= PHASE_ZOMBIE)
        return;
    bool stopped = flow_stopped(x, now_ms);
    if (x->dead || stopped)
        exchange_break(x, true);
    else if (x->deadline_ms != 0 && now_ms >= x->deadline_ms)
        exchange_timeout(x);
    else if (x->phase == PHASE_FLUSH && x->flow_left == 0)
        exchange_leave(x);
}

static void server_on_sweep(void *data)
{
    http_server *s = data;
    uint64_t now = loop_now_ms(s->settings.loop);
    s->users++;
    for (http_exchange *x = s->first, *next; x != NULL; x = next) {
        // What this one's hooks do may end the one after, so that is held meanwhile.
        next = x->next;
        if (next != NULL)
            next->holds++;
        exchange_sweep(x, now);
        if (next == NULL)
            break;
        bool left = next->phase >= PHASE_ZOMBIE;
        exchange_release(next);
        if (left || s->closed) // the list is not to be followed from here; the next sweep goes on
            break;
    }
    http_server_release(s);
}

static void accept_pause(http_server *s, bool paused)
{
    if (s->accept_paused == paused)
        return;
    s->accept_paused = paused;
    for (server_door *d = s->doors; d != NULL; d = d->next)
        if (d->listener != NULL)
            listener_pause(d->listener, paused);
}

void http_server_forget(http_exchange *x)
{
    http_server *s = x->server;
    if (x->previous != NULL)
        x->previous->next = x->next;
    else
        s->first = x->next;
    if (x->next != NULL)
        x->next->previous = x->previous;
    x->next = x->previous = NULL;
    if (--s->connections == 0 && !s->closed)
        timer_stop(s->sweep);
    if (s->connections < s->limits.connections)
        accept_pause(s, false);
}

void http_server_release(http_server *s)
{
    if (--s->users > 0 || !s->closed)
        return;
    buf_close(&s->out);
    free(s);
}

static void exchange_free(http_exchange *x)
{
    arena_close(x->memory);
    buf_close(&x->rest);
    exchange_drop_body(x);
    if (x->head != x->head_inline)
        free(x->head);
    if (x->headers != x->headers_inline)
        free(x->headers);
    free(x);
}

void http_server_recycle(http_exchange *x)
{
    http_server *s = x->server;
    if (s->closed || s->spares == SERVER_SPARE_MAX) {
        exchange_free(x);
    } else {
        x->next = s->spare;
        s->spare = x;
        s->spares++;
    }
    http_server_release(s);
}

static http_exchange *exchange_take(http_server *s)
{
    http_exchange *x = s->spare;
    if (x != NULL) {
        s->spare = x->next;
        s->spares--;
        s->users++;
        return x;
    }
    if (fault_hits(FAULT_MEMORY))
        return NULL;
    x = malloc(sizeof(*x));
    if (x == NULL)
        return NULL;
    memset(x, 0, offsetof(http_exchange, head_inline));
    if (arena_open(&x->memory, EXCHANGE_MEMORY_MAX).code != OK) {
        free(x);
        return NULL;
    }
    x->server = s;
    s->users++;
    x->head = x->head_inline;
    x->head_room = sizeof(x->head_inline);
    x->headers = x->headers_inline;
    x->headers_room = COUNT(x->headers_inline);
    return x;
}

static void server_on_accept(void *data, conn *c)
{
    server_door *d = data;
    http_server *s = d->server;
    http_exchange *x = s->draining ? NULL : exchange_take(s);
    if (x == NULL) {
        conn_close(c);
        return;
    }
    x->c = c;
    x->door = d->door;
    x->next = s->first;
    x->previous = NULL;
    if (s->first != NULL)
        s->first->previous = x;
    s->first = x;
    if (s->connections++ == 0)
        timer_start(s->sweep, SERVER_SWEEP_MS, SERVER_SWEEP_MS);
    conn_set_owner(c, x);
    exchange_begin(x);
    if (s->connections >= s->limits.connections)
        accept_pause(s, true);
}

str http_server_common(http_server *s)
{
    uint64_t now = loop_now_ms(s->settings.loop);
    if (now >= s->date_until_ms) {
        char date[HTTP_DATE_TEXT];
        uint64_t real = clock_real_ms();
        clock_http_date(real, date);
        s->date_until_ms = now + 1000 - real % 1000;
        int len = s->name[0] != 0 ? snprintf(s->common, sizeof(s->common),
                                             "Server: %s\r\nDate: %s\r\n", s->name, date)
                                  : snprintf(s->common, sizeof(s->common), "Date: %s\r\n", date);
        s->common_len = (size_t)len;
    }
    return (str){s->common, s->common_len};
}

err http_server_open(http_server **out, const http_server_settings *settings)
{
    if (fault_hits(FAULT_MEMORY))
        return fail(ERR_MEMORY, 0, "open server");
    http_server *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return fail(ERR_MEMORY, 0, "open server");
    s->settings = *settings;
    s->limits = settings->limits;
    limits_fill(&s->limits);
    if (settings->server_name != NULL && http_is_value(str_of(settings->server_name)))
        snprintf(s->name, sizeof(s->name), "%s", settings->server_name);
    buf_open(&s->out, ANSWER_HEAD_MAX);
    err e = timer_open(&s->sweep, settings->loop, server_on_sweep, s);
    if (e.code != OK) {
        free(s);
        return e;
    }
    *out = s;
    return ok();
}

err http_server_listen(http_server *s, int fd, tls_context *tls, void *door)
{
    server_door *d = fault_hits(FAULT_MEMORY) ? NULL : calloc(1, sizeof(*d));
    if (d == NULL) {
        close(fd);
        return fail(ERR_MEMORY, 0, "open door");
    }
    d->server = s;
    d->door = door;
    conn_settings settings = {.events = &exchange_events, .tls = tls};
    err e = listener_open(&d->listener, s->settings.loop, fd, &settings, server_on_accept, d);
    if (e.code != OK) {
        free(d);
        return e;
    }
    d->next = s->doors;
    s->doors = d;
    return ok();
}

static void doors_close(http_server *s)
{
    for (server_door *d = s->doors; d != NULL; d = d->next) {
        if (d->listener != NULL)
            listener_close(d->listener);
        d->listener = NULL;
    }
}

void http_server_drain(http_server *s)
{
    s->draining = true;
    doors_close(s);
    for (http_exchange *x = s->first, *next; x != NULL; x = next) {
        next = x->next; // closing an idle one calls no hook, so the list stays as it is
        x->last = true;
        // Nothing of a request has come: nobody waits for an answer.
        if (x->phase == PHASE_HEAD && x->head_len == 0 && x->rest.len == 0 && !x->pumping)
            exchange_break(x, false);
    }
}

void http_server_close(http_server *s)
{
    if (s == NULL)
        return;
    s->users++;
    s->draining = s->closed = true;
    doors_close(s);
    while (s->first != NULL)
        exchange_break(s->first, true);
    while (s->spare != NULL) {
        http_exchange *x = s->spare;
        s->spare = x->next;
        exchange_free(x);
    }
    while (s->doors != NULL) {
        server_door *d = s->doors;
        s->doors = d->next;
        free(d);
    }
    timer_close(s->sweep);
    http_server_release(s);
}

size_t http_server_connections(const http_server *s)
{
    return s->connections;
}
