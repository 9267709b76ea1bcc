// Writes commits of this node to a shard's log: one entry under way at a time, all that waits in
// it.
//
// The happy path is: what waits becomes an entry, the server acknowledges that it is durable, the
// entry comes back in the log's order, each commit is told what became of it. What can fail: no
// answer, no leader (the same entry is sent again: its number makes it count once), a full disk
// (refused for sure: told, and the next entry has another number).
#include "base/clock.h"
#include "base/fault.h"
#include "base/json.h"
#include "base/str.h"
#include "mesh/nats_inner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ACK_MS = 300, // then twice that, and so on
    ACK_MS_MAX = 4000,
    RESEND_MS = 50,
    REPLY_BYTES = 64 * 1024,
    JS_INSUFFICIENT_RESOURCES = 10023, // error codes of JetStream's API
    JS_STREAM_STORE_FAILED = 10077,
    JS_STORAGE_EXCEEDED = 10047,
};

static void flight_send(nats_log *l);

static void log_commit_end(log_commit *c, err e, uint64_t revision)
{
    chain_remove(&c->link);
    if (c->done != NULL)
        c->done(c->data, e, revision);
    buf_close(&c->bytes);
    free(c);
}

// Who waits for the entry under way. What they commit when they hear it is none of these.
static void flight_tell(nats_log *l, err e)
{
    log_commit *c;
    chain told;
    chain_init(&told);
    while ((c = chain_first(&l->flying)) != NULL) {
        chain_remove(&c->link);
        chain_add(&told, &c->link);
    }
    while ((c = chain_first(&told)) != NULL)
        log_commit_end(c, e, 0);
}

// Nothing of it was written, nor will be.
static void flight_refused(nats_log *l, err e)
{
    l->in_flight = false;
    flight_tell(l, e);
    nats_write_pump(l);
}

// Whether it will count is not known: the log may have it, or take it when it is sent again.
void nats_write_full(nats_log *l)
{
    flight_tell(l, fail(ERR_FULL, 0, "no space left: it counts once there is room"));
}

static err ack_read(arena *a, str payload, uint64_t *entry)
{
    const json *reply = NULL;
    err e = nats_api_read(a, payload, "the log takes no entry now", &reply);
    if (e.code == OK)
        *entry = json_whole(reply, "seq", 0);
    bool full =
        e.code == ERR_BUSY && (e.sys == JS_INSUFFICIENT_RESOURCES || e.sys == JS_STORAGE_EXCEEDED ||
                               e.sys == JS_STREAM_STORE_FAILED);
    return full ? fail(ERR_FULL, 0, "no space left on the elders' disks") : e;
}

static void flight_on_ack(void *data, err e, const nats_message *m)
{
    nats_log *l = data;
    uint64_t entry = 0;
    l->flight_request = 0;
    if (!l->in_flight || e.code == ERR_CLOSED)
        return;
    OWNED(arena_drop) arena *a = NULL;
    if (e.code == OK)
        e = arena_open(&a, REPLY_BYTES);
    if (e.code == OK)
        e = ack_read(a, m->payload, &entry);
    if (e.code == OK) {
        if (entry > l->target)
            l->target = entry; // it is on its way to us as well
        return;
    }
    if (e.code == ERR_FULL && l->sends == 1) { // else an earlier one may be in the log
        flight_refused(l, e);
        return;
    }
    if (e.code == ERR_FULL)
        nats_write_full(l);
    log_line(l->n->log, LOG_DEBUG, "an entry is sent again", "log", str_of(l->name), "why",
             str_of(e.what), NULL);
    l->ack_ms = l->ack_ms * 2 < ACK_MS_MAX ? l->ack_ms * 2 : ACK_MS_MAX;
    nats_later(l->n, &l->resend, RESEND_MS);
}

static void flight_on_resend(void *data)
{
    nats_log *l = data;
    if (l->in_flight && l->flight_request == 0)
        flight_send(l);
}

static void flight_send(nats_log *l)
{
    l->sends++;
    l->resend.run = flight_on_resend;
    l->resend.data = l;
    char subject[3 * NAME_BYTES_MAX];
    (void)snprintf(subject, sizeof subject, "log.%s.%s.%s", l->name, l->role, l->n->node);
    str payload = buf_str(&l->flight);
    l->flight_request = nats_request(
        l->n->link,
        &(nats_outgoing){.subject = str_of(subject), .pieces = &payload, .pieces_count = 1},
        l->ack_ms, flight_on_ack, l);
}

void nats_write_pump(nats_log *l)
{
    if (l->in_flight || l->closing || chain_first(&l->waiting) == NULL)
        return;
    size_t count = 0, bytes = 0;
    log_commit *c;
    for (chain *at = l->waiting.next; at != &l->waiting; at = at->next) {
        bytes += ((log_commit *)at)->bytes.len;
        if (count == ENTRY_COMMITS_MAX || (count > 0 && bytes > MESH_COMMIT_BYTES_MAX))
            break;
        count++;
    }
    log_entry head = {.number = ++l->number, .after = l->applied, .count = count};
    memcpy(head.writer, l->n->engine.origin, WRITER_BYTES);
    buf_clear(&l->flight);
    entry_head_write(&l->flight, &head);
    for (size_t i = 0; i < count; i++) {
        c = chain_first(&l->waiting);
        buf_add(&l->flight, buf_str(&c->bytes));
        buf_close(&c->bytes);
        c->number = i;
        chain_remove(&c->link);
        chain_add(&l->flying, &c->link);
    }
    l->ack_ms = ACK_MS;
    l->sends = 0;
    l->in_flight = true;
    if (l->flight.error.code != OK) {
        flight_refused(l, l->flight.error);
        return;
    }
    flight_send(l);
}

void nats_log_commit(nats_log *l, buf *bytes, store_done *done, void *data)
{
    log_commit *c = mesh_must_take(sizeof *c);
    c->bytes = *bytes;
    buf_open(bytes, 0);
    c->done = done;
    c->data = data;
    chain_add(&l->waiting, &c->link);
    nats_write_pump(l);
}

bool nats_write_is_ours(const nats_log *l, const log_entry *entry)
{
    return l->in_flight && entry->number == l->number &&
           memcmp(entry->writer, l->n->engine.origin, WRITER_BYTES) == 0;
}

void nats_write_told(nats_log *l, size_t commit, err e, uint64_t revision)
{
    for (chain *at = l->flying.next; at != &l->flying; at = at->next)
        if (((log_commit *)at)->number == commit) {
            log_commit_end((log_commit *)at, e, revision);
            return;
        }
}

void nats_write_landed(nats_log *l)
{
    log_commit *c;
    while ((c = chain_first(&l->flying)) != NULL) // it was in the store already before a restart
        log_commit_end(c, fail(ERR_CLOSED, 0, "what became of it is not known any more"), 0);
    if (l->flight_request != 0)
        nats_request_cancel(l->n->link, l->flight_request);
    l->flight_request = 0;
    l->in_flight = false;
    nats_later_cancel(&l->resend);
    nats_write_pump(l);
}

// What was under way when the connection broke may never have arrived.
void nats_write_connected(nats_log *l)
{
    if (!l->in_flight) {
        nats_write_pump(l);
        return;
    }
    if (l->flight_request != 0)
        nats_request_cancel(l->n->link, l->flight_request);
    flight_send(l);
}

void nats_write_close(nats_log *l)
{
    log_commit *c;
    l->in_flight = false;
    nats_later_cancel(&l->resend);
    if (l->flight_request != 0)
        nats_request_cancel(l->n->link, l->flight_request);
    while ((c = chain_first(&l->flying)) != NULL || (c = chain_first(&l->waiting)) != NULL)
        log_commit_end(c, fail(ERR_CLOSED, 0, "this node left"), 0);
    buf_close(&l->flight);
}
