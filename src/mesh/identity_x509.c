// Makes and reads the parts of certificates: PEM, keys, extensions, the name of a node.
#include "base/clock.h"
#include "base/str.h"
#include "mesh/identity_x509_inner.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include <string.h>

enum {
    EARLIER_SECONDS = 60, // clocks of machines differ
    SERIAL_BYTES = 16,
};

void identity_key_drop(EVP_PKEY **k)
{
    EVP_PKEY_free(*k);
}
void identity_certificate_drop(X509 **c)
{
    X509_free(*c);
}
void identity_bio_drop(BIO **b)
{
    (void)BIO_free(*b);
}
static void names_drop(GENERAL_NAMES **n)
{
    GENERAL_NAMES_free(*n);
}

err identity_pem_of_certificate(arena *a, X509 *c, str *out)
{
    OWNED(identity_bio_drop) BIO *memory = BIO_new(BIO_s_mem());
    char *at = NULL;
    if (memory == NULL || PEM_write_bio_X509(memory, c) != 1)
        return fail(ERR_MEMORY, 0, "write certificate");
    long len = BIO_get_mem_data(memory, &at);
    *out = str_copy(a, (str){at, (size_t)len});
    return out->at != NULL ? ok() : fail(ERR_MEMORY, 0, "write certificate");
}

err identity_pem_of_key(arena *a, EVP_PKEY *k, str *out)
{
    OWNED(identity_bio_drop) BIO *memory = BIO_new(BIO_s_secmem());
    char *at = NULL;
    if (memory == NULL || PEM_write_bio_PKCS8PrivateKey(memory, k, NULL, NULL, 0, NULL, NULL) != 1)
        return fail(ERR_MEMORY, 0, "write key");
    long len = BIO_get_mem_data(memory, &at);
    *out = str_copy(a, (str){at, (size_t)len});
    return out->at != NULL ? ok() : fail(ERR_MEMORY, 0, "write key");
}

bool identity_extension_add(X509 *c, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, c, NULL, NULL, 0);
    X509_EXTENSION *x = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    bool added = x != NULL && X509_add_ext(c, x, -1) == 1;
    X509_EXTENSION_free(x);
    return added;
}

static bool serial_set(X509 *c)
{
    unsigned char bytes[SERIAL_BYTES];
    random_bytes(bytes, sizeof bytes);
    bytes[0] = (bytes[0] & 0x7f) | 0x40; // positive, and always 16 bytes long
    BIGNUM *number = BN_bin2bn(bytes, sizeof bytes, NULL);
    bool set = number != NULL && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(c)) != NULL;
    BN_free(number);
    return set;
}

X509 *identity_certificate_new(EVP_PKEY *key, str name, uint64_t seconds)
{
    X509 *c = X509_new();
    if (c == NULL)
        return NULL;
    X509_NAME *subject = X509_get_subject_name(c);
    str common = str_first(name, IDENTITY_NAME_BYTES);
    bool good =
        X509_set_version(c, X509_VERSION_3) == 1 && serial_set(c) &&
        X509_gmtime_adj(X509_getm_notBefore(c), -EARLIER_SECONDS) != NULL &&
        X509_gmtime_adj(X509_getm_notAfter(c), (long)seconds) != NULL &&
        X509_set_pubkey(c, key) == 1 &&
        X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_ASC, (const unsigned char *)"ctau", -1,
                                   -1, 0) == 1 &&
        X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)common.at,
                                   (int)common.len, -1, 0) == 1;
    if (good)
        return c;
    X509_free(c);
    return NULL;
}

bool identity_uri_add(X509 *c, const char *uri)
{
    OWNED(names_drop) GENERAL_NAMES *names = GENERAL_NAMES_new();
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_IA5STRING *text = ASN1_IA5STRING_new();
    if (names == NULL || name == NULL || text == NULL || ASN1_STRING_set(text, uri, -1) != 1) {
        GENERAL_NAME_free(name);
        ASN1_IA5STRING_free(text);
        return false;
    }
    GENERAL_NAME_set0_value(name, GEN_URI, text);
    if (sk_GENERAL_NAME_push(names, name) == 0) {
        GENERAL_NAME_free(name);
        return false;
    }
    return X509_add1_ext_i2d(c, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT) == 1;
}

err identity_certificate_read(X509 **out, str pem)
{
    if (pem.len > IDENTITY_PEM_BYTES_MAX)
        return fail(ERR_LIMIT, 0, "certificate");
    OWNED(identity_bio_drop) BIO *memory = BIO_new_mem_buf(pem.at, (int)pem.len);
    // An empty passphrase, so that nobody is asked for one.
    X509 *c = memory != NULL ? PEM_read_bio_X509(memory, NULL, NULL, (void *)"") : NULL;
    X509 *second = c != NULL ? PEM_read_bio_X509(memory, NULL, NULL, (void *)"") : NULL;
    ERR_clear_error();
    if (c == NULL || second != NULL) {
        X509_free(c);
        X509_free(second);
        return fail(ERR_SYNTAX, 0, "certificate");
    }
    *out = c;
    return ok();
}

bool identity_key_is_p256(const EVP_PKEY *key)
{
    char group[32] = "";
    return key != NULL && EVP_PKEY_is_a(key, "EC") &&
           EVP_PKEY_get_group_name(key, group, sizeof group, NULL) == 1 &&
           strcmp(group, "prime256v1") == 0;
}

static bool key_is_whole(EVP_PKEY *key)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
    bool whole = ctx != NULL && EVP_PKEY_check(ctx) == 1;
    EVP_PKEY_CTX_free(ctx);
    return whole;
}

err identity_key_read(EVP_PKEY **out, str pem)
{
    if (pem.len > IDENTITY_PEM_BYTES_MAX)
        return fail(ERR_LIMIT, 0, "key");
    OWNED(identity_bio_drop) BIO *memory = BIO_new_mem_buf(pem.at, (int)pem.len);
    OWNED(identity_key_drop)
    EVP_PKEY *key = memory != NULL ? PEM_read_bio_PrivateKey(memory, NULL, NULL, (void *)"") : NULL;
    bool good = identity_key_is_p256(key) && key_is_whole(key);
    ERR_clear_error();
    if (!good)
        return fail(ERR_SYNTAX, 0, "key");
    *out = key;
    key = NULL;
    return ok();
}

err identity_key_digest(EVP_PKEY *key, char out[SHA256_HEX + 1])
{
    unsigned char *der = NULL;
    int len = i2d_PUBKEY(key, &der);
    if (len <= 0)
        return fail(ERR_MEMORY, 0, "public key");
    sha256_hex(sha256_of((str){(const char *)der, (size_t)len}), out);
    OPENSSL_free(der);
    return ok();
}

err identity_certificate_uri(arena *a, X509 *c, str *out)
{
    OWNED(names_drop) GENERAL_NAMES *names = X509_get_ext_d2i(c, NID_subject_alt_name, NULL, NULL);
    GENERAL_NAME *name =
        names != NULL && sk_GENERAL_NAME_num(names) == 1 ? sk_GENERAL_NAME_value(names, 0) : NULL;
    if (name == NULL || name->type != GEN_URI)
        return fail(ERR_SYNTAX, 0, "the certificate names no node");
    const ASN1_IA5STRING *uri = name->d.uniformResourceIdentifier;
    *out = str_copy(
        a, (str){(const char *)ASN1_STRING_get0_data(uri), (size_t)ASN1_STRING_length(uri)});
    return out->at != NULL ? ok() : fail(ERR_MEMORY, 0, "read certificate");
}

err identity_authority_check(X509 *ca)
{
    EVP_PKEY *key = X509_get0_pubkey(ca);
    // 1: its basic constraints say so. A node's certificate says the contrary.
    if (!identity_key_is_p256(key) || X509_check_ca(ca) != 1 || X509_verify(ca, key) != 1)
        return fail(ERR_DENIED, 0, "this is not the certificate of a universe's authority");
    return ok();
}

err authority_check(str certificate_pem, str universe_id)
{
    OWNED(identity_certificate_drop) X509 *ca = NULL;
    char id[SHA256_HEX + 1];
    TRY(identity_certificate_read(&ca, certificate_pem));
    err e = identity_authority_check(ca);
    ERR_clear_error();
    TRY(e);
    TRY(identity_key_digest(X509_get0_pubkey(ca), id));
    if (!str_is(universe_id, str_of(id)))
        return fail(ERR_DENIED, 0, "this is another universe's authority");
    return ok();
}
