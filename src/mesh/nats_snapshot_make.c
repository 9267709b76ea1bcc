// Makes snapshots of a shard and shortens its log.
//
// The happy path of the node that wrote the entry at which one is due: a copy of the file, its
// pieces, the mark; then former marks, entries before the snapshot before this one and that one's
// pieces are removed. What can fail: anything, at any point; then the former mark counts, and the
// next one is due later.
#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/str.h"
#include "mesh/nats_snapshot_inner.h"
#include "mesh/permissions.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    PIECE_BYTES = 512 * 1024,
    MARK_MS = 5000, // for the former mark to come
};

struct snapshot_make {
    nats_log *log; // NULL once it has closed
    reading reading;
    uint64_t request;
    mark former, mark;
    char *path, *copy;
    err error;
    char *piece;
    size_t piece_len;
    int file;
    bool working;
    later slow;
    void (*next)(struct snapshot_make *k);
};

static void make_free(struct snapshot_make *k)
{
    if (k->log != NULL) {
        k->log->snapshot_due = 0;
        reading_close(&k->reading);
        nats_later_cancel(&k->slow);
        if (k->request != 0)
            nats_request_cancel(k->log->n->link, k->request);
        k->log->make = NULL;
    }
    if (k->working)
        return; // its thread's end frees it
    if (k->file >= 0)
        (void)close(k->file);
    (void)unlink(k->copy);
    free(k->path);
    free(k->copy);
    free(k->piece);
    free(k);
}

static void make_fail(struct snapshot_make *k, err e)
{
    log_fail(k->log->n->log, "no snapshot this time", e, "log", str_of(k->log->name), NULL);
    make_free(k);
}

static void make_on_ack(void *data, err e, const nats_message *m)
{
    struct snapshot_make *k = data;
    k->request = 0;
    if (e.code == ERR_CLOSED)
        return;
    OWNED(arena_drop) arena *a = NULL;
    const json *reply = NULL;
    if (e.code == OK)
        e = arena_open(&a, 1 << 18);
    if (e.code == OK)
        e = nats_api_read(a, m->payload, "the stream takes nothing now", &reply);
    if (e.code != OK)
        make_fail(k, e);
    else
        k->next(k);
}

static void make_send(struct snapshot_make *k,
                      const char *subject,
                      str payload,
                      void (*next)(struct snapshot_make *))
{
    k->next = next;
    k->request = nats_request(
        k->log->n->link,
        &(nats_outgoing){.subject = str_of(subject), .pieces = &payload, .pieces_count = 1},
        SNAPSHOT_API_MS, make_on_ack, k);
}

static void make_done(struct snapshot_make *k)
{
    log_line(k->log->n->log, LOG_INFO, "snapshot made", "log", str_of(k->log->name), NULL);
    make_free(k);
}

// Up to the former mark: what was left unfinished after it goes next time. Two nodes that make one
// at once take nothing from each other so.
static void make_purge_pieces(struct snapshot_make *k)
{
    char subject[2 * NAME_BYTES_MAX], body[256];
    (void)snprintf(subject, sizeof subject, "$JS.API.STREAM.PURGE.%s", k->log->name);
    (void)snprintf(body, sizeof body, "{\"filter\":\"snap.%s.>\",\"seq\":%llu}", k->log->name,
                   (unsigned long long)k->former.entry + 1);
    make_send(k, subject, str_of(body), make_done);
}

static void make_purge(struct snapshot_make *k)
{
    char subject[2 * NAME_BYTES_MAX], body[256];
    if (k->former.revision == 0) { // the first one: everything stays
        make_done(k);
        return;
    }
    (void)snprintf(subject, sizeof subject, "$JS.API.STREAM.PURGE.%s", k->log->name);
    (void)snprintf(body, sizeof body, "{\"filter\":\"log.%s.>\",\"seq\":%llu}", k->log->name,
                   (unsigned long long)(k->former.revision / REVISIONS_PER_ENTRY));
    make_send(k, subject, str_of(body), make_purge_pieces);
}

static void make_mark(struct snapshot_make *k)
{
    char subject[2 * NAME_BYTES_MAX], body[512];
    (void)snprintf(subject, sizeof subject, "snap.%s.done", k->log->name);
    (void)snprintf(body, sizeof body,
                   "{\"id\":\"%s\",\"revision\":%llu,\"bytes\":%llu,\"pieces\":%llu,"
                   "\"sha256\":\"%s\"}",
                   k->mark.id, (unsigned long long)k->mark.revision,
                   (unsigned long long)k->mark.bytes, (unsigned long long)k->mark.pieces,
                   k->mark.sha256);
    make_send(k, subject, str_of(body), make_purge);
}

static void make_piece_work(void *data)
{
    struct snapshot_make *k = data;
    ssize_t n = read(k->file, k->piece, PIECE_BYTES);
    k->error = n < 0 ? fail_errno(errno, "read the snapshot") : ok();
    k->piece_len = n > 0 ? (size_t)n : 0;
}

static void make_piece(struct snapshot_make *k);

static void make_piece_done(void *data)
{
    struct snapshot_make *k = data;
    char subject[3 * NAME_BYTES_MAX];
    k->working = false;
    if (k->log == NULL) {
        make_free(k);
        return;
    }
    if (k->error.code != OK) {
        make_fail(k, k->error);
        return;
    }
    if (k->piece_len == 0) {
        make_mark(k);
        return;
    }
    k->mark.pieces++;
    (void)snprintf(subject, sizeof subject, "snap.%s.%s.%llu", k->log->name, k->mark.id,
                   (unsigned long long)k->mark.pieces);
    make_send(k, subject, (str){k->piece, k->piece_len}, make_piece);
}

static void make_piece(struct snapshot_make *k)
{
    k->working = true;
    err e = loop_work(k->log->n->engine.loop, make_piece_work, make_piece_done, k);
    if (e.code != OK) {
        k->working = false;
        make_fail(k, e);
    }
}

static err make_copy(struct snapshot_make *k)
{
    OWNED(sha256_drop) sha256_stream *hash = NULL;
    (void)unlink(k->copy);
    TRY(store_copy_file(k->path, k->copy, &k->mark.revision));
    k->file = open(k->copy, O_RDONLY | O_CLOEXEC);
    if (k->file < 0)
        return fail_errno(errno, "read the snapshot");
    TRY(sha256_stream_open(&hash));
    ssize_t n;
    while ((n = read(k->file, k->piece, PIECE_BYTES)) > 0) {
        sha256_stream_add(hash, (str){k->piece, (size_t)n});
        k->mark.bytes += (uint64_t)n;
    }
    if (n < 0 || lseek(k->file, 0, SEEK_SET) != 0)
        return fail_errno(errno, "read the snapshot");
    sha256_hex(sha256_stream_close(hash), k->mark.sha256);
    hash = NULL;
    return ok();
}

static void make_copy_work(void *data)
{
    struct snapshot_make *k = data;
    k->error = make_copy(k);
}

static void make_copy_done(void *data)
{
    struct snapshot_make *k = data;
    k->working = false;
    if (k->log == NULL)
        make_free(k);
    else if (k->error.code != OK)
        make_fail(k, k->error);
    else
        make_piece(k);
}

static void make_on_mark(nats_log *l, const mark *newest)
{
    struct snapshot_make *k = l->make;
    k->former = *newest;
    reading_close(&k->reading);
    nats_later_cancel(&k->slow);
    if (newest->revision / REVISIONS_PER_ENTRY >= l->snapshot_due) {
        make_free(k); // another node has made it
        return;
    }
    k->working = true;
    err e = loop_work(l->n->engine.loop, make_copy_work, make_copy_done, k);
    if (e.code != OK) {
        k->working = false;
        make_fail(k, e);
    }
}

static void make_on_slow(void *data)
{
    make_fail(data, fail(ERR_TIMEOUT, 0, "the former snapshot's mark does not come"));
}

static void make_on_failure(nats_log *l, err e)
{
    make_fail(l->make, e);
}

void nats_snapshot_maybe(nats_log *l, uint64_t former, uint64_t entry, bool ours)
{
    uint64_t every = l->n->snapshot_entries;
    if (former / every != entry / every && l->caught_up)
        l->snapshot_due = entry;
    // One node makes it, mostly: who writes next, and may.
    if (!ours || l->snapshot_due == 0 || l->make != NULL ||
        !permissions_may_snapshot(l->n->shards, l->shard, str_of(l->n->protocols)))
        return;
    struct snapshot_make *k = mesh_must_take(sizeof *k);
    k->log = l;
    k->file = -1;
    k->path = mesh_must_copy(str_of(l->path));
    k->copy = mesh_must_take(PATH_MAX);
    k->piece = mesh_must_take(PIECE_BYTES);
    (void)snprintf(k->copy, PATH_MAX, "%.*s.snap", PATH_MAX - 8, l->path);
    snapshot_id(k->mark.id);
    l->make = k;
    k->reading.on_mark = make_on_mark;
    k->reading.on_failure = make_on_failure;
    k->slow.run = make_on_slow;
    k->slow.data = k;
    nats_later(l->n, &k->slow, MARK_MS);
    reading_start_mark(&k->reading, l);
}

void snapshot_make_close(nats_log *l)
{
    struct snapshot_make *k = l->make;
    if (k == NULL)
        return;
    reading_close(&k->reading);
    if (k->request != 0)
        nats_request_cancel(l->n->link, k->request);
    k->request = 0;
    bool working = k->working;
    l->make = NULL;
    k->log = NULL;
    if (!working)
        make_free(k);
}
