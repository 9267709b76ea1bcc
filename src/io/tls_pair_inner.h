// Certificates for the tests of TLS, made on the spot.
#pragma once
#include "base/test.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <stdlib.h>
#include <string.h>

struct pair { // a certificate with its key
    X509 *x;
    EVP_PKEY *key;
    str x_pem, key_pem;
};

static inline str pem_take(BIO *b)
{
    char *at = NULL;
    long len = BIO_get_mem_data(b, &at);
    char *copy = malloc((size_t)len + 1);
    CHECK(copy != NULL && len > 0);
    memcpy(copy, at, (size_t)len);
    BIO_free(b);
    return (str){copy, (size_t)len};
}

static inline void extension_add(X509 *x, const X509 *issuer, int kind, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, (X509 *)issuer, x, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, kind, value);
    CHECK(e != NULL && X509_add_ext(x, e, -1) == 1);
    X509_EXTENSION_free(e);
}

// Valid from yesterday until `seconds` from now; signed by `ca`, or by itself when that is NULL.
static inline struct pair
pair_make(const struct pair *ca, long serial, const char *names, long seconds)
{
    struct pair p = {.key = EVP_EC_gen("P-256"), .x = X509_new()};
    CHECK(p.key != NULL && p.x != NULL);
    X509_set_version(p.x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(p.x), serial);
    X509_gmtime_adj(X509_getm_notBefore(p.x), -86400);
    X509_gmtime_adj(X509_getm_notAfter(p.x), seconds);
    X509_set_pubkey(p.x, p.key);
    X509_NAME *name = X509_get_subject_name(p.x);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                               (const unsigned char *)(ca == NULL ? "test ca" : "node"), -1, -1, 0);
    const struct pair *issuer = ca != NULL ? ca : &p;
    X509_set_issuer_name(p.x, X509_get_subject_name(issuer->x));
    extension_add(p.x, issuer->x, NID_basic_constraints,
                  ca == NULL ? "critical,CA:TRUE" : "critical,CA:FALSE");
    if (names != NULL)
        extension_add(p.x, issuer->x, NID_subject_alt_name, names);
    CHECK(X509_sign(p.x, issuer->key, EVP_sha256()) > 0);
    BIO *b = BIO_new(BIO_s_mem());
    CHECK(PEM_write_bio_X509(b, p.x) == 1);
    p.x_pem = pem_take(b);
    b = BIO_new(BIO_s_mem());
    CHECK(PEM_write_bio_PrivateKey(b, p.key, NULL, NULL, 0, NULL, NULL) == 1);
    p.key_pem = pem_take(b);
    return p;
}

static inline void pair_drop(struct pair *p)
{
    X509_free(p->x);
    EVP_PKEY_free(p->key);
    free((char *)p->x_pem.at);
    free((char *)p->key_pem.at);
}
