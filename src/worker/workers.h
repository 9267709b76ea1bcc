// The processes that run guests, seen from the control process: started, fed, watched, replaced.
#pragma once
#include "api/api.h"
#include "base/base.h"
#include "base/log.h"
#include "io/loop.h"
#include "worker/snapshot.h"

// Public and p2p doors that workers accept on, one SO_REUSEPORT socket per worker slot each.
typedef enum {
    WORKER_SUBSTRATE_HTTP,
    WORKER_SUBSTRATE_P2P,
    WORKER_GATEWAY_HTTP, // may be opened twice: the fixed block's port and the friendly one (8080)
    WORKER_GATEWAY_P2P,
} worker_role;

typedef struct workers workers;
typedef struct workers_settings {
    loop *loop;
    log_sink *log;
    const char *program; // our own executable: runs `PROGRAM worker`
    str universe;
    str ca_pem;
    size_t slots;            // processes; 0: one per core
    bool request_log;        // one line per request through the log
    struct deny *deny;       // borrowed; told to the workers as it changes; NULL: denies nobody
    uint64_t module_idle_ms; // a module that nobody called for so long is unloaded (0 = 30 s)
} workers_settings;
err workers_open(workers **out, const workers_settings *settings) MUST_USE;
// Opens one listening socket per slot. ERR_CONFLICT: the port is in use by somebody else.
err workers_listen(workers *w, worker_role role, const char *address, uint16_t port) MUST_USE;
// The certificate that the substrate's or gateway's node has (p2p doors; gateway's client side).
// Copied. Again with a renewed one: connections from now on have it.
void workers_identity(workers *w, bool gateway, str certificate_pem, str key_pem);
// The port that the last workers_listen() with this role got (for port 0).
uint16_t workers_port(const workers *w, worker_role role);
// Substrate's or gateway's node leaves: its sockets close, its events, relay and gone callbacks are
// forgotten.
void workers_leave(workers *w, bool gateway);
// `gone` is called when workers_close() begins: no workers_* call may follow. Several;
// workers_leave() forgets them.
void workers_on_gone(workers *w, bool gateway, void (*gone)(void *data), void *data);
// What substrate asks of it. All on the control loop.
typedef struct workers_events {
    // A worker wants the compiled module with this hash: answer with workers_module, now or later.
    void (*on_module_want)(void *data, uint64_t ticket, str hash);
    // A line a guest wrote, or why its call failed ("error" stream: message, then backtrace lines).
    void (*on_output)(void *data, const worker_output *line);
    void (*on_counts)(void *data, const worker_counts *counts);
    // A worker ended; `function` is the id of the function that ran (empty: none), calls were lost
    // with it.
    void (*on_lost)(void *data, size_t slot, str function, str request, str why);
    void *data;
} workers_events;
void workers_on(workers *w, const workers_events *events);
// What is not a call on a p2p door: the reply is one encoded message for workers_relayed.
void workers_on_relay(workers *w,
                      bool gateway,
                      void (*on_relay)(void *data, uint64_t ticket, str peer_uri, str request),
                      void *data);
void workers_relayed(workers *w, uint64_t ticket, str reply);
// Sends a module: a sealed memory file (the caller keeps its fd), or the error why there is none.
void workers_module(workers *w, uint64_t ticket, int fd, err e);
// Parts of the next snapshot; each publish makes a new snapshot for all workers. Copied.
void workers_publish_routes(workers *w, const route_table *routes);
void workers_publish_backends(workers *w, const backend_table *backends);
// Was there a first table of routes (`gateway`: of backends)?
bool workers_published(const workers *w, bool gateway);
// Do all workers that serve have the newest snapshot, with all that was published?
bool workers_current(const workers *w);
// Starts the processes; they serve as soon as they are up (what comes earlier waits in the
// backlog).
err workers_start(workers *w) MUST_USE;
size_t workers_serving(const workers *w); // processes that have said that they are ready
int workers_process(const workers *w,
                    size_t number); // process id, 0 when none runs (tests, doctor)
// What the gateway's doors forwarded since the start.
void workers_gateway_counts(const workers *w, uint64_t *requests, uint64_t *failures);
// The same for one backend by node name; false: none yet.
bool workers_backend_counts(const workers *w, str node, uint64_t *requests, uint64_t *failures);
uint64_t workers_restarts(const workers *w);
// No new connections; answers under way get 500 ms; then every process is gone and `closed(data)`
// is called.
void workers_close(workers *w, void (*closed)(void *data), void *data);
// The program's other side: `PROGRAM worker` with the channel as descriptor 3. Returns the exit
// status.
int worker_main(void);
