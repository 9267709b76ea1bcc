// An HTTP/1.1 client on the loop: keep-alive pool per address, TLS, deadlines, streamed answers.
#pragma once
#include "http/http.h"
#include "io/conn.h"

typedef struct http_client http_client;
typedef struct http_call http_call;
typedef struct http_answer_head {
    unsigned status;
    http_headers headers;
    uint64_t content_length; // UINT64_MAX unknown
} http_answer_head;
typedef struct http_client_request {
    const char *address; // "127.0.0.1" or a Unix socket's path (starts with '/')
    uint16_t port;
    const char *server_name; // TLS verification name or NULL
    tls_context *tls;        // NULL: plain
    str method, target, host;
    http_headers headers;    // Content-Length / Host are ours
    str body;                // whole; or `streamed` and http_call_send/http_call_send_end
    bool streamed;           // chunked request body
    uint64_t deadline_ms;    // from now (0 = 30 s)
    uint64_t body_bytes_max; // of the collected answer (0 = 64 MB)
    // Collected: on_done(data, e, head, body) once. Streamed answers: on_head/on_piece before
    // on_done (body empty).
    void (*on_head)(void *data, http_call *c, const http_answer_head *head); // may be NULL
    void (*on_piece)(void *data, http_call *c, str piece);                   // NULL: collect
    void (*on_done)(void *data, http_call *c, err e, const http_answer_head *head, str body);
    // Of a streamed body: go on after http_call_send_full(). May be NULL.
    void (*on_drain)(void *data, http_call *c);
    void *data;
} http_client_request;
err http_client_open(http_client **out, loop *l, size_t idle_per_address_max) MUST_USE;
void http_client_close(http_client *c); // fails what is under way with ERR_CLOSED
// Everything is copied but `tls`. ERR_SYNTAX: a method, target, host or header that can not be
// written. An idempotent request without a body on a reused connection that broke before any answer
// byte is tried once more. on_done's errors: ERR_TIMEOUT, ERR_CLOSED (broke before the end),
// ERR_LIMIT (head or body too large), ERR_SYNTAX (not an HTTP/1.1 answer), ERR_UNSUPPORTED (101,
// transfer coding), or what connecting gave.
err http_client_send(http_client *c, const http_client_request *request, http_call **out) MUST_USE;
// ERR_LIMIT: the queue is full, nothing was taken. ERR_CLOSED: broken, on_done comes.
err http_call_send(http_call *c, str piece) MUST_USE;
bool http_call_send_full(const http_call *c); // stop producing until on_drain
void http_call_send_end(http_call *c);
void http_call_read_pause(http_call *c, bool paused);
void http_call_cancel(http_call *c); // no callback follows
