// A house of nodes with blobs of their own and doors over mutual TLS, for tests of what fetches.
#pragma once
#include "base/file.h"
#include "base/str.h"
#include "base/test.h"
#include "mesh/blob.h"
#include "mesh/identity.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HOUSE_NODES = 8, HOUSE_TURNS_MAX = 6000, HOUSE_MEMORY = 4 << 20 };
typedef enum { DOOR_GOOD, DOOR_WRONG, DOOR_DIES, DOOR_EMPTY, DOOR_STALLS } door_mode;

struct house;
struct house_node {
    struct house *house;
    char name[32], protocol[32], folder[128];
    mesh *mesh;
    blobs *blobs;
    http_server *server;
    tls_context *tls;
    uint16_t port;
    door_mode mode;
    unsigned served;
    uint64_t started_real_ms;
};
struct house {
    char folder[64];
    loop *loop;
    arena *memory;
    mesh_engine *engine;
    authority *authority;
    struct house_node nodes[HOUSE_NODES];
    size_t count;
};

static inline void house_open(struct house *h)
{
    char path[128];
    memset(h, 0, sizeof *h);
    memcpy(h->folder, "/tmp/ctau-house-XXXXXX", sizeof "/tmp/ctau-house-XXXXXX");
    assert_non_null(mkdtemp(h->folder));
    CHECK(arena_open(&h->memory, HOUSE_MEMORY).code == OK);
    CHECK(loop_open(&h->loop).code == OK);
    CHECK(mesh_embedded_open(&h->engine, h->loop, h->folder).code == OK);
    (void)snprintf(path, sizeof path, "%s/ca", h->folder);
    CHECK(file_make_folders(path, 0700).code == OK);
    CHECK(authority_open(&h->authority, path, STR("test")).code == OK);
}

static inline void house_on_broken(void *user, http_exchange *x)
{
    (void)user;
    (void)x;
}

static inline void house_on_request(void *data, http_exchange *x)
{
    struct house_node *n = data;
    str hash = str_from(http_request_of(x)->path, sizeof "/blob/" - 1);
    http_headers none = {NULL, 0};
    n->served++;
    switch (n->mode) {
    case DOOR_GOOD:
        mesh_blob_answer(n->house->loop, n->blobs, x, hash);
        break;
    case DOOR_WRONG:
        http_answer_text(x, 200, "application/octet-stream", STR("these are other bytes"));
        break;
    case DOOR_DIES:
        http_start(x, 200, &none, 100);
        CHECK(http_send(x, STR("the first of a hundred")).code == OK);
        http_break(x);
        break;
    case DOOR_EMPTY:
        http_answer_err(x, fail(ERR_ABSENT, 0, "not here"));
        break;
    case DOOR_STALLS:
        http_on_broken(x, house_on_broken);
        http_start(x, 200, &none, 100);
        break;
    }
}

// Says that it is there; `port` may be another's.
static inline void house_beat_as(struct house_node *n, uint16_t port, bool leaving)
{
    char full[64];
    (void)snprintf(full, sizeof full, "%s@test", n->name);
    door_record doors[] = {{STR("http"), 1}, {STR("p2p"), port}};
    seer_heartbeat beat = {.name = str_of(full),
                           .protocol = str_of(n->protocol),
                           .address = STR("127.0.0.1"),
                           .doors = {doors, 2},
                           .started_real_ms = n->started_real_ms,
                           .leaving = leaving};
    mesh_tell(n->mesh, MSG_seer_heartbeat, &beat);
}

static inline void house_beat(struct house_node *n)
{
    house_beat_as(n, n->port, false);
}

static inline struct house_node *
house_node_open(struct house *h, const char *name, const char *role)
{
    struct house_node *n = &h->nodes[h->count++];
    char full[64];
    str certificate, key;
    int fd = -1;
    *n = (struct house_node){.house = h, .started_real_ms = 1};
    (void)snprintf(n->name, sizeof n->name, "%s", name);
    (void)snprintf(n->protocol, sizeof n->protocol, "%s", role);
    (void)snprintf(full, sizeof full, "%s@test", name);
    str path = str_format(h->memory, "%s/%s", h->folder, name);
    memcpy(n->folder, path.at, path.len + 1);
    CHECK(blobs_open(&n->blobs, n->folder).code == OK);
    CHECK(mesh_join(&n->mesh, h->engine, str_of(full), str_of(role)).code == OK);
    CHECK(
        authority_issue(h->authority, h->memory, str_of(name), str_of(role), 1, &certificate, &key)
            .code == OK);
    CHECK(mesh_peer_identity(n->mesh, STR("test"), certificate, key,
                             authority_certificate(h->authority))
              .code == OK);
    tls_settings tls = {.certificate_pem = certificate,
                        .key_pem = key,
                        .ca_pem = authority_certificate(h->authority),
                        .server = true};
    CHECK(tls_context_open(&n->tls, &tls).code == OK);
    CHECK(socket_listen("127.0.0.1", 0, false, &fd).code == OK);
    n->port = socket_port(fd);
    http_server_settings settings = {.loop = h->loop, .handler = house_on_request, .data = n};
    CHECK(http_server_open(&n->server, &settings).code == OK);
    CHECK(http_server_listen(n->server, fd, n->tls, NULL).code == OK);
    return n;
}

static inline void house_node_close(struct house_node *n)
{
    if (n->mesh == NULL)
        return;
    mesh_leave(n->mesh);
    http_server_close(n->server);
    tls_context_close(n->tls);
    blobs_close(n->blobs);
    n->mesh = NULL;
}

static inline void house_close(struct house *h)
{
    for (size_t i = 0; i < h->count; i++)
        house_node_close(&h->nodes[i]);
    mesh_engine_close(h->engine);
    authority_close(h->authority);
    loop_close(h->loop);
    arena_close(h->memory);
    CHECK(file_remove_tree(h->folder).code == OK);
}

static inline void house_wait(struct house *h, const bool *done)
{
    for (int i = 0; i < HOUSE_TURNS_MAX && !*done; i++)
        loop_turn(h->loop, 5);
    CHECK(*done);
}

static inline void house_rest(struct house *h, uint64_t ms)
{
    for (uint64_t until = loop_now_ms(h->loop) + ms; loop_now_ms(h->loop) < until;)
        loop_turn(h->loop, 5);
}

// A blob of this node alone; `hex` gets its name.
static inline sha256 house_put(struct house_node *n, str bytes, char hex[SHA256_HEX + 1])
{
    sha256 hash;
    CHECK(blobs_put(n->blobs, bytes, &hash).code == OK);
    sha256_hex(hash, hex);
    return hash;
}

static inline size_t house_temporaries(const struct house_node *n)
{
    size_t count = 0;
    DIR *d = opendir(n->folder);
    CHECK(d != NULL);
    for (const struct dirent *e; (e = readdir(d)) != NULL;)
        count += str_starts(str_of(e->d_name), STR(".put-"));
    CHECK(closedir(d) == 0);
    return count;
}
