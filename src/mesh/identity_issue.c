// The authority issues certificates: with a key of its making, or for a key that its node keeps.
#include "base/str.h"
#include "mesh/identity_x509_inner.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include <string.h>

enum {
    REQUEST_BYTES_MAX = 4 << 10, // a P-256 request is some 400 bytes
    LIFE_SECONDS_MAX = 3653 * IDENTITY_DAY_SECONDS,
};

static void request_drop(X509_REQ **r)
{
    X509_REQ_free(*r);
}

// The name of what is asked for, or why there can be none of it.
static err grant_uri(const authority *c, arena *a, const authority_grant *g, const char **out)
{
    str protocols = g->protocols.len == 0 ? STR("-") : g->protocols;
    const char *uri =
        str_format(a, "ctau://%s/%.*s/%.*s", c->universe, STR_ARG(g->node), STR_ARG(protocols)).at;
    identity check;
    if (uri == NULL)
        return fail(ERR_MEMORY, 0, "issue certificate");
    if (g->seconds > LIFE_SECONDS_MAX)
        return fail(ERR_LIMIT, 0, "a certificate's life");
    TRY(identity_read(str_of(uri), &check));
    if (!str_is(check.node, g->node) || !str_is(check.protocols, protocols))
        return fail(ERR_SYNTAX, 0, "node's name or protocols");
    if (identity_has(&check, STR("elder")) && !identity_is_elder(&check))
        return fail(ERR_DENIED, 0, "an elder has no other protocols");
    *out = uri;
    return ok();
}

static err
grant_issue(authority *c, arena *a, const authority_grant *g, EVP_PKEY *key, str *certificate_pem)
{
    const char *uri;
    TRY(grant_uri(c, a, g, &uri));
    OWNED(identity_certificate_drop)
    X509 *made = identity_certificate_new(key, g->node, g->seconds);
    if (made == NULL || X509_set_issuer_name(made, X509_get_subject_name(c->certificate)) != 1 ||
        !identity_extension_add(made, c->certificate, NID_basic_constraints, "critical,CA:FALSE") ||
        !identity_extension_add(made, c->certificate, NID_key_usage, "critical,digitalSignature") ||
        !identity_extension_add(made, c->certificate, NID_ext_key_usage, "serverAuth,clientAuth") ||
        !identity_extension_add(made, c->certificate, NID_subject_key_identifier, "hash") ||
        !identity_extension_add(made, c->certificate, NID_authority_key_identifier,
                                "keyid:always") ||
        !identity_uri_add(made, uri) || X509_sign(made, c->key, EVP_sha256()) == 0)
        return fail(ERR_SYSTEM, 0, "issue certificate");
    return identity_pem_of_certificate(a, made, certificate_pem);
}

err authority_issue_for(
    authority *c, arena *a, const authority_grant *g, str *certificate_pem, str *key_pem)
{
    OWNED(identity_key_drop) EVP_PKEY *key = EVP_EC_gen("P-256");
    if (key == NULL)
        return fail(ERR_SYSTEM, 0, "issue certificate");
    str certificate, secret;
    TRY(grant_issue(c, a, g, key, &certificate));
    TRY(identity_pem_of_key(a, key, &secret));
    *certificate_pem = certificate;
    *key_pem = secret;
    return ok();
}

// NOLINTNEXTLINE(readability-function-size): identity.h's contract
err authority_issue(authority *c,
                    arena *a,
                    str node,
                    str protocols,
                    unsigned days,
                    str *certificate_pem,
                    str *key_pem)
{
    authority_grant g = {node, protocols, (uint64_t)days * IDENTITY_DAY_SECONDS};
    return authority_issue_for(c, a, &g, certificate_pem, key_pem);
}

static err request_read(X509_REQ **out, str pem)
{
    if (pem.len > REQUEST_BYTES_MAX)
        return fail(ERR_LIMIT, 0, "request for a certificate");
    OWNED(identity_bio_drop) BIO *memory = BIO_new_mem_buf(pem.at, (int)pem.len);
    OWNED(request_drop)
    X509_REQ *r = memory != NULL ? PEM_read_bio_X509_REQ(memory, NULL, NULL, (void *)"") : NULL;
    EVP_PKEY *key = r != NULL ? X509_REQ_get0_pubkey(r) : NULL;
    if (r == NULL || key == NULL) {
        ERR_clear_error();
        return fail(ERR_SYNTAX, 0, "malformed request for a certificate");
    }
    if (!identity_key_is_p256(key))
        return fail(ERR_UNSUPPORTED, 0, "a node's key is of P-256");
    // Who asks has the key: nobody gets a certificate for another's.
    bool proven = X509_REQ_verify(r, key) == 1;
    ERR_clear_error();
    if (!proven)
        return fail(ERR_DENIED, 0, "the request for a certificate is not signed by its key");
    *out = r;
    r = NULL;
    return ok();
}

err authority_sign(
    authority *c, arena *a, str request_pem, const authority_grant *g, str *certificate_pem)
{
    OWNED(request_drop) X509_REQ *r = NULL;
    TRY(request_read(&r, request_pem));
    EVP_PKEY *key = X509_REQ_get0_pubkey(r);
    // The names and extensions that it asks for are nobody's business.
    return grant_issue(c, a, g, key, certificate_pem);
}
