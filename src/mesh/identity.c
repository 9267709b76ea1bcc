// The certificate authority of a universe: made once, then read.
#include "base/file.h"
#include "base/hash.h"
#include "base/str.h"
#include "mesh/identity_x509_inner.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { CA_DAYS = 3653 };

static err authority_make_certificate(authority *c, str universe)
{
    X509 *made =
        identity_certificate_new(c->key, universe, (uint64_t)CA_DAYS * IDENTITY_DAY_SECONDS);
    c->certificate = made;
    if (made == NULL || X509_set_issuer_name(made, X509_get_subject_name(made)) != 1 ||
        !identity_extension_add(made, made, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") ||
        !identity_extension_add(made, made, NID_key_usage, "critical,keyCertSign,cRLSign") ||
        !identity_extension_add(made, made, NID_subject_key_identifier, "hash") ||
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
        TRY(identity_pem_of_key(a, c->key, &pem));
        (void)snprintf(path, sizeof path, "%s/ca.key", folder);
        err e = file_write_durable(path, pem, 0600);
        explicit_bzero((char *)pem.at, pem.len);
        TRY(e);
    }
    TRY(authority_make_certificate(c, universe));
    TRY(identity_pem_of_certificate(a, c->certificate, &pem));
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
    TRY(file_read(a, path, IDENTITY_PEM_BYTES_MAX, &text));
    err e = identity_key_read(&c->key, text);
    explicit_bzero((char *)text.at, text.len);
    if (e.code != OK)
        return fail(ERR_SYNTAX, 0,
                    "ca.key is damaged: put a copy back, or start the universe with --clean");
    return ok();
}

static err authority_read_certificate(authority *c, arena *a, const char *folder, str universe)
{
    char path[PATH_MAX], name[IDENTITY_NAME_BYTES + 1] = "";
    (void)snprintf(path, sizeof path, "%s/ca.pem", folder);
    str text;
    TRY(file_read(a, path, IDENTITY_PEM_BYTES_MAX, &text));
    if (identity_certificate_read(&c->certificate, text).code != OK)
        return fail(ERR_SYNTAX, 0,
                    "ca.pem is damaged: remove it alone, it is made again from ca.key");
    if (X509_check_private_key(c->certificate, c->key) != 1 ||
        X509_verify(c->certificate, c->key) != 1)
        return fail(ERR_SYNTAX, 0,
                    "ca.pem and ca.key are not of one universe: put the right copies back");
    (void)X509_NAME_get_text_by_NID(X509_get_subject_name(c->certificate), NID_commonName, name,
                                    sizeof name);
    if (!str_is(str_of(name), str_first(universe, IDENTITY_NAME_BYTES)))
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
    TRY(identity_pem_of_certificate(a, c->certificate, &pem));
    c->pem = strndup(pem.at, pem.len);
    c->universe = strndup(universe.at, universe.len);
    if (c->pem == NULL || c->universe == NULL)
        return fail(ERR_MEMORY, 0, "authority");
    return identity_key_digest(c->key, c->id);
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
    TRY(arena_open(&a, (size_t)4 * IDENTITY_PEM_BYTES_MAX));
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
