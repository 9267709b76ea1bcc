// A shape file: what one node is, where its doors are, which mesh it belongs to.
//
// The format is that of the seed (services, ports, p2p-listen, network-fqdn, location, domains, …)
// with what a node of ours needs besides. Fields of the seed that mean nothing here are accepted;
// everything else that is not known is an error that names it.
#pragma once
#include "base/base.h"
#include "base/buf.h"
#include "base/diagnosis.h"

enum { SHAPE_LIST_MAX = 16, SHAPE_FILE_BYTES_MAX = 64 * 1024 };
typedef struct shape_address {
    str host; // an IP address; empty: none was given
    uint16_t port;
} shape_address;
typedef struct shape_addresses {
    shape_address at[SHAPE_LIST_MAX];
    size_t count;
} shape_addresses;
typedef struct shape_names {
    str at[SHAPE_LIST_MAX];
    size_t count;
} shape_names;

// Texts live in the arena it was read into. A path that is not absolute is below the root.
typedef struct shape {
    str universe, node, network_fqdn;
    shape_names services;     // at most one in this release; none: a simple
    shape_addresses listen;   // the p2p door's; its host is every door's
    shape_addresses announce; // what others are told
    uint64_t main, http, dns; // ports; 0: no such door (main: the port of p2p-listen)
    uint64_t gateway_port;    // of a gateway: its friendly door, 0: none
    shape_addresses servers;  // of the mesh
    str authority; // short name of the node that renews certificates and has the deny list; empty:
                   // whoever made this node's files does, on this machine
    shape_address elder_client, elder_route; // of an elder: where its server listens
    shape_addresses elder_routes;            // the other elders
    uint64_t elder_election_ms;
    str folder, blobs, repositories, secrets;
    str engine; // "nats"
    uint64_t workers, copies;
    bool request_log;
} shape;

// Reads `text` and checks it: what is wrong is added to `found`, each with its place and what to
// do. ERR_SYNTAX or ERR_LIMIT: something was; ERR_MEMORY. What was left out has its default.
err shape_read(arena *a, str file, str text, diagnoses *found, shape *out) MUST_USE;
// Writes what shape_read reads; fields that have their default are left out.
void shape_write(buf *out, const shape *s);
bool shape_is_elder(const shape *s);
