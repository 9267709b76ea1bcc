// The inside of a TLS context, for the connections that use it.
#pragma once
#include "io/tls.h"

#include <openssl/ssl.h>

enum { TLS_SESSIONS_MAX = 16, TLS_SESSION_KEY_MAX = 160 };

// A client's last ticket for one address and name.
typedef struct tls_session {
    char key[TLS_SESSION_KEY_MAX];
    SSL_SESSION *session;
} tls_session;

struct tls_context {
    SSL_CTX *ctx;
    BIO_METHOD *method; // reads what the loop has read, writes to the loop's record buffer
    unsigned references;
    bool server;
    bool http2;
    bool mutual; // a CA is given
    bool (*allow)(void *data, str peer_uri, str serial_hex);
    tls_context *(*choose)(void *data, str server_name);
    void *data;
    tls_session sessions[TLS_SESSIONS_MAX];
    unsigned session_next;
};

err tls_bio_method(BIO_METHOD **out) MUST_USE; // conn_tls.c: the two directions as one BIO
tls_context *tls_context_take(tls_context *t); // one more reference
SSL_SESSION *tls_session_find(const tls_context *t, const char *key);
void tls_session_keep(tls_context *t, const char *key, SSL_SESSION *session); // takes it over

// Fills `peer` with what the certificate says; *memory (for free()) holds its texts.
err tls_peer_read(X509 *certificate, tls_peer *peer, char **memory) MUST_USE;
