// One node of a universe: its identity, its two doors, its protocol, its heartbeat.
#pragma once
#include "base/base.h"
#include "base/log.h"
#include "io/loop.h"
#include "mesh/identity.h"
#include "mesh/mesh.h"
#include "protocol/protocol.h"
#include "store/blob.h"

typedef struct node node;
// Where a node's certificates come from.
typedef struct node_identity {
    // A key and a certificate for this node, the newest there is; `protocols` may be empty. PEMs in
    // the arena.
    err (*issue)(void *data, arena *a, str name, str protocols, str *certificate_pem, str *key_pem);
    void *data;
    str ca_pem;                            // lives as long as the node
    uint64_t (*until_real_ms)(void *data); // when the newest one ends; NULL: nobody says
    uint64_t renew_ms; // asked again so often; 0: whoever gave it calls node_renew
} node_identity;
// The universe's own authority, in this process: 30 days, renewed at half of it.
node_identity node_identity_of(authority *issuer);
// Everything is borrowed and must outlive the node; texts are copied.
typedef struct node_settings {
    loop *loop;
    mesh_engine *mesh;
    node_identity identity;
    struct deny *deny; // whom its door does not let in; NULL: nobody is denied
    blobs *blobs;
    log_sink *log;
    const protocol *protocol; // NULL: a simple (elder, client)
    bool elder;               // a simple that bears the mesh: its certificate says so
    str universe;             // "blackhole"
    str name;                 // "tns"; the node's full name is "tns@blackhole"
    const char *folder;       // made if absent
    const char *repositories; // see protocol_context
    const char *program;
    const char *engine;
    struct workers *workers;
    const char *secrets_key;
    size_t copies;
    protocol_doors doors; // ports; p2p is required
} node_settings;
// Ready when it returns: doors open, protocol served, first heartbeat told. ERR_CONFLICT: a port is
// in use.
err node_open(node **out, const node_settings *settings) MUST_USE;
// Doors close at once, the protocol winds down, then `closed(data)`; the node is gone then.
void node_close(node *n, void (*closed)(void *data), void *data);
str node_name(const node *n);             // "tns"
const char *node_protocol(const node *n); // "tns", or "" for a simple
size_t node_copies(const node *n);
const protocol_doors *node_doors(const node *n); // only doors that are open have a port
mesh *node_mesh(node *n);
// There is a newer certificate: for connections from now on.
void node_renew(node *n);
