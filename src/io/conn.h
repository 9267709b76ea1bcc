// Stream connections, TCP or Unix, plain or TLS, and listening sockets that can be handed on.
#pragma once
#include "base/base.h"
#include "io/loop.h"
#include "io/tls.h"

typedef struct conn conn;
// Callbacks run on the loop's thread, never before the starting call has returned, and never after
// conn_close().
typedef struct conn_events {
    // Bytes arrived; `bytes` is valid during the call only. May call conn_write and conn_close.
    void (*on_read)(void *owner, conn *c, str bytes);
    // The peer has closed its side (end of file) or the connection broke: e.code OK for a clean
    // end. The connection is still to be closed by the owner.
    void (*on_end)(void *owner, conn *c, err e);
    // The queue fell below the low mark after conn_write said "queued past the high mark". May be
    // NULL.
    void (*on_drain)(void *owner, conn *c);
    // TLS only: the handshake is done and conn_peer() is known. May be NULL.
    void (*on_ready)(void *owner, conn *c);
} conn_events;

typedef struct conn_settings {
    const conn_events *events;
    tls_context *tls;        // NULL: plain. Borrowed; must outlive the connection
    size_t queue_bytes_max;  // written and not yet taken by the peer; past it the write fails with
                             // ERR_LIMIT (0 = 64 MiB)
    size_t queue_bytes_high; // conn_write_full() turns true above this (0 = 256 KiB)
    uint64_t handshake_ms;   // TLS handshake deadline (0 = 10 s)
} conn_settings;

// A listener owns `fd` (bound, listening). Each accepted connection calls on_accept; the receiver
// owns it.
typedef struct listener listener;
typedef void listener_accept(void *data, conn *c);
err listener_open(listener **out,
                  loop *l,
                  int fd,
                  const conn_settings *settings,
                  listener_accept *on_accept,
                  void *data) MUST_USE;
void listener_close(listener *l);
void listener_pause(listener *l, bool paused); // connections wait in the backlog meanwhile
// Makes a listening TCP socket with SO_REUSEADDR (and SO_REUSEPORT when `shared`), close-on-exec.
// address like "127.0.0.1" or "::1". ERR_CONFLICT when the port is in use. Port 0 picks one: see
// socket_port.
err socket_listen(const char *address, uint16_t port, bool shared, int *fd) MUST_USE;
err socket_listen_unix(const char *path, unsigned mode, int *fd) MUST_USE;
uint16_t socket_port(int fd);

// An owner for the connection's callbacks (set right after accept or with connect).
void conn_set_owner(conn *c, void *owner);
void *conn_owner(conn *c);
void conn_set_events(conn *c, const conn_events *events); // for whoever takes a connection over
// Connects; `on_connect(owner, c, e)` is called once: on OK the connection is ready (TLS handshake
// done). On failure the connection is closed already. server_name: for SNI and verification, may be
// NULL for none.
typedef void conn_connected(void *owner, conn *c, err e);
err conn_connect(conn **out,
                 loop *l,
                 const char *address,
                 uint16_t port,
                 const char *server_name,
                 const conn_settings *settings,
                 conn_connected *on_connect,
                 void *owner) MUST_USE;
err conn_connect_unix(conn **out,
                      loop *l,
                      const char *path,
                      const conn_settings *settings,
                      conn_connected *on_connect,
                      void *owner) MUST_USE;

// Writes all pieces in order; copies only what the kernel does not take at once. ERR_CLOSED;
// ERR_LIMIT, and nothing is written; ERR_BUSY before a TLS or connecting connection is ready;
// ERR_MEMORY, and the connection is broken.
err conn_write(conn *c, const str *pieces, size_t count) MUST_USE;
bool conn_write_full(const conn *c); // queue above the high mark: stop producing until on_drain
size_t conn_write_queued(const conn *c);
void conn_pause(conn *c); // no on_read until conn_resume (back-pressure)
void conn_resume(conn *c);
void conn_close(conn *c); // at once, what is queued is dropped; safe to call twice
// Flushes what is queued, waits for the peer to end (5 s at most), closes. No callback follows.
void conn_close_after_writes(conn *c);
// The same for owners that have read all the peer had to say: does not wait for the peer's end. Two
// system calls and an event cheaper; bytes that still arrive may cost the peer our answer's end.
void conn_close_when_written(conn *c);
void conn_abort(conn *c);                 // close with RST, so that the peer sees a broken answer
const tls_peer *conn_peer(const conn *c); // NULL when plain or without a client certificate
str conn_protocol(const conn *c);         // chosen by ALPN: "h2", "http/1.1"; empty when none was
bool conn_resumed(const conn *c);         // TLS session of a ticket
// "127.0.0.1:5555" of the peer, cached on first use; "unix" for those.
const char *conn_address(const conn *c);
