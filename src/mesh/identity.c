// The certificate authority of a universe: made once, then read, signs its nodes' certificates.
#include "mesh/identity.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/str.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
    CA_DAYS = 3653,
    DAY_SECONDS = 86400,
    EARLIER_SECONDS = 60, // clocks of machines differ
    SERIAL_BYTES = 16,
    NAME_MAX_BYTES = 64, // RFC 5280 ub-common-name
    PEM_BYTES_MAX = 64 << 10,
};

struct authority {
    EVP_PKEY *key;
    X509 *certificate;
    char *universe, *pem;
    char id[SHA256_HEX + 1];
};

static void key_drop(EVP_PKEY **k)
{
    EVP_PKEY_free(*k);
}
static void certificate_drop(X509 **c)
{
    X509_free(*c);
}
static void bio_drop(BIO **b)
{
    (void)BIO_free(*b);
}
static void names_drop(GENERAL_NAMES **n)
{
    GENERAL_NAMES_free(*n);
}

static err pem_of_certificate(arena *a, X509 *c, str *out)
{
    OWNED(bio_drop) BIO *memory = BIO_new(BIO_s_mem());
    char *at = NULL;
    if (memory == NULL || PEM_write_bio_X509(memory, c) != 1)
        return fail(ERR_MEMORY, 0, "write certificate");
    long len = BIO_get_mem_data(memory, &at);
    *out = str_copy(a, (str){at, (size_t)len});
    return out->at != NULL ? ok() : fail(ERR_MEMORY, 0, "write certificate");
}

static err pem_of_key(arena *a, EVP_PKEY *k, str *out)
{
    OWNED(bio_drop) BIO *memory = BIO_new(BIO_s_secmem());
    char *at = NULL;
    if (memory == NULL || PEM_write_bio_PKCS8PrivateKey(memory, k, NULL, NULL, 0, NULL, NULL) != 1)
        return fail(ERR_MEMORY, 0, "write key");
    long len = BIO_get_mem_data(memory, &at);
    *out = str_copy(a, (str){at, (size_t)len});
    return out->at != NULL ? ok() : fail(ERR_MEMORY, 0, "write key");
}

static bool extension_add(X509 *c, X509 *issuer, int nid, const char *value)
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

// All that CA and nodes have in common; NULL without memory.
static X509 *certificate_new(EVP_PKEY *key, str name, unsigned days)
{
    X509 *c = X509_new();
    if (c == NULL)
        return NULL;
    X509_NAME *subject = X509_get_subject_name(c);
    str common = str_first(name, NAME_MAX_BYTES);
    bool good =
        X509_set_version(c, X509_VERSION_3) == 1 && serial_set(c) &&
        X509_gmtime_adj(X509_getm_notBefore(c), -EARLIER_SECONDS) != NULL &&
        X509_gmtime_adj(X509_getm_notAfter(c), (long)days * DAY_SECONDS) != NULL &&
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

static err authority_make_certificate(authority *c, str universe)
{
    X509 *made = certificate_new(c->key, universe, CA_DAYS);
    c->certificate = made;
    if (made == NULL || X509_set_issuer_name(made, X509_get_subject_name(made)) != 1 ||
        !extension_add(made, made, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") ||
        !extension_add(made, made, NID_key_usage, "critical,keyCertSign,cRLSign") ||
        !extension_add(made, made, NID_subject_key_identifier, "hash") ||
        X509_sign(made, c->key, EVP_sha256()) == 0)
        return fail(ERR_SYSTEM, 0, "make the universe's certificate");
    return ok();
}

// The key is durable before the certificate: a crash in between leaves a key, from which the same
// identity is made again.
static err authority_make(authority *c, arena *a, const char *folder, str universe)
{
    char path[PATH_MAX];
    str pem;
    if (c->key == NULL) {
        c->key = EVP_EC_gen("P-256");
        if (c->key == NULL)
            return fail(ERR_SYSTEM, 0, "make the universe's key");
        TRY(pem_of_key(a, c->key, &pem));
        (void)snprintf(path, sizeof path, "%s/ca.key", folder);
        err e = file_write_durable(path, pem, 0600);
        explicit_bzero((char *)pem.at, pem.len);
        TRY(e);
    }
    TRY(authority_make_certificate(c, universe));
    TRY(pem_of_certificate(a, c->certificate, &pem));
    (void)snprintf(path, sizeof path, "%s/ca.pem", folder);
    return file_write_durable(path, pem, 0644);
}

static err authority_read_key(authority *c, arena *a, const char *folder)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/ca.key", folder);
    struct stat info;
    if (stat(path, &info) == 0 && (info.st_mode & 077) != 0)
        return fail(ERR_DENIED, 0, "ca.key may be read by others: run chmod 600 on it");
    str text;
    TRY(file_read(a, path, PEM_BYTES_MAX, &text));
    OWNED(bio_drop) BIO *memory = BIO_new_mem_buf(text.at, (int)text.len);
    // An empty passphrase, so that nobody is asked for one.
    c->key = memory != NULL ? PEM_read_bio_PrivateKey(memory, NULL, NULL, (void *)"") : NULL;
    explicit_bzero((char *)text.at, text.len);
    if (c->key == NULL || !EVP_PKEY_is_a(c->key, "EC"))
        return fail(ERR_SYNTAX, 0,
                    "ca.key is damaged: put a copy back, or start the universe with --clean");
    return ok();
}

static err authority_read_certificate(authority *c, arena *a, const char *folder, str universe)
{
    char path[PATH_MAX], name[NAME_MAX_BYTES + 1] = "";
    (void)snprintf(path, sizeof path, "%s/ca.pem", folder);
    str text;
    TRY(file_read(a, path, PEM_BYTES_MAX, &text));
    OWNED(bio_drop) BIO *memory = BIO_new_mem_buf(text.at, (int)text.len);
    c->certificate = memory != NULL ? PEM_read_bio_X509(memory, NULL, NULL, (void *)"") : NULL;
    if (c->certificate == NULL)
        return fail(ERR_SYNTAX, 0,
                    "ca.pem is damaged: remove it alone, it is made again from ca.key");
    if (X509_check_private_key(c->certificate, c->key) != 1 ||
        X509_verify(c->certificate, c->key) != 1)
        return fail(ERR_SYNTAX, 0,
                    "ca.pem and ca.key are not of one universe: put the right copies back");
    (void)X509_NAME_get_text_by_NID(X509_get_subject_name(c->certificate), NID_commonName, name,
                                    sizeof name);
    if (!str_is(str_of(name), str_first(universe, NAME_MAX_BYTES)))
        return fail(ERR_SYNTAX, 0, "ca.pem is another universe's: put the right copies back");
    return ok();
}

static err authority_load(authority *c, arena *a, const char *folder, str universe)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/ca.pem", folder) >= (int)sizeof path)
        return fail(ERR_LIMIT, 0, "path of the authority");
    TRY(file_make_folders(folder, 0700));
    bool certificate = file_exists(path);
    err e = authority_read_key(c, a, folder);
    if (e.code == ERR_ABSENT && certificate)
        return fail(ERR_SYNTAX, 0,
                    "ca.key is missing: put a copy back, or start the universe with --clean");
    if (e.code != OK && e.code != ERR_ABSENT)
        return e;
    if (certificate)
        return authority_read_certificate(c, a, folder, universe);
    return authority_make(c, a, folder, universe);
}

static err authority_finish(authority *c, arena *a, str universe)
{
    str pem;
    TRY(pem_of_certificate(a, c->certificate, &pem));
    c->pem = strndup(pem.at, pem.len);
    c->universe = strndup(universe.at, universe.len);
    unsigned char *der = NULL;
    int len = i2d_PUBKEY(c->key, &der);
    if (c->pem == NULL || c->universe == NULL || len <= 0)
        return fail(ERR_MEMORY, 0, "authority");
    sha256_hex(sha256_of((str){(const char *)der, (size_t)len}), c->id);
    OPENSSL_free(der);
    return ok();
}

err authority_open(authority **out, const char *folder, str universe)
{
    identity check;
    char uri[256];
    // The name stands in every node's URI: it must be readable there.
    if (snprintf(uri, sizeof uri, "ctau://%.*s/x/-", STR_ARG(universe)) >= (int)sizeof uri)
        return fail(ERR_LIMIT, 0, "universe's name");
    TRY(identity_read(str_of(uri), &check));
    OWNED(arena_drop) arena *a = NULL;
    TRY(arena_open(&a, (size_t)4 * PEM_BYTES_MAX));
    authority *c = calloc(1, sizeof *c);
    if (c == NULL)
        return fail(ERR_MEMORY, 0, "authority");
    err e = authority_load(c, a, folder, universe);
    if (e.code == OK)
        e = authority_finish(c, a, universe);
    if (e.code != OK) {
        authority_close(c);
        return e;
    }
    *out = c;
    return ok();
}

void authority_close(authority *c)
{
    if (c == NULL)
        return;
    EVP_PKEY_free(c->key);
    X509_free(c->certificate);
    free(c->universe);
    free(c->pem);
    free(c);
}

str authority_certificate(const authority *c)
{
    return str_of(c->pem);
}

str authority_universe_id(const authority *c)
{
    return str_of(c->id);
}

static bool uri_add(X509 *c, const char *uri)
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

// NOLINTNEXTLINE(readability-function-size): identity.h's contract
err authority_issue(authority *c,
                    arena *a,
                    str node,
                    str protocols,
                    unsigned days,
                    str *certificate_pem,
                    str *key_pem)
{
    if (protocols.len == 0)
        protocols = STR("-");
    const char *uri =
        str_format(a, "ctau://%s/%.*s/%.*s", c->universe, STR_ARG(node), STR_ARG(protocols)).at;
    identity check;
    if (uri == NULL)
        return fail(ERR_MEMORY, 0, "issue certificate");
    TRY(identity_read(str_of(uri), &check));
    if (!str_is(check.node, node) || !str_is(check.protocols, protocols))
        return fail(ERR_SYNTAX, 0, "node's name or protocols");
    OWNED(key_drop) EVP_PKEY *key = EVP_EC_gen("P-256");
    OWNED(certificate_drop) X509 *made = key != NULL ? certificate_new(key, node, days) : NULL;
    if (made == NULL || X509_set_issuer_name(made, X509_get_subject_name(c->certificate)) != 1 ||
        !extension_add(made, c->certificate, NID_basic_constraints, "critical,CA:FALSE") ||
        !extension_add(made, c->certificate, NID_key_usage, "critical,digitalSignature") ||
        !extension_add(made, c->certificate, NID_ext_key_usage, "serverAuth,clientAuth") ||
        !extension_add(made, c->certificate, NID_subject_key_identifier, "hash") ||
        !extension_add(made, c->certificate, NID_authority_key_identifier, "keyid:always") ||
        !uri_add(made, uri) || X509_sign(made, c->key, EVP_sha256()) == 0)
        return fail(ERR_SYSTEM, 0, "issue certificate");
    str certificate, secret;
    TRY(pem_of_certificate(a, made, &certificate));
    TRY(pem_of_key(a, key, &secret));
    *certificate_pem = certificate;
    *key_pem = secret;
    return ok();
}
