// What one forwarded request is, and the headers that go with it.
#pragma once
#include "worker/snapshot_table_inner.h"
#include "worker/worker_inner.h"

enum {
    PROXY_TRIES_MAX = 3,
    PROXY_WHOLE_BYTES = 64 * 1024, // a body up to this is kept, so that another backend can get it
    PROXY_MS = 60 * 60 * 1000,     // of one request with its whole answer
    PROXY_ADDED = 4,               // headers of ours
    BACKEND_FAILED_MS = 1000,      // a backend that failed comes last for so long
};

typedef struct proxied {
    worker *worker;
    http_exchange *x;
    const http_request *request;
    http_headers headers;
    str target;
    str body;
    bool streamed;   // the request's body
    bool started;    // the answer's head has left
    http_call *call; // NULL: none under way
    str tried[PROXY_TRIES_MAX];
    size_t tries;
    uint64_t started_us;
} proxied;

// Those that are meant for the whole way, not for one hop, with room for `more` behind.
err proxy_headers(arena *a, const http_headers *from, size_t more, http_headers *out) MUST_USE;
// X-Forwarded-For, -Host, -Proto and our own mark.
err proxy_add_forwarded(http_exchange *x, http_headers *headers) MUST_USE;
bool connect_was_refused(err e);
