// Snapshots of a shard: a copy of the store's file in pieces in the shard's own stream.
//
// The happy path of a node that starts is: the newest snapshot's mark, its pieces, the file. The
// happy path of the node that wrote the entry at which one is due: a copy of the file, its pieces,
// the mark; then entries before the snapshot before this one are removed, and that one's pieces.
// What can fail: anything, at any point; then the former mark counts, and the next one is due later.
#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/str.h"
#include "mesh/nats_inner.h"
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
    API_MS = 2000,
    QUIET_MS = 3000, // without a piece: from the start
    AGAIN_MS = 200,
    ID_TEXT = 17,
};

// The mark of a snapshot, as it stands under snap.SHARD.done.
typedef struct mark {
    char id[ID_TEXT];
    uint64_t revision, bytes, pieces;
    char sha256[SHA256_HEX + 1];
} mark;

static err mark_read(arena *a, str text, mark *out)
{
    const json *j = NULL;
    TRY(json_read(a, text, &j, NULL));
    str id = json_text(j, "id"), hash = json_text(j, "sha256");
    if (id.len != ID_TEXT - 1 || hash.len != SHA256_HEX)
        return fail(ERR_SYNTAX, 0, "malformed mark of a snapshot");
    for (size_t i = 0; i < id.len; i++)
        if (!((id.at[i] >= '0' && id.at[i] <= '9') || (id.at[i] >= 'a' && id.at[i] <= 'f')))
            return fail(ERR_SYNTAX, 0, "malformed mark of a snapshot");
    *out = (mark){.revision = json_whole(j, "revision", 0),
                  .bytes = json_whole(j, "bytes", 0),
                  .pieces = json_whole(j, "pieces", 0)};
    memcpy(out->id, id.at, id.len);
    memcpy(out->sha256, hash.at, hash.len);
    return ok();
}

static void random_hex(char out[ID_TEXT])
{
    unsigned char bytes[(ID_TEXT - 1) / 2];
    random_bytes(bytes, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++)
        (void)snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

static void hash_drop(sha256_stream **hash)
{
    if (*hash != NULL)
        (void)sha256_stream_close(*hash);
    *hash = NULL;
}

// ---- reading from the stream: a consumer of its own for each question

typedef struct reading {
    nats_log *log;
    nats_subscription *delivery;
    uint64_t request;
    char id[ID_TEXT];
    void (*on_none)(nats_log *l);
    void (*on_message)(nats_log *l, str payload);
    void (*on_failure)(nats_log *l, err e);
} reading;

static void reading_close(reading *r)
{
    if (r->request != 0)
        nats_request_cancel(r->log->n->link, r->request);
    r->request = 0;
    if (r->delivery != NULL)
        nats_unsubscribe(r->delivery);
    r->delivery = NULL;
}

static void reading_on_delivery(void *data, const nats_message *m)
{
    reading *r = data;
    if (m->status != 0) {
        if (m->reply.len > 0)
            nats_say(r->log->n, m->reply, STR(""));
        return;
    }
    r->on_message(r->log, m->payload);
}

static void reading_on_created(void *data, err e, const nats_message *m)
{
    reading *r = data;
    r->request = 0;
    OWNED(arena_drop) arena *a = NULL;
    const json *reply = NULL;
    if (e.code == OK)
        e = arena_open(&a, 1 << 20);
    if (e.code == OK)
        e = json_read(a, m->payload, &reply, NULL);
    if (e.code == OK && json_field(reply, "error") != NULL)
        e = fail(ERR_BUSY, (int)json_whole(json_field(reply, "error"), "err_code", 0),
                 "no snapshot can be read now");
    if (e.code == ERR_CLOSED)
        return;
    if (e.code != OK)
        r->on_failure(r->log, e);
    else if (json_whole(reply, "num_pending", 0) == 0 && r->on_none != NULL)
        r->on_none(r->log);
}

static void reading_start(reading *r, nats_log *l, const char *filter, bool last)
{
    char to[4 * NAME_BYTES_MAX], subject[4 * NAME_BYTES_MAX], body[1024];
    r->log = l;
    random_hex(r->id);
    (void)snprintf(to, sizeof to, "to.%s.%s.%s", l->n->node, l->name, r->id);
    (void)snprintf(subject, sizeof subject, "$JS.API.CONSUMER.CREATE.%s.%.40s_s%s.%s", l->name,
                   l->n->node, r->id, filter);
    int len = snprintf(body, sizeof body,
                       "{\"stream_name\":\"%s\",\"config\":{\"name\":\"%.40s_s%s\","
                       "\"deliver_subject\":\"%s\",\"deliver_policy\":\"%s\",\"ack_policy\":\"none\","
                       "\"replay_policy\":\"instant\",\"max_deliver\":1,\"filter_subject\":\"%s\","
                       "\"flow_control\":true,\"idle_heartbeat\":1000000000,"
                       "\"inactive_threshold\":10000000000,\"num_replicas\":1,"
                       "\"mem_storage\":true}}",
                       l->name, l->n->node, r->id, to, last ? "last" : "all", filter);
    str payload = {body, (size_t)len};
    err e = len < (int)sizeof body
                ? nats_subscribe_delivery(&r->delivery, l->n->link, str_of(to), STR(""),
                                          reading_on_delivery, r)
                : fail(ERR_LIMIT, 0, "subject of a snapshot");
    if (e.code != OK) {
        r->on_failure(l, e);
        return;
    }
    r->request = nats_request(l->n->link,
                              &(nats_outgoing){.subject = str_of(subject),
                                               .pieces = &payload,
                                               .pieces_count = 1},
                              API_MS, reading_on_created, r);
}

// ---- taking one

struct snapshot_fetch {
    reading reading;
    later again;
    snapshot_done *done;
    mark mark;
    uint64_t pieces, bytes, quiet_since_ms, seen_pieces;
    sha256_stream *hash;
    int file;
};

static void fetch_free(nats_log *l)
{
    struct snapshot_fetch *f = l->fetch;
    if (f == NULL)
        return;
    l->fetch = NULL;
    reading_close(&f->reading);
    nats_later_cancel(&f->again);
    if (f->file >= 0)
        (void)close(f->file);
    hash_drop(&f->hash);
    free(f);
}

static void fetch_end(nats_log *l, err e, bool loaded)
{
    snapshot_done *done = l->fetch->done;
    fetch_free(l);
    done(l, e, loaded);
}

static void fetch_again(nats_log *l, err e)
{
    log_line(l->n->log, LOG_DEBUG, "snapshot not read yet", "log", str_of(l->name), "why",
             str_of(e.what), NULL);
    reading_close(&l->fetch->reading);
    nats_later(l->n, &l->fetch->again, AGAIN_MS);
}

static void fetch_path(const nats_log *l, char out[PATH_MAX])
{
    (void)snprintf(out, PATH_MAX, "%.*s.new", PATH_MAX - 8, l->path);
}

static err fetch_install(nats_log *l)
{
    struct snapshot_fetch *f = l->fetch;
    char path[PATH_MAX], side[PATH_MAX], hex[SHA256_HEX + 1];
    sha256_hex(sha256_stream_close(f->hash), hex);
    f->hash = NULL;
    if (strcmp(hex, f->mark.sha256) != 0)
        return fail(ERR_SYNTAX, 0, "the snapshot is not what its mark says");
    fetch_path(l, path);
    // Remains of the former file would be taken for parts of this one.
    static const char *const sides[] = {"-wal", "-shm"};
    for (size_t i = 0; i < COUNT(sides); i++) {
        (void)snprintf(side, sizeof side, "%.*s%s", PATH_MAX - 8, l->path, sides[i]);
        if (unlink(side) != 0 && errno != ENOENT)
            return fail_errno(errno, "remove the former copy");
    }
    return rename(path, l->path) == 0 ? ok() : fail_errno(errno, "take over the snapshot");
}

static void fetch_on_piece(nats_log *l, str payload)
{
    struct snapshot_fetch *f = l->fetch;
    f->quiet_since_ms = clock_now_ms();
    sha256_stream_add(f->hash, payload);
    if (write(f->file, payload.at, payload.len) != (ssize_t)payload.len) {
        fetch_again(l, fail_errno(errno, "write the snapshot"));
        return;
    }
    f->bytes += payload.len;
    if (++f->pieces < f->mark.pieces)
        return;
    err e = fetch_install(l);
    if (e.code == OK)
        fetch_end(l, ok(), true);
    else
        fetch_again(l, e);
}

static void fetch_on_no_pieces(nats_log *l)
{
    if (l->fetch->pieces == 0)
        fetch_again(l, fail(ERR_ABSENT, 0, "a later snapshot has taken this one's place"));
}

static void fetch_on_mark(nats_log *l, str payload)
{
    struct snapshot_fetch *f = l->fetch;
    OWNED(arena_drop) arena *a = NULL;
    char path[PATH_MAX], filter[3 * NAME_BYTES_MAX];
    uint64_t there = 0;
    reading_close(&f->reading);
    err e = arena_open(&a, 1 << 16);
    if (e.code == OK)
        e = mark_read(a, payload, &f->mark);
    if (e.code != OK) {
        fetch_again(l, e);
        return;
    }
    if (store_file_revision(l->path, &there).code == OK &&
        there / REVISIONS_PER_ENTRY >= f->mark.revision / REVISIONS_PER_ENTRY) {
        fetch_end(l, ok(), false);
        return;
    }
    fetch_path(l, path);
    (void)unlink(path);
    f->file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (f->file < 0 || sha256_stream_open(&f->hash).code != OK) {
        fetch_again(l, fail_errno(errno, "write the snapshot"));
        return;
    }
    (void)snprintf(filter, sizeof filter, "snap.%s.%s.*", l->name, f->mark.id);
    f->reading.on_none = fetch_on_no_pieces;
    f->reading.on_message = fetch_on_piece;
    reading_start(&f->reading, l, filter, false);
    f->quiet_since_ms = clock_now_ms();
    nats_later(l->n, &f->again, QUIET_MS);
}

static void fetch_on_none(nats_log *l)
{
    fetch_end(l, ok(), false);
}

static void fetch_start(nats_log *l)
{
    struct snapshot_fetch *f = l->fetch;
    char filter[3 * NAME_BYTES_MAX];
    (void)snprintf(filter, sizeof filter, "snap.%s.done", l->name);
    reading_close(&f->reading);
    hash_drop(&f->hash);
    if (f->file >= 0)
        (void)close(f->file);
    f->file = -1;
    f->pieces = f->bytes = 0;
    f->reading.on_none = fetch_on_none;
    f->reading.on_message = fetch_on_mark;
    f->reading.on_failure = fetch_again;
    reading_start(&f->reading, l, filter, true);
}

static void fetch_on_again(void *data)
{
    nats_log *l = data;
    struct snapshot_fetch *f = l->fetch;
    uint64_t quiet = clock_now_ms() - f->quiet_since_ms;
    if (f->file >= 0 && f->reading.delivery != NULL && quiet < QUIET_MS)
        nats_later(l->n, &f->again, QUIET_MS - quiet);
    else
        fetch_start(l);
}

void nats_snapshot_fetch(nats_log *l, snapshot_done *done)
{
    struct snapshot_fetch *f = mesh_must_take(sizeof *f);
    f->done = done;
    f->file = -1;
    f->again.run = fetch_on_again;
    f->again.data = l;
    l->fetch = f;
    fetch_start(l);
}

// ---- making one

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
    void (*next)(struct snapshot_make *k);
};

static void make_free(struct snapshot_make *k)
{
    if (k->log != NULL) {
        k->log->snapshot_due = 0;
        reading_close(&k->reading);
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
        e = json_read(a, m->payload, &reply, NULL);
    if (e.code == OK && json_field(reply, "error") != NULL)
        e = fail(ERR_BUSY, (int)json_whole(json_field(reply, "error"), "err_code", 0),
                 "the stream takes nothing now");
    if (e.code != OK)
        make_fail(k, e);
    else
        k->next(k);
}

static void
make_send(struct snapshot_make *k, const char *subject, str payload, void (*next)(struct snapshot_make *))
{
    k->next = next;
    k->request = nats_request(k->log->n->link,
                              &(nats_outgoing){.subject = str_of(subject),
                                               .pieces = &payload,
                                               .pieces_count = 1},
                              API_MS, make_on_ack, k);
}

static void make_done(struct snapshot_make *k)
{
    log_line(k->log->n->log, LOG_INFO, "snapshot made", "log", str_of(k->log->name), NULL);
    make_free(k);
}

static void make_purge_pieces(struct snapshot_make *k)
{
    char subject[2 * NAME_BYTES_MAX], body[256];
    (void)snprintf(subject, sizeof subject, "$JS.API.STREAM.PURGE.%s", k->log->name);
    (void)snprintf(body, sizeof body, "{\"filter\":\"snap.%s.%s.*\"}", k->log->name, k->former.id);
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
    OWNED(hash_drop) sha256_stream *hash = NULL;
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

static void make_start(nats_log *l)
{
    struct snapshot_make *k = l->make;
    reading_close(&k->reading);
    k->working = true;
    err e = loop_work(l->n->engine.loop, make_copy_work, make_copy_done, k);
    if (e.code != OK) {
        k->working = false;
        make_fail(k, e);
    }
}

static void make_on_former(nats_log *l, str payload)
{
    OWNED(arena_drop) arena *a = NULL;
    if (arena_open(&a, 1 << 16).code != OK || mark_read(a, payload, &l->make->former).code != OK)
        l->make->former = (mark){.revision = 0}; // then nothing is removed
    if (l->make->former.revision / REVISIONS_PER_ENTRY >= l->snapshot_due)
        make_free(l->make); // another node has made it
    else
        make_start(l);
}

static void make_on_failure(nats_log *l, err e)
{
    make_fail(l->make, e);
}

void nats_snapshot_maybe(nats_log *l, uint64_t former, uint64_t entry, bool ours)
{
    char filter[3 * NAME_BYTES_MAX];
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
    random_hex(k->mark.id);
    l->make = k;
    k->reading.on_none = make_start;
    k->reading.on_message = make_on_former;
    k->reading.on_failure = make_on_failure;
    (void)snprintf(filter, sizeof filter, "snap.%s.done", l->name);
    reading_start(&k->reading, l, filter, true);
}

void nats_snapshot_close(nats_log *l)
{
    fetch_free(l);
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
