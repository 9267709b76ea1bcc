// Takes the newest snapshot of a shard: a copy of its store's file, in pieces in its own stream.
//
// The happy path of a node that starts is: the newest snapshot's mark, its pieces, the file. What
// can fail: the servers (asked again), the disk (the same, later), a snapshot that is removed while
// it is read (there is a newer one).
#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/str.h"
#include "mesh/nats_snapshot_inner.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    QUIET_MS = 3000, // without a piece: from the start
    AGAIN_MS = 200,
};

static err mark_read(arena *a, str text, mark *out)
{
    const json *j = NULL;
    TRY(json_read(a, text, &j, NULL));
    str id = json_text(j, "id"), hash = json_text(j, "sha256");
    if (id.len != MARK_ID_TEXT - 1 || hash.len != SHA256_HEX)
        return fail(ERR_SYNTAX, 0, "malformed mark of a snapshot");
    for (size_t i = 0; i < id.len; i++)
        if (!((id.at[i] >= '0' && id.at[i] <= '9') || (id.at[i] >= 'a' && id.at[i] <= 'f')))
            return fail(ERR_SYNTAX, 0, "malformed mark of a snapshot");
    *out = (mark){.entry = out->entry,
                  .revision = json_whole(j, "revision", 0),
                  .bytes = json_whole(j, "bytes", 0),
                  .pieces = json_whole(j, "pieces", 0)};
    memcpy(out->id, id.at, id.len);
    memcpy(out->sha256, hash.at, hash.len);
    return ok();
}

void snapshot_id(char out[MARK_ID_TEXT])
{
    hex_random(out, (MARK_ID_TEXT - 1) / 2);
}

void sha256_drop(sha256_stream **hash)
{
    if (*hash != NULL)
        (void)sha256_stream_close(*hash);
    *hash = NULL;
}

// ---- reading from the stream

void reading_close(reading *r)
{
    if (r->request != 0)
        nats_request_cancel(r->log->n->link, r->request);
    r->request = 0;
    if (r->delivery != NULL)
        nats_unsubscribe(r->delivery);
    r->delivery = NULL;
}

static void reading_on_mark(reading *r, const delivery_meta *meta, str payload)
{
    OWNED(arena_drop) arena *a = NULL;
    mark m = {.entry = meta->entry};
    err e = arena_open(&a, 1 << 16);
    if (e.code == OK && mark_read(a, payload, &m).code == OK)
        r->newest = m;
    if (e.code != OK)
        r->on_failure(r->log, e);
    else if (meta->pending == 0)
        r->on_mark(r->log, &r->newest);
}

static void reading_on_delivery(void *data, const nats_message *m)
{
    reading *r = data;
    delivery_meta meta;
    if (m->status != 0) {
        if (m->reply.len > 0)
            nats_say(r->log->n, m->reply, STR(""));
    } else if (!nats_delivery_read(m->reply, &meta)) {
        return; // no consumer's
    } else if (r->pieces) {
        r->on_piece(r->log, m->payload);
    } else {
        reading_on_mark(r, &meta, m->payload);
    }
}

static void reading_on_created(void *data, err e, const nats_message *m)
{
    reading *r = data;
    r->request = 0;
    uint64_t pending = 1;
    if (e.code == OK)
        e = nats_follow_read(m->payload, &pending);
    if (e.code == ERR_CLOSED)
        return;
    if (e.code != OK)
        r->on_failure(r->log, e);
    else if (pending == 0 && r->pieces)
        r->on_none(r->log);
    else if (pending == 0 && r->newest.revision == 0)
        r->on_mark(r->log, &r->newest);
}

static void reading_start(reading *r, nats_log *l, const char *what)
{
    char to[4 * NAME_BYTES_MAX], question[6 * NAME_BYTES_MAX];
    r->log = l;
    r->newest = (mark){.revision = 0};
    snapshot_id(r->id);
    (void)snprintf(to, sizeof to, "to.%s.%s.%s", l->n->node, l->name, r->id);
    (void)snprintf(question, sizeof question, "{\"deliver\":\"%s\",\"name\":\"%.40s_s%s\",%s}", to,
                   l->n->node, r->id, what);
    err e = nats_subscribe_delivery(&r->delivery, l->n->link, str_of(to), STR(""),
                                    reading_on_delivery, r);
    if (e.code != OK)
        r->on_failure(l, e);
    else
        r->request = nats_follow(l, question, SNAPSHOT_API_MS, reading_on_created, r);
}

void reading_start_mark(reading *r, nats_log *l)
{
    r->pieces = false;
    reading_start(r, l, "\"mark\":true");
}

void reading_start_pieces(reading *r, nats_log *l, const char *snapshot)
{
    char what[64];
    r->pieces = true;
    (void)snprintf(what, sizeof what, "\"snapshot\":\"%.16s\"", snapshot);
    reading_start(r, l, what);
}

// ---- taking one

struct snapshot_fetch {
    reading reading;
    later again;
    snapshot_done *done;
    mark mark;
    uint64_t pieces, quiet_since_ms;
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
    sha256_drop(&f->hash);
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

static void fetch_on_mark(nats_log *l, const mark *newest)
{
    struct snapshot_fetch *f = l->fetch;
    char path[PATH_MAX];
    uint64_t there = 0;
    reading_close(&f->reading);
    if (newest->revision == 0 ||
        (store_file_revision(l->path, &there).code == OK &&
         there / REVISIONS_PER_ENTRY >= newest->revision / REVISIONS_PER_ENTRY)) {
        fetch_end(l, ok(), false);
        return;
    }
    f->mark = *newest;
    fetch_path(l, path);
    (void)unlink(path);
    f->file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (f->file < 0 || sha256_stream_open(&f->hash).code != OK) {
        fetch_again(l, fail_errno(errno, "write the snapshot"));
        return;
    }
    f->quiet_since_ms = clock_now_ms();
    nats_later(l->n, &f->again, QUIET_MS);
    reading_start_pieces(&f->reading, l, f->mark.id);
}

static void fetch_start(nats_log *l)
{
    struct snapshot_fetch *f = l->fetch;
    reading_close(&f->reading);
    sha256_drop(&f->hash);
    if (f->file >= 0)
        (void)close(f->file);
    f->file = -1;
    f->pieces = 0;
    f->reading.on_mark = fetch_on_mark;
    f->reading.on_piece = fetch_on_piece;
    f->reading.on_none = fetch_on_no_pieces;
    f->reading.on_failure = fetch_again;
    f->quiet_since_ms = clock_now_ms();
    nats_later(l->n, &f->again, QUIET_MS);
    reading_start_mark(&f->reading, l);
}

static void fetch_on_again(void *data)
{
    nats_log *l = data;
    struct snapshot_fetch *f = l->fetch;
    uint64_t quiet = clock_now_ms() - f->quiet_since_ms;
    if (f->reading.delivery != NULL && quiet < QUIET_MS)
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

// ---- doubt

struct snapshot_doubt {
    reading reading;
    later again;
    uint64_t entry;
};

static void doubt_free(nats_log *l)
{
    struct snapshot_doubt *d = l->doubt;
    if (d == NULL)
        return;
    l->doubt = NULL;
    reading_close(&d->reading);
    nats_later_cancel(&d->again);
    free(d);
}

static void doubt_on_mark(nats_log *l, const mark *newest)
{
    uint64_t entry = l->doubt->entry, there = newest->revision;
    doubt_free(l);
    if (there / REVISIONS_PER_ENTRY > store_revision(l->store) / REVISIONS_PER_ENTRY) {
        nats_lose(l->n,
                  fail(ERR_CONFLICT, 0, "the log was shortened past what this node has seen"));
        return;
    }
    l->undoubted = entry; // its writer says what is not so
    nats_log_restart(l, 0);
}

static void doubt_on_failure(nats_log *l, err e)
{
    (void)e;
    reading_close(&l->doubt->reading);
    nats_later(l->n, &l->doubt->again, AGAIN_MS);
}

static void doubt_on_again(void *data)
{
    nats_log *l = data;
    reading_close(&l->doubt->reading);
    nats_later(l->n, &l->doubt->again, QUIET_MS);
    reading_start_mark(&l->doubt->reading, l);
}

void nats_snapshot_doubt(nats_log *l, uint64_t entry)
{
    l->following = false;
    if (l->doubt != NULL)
        return;
    struct snapshot_doubt *d = mesh_must_take(sizeof *d);
    d->entry = entry;
    d->reading.on_mark = doubt_on_mark;
    d->reading.on_failure = doubt_on_failure;
    d->again.run = doubt_on_again;
    d->again.data = l;
    l->doubt = d;
    doubt_on_again(l);
}

void nats_snapshot_close(nats_log *l)
{
    doubt_free(l);
    fetch_free(l);
    snapshot_make_close(l);
}
