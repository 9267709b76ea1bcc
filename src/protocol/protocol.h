// The one shape of a protocol: what a node hands it, and how it starts and stops.
#pragma once
#include "base/base.h"
#include "base/log.h"
#include "http/server.h"
#include "io/loop.h"
#include "mesh/mesh.h"
#include "store/blob.h"

typedef struct protocol_context {
    loop *loop;
    mesh *mesh;
    blobs *blobs;
    log_sink *log;
    const char *folder; // of this node, exists
    const char
        *repositories;   // the forge's bare repositories when they are on this machine, else NULL
    const char *program; // our own executable, for children (compile, worker)
    const char *engine;  // vm_flags(): what compiled modules must fit
    struct workers *workers; // substrate and gateway: the processes that serve their public doors
    str universe;
    str node;                // "tns@blackhole"
    const char *secrets_key; // auth only: 32 bytes of the universe's sealing key, else NULL
    size_t copies;           // parallel jobs of monkey, workers of substrate
    const struct protocol_doors *doors;
} protocol_context;
// Ports this node was given (0: none).
typedef struct protocol_doors {
    const char *address;
    const char *also; // public doors are open there as well: loopback, when `address` is not; NULL
    uint16_t http, p2p, dns;
} protocol_doors;

// A protocol's state is its own; all calls come on the control loop.
typedef struct protocol {
    const char *name;
    // Serves its messages on context->mesh (mesh_serve) and starts its work. Everything is ready
    // when it returns.
    err (*open)(void **state, const protocol_context *context);
    // Stops; calls `closed(data)` once when nothing of it runs any more (may be at once).
    void (*close)(void *state, void (*closed)(void *data), void *data);
    // No new work is taken from now on; `idle(data)` once when nothing is under way any more, maybe
    // within the call, never after close. NULL: what it does ends by itself.
    void (*drain)(void *state, void (*idle)(void *data), void *data);
    // Answers its public HTTP door; NULL: it has none. Authentication is its own matter.
    void (*http)(void *state, http_exchange *x);
    // Opens its own public sockets (substrate, gateway, seer's dns): the node does not listen for
    // it.
    bool own_http;
} protocol;
extern const protocol protocol_auth, protocol_tns, protocol_seer, protocol_patrick, protocol_monkey,
    protocol_hoarder, protocol_substrate, protocol_gateway;
