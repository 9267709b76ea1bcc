// What the parts of the embedded engine share: nodes, asks, letters, watches, queues.
#pragma once
#include "base/buf.h"
#include "base/map.h"
#include "mesh/mesh.h"

enum {
    MESH_TICK_MS = 10, // deadlines are rounded up to it
    MESH_ASK_SLOTS = 256,
    MESH_ARENA_BYTES = 4 << 20,
    MESH_RETRY_MS = 250, // after a full disk
};

// A ring of things: the head is a link as well. It is the first member of what it links.
typedef struct chain {
    struct chain *prev, *next;
} chain;
static inline void chain_init(chain *head)
{
    head->prev = head->next = head;
}
static inline void chain_add(chain *head, chain *l)
{
    l->prev = head->prev;
    l->next = head;
    head->prev->next = l;
    head->prev = l;
}
static inline void chain_remove(chain *l)
{
    l->prev->next = l->next;
    l->next->prev = l->prev;
    chain_init(l);
}
static inline void *chain_first(chain *head)
{
    // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): what is freed left its ring before
    return head->next == head ? NULL : head->next;
}

// What is on its way to a later turn of the loop. Letters name things by number, so that what is
// gone when they arrive is simply not found.
typedef struct letter letter;
struct letter {
    chain link;
    void (*run)(mesh_engine *e, letter *l);
    uint64_t number; // of an ask or a watch; the kind of a tell
    buf bytes;
    err error; // instead of bytes
};

// A deferred call to mesh_mail_run(), which may come after the engine was closed.
typedef struct postman {
    mesh_engine *engine;
} postman;

struct mesh_engine {
    loop *loop;
    store *store;
    chain nodes, letters, listeners, watches, queues;
    chain asks[MESH_ASK_SLOTS]; // by number
    uint64_t numbers;           // given so far
    uint64_t turns[MESSAGE_KINDS];
    postman *postman; // on its way, or NULL
    timer *timer;     // armed while something has a deadline
    timer *mail_timer;
    uint64_t due_ms; // when it fires; 0: it does not
    bool closing;
};

typedef struct served {
    mesh_handler *handler;
    void *data;
} served;

struct mesh {
    chain link;
    mesh_engine *engine;
    char *name, *protocols;
    served served[MESSAGE_KINDS];
    chain incoming, commits;
};

void *mesh_must_take(size_t size); // zeroed; aborts when there is none: for what can not fail
void mesh_due(mesh_engine *e, uint64_t at_ms); // the engine ticks then at the latest
letter *mesh_letter(mesh_engine *e, void (*run)(mesh_engine *e, letter *l), uint64_t number);

void asks_tick(mesh_engine *e, uint64_t now_ms);
bool asks_leave(mesh *m); // true when there were some
void incoming_leave(mesh *m);
void listeners_leave(mesh *m);
bool commits_leave(mesh *m);
void watches_leave(mesh *m);
void watches_on_commit(mesh_engine *e,
                       const store_change *changes,
                       size_t count,
                       uint64_t revision);
void watches_tick(mesh_engine *e, uint64_t now_ms);
void claims_leave(mesh *m);
void queues_on_commit(mesh_engine *e, const store_change *changes, size_t count, uint64_t revision);
void queues_tick(mesh_engine *e, uint64_t now_ms);
void queues_close(mesh_engine *e);
