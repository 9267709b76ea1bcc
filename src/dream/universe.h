// One universe on this machine: its folder, its authority, its mesh, its nodes, its workers, its
// forge.
#pragma once
#include "base/base.h"
#include "base/log.h"
#include "dream/journal.h"
#include "io/loop.h"
#include "mesh/mesh.h"
#include "node/node.h"
#include "repo/forge.h"

typedef struct universe universe;
// Which engine is asked for: nodes in this process, or each a process of its own.
typedef enum { ENGINE_AS_IT_WAS, ENGINE_EMBEDDED, ENGINE_PROCESSES } universe_engine;
typedef struct universe_copies { // 0: as it was, or the default
    size_t monkey;               // embedded: parallel jobs (2); processes: nodes
    size_t substrate;            // embedded: processes for guests (one per core); processes: nodes
    size_t hoarder;              // processes: nodes
} universe_copies;
enum { COPIES_MAX = 8, ELDERS_MAX = 3 }; // of processes
typedef struct universe_settings {
    loop *loop;
    log_sink *log;
    const char *home;      // DREAM_HOME; the universe lives in HOME/universes/NAME
    str name;              // letters, digits, '-', '_', at most 32
    uint16_t shift;        // wanted block; 0: the one it had, or the first free one
    uint16_t gateway_port; // wanted; 0: the one it had, or the first free from 8080 on
    bool clean;            // start empty: what was there is removed first
    const char *program;
    const char *engine;
    universe_engine kind;
    size_t elders; // of processes: 1 or 3; 0: as it was, or 1
    universe_copies copies;
    str address;      // of processes: where other machines reach its nodes; empty: as it was, or
                      // this machine alone
    journal *journal; // of processes: where their lines go; NULL: nowhere
    bool request_log;
    bool debug; // processes log more
} universe_settings;
// Embedded: ready when it returns. Processes: see universe_when_ready. ERR_CONFLICT: no free ports
// (sys < 0: the universe is there with another engine); ERR_SYNTAX: a name that cannot be, or
// damaged files. After an error *out is NULL, or what stands of it: the caller closes that.
err universe_open(universe **out, const universe_settings *settings) MUST_USE;
// Everything stops, nothing is lost; `closed(data)` when the last process of it has gone. The
// universe is gone then.
void universe_close(universe *u, void (*closed)(void *data), void *data);

// Once, on a later turn: OK when every node is up; why one is not (e.what lives with the
// universe: close it then); ERR_CLOSED within universe_close. One at a time may wait.
typedef void universe_ready(void *data, err e);
void universe_when_ready(universe *u, universe_ready *ready, void *data);
// False: all nodes are up, or *e says why they are not.
bool universe_is_starting(const universe *u, err *e);

str universe_name(const universe *u);
str universe_id(const universe *u);
uint16_t universe_shift(const universe *u);
bool universe_shift_moved(const universe *u); // the wanted block was in use: another was taken
uint16_t universe_gateway_port(const universe *u);
const char *universe_address(const universe *u);     // "127.0.0.1", or as it was given
const char *universe_engine_name(const universe *u); // "embedded" or "processes"
// One node as status shows it.
typedef struct universe_node {
    str name;             // "substrate-2"
    const char *protocol; // "substrate", or "" for a simple
    size_t copies;
    protocol_doors doors;
    int pid;           // 0: none now
    const char *state; // "starting", "up", "draining", "down" (it died and starts again)
    uint64_t restarts; // since the universe started
    int server_pid;    // of an elder that is a process: its mesh server; 0: none now
} universe_node;
// The nodes that run or should; false past the last one. Texts live as long as the universe.
bool universe_node_at(const universe *u, size_t i, universe_node *out);
// What people ask is asked there. NULL while the client node is stopped.
mesh *universe_mesh(const universe *u);
forge *universe_forge(const universe *u);
uint64_t universe_started_real_ms(const universe *u);
// One node by its name. ERR_ABSENT: no such node; ERR_CONFLICT: it runs already, or does not.
// After OK: `started` is called once, maybe within the call, when it is up or could not start; so
// is `stopped` when it is gone.
typedef void universe_node_started(void *data, err e);
err universe_node_start(universe *u, str name, universe_node_started *started, void *data) MUST_USE;
err universe_node_stop(universe *u, str name, void (*stopped)(void *data), void *data) MUST_USE;
// ---- nodes on other machines (of processes with an address; ERR_UNSUPPORTED otherwise)
// What `tau node invite` asks for.
typedef struct universe_invitation {
    str shape;                    // a protocol; "elder" is refused, see docs/guide/cluster.md
    uint64_t valid_ms;            // of the token
    uint64_t certificate_seconds; // of the node's certificates; 0: seven days
} universe_invitation;
// Once, on a later turn; texts live in the call. `text`: the token, or nothing.
typedef void universe_told(void *data, err e, str text);
err universe_invite(universe *u,
                    const universe_invitation *i,
                    universe_told *told,
                    void *data) MUST_USE;
// Onto the deny list, for good: it is refused everywhere, and its name is never given again.
err universe_node_remove(universe *u, str name, universe_told *told, void *data) MUST_USE;
