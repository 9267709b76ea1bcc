// A node's peer-to-peer door: messages of the mesh over HTTP and mutual TLS, refused by role.
#pragma once
#include "base/log.h"
#include "io/tls.h"
#include "mesh/deny.h"
#include "mesh/mesh.h"
#include "store/blob.h"

typedef struct p2p_door p2p_door;
typedef struct p2p_door_settings {
    loop *loop;
    mesh *mesh; // asks of peers are put to this node's mesh
    log_sink *log;
    str universe;
    str node; // answers only what this node serves
    const char *address;
    uint16_t port;
    str certificate_pem, key_pem, ca_pem;
    blobs *blobs; // what GET /blob/HASH gives; NULL: this node has none
    deny *deny;   // whom it does not let in; NULL: nobody is denied
} p2p_door_settings;
// POST /ask with one encoded message answers one encoded reply (or error message); GET /ping
// answers "pong"; GET /blob/HASH streams a blob to roles that may send hoarder.read. A certificate
// of another universe, an expired one and none at all end in the handshake.
err p2p_door_open(p2p_door **out, const p2p_door_settings *settings) MUST_USE;
void p2p_door_close(p2p_door *d);
// New certificate for connections from now on.
err p2p_door_renew(p2p_door *d, str certificate_pem, str key_pem) MUST_USE;
// What a peer with this URI may ask of `node` (also for workers, which relay): checks identity_may,
// then asks. The reply is one encoded message.
void p2p_relay(mesh *m,
               str universe,
               str node,
               str peer_uri,
               str request,
               mesh_replied_raw *on_reply,
               void *data);
