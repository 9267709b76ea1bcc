// One universe on this machine: its folder, its authority, its mesh, its nodes, its workers, its
// forge.
#pragma once
#include "base/base.h"
#include "base/log.h"
#include "io/loop.h"
#include "mesh/mesh.h"
#include "node/node.h"
#include "repo/forge.h"

typedef struct universe universe;
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
    size_t monkeys; // parallel jobs
    size_t workers; // processes for guests
    bool request_log;
} universe_settings;
// Ready when it returns. ERR_CONFLICT: no free ports; ERR_SYNTAX: a name that cannot be, or damaged
// files. After an error *out is NULL, or what stands of it: the caller closes that.
err universe_open(universe **out, const universe_settings *settings) MUST_USE;
// Everything stops, nothing is lost; `closed(data)` when the last process of it has gone. The
// universe is gone then.
void universe_close(universe *u, void (*closed)(void *data), void *data);

str universe_name(const universe *u);
str universe_id(const universe *u);
uint16_t universe_shift(const universe *u);
bool universe_shift_moved(const universe *u); // the wanted block was in use: another was taken
uint16_t universe_gateway_port(const universe *u);
node *universe_node(const universe *u,
                    size_t plan); // by its place in node_plans; NULL while it is stopped
mesh *universe_mesh(
    const universe *u); // the client node's: what people ask is asked there. NULL while stopped
forge *universe_forge(const universe *u);
uint64_t universe_started_real_ms(const universe *u);
// One node by its name. ERR_ABSENT: no such node; ERR_CONFLICT: it runs already, or does not.
err universe_node_start(universe *u, str name) MUST_USE;
err universe_node_stop(universe *u, str name, void (*stopped)(void *data), void *data) MUST_USE;
