// The certificate authority of a universe and the certificates of its nodes.
#pragma once
#include "base/base.h"
#include "io/tls.h"

typedef struct authority authority;
// Makes (first time) or reads folder/ca.pem and folder/ca.key (0600, P-256). ERR_SYNTAX: damaged
// files, with what to do.
err authority_open(authority **out, const char *folder, str universe) MUST_USE;
void authority_close(authority *c);
str authority_certificate(const authority *c); // PEM; lives with c
str authority_universe_id(const authority *c); // hex sha256 of the CA's public key
// Is this PEM, of whoever, the certificate of the authority with this id? ERR_DENIED: of another,
// or of none.
err authority_check(str certificate_pem, str universe_id) MUST_USE;
// A key and certificate for a node: P-256, SAN URI ctau://UNIVERSE/NODE/PROTOCOLS (protocols joined
// by '+', "-" for none; ERR_DENIED: `elder` with others), client and server use, valid `days`.
// PEMs in the arena.
err authority_issue(authority *c,
                    arena *a,
                    str node,
                    str protocols,
                    unsigned days,
                    str *certificate_pem,
                    str *key_pem) MUST_USE;
// What a certificate says of its node, and for how long.
typedef struct authority_grant {
    str node;         // short name: "tns"
    str protocols;    // "" or "-" for none. `elder` stands alone: ERR_DENIED otherwise
    uint64_t seconds; // until it ends; from a minute ago
} authority_grant;
enum { NODE_CERTIFICATE_SECONDS = 7 * 86400 }; // of a node in a process of its own
// As authority_issue(), in seconds.
err authority_issue_for(
    authority *c, arena *a, const authority_grant *g, str *certificate_pem, str *key_pem) MUST_USE;
// A certificate for the key of a PKCS#10 request (see keyring_request), which stays with its node.
// Only the key of the request counts: names and extensions in it are ignored. ERR_SYNTAX,
// ERR_LIMIT: malformed; ERR_UNSUPPORTED: not P-256; ERR_DENIED: not signed by that key.
err authority_sign(authority *c,
                   arena *a,
                   str request_pem,
                   const authority_grant *g,
                   str *certificate_pem) MUST_USE;
// The parts of a peer's URI. ERR_SYNTAX when it is not ours. A node's name has no dot and is not
// "any": it stands as one word in the mesh's subjects.
typedef struct identity {
    str universe, node, protocols;
} identity;
err identity_read(str uri, identity *out) MUST_USE;
bool identity_has(const identity *i, str protocol);
// Its protocols are exactly `elder`, whatever its name: only such a node may be the mesh's server.
bool identity_is_elder(const identity *i);
// One table: may a node with these protocols send this subject? (client and elder: only what is
// marked so; a node without a protocol is a client.)
bool identity_may(const identity *i, str subject);
