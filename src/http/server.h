// An HTTP/1.1 server on one loop: accepts, parses strictly, answers, keeps alive.
#pragma once
#include "http/http.h"
#include "io/conn.h"

typedef struct http_server http_server;
// One request and its answer; lives until it is answered or broken.
typedef struct http_exchange http_exchange;
typedef struct http_limits {
    size_t head_bytes;              // request line + headers (0 = 32 KiB); 431
    size_t header_count;            // 0 = 100; 431
    size_t target_bytes;            // 0 = 8 KiB; 414
    uint64_t body_bytes;            // default for http_collect (0 = 10 MB); 413 before it is read
    uint64_t bodies_bytes;          // of all collected bodies at once (0 = 256 MB); 503
    uint64_t head_ms;               // from the first byte to the whole head (0 = 10 s); 408
    uint64_t idle_ms;               // keep-alive idle (0 = 60 s)
    uint64_t body_idle_ms;          // between bytes of a body (0 = 30 s); 408
    uint64_t write_idle_ms;         // peer takes no bytes (0 = 60 s)
    size_t requests_per_connection; // 0 = 1,000,000
    size_t connections;             // 0 = 10,000; past it accept pauses
} http_limits;
// Called once per request when its head is complete and valid. Answer now or later on the same
// loop. A body that nobody asked for by http_collect or http_stream until the answer is skipped
// when it is small (64 KiB), else the connection ends after the answer. Requests of one connection
// come one by one.
typedef void http_handler(void *data, http_exchange *x);
typedef struct http_server_settings {
    loop *loop;
    http_limits limits;
    http_handler *handler;
    void *data;
    const char *server_name; // Server header or NULL
    // After each answer (our own refusals included: their request may be empty), for logs and
    // counters; status 499 when the connection broke first. May be NULL.
    void (*on_finished)(
        void *data, http_exchange *x, unsigned status, uint64_t body_bytes, uint64_t us);
} http_server_settings;
err http_server_open(http_server **out, const http_server_settings *settings) MUST_USE;
// Owns fd. tls may be NULL. Several sockets per server are fine; `door` is given back by
// http_door().
err http_server_listen(http_server *s, int fd, tls_context *tls, void *door) MUST_USE;
// No new connections; those that are idle end now, the others after their answer.
void http_server_drain(http_server *s);
void http_server_close(http_server *s); // breaks what is open
size_t http_server_connections(const http_server *s);

const http_request *http_request_of(const http_exchange *x); // valid until the answer ends
arena *http_arena(http_exchange *x);                         // request's lifetime, 1 MiB budget
void *http_door(const http_exchange *x);
const tls_peer *http_peer(const http_exchange *x);
const char *http_remote(const http_exchange *x);
str http_request_id(http_exchange *x); // made at first use; base58
void http_set_user(http_exchange *x, void *user);
void *http_user(const http_exchange *x);
// The connection broke, or the client closed its side, before the answer was complete: called once;
// afterwards x is gone, and from within only the questions above may be asked. Without it x stays
// valid until it is answered (into the void) or http_break(x), and on_drain is called if it is set;
// except while a body is awaited: then it is gone without a word. So whoever keeps memory for an
// exchange that reads a body sets it.
void http_on_broken(http_exchange *x, void (*broken)(void *user, http_exchange *x));

// Whole body in memory (sends 100-continue when asked). on_body is called once, never before this
// returns; `body` lives as long as x. Past bytes_max (0 = the limits' body_bytes) 413 is sent
// instead, before a byte is read where the length is known, and x is gone; a set on_broken is
// called. The same for 400 and 408.
void http_collect(http_exchange *x,
                  uint64_t bytes_max,
                  void (*on_body)(void *user, http_exchange *x, str body));
// Piece by piece; `end` true once with an empty piece. http_read_pause gives back-pressure. Call it
// before http_start where the client may wait for 100-continue. Ends early as http_collect does.
void http_stream(http_exchange *x,
                 uint64_t bytes_max,
                 void (*on_piece)(void *user, http_exchange *x, str piece, bool end));
void http_read_pause(http_exchange *x, bool paused);

// The whole answer at once. Content-Length, Date, Connection are ours; HEAD drops the body, keeps
// the length. Header names and values are checked (no CR, LF, NUL): a bad one is dropped. After
// this x is gone.
void http_answer(http_exchange *x, unsigned status, const http_headers *headers, str body);
void http_answer_text(http_exchange *x, unsigned status, const char *type, str body);
void http_answer_json(http_exchange *x, unsigned status, str json);
// {"error":{"code":"absent","message":what,"request":id}} with http_status_of(e.code).
void http_answer_err(http_exchange *x, err e);
// Piecewise: length UINT64_MAX means chunked (or until close for HTTP/1.0).
// A failed write is told by http_send and on_broken.
void http_start(http_exchange *x, unsigned status, const http_headers *headers, uint64_t length);
// ERR_CLOSED when broken: without on_broken, end it by http_finish or http_break.
// ERR_LIMIT when the queue is full or past the announced length: nothing was taken.
err http_send(http_exchange *x, str piece) MUST_USE;
bool http_send_full(const http_exchange *x); // wait for on_drain
void http_on_drain(http_exchange *x, void (*on_drain)(void *user, http_exchange *x));
void http_finish(http_exchange *x); // after this x is gone; less than `length` breaks it
void http_break(http_exchange *x); // ends the connection so that the peer sees an incomplete answer
// Takes the raw connection for a 101 answer that the caller writes itself (WebSocket): set its
// owner and conn_set_events() before returning to the loop. x is gone. NULL when it is broken or
// has sent bytes early.
conn *http_take_connection(http_exchange *x);
