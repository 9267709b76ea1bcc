// Two engines on one log, as two processes have them; and what a node that lies can do.
#include "base/buf.h"
#include "base/clock.h"
#include "mesh/nats_entry.h"
#include "mesh/nats_wire.h"
#include "mesh/nats_world_test.h"

#include <stdio.h>
#include <string.h>

enum { COMMITS = 300, ROUNDS = 100, WAIT_MS = 8000 };

typedef struct seen {
    size_t completes, changes;
    uint64_t last;
} seen;

static void on_watch(void *data, const store_entry *entry)
{
    seen *s = data;
    uint64_t value = 0;
    if (entry == NULL) {
        s->completes++;
        return;
    }
    CHECK(str_number(entry->value, &value).code == OK && value == s->last + 1);
    s->last = value;
    s->changes++;
}

TEST(nats_engines_see_each_others_commits_in_order_and_one_wins_each_race)
{
    cluster c;
    cluster_open(&c, 1);
    mesh *a = node_open(&c, 0), *b = node_open(&c, 1);
    seen s = {0};
    mesh_watch *w = NULL;
    told t = {0}, u = {0};
    CHECK(mesh_watch_open(&w, b, STR("b"), STR("n"), on_watch, &s).code == OK);
    cluster_wait(&c, &s.completes, 1, WAIT_MS);
    for (int i = 1; i <= COMMITS; i++) {
        char value[16];
        (void)snprintf(value, sizeof value, "%d", i);
        node_put(&c, 0, "n", value, &t);
        if (i % 7 == 0)
            loop_turn(c.loop, 0);
    }
    cluster_wait(&c, &s.changes, COMMITS, WAIT_MS);
    cluster_wait(&c, &t.count, COMMITS, WAIT_MS);
    CHECK(t.ok == COMMITS && s.changes == COMMITS);
    for (int i = 0; i < ROUNDS; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "race%d", i);
        store_change one = {STORE_PUT, STR("b"), str_of(key), STR("x"), 0};
        mesh_commit(i % 2 ? a : b, &one, 1, on_told, i % 2 ? &t : &u);
        mesh_commit(i % 2 ? b : a, &one, 1, on_told, i % 2 ? &u : &t);
        if (i % 3 == 0)
            loop_turn(c.loop, 0);
    }
    cluster_wait(&c, &t.count, COMMITS + ROUNDS, WAIT_MS);
    cluster_wait(&c, &u.count, ROUNDS, WAIT_MS);
    CHECK(t.ok - COMMITS + u.ok == ROUNDS);
    // Across logs, and where nobody here may write: refused, on a later turn.
    store_change cross[] = {{STORE_PUT, STR("b"), STR("k"), STR("x"), STORE_ANY},
                            {STORE_PUT, STR("other.b"), STR("k"), STR("x"), STORE_ANY}};
    told v = {0};
    mesh_commit(a, cross, 2, on_told, &v);
    CHECK(v.count == 0);
    cluster_wait(&c, &v.count, 1, WAIT_MS);
    CHECK(v.error.code == ERR_UNSUPPORTED);
    cross[0].bucket = STR("locked.b");
    mesh_commit(a, cross, 1, on_told, &v);
    cluster_wait(&c, &v.count, 2, WAIT_MS);
    CHECK(v.error.code == ERR_DENIED);
    cluster_close(&c);
}

// ---- what an answer speaks of is there

typedef struct asked {
    cluster *cluster;
    size_t answers, requests;
    mesh_incoming *in;
    err error;
} asked;

static void on_committed(void *data, err e, uint64_t revision)
{
    asked *q = data;
    (void)revision;
    CHECK(e.code == OK);
    node_ping_reply reply = {.node = STR("a")};
    mesh_answer(q->in, &reply);
}

static void
serve_commit(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    asked *q = data;
    (void)header;
    q->in = in;
    q->requests++;
    str key = ((const node_ping_request *)fields)->node;
    store_change change = {STORE_PUT, STR("b"), key, STR("x"), 0};
    mesh_commit(q->cluster->nodes[0].mesh, &change, 1, on_committed, q);
}

static void on_answer(void *data, err e, const void *fields)
{
    asked *q = data;
    (void)fields;
    q->error = e;
    q->answers++;
}

TEST(nats_reads_after_an_answer_see_what_it_speaks_of)
{
    cluster c;
    cluster_open(&c, 1);
    mesh *a = node_open(&c, 0), *b = node_open(&c, 1);
    asked q = {.cluster = &c};
    CHECK(mesh_serve(a, MSG_node_ping, serve_commit, &q).code == OK);
    for (size_t i = 0; i < ROUNDS; i++) {
        char key[16];
        store_entry entry;
        (void)snprintf(key, sizeof key, "k%zu", i);
        node_ping_request r = {str_of(key)};
        mesh_ask(b, STR(""), MSG_node_ping, NULL, &r, WAIT_MS, on_answer, &q);
        while (q.answers == i)
            loop_turn(c.loop, 5);
        CHECK(q.error.code == OK);
        CHECK(mesh_get(b, STR("b"), str_of(key), c.memory, &entry).code == OK);
    }
    cluster_close(&c);
}

// ---- liars

static void
serve_ping(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)data;
    (void)header;
    node_ping_reply reply = {.node = ((const node_ping_request *)fields)->node};
    mesh_answer(in, &reply);
}

static void on_raw(void *data, err e, const nats_message *m)
{
    asked *q = data;
    (void)m;
    q->error = e;
    q->answers++;
}

static void forge_ask(nats_link *link, uint64_t position, asked *q)
{
    char before[POSITIONS_BYTES_MAX];
    OWNED(buf_close) buf request;
    buf_open(&request, 1 << 16);
    node_ping_request r = {STR("x")};
    message_header h = {.kind = MSG_node_ping, .deadline_ms = WAIT_MS};
    message_write(&request, &h, message_infos[MSG_node_ping].request, &r);
    positions p = {.at = {position}, .own = {true}};
    str pieces[] = {positions_write(&p, before), buf_str(&request)};
    nats_outgoing out = {
        .subject = STR("ask.node_ping.a.liar"), .pieces = pieces, .pieces_count = 2};
    (void)nats_request(link, &out, WAIT_MS, on_raw, q);
}

TEST(nats_positions_that_are_lies_hold_nobody_up_for_long)
{
    cluster c;
    cluster_open(&c, 1);
    mesh *a = node_open(&c, 0), *b = node_open(&c, 1);
    nats_link *liar = cluster_link(&c, "liar");
    asked q = {.cluster = &c}, honest = {.cluster = &c};
    CHECK(mesh_serve(a, MSG_node_ping, serve_ping, NULL).code == OK);
    told t = {0};
    node_put(&c, 0, "k", "v", &t);
    cluster_wait(&c, &t.count, 1, WAIT_MS);
    uint64_t start = clock_now_ms();
    forge_ask(liar, 1ULL << 63, &q);
    node_ping_request r = {STR("x")};
    mesh_ask(b, STR("a"), MSG_node_ping, NULL, &r, WAIT_MS, on_answer, &honest);
    cluster_wait(&c, &honest.answers, 1, WAIT_MS);
    CHECK(honest.error.code == OK && clock_now_ms() - start < 1000 && q.answers == 0);
    cluster_wait(&c, &q.answers, 1, WAIT_MS);
    uint64_t took = clock_now_ms() - start;
    CHECK(q.error.code == OK && took >= 1500 && took < 4000);
    start = clock_now_ms();
    forge_ask(liar, 1ULL << 62, &q);
    cluster_wait(&c, &q.answers, 2, WAIT_MS);
    CHECK(q.error.code == OK && clock_now_ms() - start < 1000); // it is believed no more
    nats_link_close(liar);
    cluster_close(&c);
}

static void forge_entry(
    nats_link *link, const char *writer, uint64_t number, uint64_t after, const char *bucket)
{
    OWNED(buf_close) buf bytes;
    buf_open(&bytes, 1 << 16);
    log_entry head = {.number = number, .after = after, .count = 1};
    memcpy(head.writer, writer, WRITER_BYTES);
    store_change change = {STORE_PUT, str_of(bucket), STR("k"), STR("forged"), STORE_ANY};
    entry_head_write(&bytes, &head);
    entry_commit_write(&bytes, &change, 1);
    str payload = buf_str(&bytes);
    nats_outgoing out = {.subject = STR("log.contract.client.liar"),
                         .reply = STR("snap.contract.done"), // where its acknowledgement goes
                         .pieces = &payload,
                         .pieces_count = 1};
    CHECK(nats_publish(link, &out).code == OK);
}

// As a reader of the log it knows who writes.
typedef struct overheard {
    size_t count;
    char writer[WRITER_BYTES];
} overheard;

static void on_entry(void *data, const nats_message *m)
{
    overheard *o = data;
    if (m->payload.len < 1 + WRITER_BYTES || !str_is(m->subject, STR("log.contract.auth.a")))
        return;
    memcpy(o->writer, m->payload.at + 1, WRITER_BYTES);
    o->count++;
}

TEST(nats_entries_of_a_liar_change_nothing_and_stop_nobody)
{
    cluster c;
    cluster_open(&c, 1);
    mesh *a = node_open(&c, 0), *b = node_open(&c, 1);
    nats_link *liar = cluster_link(&c, "liar");
    nats_subscription *s = NULL;
    overheard o = {0};
    told t = {0};
    store_entry entry;
    CHECK(nats_subscribe(&s, liar, STR("log.>"), STR(""), on_entry, &o).code == OK);
    cluster_rest(&c, 200);
    node_put(&c, 0, "first", "1", &t);
    cluster_wait(&c, &o.count, 1, WAIT_MS);
    static const char unknown[WRITER_BYTES] = "somebody else";
    forge_entry(liar, unknown, 1, 0, "secret.b");    // which it may not write
    forge_entry(liar, unknown, 2, 0, "other.b");     // another log's
    forge_entry(liar, o.writer, UINT64_MAX, 0, "b"); // as the other's last
    forge_entry(liar, unknown, 3, UINT64_MAX, "b");  // after what never was
    forge_entry(liar, unknown, 4, 3, "b");           // after the acknowledgement
    str junk = STR("{\"id\":1}");
    CHECK(nats_publish(liar, &(nats_outgoing){.subject = STR("log.contract.client.liar"),
                                              .pieces = &junk,
                                              .pieces_count = 1})
              .code == OK);
    for (int i = 0; i < 20; i++) {
        node_put(&c, 0, "then", i % 2 ? "1" : "0", &t);
        cluster_wait(&c, &t.count, (size_t)i + 2, WAIT_MS);
    }
    CHECK(t.ok == 21);
    CHECK(mesh_get(a, STR("secret.b"), STR("k"), c.memory, &entry).code == ERR_ABSENT);
    CHECK(mesh_get(a, STR("other.b"), STR("k"), c.memory, &entry).code == ERR_ABSENT);
    CHECK(c.nodes[0].lost == 0 && c.nodes[1].lost == 0);
    // A node that starts anew finds the same, whatever stands where snapshots are marked.
    CHECK(node_open(&c, 2) != NULL && c.nodes[2].lost == 0);
    CHECK(mesh_get(c.nodes[2].mesh, STR("b"), STR("then"), c.memory, &entry).code == OK);
    uint64_t revision = entry.revision;
    CHECK(mesh_get(b, STR("b"), STR("then"), c.memory, &entry).code == OK &&
          entry.revision == revision);
    nats_unsubscribe(s);
    nats_link_close(liar);
    cluster_close(&c);
}
