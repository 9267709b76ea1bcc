// The block behind a snapshot: offsets and tables that are looked up in place.
#pragma once
#include "worker/snapshot.h"

enum { SNAPSHOT_KEY_BYTES = 16, SNAPSHOT_NONE = UINT32_MAX };
#define SNAPSHOT_BYTES_MAX ((uint64_t)1 << 30)

typedef struct snapshot_text {
    uint32_t at, len; // within the part `texts`
} snapshot_text;
typedef struct snapshot_part {
    uint32_t at; // bytes from the head, a multiple of 8
    uint32_t count;
} snapshot_part;
typedef struct snapshot_function {
    snapshot_text id, name, application, project, branch, commit, call, module;
    uint64_t timeout_ms, memory_bytes, response_bytes, concurrency;
    char key[SNAPSHOT_KEY_BYTES]; // digest of all of the above: equal keys are the same function
} snapshot_function;
typedef struct snapshot_host {
    snapshot_text name;
    uint32_t paths_first, paths_count;
    uint32_t forwarded; // substrates serve it, as the gateway was told
    uint32_t spare;
} snapshot_host;
typedef struct snapshot_path {
    snapshot_text path;
    uint32_t host;
    uint32_t methods_first, methods_count;
    uint32_t spare;
} snapshot_path;
typedef struct snapshot_method {
    snapshot_text method;
    uint32_t function;
    uint32_t spare;
} snapshot_method;
typedef struct snapshot_backend {
    snapshot_text node, address; // the address ends in NUL
    uint32_t port;
    uint32_t spare;
} snapshot_backend;
typedef struct snapshot_head {
    uint64_t magic, number, bytes, seed;
    snapshot_part texts, functions, hosts, paths, methods, backends;
    snapshot_part host_slots,
        path_slots; // uint32_t index + 1, 0 is empty; counts are powers of two
} snapshot_head;
typedef const snapshot_head snapshot;

// Appends the block to an empty buffer. `routes` or `backends` may be empty. A second route with
// the same host, method and path is dropped.
err snapshot_write(buf *out,
                   uint64_t number,
                   const route_table *routes,
                   const backend_table *backends) MUST_USE;
// Maps a sealed memory file and checks every offset once; the descriptor stays the caller's.
// ERR_SYNTAX: damaged.
err snapshot_map(int fd, uint64_t bytes, snapshot **out) MUST_USE;
err snapshot_check(snapshot *s, uint64_t bytes) MUST_USE; // the same for memory that is at hand
void snapshot_unmap(snapshot *s);                         // NULL is fine

#define SNAPSHOT_TABLE(kind, part)                                                    \
    static inline const snapshot_##kind *snapshot_##part(snapshot *s)                 \
    {                                                                                 \
        return (const snapshot_##kind *)(const void *)((const char *)s + s->part.at); \
    }
SNAPSHOT_TABLE(function, functions)
SNAPSHOT_TABLE(host, hosts)
SNAPSHOT_TABLE(path, paths)
SNAPSHOT_TABLE(method, methods)
SNAPSHOT_TABLE(backend, backends)
#undef SNAPSHOT_TABLE
static inline str snapshot_str(snapshot *s, snapshot_text t)
{
    return (str){(const char *)s + s->texts.at + t.at, t.len};
}
// NULL when unknown. `host` is lower-case without port.
const snapshot_host *snapshot_find_host(snapshot *s, str host);
const snapshot_path *snapshot_find_path(snapshot *s, const snapshot_host *host, str path);
const snapshot_method *snapshot_find_method(snapshot *s, const snapshot_path *path, str method);
