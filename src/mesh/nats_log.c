// Follows one shard's log and applies its entries to the copy here, in their order.
//
// The happy path is: a snapshot if the log was shortened past us, the store, an ordered consumer
// from what the store holds on, each entry's commits to the store, done. What can fail: the
// consumer is lost with its server or misses something (a new one is made from what the store
// holds), the disk (the same, later), an entry that was removed before we saw it (this engine is
// lost: a new one starts from the snapshot).
#include "base/clock.h"
#include "base/fault.h"
#include "base/hash.h"
#include "base/str.h"
#include "mesh/nats_inner.h"
#include "mesh/permissions.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    BEHIND_MS = 750,       // after it an entry that should be there is overdue
    BEHIND_TIMES = 4,      // of three replicas one may be behind
    BEAT_MS = 250,         // a consumer with nothing to deliver says so
    DEAD_MS = 3 * BEAT_MS, // without a word it is taken for lost
    CREATE_MS = 400,       // then twice that, and so on
    CREATE_MS_MAX = 3200,
    AGAIN_MS = 50,
    BROKEN_MS = 250,    // after the disk failed
    APPLYING_MAX = 512, // entries given to the store: no more until some are applied
    WRITERS_MAX = 4096, // remembered; the longest silent goes first
    ENTRY_ARENA_BYTES = 16 << 20,
    INACTIVE_S = 30,
};
enum { WRITER_KEY_BYTES = NAME_BYTES_MAX + 1 + 2 * WRITER_BYTES + 1 };
static const char writers_bucket[] = "mesh.writer";

// ---- who has written: what came twice is known

// A writer is bound to the node whose name the server has checked: nobody writes as another's.
static void writer_key(str from, const char writer[WRITER_BYTES], char out[static WRITER_KEY_BYTES])
{
    char *at =
        out + snprintf(out, WRITER_KEY_BYTES, "%.*s.", STR_ARG(str_first(from, NAME_BYTES_MAX)));
    hex_write(at, (str){writer, WRITER_BYTES});
}

static log_writer *writer_find(nats_log *l, const char *key)
{
    return map_get(l->writers, str_of(key));
}

// The longest silent one; the same at every node, since all see the same entries.
static void writers_trim(nats_log *l)
{
    size_t at = 0;
    void *value;
    str key, oldest = {0};
    uint64_t entry = UINT64_MAX;
    if (map_count(l->writers) <= WRITERS_MAX)
        return;
    while (map_next(l->writers, &at, &key, &value))
        if (((log_writer *)value)->entry < entry) {
            entry = ((log_writer *)value)->entry;
            oldest = key;
        }
    free(map_remove(l->writers, oldest));
}

static err writer_note(nats_log *l, const char *key, uint64_t number, uint64_t entry)
{
    log_writer *w = writer_find(l, key);
    if (w == NULL) {
        w = calloc(1, sizeof *w);
        err e = w == NULL ? fail(ERR_MEMORY, 0, "writer of a log")
                          : map_put(l->writers, str_of(key), w, NULL);
        if (e.code != OK) {
            free(w);
            return e;
        }
    }
    *w = (log_writer){number, entry};
    writers_trim(l);
    return ok();
}

static void writers_free(nats_log *l)
{
    size_t at = 0;
    void *value;
    str key;
    while (l->writers != NULL && map_next(l->writers, &at, &key, &value))
        free(value);
    map_close(l->writers);
    l->writers = NULL;
}

static bool writers_on_entry(void *data, const store_entry *entry)
{
    nats_log *l = data;
    char key[WRITER_KEY_BYTES] = "";
    uint64_t number = 0;
    if (entry->key.len >= sizeof key || str_number(entry->value, &number).code != OK)
        return true;
    memcpy(key, entry->key.at, entry->key.len);
    return writer_note(l, key, number, entry->revision / REVISIONS_PER_ENTRY).code == OK;
}

static err writers_load(nats_log *l)
{
    uint64_t revision;
    writers_free(l);
    TRY(map_open(&l->writers, WRITERS_MAX + 1));
    return store_each(l->store, str_of(writers_bucket), STR(""), writers_on_entry, l, &revision);
}

// ---- applying

typedef struct applying {
    nats_log *log;
    uint64_t entry;
    arena *memory;
    bool ours;
    size_t left; // commits not told yet, and the writer's row
    struct applied_commit {
        struct applying *of;
        size_t number;
    } commits[];
} applying;

static void log_on_applied(nats_log *l, uint64_t entry)
{
    l->applied = entry;
    nats_reached(l->n);
}

// Flow control: the server sends more once it was told that there is room.
static void log_go_on(nats_log *l)
{
    if (l->flow == NULL || l->applying >= APPLYING_MAX / 2)
        return;
    nats_say(l->n, str_of(l->flow), STR(""));
    free(l->flow);
    l->flow = NULL;
}

static void log_on_store(void *data, err e, uint64_t revision)
{
    struct applied_commit *c = data;
    applying *a = c->of;
    nats_log *l = a->log;
    bool row = c->number == ENTRY_COMMITS_MAX;
    if (e.code != OK && e.code != ERR_CONFLICT && !l->closing && !l->broken) {
        log_fail(l->n->log, "the copy of a log could not be written", e, "log", str_of(l->name),
                 NULL);
        l->broken = true;
        l->full = e.code == ERR_FULL;
        if (l->full)
            nats_write_full(l);
    }
    if (!l->broken && !l->closing && a->ours && !row)
        nats_write_told(l, c->number, e, revision);
    if (--a->left > 0)
        return;
    l->applying--;
    uint64_t reached = l->applying == 0 ? l->taken : a->entry; // what changed nothing came behind
    bool ours = a->ours;
    arena_close(a->memory);
    free(a);
    if (l->closing)
        return;
    if (!l->broken) {
        l->full = false;
        uint64_t former = l->applied;
        log_on_applied(l, reached);
        nats_snapshot_maybe(l, former, reached, ours);
        if (ours)
            nats_write_landed(l);
    } else if (l->applying == 0) {
        nats_log_restart(l, BROKEN_MS);
    }
    log_go_on(l);
}

// What its writer may not write makes no change, at any node.
static bool commit_is_allowed(const nats_log *l, str role, const entry_commit *c)
{
    for (size_t i = 0; i < c->count; i++) {
        str bucket = c->changes[i].bucket;
        if (!permissions_may_write(l->n->shards, role, bucket) ||
            !str_is(str_of(shards_bucket(l->n->shards, bucket)->shard), str_of(l->name)))
            return false;
    }
    return true;
}

static const store_change never = {STORE_PUT, {"mesh.never", 10}, {"never", 5}, {"", 0}, 1};

// `key`: its writer's.
static void entry_apply(nats_log *l, applying *a, const log_entry *entry, str role, const char *key)
{
    uint64_t base = a->entry * REVISIONS_PER_ENTRY, there = store_revision(l->store);
    a->left = 1;
    for (size_t i = 0; i < entry->count; i++) {
        const entry_commit *c = &entry->commits[i];
        bool allowed = commit_is_allowed(l, role, c);
        if (!allowed)
            log_line(l->n->log, LOG_WARN, "a commit that its writer may not make was ignored",
                     "log", str_of(l->name), "role", role, NULL);
        if (base + i + 1 <= there) // the store had it already before a crash
            continue;
        a->commits[i] = (struct applied_commit){a, i};
        a->left++;
        store_commit_at(l->store, base + i + 1, allowed ? c->changes : &never,
                        allowed ? c->count : 1, log_on_store, &a->commits[i]);
    }
    store_change row = {STORE_PUT, str_of(writers_bucket), str_of(key),
                        str_format(a->memory, "%llu", (unsigned long long)entry->number),
                        STORE_ANY};
    a->commits[entry->count] = (struct applied_commit){a, ENTRY_COMMITS_MAX};
    store_commit_at(l->store, base + REVISIONS_PER_ENTRY - 1, &row, 1, log_on_store,
                    &a->commits[entry->count]);
}

static void entry_skip(nats_log *l, uint64_t number)
{
    l->taken = number;
    if (l->applying == 0)
        log_on_applied(l, number);
}

// An entry of the log; `role` and `from` are from its subject, which the server has checked.
static err entry_take(nats_log *l, uint64_t number, str role, str from, str bytes)
{
    OWNED(arena_drop) arena *memory = NULL;
    log_entry entry;
    TRY(arena_open(&memory, ENTRY_ARENA_BYTES));
    err e = entry_read(memory, bytes, &entry);
    if (e.code == ERR_MEMORY)
        return e;
    if (e.code == OK && entry.after >= number)
        e = fail(ERR_SYNTAX, 0, "an entry after itself");
    if (e.code != OK) { // the same at every node
        log_fail(l->n->log, "an entry of a log was ignored", e, "log", str_of(l->name), NULL);
        entry_skip(l, number);
        return ok();
    }
    if (entry.after > l->taken && number > l->undoubted) {
        nats_snapshot_doubt(l, number);
        return fail(ERR_CLOSED, 0, "in doubt");
    }
    char key[WRITER_KEY_BYTES];
    writer_key(from, entry.writer, key);
    const log_writer *w = writer_find(l, key);
    bool again = w != NULL && entry.number <= w->number;
    if (again) {
        entry_skip(l, number);
        return ok();
    }
    applying *a = calloc(1, sizeof *a + (entry.count + 1) * sizeof(struct applied_commit));
    if (a == NULL)
        return fail(ERR_MEMORY, 0, "entry of a log");
    e = writer_note(l, key, entry.number, number);
    if (e.code != OK) {
        free(a);
        return e;
    }
    *a = (applying){.log = l, .entry = number};
    a->ours = str_is(from, str_of(l->n->node)) && nats_write_is_ours(l, &entry);
    a->memory = memory;
    memory = NULL;
    l->taken = number;
    l->applying++;
    entry_apply(l, a, &entry, role, key);
    return ok();
}

// ---- the consumer

static void log_catch_up(nats_log *l)
{
    l->caught_up = true;
    nats_check_ready(l->n);
}

static void log_on_status(nats_log *l, const nats_message *m)
{
    if (m->reply.len > 0) {
        free(l->flow);
        l->flow = mesh_must_copy(m->reply);
        log_go_on(l);
        return;
    }
    uint64_t last = nats_header_number(m->headers, STR("Nats-Last-Consumer"));
    if (last != UINT64_MAX && last != l->delivered)
        nats_log_restart(l, 0);
}

static void log_on_delivery(void *data, const nats_message *m)
{
    nats_log *l = data;
    delivery_meta meta;
    if (!l->following)
        return;
    if (m->status != 0) {
        l->heard_ms = clock_now_ms();
        log_on_status(l, m);
        return;
    }
    if (!nats_delivery_read(m->reply, &meta) || !str_is(meta.consumer, str_of(l->consumer)))
        return; // a former consumer's
    l->heard_ms = clock_now_ms();
    if (meta.number != l->delivered + 1) {
        nats_log_restart(l, 0);
        return;
    }
    l->delivered++;
    str subject = m->subject; // log.SHARD.ROLE.FROM
    (void)str_cut(&subject, '.');
    (void)str_cut(&subject, '.');
    str role = str_cut(&subject, '.');
    err e = entry_take(l, meta.entry, role, subject, m->payload);
    if (e.code == ERR_MEMORY)
        nats_log_restart(l, AGAIN_MS);
    else if (e.code == OK && meta.pending == 0 && !l->caught_up)
        log_catch_up(l);
}

// The leader says that the stream is longer than what we have seen. Entries that are on their way
// come within the time; a consumer on a replica that fell behind for good never brings them, so
// another is made. Pieces of snapshots make a stream longer too: after some tries it is that.
static void log_look_behind(nats_log *l)
{
    uint64_t now = clock_now_ms();
    if (l->tip <= l->taken)
        l->behind_times = 0;
    if (l->tip <= l->taken || l->tip <= l->tip_explained || l->taken != l->behind_taken) {
        l->behind_taken = l->taken;
        l->behind_ms = now;
        return;
    }
    if (now - l->behind_ms < BEHIND_MS)
        return;
    l->behind_ms = now;
    if (++l->behind_times > BEHIND_TIMES) {
        l->behind_times = 0;
        l->tip_explained = l->tip;
        return;
    }
    log_line(l->n->log, LOG_INFO, "nothing comes although the log is longer: asked anew", "log",
             str_of(l->name), NULL);
    nats_log_restart(l, 0);
}

void nats_log_tip(nats_log *l, uint64_t last)
{
    l->tip = last;
}

static void log_on_watch(void *data)
{
    nats_log *l = data;
    nats_later(l->n, &l->watch, BEAT_MS / 2);
    if (!l->following || !nats_link_connected(l->n->link))
        return;
    if (l->asked != 0)
        return; // it is being made: its own deadline counts
    uint64_t silent = clock_now_ms() - l->heard_ms;
    log_look_behind(l);
    // An entry that is there for sure and does not come: its consumer went with a server.
    bool overdue = l->target > l->taken && silent > BEAT_MS / 2;
    if (silent > DEAD_MS || overdue)
        nats_log_restart(l, 0);
}

static void log_on_consumer(void *data, err e, const nats_message *m)
{
    nats_log *l = data;
    uint64_t pending = UINT64_MAX;
    l->asked = 0;
    if (e.code == OK)
        e = nats_follow_read(m->payload, &pending);
    if (e.code == ERR_CLOSED)
        return;
    if (e.code != OK) {
        log_line(l->n->log, LOG_DEBUG, "no consumer yet", "log", str_of(l->name), "why",
                 str_of(e.what), NULL);
        l->create_ms = l->create_ms * 2 < CREATE_MS_MAX ? l->create_ms * 2 : CREATE_MS_MAX;
        nats_log_restart(l, AGAIN_MS);
        return;
    }
    l->create_ms = CREATE_MS;
    l->heard_ms = clock_now_ms();
    if (pending == 0 && l->delivered == 0 && !l->caught_up)
        log_catch_up(l);
}

void nats_log_follow(nats_log *l)
{
    char question[6 * NAME_BYTES_MAX], to[5 * NAME_BYTES_MAX];
    nats_engine *n = l->n;
    // A subject of its own: the server ends what nobody hears, and no former consumer's beats come.
    nats_unsubscribe(l->delivery);
    l->delivery = NULL;
    (void)snprintf(to, sizeof to, "%s.%llu", l->deliver_to, (unsigned long long)++l->generation);
    if (nats_subscribe_delivery(&l->delivery, n->link, str_of(to), STR(""), log_on_delivery, l)
            .code != OK) {
        nats_log_restart(l, AGAIN_MS);
        return;
    }
    uint64_t from = store_revision(l->store) / REVISIONS_PER_ENTRY; // it may be there in part
    free(l->consumer);
    l->consumer = mesh_must_take(NAME_BYTES_MAX);
    (void)snprintf(l->consumer, NAME_BYTES_MAX, "%.40s_%.32s_%llu", n->node,
                   strrchr(l->deliver_to, '.') + 1, (unsigned long long)l->generation);
    (void)snprintf(question, sizeof question, "{\"deliver\":\"%s\",\"name\":\"%s\",\"from\":%llu}",
                   to, l->consumer, (unsigned long long)(from > 0 ? from : 1));
    l->delivered = 0;
    l->taken = from > 0 ? from - 1 : 0;
    if (l->applied < l->taken)
        l->applied = l->taken;
    l->following = true;
    l->heard_ms = clock_now_ms();
    if (l->asked != 0)
        nats_request_cancel(n->link, l->asked);
    l->asked = nats_follow(l, question, l->create_ms, log_on_consumer, l);
}

static void log_on_again(void *data)
{
    nats_log *l = data;
    if (l->store == NULL || l->applying > 0) {
        nats_later(l->n, &l->again, AGAIN_MS);
        return;
    }
    if (l->broken) {
        l->broken = false;
        store_resume(l->store);
    }
    err e = writers_load(l);
    if (e.code != OK)
        nats_later(l->n, &l->again, BROKEN_MS);
    else
        nats_log_follow(l);
}

void nats_log_restart(nats_log *l, uint64_t after_ms)
{
    l->following = false;
    free(l->flow);
    l->flow = NULL;
    nats_later(l->n, &l->again, after_ms);
}

// ---- opening and closing

static void log_on_snapshot(nats_log *l, err e, bool loaded)
{
    if (loaded)
        log_line(l->n->log, LOG_INFO, "a snapshot was loaded", "log", str_of(l->name), NULL);
    if (e.code == OK)
        e = store_open_copy(&l->store, l->n->engine.loop, l->path);
    if (e.code == ERR_SYNTAX && !loaded) { // it is only a copy: the log has it all
        log_fail(l->n->log, "the copy of a log was damaged and is made anew", e, "log",
                 str_of(l->name), NULL);
        if (unlink(l->path) == 0)
            e = store_open_copy(&l->store, l->n->engine.loop, l->path);
    }
    if (e.code != OK) {
        log_fail(l->n->log, "the copy of a log was not opened", e, "log", str_of(l->name), NULL);
        nats_lose(l->n, e);
        return;
    }
    store_on_commit(l->store, mesh_on_commit, &l->n->engine);
    log_on_again(l);
    log_on_watch(l);
}

void nats_log_connected(nats_log *l)
{
    if (l->store != NULL)
        nats_log_restart(l, 0);
    else if (l->fetch == NULL)
        nats_snapshot_fetch(l, log_on_snapshot);
    nats_write_connected(l);
}

bool nats_log_caught_up(const nats_log *l)
{
    return l->caught_up && l->applying == 0;
}

bool nats_log_follows(const nats_log *l)
{
    return l->following && l->asked == 0 && l->caught_up && !l->broken &&
           nats_link_connected(l->n->link) && clock_now_ms() - l->heard_ms < DEAD_MS;
}

uint64_t nats_log_visible(const nats_log *l)
{
    return l->taken > l->applied ? l->taken : l->applied;
}

uint64_t nats_log_applied(const nats_log *l)
{
    return l->applied;
}

err nats_log_store(nats_log *l, store **out)
{
    if (l->store == NULL)
        return fail(ERR_BUSY, 0, "the records are not here yet");
    *out = l->store;
    return ok();
}

err nats_log_open(nats_log **out, nats_engine *n, size_t number)
{
    nats_log *l = fault_hits(FAULT_MEMORY) ? NULL : calloc(1, sizeof *l);
    if (l == NULL)
        return fail(ERR_MEMORY, 0, "log");
    l->n = n;
    l->shard = number;
    l->name = n->shards->all[number].name;
    chain_init(&l->waiting);
    chain_init(&l->flying);
    buf_open(&l->flight, ENTRY_BYTES_MAX);
    l->create_ms = CREATE_MS;
    l->watch.run = log_on_watch;
    l->again.run = log_on_again;
    l->watch.data = l->again.data = l;
    str role = shards_role(n->shards, number, str_of(n->protocols));
    l->role = mesh_must_copy(role);
    l->path = mesh_must_take(PATH_MAX);
    l->deliver_to = mesh_must_take(4 * NAME_BYTES_MAX);
    char random[2 * 8 + 1];
    hex_random(random, 8);
    (void)snprintf(l->deliver_to, 4 * NAME_BYTES_MAX, "to.%s.%s.%s", n->node, l->name, random);
    err e = ok();
    if (snprintf(l->path, PATH_MAX, "%s/%s.db", n->folder, l->name) >= PATH_MAX)
        e = fail(ERR_LIMIT, 0, "path of the records");
    if (e.code != OK) {
        nats_log_close(l);
        return e;
    }
    *out = l;
    return ok();
}

void nats_log_close(nats_log *l)
{
    if (l == NULL)
        return;
    l->following = false;
    nats_later_cancel(&l->watch);
    nats_later_cancel(&l->again);
    if (l->asked != 0)
        nats_request_cancel(l->n->link, l->asked);
    nats_unsubscribe(l->delivery);
    nats_snapshot_close(l);
    l->closing = true;     // what the store still tells is nobody's
    store_close(l->store); // its last callbacks come now
    nats_write_close(l);
    writers_free(l);
    free((char *)l->role);
    free(l->path);
    free(l->deliver_to);
    free(l->consumer);
    free(l->flow);
    free(l);
}
