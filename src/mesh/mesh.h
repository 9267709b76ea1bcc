// The mesh of one universe: ask, tell, commit, watch and queue between nodes, by messages only.
#pragma once
#include "api/api.h"
#include "base/base.h"
#include "base/log.h"
#include "io/loop.h"
#include "store/store.h"

// What every engine promises (the weaker of all): tell at most once; queue at least once; a watch
// gives the latest value, may skip ones in between, and starts again with a full copy after a gap.
typedef struct mesh mesh;                   // one node's connection to its universe
typedef struct mesh_engine mesh_engine;     // what the connections of one process share
typedef struct mesh_incoming mesh_incoming; // a request that waits for its answer

// Engine `embedded`: all nodes in this process, records in one SQLite file below `folder`
// (mesh.db).
err mesh_embedded_open(mesh_engine **out, loop *l, const char *folder) MUST_USE;
// Engine `nats`: one node a process; records in the logs of the universe's meshd servers, and in
// copies of them below `folder` (SHARD.db) as far as this node's protocols need them. Texts are
// copied. Reads see the copy: at least what this node has committed, or was told of by an answer.
typedef struct mesh_server {
    str address; // "127.0.0.1"
    uint16_t port;
} mesh_server;
enum { MESH_SNAPSHOT_ENTRIES = 20000 };
typedef struct mesh_nats_settings {
    loop *loop;
    log_sink *log;
    const char *folder;
    str universe;
    str node;      // "tns": its certificate's; the server lets no other name join
    str protocols; // its certificate's, joined by '+'; empty: none
    str certificate_pem, key_pem, ca_pem;
    const mesh_server *servers;
    size_t servers_count;
    const struct shards *shards; // NULL: shards_of_universe
    uint64_t snapshot_entries;   // of a log, for one snapshot of it; 0: MESH_SNAPSHOT_ENTRIES
    // Once, when the copies have caught up with the logs (never before this returns). Until then
    // reads are of the past; commits and asks wait by themselves.
    void (*ready)(void *data);
    // Once, when this engine cannot go on (its logs were shortened past what it has seen, its disk
    // is damaged): close it and open a new one, which starts from a snapshot. May be NULL.
    void (*lost)(void *data, err e);
    void *data;
} mesh_nats_settings;
err mesh_nats_open(mesh_engine **out, const mesh_nats_settings *settings) MUST_USE;
// A renewed certificate: for connections from now on.
err mesh_nats_identity(mesh_engine *e, str certificate_pem, str key_pem) MUST_USE;
bool mesh_nats_connected(const mesh_engine *e);
void mesh_engine_close(mesh_engine *e); // its nodes leave; not from within a callback of the mesh
// Joins as node `name` with these protocols ("auth", …; empty for simples).
err mesh_join(mesh **out, mesh_engine *e, str name, str protocols) MUST_USE;
// What it was asked and did not answer fails with ERR_CLOSED (its mesh_incoming are gone then:
// forget them); its own asks and commits end with ERR_CLOSED within this call; its watches and
// claims are closed. No callback follows.
void mesh_leave(mesh *m);
loop *mesh_loop(mesh *m);
str mesh_node_name(const mesh *m);

// ---- ask and tell
// Serves one subject on this node. `fields` (the request's struct) lives until the answer.
typedef void
mesh_handler(void *data, mesh_incoming *in, const message_header *header, const void *fields);
err mesh_serve(mesh *m, message_kind kind, mesh_handler *handler, void *data) MUST_USE;
// Exactly one of these answers an incoming ask, now or later, on the loop.
void mesh_answer(mesh_incoming *in, const void *reply_fields);
void mesh_answer_err(mesh_incoming *in, err e);
arena *mesh_incoming_arena(mesh_incoming *in);   // lives until the answer; 4 MiB budget
str mesh_incoming_from(const mesh_incoming *in); // node that asked

// Asks a healthy node of the subject's protocol (node == empty) or that node. `on_reply` runs once,
// never before this returns: OK and the reply's struct, or the error (ERR_TIMEOUT; ERR_BUSY: nobody
// serves it now; or the handler's own). The struct and the error's text live in the call. `node`
// is "tns@blackhole" or "tns" for short; header may be NULL.
typedef void mesh_replied(void *data, err e, const void *reply_fields);
void mesh_ask(mesh *m,
              str node,
              message_kind kind,
              const message_header *header,
              const void *request_fields,
              uint64_t deadline_ms,
              mesh_replied *on_reply,
              void *data);
// Asks on behalf of raw bytes (doors, API): the request is a whole message; the reply likewise (or
// an error message).
typedef void mesh_replied_raw(void *data, str reply);
void mesh_ask_raw(
    mesh *m, str node, str request, uint64_t deadline_ms, mesh_replied_raw *on_reply, void *data);
void mesh_tell(mesh *m,
               message_kind kind,
               const void *fields); // to every node that listens (and to itself)
err mesh_listen(mesh *m,
                message_kind kind,
                void (*on)(void *data, const void *fields),
                void *data) MUST_USE;

// ---- records: see store.h for what commit, get and list promise. One commit takes at most so
// much, its texts and 21 bytes for each change; what is larger is refused with ERR_LIMIT, by any
// engine.
enum { MESH_COMMIT_BYTES_MAX = 4 << 20, MESH_COMMIT_CHANGES_MAX = 4096 };
void mesh_commit(mesh *m, const store_change *changes, size_t count, store_done *done, void *data);
err mesh_get(mesh *m, str bucket, str key, arena *a, store_entry *out) MUST_USE;
err mesh_list(mesh *m,
              str bucket,
              str prefix,
              str after,
              size_t limit,
              bool reverse,
              arena *a,
              store_entry **out,
              size_t *count) MUST_USE;
// First every present entry below the prefix (entry.value.at == NULL marks a deleted one), then,
// when all were given, once with entry == NULL ("complete"), then each change. Runs on the loop,
// never before this returns.
typedef struct mesh_watch mesh_watch;
typedef void mesh_watched(void *data, const store_entry *entry);
err mesh_watch_open(
    mesh_watch **out, mesh *m, str bucket, str prefix, mesh_watched *on, void *data) MUST_USE;
void mesh_watch_close(mesh_watch *w);

// ---- queue: items are records in bucket "queue/NAME" (added by mesh_queue_change in the same
// commit as other records) Fills a change that adds `payload` under `id` (nothing happens when it
// is there already in the queue). Deleting that record (bucket "queue/NAME", key id) takes the item
// back, claimed or not. The change lives in the arena; when that is full, a commit with it is
// refused with ERR_LIMIT.
void mesh_queue_change(arena *a, store_change *out, str queue, str id, str payload);
// Delivers at most `slots` items at once to this node; each stays claimed while heartbeats come
// (lease_ms), and is redelivered (to anybody) when they stop. `attempt` counts from 1.
typedef struct mesh_claims mesh_claims;
typedef struct mesh_item {
    str id;
    str payload;
    uint64_t attempt;
    str claim; // token: what a former attempt reports is refused by it
} mesh_item;
err mesh_claims_open(mesh_claims **out,
                     mesh *m,
                     str queue,
                     size_t slots,
                     uint64_t lease_ms,
                     void (*on_item)(void *data, const mesh_item *item),
                     void *data) MUST_USE;
void mesh_claim_beat(mesh_claims *c, str id, str claim);
void mesh_claim_done(mesh_claims *c, str id, str claim); // removes the item; frees the slot
void mesh_claim_return(mesh_claims *c,
                       str id,
                       str claim,
                       uint64_t delay_ms); // for a later attempt; frees the slot
void mesh_claims_close(mesh_claims *c);    // its items are redelivered at once
