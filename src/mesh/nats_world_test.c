// Tests only: engines of several nodes against real servers.
#include "mesh/nats_world_test.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "mesh/shards.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { READY_MS = 20000, TURN_MS = 5 };

static const shard all[] = {{"contract", "auth"}, {"other", "auth"}};
static const shard_bucket buckets[] = {{"other.", "other", "auth+client"},
                                       {"locked.", "other", "client"},
                                       {"secret.", "contract", "auth"},
                                       {"", "contract", "auth+client"}};
static const shards table = {all, COUNT(all), buckets, COUNT(buckets)};
static const char streams[] =
    "[{\"name\":\"contract\",\"subjects\":[\"log.contract.>\",\"snap.contract.>\"]},"
    "{\"name\":\"other\",\"subjects\":[\"log.other.>\",\"snap.other.>\"]}]";
static const char roles[] = "{\"auth\":{\"publish\":[\">\"],\"subscribe\":[\">\"]},"
                            "\"client\":{\"publish\":[\">\"],\"subscribe\":[\">\"]},"
                            "\"elder\":{\"publish\":[],\"subscribe\":[]}}";

void cluster_open(cluster *c, size_t elders)
{
    *c = (cluster){.servers = NULL};
    (void)snprintf(c->folder, sizeof c->folder, "/tmp/mesh-test-XXXXXX");
    CHECK(mkdtemp(c->folder) != NULL);
    CHECK(loop_open(&c->loop).code == OK && arena_open(&c->memory, 64 << 20).code == OK);
    if (getenv("MESH_LOG") != NULL)
        CHECK(log_open(&c->log, 2, false, LOG_DEBUG).code == OK);
    meshd_plan plan = {.folder = c->folder,
                       .count = elders,
                       .universe = STR("u"),
                       .streams = str_of(streams),
                       .roles = str_of(roles)};
    CHECK(meshd_start(&c->servers, &plan).code == OK);
    char folder[sizeof c->folder];
    memcpy(folder, c->folder, sizeof folder);
    for (size_t i = 0; i < NODES_MAX; i++) {
        cluster_node *n = &c->nodes[i];
        n->cluster = c;
        n->name[0] = (char)('a' + i);
        (void)snprintf(n->folder, sizeof n->folder, "%s/node-%c", folder, 'a' + (int)i);
    }
}

void cluster_close(cluster *c)
{
    for (size_t i = 0; i < NODES_MAX; i++)
        node_close(c, i);
    loop_close(c->loop);
    if (c->log != NULL)
        log_close(c->log);
    meshd_stop(c->servers);
    arena_close(c->memory);
    CHECK(file_remove_tree(c->folder).code == OK);
}

void cluster_rest(cluster *c, uint64_t ms)
{
    for (uint64_t end = clock_now_ms() + ms; clock_now_ms() < end;)
        loop_turn(c->loop, TURN_MS);
}

void cluster_wait(cluster *c, const size_t *counter, size_t value, uint64_t ms)
{
    for (uint64_t end = clock_now_ms() + ms; *counter < value && clock_now_ms() < end;)
        loop_turn(c->loop, TURN_MS);
    assert_true(*counter >= value);
}

static void on_ready(void *data)
{
    ((cluster_node *)data)->ready++;
}

static void on_lost(void *data, err e)
{
    (void)e;
    ((cluster_node *)data)->lost++;
}

mesh *node_open(cluster *c, size_t node)
{
    cluster_node *n = &c->nodes[node];
    n->ready = n->lost = 0;
    mesh_nats_settings s = {.loop = c->loop,
                            .log = c->log,
                            .folder = n->folder,
                            .universe = STR("u"),
                            .node = str_of(n->name),
                            .protocols = STR("auth"),
                            .servers = c->servers->servers,
                            .servers_count = c->servers->count,
                            .ca_pem = authority_certificate(c->servers->authority),
                            .shards = &table,
                            .snapshot_entries = n->snapshot_entries,
                            .ready = on_ready,
                            .lost = on_lost,
                            .data = n};
    CHECK(meshd_issue(c->servers, c->memory, s.node, s.protocols, &s.certificate_pem, &s.key_pem)
              .code == OK);
    CHECK(mesh_nats_open(&n->engine, &s).code == OK);
    char full[32];
    (void)snprintf(full, sizeof full, "%s@u", n->name);
    CHECK(mesh_join(&n->mesh, n->engine, str_of(full), STR("")).code == OK);
    cluster_wait(c, &n->ready, 1, READY_MS);
    return n->mesh;
}

void node_close(cluster *c, size_t node)
{
    if (c->nodes[node].engine != NULL)
        mesh_engine_close(c->nodes[node].engine);
    c->nodes[node].engine = NULL;
    c->nodes[node].mesh = NULL;
}

void node_forget(cluster *c, size_t node)
{
    CHECK(file_remove_tree(c->nodes[node].folder).code == OK);
}

nats_link *cluster_link(cluster *c, const char *name)
{
    nats_link *link = NULL;
    nats_link_settings s = {.loop = c->loop,
                            .log = c->log,
                            .servers = c->servers->servers,
                            .servers_count = c->servers->count,
                            .node = str_of(name),
                            .ca_pem = authority_certificate(c->servers->authority),
                            .universe = STR("u")};
    CHECK(
        meshd_issue(c->servers, c->memory, s.node, STR(""), &s.certificate_pem, &s.key_pem).code ==
        OK);
    CHECK(nats_link_open(&link, &s).code == OK);
    return link;
}

typedef struct state_answer {
    size_t count;
    arena *memory;
    stream_state state;
} state_answer;

static void on_state(void *data, err e, const nats_message *m)
{
    state_answer *a = data;
    const json *all_of_it = NULL;
    a->count++;
    CHECK(e.code == OK && json_read(a->memory, m->payload, &all_of_it, NULL).code == OK);
    const json *state = json_field(all_of_it, "state");
    a->state = (stream_state){json_whole(state, "messages", 0), json_whole(state, "first_seq", 0),
                              json_whole(state, "last_seq", 0)};
}

stream_state cluster_state(cluster *c, nats_link *link)
{
    state_answer a = {.memory = c->memory};
    nats_outgoing out = {.subject = STR("$JS.API.STREAM.INFO.contract")};
    (void)nats_request(link, &out, 5000, on_state, &a);
    cluster_wait(c, &a.count, 1, 5000);
    return a.state;
}

void on_told(void *data, err e, uint64_t revision)
{
    told *t = data;
    t->count++;
    t->error = e;
    if (e.code != OK)
        return;
    CHECK(revision > t->last); // in the order of the calls
    t->last = revision;
    t->ok++;
}

void node_put(cluster *c, size_t node, const char *key, const char *value, told *t)
{
    store_change change = {STORE_PUT, STR("b"), str_of(key), str_of(value), STORE_ANY};
    mesh_commit(c->nodes[node].mesh, &change, 1, on_told, t);
}
