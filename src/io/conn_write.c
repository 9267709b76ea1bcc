// Writing: straight to the kernel while nothing waits, else into a queue of chunks with a limit.
//
// The happy path is one writev() and no allocation. What the kernel does not take is copied; libuv
// gets up to SEND_CHUNKS chunks at a time, so that the queue's length and on_drain stay truthful.
#include "io/conn_inner.h"

#include <string.h>
#include <sys/socket.h>

enum {
    SEND_PIECES = 32, // per writev()
    SEND_CHUNKS = 4,
    CHUNK_BYTES_MIN = 16 * 1024,
    CHUNK_BYTES_MAX = 256 * 1024,
};

size_t conn_write_queued(const conn *c)
{
    return c->unsent_bytes + (c->writing ? uv_stream_get_write_queue_size(&c->io.stream) : 0);
}

bool conn_write_full(const conn *c)
{
    return conn_write_queued(c) > c->queue_bytes_high;
}

static void conn_chunk_pop(conn *c)
{
    conn_chunk *k = c->chunks;
    c->chunks = k->next;
    if (c->chunks == NULL)
        c->chunks_last = NULL;
    free(k);
}

void conn_drop_queue(conn *c)
{
    // Chunks that libuv has stay until it gives them back.
    conn_chunk *kept = NULL;
    for (conn_chunk *k = c->chunks; k != c->unsent; k = k->next)
        kept = k;
    for (conn_chunk *k = c->unsent, *next; k != NULL; k = next) {
        next = k->next;
        free(k);
    }
    if (kept != NULL)
        kept->next = NULL;
    else
        c->chunks = NULL;
    c->chunks_last = kept;
    c->unsent = NULL;
    c->unsent_bytes = 0;
}

static err conn_queue_add(conn *c, str bytes)
{
    while (bytes.len > 0) {
        conn_chunk *k = c->unsent != NULL ? c->chunks_last : NULL;
        if (k == NULL || k->len == k->room) {
            size_t room = bytes.len > CHUNK_BYTES_MAX ? CHUNK_BYTES_MAX : bytes.len;
            room = room < CHUNK_BYTES_MIN ? CHUNK_BYTES_MIN : room;
            k = fault_hits(FAULT_MEMORY) ? NULL : malloc(sizeof(*k) + room);
            if (k == NULL)
                return fail(ERR_MEMORY, 0, "queue write");
            *k = (conn_chunk){.room = room};
            if (c->chunks_last != NULL)
                c->chunks_last->next = k;
            else
                c->chunks = k;
            c->chunks_last = k;
            if (c->unsent == NULL)
                c->unsent = k;
        }
        size_t len = k->room - k->len < bytes.len ? k->room - k->len : bytes.len;
        memcpy(k->at + k->len, bytes.at, len);
        k->len += len;
        c->unsent_bytes += len;
        bytes.at += len;
        bytes.len -= len;
    }
    return ok();
}

static void conn_send_queue(conn *c);

static void conn_on_written(uv_write_t *w, int status)
{
    conn *c = w->handle->data;
    loop_wake(c->loop);
    c->writing = false;
    while (c->chunks != c->unsent)
        conn_chunk_pop(c);
    if (c->closing)
        return;
    if (status < 0) {
        c->broken = true;
        conn_drop_queue(c);
        if (c->finishing)
            conn_close(c);
        else
            conn_tell_end(c, io_fail(status, "write to connection"));
        return;
    }
    if (c->unsent != NULL)
        conn_send_queue(c);
    else if (c->finishing)
        conn_finish_writes(c);
    if (c->full && !c->closing && !c->finishing &&
        conn_write_queued(c) <= c->queue_bytes_high / 2) {
        c->full = false;
        if (c->events->on_drain != NULL)
            c->events->on_drain(c->owner, c);
    }
}

static void conn_send_queue(conn *c)
{
    uv_buf_t bufs[SEND_CHUNKS];
    unsigned count = 0;
    conn_chunk *k = c->unsent;
    for (; k != NULL && count < SEND_CHUNKS; k = k->next) {
        bufs[count++] = (uv_buf_t){.base = k->at, .len = k->len};
        c->unsent_bytes -= k->len;
    }
    c->unsent = k;
    c->writing = true;
    int rc = uv_write(&c->request.write, &c->io.stream, bufs, count, conn_on_written);
    if (rc == 0)
        return;
    // Never seen: libuv refuses only what is no longer a stream. The read side reports the end.
    c->writing = false;
    c->broken = true;
    while (c->chunks != c->unsent)
        conn_chunk_pop(c);
    conn_drop_queue(c);
}

// As much as the kernel takes at once; *taken counts it.
static err conn_send_now(conn *c, const str *pieces, size_t count, size_t *taken)
{
    for (size_t at = 0; at < count;) {
        uv_buf_t bufs[SEND_PIECES];
        unsigned some = 0;
        size_t total = 0;
        for (; at < count && some < SEND_PIECES; at++) {
            if (pieces[at].len == 0)
                continue;
            bufs[some++] = (uv_buf_t){.base = (char *)pieces[at].at, .len = pieces[at].len};
            total += pieces[at].len;
        }
        if (some == 0)
            return ok();
        int rc = fault_hits(FAULT_WRITE) ? UV_ECONNRESET : uv_try_write(&c->io.stream, bufs, some);
        if (rc == UV_EAGAIN)
            return ok();
        if (rc < 0) {
            c->broken = true;
            return fail(ERR_CLOSED, -rc, "write to connection");
        }
        *taken += (size_t)rc;
        if ((size_t)rc < total)
            return ok();
    }
    return ok();
}

err conn_send(conn *c, const str *pieces, size_t count)
{
    size_t taken = 0;
    if (c->broken)
        return fail(ERR_CLOSED, 0, "write to connection");
    if (!c->writing)
        TRY(conn_send_now(c, pieces, count, &taken));
    for (size_t i = 0; i < count; i++) {
        if (taken >= pieces[i].len) {
            taken -= pieces[i].len;
            continue;
        }
        err e = conn_queue_add(c, (str){pieces[i].at + taken, pieces[i].len - taken});
        if (e.code != OK) {
            c->broken = true; // a gap in the stream must not be followed by more of it
            conn_drop_queue(c);
            return e;
        }
        taken = 0;
    }
    if (c->unsent != NULL && !c->writing)
        conn_send_queue(c);
    if (c->writing && conn_write_full(c))
        c->full = true;
    return ok();
}

err conn_write(conn *c, const str *pieces, size_t count)
{
    if (c->closing || c->finishing || c->broken)
        return fail(ERR_CLOSED, 0, "write to connection");
    if (!c->ready)
        return fail(ERR_BUSY, 0, "connection is not ready");
    size_t total = conn_write_queued(c);
    for (size_t i = 0; i < count; i++)
        if (__builtin_add_overflow(total, pieces[i].len, &total))
            total = SIZE_MAX;
    if (total > c->queue_bytes_max)
        return fail(ERR_LIMIT, 0, "connection's write queue");
    return c->tls != NULL ? conn_tls_write(c, pieces, count) : conn_send(c, pieces, count);
}

void conn_finish_writes(conn *c)
{
    if (c->read_ended || c->broken || c->hurried) {
        conn_close(c);
        return;
    }
    // Closing while the peer still sends would reset the connection and destroy our last bytes on
    // their way (RFC 9112 9.6): half close, drop what comes, wait for its end.
    (void)shutdown(conn_fd(c), SHUT_WR);
    c->paused = false;
    conn_start_reading(c);
}

static void conn_on_finish_late(loop_deadline *d)
{
    conn *c = (conn *)((char *)d - offsetof(conn, deadline));
    if (c->writing)
        conn_abort(c); // cut short: the peer shall not take it for whole
    else
        conn_close(c);
}

void conn_close_after_writes(conn *c)
{
    if (c->closing || c->finishing)
        return;
    if (c->broken || !c->ready) {
        conn_abort(c);
        return;
    }
    if (c->tls != NULL)
        conn_tls_notify(c);
    c->finishing = true;
    loop_deadline_set(c->loop, &c->deadline, CONN_FINISH_MS, conn_on_finish_late);
    if (!c->writing)
        conn_finish_writes(c);
}

void conn_close_when_written(conn *c)
{
    if (c->closing || c->finishing)
        return;
    c->hurried = true;
    if (c->ready && !c->broken && !c->writing)
        conn_close(c); // the kernel sends what it has taken, a close_notify included
    else
        conn_close_after_writes(c);
}
