// What certificates are made of and read with, for the files here that know OpenSSL.
#pragma once
#include "base/hash.h"
#include "mesh/identity.h"

#include <openssl/evp.h>
#include <openssl/x509v3.h>

enum {
    IDENTITY_DAY_SECONDS = 86400,
    IDENTITY_NAME_BYTES = 64, // RFC 5280 ub-common-name
    IDENTITY_PEM_BYTES_MAX = 64 << 10,
};

struct authority {
    EVP_PKEY *key;
    X509 *certificate;
    char *universe, *pem;
    char id[SHA256_HEX + 1];
};

// For OWNED().
void identity_key_drop(EVP_PKEY **k);
void identity_certificate_drop(X509 **c);
void identity_bio_drop(BIO **b);

err identity_pem_of_certificate(arena *a, X509 *c, str *out) MUST_USE;
err identity_pem_of_key(arena *a, EVP_PKEY *k, str *out) MUST_USE;
// Exactly one certificate; ERR_SYNTAX.
err identity_certificate_read(X509 **out, str pem) MUST_USE;
// A whole P-256 key pair, not encrypted; ERR_SYNTAX.
err identity_key_read(EVP_PKEY **out, str pem) MUST_USE;
bool identity_key_is_p256(const EVP_PKEY *key);
// Hex sha256 of the public key: a universe's id when it is its authority's.
err identity_key_digest(EVP_PKEY *key, char out[SHA256_HEX + 1]) MUST_USE;
// All that authorities and nodes have in common: serial number, times, subject, the key. NULL
// without memory.
X509 *identity_certificate_new(EVP_PKEY *key, str name, uint64_t seconds);
bool identity_extension_add(X509 *c, X509 *issuer, int nid, const char *value);
bool identity_uri_add(X509 *c, const char *uri);
// The one URI that a certificate names, copied. ERR_SYNTAX: none, or other names beside it.
err identity_certificate_uri(arena *a, X509 *c, str *out) MUST_USE;
// A universe's authority, whichever. ERR_DENIED.
err identity_authority_check(X509 *ca) MUST_USE;
