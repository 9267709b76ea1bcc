// What workers read: routes, functions and backends as one immutable, position-independent block in
// a sealed memory file.
#pragma once
#include "base/base.h"
#include "base/buf.h"

// One function as substrate knows it. Texts are borrowed while a snapshot is written.
typedef struct route_function {
    str id, name, application, project, branch, commit;
    str call;   // export
    str module; // hex sha256 of the compiled module
    uint64_t timeout_ms, memory_bytes, response_bytes, concurrency;
} route_function;
typedef struct route {
    str host;        // lower-case fqdn
    str method;      // upper-case
    str path;        // exact
    size_t function; // index
} route;
typedef struct route_table {
    const route_function *functions;
    size_t functions_count;
    const route *routes;
    size_t routes_count;
} route_table;
typedef struct backend {
    str node; // substrate@blackhole
    str address;
    uint16_t port; // its p2p door
} backend;
typedef struct backend_table {
    const backend *at;
    size_t count;
    const str *hosts; // hosts that substrates serve: others are answered 404 by the gateway itself
    size_t hosts_count;
} backend_table;
