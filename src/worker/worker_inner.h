// The inside of a worker process: one loop, its doors, its loaded functions, its link to the
// control process.
#pragma once
#include "base/map.h"
#include "http/client.h"
#include "http/server.h"
#include "vm/vm.h"
#include "worker/link_inner.h"
#include "worker/places_inner.h"
#include "worker/snapshot_inner.h"
#include "worker/workers.h"

enum {
    WORKER_ROLES = WORKER_GATEWAY_P2P + 1,
    WORKER_DOORS_MAX = 64,
    FUNCTIONS_MAX = 100 * 1000, // known to one worker at once
    MODULES_MAX = 4000,         // loaded at once: each is 3 of the kernel's 65,530 mappings
    MODULE_IDLE_MS = 30 * 1000, // a module nobody called for so long is unloaded
    FUNCTION_CONCURRENCY = 256, // where the configuration says nothing
    PREFETCH_RECENT_MS = 5000,
    PREFETCH_MAX = 64,
    MODULE_WAIT_MS = 10 * 1000,    // for a module from the control process
    OUTPUT_FLUSH_MS = 20,          // how long lines of output wait for others
    OUTPUT_BYTES_MAX = 512 * 1024, // of lines in that time; more are dropped and counted
    WARM_SLOTS_MAX = 56,           // memories that stay resident: 64 KiB each
    COUNTS_MS = 1000,
    DOOR_END_MS = 10 * 1000,
    RELAY_BYTES_MAX = CHANNEL_FRAME_BYTES_MAX - 4096,
    CALL_BODY_BYTES_MAX = 10 * 1000 * 1000,
};

typedef struct worker worker;
typedef struct worker_door {
    worker *worker;
    worker_role role;
    uint64_t number;
    uint64_t end_ms; // 0: open; else when connections under way are cut
    http_server *server;
} worker_door;

// One function as its calls need it: owns its texts, so that no call holds a snapshot.
typedef enum { FUNCTION_COLD, FUNCTION_LOADING, FUNCTION_LOADED } function_state;
typedef struct call call;
typedef struct function function;
struct function {
    worker *worker;
    char key[SNAPSHOT_KEY_BYTES];
    uint64_t number; // ticket of its want
    function_state state;
    vm_module *module;
    str id, name, application, project, branch, commit, code, module_hash; // `code`: the export
    uint64_t timeout_ms, memory_bytes, response_bytes, concurrency;
    uint64_t holds;                // requests that name it; it stays while there are any
    uint64_t calls_now;            // of them, those that run or wait for the module
    place *place;                  // where its limit holds over all processes; NULL: in this one
    function *loading_next;        // of those whose module is on its way
    call *waiting, **waiting_last; // for the module
    uint64_t used_ms;
    uint64_t wanted_ms;
    uint64_t calls, failures, time_us; // since they were last told
    uint32_t index;                    // in the snapshot `index_of`
    snapshot *index_of;
};

// One call: in the exchange's arena.
struct call {
    function *function;
    http_exchange *x;
    vm_call *running;
    call *next; // of those that wait for the module
    str body;
    str path;
    bool waiting;           // in the function's list
    bool counted;           // in calls_now
    bool started;           // head was sent
    bool lost;              // the client can take no more
    bool held;              // wants to go on, but the client takes no bytes now
    struct call_wake *wake; // a resumption that is on its way
};

typedef struct tally { // of the gateway, by backend
    str node;
    uint64_t requests, failures, failed_ms;
    uint64_t time_us;
    bool changed;
} tally;

struct worker {
    loop *loop;
    channel *link;
    arena *memory; // of one message
    vm *vm;
    worker_page *page;
    places *places; // shared by all slots
    uint64_t slot, slots;
    uint64_t module_idle_ms;
    char *universe;
    bool request_log, started, stopping;
    str ticket_key, ca_pem;
    struct deny *denied;     // NULL: nobody is
    tls_context *tls[2];     // p2p doors: substrate's, gateway's
    tls_context *tls_client; // gateway to substrates
    http_client *client;
    worker_door *doors[WORKER_DOORS_MAX];
    snapshot *snapshot;
    function **by_index; // of the snapshot's functions; NULL: not called yet under it
    map *functions;      // key -> function
    map *relays;         // ticket -> http_exchange
    uint64_t numbers;
    function *loading;
    call *current; // whose guest has the processor now; NULL once it is done
    size_t modules;
    timer *beat, *flush, *counts, *end;
    buf output; // lines that wait for the next frame
    bool flushing;
    uint64_t output_dropped;
    map *tallies; // node -> tally
    uint64_t gateway_requests, gateway_failures;
    bool gateway_changed;
    uint64_t end_ms;
};

// --- doors (doors.c)
err doors_identity(worker *w, bool gateway, str certificate_pem, str key_pem) MUST_USE;
err door_open(worker *w, worker_role role, uint64_t number, int fd) MUST_USE; // owns fd
void door_shut(worker *w, uint64_t number); // no new connections; those under way get DOOR_END_MS
void doors_sweep(worker *w);
void doors_drain(worker *w);
void doors_close(worker *w);
size_t doors_connections(const worker *w);
bool peer_has(const http_exchange *x, str protocol);
// --- calls (serve.c)
void serve_request(worker *w, http_exchange *x);
void call_module_ready(call *c);
void call_module_failed(call *c, err e);
void serve_unknown(worker *w,
                   http_exchange *x,
                   const snapshot_host *host); // 404; NULL: no such host
str serve_remote(http_exchange *x);            // the client's address without its port
const snapshot_host *serve_find_host(worker *w, const http_request *r);
// --- functions (functions.c)
function *function_find(worker *w, uint32_t index); // NULL: no memory, or too many
// Answers by call_module_ready or call_module_failed; NULL: nobody waits for it yet.
void function_want(function *f, call *c);
void functions_prefetch(worker *w, snapshot *fresh); // once it is the current one
void function_unqueue(function *f, call *c);
void functions_on_module(worker *w, const worker_module *m, int fd);
void functions_sweep(worker *w);
void functions_close(worker *w);
// --- answers that are failures (refuse.c)
typedef struct refusal {
    unsigned status;
    const char *code, *message;
    str allow; // 405
} refusal;
void refuse(http_exchange *x, const refusal *r);
// --- lines, counts (tell.c)
void tell_output(worker *w, const function *f, str request, str stream, str text);
void tell_request(worker *w, http_exchange *x, unsigned status, uint64_t bytes, uint64_t us);
err tell_open(worker *w) MUST_USE;
void tell_counts(worker *w);
void tell_flush(worker *w);
// --- what a p2p door relays (relay.c)
void relay_request(worker *w, http_exchange *x, bool gateway);
void relay_on_reply(worker *w, const worker_relayed *m);
// --- gateway (proxy.c)
void proxy_request(worker *w, http_exchange *x);
