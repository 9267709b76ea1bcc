// A node's key and certificates on disk, checked when they are read and before they are written.
//
// The happy path is: the key is made, a request goes to the authority, ca.pem is written, then
// node.pem by one rename. What can fail: a crash between (the key stays, the request is made
// again), files of another node or universe put here (refused by name).
#include "mesh/keyring.h"

#include "base/file.h"
#include "base/str.h"
#include "mesh/identity_x509_inner.h"

#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { SERIAL_HEX_MAX = 64, MEMORY_BYTES = 4 * IDENTITY_PEM_BYTES_MAX };

// What is known of a certificate that belongs here.
typedef struct leaf {
    char *pem, *authority_pem, *protocols;
    char universe_id[SHA256_HEX + 1], serial[SERIAL_HEX_MAX + 1];
    uint64_t not_before_ms, not_after_ms;
} leaf;

struct keyring {
    char *folder, *universe, *node, *protocols; // protocols NULL: any
    char *universe_id;                          // empty: any
    EVP_PKEY *key;
    char *key_pem;
    leaf leaf; // pem NULL: none yet
};

static void leaf_clear(leaf *l)
{
    free(l->pem);
    free(l->authority_pem);
    free(l->protocols);
    *l = (leaf){0};
}

static void request_drop(X509_REQ **r)
{
    X509_REQ_free(*r);
}
static void store_drop(X509_STORE **s)
{
    X509_STORE_free(*s);
}
static void context_drop(X509_STORE_CTX **c)
{
    X509_STORE_CTX_free(*c);
}

static char *text_copy(str s)
{
    return strndup(s.len > 0 ? s.at : "", s.len);
}

// ---- a certificate and its authority

// Whether `certificate` comes from `ca`, for both uses. Its times are checked by leaf_is_valid().
static err chain_check(X509 *ca, X509 *certificate)
{
    static const int purposes[] = {X509_PURPOSE_SSL_CLIENT, X509_PURPOSE_SSL_SERVER};
    for (size_t i = 0; i < COUNT(purposes); i++) {
        OWNED(store_drop) X509_STORE *roots = X509_STORE_new();
        OWNED(context_drop) X509_STORE_CTX *ctx = X509_STORE_CTX_new();
        if (roots == NULL || ctx == NULL || X509_STORE_add_cert(roots, ca) != 1 ||
            X509_STORE_CTX_init(ctx, roots, certificate, NULL) != 1 ||
            X509_STORE_CTX_set_purpose(ctx, purposes[i]) != 1)
            return fail(ERR_MEMORY, 0, "check certificate");
        X509_STORE_CTX_set_flags(ctx, X509_V_FLAG_X509_STRICT | X509_V_FLAG_NO_CHECK_TIME);
        if (X509_verify_cert(ctx) != 1 || X509_check_ca(certificate) != 0)
            return fail(ERR_DENIED, X509_STORE_CTX_get_error(ctx),
                        "the certificate is not of this universe's authority: "
                        "have the node invited again");
    }
    return ok();
}

static err name_check(const keyring *k, arena *a, X509 *certificate, leaf *l)
{
    str uri;
    identity i;
    TRY(identity_certificate_uri(a, certificate, &uri));
    TRY(identity_read(uri, &i));
    if (!str_is(i.universe, str_of(k->universe)))
        return fail(ERR_CONFLICT, 0, "the certificate is another universe's");
    if (!str_is(i.node, str_of(k->node)))
        return fail(ERR_CONFLICT, 0, "the certificate is another node's");
    if (k->protocols != NULL && !str_is(i.protocols, str_of(k->protocols)))
        return fail(ERR_CONFLICT, 0,
                    "the certificate is for other protocols: invite the node again");
    l->protocols = text_copy(i.protocols);
    return l->protocols != NULL ? ok() : fail(ERR_MEMORY, 0, "check certificate");
}

static err time_read(const ASN1_TIME *t, uint64_t *out)
{
    struct tm parts;
    if (ASN1_TIME_to_tm(t, &parts) != 1)
        return fail(ERR_SYNTAX, 0, "a certificate's times");
    time_t seconds = timegm(&parts);
    *out = seconds > 0 ? (uint64_t)seconds * 1000 : 0;
    return ok();
}

static err serial_read(X509 *certificate, char out[SERIAL_HEX_MAX + 1])
{
    BIGNUM *number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), NULL);
    char *hex = number != NULL ? BN_bn2hex(number) : NULL;
    bool fits = hex != NULL && strlen(hex) <= SERIAL_HEX_MAX;
    for (size_t i = 0; fits && (i == 0 || hex[i - 1] != '\0'); i++)
        out[i] = hex[i] >= 'A' && hex[i] <= 'F' ? (char)(hex[i] | 0x20) : hex[i];
    OPENSSL_free(hex);
    BN_free(number);
    return fits ? ok() : fail(ERR_SYNTAX, 0, "a certificate's serial number");
}

static err leaf_fill(const keyring *k, arena *a, X509 *ca, X509 *certificate, leaf *out)
{
    TRY(identity_authority_check(ca));
    TRY(identity_key_digest(X509_get0_pubkey(ca), out->universe_id));
    if (k->universe_id[0] != '\0' && strcmp(out->universe_id, k->universe_id) != 0)
        return fail(ERR_CONFLICT, 0, "ca.pem is another universe's authority");
    TRY(chain_check(ca, certificate));
    TRY(name_check(k, a, certificate, out));
    if (X509_check_private_key(certificate, k->key) != 1)
        return fail(ERR_CONFLICT, 0,
                    "node.pem is not for node.key: put both back, or remove both and join again");
    TRY(time_read(X509_get0_notBefore(certificate), &out->not_before_ms));
    TRY(time_read(X509_get0_notAfter(certificate), &out->not_after_ms));
    TRY(serial_read(certificate, out->serial));
    str pem;
    TRY(identity_pem_of_certificate(a, certificate, &pem));
    out->pem = text_copy(pem);
    TRY(identity_pem_of_certificate(a, ca, &pem));
    out->authority_pem = text_copy(pem);
    return out->pem != NULL && out->authority_pem != NULL ? ok()
                                                          : fail(ERR_MEMORY, 0, "certificate");
}

// Everything about the two but whether they hold now.
static err leaf_read(const keyring *k, arena *a, str certificate_pem, str authority_pem, leaf *out)
{
    OWNED(identity_certificate_drop) X509 *certificate = NULL;
    OWNED(identity_certificate_drop) X509 *ca = NULL;
    if (identity_certificate_read(&ca, authority_pem).code != OK)
        return fail(ERR_SYNTAX, 0, "ca.pem is damaged: put a copy back, or join again");
    if (identity_certificate_read(&certificate, certificate_pem).code != OK)
        return fail(ERR_SYNTAX, 0, "node.pem is damaged: remove it alone, and join again");
    leaf l = {0};
    err e = leaf_fill(k, a, ca, certificate, &l);
    ERR_clear_error();
    if (e.code != OK)
        leaf_clear(&l);
    else
        *out = l;
    return e;
}

static err leaf_is_valid(const leaf *l, uint64_t now_real_ms)
{
    if (now_real_ms < l->not_before_ms)
        return fail(ERR_DENIED, 0, "the certificate is not valid yet: set this machine's clock");
    if (now_real_ms >= l->not_after_ms)
        return fail(ERR_DENIED, 0,
                    "the certificate expired: set this machine's clock, or have the node invited "
                    "again");
    return ok();
}

// ---- files

static err file_path(const keyring *k, const char *name, char out[PATH_MAX])
{
    return snprintf(out, PATH_MAX, "%s/%s", k->folder, name) < PATH_MAX
               ? ok()
               : fail(ERR_LIMIT, 0, "path of a node's identity");
}

static err key_make(keyring *k, const char *path, arena *a)
{
    k->key = EVP_EC_gen("P-256");
    if (k->key == NULL)
        return fail(ERR_SYSTEM, 0, "make a node's key");
    str pem;
    TRY(identity_pem_of_key(a, k->key, &pem));
    k->key_pem = text_copy(pem);
    err e = k->key_pem != NULL ? file_write_durable(path, pem, 0600)
                               : fail(ERR_MEMORY, 0, "make a node's key");
    explicit_bzero((char *)pem.at, pem.len);
    return e;
}

static err key_load(keyring *k, const char *path, arena *a)
{
    str pem;
    TRY(file_read(a, path, IDENTITY_PEM_BYTES_MAX, &pem));
    err e = identity_key_read(&k->key, pem);
    k->key_pem = text_copy(pem);
    explicit_bzero((char *)pem.at, pem.len);
    if (k->key_pem == NULL)
        return fail(ERR_MEMORY, 0, "read a node's key");
    return e.code == OK ? ok()
                        : fail(ERR_SYNTAX, 0,
                               "node.key is damaged: put a copy back, or remove it with node.pem "
                               "and join again");
}

static err key_open(keyring *k, arena *a, bool certificate)
{
    char path[PATH_MAX];
    struct stat info;
    TRY(file_path(k, "node.key", path));
    if (lstat(path, &info) != 0) {
        if (errno != ENOENT)
            return fail_errno(errno, "read a node's key");
        if (certificate)
            return fail(ERR_SYNTAX, 0,
                        "node.key is missing: put a copy back, or remove node.pem and join again");
        return key_make(k, path, a);
    }
    if (!S_ISREG(info.st_mode))
        return fail(ERR_DENIED, 0, "node.key is no file of its own");
    if ((info.st_mode & 077) != 0)
        return fail(ERR_DENIED, 0, "node.key may be read by others: run chmod 600 on it");
    if (info.st_uid != geteuid() && geteuid() != 0)
        return fail(ERR_DENIED, 0, "node.key belongs to another user: run chown on it");
    return key_load(k, path, a);
}

static err keyring_read(keyring *k, arena *a)
{
    char certificate[PATH_MAX], ca_path[PATH_MAX];
    TRY(file_make_folders(k->folder, 0700));
    TRY(file_path(k, "node.pem", certificate));
    TRY(file_path(k, "ca.pem", ca_path));
    bool there = file_exists(certificate);
    TRY(key_open(k, a, there));
    if (!there)
        return ok();
    str pem, ca;
    err e = file_read(a, ca_path, IDENTITY_PEM_BYTES_MAX, &ca);
    if (e.code == ERR_ABSENT)
        return fail(ERR_SYNTAX, 0, "ca.pem is missing: put a copy back, or join again");
    TRY(e);
    TRY(file_read(a, certificate, IDENTITY_PEM_BYTES_MAX, &pem));
    return leaf_read(k, a, pem, ca, &k->leaf);
}

static bool keyring_set(keyring *k, const keyring_settings *s)
{
    k->folder = strdup(s->folder);
    k->universe = text_copy(s->universe);
    k->node = text_copy(s->node);
    k->universe_id = text_copy(s->universe_id);
    bool any = s->protocols.at == NULL;
    if (!any)
        k->protocols = text_copy(s->protocols.len == 0 ? STR("-") : s->protocols);
    return k->folder != NULL && k->universe != NULL && k->node != NULL && k->universe_id != NULL &&
           (any || k->protocols != NULL);
}

err keyring_open(keyring **out, const keyring_settings *settings)
{
    OWNED(arena_drop) arena *a = NULL;
    TRY(arena_open(&a, MEMORY_BYTES));
    keyring *k = calloc(1, sizeof *k);
    if (k == NULL)
        return fail(ERR_MEMORY, 0, "a node's identity");
    err e = keyring_set(k, settings) ? keyring_read(k, a) : fail(ERR_MEMORY, 0, "node's identity");
    if (e.code != OK) {
        keyring_close(k);
        return e;
    }
    *out = k;
    return ok();
}

err keyring_load(keyring **out, const keyring_settings *settings, uint64_t now_real_ms)
{
    keyring *k;
    TRY(keyring_open(&k, settings));
    err e = k->leaf.pem != NULL
                ? leaf_is_valid(&k->leaf, now_real_ms)
                : fail(ERR_ABSENT, 0, "this node has no certificate yet: join a universe first");
    if (e.code != OK) {
        keyring_close(k);
        return e;
    }
    *out = k;
    return ok();
}

void keyring_close(keyring *k)
{
    if (k == NULL)
        return;
    leaf_clear(&k->leaf);
    EVP_PKEY_free(k->key);
    if (k->key_pem != NULL)
        explicit_bzero(k->key_pem, strlen(k->key_pem));
    free(k->key_pem);
    free(k->folder);
    free(k->universe);
    free(k->node);
    free(k->protocols);
    free(k->universe_id);
    free(k);
}

err keyring_request(const keyring *k, arena *a, str *request_pem)
{
    OWNED(request_drop) X509_REQ *r = X509_REQ_new();
    OWNED(identity_bio_drop) BIO *memory = BIO_new(BIO_s_mem());
    str common = str_first(str_of(k->node), IDENTITY_NAME_BYTES);
    if (r == NULL || memory == NULL || X509_REQ_set_version(r, X509_REQ_VERSION_1) != 1 ||
        X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(r), "CN", MBSTRING_UTF8,
                                   (const unsigned char *)common.at, (int)common.len, -1, 0) != 1 ||
        X509_REQ_set_pubkey(r, k->key) != 1 || X509_REQ_sign(r, k->key, EVP_sha256()) == 0 ||
        PEM_write_bio_X509_REQ(memory, r) != 1)
        return fail(ERR_SYSTEM, 0, "request for a certificate");
    char *at = NULL;
    long len = BIO_get_mem_data(memory, &at);
    str made = str_copy(a, (str){at, (size_t)len});
    if (made.at == NULL)
        return fail(ERR_MEMORY, 0, "request for a certificate");
    *request_pem = made;
    return ok();
}

// ca.pem first: node.pem never stands without it.
static err leaf_write(const keyring *k, arena *a, const leaf *l)
{
    char path[PATH_MAX];
    str there;
    TRY(file_path(k, "ca.pem", path));
    err e = file_read(a, path, IDENTITY_PEM_BYTES_MAX, &there);
    if (e.code != OK || !str_is(there, str_of(l->authority_pem)))
        TRY(file_write_durable(path, str_of(l->authority_pem), 0644));
    TRY(file_path(k, "node.pem", path));
    return file_write_durable(path, str_of(l->pem), 0644);
}

err keyring_accept(keyring *k, str certificate_pem, str authority_pem, uint64_t now_real_ms)
{
    OWNED(arena_drop) arena *a = NULL;
    TRY(arena_open(&a, MEMORY_BYTES));
    if (authority_pem.len == 0)
        authority_pem = keyring_authority(k);
    if (authority_pem.len == 0)
        return fail(ERR_SYNTAX, 0, "a certificate came without its authority");
    leaf l = {0};
    TRY(leaf_read(k, a, certificate_pem, authority_pem, &l));
    err e = leaf_is_valid(&l, now_real_ms);
    // The key of the authority is what it is; its certificate may be made again.
    if (e.code == OK && k->leaf.pem != NULL && strcmp(k->leaf.universe_id, l.universe_id) != 0)
        e = fail(ERR_CONFLICT, 0, "another authority than the one this node has joined");
    if (e.code == OK)
        e = leaf_write(k, a, &l);
    if (e.code != OK) {
        leaf_clear(&l);
        return e;
    }
    leaf_clear(&k->leaf);
    k->leaf = l;
    return ok();
}

str keyring_certificate(const keyring *k)
{
    return str_of(k->leaf.pem);
}
str keyring_authority(const keyring *k)
{
    return str_of(k->leaf.authority_pem);
}
str keyring_key(const keyring *k)
{
    return str_of(k->key_pem);
}
str keyring_universe_id(const keyring *k)
{
    return str_of(k->leaf.universe_id);
}
str keyring_protocols(const keyring *k)
{
    return str_of(k->leaf.protocols);
}
str keyring_serial(const keyring *k)
{
    return str_of(k->leaf.serial);
}

uint64_t keyring_renew_at_real_ms(const keyring *k)
{
    const leaf *l = &k->leaf;
    return l->not_before_ms + (l->not_after_ms - l->not_before_ms) / 2;
}

uint64_t keyring_not_after_real_ms(const keyring *k)
{
    return k->leaf.not_after_ms;
}
