// Blobs between the nodes of a universe: who is there, and bytes by hash from whoever has them.
#pragma once
#include "base/hash.h"
#include "http/server.h"
#include "mesh/mesh.h"
#include "store/blob.h"

enum { MESH_BLOB_BYTES_MAX = 256 << 20 };

// What this node shows the peers it fetches from; again for a renewed one: for fetches from now on.
// Texts are copied. From the first call on this node hears who is there (mesh_peers_listen).
err mesh_peer_identity(
    mesh *m, str universe, str certificate_pem, str key_pem, str ca_pem) MUST_USE;

// ---- who is there, by the heartbeats heard here
typedef struct mesh_peer {
    str name; // short: "hoarder-2"
    str protocol, address;
    uint16_t port;    // of its p2p door; 0: none
    uint64_t seen_ms; // loop_now_ms() of the last heartbeat
    bool leaving;     // its last one said so
    bool draining;    // so did it: it is there, for good it takes nothing
} mesh_peer;
err mesh_peers_listen(mesh *m) MUST_USE; // once is enough, again is fine
// Texts live until the next turn of the loop.
bool mesh_peer_find(mesh *m, str name, mesh_peer *out);   // short or full name
bool mesh_peer_next(mesh *m, size_t *at, mesh_peer *out); // *at starts at 0

// ---- fetch
// `bytes` is the blob's size. Runs once, never before mesh_blob_fetch returns. ERR_ABSENT: nobody
// who answers has it; ERR_LIMIT: larger than bytes_max; ERR_FULL: no room here; ERR_TIMEOUT;
// ERR_CLOSED: cancelled, or this node left.
typedef void mesh_blob_done(void *data, err e, uint64_t bytes);
typedef struct mesh_blob_request {
    blobs *into; // kept alive as long as needed
    sha256 hash;
    str node; // who has it (short or full name); empty, or when it fails: hoarders are asked
    uint64_t bytes_max;
    mesh_blob_done *done;
    void *data;
    const void *owner; // for mesh_blob_cancel
} mesh_blob_request;
// Durable in `into` when `done` says OK, its bytes checked against the hash. One that is there
// already is not fetched; fetches of one hash at one time share one transfer. ERR_MEMORY: no `done`
// follows.
err mesh_blob_fetch(mesh *m, const mesh_blob_request *request) MUST_USE;
// The fetches of this owner end now, within this call, with ERR_CLOSED.
void mesh_blob_cancel(mesh *m, const void *owner);

// ---- the other side: GET /blob/HASH of a p2p door, whose peer may read blobs
// Streams the blob, or answers why not (404 for one that is not here). Reads on helper threads.
void mesh_blob_answer(loop *l, blobs *b, http_exchange *x, str hash);
