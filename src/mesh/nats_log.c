// Follows one shard's log and applies its entries to the copy here, in their order.
//
// The happy path is: a snapshot if the log was shortened past us, the store, an ordered consumer
// from what the store holds on, each entry's commits to the store, done. What can fail: the
// consumer is lost with its server or misses something (a new one is made from what the store
// holds), the disk (the same, later), an entry that was removed before we saw it (this engine is
// lost: a new one starts from the snapshot).
#include "base/clock.h"
#include "base/fault.h"
#include "base/json.h"
#include "base/str.h"
#include "mesh/nats_inner.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    BEAT_MS = 250,       // a consumer with nothing to deliver says so
    DEAD_MS = 3 * BEAT_MS, // without a word it is taken for lost
    CREATE_MS = 2000,
    AGAIN_MS = 50,
    BROKEN_MS = 250,     // after the disk failed
    APPLYING_MAX = 512,  // entries given to the store: no more until some are applied
    WRITERS_MAX = 4096,  // remembered; the longest silent goes first
    ENTRY_ARENA_BYTES = 16 << 20,
    INACTIVE_S = 30,
};
static const char writers_bucket[] = "mesh.writer";

// ---- who has written: what came twice is known

static void writer_key(const char writer[WRITER_BYTES], char out[2 * WRITER_BYTES + 1])
{
    for (size_t i = 0; i < WRITER_BYTES; i++)
        (void)snprintf(out + 2 * i, 3, "%02x", (unsigned char)writer[i]);
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
    char key[2 * WRITER_BYTES + 1] = "";
    uint64_t number = 0;
    if (entry->key.len != sizeof key - 1 || str_number(entry->value, &number).code != OK)
        return true;
    memcpy(key, entry->key.at, sizeof key - 1);
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
        const shard_bucket *b = shards_bucket(l->n->shards, c->changes[i].bucket);
        if (b == NULL || !str_is(str_of(b->shard), str_of(l->name)) ||
            shards_writer(b, role).len == 0)
            return false;
    }
    return true;
}

static const store_change never = {STORE_PUT, {"mesh.never", 10}, {"never", 5}, {"", 0}, 1};

static void entry_apply(nats_log *l, applying *a, const log_entry *entry, str role)
{
    uint64_t base = a->entry * REVISIONS_PER_ENTRY, there = store_revision(l->store);
    a->left = 1;
    for (size_t i = 0; i < entry->count; i++) {
        const entry_commit *c = &entry->commits[i];
        bool allowed = commit_is_allowed(l, role, c);
        if (!allowed)
            log_line(l->n->log, LOG_WARN, "a commit that its writer may not make was ignored", "log",
                     str_of(l->name), "role", role, NULL);
        if (base + i + 1 <= there) // the store had it already before a crash
            continue;
        a->commits[i] = (struct applied_commit){a, i};
        a->left++;
        store_commit_at(l->store, base + i + 1, allowed ? c->changes : &never,
                        allowed ? c->count : 1, log_on_store, &a->commits[i]);
    }
    char key[2 * WRITER_BYTES + 1];
    writer_key(entry->writer, key);
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

// An entry of the log; `role` is from its subject, which the server has checked.
static err entry_take(nats_log *l, uint64_t number, str role, str bytes)
{
    OWNED(arena_drop) arena *memory = NULL;
    log_entry entry;
    TRY(arena_open(&memory, ENTRY_ARENA_BYTES));
    err e = entry_read(memory, bytes, &entry);
    if (e.code == ERR_MEMORY)
        return e;
    if (e.code != OK) { // the same at every node
        log_fail(l->n->log, "an entry of a log was ignored", e, "log", str_of(l->name), NULL);
        entry_skip(l, number);
        return ok();
    }
    if (entry.after > l->taken) {
        nats_lose(l->n, fail(ERR_CONFLICT, 0, "the log was shortened past what this node has seen"));
        return fail(ERR_CLOSED, 0, "lost");
    }
    char key[2 * WRITER_BYTES + 1];
    writer_key(entry.writer, key);
    const log_writer *w = writer_find(l, key);
    bool again = w != NULL && entry.number <= w->number;
    if (again) {
        entry_skip(l, number);
        return ok();
    }
    applying *a =
        calloc(1, sizeof *a + (entry.count + 1) * sizeof(struct applied_commit));
    if (a == NULL)
        return fail(ERR_MEMORY, 0, "entry of a log");
    e = writer_note(l, key, entry.number, number);
    if (e.code != OK) {
        free(a);
        return e;
    }
    *a = (applying){.log = l, .entry = number, .ours = nats_write_is_ours(l, &entry)};
    a->memory = memory;
    memory = NULL;
    l->taken = number;
    l->applying++;
    entry_apply(l, a, &entry, role);
    return ok();
}

// ---- the consumer

static str token(str *rest)
{
    return str_cut(rest, '.');
}

// $JS.ACK.STREAM.CONSUMER.DELIVERED.ENTRY.NUMBER.TIME.PENDING, or with a domain and an account
// after ACK and one token more at the end.
typedef struct delivery_meta {
    str consumer;
    uint64_t entry, number, pending;
} delivery_meta;

static bool meta_read(str reply, delivery_meta *out)
{
    str tokens[16];
    size_t count = 0;
    while (reply.len > 0 && count < COUNT(tokens))
        tokens[count++] = token(&reply);
    size_t skip = count >= 11 ? 2 : 0;
    if (count < 9 + skip || !str_is(tokens[1], STR("ACK")))
        return false;
    out->consumer = tokens[3 + skip];
    return str_number(tokens[5 + skip], &out->entry).code == OK &&
           str_number(tokens[6 + skip], &out->number).code == OK &&
           str_number(tokens[8 + skip], &out->pending).code == OK;
}

static void log_catch_up(nats_log *l)
{
    l->caught_up = true;
    nats_check_ready(l->n);
}

// A header's number, UINT64_MAX when it is not there.
static uint64_t header_number(str headers, str name)
{
    while (headers.len > 0) {
        str line = str_cut(&headers, '\n');
        if (!str_starts(line, name))
            continue;
        line = str_from(line, name.len);
        while (line.len > 0 && (line.at[0] == ':' || line.at[0] == ' '))
            line = str_from(line, 1);
        while (line.len > 0 && (line.at[line.len - 1] == '\r' || line.at[line.len - 1] == ' '))
            line.len--;
        uint64_t value;
        return str_number(line, &value).code == OK ? value : UINT64_MAX;
    }
    return UINT64_MAX;
}

static void log_on_status(nats_log *l, const nats_message *m)
{
    if (m->reply.len > 0) {
        free(l->flow);
        l->flow = mesh_must_copy(m->reply);
        log_go_on(l);
        return;
    }
    uint64_t last = header_number(m->headers, STR("Nats-Last-Consumer"));
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
    if (!meta_read(m->reply, &meta) || !str_is(meta.consumer, str_of(l->consumer)))
        return; // a former consumer's
    l->heard_ms = clock_now_ms();
    if (meta.number != l->delivered + 1) {
        nats_log_restart(l, 0);
        return;
    }
    l->delivered++;
    str subject = m->subject; // log.SHARD.ROLE.FROM
    (void)token(&subject);
    (void)token(&subject);
    str role = token(&subject);
    err e = entry_take(l, meta.entry, role, m->payload);
    if (e.code == ERR_MEMORY)
        nats_log_restart(l, AGAIN_MS);
    else if (e.code == OK && meta.pending == 0 && !l->caught_up)
        log_catch_up(l);
}

static void log_on_watch(void *data)
{
    nats_log *l = data;
    nats_later(l->n, &l->watch, BEAT_MS / 2);
    if (!l->following || !nats_link_connected(l->n->link))
        return;
    uint64_t silent = clock_now_ms() - l->heard_ms;
    // An entry that is there for sure and does not come: its consumer went with a server.
    bool overdue = l->target > l->taken && silent > BEAT_MS / 2;
    if (silent > DEAD_MS || overdue)
        nats_log_restart(l, 0);
}

static void log_on_consumer(void *data, err e, const nats_message *m)
{
    nats_log *l = data;
    l->asked = 0;
    OWNED(arena_drop) arena *a = NULL;
    const json *reply = NULL;
    if (e.code == OK)
        e = arena_open(&a, 1 << 20);
    if (e.code == OK)
        e = json_read(a, m->payload, &reply, NULL);
    const json *problem = e.code == OK ? json_field(reply, "error") : NULL;
    if (problem != NULL)
        e = fail(ERR_BUSY, (int)json_whole(problem, "err_code", 0),
                 str_c(a, json_text(problem, "description")));
    if (e.code != OK) {
        if (e.code != ERR_CLOSED)
            log_line(l->n->log, LOG_DEBUG, "no consumer yet", "log", str_of(l->name), "why", str_of(e.what),
                      NULL);
        if (e.code != ERR_CLOSED)
            nats_log_restart(l, AGAIN_MS);
        return;
    }
    l->heard_ms = clock_now_ms();
    if (json_whole(reply, "num_pending", 1) == 0 && l->delivered == 0 && !l->caught_up)
        log_catch_up(l);
}

void nats_log_follow(nats_log *l)
{
    char subject[4 * NAME_BYTES_MAX];
    OWNED(buf_close) buf body;
    nats_engine *n = l->n;
    uint64_t from = store_revision(l->store) / REVISIONS_PER_ENTRY; // it may be there in part
    buf_open(&body, 4096);
    free(l->consumer);
    l->consumer = mesh_must_take(NAME_BYTES_MAX);
    (void)snprintf(l->consumer, NAME_BYTES_MAX, "%.40s_%.32s_%llu", n->node,
                   strrchr(l->deliver_to, '.') + 1, (unsigned long long)++l->generation);
    (void)snprintf(subject, sizeof subject, "$JS.API.CONSUMER.CREATE.%s.%s.log.%s.>", l->name,
                   l->consumer, l->name);
    buf_add_format(&body,
                   "{\"stream_name\":\"%s\",\"config\":{\"name\":\"%s\",\"deliver_subject\":\"%s\","
                   "\"deliver_policy\":\"by_start_sequence\",\"opt_start_seq\":%llu,"
                   "\"ack_policy\":\"none\",\"replay_policy\":\"instant\",\"max_deliver\":1,"
                   "\"filter_subject\":\"log.%s.>\",\"flow_control\":true,"
                   "\"idle_heartbeat\":%llu,\"inactive_threshold\":%llu,"
                   "\"num_replicas\":1,\"mem_storage\":true}}",
                   l->name, l->consumer, l->deliver_to,
                   (unsigned long long)(from > 0 ? from : 1), l->name, BEAT_MS * 1000000ULL,
                   INACTIVE_S * 1000000000ULL);
    l->delivered = 0;
    l->taken = from > 0 ? from - 1 : 0;
    if (l->applied < l->taken)
        l->applied = l->taken;
    l->following = true;
    l->heard_ms = clock_now_ms();
    if (l->asked != 0)
        nats_request_cancel(n->link, l->asked);
    str payload = buf_str(&body);
    l->asked = nats_request(n->link,
                            &(nats_outgoing){.subject = str_of(subject),
                                             .pieces = &payload,
                                             .pieces_count = 1},
                            CREATE_MS, log_on_consumer, l);
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
    l->watch.run = log_on_watch;
    l->again.run = log_on_again;
    l->watch.data = l->again.data = l;
    str role = shards_role(n->shards, number, str_of(n->protocols));
    l->role = mesh_must_copy(role);
    l->path = mesh_must_take(PATH_MAX);
    l->deliver_to = mesh_must_take(4 * NAME_BYTES_MAX);
    char random[2 * 8 + 1];
    unsigned char bytes[8];
    random_bytes(bytes, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++)
        (void)snprintf(random + 2 * i, 3, "%02x", bytes[i]);
    (void)snprintf(l->deliver_to, 4 * NAME_BYTES_MAX, "to.%s.%s.%s", n->node, l->name, random);
    err e = ok();
    if (snprintf(l->path, PATH_MAX, "%s/%s.db", n->folder, l->name) >= PATH_MAX)
        e = fail(ERR_LIMIT, 0, "path of the records");
    if (e.code == OK)
        e = nats_subscribe_delivery(&l->delivery, n->link, str_of(l->deliver_to), STR(""),
                                    log_on_delivery, l);
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
