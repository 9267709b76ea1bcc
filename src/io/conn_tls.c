// TLS over a connection: records are read from the loop's read buffer and gathered for one write.
//
// The happy path is: bytes come, the handshake goes on until both sides know each other, `allow` is
// asked, the owner hears on_ready or on_connect; then each read decrypts into the loop's plain
// buffer and each write encrypts into its record buffer, which is empty again before any callback
// runs. What can fail: the deadline, verification, `allow`, a bad record, an end without
// close_notify.
#include "io/conn_inner.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <stdio.h>
#include <string.h>
#include <time.h>

static void conn_tls_flush(conn *c)
{
    loop *l = c->loop;
    str bytes = {l->cipher_bytes, l->cipher_len};
    l->cipher_len = 0;
    if (bytes.len > 0 && !c->closing && conn_send(c, &bytes, 1).code != OK)
        c->broken = true;
}

static int conn_bio_read(BIO *b, char *at, int len)
{
    conn *c = BIO_get_data(b);
    str *in = &c->tls->in;
    BIO_clear_retry_flags(b);
    if (in->len == 0) {
        BIO_set_retry_read(b);
        return -1;
    }
    size_t some = (size_t)len < in->len ? (size_t)len : in->len;
    memcpy(at, in->at, some);
    in->at += some;
    in->len -= some;
    return (int)some;
}

static int conn_bio_write(BIO *b, const char *at, int len)
{
    conn *c = BIO_get_data(b);
    loop *l = c->loop;
    BIO_clear_retry_flags(b);
    for (size_t done = 0; done < (size_t)len;) {
        if (l->cipher_len == LOOP_CIPHER_BYTES)
            conn_tls_flush(c);
        size_t some = LOOP_CIPHER_BYTES - l->cipher_len;
        some = some < (size_t)len - done ? some : (size_t)len - done;
        memcpy(l->cipher_bytes + l->cipher_len, at + done, some);
        l->cipher_len += some;
        done += some;
    }
    return len;
}

static long conn_bio_control(BIO *b, int what, long number, void *at)
{
    (void)b, (void)number, (void)at;
    return what == BIO_CTRL_FLUSH;
}

err tls_bio_method(BIO_METHOD **out)
{
    BIO_METHOD *m = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "loop");
    if (m == NULL)
        return fail(ERR_MEMORY, 0, "open TLS context");
    (void)BIO_meth_set_read(m, conn_bio_read);
    (void)BIO_meth_set_write(m, conn_bio_write);
    (void)BIO_meth_set_ctrl(m, conn_bio_control);
    *out = m;
    return ok();
}

static bool conn_tls_buffers(loop *l)
{
    if (l->plain_bytes == NULL)
        l->plain_bytes = io_take(LOOP_PLAIN_BYTES);
    if (l->cipher_bytes == NULL)
        l->cipher_bytes = io_take(LOOP_CIPHER_BYTES);
    if (l->record_bytes == NULL)
        l->record_bytes = io_take(LOOP_RECORD_BYTES);
    return l->plain_bytes != NULL && l->cipher_bytes != NULL && l->record_bytes != NULL;
}

err conn_tls_open(conn *c, tls_context *context)
{
    conn_tls *t = conn_tls_buffers(c->loop) ? io_take(sizeof(*t)) : NULL;
    if (t == NULL)
        return fail(ERR_MEMORY, 0, "open TLS connection");
    t->ssl = SSL_new(context->ctx);
    BIO *bio = t->ssl != NULL ? BIO_new(context->method) : NULL;
    if (bio == NULL) {
        SSL_free(t->ssl);
        free(t);
        ERR_clear_error();
        return fail(ERR_MEMORY, 0, "open TLS connection");
    }
    BIO_set_data(bio, c);
    BIO_set_init(bio, 1);
    SSL_set_bio(t->ssl, bio, bio);
    SSL_set_app_data(t->ssl, t->session_key);
    if (context->server)
        SSL_set_accept_state(t->ssl);
    else
        SSL_set_connect_state(t->ssl);
    t->context = tls_context_take(context);
    c->tls = t;
    return ok();
}

err conn_tls_name(conn *c, const char *server_name, const char *address, uint16_t port)
{
    conn_tls *t = c->tls;
    int len = snprintf(t->session_key, sizeof(t->session_key), "%s %u %s", address, (unsigned)port,
                       server_name != NULL ? server_name : "");
    if (len < 0 || (size_t)len >= sizeof(t->session_key))
        t->session_key[0] = '\0';
    if (server_name != NULL) {
        unsigned char binary[16];
        X509_VERIFY_PARAM *v = SSL_get0_param(t->ssl);
        // RFC 6066 3: a name, never an address, goes into the greeting.
        bool is_address = uv_inet_pton(AF_INET, server_name, binary) == 0 ||
                          uv_inet_pton(AF_INET6, server_name, binary) == 0;
        X509_VERIFY_PARAM_set_hostflags(v, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
        int rc = is_address ? X509_VERIFY_PARAM_set1_ip_asc(v, server_name)
                            : X509_VERIFY_PARAM_set1_host(v, server_name, 0);
        if (rc == 1 && !is_address)
            rc = (int)SSL_set_tlsext_host_name(t->ssl, server_name);
        if (rc != 1) {
            ERR_clear_error();
            return fail(ERR_SYNTAX, 0, "TLS server name");
        }
    }
    SSL_SESSION *session = tls_session_find(t->context, t->session_key);
    if (t->session_key[0] != '\0' && session != NULL)
        (void)SSL_set_session(t->ssl, session);
    return ok();
}

// What OpenSSL says went wrong, as one of ours.
static err conn_tls_error(const conn *c, const char *what)
{
    long verified = SSL_get_verify_result(c->tls->ssl);
    unsigned long number = ERR_peek_error();
    int reason = ERR_GET_REASON(number);
    ERR_clear_error();
    if (verified != X509_V_OK)
        return fail(ERR_DENIED, (int)verified, "TLS peer's certificate");
    // An alert of the peer: it did not like us.
    if (reason >= SSL_AD_REASON_OFFSET || reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE)
        return fail(ERR_DENIED, reason, what);
    return fail(ERR_SYNTAX, reason, what);
}

// Asked after full and resumed handshakes alike: a ticket must not outlive what it stands for.
static err conn_tls_admit(conn *c)
{
    conn_tls *t = c->tls;
    X509 *x = SSL_get0_peer_certificate(t->ssl);
    if (x == NULL)
        return t->context->mutual ? fail(ERR_DENIED, 0, "TLS peer without certificate") : ok();
    TRY(tls_peer_read(x, &t->peer, &t->peer_memory));
    t->has_peer = true;
    if (X509_cmp_current_time(X509_get0_notAfter(x)) <= 0)
        return fail(ERR_DENIED, X509_V_ERR_CERT_HAS_EXPIRED, "TLS peer's certificate");
    if (t->context->allow != NULL &&
        !t->context->allow(t->context->data, t->peer.uri, t->peer.serial_hex))
        return fail(ERR_DENIED, 0, "TLS peer is not allowed");
    return ok();
}

// True once the connection is ready and its owner still wants it.
static bool conn_tls_shake(conn *c)
{
    conn_tls *t = c->tls;
    ERR_clear_error();
    int rc = SSL_do_handshake(t->ssl);
    if (rc != 1) {
        int why = SSL_get_error(t->ssl, rc);
        conn_tls_flush(c); // our part, or the alert that says why not
        if (why != SSL_ERROR_WANT_READ)
            conn_fail(c, conn_tls_error(c, "TLS handshake"));
        return false;
    }
    err e = conn_tls_admit(c);
    if (e.code != OK) {
        c->loop->cipher_len = 0; // no ticket for who is not welcome
        conn_fail(c, e);
        return false;
    }
    conn_tls_flush(c);
    conn_become_ready(c);
    return !c->closing && !c->finishing;
}

static void conn_tls_deliver(conn *c, size_t len)
{
    conn_tls *t = c->tls;
    if (len == 0)
        return;
    if (!c->paused) {
        c->events->on_read(c->owner, c, (str){c->loop->plain_bytes, len});
        return;
    }
    // Only when the owner paused in on_ready and bytes came with the end of the handshake.
    t->stash = io_take(len);
    if (t->stash == NULL) {
        c->broken = true;
        conn_tell_end(c, fail(ERR_MEMORY, 0, "read from connection"));
        return;
    }
    memcpy(t->stash, c->loop->plain_bytes, len);
    t->stash_len = len;
}

static void conn_tls_read(conn *c)
{
    conn_tls *t = c->tls;
    size_t len = 0;
    int rc = 0;
    ERR_clear_error();
    // The plain buffer has room for all that one read can hold, so nothing waits inside OpenSSL.
    while (len < LOOP_PLAIN_BYTES) {
        rc = SSL_read(t->ssl, c->loop->plain_bytes + len, (int)(LOOP_PLAIN_BYTES - len));
        if (rc <= 0)
            break;
        len += (size_t)rc;
    }
    int why = SSL_get_error(t->ssl, rc);
    err e = ok();
    if (rc <= 0 && why != SSL_ERROR_WANT_READ && why != SSL_ERROR_ZERO_RETURN)
        e = conn_tls_error(c, "TLS record");
    conn_tls_flush(c); // answers to key updates
    conn_tls_deliver(c, len);
    if (c->closing || c->finishing || why == SSL_ERROR_WANT_READ || rc > 0)
        return;
    if (e.code != OK)
        c->broken = true;
    if (t->stash == NULL)
        conn_tell_end(c, e);
}

void conn_tls_feed(conn *c, str cipher)
{
    conn_tls *t = c->tls;
    t->in = cipher;
    if (c->ready || conn_tls_shake(c))
        conn_tls_read(c);
    t->in = (str){0}; // the loop's buffer is somebody else's next
}

void conn_tls_ended(conn *c, err e)
{
    const conn_tls *t = c->tls;
    if (e.code == OK && (SSL_get_shutdown(t->ssl) & SSL_RECEIVED_SHUTDOWN) == 0)
        e = fail(ERR_CLOSED, 0, "TLS ended without notice");
    if (!c->ready)
        conn_fail(c, e.code != OK ? e : fail(ERR_CLOSED, 0, "TLS handshake"));
    else
        conn_tell_end(c, e);
}

static void conn_tls_on_resume(loop_deadline *d)
{
    conn *c = (conn *)((char *)d - offsetof(conn, deadline));
    conn_tls *t = c->tls;
    if (c->paused || t->stash == NULL)
        return;
    char *stash = t->stash;
    t->stash = NULL;
    c->events->on_read(c->owner, c, (str){stash, t->stash_len});
    free(stash);
    if (c->closing || c->finishing || c->paused)
        return;
    if ((SSL_get_shutdown(t->ssl) & SSL_RECEIVED_SHUTDOWN) != 0)
        conn_tell_end(c, ok());
    else
        conn_start_reading(c);
}

void conn_tls_resume(conn *c)
{
    loop_deadline_set(c->loop, &c->deadline, 0, conn_tls_on_resume);
}

static void conn_tls_on_late(loop_deadline *d)
{
    conn *c = (conn *)((char *)d - offsetof(conn, deadline));
    conn_fail(c, fail(ERR_TIMEOUT, 0, "TLS handshake"));
}

void conn_tls_start(conn *c)
{
    if (c->tls->context->server)
        loop_deadline_set(c->loop, &c->deadline, c->handshake_ms, conn_tls_on_late);
    else
        (void)conn_tls_shake(c); // says hello; the deadline runs since connect
}

static bool conn_tls_encrypt(conn *c, const char *at, size_t len)
{
    ERR_clear_error();
    if (!c->broken && SSL_write(c->tls->ssl, at, (int)len) == (int)len)
        return true;
    c->broken = true;
    return false;
}

err conn_tls_write(conn *c, const str *pieces, size_t count)
{
    char *record = c->loop->record_bytes;
    size_t held = 0;
    bool good = true;
    for (size_t i = 0; i < count && good; i++) {
        str rest = pieces[i];
        while (rest.len > 0 && good) {
            size_t some = LOOP_RECORD_BYTES - held;
            some = some < rest.len ? some : rest.len;
            if (some == LOOP_RECORD_BYTES) {
                good = conn_tls_encrypt(c, rest.at, some); // whole record: no copy
            } else {
                memcpy(record + held, rest.at, some);
                held += some;
                if (held == LOOP_RECORD_BYTES) {
                    good = conn_tls_encrypt(c, record, held);
                    held = 0;
                }
            }
            rest.at += some;
            rest.len -= some;
        }
    }
    if (good && held > 0)
        good = conn_tls_encrypt(c, record, held);
    conn_tls_flush(c);
    return good && !c->broken ? ok() : fail(ERR_CLOSED, 0, "write to connection");
}

bool conn_resumed(const conn *c)
{
    return c->tls != NULL && c->ready && SSL_session_reused(c->tls->ssl) == 1;
}

str conn_protocol(const conn *c)
{
    const unsigned char *at = NULL;
    unsigned len = 0;
    if (c->tls != NULL && c->ready)
        SSL_get0_alpn_selected(c->tls->ssl, &at, &len);
    return (str){(const char *)at, len};
}

void conn_tls_notify(conn *c)
{
    if (c->tls->notified || c->broken)
        return;
    c->tls->notified = true;
    ERR_clear_error();
    (void)SSL_shutdown(c->tls->ssl);
    ERR_clear_error();
    conn_tls_flush(c);
}

void conn_tls_close(conn *c)
{
    conn_tls *t = c->tls;
    if (t == NULL)
        return;
    c->tls = NULL;
    // Without this OpenSSL would forget the session of whoever closed without notice.
    SSL_set_shutdown(t->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(t->ssl);
    tls_context_close(t->context);
    free(t->peer_memory);
    free(t->stash);
    free(t);
}
