// What both engines share: nodes, asks, letters, watches, queues; and the table of what differs.
#pragma once
#include "base/buf.h"
#include "base/map.h"
#include "mesh/mesh.h"

enum {
    MESH_TICK_MS = 10, // deadlines are rounded up to it
    MESH_ASK_SLOTS = 256,
    MESH_ARENA_BYTES = 4 << 20,
    MESH_RETRY_MS = 250, // after a full disk
    ORIGIN_BYTES = 16,
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

typedef struct ask {
    chain link;
    mesh *from;
    uint64_t number, until_ms;
    message_kind kind;
    char *to; // a node's name; empty: anybody
    buf request;
    err error; // the request could not be written
    mesh_replied *on_reply;
    mesh_replied_raw *on_raw; // either
    void *data;
} ask;

// What differs between the engines. All are called on the loop.
typedef struct mesh_driver {
    // Puts a->request on its way (it stays with the ask); asks_on_reply or asks_on_failure follow.
    void (*ask)(mesh_engine *e, ask *a);
    // Takes the bytes of the reply; `error` instead when they could not be written.
    void (*answer)(mesh_engine *e, mesh_incoming *in, buf *bytes, err error);
    void (*tell)(mesh *m, message_kind kind, buf *bytes); // takes the bytes
    err (*serve)(mesh *m, message_kind kind);             // requests of this kind may come; NULL
    err (*listen)(mesh *m, message_kind kind);            // tells of this kind may come; NULL
    err (*join)(mesh *m);                                 // NULL: nothing to do
    void (*leave)(mesh *m);                               // NULL
    void (*commit)(
        mesh_engine *e, const store_change *changes, size_t count, store_done *done, void *data);
    // The store (or copy) that holds this bucket here.
    err (*store)(mesh_engine *e, str bucket, store **out);
    // Another process may claim too: claims are told to it. NULL: nobody else does.
    void (*beat)(mesh_engine *e, str queue, str id, str claim, uint64_t lease_ms);
    void (*close)(mesh_engine *e); // the last: no callback follows
} mesh_driver;

// A deferred call to mesh_mail_run(), which may come after the engine was closed.
typedef struct postman {
    mesh_engine *engine;
} postman;

// The first member of each engine's own struct.
struct mesh_engine {
    const mesh_driver *driver;
    loop *loop;
    char origin[ORIGIN_BYTES]; // of what this process claims: random, anew at each start
    chain nodes, letters, listeners, watches, queues, refused;
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

struct mesh_incoming {
    chain link;
    mesh *node;
    uint64_t ask; // its number (embedded)
    char *reply;  // where the answer goes (nats)
    message_kind kind;
    buf request; // texts of the fields point into it
    arena *memory;
    str from;
};

struct mesh {
    chain link;
    mesh_engine *engine;
    char *name, *protocols;
    struct blob_door *blob_door; // NULL until blobs or peers are asked for
    served served[MESSAGE_KINDS];
    chain incoming, commits;
};

void *mesh_must_take(size_t size); // zeroed; aborts when there is none: for what can not fail
char *mesh_must_copy(str s);
void mesh_due(mesh_engine *e, uint64_t at_ms); // the engine ticks then at the latest
letter *mesh_letter(mesh_engine *e, void (*run)(mesh_engine *e, letter *l), uint64_t number);
err mesh_engine_start(mesh_engine *e, const mesh_driver *driver, loop *l) MUST_USE;
void mesh_engine_end(mesh_engine *e); // what mesh_engine_start made; not the memory itself
// For the hook of every store of the engine; data: the engine.
void mesh_on_commit(void *data, const store_change *changes, size_t count, uint64_t revision);
bool mesh_node_is(const mesh *m, str to); // "tns@blackhole", or "tns" for short
str mesh_node_short(const mesh *m);       // "tns"
mesh *mesh_node_serving(mesh_engine *e, message_kind kind, str to); // NULL; they take turns

ask *ask_find(mesh_engine *e, uint64_t number);
void asks_on_reply(mesh_engine *e, uint64_t number, str bytes);
void asks_on_failure(mesh_engine *e, uint64_t number, err error);
// A request for this node has come; `bytes` is taken.
void incoming_open(mesh *node, message_kind kind, str from, buf *bytes, uint64_t ask, str reply);
err ask_nobody(message_kind kind, char what[static 128]);
void asks_fail(mesh_engine *e, err error); // all that wait now
void asks_tick(mesh_engine *e, uint64_t now_ms);
bool asks_leave(mesh *m); // true when there were some
void incoming_leave(mesh *m);
void listeners_leave(mesh *m);
void listeners_tell(mesh_engine *e, message_kind kind, str bytes);
bool commits_leave(mesh *m);
// ERR_LIMIT: larger than any engine takes.
err commit_check(const store_change *changes, size_t count) MUST_USE;
// Its `done` gets the error on a later turn, or when the engine closes (commits_refused_tell).
void commit_refuse(mesh_engine *e, err error, store_done *done, void *data);
void commits_refused_tell(mesh_engine *e);
void watches_leave(mesh *m);
void watches_on_commit(mesh_engine *e,
                       const store_change *changes,
                       size_t count,
                       uint64_t revision);
void watches_tick(mesh_engine *e, uint64_t now_ms);
void claims_leave(mesh *m);
void queues_on_commit(mesh_engine *e, const store_change *changes, size_t count, uint64_t revision);
void queues_on_beat(mesh_engine *e, str queue, str id, str claim, uint64_t lease_ms);
void queues_tick(mesh_engine *e, uint64_t now_ms);
void queues_close(mesh_engine *e);
bool blobs_leave(mesh *m); // true when there were some
void blobs_left(mesh *m);
