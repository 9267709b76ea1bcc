// Stream connections: their life, reading, and what their owners are told.
//
// One libuv handle each, so the memory goes in that handle's close callback and never earlier.
// Deadlines (handshake, last writes) hang on the loop's coarse tick; a quiet connection has no
// timer.
#include "io/conn_inner.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

err conn_new(conn **out, loop *l, const conn_settings *settings, bool unix_socket)
{
    conn *c = loop_spare_take(l, sizeof(*c));
    if (c == NULL)
        return fail(ERR_MEMORY, 0, "open connection");
    c->loop = l;
    c->events = settings->events;
    c->queue_bytes_max =
        settings->queue_bytes_max != 0 ? settings->queue_bytes_max : CONN_QUEUE_BYTES_MAX;
    c->queue_bytes_high =
        settings->queue_bytes_high != 0 ? settings->queue_bytes_high : CONN_QUEUE_BYTES_HIGH;
    c->handshake_ms = settings->handshake_ms != 0 ? settings->handshake_ms : CONN_HANDSHAKE_MS;
    c->unix_socket = unix_socket;
    if (settings->tls != NULL) {
        err e = conn_tls_open(c, settings->tls);
        if (e.code != OK) {
            loop_spare_give(l, c);
            return e;
        }
    }
    // Neither can fail without a socket to make.
    if (unix_socket)
        (void)uv_pipe_init(&l->uv, &c->io.pipe, 0);
    else
        (void)uv_tcp_init(&l->uv, &c->io.tcp);
    c->io.handle.data = c;
    *out = c;
    return ok();
}

int conn_fd(const conn *c)
{
    uv_os_fd_t fd = -1;
    return uv_fileno(&c->io.handle, &fd) == 0 ? fd : -1;
}

static void conn_on_closed(uv_handle_t *h)
{
    conn *c = h->data;
    conn_drop_queue(c);
    conn_tls_close(c);
    loop_spare_give(c->loop, c);
}

void conn_close(conn *c)
{
    if (c == NULL || c->closing)
        return;
    if (c->tls != NULL && c->ready && !c->broken && !c->writing)
        conn_tls_notify(c);
    c->closing = true;
    loop_deadline_clear(&c->deadline);
    uv_close(&c->io.handle, conn_on_closed);
}

void conn_abort(conn *c)
{
    if (c == NULL || c->closing)
        return;
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    c->broken = true; // not even a close_notify
    (void)setsockopt(conn_fd(c), SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    conn_close(c);
}

void conn_tell_end(conn *c, err e)
{
    if (c->end_told || c->closing || c->finishing)
        return;
    c->end_told = true;
    c->events->on_end(c->owner, c, e);
}

void conn_fail(conn *c, err e)
{
    if (c->closing || c->ready)
        return;
    loop_deadline_clear(&c->deadline);
    c->broken = true;
    conn_connected *on_connect = c->on_connect;
    if (on_connect == NULL) {
        (void)uv_read_stop(&c->io.stream);
        c->read_ended = true;
        conn_tell_end(c, e);
        return;
    }
    c->on_connect = NULL;
    conn_close(c);
    on_connect(c->owner, c, e);
}

void conn_become_ready(conn *c)
{
    loop_deadline_clear(&c->deadline);
    c->ready = true;
    if (c->paused)
        (void)uv_read_stop(&c->io.stream); // asked for during the handshake
    conn_connected *on_connect = c->on_connect;
    c->on_connect = NULL;
    if (on_connect != NULL)
        on_connect(c->owner, c, ok());
    else if (c->tls != NULL && c->events->on_ready != NULL)
        c->events->on_ready(c->owner, c);
}

static void conn_on_room(uv_handle_t *h, size_t wanted, uv_buf_t *out)
{
    (void)wanted;
    const conn *c = h->data;
    *out = (uv_buf_t){.base = c->loop->read_bytes, .len = LOOP_READ_BYTES};
}

static void conn_on_end(conn *c, ssize_t number)
{
    c->read_ended = true;
    if (c->finishing) {
        if (number != UV_EOF || !c->writing)
            conn_close(c);
        return;
    }
    err e = number == UV_EOF ? ok() : io_fail((int)number, "read from connection");
    if (e.code != OK)
        c->broken = true;
    if (c->tls != NULL)
        conn_tls_ended(c, e);
    else
        conn_tell_end(c, e);
}

static void conn_on_read(uv_stream_t *s, ssize_t count, const uv_buf_t *b)
{
    conn *c = s->data;
    loop_wake(c->loop);
    if (c->closing || count == 0)
        return;
    if (count < 0)
        conn_on_end(c, count);
    else if (c->finishing)
        return; // nobody listens any more
    else if (c->tls != NULL)
        conn_tls_feed(c, (str){b->base, (size_t)count});
    else
        c->events->on_read(c->owner, c, (str){b->base, (size_t)count});
}

void conn_start_reading(conn *c)
{
    if (!c->closing && !c->read_ended)
        (void)uv_read_start(&c->io.stream, conn_on_room, conn_on_read);
}

void conn_pause(conn *c)
{
    if (c->closing || c->finishing || c->paused)
        return;
    c->paused = true;
    if (c->ready)
        (void)uv_read_stop(&c->io.stream);
}

void conn_resume(conn *c)
{
    if (c->closing || c->finishing || !c->paused)
        return;
    c->paused = false;
    if (c->tls != NULL && c->tls->stash != NULL)
        conn_tls_resume(c); // reading goes on after those bytes
    else if (c->ready)
        conn_start_reading(c);
}

void conn_set_owner(conn *c, void *owner)
{
    c->owner = owner;
}

void conn_set_events(conn *c, const conn_events *events)
{
    c->events = events;
}

void *conn_owner(conn *c)
{
    return c->owner;
}

const tls_peer *conn_peer(const conn *c)
{
    return c->tls != NULL && c->tls->has_peer ? &c->tls->peer : NULL;
}

const char *conn_address(const conn *c)
{
    if (c->unix_socket)
        return "unix";
    conn *cache = (conn *)c; // filled at the first question, the same ever after
    if (c->address[0] != '\0')
        return c->address;
    io_address name = {0};
    socklen_t len = sizeof(name);
    char text[INET6_ADDRSTRLEN] = "";
    if (c->closing || getpeername(conn_fd(c), &name.any, &len) != 0)
        return "unknown";
    bool six = name.any.sa_family == AF_INET6;
    const void *number = six ? (const void *)&name.six.sin6_addr : &name.four.sin_addr;
    (void)inet_ntop(name.any.sa_family, number, text, sizeof(text));
    (void)snprintf(cache->address, sizeof(cache->address), six ? "[%s]:%u" : "%s:%u", text,
                   (unsigned)io_address_port(&name));
    return c->address;
}
