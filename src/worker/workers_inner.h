// The control side's inside: slots with their processes, sockets, the parts of the snapshot, wants
// and relays.
#pragma once
#include "base/buf.h"
#include "base/map.h"
#include "io/proc.h"
#include "worker/link_inner.h"
#include "worker/places_inner.h"
#include "worker/workers.h"

enum {
    WORKERS_MAX = PLACES_SLOTS_MAX,
    LISTENS_MAX = 16,
    GONE_MAX = 8,
    RESTART_FAST_MS = 1000, // one that ended sooner after its start restarts with a back-off
    RESTART_WAIT_MS_MAX = 5000,
    WATCH_MS = 250,
    READY_MS = 10 * 1000,    // from start to worker.ready
    STOP_MS = 700,           // from worker.stop to SIGKILL
    MODULES_CACHED_MAX = 64, // memory files kept for other workers
    MODULES_CACHED_MS = 5000,
    WANTS_MAX = 10 * 1000,
    RELAYS_MAX = 10 * 1000,
};

typedef struct slot {
    workers *workers;
    size_t number;
    proc *proc; // NULL: none runs
    channel *link;
    worker_page *page;
    int page_fd;
    uint64_t life; // grows with each process: answers for a former one are dropped
    uint64_t started_ms, killed_ms;
    uint64_t failures; // quick ends in a row
    uint64_t snapshot; // that it has taken
    bool ready;
    const char *why; // we ended it
    timer *restart;
} slot;

// One address with a socket for each slot.
typedef struct listen_set {
    worker_role role;
    uint64_t door;
    uint16_t port;
    int *fds; // one per slot; NULL: unused entry
} listen_set;

// A worker that waits for a module or a relayed answer.
typedef struct waiter {
    struct waiter *next;
    size_t slot;
    uint64_t life, ticket;
} waiter;
typedef struct want {
    uint64_t ticket; // ours, as given to on_module_want
    char hash[65];
    waiter *waiters;
    int fd; // the answer, kept for a while; -1: not yet
    uint64_t answered_ms;
} want;

typedef struct identity_pems {
    str certificate, key; // owned; empty: none
} identity_pems;

typedef struct backend_count {
    uint64_t requests, failures;
} backend_count;

struct workers {
    workers_settings settings;
    str universe, ca_pem; // owned
    char *program;
    bool program_is_ours; // it was this very process's when the workers were opened
    char ticket_key[80];
    places *places;
    int places_fd;
    size_t count;
    slot slots[WORKERS_MAX];
    listen_set listens[LISTENS_MAX];
    uint64_t doors;
    identity_pems identities[2]; // substrate's, gateway's
    workers_events events;
    struct {
        void (*on)(void *data, uint64_t ticket, str peer_uri, str request);
        void *data;
    } relay[2];
    struct {
        bool gateway;
        void (*on)(void *data);
        void *data;
    } gone[GONE_MAX];
    arena *routes_memory, *backends_memory;
    route_table routes;
    backend_table backends;
    int snapshot_fd; // -1: none made yet
    uint64_t snapshot_number, snapshot_bytes;
    struct publication *publication; // on its way
    arena *memory;                   // of one message
    map *wants;                      // hash -> want
    map *tickets;                    // our ticket -> want
    map *relays;                     // our ticket -> waiter
    map *backend_counts;             // node -> backend_count
    uint64_t numbers;
    timer *watch;
    uint64_t watched_ms, denied_version; // of the list that the workers have
    bool started, closing;
    uint64_t restarts;
    uint64_t gateway_requests, gateway_failures;
    void (*closed)(void *data);
    void *closed_data;
    timer *end;
};

// supervise.c
err slot_start(slot *s) MUST_USE;
void slot_end(slot *s, const char *why); // kills it
err slot_send(slot *s, message_kind kind, const void *fields, const int *fd) MUST_USE;
void slot_send_listen(slot *s, const listen_set *l);
err supervise_open(workers *w) MUST_USE;
// wants.c
void wants_on_want(slot *s, const worker_module_want *m);
void wants_on_relay(slot *s, const worker_relay *m);
void wants_sweep(workers *w);
void wants_close(workers *w);
// publish.c
err publish_now(workers *w) MUST_USE; // makes the next snapshot and sends it
void publish_soon(workers *w);        // once for all calls of this turn
void publish_cancel(workers *w);
// denied.c
void denied_tell(slot *s);    // one that has just started
void denied_look(workers *w); // tells all when the list has changed
// workers.c
void workers_slot_gone(workers *w);
