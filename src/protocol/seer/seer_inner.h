// seer's own rooms: the table of nodes, the names that are served, and what DNS says of both.
#pragma once
#include "base/map.h"
#include "dns/packet.h"
#include "dns/server.h"
#include "protocol/protocol.h"

enum {
    SEER_HEALTHY_MS = 6 * 1000,      // three heartbeats
    SEER_FORGET_MS = 60 * 60 * 1000, // how long a silent node stays listed
    SEER_NODES_MAX = 4096,
    SEER_DOORS_MAX = 8,
    SEER_ROUTES_MAX = 1000 * 1000,
    SEER_TTL_S = 5,
};

// ---- the table of nodes: who said what when. Time is an argument (monotonic), so tests own it.
struct seer_node {
    // "tns@blackhole", "tns", "127.0.0.1", "0.4.0"; in `text`
    str name, protocol, address, version;
    uint64_t copies, started_real_ms, certificate_real_ms;
    uint64_t seen_ms, seen_real_ms;
    bool healthy, leaving, draining;
    door_record doors[SEER_DOORS_MAX];
    size_t doors_count;
    char text[];
};
struct seer_table {
    map *nodes;       // name -> struct seer_node
    uint64_t version; // grows with every change that somebody could see
    uint64_t next_ms; // no node changes by itself before
};
err seer_table_open(struct seer_table *t) MUST_USE;
void seer_table_close(struct seer_table *t);
// One heartbeat. ERR_SYNTAX: no node says such things; ERR_LIMIT: SEER_NODES_MAX.
err seer_table_beat(struct seer_table *t,
                    const seer_heartbeat *beat,
                    uint64_t now_ms,
                    uint64_t now_real_ms) MUST_USE;
// Time has passed: nodes that were silent for too long are unhealthy, later they are forgotten.
void seer_table_step(struct seer_table *t, uint64_t now_ms);
// Nodes in the order of their names; of one kind (protocol), or all when it is empty. Texts live as
// long as their nodes.
err seer_table_list(const struct seer_table *t,
                    arena *a,
                    str kind,
                    const struct seer_node ***out,
                    size_t *count) MUST_USE;
// Whose nodes serve the hosts of projects: healthy gateways, or substrates when there is none.
str seer_table_web(const struct seer_table *t);
uint64_t seer_node_port(const struct seer_node *n, str door); // 0: it has none
str seer_node_short(const struct seer_node *n);               // "tns"

// ---- names: the hosts of all live routes and the claims on domains
struct seer_claim {
    str entry, token; // in `text`
    uint64_t round;
    char text[];
};
struct seer_names {
    map *routes;                         // "fqdn METHOD path" -> its route
    map *hosts;                          // fqdn -> its first route
    map *claims;                         // fqdn -> struct seer_claim
    uint64_t routes_round, claims_round; // copies that were complete
    uint64_t version;
};
err seer_names_open(struct seer_names *n) MUST_USE;
void seer_names_close(struct seer_names *n);
// What the watches of "tns.route" and "auth.domain" bring; NULL: the copy is complete.
err seer_names_on_route(struct seer_names *n, const store_entry *entry) MUST_USE;
err seer_names_on_claim(struct seer_names *n, const store_entry *entry) MUST_USE;
// Lower-case names. The project that serves a host, {NULL,0} when none does.
str seer_names_project(const struct seer_names *n, str fqdn);
const struct seer_claim *seer_names_claim(const struct seer_names *n, str fqdn);

struct seer {
    protocol_context context;
    struct seer_table table;
    struct seer_names names;
    mesh_watch *routes, *claims;
    dns_server *dns, *dns_also;
    arena *memory;       // the texts below
    str zone;            // "blackhole.localtau"
    str services;        // "tau.blackhole.localtau"
    str server, mailbox; // of the SOA
    uint32_t serial_first;
};
// Fills the answer to one question from the table and the names as of now.
void seer_answer(struct seer *s, uint64_t now_ms, const dns_question *q, dns_answer *a);
