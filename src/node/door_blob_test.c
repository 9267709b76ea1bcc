// Blobs go from node to node by real doors, to roles that may read them.
#include "base/file.h"
#include "base/str.h"
#include "base/test.h"
#include "http/client.h"
#include "mesh/blob.h"
#include "node/node.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PAIR_NODES = 3, PAIR_TURNS_MAX = 4000, PAIR_MEMORY = 4 << 20 };
static const protocol *const pair_protocols[PAIR_NODES] = {&protocol_hoarder, &protocol_hoarder,
                                                           NULL};
static const char *const pair_names[PAIR_NODES] = {"hoarder", "hoarder-2", "client"};

// Nodes of one mesh that share no disk.
struct pair {
    char folder[64], paths[PAIR_NODES][128];
    arena *memory;
    loop *loop;
    mesh_engine *engine;
    authority *authority;
    blobs *blobs[PAIR_NODES];
    node *nodes[PAIR_NODES];
    uint16_t ports[PAIR_NODES];
    http_client *http;
};

static void pair_open(struct pair *p)
{
    memset(p, 0, sizeof(*p));
    memcpy(p->folder, "/tmp/ctau-pair-XXXXXX", sizeof "/tmp/ctau-pair-XXXXXX");
    assert_non_null(mkdtemp(p->folder));
    CHECK(arena_open(&p->memory, PAIR_MEMORY).code == OK);
    CHECK(loop_open(&p->loop).code == OK);
    CHECK(mesh_embedded_open(&p->engine, p->loop, p->folder).code == OK);
    str ca = str_format(p->memory, "%s/ca", p->folder);
    CHECK(file_make_folders(ca.at, 0700).code == OK);
    CHECK(authority_open(&p->authority, ca.at, STR("test")).code == OK);
    CHECK(http_client_open(&p->http, p->loop, 4).code == OK);
    for (size_t i = 0; i < PAIR_NODES; i++) {
        str path = str_format(p->memory, "%s/%s", p->folder, pair_names[i]);
        str kept = str_format(p->memory, "%s/blobs-%s", p->folder, pair_names[i]);
        CHECK(blobs_open(&p->blobs[i], kept.at).code == OK);
        int fd = -1;
        CHECK(socket_listen("127.0.0.1", 0, false, &fd).code == OK);
        p->ports[i] = socket_port(fd);
        CHECK(close(fd) == 0);
        node_settings settings = {
            .loop = p->loop,
            .mesh = p->engine,
            .identity = node_identity_of(p->authority),
            .blobs = p->blobs[i],
            .protocol = pair_protocols[i],
            .universe = STR("test"),
            .name = str_of(pair_names[i]),
            .folder = path.at,
            .copies = 1,
            .doors = {.address = "127.0.0.1", .p2p = p->ports[i]},
        };
        CHECK(node_open(&p->nodes[i], &settings).code == OK);
    }
}

static void pair_close(struct pair *p)
{
    http_client_close(p->http);
    for (size_t i = 0; i < PAIR_NODES; i++)
        node_close(p->nodes[i], NULL, NULL);
    mesh_engine_close(p->engine);
    for (size_t i = 0; i < PAIR_NODES; i++)
        blobs_close(p->blobs[i]);
    authority_close(p->authority);
    loop_close(p->loop);
    arena_close(p->memory);
    CHECK(file_remove_tree(p->folder).code == OK);
}

struct pair_wait {
    struct pair *pair;
    bool done;
    err error;
    unsigned status;
    uint64_t length;
    str body;
};

static void pair_on_done(void *data, http_call *c, err e, const http_answer_head *head, str body)
{
    (void)c;
    struct pair_wait *w = data;
    w->done = true;
    w->error = e;
    if (e.code == OK) {
        w->status = head->status;
        w->length = head->content_length;
        w->body = str_copy(w->pair->memory, body);
    }
}

// Asks the first hoarder's door as a node with these protocols.
static struct pair_wait pair_get(struct pair *p, const char *protocols, const char *path)
{
    struct pair_wait w = {.pair = p};
    tls_settings settings = {.ca_pem = authority_certificate(p->authority)};
    tls_context *tls = NULL;
    CHECK(authority_issue(p->authority, p->memory, STR("somebody"), str_of(protocols), 1,
                          &settings.certificate_pem, &settings.key_pem)
              .code == OK);
    CHECK(tls_context_open(&tls, &settings).code == OK);
    http_client_request request = {
        .address = "127.0.0.1",
        .port = p->ports[0],
        .tls = tls,
        .method = STR("GET"),
        .target = str_of(path),
        .host = STR("node"),
        .on_done = pair_on_done,
        .data = &w,
    };
    http_call *call;
    CHECK(http_client_send(p->http, &request, &call).code == OK);
    for (int i = 0; i < PAIR_TURNS_MAX && !w.done; i++)
        loop_turn(p->loop, 5);
    CHECK(w.done && w.error.code == OK);
    tls_context_close(tls);
    return w;
}

TEST(door_gives_blobs_to_those_who_may_read_them)
{
    static const struct {
        const char *protocols;
        unsigned status;
    } rows[] = {{"hoarder", 200}, {"monkey", 200}, {"substrate", 200},
                {"gateway", 200}, {"", 200},       {"elder", 403}};
    struct pair p;
    char path[8 + SHA256_HEX], hex[SHA256_HEX + 1];
    sha256 hash;
    pair_open(&p);
    CHECK(blobs_put(p.blobs[0], STR("a blob's bytes"), &hash).code == OK);
    sha256_hex(hash, hex);
    snprintf(path, sizeof(path), "/blob/%s", hex);
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct pair_wait w = pair_get(&p, rows[i].protocols, path);
        CHECK(w.status == rows[i].status);
        CHECK(w.status != 200 || (w.length == 14 && str_is(w.body, STR("a blob's bytes"))));
    }
    path[6] = path[6] == 'a' ? 'b' : 'a';
    CHECK(pair_get(&p, "monkey", path).status == 404);
    CHECK(pair_get(&p, "monkey", "/blob/").status == 400);
    CHECK(pair_get(&p, "monkey", "/blob/../blob").status != 200);
    pair_close(&p);
}

struct pair_fetch {
    bool done;
    err error;
};

static void pair_on_fetched(void *data, err e, uint64_t bytes)
{
    struct pair_fetch *f = data;
    (void)bytes;
    f->done = true;
    f->error = e;
}

static void pair_fetch_now(struct pair *p, size_t to, sha256 hash, const char *from)
{
    struct pair_fetch f = {.done = false};
    mesh_blob_request request = {.into = p->blobs[to],
                                 .hash = hash,
                                 .node = str_of(from),
                                 .bytes_max = MESH_BLOB_BYTES_MAX,
                                 .done = pair_on_fetched,
                                 .data = &f};
    CHECK(mesh_blob_fetch(node_mesh(p->nodes[to]), &request).code == OK);
    for (int i = 0; i < PAIR_TURNS_MAX && !f.done; i++)
        loop_turn(p->loop, 5);
    CHECK(f.done && f.error.code == OK && blobs_has(p->blobs[to], &hash, NULL));
}

TEST(nodes_without_a_shared_disk_fetch_blobs_from_each_other)
{
    struct pair p;
    sha256 hash, other;
    pair_open(&p);
    CHECK(blobs_put(p.blobs[0], STR("by its hash alone"), &hash).code == OK);
    pair_fetch_now(&p, 1, hash, "hoarder");
    pair_fetch_now(&p, 2, hash, ""); // hoarders say who has it
    node_renew(p.nodes[0]);
    node_renew(p.nodes[2]);
    CHECK(blobs_put(p.blobs[2], STR("from a client"), &other).code == OK);
    pair_fetch_now(&p, 0, other, "client@test");
    pair_close(&p);
}
