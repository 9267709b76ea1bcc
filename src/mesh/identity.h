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
// A key and certificate for a node: P-256, SAN URI ctau://UNIVERSE/NODE/PROTOCOLS (protocols joined
// by '+', "-" for none), client and server use, valid `days`. PEMs in the arena.
err authority_issue(authority *c,
                    arena *a,
                    str node,
                    str protocols,
                    unsigned days,
                    str *certificate_pem,
                    str *key_pem) MUST_USE;
// The parts of a peer's URI. ERR_SYNTAX when it is not ours.
typedef struct identity {
    str universe, node, protocols;
} identity;
err identity_read(str uri, identity *out) MUST_USE;
bool identity_has(const identity *i, str protocol);
// One table: may a node with these protocols send this subject? (client and elder: only what is
// marked so.)
bool identity_may(const identity *i, str subject);
