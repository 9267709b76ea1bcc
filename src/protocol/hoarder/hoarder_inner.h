// hoarder's own rooms: who the hoarders are, where a blob's copies lie, stash, repair, collection.
#pragma once
#include "mesh/blob.h"
#include "protocol/protocol.h"
#include "protocol/record.h"

enum {
    HOARDERS_MAX = 64,
    COPIES_MAX = 3,   // of a blob: as many as there are hoarders, at most so many
    COPIES_LEAST = 2, // acknowledge a stash where there are more than one
    NODES_MAX = 16,   // in a blob's record
    PLACE_BYTES_MAX = 128 << 10,
    HEALTHY_MS = 10 * 1000, // a hoarder unheard for so long gets no new blobs
    GONE_MS = 60 * 1000,    // and for so long is gone for good: its blobs get other places
    TICK_MS = 1000,         // who is there is looked at so often
    REPAIR_EVERY_MS = 5 * 60 * 1000,
    REPAIR_RETRY_MS = 30 * 1000, // after a repair that did not succeed
    REPAIR_PAUSE_MS = 20,        // between two blobs
    REPAIR_PAGE = 64,            // records looked at in one turn of the loop
    KEEP_ASK_MS = 15 * 1000,
    UPDATE_TRIES_MAX = 16,
};

// A hoarder that is known: it is this one, was heard, or has written itself into hoarder.node.
typedef struct keeper {
    str name; // short
    bool healthy, gone;
    uint64_t weight; // for one blob (keepers_order)
} keeper;
typedef struct keepers {
    keeper at[HOARDERS_MAX];
    size_t count;
} keepers;

// The record hoarder.blob of one blob: JSON {size, owner, nodes}.
typedef struct placement {
    uint64_t size;
    str owner;
    str nodes[NODES_MAX];
    size_t count;
    uint64_t revision; // 0: there is no record
} placement;

struct hoarder;
// Something under way for a hoarder that may close meanwhile: the first member of its kind.
typedef struct errand {
    struct errand *next;
    struct hoarder *hoarder; // NULL: it has closed, what still comes back finds nobody
    mesh_incoming *in;       // who waits for the answer; NULL: nobody (any more)
    arena *memory;           // of the errand and all it keeps
    str hash;
    sha256 name;
} errand;

struct hoarder {
    protocol_context context;
    str self; // short name
    uint64_t healthy_ms, gone_ms, repair_ms;
    uint64_t opened_ms;
    timer *collect_timer, *tick, *walk;
    uint64_t collected;
    struct collection *collection; // the one that runs
    errand *errands;
    // the walk of repair
    bool walking, repairing, walk_again;
    char walk_after[SHA256_HEX + 1];
    uint64_t walk_next_ms, repaired;
    uint64_t members;         // what was known of the hoarders at the last tick
    bool draining;            // others take what is here
    void (*idle)(void *data); // until they have; NULL: nobody waits
    void *idle_data;
};

// errand.c
err errand_open(struct hoarder *h, size_t size, str hash, mesh_incoming *in, errand **out) MUST_USE;
void errand_close(errand *x); // answers nobody
// keepers.c
void keepers_know(struct hoarder *h, arena *a, keepers *out);
void keepers_order(keepers *p,
                   str hash); // by rendezvous: the same everywhere, another for each blob
size_t keepers_copies(const keepers *p); // wanted of each blob
keeper *keepers_find(keepers *p, str name);
void keepers_tick(struct hoarder *h); // writes this hoarder into hoarder.node, removes who is gone
// placement.c
err placement_get(struct hoarder *h, arena *a, str hash, placement *out) MUST_USE; // none: OK
void placement_read(arena *a, str text, placement *out); // damaged or of old: without nodes
bool placement_has(const placement *p, str name);
// Adds and drops names (texts are copied), by compare-and-set; without any name the record goes.
typedef struct placement_change {
    str hash;
    uint64_t size; // 0: as it is
    str owner;     // empty: as it is
    str add[NODES_MAX];
    size_t add_count;
    str drop[NODES_MAX];
    size_t drop_count;
} placement_change;
// `done` runs once, never before this returns; after the hoarder has closed too.
typedef void placement_done(void *data, err e);
err placement_update(struct hoarder *h,
                     const placement_change *change,
                     placement_done *done,
                     void *data) MUST_USE;
// stash.c
err stash_serve(struct hoarder *h) MUST_USE;
// repair.c
void repair_tick(struct hoarder *h);
void repair_walk(void *data);              // of the timer `walk`
void repair_check_idle(struct hoarder *h); // draining: whether no record names this hoarder
// collect.c
err collection_start(struct hoarder *h, mesh_incoming *in, bool dry) MUST_USE;
void collection_leave(struct hoarder *h);
