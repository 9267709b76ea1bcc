// HTTP/1.1 as values: methods, statuses, header lists, strict requests and answers.
#pragma once
#include "base/base.h"
#include "base/buf.h"

typedef struct http_header {
    str name;  // as received
    str value; // without surrounding blanks
} http_header;
typedef struct http_headers {
    http_header *at;
    size_t count;
} http_headers;
// First value of that name (ASCII case-insensitive), {NULL,0} when absent.
str http_header_find(const http_headers *h, str name);

typedef struct http_request {
    str method;    // upper-case token
    str target;    // as received
    str path;      // of the target, not decoded, starts with '/' (or "*")
    str query;     // after '?', not decoded; at == NULL when there was none
    str host;      // Host header, lower-case, without port; exactly one is required in HTTP/1.1
    str host_port; // Host header as received
    http_headers headers;
    bool minor_zero;         // HTTP/1.0
    bool has_body;           // Content-Length > 0 or chunked
    uint64_t content_length; // UINT64_MAX when chunked
} http_request;

// "Not Found" for 404; "Unknown" otherwise.
const char *http_reason(unsigned status);
// One table from our errors to statuses: ERR_ABSENT 404, ERR_DENIED 403, ERR_LIMIT 413, ERR_SYNTAX
// 400, ERR_CONFLICT 409, ERR_TIMEOUT 504, ERR_BUSY 503, ERR_FULL 507, ERR_UNSUPPORTED 501, else
// 500.
unsigned http_status_of(err_code code);
// Percent-decoding. `plus_is_blank` for query values. ERR_SYNTAX for a bad escape.
err http_decode(arena *a, str text, bool plus_is_blank, str *out) MUST_USE;
str http_encode(arena *a, str text); // everything but unreserved characters (RFC 3986 2.3)
// First value of a query parameter, decoded; {NULL,0} when absent.
str http_query_value(arena *a, str query, str name);
bool http_query_next(str *rest, str *name, str *value); // raw pairs in order
