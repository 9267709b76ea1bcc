// The inside of the blob door: a node's view of its peers, and transfers under way.
#pragma once
#include "base/map.h"
#include "http/client.h"
#include "mesh/blob.h"
#include "mesh/mesh_inner.h"

enum {
    PEERS_MAX = 4096,
    PEER_TEXT_MAX = 128,
    PEER_FORGET_MS = 10 * 60 * 1000, // when the table is full
    HOLDERS_MAX = 16,                // of one blob that are tried
    BLOB_FETCH_MS = 5 * 60 * 1000,   // a fetch as a whole
    BLOB_STALL_MS = 10 * 1000,       // no bytes for so long: the next holder
    BLOB_ASK_MS = 5 * 1000,
    BLOB_PAUSE_MS = 300, // before all holders are tried once more
    BLOB_CHUNK_BYTES = 256 << 10,
    BLOB_QUEUE_BYTES_MAX = 16 << 20, // read and not yet written
};

typedef struct peer {
    char name[PEER_TEXT_MAX], protocol[PEER_TEXT_MAX], address[PEER_TEXT_MAX];
    uint16_t port;
    uint64_t seen_ms, started_real_ms;
    bool leaving, draining;
} peer;

typedef struct transfer transfer;
// Of one node that fetches or listens; made at its first use, gone when it leaves.
typedef struct blob_door {
    mesh *mesh;
    map *peers; // short name -> peer
    char *universe;
    buf certificate, key, ca;
    http_client *http; // without idle connections: each is for one peer's name
    transfer *transfers;
} blob_door;

err blob_door_of(mesh *m, blob_door **out) MUST_USE;
// The address and door of a node; false: never heard of it.
peer *peers_find(blob_door *d, str name);
void peers_take(blob_door *d, const seer_nodes_reply *reply);
bool transfers_leave(blob_door *d); // true when there were some
