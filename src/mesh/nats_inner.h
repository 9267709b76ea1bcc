// What the parts of the nats engine share: the engine, its logs, what waits for a position in them.
#pragma once
#include "base/json.h"
#include "base/map.h"
#include "mesh/mesh_inner.h"
#include "mesh/nats_entry.h"
#include "mesh/nats_link.h"
#include "mesh/shards.h"

enum {
    REVISIONS_PER_ENTRY = 1024,
    ENTRY_BYTES_MAX = MESH_COMMIT_BYTES_MAX + (1 << 20), // the entry around commits
    NAME_BYTES_MAX = 96,
};

#define MESH_IS_DOWN "no server of the mesh answers: is an elder up?"
typedef struct nats_engine nats_engine;
typedef struct nats_log nats_log;

// Something to do later, unless it is cancelled: one timer for all of these.
typedef struct later {
    chain link;
    uint64_t at_ms;
    void (*run)(void *data);
    void *data;
} later;

struct nats_engine {
    mesh_engine engine;
    log_sink *log;
    const shards *shards;
    char *folder, *universe, *node, *protocols;
    nats_link *link;
    nats_log *logs[SHARDS_MAX]; // NULL: not kept here
    struct {
        uint64_t position, until_ms;
    } seen[SHARDS_MAX];                 // of logs not kept here: what their keepers said of late
    uint64_t distrusted_ms[SHARDS_MAX]; // until then no position is waited for (nats_held.c)
    later held_tick;
    chain subscriptions, held, laters;
    bool listening[MESSAGE_KINDS];
    nats_subscription *beats, *tips;
    later down;     // asks fail once there was no server for a while:
    bool down_long; // now
    timer *timer;
    uint64_t timer_due_ms;
    void (*ready)(void *data);
    void (*lost)(void *data, err e);
    void *data;
    uint64_t snapshot_entries; // one snapshot for so many
    bool told_ready, told_lost;
};
void nats_later(nats_engine *n, later *l, uint64_t after_ms); // again: replaces
void nats_later_cancel(later *l);
void nats_say(nats_engine *n, str subject, str payload); // at most once; a failure is logged
void nats_check_ready(nats_engine *n);
void nats_lose(nats_engine *n, err e); // this engine cannot go on
void nats_reached(nats_engine *n);     // a log has been applied further: what waited may go on

// ---- messages (nats_messages.c): see mesh_driver
void nats_ask(mesh_engine *e, ask *a);
void nats_answer(mesh_engine *e, mesh_incoming *in, buf *bytes, err error);
void nats_tell(mesh *m, message_kind kind, buf *bytes);
err nats_serve(mesh *m, message_kind kind) MUST_USE;
err nats_listen(mesh *m, message_kind kind) MUST_USE;
err nats_join(mesh *m) MUST_USE;
void nats_leave(mesh *m);
void nats_beat(mesh_engine *e, str queue, str id, str claim, uint64_t lease_ms);
err nats_messages_open(nats_engine *n) MUST_USE;
void nats_messages_close(nats_engine *n);

// ---- logs (nats_log.c follows, nats_write.c writes, nats_snapshot.c shortens)
err nats_log_open(nats_log **out, nats_engine *n, size_t shard) MUST_USE;
void nats_log_close(nats_log *l); // what waits to be written is told ERR_CLOSED
void nats_log_connected(nats_log *l);
bool nats_log_caught_up(const nats_log *l);
bool nats_log_follows(const nats_log *l);      // and it has just been heard
uint64_t nats_log_applied(const nats_log *l);  // up to here all is there
void nats_log_tip(nats_log *l, uint64_t last); // the stream's leader says that it is so long
// Nothing after this can be seen here yet: the store reads what it is given at any moment.
uint64_t nats_log_visible(const nats_log *l);
err nats_log_store(nats_log *l, store **out) MUST_USE; // ERR_BUSY: not caught up yet
// `bytes`: the commit as entry_commit_write wrote it; taken.
void nats_log_commit(nats_log *l, buf *bytes, store_done *done, void *data);

typedef struct log_commit {
    chain link;
    size_t number; // in its entry
    buf bytes;
    store_done *done;
    void *data;
} log_commit;

struct nats_log {
    nats_engine *n;
    size_t shard;
    const char *name, *role; // of the shard; as whom this node writes, "" for not at all
    store *store;
    char *path;
    map *writers; // node and hex of a writer -> log_writer
    // following
    nats_subscription *delivery;
    char *deliver_to, *consumer;      // subject; the present consumer's name
    uint64_t generation;              // of consumers made so far
    uint64_t create_ms;               // how long the next may take to be made
    uint64_t undoubted;               // entries up to here may name what did not come here
    uint64_t asked;                   // request that makes the next consumer; 0: none is under way
    uint64_t delivered;               // messages of the present consumer
    uint64_t heard_ms;                // when it last said anything
    uint64_t taken;                   // entry that the store was given last
    uint64_t applied;                 // entry whose changes are all there
    uint64_t target;                  // an entry that exists for sure (our own, acknowledged)
    uint64_t tip;                     // how long the stream is, as its leader says
    uint64_t tip_explained;           // so long it is because of what is no entry
    uint64_t behind_ms, behind_taken; // since when no entry came although the tip is further
    unsigned behind_times;            // that a new consumer was made for it
    size_t applying;                  // entries given to the store and not told yet
    bool following, caught_up, broken, closing;
    bool full;   // there is no room for this copy: nothing more is written until there is
    char *flow;  // a flow control message's reply subject, to be answered when there is room
    later watch; // looks whether the consumer still lives
    later again; // follows anew
    struct snapshot_fetch *fetch;
    struct snapshot_make *make;
    struct snapshot_doubt *doubt;
    uint64_t snapshot_due; // entry at which one became due; 0: none is
    // writing
    chain waiting, flying;
    buf flight; // the entry under way
    uint64_t number, flight_request, ack_ms;
    unsigned sends; // of the entry under way
    bool in_flight;
    later resend;
};
typedef struct log_writer {
    uint64_t number; // of its last entry
    uint64_t entry;  // where that stands in the log
} log_writer;

void nats_write_pump(nats_log *l);
// An entry of ours was applied: commits of it are told one by one, then the flight is over.
bool nats_write_is_ours(const nats_log *l, const log_entry *entry);
void nats_write_told(nats_log *l, size_t commit, err e, uint64_t revision);
void nats_write_landed(nats_log *l);
// There is no room, here or at the elders: who waits is told that it is not known.
void nats_write_full(nats_log *l);
void nats_write_connected(nats_log *l);
void nats_write_close(nats_log *l);

void nats_log_follow(nats_log *l); // from what the store holds on
void nats_log_restart(nats_log *l, uint64_t after_ms);

// ---- consumers (nats_follow.c)
// Asks meshd for one; the question is what stands in meshd/follow.go. 0: the link closes.
uint64_t
nats_follow(nats_log *l, const char *question, uint64_t deadline_ms, nats_replied *on, void *data);
// Its answer: ERR_BUSY, or how many messages are to come (UINT64_MAX: it does not say).
// An answer of JetStream's API or a publish acknowledgement. When it is an error: ERR_BUSY, its
// err_code as sys and `refused` as text.
err nats_api_read(arena *a, str answer, const char *refused, const json **out) MUST_USE;
err nats_follow_read(str answer, uint64_t *pending) MUST_USE;
// $JS.ACK.STREAM.CONSUMER.DELIVERED.ENTRY.NUMBER.TIME.PENDING, or with a domain and an account
// after ACK and one token more at the end.
typedef struct delivery_meta {
    str consumer;
    uint64_t entry, number, pending;
} delivery_meta;
bool nats_delivery_read(str reply, delivery_meta *out);
// A header's number, UINT64_MAX when it is not there.
uint64_t nats_header_number(str headers, str name);

typedef void snapshot_done(nats_log *l, err e, bool loaded);
// Before the store is opened: takes the newest snapshot if it is newer than our file.
void nats_snapshot_fetch(nats_log *l, snapshot_done *done);
// An entry's writer had seen one that did not come here: has a snapshot taken its place? Ends in
// nats_lose() or goes on following, then without doubt about entries up to this one.
void nats_snapshot_doubt(nats_log *l, uint64_t entry);
// After entries up to `entry` were applied, and up to `former` before; `ours`: the last is our own.
void nats_snapshot_maybe(nats_log *l, uint64_t former, uint64_t entry, bool ours);
void nats_snapshot_close(nats_log *l);
