// The contract suite, second half: commits, watches, queues, and faults by count.
#include "base/clock.h"
#include "base/fault.h"
#include "mesh/contract_inner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COMMITS = 200, KEYS = 8, FAULTS_MAX = 400, LONG_MS = 4000, SHORT_MS = 60 };

typedef struct results {
    size_t count;
    uint64_t last;
    err error;
    size_t ok, other;
} results;

static void on_commit(void *data, err e, uint64_t revision)
{
    results *r = data;
    r->count++;
    r->error = e;
    if (e.code != OK) {
        r->other++;
        return;
    }
    CHECK(revision > r->last); // in the order of the calls
    r->last = revision;
    r->ok++;
}

static store_change put_of(str key, str value, uint64_t expected)
{
    return (store_change){STORE_PUT, STR("b"), key, value, expected};
}

void contract_commit_order_and_compare(const mesh_factory *factory)
{
    world w;
    world_open(&w, factory);
    mesh *one = world_join(&w, "a@u", ""), *two = world_join(&w, "b@u", "");
    results r = {0}, s = {0};
    for (size_t i = 0; i < COMMITS; i++) {
        // Both want to be first: exactly one wins each, and all is told in order.
        char key[16];
        (void)snprintf(key, sizeof key, "k%zu", i);
        store_change c = put_of(str_of(key), STR("1"), 0);
        mesh_commit(i % 2 ? one : two, &c, 1, on_commit, &r);
        mesh_commit(i % 2 ? two : one, &c, 1, on_commit, &s);
    }
    CHECK(r.count == 0);
    world_wait(&w, &r.count, COMMITS);
    world_wait(&w, &s.count, COMMITS);
    CHECK(r.ok == COMMITS && s.other == COMMITS && s.error.code == ERR_CONFLICT);
    store_entry e;
    CHECK(mesh_get(one, STR("b"), STR("k7"), w.memory, &e).code == OK);
    store_change both[] = {put_of(STR("k7"), STR("2"), e.revision),
                           put_of(STR("k8"), STR("2"), 1 << 30)};
    mesh_commit(one, both, 2, on_commit, &s);
    mesh_commit(one, both, 1, on_commit, &r);
    world_wait(&w, &r.count, COMMITS + 1);
    CHECK(r.error.code == OK && s.error.code == ERR_CONFLICT);
    CHECK(mesh_get(two, STR("b"), STR("k7"), w.memory, &e).code == OK && str_is(e.value, STR("2")));
    CHECK(mesh_get(two, STR("b"), STR("none"), w.memory, &e).code == ERR_ABSENT);
    store_entry *list;
    size_t count;
    CHECK(mesh_list(two, STR("b"), STR("k1"), STR("k1"), 5, false, w.memory, &list, &count).code ==
          OK);
    CHECK(count == 5 && str_is(list[0].key, STR("k10")));
    world_close(&w);
}

// A commit of changes whose values are so long; told with `expected`.
static void commit_of(world *w, mesh *m, const size_t *lens, size_t count, err_code expected)
{
    enum { CHANGES = 5 };
    static const char keys[CHANGES][3] = {"k0", "k1", "k2", "k3", "k4"};
    store_change changes[CHANGES];
    results r = {0};
    char *bytes = malloc(STORE_VALUE_BYTES_MAX + 1);
    memset(bytes, 'v', STORE_VALUE_BYTES_MAX + 1);
    for (size_t i = 0; i < count; i++)
        changes[i] = put_of((str){keys[i], 2}, (str){bytes, lens[i]}, STORE_ANY);
    mesh_commit(m, changes, count, on_commit, &r);
    free(bytes); // copied
    CHECK(r.count == 0);
    world_wait(w, &r.count, 1);
    assert_int_equal(r.error.code, expected);
}

void contract_commit_sizes(const mesh_factory *factory)
{
    enum { MIB = 1 << 20, HEADS = 4 + 4 * (21 + 1 + 2) }; // of four changes: "b", "kN"
    world w;
    world_open(&w, factory);
    mesh *m = world_join(&w, "a@u", "");
    store_entry e;
    commit_of(&w, m, (size_t[]){MIB}, 1, OK);
    commit_of(&w, m, (size_t[]){MIB + 1}, 1, ERR_LIMIT);
    commit_of(&w, m, (size_t[]){MIB, MIB, MIB, MIB - HEADS}, 4, OK);
    CHECK(mesh_get(m, STR("b"), STR("k3"), w.memory, &e).code == OK && e.value.len == MIB - HEADS);
    uint64_t revision = e.revision;
    commit_of(&w, m, (size_t[]){MIB, MIB, MIB, MIB - HEADS + 1}, 4, ERR_LIMIT);
    CHECK(mesh_get(m, STR("b"), STR("k3"), w.memory, &e).code == OK && e.revision == revision);
    store_change *many = calloc(MESH_COMMIT_CHANGES_MAX + 1, sizeof *many);
    for (size_t i = 0; i <= MESH_COMMIT_CHANGES_MAX; i++)
        many[i] = put_of(str_format(w.memory, "n%zu", i), STR("x"), 0);
    results r = {0};
    mesh_commit(m, many, MESH_COMMIT_CHANGES_MAX + 1, on_commit, &r);
    world_wait(&w, &r.count, 1);
    CHECK(r.error.code == ERR_LIMIT);
    mesh_commit(m, many, MESH_COMMIT_CHANGES_MAX, on_commit, &r);
    world_wait(&w, &r.count, 2);
    CHECK(r.error.code == OK);
    free(many);
    char key[STORE_KEY_BYTES_MAX + 1];
    memset(key, 'k', sizeof key);
    store_change longest = put_of((str){key, sizeof key - 1}, STR("x"), 0);
    mesh_commit(m, &longest, 1, on_commit, &r);
    world_wait(&w, &r.count, 3);
    CHECK(r.error.code == OK);
    longest.key.len++;
    mesh_commit(m, &longest, 1, on_commit, &r);
    world_wait(&w, &r.count, 4);
    CHECK(r.error.code == ERR_LIMIT);
    world_close(&w);
}

// ---- watches: what one believes the keys "w0".."w7" hold
typedef struct belief {
    size_t entries, completes, changes;
    int values[KEYS];
    uint64_t revisions[KEYS];
} belief;

static void on_watch(void *data, const store_entry *entry)
{
    belief *b = data;
    if (entry == NULL) {
        b->completes++;
        return;
    }
    CHECK(entry->key.len == 2 && entry->key.at[0] == 'w');
    if (b->completes == 0)
        b->entries++;
    else
        b->changes++;
    size_t key = (size_t)(entry->key.at[1] - '0');
    CHECK(key < KEYS && entry->revision >= b->revisions[key]); // never back in time
    b->revisions[key] = entry->revision;
    uint64_t value = 0;
    if (entry->value.at != NULL)
        CHECK(str_number(entry->value, &value).code == OK);
    b->values[key] = (int)value;
}

static void watch_write(mesh *m, size_t key, int value, results *r)
{
    char name[3] = {'w', (char)('0' + key), '\0'}, text[16];
    (void)snprintf(text, sizeof text, "%d", value);
    store_change c = put_of(str_of(name), str_of(text), STORE_ANY);
    if (value == 0)
        c.verb = STORE_DELETE;
    mesh_commit(m, &c, 1, on_commit, r);
}

void contract_watch_copy_then_changes(const mesh_factory *factory)
{
    world w;
    world_open(&w, factory);
    mesh *m = world_join(&w, "a@u", "");
    results r = {0};
    watch_write(m, 0, 10, &r);
    watch_write(m, 1, 11, &r);
    store_change other = put_of(STR("x"), STR("1"), 0);
    mesh_commit(m, &other, 1, on_commit, &r);
    world_wait(&w, &r.count, 3);
    belief b = {0}, empty = {0};
    mesh_watch *watch = NULL, *second = NULL;
    CHECK(mesh_watch_open(&watch, m, STR("b"), STR("w"), on_watch, &b).code == OK);
    CHECK(mesh_watch_open(&second, m, STR("other"), STR(""), on_watch, &empty).code == OK);
    CHECK(b.entries == 0 && b.completes == 0);
    world_wait(&w, &b.completes, 1);
    world_wait(&w, &empty.completes, 1);
    CHECK(b.entries == 2 && b.values[0] == 10 && b.values[1] == 11 && empty.entries == 0);
    watch_write(m, 1, 12, &r);
    watch_write(m, 0, 0, &r);
    mesh_commit(m, &other, 1, on_commit, &r); // a conflict is no change
    other.key = STR("y");
    mesh_commit(m, &other, 1, on_commit, &r); // another prefix
    world_wait(&w, &r.count, 7);
    world_wait(&w, &b.changes, 2);
    CHECK(b.values[0] == 0 && b.values[1] == 12 && b.completes == 1);
    mesh_watch_close(watch);
    watch_write(m, 1, 13, &r);
    world_wait(&w, &r.count, 8);
    world_rest(&w, 30);
    CHECK(b.changes == 2 && empty.changes == 0);
    world_close(&w); // leaves with a watch open
}

// Watches opened at any moment of a stream of writes end up with what the store holds.
void contract_watch_meets_writes(const mesh_factory *factory)
{
    world w;
    world_open(&w, factory);
    mesh *m = world_join(&w, "a@u", ""), *n = world_join(&w, "b@u", "");
    results r = {0};
    belief beliefs[10];
    memset(beliefs, 0, sizeof beliefs);
    mesh_watch *watches[10];
    for (size_t i = 0; i < COMMITS; i++) {
        if (i % 20 == 0)
            CHECK(
                mesh_watch_open(&watches[i / 20], n, STR("b"), STR("w"), on_watch, &beliefs[i / 20])
                    .code == OK);
        watch_write(m, i % KEYS, i % 11 == 0 ? 0 : (int)i, &r);
        if (i % 3 == 0)
            loop_turn(w.loop, 0);
    }
    world_wait(&w, &r.count, COMMITS);
    for (size_t i = 0; i < 10; i++)
        world_wait(&w, &beliefs[i].completes, 1);
    world_rest(&w, 50);
    for (size_t key = 0; key < KEYS; key++) {
        char name[3] = {'w', (char)('0' + key), '\0'};
        store_entry e;
        uint64_t value = 0;
        if (mesh_get(m, STR("b"), str_of(name), w.memory, &e).code == OK)
            CHECK(str_number(e.value, &value).code == OK);
        for (size_t i = 0; i < 10; i++)
            CHECK(beliefs[i].values[key] == (int)value);
    }
    world_close(&w);
}

// ---- queues
typedef struct consumer {
    mesh_claims *claims;
    size_t got, most, held;
    char id[32], payload[32], claim[64], first_claim[64];
    uint64_t attempt;
    bool end_at_once;
} consumer;

static void on_item(void *data, const mesh_item *item)
{
    consumer *c = data;
    c->got++;
    c->held++;
    c->most = c->held > c->most ? c->held : c->most;
    c->attempt = item->attempt;
    (void)snprintf(c->id, sizeof c->id, "%.*s", STR_ARG(item->id));
    (void)snprintf(c->payload, sizeof c->payload, "%.*s", STR_ARG(item->payload));
    (void)snprintf(c->claim, sizeof c->claim, "%.*s", STR_ARG(item->claim));
    if (c->got == 1)
        memcpy(c->first_claim, c->claim, sizeof c->claim);
    if (c->end_at_once) {
        c->held--;
        mesh_claim_done(c->claims, item->id, item->claim);
    }
}

static void queue_add(world *w, mesh *m, const char *id, const char *payload)
{
    results r = {0};
    store_change both[] = {{0}, put_of(STR("row"), str_of(id), STORE_ANY)};
    mesh_queue_change(w->memory, &both[0], STR("jobs"), str_of(id), str_of(payload));
    mesh_commit(m, both, 2, on_commit, &r);
    world_wait(w, &r.count, 1);
    CHECK(r.error.code == OK);
}

static void consumer_open(consumer *c, mesh *m, size_t slots, uint64_t lease_ms)
{
    CHECK(mesh_claims_open(&c->claims, m, STR("jobs"), slots, lease_ms, on_item, c).code == OK);
}

static size_t queue_left(world *w, mesh *m)
{
    store_entry *list;
    size_t count = 99;
    CHECK(mesh_list(m, STR("queue/jobs"), STR(""), STR(""), 100, false, w->memory, &list, &count)
              .code == OK);
    return count;
}

void contract_queue_delivers_and_ends(const mesh_factory *factory)
{
    world w;
    world_open(&w, factory);
    mesh *m = world_join(&w, "a@u", "");
    consumer c = {.got = 0};
    queue_add(&w, m, "j1", "one");     // before anybody listens
    queue_add(&w, m, "j1", "another"); // is there already
    consumer_open(&c, m, 2, LONG_MS);
    CHECK(c.got == 0);
    world_wait(&w, &c.got, 1);
    CHECK(c.attempt == 1 && strcmp(c.id, "j1") == 0 && strcmp(c.payload, "one") == 0);
    mesh_claim_done(c.claims, STR("j1"), STR("not the claim"));
    mesh_claim_return(c.claims, STR("j2"), str_of(c.claim), 0);
    world_rest(&w, 30);
    CHECK(queue_left(&w, m) == 1 && c.got == 1);
    mesh_claim_done(c.claims, STR("j1"), str_of(c.claim));
    queue_add(&w, m, "j2", ""); // while one listens
    world_wait(&w, &c.got, 2);
    CHECK(strcmp(c.id, "j2") == 0 && c.payload[0] == '\0');
    mesh_claim_return(c.claims, STR("j2"), str_of(c.claim), SHORT_MS);
    uint64_t start = clock_now_ms();
    world_wait(&w, &c.got, 3);
    CHECK(c.attempt == 2 && clock_now_ms() - start >= SHORT_MS - 20);
    mesh_claim_return(c.claims, STR("j2"), str_of(c.claim), 0);
    world_wait(&w, &c.got, 4);
    CHECK(c.attempt == 3);
    // Its record deleted by somebody else: taken back, and the slot is free.
    results r = {0};
    store_change gone = {STORE_DELETE, STR("queue/jobs"), STR("j2"), {NULL, 0}, STORE_ANY};
    mesh_commit(m, &gone, 1, on_commit, &r);
    world_wait(&w, &r.count, 1);
    c.end_at_once = true;
    for (size_t i = 0; i < 6; i++)
        queue_add(&w, m, (const char *[]){"a", "b", "c", "d", "e", "f"}[i], "x");
    world_wait(&w, &c.got, 10);
    world_rest(&w, 50);
    CHECK(queue_left(&w, m) == 0 && c.got == 10);
    world_close(&w);
}

void contract_queue_redelivers(const mesh_factory *factory)
{
    world w;
    world_open(&w, factory);
    mesh *m = world_join(&w, "a@u", ""), *n = world_join(&w, "b@u", "");
    consumer c = {.got = 0}, d = {.got = 0};
    consumer_open(&c, m, 1, SHORT_MS);
    queue_add(&w, m, "j1", "one");
    world_wait(&w, &c.got, 1);
    uint64_t beat = clock_now_ms(), longest = 0;
    for (size_t i = 0; i < 8; i++) { // beats keep it well past its lease
        world_rest(&w, SHORT_MS / 3);
        mesh_claim_beat(c.claims, STR("j1"), str_of(c.claim));
        uint64_t now = clock_now_ms();
        longest = now - beat > longest ? now - beat : longest;
        beat = now;
    }
    // Where the machine itself stood still for a whole lease, the item was rightly taken back.
    CHECK(longest >= SHORT_MS || c.got == 1);
    // None come: again, each delivery one attempt more, and the former claim is worth nothing.
    world_wait(&w, &c.got, c.got + 1);
    CHECK(c.attempt == c.got && strcmp(c.claim, c.first_claim) != 0);
    mesh_claim_done(c.claims, STR("j1"), str_of(c.first_claim));
    world_rest(&w, 20);
    CHECK(queue_left(&w, m) == 1);
    consumer_open(&d, n, 1, LONG_MS);
    mesh_claims_close(c.claims); // redelivered at once, to the other
    world_wait(&w, &d.got, 1);
    CHECK(d.attempt >= 3 && strcmp(d.payload, "one") == 0);
    consumer_open(&c, m, 1, LONG_MS);
    size_t before = c.got;
    mesh_leave(n); // as leaving does
    world_wait(&w, &c.got, before + 1);
    mesh_claim_done(c.claims, STR("j1"), str_of(c.claim));
    world_rest(&w, 30);
    CHECK(queue_left(&w, m) == 0);
    world_close(&w);
}

void contract_queue_takes_turns(const mesh_factory *factory)
{
    world w;
    world_open(&w, factory);
    mesh *m = world_join(&w, "a@u", ""), *n = world_join(&w, "b@u", "");
    consumer c = {.got = 0}, d = {.got = 0};
    for (char id = 'a'; id < 'k'; id++)
        queue_add(&w, m, (char[]){id, '\0'}, "x");
    consumer_open(&c, m, 2, LONG_MS);
    consumer_open(&d, n, 3, LONG_MS);
    world_wait(&w, &c.got, 2);
    world_wait(&w, &d.got, 3);
    world_rest(&w, 30);
    CHECK(c.got == 2 && d.got == 3); // slots are full
    CHECK(queue_left(&w, m) == 10);
    d.end_at_once = true;
    mesh_claim_done(d.claims, str_of(d.id), str_of(d.claim));
    world_wait(&w, &d.got, 8); // all the rest through its one free slot
    world_rest(&w, 30);
    CHECK(c.got == 2 && c.most == 2 && d.most <= 4 && queue_left(&w, m) == 4);
    world_close(&w);
}

void contract_queue_restart(const mesh_factory *factory)
{
    if (!factory->survives)
        return;
    world w;
    world_open(&w, factory);
    mesh *m = world_join(&w, "a@u", "");
    consumer c = {.got = 0};
    queue_add(&w, m, "j1", "one");
    queue_add(&w, m, "j2", "two");
    consumer_open(&c, m, 1, LONG_MS);
    world_wait(&w, &c.got, 1);
    CHECK(strcmp(c.id, "j1") == 0); // oldest first
    mesh_engine_close(w.engine);
    CHECK(factory->open(&w.engine, w.loop, w.folder).code == OK);
    m = world_join(&w, "a@u", "");
    c = (consumer){.end_at_once = false};
    consumer_open(&c, m, 2, LONG_MS);
    world_wait(&w, &c.got, 2);
    CHECK(queue_left(&w, m) == 2);
    c.end_at_once = true;
    mesh_claim_return(c.claims, str_of(c.id), str_of(c.claim), 0);
    world_wait(&w, &c.got, 3);
    CHECK(c.attempt >= 2); // attempts before the restart count
    world_close(&w);
}

// ---- faults: whatever is lost, everything ends once
typedef struct ends {
    size_t replies, good, commits, completes, tells;
} ends;

static void
serve_ping(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)data;
    (void)header;
    node_ping_reply reply = {.node = ((const node_ping_request *)fields)->node};
    mesh_answer(in, &reply);
}

static void on_ping_reply(void *data, err e, const void *fields)
{
    ends *n = data;
    (void)fields;
    n->replies++;
    n->good += e.code == OK;
    CHECK(e.code == OK || e.code == ERR_TIMEOUT || e.code == ERR_MEMORY || e.code == ERR_ABSENT);
}

static void on_end_commit(void *data, err e, uint64_t revision)
{
    ends *n = data;
    (void)revision;
    CHECK(e.code == OK || e.code == ERR_MEMORY || e.code == ERR_LIMIT);
    n->commits++;
}

static void on_end_watch(void *data, const store_entry *entry)
{
    ((ends *)data)->completes += entry == NULL;
}

static void on_tell(void *data, const void *fields)
{
    (void)fields;
    ((ends *)data)->tells++;
}

void contract_faults_of_messages(const mesh_factory *factory)
{
    for (uint64_t after = 0; after < 12; after++) {
        world w;
        world_open(&w, factory);
        mesh *m = world_join(&w, "a@u", "");
        ends n = {0};
        CHECK(mesh_serve(m, MSG_node_ping, serve_ping, NULL).code == OK);
        CHECK(mesh_listen(m, MSG_monkey_cancel, on_tell, &n).code == OK);
        fault_now = (fault_plan){.what = FAULT_MESSAGE, .after = after, .times = 1};
        node_ping_request r = {STR("x")};
        monkey_cancel c = {STR("j")};
        for (size_t i = 0; i < 4; i++) {
            mesh_ask(m, STR(""), MSG_node_ping, NULL, &r, SHORT_MS, on_ping_reply, &n);
            mesh_tell(m, MSG_monkey_cancel, &c);
        }
        world_wait(&w, &n.replies, 4);
        uint64_t seen = fault_now.seen;
        fault_now = (fault_plan){0};
        CHECK(n.good + n.tells == (seen > after ? 7 : 8)); // exactly one was lost
        mesh_ask(m, STR(""), MSG_node_ping, NULL, &r, LONG_MS, on_ping_reply, &n);
        world_wait(&w, &n.replies, 5);
        world_close(&w);
    }
}

// Everything once, with one allocation failing; false when it had none left to fail.
static bool memory_round(const mesh_factory *factory, uint64_t after)
{
    world w;
    world_open(&w, factory);
    ends n = {0};
    consumer c = {.end_at_once = true};
    mesh *m = NULL;
    mesh_watch *watch = NULL;
    store_change changes[] = {put_of(STR("k"), STR("v"), 0), {0}};
    fault_now = (fault_plan){.what = FAULT_MEMORY, .after = after, .times = 1};
    if (mesh_join(&m, w.engine, STR("a@u"), STR("")).code != OK)
        CHECK(mesh_join(&m, w.engine, STR("a@u"), STR("")).code == OK);
    CHECK(mesh_serve(m, MSG_node_ping, serve_ping, NULL).code == OK);
    node_ping_request r = {STR("x")};
    mesh_ask(m, STR(""), MSG_node_ping, NULL, &r, SHORT_MS, on_ping_reply, &n);
    if (mesh_watch_open(&watch, m, STR("b"), STR(""), on_end_watch, &n).code != OK)
        CHECK(mesh_watch_open(&watch, m, STR("b"), STR(""), on_end_watch, &n).code == OK);
    if (mesh_claims_open(&c.claims, m, STR("jobs"), 1, LONG_MS, on_item, &c).code != OK)
        consumer_open(&c, m, 1, LONG_MS);
    mesh_queue_change(w.memory, &changes[1], STR("jobs"), STR("j"), STR("p"));
    mesh_commit(m, changes, 2, on_end_commit, &n);
    world_wait(&w, &n.replies, 1);
    world_wait(&w, &n.commits, 1);
    world_wait(&w, &n.completes, 1);
    store_entry e;
    bool written = mesh_get(m, STR("b"), STR("k"), w.memory, &e).code == OK;
    if (written)
        world_wait(&w, &c.got, 1); // even if its claim failed at first
    for (size_t i = 0; written && i < 50 && queue_left(&w, m) > 0; i++)
        world_rest(&w, 10); // the plan changes when no thread asks for it
    world_rest(&w, 10);
    uint64_t seen = fault_now.seen;
    fault_now = (fault_plan){0};
    world_close(&w);
    return seen > after;
}

void contract_faults_of_memory(const mesh_factory *factory)
{
    uint64_t after = 0;
    while (after < FAULTS_MAX && memory_round(factory, after))
        after++;
    CHECK(after > 10 && after < FAULTS_MAX);
}
