// The universe's own rooms: what every kind of universe has, and the table that a kind fills.
#pragma once
#include "base/hash.h"
#include "dream/ports.h"
#include "dream/universe.h"
#include "mesh/deny.h"

// What a kind does; `u->state` is its own.
typedef struct universe_kind {
    const char *name; // as universe.json keeps it
    // Which nodes there will be; before ports are chosen. NULL: always the same ones.
    err (*plan)(universe *u);
    bool (*ports_are_free)(universe *u, uint16_t shift);
    // Starts the nodes. A kind whose nodes are not up yet sets u->starting and calls
    // universe_started later.
    err (*open)(universe *u);
    // Stops everything, then universe_free(u) by loop_defer.
    void (*close)(universe *u);
    err (*node_start)(universe *u, str name, universe_node_started *started, void *data);
    err (*node_stop)(universe *u, str name, void (*stopped)(void *data), void *data);
    bool (*node_at)(const universe *u, size_t place, universe_node *out); // false: stopped
    size_t (*places)(const universe *u);
    mesh *(*mesh)(const universe *u);
    forge *(*forge)(const universe *u);
    struct join_door *(*joins)(const universe *u); // NULL, or gives NULL: nobody can join
} universe_kind;
extern const universe_kind universe_embedded, universe_processes;

// What universe.json keeps.
typedef struct universe_memory {
    uint16_t shift, gateway_port;
    const universe_kind *kind; // NULL: nothing is known
    size_t elders;
    universe_copies copies;
    str address;
} universe_memory;

struct universe {
    universe_settings settings;
    arena *memory;
    log_sink *log;
    const char *folder;
    const char *repositories;
    uint16_t shift, gateway_port;
    bool shift_moved;
    const char *address; // that its nodes listen at
    unsigned char key[SEAL_KEY_BYTES];
    authority *authority;
    uint64_t started_real_ms;
    universe_memory had; // from its last run
    const universe_kind *kind;
    void *state;
    size_t elders;          // of processes
    universe_copies copies; // of processes
    bool starting;          // its nodes are not up yet
    err start_error;        // why they will not be
    universe_ready *ready;
    void *ready_data;
    void (*closed)(void *data);
    void *closed_data;
};

#define UNIVERSE_ADDRESS "127.0.0.1"
bool universe_is_reachable(const universe *u);             // by other machines
const char *universe_path(universe *u, const char *below); // in the universe's memory, or NULL
// The universe's deny list. An error's text says where the file is wrong.
err universe_deny(universe *u, deny **out) MUST_USE;
// All nodes are up, or one could not start; once.
void universe_started(universe *u, err e);
void universe_free(void *universe_of_any_kind);
