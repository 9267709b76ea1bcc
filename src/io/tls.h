// TLS 1.3 contexts and what is known of the peer; mutual when a CA is given.
#pragma once
#include "base/base.h"

typedef struct tls_context tls_context;
typedef struct tls_settings {
    str certificate_pem; // chain, leaf first
    str key_pem;
    str ca_pem; // verify peers against exactly this CA (client certificates required on servers);
                // empty: system's
    bool server;
    bool any_peer;  // clients: whoever answers is fine, for what proves itself (an authority's
                    // certificate whose hash is known)
    str ticket_key; // servers: 80 random bytes that several processes share, so that tickets of
                    // one are good at all; empty: the context's own
    bool http2;     // offer h2 before http/1.1 in ALPN
    // Asked for each verified peer (full and resumed handshakes alike): false refuses. May be NULL.
    bool (*allow)(void *data, str peer_uri, str serial_hex);
    // Servers: the context whose certificate answers this name (lower case not promised, empty when
    // the client names none); NULL keeps ours. Borrowed for the call; verification, tickets and
    // `allow` stay ours, `http2` is the chosen one's. May be NULL.
    tls_context *(*choose)(void *data, str server_name);
    void *data;
} tls_settings;
err tls_context_open(tls_context **out,
                     const tls_settings *settings) MUST_USE; // copies what it needs
void tls_context_close(tls_context *t);                      // reference counted by its connections

// The verified peer of a mutual connection.
typedef struct tls_peer {
    str uri;        // first SAN of kind URI, e.g. ctau://blackhole/tns/tns
    str serial_hex; // certificate's serial number
    uint64_t not_after_real_ms;
} tls_peer;
