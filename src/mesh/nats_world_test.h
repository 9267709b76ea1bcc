// Tests only: real servers and engines of several nodes on one loop, as processes would have them.
#pragma once
#include "base/str.h"
#include "base/test.h"
#include "mesh/mesh.h"
#include "mesh/meshd_fixture_test.h"
#include "mesh/nats_link.h"

enum { NODES_MAX = 4 };
typedef struct cluster cluster;
typedef struct cluster_node {
    cluster *cluster;
    char name[16], folder[128];
    mesh_engine *engine; // NULL: it does not run
    mesh *mesh;
    size_t ready, lost;
    uint64_t snapshot_entries; // 0: the usual
} cluster_node;
struct cluster {
    meshd_set *servers;
    loop *loop;
    log_sink *log; // with MESH_LOG in the environment
    arena *memory;
    char folder[64];
    cluster_node nodes[NODES_MAX]; // "a", "b", "c", "d"
};
// Logs "contract" (all but what follows) and "other" (buckets "other." and, for clients,
// "locked."); in the first only auth may write buckets "secret.". Nodes are auth, bare connections
// clients: the servers let both do anything.
void cluster_open(cluster *c, size_t elders);
void cluster_close(cluster *c);
mesh *node_open(cluster *c, size_t node); // joined, and ready
void node_close(cluster *c, size_t node);
void node_forget(cluster *c, size_t node); // its folder, while it does not run
void cluster_wait(cluster *c, const size_t *counter, size_t value, uint64_t ms); // fails after that
void cluster_rest(cluster *c, uint64_t ms);
// A bare connection as node `name`.
nats_link *cluster_link(cluster *c, const char *name);
// What the stream "contract" holds, as an elder's client sees it: "state" of its information.
typedef struct stream_state {
    uint64_t messages, first, last;
} stream_state;
stream_state cluster_state(cluster *c, nats_link *link);

typedef struct told {
    size_t count, ok;
    err error;
    uint64_t last; // revision
} told;
void on_told(void *data, err e, uint64_t revision);
void node_put(cluster *c, size_t node, const char *key, const char *value, told *t);
