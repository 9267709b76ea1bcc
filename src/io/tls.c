// TLS 1.3 contexts: certificates, exactly one CA when asked, tickets, and what a certificate says.
//
// A context belongs to the thread of its loop. Servers hand out stateless tickets; clients keep the
// last one per address and name, so that reconnecting costs no signature.
#include "base/fault.h"
#include "io/tls_inner.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { SESSION_S = 2 * 3600, PEM_BYTES_MAX = 1024 * 1024 };

static err tls_fail(err_code code, const char *what)
{
    unsigned long number = ERR_peek_error();
    ERR_clear_error();
    return fail(code, ERR_GET_REASON(number), what);
}

// A locked key is an error, never a question on the terminal.
// NOLINTNEXTLINE(readability-non-const-parameter): OpenSSL's signature
static int tls_no_password(char *at, int size, int writing, void *data)
{
    (void)at, (void)size, (void)writing, (void)data;
    return -1;
}

static void bio_drop(BIO **b)
{
    BIO_free(*b);
}

static err tls_use_certificate(SSL_CTX *ctx, str pem)
{
    OWNED(bio_drop) BIO *b = BIO_new_mem_buf(pem.at, (int)pem.len);
    if (b == NULL)
        return fail(ERR_MEMORY, 0, "TLS certificate");
    for (size_t count = 0;; count++) {
        X509 *x = PEM_read_bio_X509(b, NULL, tls_no_password, NULL);
        if (x == NULL) {
            ERR_clear_error();
            return count > 0 ? ok() : fail(ERR_SYNTAX, 0, "TLS certificate");
        }
        int rc =
            count == 0 ? SSL_CTX_use_certificate(ctx, x) : (int)SSL_CTX_add1_chain_cert(ctx, x);
        X509_free(x);
        if (rc != 1)
            return tls_fail(ERR_SYNTAX, "TLS certificate");
    }
}

static err tls_use_key(SSL_CTX *ctx, str pem)
{
    if (pem.len == 0)
        return fail(ERR_SYNTAX, 0, "TLS certificate without key");
    OWNED(bio_drop) BIO *b = BIO_new_mem_buf(pem.at, (int)pem.len);
    if (b == NULL)
        return fail(ERR_MEMORY, 0, "TLS key");
    EVP_PKEY *key = PEM_read_bio_PrivateKey(b, NULL, tls_no_password, NULL);
    if (key == NULL)
        return tls_fail(ERR_SYNTAX, "TLS key");
    int rc = SSL_CTX_use_PrivateKey(ctx, key);
    EVP_PKEY_free(key);
    if (rc != 1 || SSL_CTX_check_private_key(ctx) != 1)
        return tls_fail(ERR_SYNTAX, "TLS key is not the certificate's");
    return ok();
}

static err tls_use_ca(SSL_CTX *ctx, str pem, bool server)
{
    OWNED(bio_drop) BIO *b = BIO_new_mem_buf(pem.at, (int)pem.len);
    X509_STORE *store = X509_STORE_new();
    if (b == NULL || store == NULL) {
        X509_STORE_free(store);
        return fail(ERR_MEMORY, 0, "TLS CA");
    }
    SSL_CTX_set_cert_store(ctx, store); // takes it over; replaces the system's
    // The CA given is the root of trust even when somebody else has signed it.
    (void)X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
    for (size_t count = 0;; count++) {
        X509 *x = PEM_read_bio_X509(b, NULL, tls_no_password, NULL);
        if (x == NULL) {
            ERR_clear_error();
            return count > 0 ? ok() : fail(ERR_SYNTAX, 0, "TLS CA");
        }
        bool good =
            X509_STORE_add_cert(store, x) == 1 && (!server || SSL_CTX_add_client_CA(ctx, x) == 1);
        X509_free(x);
        if (!good)
            return tls_fail(ERR_SYNTAX, "TLS CA");
    }
}

static int tls_on_alpn(SSL *ssl,
                       const unsigned char **out,
                       unsigned char *out_len,
                       const unsigned char *in,
                       unsigned in_len,
                       void *data)
{
    static const unsigned char both[] = "\2h2\10http/1.1";
    const tls_context *t = data;
    (void)ssl;
    size_t skip = t->http2 ? 0 : 3;
    unsigned char *chosen = NULL;
    int rc = SSL_select_next_proto(&chosen, out_len, both + skip,
                                   (unsigned)(sizeof(both) - 1 - skip), in, in_len);
    *out = chosen;
    return rc == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
}

// Only the certificate comes from the chosen context: who may connect is decided by the door.
// NOLINTNEXTLINE(readability-non-const-parameter): OpenSSL's signature
static int tls_on_name(SSL *ssl, int *alert, void *data)
{
    const tls_context *t = data;
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    (void)alert;
    const tls_context *chosen =
        t->choose(t->data, name != NULL ? (str){name, strlen(name)} : STR(""));
    if (chosen == NULL || chosen == t)
        return SSL_TLSEXT_ERR_OK;
    if (SSL_set_SSL_CTX(ssl, chosen->ctx) == NULL ||
        (t->mutual && SSL_set1_verify_cert_store(ssl, SSL_CTX_get_cert_store(t->ctx)) != 1))
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    return SSL_TLSEXT_ERR_OK;
}

static int tls_on_session(SSL *ssl, SSL_SESSION *session)
{
    const char *key = SSL_get_app_data(ssl);
    tls_context *t = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    if (key == NULL || key[0] == '\0')
        return 0;
    tls_session_keep(t, key, session);
    return 1;
}

SSL_SESSION *tls_session_find(const tls_context *t, const char *key)
{
    for (size_t i = 0; i < TLS_SESSIONS_MAX; i++)
        if (t->sessions[i].session != NULL && strcmp(t->sessions[i].key, key) == 0)
            return t->sessions[i].session;
    return NULL;
}

void tls_session_keep(tls_context *t, const char *key, SSL_SESSION *session)
{
    tls_session *s = NULL;
    for (size_t i = 0; i < TLS_SESSIONS_MAX && s == NULL; i++)
        if (strcmp(t->sessions[i].key, key) == 0)
            s = &t->sessions[i];
    if (s == NULL)
        s = &t->sessions[t->session_next++ % TLS_SESSIONS_MAX];
    SSL_SESSION_free(s->session);
    s->session = session;
    memcpy(s->key, key, strnlen(key, sizeof(s->key) - 1) + 1);
}

static void tls_set_modes(tls_context *t, const tls_settings *settings)
{
    static const unsigned char id[] = "ctau";
    static const unsigned char both[] = "\2h2\10http/1.1";
    size_t skip = settings->http2 ? 0 : 3;
    (void)SSL_CTX_set_min_proto_version(t->ctx, TLS1_3_VERSION);
    (void)SSL_CTX_set_mode(t->ctx, SSL_MODE_RELEASE_BUFFERS);
    (void)SSL_CTX_set_timeout(t->ctx, SESSION_S);
    SSL_CTX_set_app_data(t->ctx, t);
    if (settings->server) {
        (void)SSL_CTX_set_num_tickets(t->ctx, 1);
        (void)SSL_CTX_set_session_cache_mode(t->ctx, SSL_SESS_CACHE_OFF); // tickets only
        (void)SSL_CTX_set_session_id_context(t->ctx, id, sizeof(id) - 1);
        SSL_CTX_set_alpn_select_cb(t->ctx, tls_on_alpn, t);
        if (t->choose != NULL) {
            (void)SSL_CTX_set_tlsext_servername_callback(t->ctx, tls_on_name);
            (void)SSL_CTX_set_tlsext_servername_arg(t->ctx, t);
        }
    } else {
        (void)SSL_CTX_set_session_cache_mode(t->ctx,
                                             SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(t->ctx, tls_on_session);
        (void)SSL_CTX_set_alpn_protos(t->ctx, both + skip, (unsigned)(sizeof(both) - 1 - skip));
    }
}

static err tls_fill(tls_context *t, const tls_settings *settings)
{
    if (settings->certificate_pem.len > PEM_BYTES_MAX || settings->key_pem.len > PEM_BYTES_MAX ||
        settings->ca_pem.len > PEM_BYTES_MAX)
        return fail(ERR_LIMIT, 0, "TLS PEM");
    tls_set_modes(t, settings);
    TRY(tls_bio_method(&t->method));
    if (settings->ticket_key.len > 0 &&
        SSL_CTX_set_tlsext_ticket_keys(t->ctx, (void *)settings->ticket_key.at,
                                       (long)settings->ticket_key.len) != 1)
        return tls_fail(ERR_SYNTAX, "TLS ticket key");
    if (settings->server && (settings->certificate_pem.len == 0 || settings->key_pem.len == 0))
        return fail(ERR_SYNTAX, 0, "TLS server without certificate or key");
    if (settings->certificate_pem.len > 0) {
        TRY(tls_use_certificate(t->ctx, settings->certificate_pem));
        TRY(tls_use_key(t->ctx, settings->key_pem));
    }
    if (settings->ca_pem.len > 0) {
        TRY(tls_use_ca(t->ctx, settings->ca_pem, settings->server));
        SSL_CTX_set_verify(t->ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    } else if (!settings->server && !settings->any_peer) {
        if (SSL_CTX_set_default_verify_paths(t->ctx) != 1)
            return tls_fail(ERR_SYSTEM, "TLS system CAs");
        SSL_CTX_set_verify(t->ctx, SSL_VERIFY_PEER, NULL);
    }
    return ok();
}

err tls_context_open(tls_context **out, const tls_settings *settings)
{
    tls_context *t = fault_hits(FAULT_MEMORY) ? NULL : calloc(1, sizeof(*t));
    if (t == NULL)
        return fail(ERR_MEMORY, 0, "open TLS context");
    t->references = 1;
    t->server = settings->server;
    t->http2 = settings->http2;
    t->mutual = settings->ca_pem.len > 0;
    t->allow = settings->allow;
    t->choose = settings->choose;
    t->data = settings->data;
    t->ctx = SSL_CTX_new(settings->server ? TLS_server_method() : TLS_client_method());
    err e = t->ctx != NULL ? tls_fill(t, settings) : tls_fail(ERR_MEMORY, "open TLS context");
    if (e.code != OK) {
        tls_context_close(t);
        return e;
    }
    *out = t;
    return ok();
}

tls_context *tls_context_take(tls_context *t)
{
    t->references++;
    return t;
}

void tls_context_close(tls_context *t)
{
    if (t == NULL || --t->references > 0)
        return;
    for (size_t i = 0; i < TLS_SESSIONS_MAX; i++)
        SSL_SESSION_free(t->sessions[i].session);
    SSL_CTX_free(t->ctx);
    BIO_meth_free(t->method);
    free(t);
}

// The first SAN of kind URI; empty when there is none. A NUL inside would fool whoever compares.
static str tls_san_uri(GENERAL_NAMES *names)
{
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *n = sk_GENERAL_NAME_value(names, i);
        if (n->type != GEN_URI)
            continue;
        str uri = {(const char *)ASN1_STRING_get0_data(n->d.uniformResourceIdentifier),
                   (size_t)ASN1_STRING_length(n->d.uniformResourceIdentifier)};
        return memchr(uri.at, '\0', uri.len) == NULL ? uri : (str){0};
    }
    return (str){0};
}

static uint64_t tls_time_real_ms(const ASN1_TIME *at)
{
    struct tm parts = {0};
    if (ASN1_TIME_to_tm(at, &parts) != 1)
        return 0;
    time_t s = timegm(&parts);
    return s > 0 ? (uint64_t)s * 1000 : 0;
}

err tls_peer_read(X509 *certificate, tls_peer *peer, char **memory)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    BIGNUM *number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), NULL);
    char *hex = number != NULL ? BN_bn2hex(number) : NULL;
    str uri = names != NULL ? tls_san_uri(names) : (str){0};
    size_t hex_len = hex != NULL ? strlen(hex) : 0;
    char *at = hex != NULL && !fault_hits(FAULT_MEMORY) ? malloc(uri.len + hex_len + 1) : NULL;
    if (at != NULL) {
        if (uri.len > 0)
            memcpy(at, uri.at, uri.len);
        for (size_t i = 0; i < hex_len; i++)
            at[uri.len + i] = (char)(hex[i] | 0x20);
        *peer = (tls_peer){
            .uri = {at, uri.len},
            .serial_hex = {at + uri.len, hex_len},
            .not_after_real_ms = tls_time_real_ms(X509_get0_notAfter(certificate)),
        };
        *memory = at;
    }
    GENERAL_NAMES_free(names);
    BN_free(number);
    OPENSSL_free(hex);
    return at != NULL ? ok() : fail(ERR_MEMORY, 0, "read certificate");
}
