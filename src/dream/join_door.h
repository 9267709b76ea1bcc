// How nodes of other machines come in: a door where invitations are redeemed, and what the
// authority answers over the mesh afterwards (renewed certificates, the deny list).
#pragma once
#include "dream/universe.h"
#include "mesh/identity.h"

// See mesh/invite.h for what is said at the door. GET /authority, POST /join; at most 16 KiB, five
// seconds, and JOIN_RATE_MAX requests a second. The door is open whenever the universe has an
// address: who has no invitation gets nothing but the authority's certificate, which is public.
enum { JOIN_BODY_BYTES_MAX = 16 * 1024, JOIN_MS_MAX = 5000, JOIN_RATE_MAX = 20 };

typedef struct join_door join_door;
// Borrowed; outlives the door.
typedef struct join_door_settings {
    loop *loop;
    log_sink *log;
    authority *authority; // used on helper threads
    const char *folder;   // the universe's: invites/, joined/, deny
    str universe;
    const char *address;
    uint16_t port, shift;
    const mesh_server *servers; // copied
    size_t servers_count;
    mesh *mesh;                            // of node `dream`
    str certificate_pem, key_pem;          // of node `dream`
    bool (*is_ours)(void *data, str name); // a node of this machine; on helper threads
    void *data;
} join_door_settings;
err join_door_open(join_door **out, const join_door_settings *settings) MUST_USE; // ERR_CONFLICT
// New certificate for connections from now on.
err join_door_renew(join_door *d, str certificate_pem, str key_pem) MUST_USE;
// Nobody is let in or answered any more; `closed(data)` when no helper thread works for it, never
// within the call. Before mesh_leave; join_door_free comes behind it.
void join_door_close(join_door *d, void (*closed)(void *data), void *data);
void join_door_free(join_door *d); // NULL is fine

err join_door_invite(join_door *d,
                     const universe_invitation *i,
                     universe_told *told,
                     void *data) MUST_USE;
err join_door_remove(join_door *d, str name, universe_told *told, void *data) MUST_USE;
