// The inside of a connection, for the files that make, write, connect and encrypt it.
#pragma once
#include "io/conn.h"
#include "io/loop_inner.h"
#include "io/tls_inner.h"

enum {
    CONN_QUEUE_BYTES_MAX = 64 * 1024 * 1024,
    CONN_QUEUE_BYTES_HIGH = 256 * 1024,
    CONN_HANDSHAKE_MS = 10 * 1000,
    CONN_FINISH_MS = 5 * 1000,
    CONN_ADDRESS_MAX = 56, // "[" + INET6_ADDRSTRLEN + "]:65535"
};

typedef struct conn_chunk {
    struct conn_chunk *next;
    size_t len;
    size_t room;
    char at[];
} conn_chunk;

typedef struct conn_tls {
    SSL *ssl;
    tls_context *context;
    str in;      // ciphertext that is being read
    char *stash; // plain bytes that arrived with the end of the handshake while paused
    size_t stash_len;
    bool notified; // our close_notify is sent
    bool has_peer;
    tls_peer peer;
    char *peer_memory;
    char session_key[TLS_SESSION_KEY_MAX]; // empty: no resumption
} conn_tls;

struct conn {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } io;
    union {
        uv_connect_t connect; // done before anything is written
        uv_write_t write;
    } request;
    loop *loop;
    void *owner;
    const conn_events *events;
    conn_tls *tls;              // NULL: plain
    conn_connected *on_connect; // NULL once it was called
    conn_chunk *chunks;         // the queue, oldest first
    conn_chunk *chunks_last;
    conn_chunk *unsent; // the first chunk that libuv does not have yet
    size_t unsent_bytes;
    size_t queue_bytes_max;
    size_t queue_bytes_high;
    uint64_t handshake_ms;
    loop_deadline deadline;
    bool unix_socket;
    bool ready;   // connected, handshake done
    bool writing; // libuv has a write request of ours
    bool full;    // went past the high mark: on_drain is owed
    bool paused;
    bool read_ended; // end of file or a broken connection was seen
    bool end_told;
    bool broken;    // a write failed: nothing more goes out
    bool finishing; // conn_close_after_writes: the owner is gone, bytes still go
    bool hurried;   // finishing without waiting for the peer's end
    bool closing;
    char address[CONN_ADDRESS_MAX];
};

// A connection with its handle initialised: from here on only conn_close() ends it.
err conn_new(conn **out, loop *l, const conn_settings *settings, bool unix_socket) MUST_USE;
void conn_start_reading(conn *c);
void conn_tell_end(conn *c, err e); // on_end once, unless nobody listens any more
void conn_fail(conn *c, err e);     // before it is ready: tells and, for clients, closes
void conn_become_ready(conn *c);    // on_connect or on_ready
int conn_fd(const conn *c);

// Takes bytes as they go on the wire; fails with ERR_CLOSED or ERR_MEMORY, after which `broken` is
// set.
err conn_send(conn *c, const str *pieces, size_t count) MUST_USE;
void conn_drop_queue(conn *c);
void conn_finish_writes(conn *c); // finishing and all written: half close, then wait for the peer's

err conn_tls_open(conn *c, tls_context *context) MUST_USE;
err conn_tls_name(conn *c, const char *server_name, const char *address, uint16_t port) MUST_USE;
void conn_tls_start(conn *c); // the handshake; the client speaks first
void conn_tls_feed(conn *c, str cipher);
void conn_tls_ended(conn *c, err e); // the stream under it ended
void conn_tls_resume(conn *c);
err conn_tls_write(conn *c, const str *pieces, size_t count) MUST_USE;
void conn_tls_notify(conn *c); // close_notify, once
void conn_tls_close(conn *c);
