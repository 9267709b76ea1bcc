// One-time invitations: a token for a node elsewhere, and the hash of its secret kept here.
#pragma once
#include "base/base.h"

// How a node joins (over HTTP; bodies are JSON, PEMs as text with their line ends):
//
// 1. GET /authority, of any address of the token and over any connection: {"authority":PEM}. The
//    joiner goes on only if authority_check(PEM, token's universe_id) is OK: whoever answers can
//    not choose the universe.
// 2. POST /join, over TLS whose server has a certificate under that authority, of its node `dream`
//    (the joiner has none yet):
//    {"token":"…","request":PEM,    // keyring_request(): the key stays with the joiner
//     "address":"10.0.0.7",         // where its doors can be reached
//     "shift":14000}                // of its ports; absent: as the universe's own
//    The inviter: invite_look(), a name that nobody has or had, authority_sign(), invite_spend(),
//    then the answer. In this order a malformed request spends nothing, and no certificate leaves
//    before the token is spent for good.
//    200 {"version":1,
//     "certificate":PEM, "authority":PEM,                 // for keyring_accept()
//     "authority_node":"dream",                           // who renews and has the deny list
//     "universe":"blackhole", "node":"substrate-3", "protocols":"substrate", // "-" for none
//     "shape":"substrate", "copies":1,                    // as invited
//     "doors":{"p2p":14284,"http":14531},                 // those it has
//     "servers":[{"address":"10.0.0.1","port":14061}]}    // meshd's client ports
//    otherwise the control API's form of an error: 400 malformed, 403 denied (unknown, late or
//    foreign token, unproven key), 409 conflict (token used), 429 too many, 503 busy.
// 3. Later, at half of the certificate's life, over the mesh: node.renew gives a certificate of the
//    asker's own name and of the protocols it joined with, unless it is denied. No token.
enum {
    INVITE_SECRET_BYTES = 16,
    INVITE_ADDRESSES_MAX = 8,
    INVITE_HOST_MAX = 128,
    INVITE_TOKEN_MAX = 2048,
    INVITES_MAX = 256, // that wait, or were used and are not late yet
};

typedef struct invite_address {
    str host; // an IP address or a name; IPv6 without brackets
    uint16_t port;
} invite_address;
// What a token says.
typedef struct invite {
    str universe_id; // hex
    str secret;      // INVITE_SECRET_BYTES
    invite_address addresses[INVITE_ADDRESSES_MAX];
    size_t addresses_count;
} invite;
// base64url of: version, universe id, secret, addresses, four bytes of a sum against misspelling.
err invite_write(arena *a, const invite *i, str *token) MUST_USE; // ERR_SYNTAX, ERR_LIMIT
err invite_read(arena *a, str token, invite *out) MUST_USE;       // texts in `a`; ERR_SYNTAX

// What the inviter keeps about one, in folder/invites (0700), a file (0600) for each.
typedef struct invite_grant {
    str node;                     // short name; empty: the joiner chooses
    str protocols;                // joined by '+', "-" or empty for none
    str shape;                    // the joiner's, may be empty
    uint64_t certificate_seconds; // of its certificates; 0: as always
} invite_grant;
// All of these wait for the disk: not on a loop thread. Several processes may share a folder.
// A new secret is put into `i` (which has the universe and the addresses), its hash is durable
// when this returns. ERR_SYNTAX: a name or protocols that no certificate could bear; ERR_LIMIT: too
// many wait, or a field is too long. Late ones are swept.
err invite_make(arena *a,
                const char *folder,
                const invite_grant *g,
                uint64_t expires_real_ms,
                invite *i,
                str *token) MUST_USE;
// What this secret is good for, spending nothing. ERR_DENIED: unknown or late; ERR_CONFLICT: used.
err invite_look(
    arena *a, const char *folder, str secret, uint64_t now_real_ms, invite_grant *out) MUST_USE;
// The same, once: OK means that it is durably spent, and by this call. Late ones are swept.
err invite_spend(
    arena *a, const char *folder, str secret, uint64_t now_real_ms, invite_grant *out) MUST_USE;
