// Queues within: the record of an item as its bucket holds it, items and claims in memory.
#pragma once
#include "mesh/mesh_inner.h"

enum { TOKEN_BYTES = 32, OWNER_BYTES_MAX = 255 };
typedef struct queue_record {
    uint64_t attempt;
    uint64_t lease_ms;         // 0: nobody holds it
    uint64_t delay_ms;         // nobody holds it, and nobody shall for so long
    char origin[ORIGIN_BYTES]; // of the engine that claimed it
    char token[TOKEN_BYTES];   // of the claim, hex
    str owner;                 // node that holds it
    str payload;
} queue_record;
void queue_record_read(str value, queue_record *out);    // texts point into the value
str queue_record_write(arena *a, const queue_record *r); // {NULL,0}: no memory

typedef enum {
    ITEM_READY,    // in its queue's ready list
    ITEM_CLAIMING, // the next attempt is being written
    ITEM_CLAIMED,  // until due_ms, by owner
    ITEM_DELAYED,  // until due_ms
    ITEM_REMOVING, // being deleted, or from due_ms on again
    ITEM_FOREIGN,  // until due_ms claimed by another process
} item_state;

typedef struct operation operation;
typedef struct item {
    chain link;
    item_state state;
    uint64_t due_ms;   // 0: none
    uint64_t revision; // of its record, as last seen
    mesh_claims *owner;
    operation *operation;    // that is in flight for it
    char token[TOKEN_BYTES]; // of the claim on it
    char id[];
} item;

typedef struct queue {
    chain link;
    mesh_engine *engine;
    char *bucket; // "queue/NAME"
    map *items;
    chain ready, claims;
    uint64_t revision; // what the last load held
    uint64_t
        reload_ms; // when it is loaded again, after memory or the disk failed; 0: it is complete
} queue;

struct mesh_claims {
    chain link;
    mesh *node;
    queue *queue;
    uint64_t number;
    size_t slots, used;
    uint64_t lease_ms;
    void (*on_item)(void *data, const mesh_item *item);
    void *data;
};

// A write for an item that is on its way to the disk.
struct operation {
    queue *queue;
    uint64_t claims; // number of who claims
    arena *memory;
    mesh_item item;
    char token[TOKEN_BYTES];
};

item *item_find(const queue *q, str id); // NULL
// As ready. False without memory: the caller sees to it that the queue is loaded again.
bool item_add(queue *q, str id);
// The item as its record says; what this process itself holds or is about to claim is left alone.
void item_see(queue *q, item *i, str value, uint64_t revision);
// Adds what the store holds and is not known yet, oldest first; without memory or the disk, again
// later (reload_ms).
void queue_load(queue *q);
