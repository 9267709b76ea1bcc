// A node's key stays at home, and only its own certificate of its own universe is taken.
#include "base/clock.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/str.h"
#include "base/test.h"
#include "mesh/identity_x509_inner.h"
#include "mesh/keyring.h"

#include <openssl/pem.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HOUR_MS = 3600 * 1000 };

typedef struct home {
    char folder[64], node[96];
    arena *memory;
    authority *ca;
    uint64_t now;
} home;

static const char *home_path(home *h, const char *name)
{
    return str_format(h->memory, "%s/%s", h->folder, name).at;
}

static authority *home_authority(home *h, const char *folder, const char *universe)
{
    authority *c;
    CHECK(authority_open(&c, home_path(h, folder), str_of(universe)).code == OK);
    return c;
}

static void home_open(home *h)
{
    (void)snprintf(h->folder, sizeof h->folder, "/tmp/keyring-test-XXXXXX");
    CHECK(mkdtemp(h->folder) != NULL && arena_open(&h->memory, 16 << 20).code == OK);
    (void)snprintf(h->node, sizeof h->node, "%s/tns/identity", h->folder);
    h->ca = home_authority(h, "ca", "blackhole");
    h->now = clock_real_ms();
}

static void home_close(home *h)
{
    authority_close(h->ca);
    arena_close(h->memory);
    CHECK(file_remove_tree(h->folder).code == OK);
}

static keyring_settings home_settings(const home *h)
{
    return (keyring_settings){.folder = h->node,
                              .universe = STR("blackhole"),
                              .node = STR("tns"),
                              .protocols = STR("tns")};
}

static keyring *home_keyring(const home *h)
{
    keyring_settings s = home_settings(h);
    keyring *k;
    CHECK(keyring_open(&k, &s).code == OK);
    return k;
}

static str
home_sign(home *h, authority *c, const keyring *k, const char *node, const char *protocols)
{
    str request, certificate;
    authority_grant g = {str_of(node), str_of(protocols), 2 * 3600};
    CHECK(keyring_request(k, h->memory, &request).code == OK);
    CHECK(authority_sign(c, h->memory, request, &g, &certificate).code == OK);
    return certificate;
}

// A node that has joined.
static keyring *home_joined(home *h)
{
    keyring *k = home_keyring(h);
    str certificate = home_sign(h, h->ca, k, "tns", "tns");
    CHECK(keyring_accept(k, certificate, authority_certificate(h->ca), h->now).code == OK);
    return k;
}

static err home_load(const home *h, uint64_t now)
{
    keyring_settings s = home_settings(h);
    keyring *k = NULL;
    err e = keyring_load(&k, &s, now);
    CHECK((e.code == OK) == (k != NULL));
    keyring_close(k);
    return e;
}

TEST(keyring_joins_renews_with_the_same_key_and_is_read_again)
{
    home h;
    home_open(&h);
    keyring *k = home_keyring(&h);
    struct stat info;
    CHECK(stat(home_path(&h, "tns/identity/node.key"), &info) == 0);
    CHECK((info.st_mode & 07777) == 0600);
    CHECK(stat(h.node, &info) == 0 && (info.st_mode & 07777) == 0700);
    CHECK(keyring_certificate(k).len == 0 && keyring_renew_at_real_ms(k) == 0 &&
          keyring_serial(k).len == 0 && keyring_key(k).len > 0);
    CHECK(home_load(&h, h.now).code == ERR_ABSENT);
    str first = home_sign(&h, h.ca, k, "tns", "tns");
    CHECK(keyring_accept(k, first, STR(""), h.now).code == ERR_SYNTAX); // whose?
    CHECK(keyring_accept(k, first, authority_certificate(h.ca), h.now).code == OK);
    CHECK(str_is(keyring_certificate(k), first) && str_is(keyring_protocols(k), STR("tns")));
    CHECK(str_is(keyring_universe_id(k), authority_universe_id(h.ca)));
    CHECK(str_is(keyring_authority(k), authority_certificate(h.ca)));
    CHECK(keyring_serial(k).len == 32);
    uint64_t half = keyring_renew_at_real_ms(k), end = keyring_not_after_real_ms(k);
    CHECK(half > h.now + HOUR_MS - 120 * 1000 && half < h.now + HOUR_MS);
    CHECK(end > h.now + 2 * HOUR_MS - 60 * 1000 && end <= h.now + 2 * HOUR_MS + 2000);
    str serial = str_copy(h.memory, keyring_serial(k)), key = str_copy(h.memory, keyring_key(k));
    str second = home_sign(&h, h.ca, k, "tns", "tns");
    CHECK(keyring_accept(k, second, STR(""), h.now).code == OK);
    CHECK(!str_is(keyring_serial(k), serial) && str_is(keyring_certificate(k), second));
    keyring_close(k);
    keyring_settings s = home_settings(&h);
    CHECK(keyring_load(&k, &s, h.now).code == OK);
    CHECK(str_is(keyring_certificate(k), second) && str_is(keyring_key(k), key));
    keyring_close(k);
    home_close(&h);
}

TEST(keyring_that_expired_or_whose_clock_is_wrong_says_what_to_do)
{
    home h;
    home_open(&h);
    keyring *k = home_joined(&h);
    uint64_t end = keyring_not_after_real_ms(k);
    CHECK(home_load(&h, end - 1).code == OK);
    CHECK(home_load(&h, end).code == ERR_DENIED);
    CHECK(home_load(&h, h.now - HOUR_MS).code == ERR_DENIED);
    // It is still there to ask for the next one, and an old one is no answer.
    str former = str_copy(h.memory, keyring_certificate(k));
    CHECK(keyring_accept(k, former, STR(""), end + 1).code == ERR_DENIED);
    CHECK(str_is(keyring_certificate(k), former));
    keyring_close(k);
    k = home_keyring(&h);
    str next = home_sign(&h, h.ca, k, "tns", "tns");
    CHECK(keyring_accept(k, next, STR(""), h.now).code == OK);
    keyring_close(k);
    home_close(&h);
}

static void home_write(home *h, const char *name, str bytes, unsigned mode)
{
    CHECK(file_write_durable(home_path(h, name), bytes, mode).code == OK);
}

TEST(keyring_with_damaged_or_missing_files_is_refused)
{
    home h;
    home_open(&h);
    keyring *k = home_joined(&h);
    str key = str_copy(h.memory, keyring_key(k)), pem = str_copy(h.memory, keyring_certificate(k));
    str ca = str_copy(h.memory, keyring_authority(k));
    keyring_close(k);
    static const char node_key[] = "tns/identity/node.key", node_pem[] = "tns/identity/node.pem",
                      ca_pem[] = "tns/identity/ca.pem";
    for (size_t cut = 0; cut < pem.len; cut += 97) {
        home_write(&h, node_pem, str_first(pem, cut), 0644);
        CHECK(home_load(&h, h.now).code == ERR_SYNTAX);
    }
    home_write(&h, node_pem, pem, 0644);
    home_write(&h, ca_pem, str_first(ca, ca.len / 2), 0644);
    CHECK(home_load(&h, h.now).code == ERR_SYNTAX);
    CHECK(unlink(home_path(&h, ca_pem)) == 0);
    CHECK(home_load(&h, h.now).code == ERR_SYNTAX);
    home_write(&h, ca_pem, ca, 0644);
    home_write(&h, node_key, str_first(key, key.len / 2), 0600);
    CHECK(home_load(&h, h.now).code == ERR_SYNTAX);
    home_write(&h, node_key, key, 0640);
    CHECK(home_load(&h, h.now).code == ERR_DENIED);
    home_write(&h, "elsewhere", key, 0600);
    CHECK(unlink(home_path(&h, node_key)) == 0);
    CHECK(symlink(home_path(&h, "elsewhere"), home_path(&h, node_key)) == 0);
    CHECK(home_load(&h, h.now).code == ERR_DENIED);
    CHECK(unlink(home_path(&h, node_key)) == 0);
    CHECK(home_load(&h, h.now).code == ERR_SYNTAX && !file_exists(home_path(&h, node_key)));
    home_write(&h, node_key, key, 0600);
    CHECK(home_load(&h, h.now).code == OK);
    home_close(&h);
}

TEST(keyring_of_another_node_universe_or_key_is_refused)
{
    home h;
    home_open(&h);
    keyring_close(home_joined(&h));
    keyring *k = NULL;
    keyring_settings s = home_settings(&h);
    s.node = STR("tns-2");
    CHECK(keyring_open(&k, &s).code == ERR_CONFLICT);
    s = home_settings(&h);
    s.universe = STR("whitehole");
    CHECK(keyring_open(&k, &s).code == ERR_CONFLICT);
    s = home_settings(&h);
    s.protocols = STR("elder");
    CHECK(keyring_open(&k, &s).code == ERR_CONFLICT);
    s.protocols = (str){0};
    CHECK(keyring_open(&k, &s).code == OK);
    keyring_close(k);
    k = NULL;
    s.universe_id = authority_universe_id(h.ca);
    CHECK(keyring_open(&k, &s).code == OK);
    keyring_close(k);
    k = NULL;
    authority *other = home_authority(&h, "other", "blackhole");
    s.universe_id = authority_universe_id(other);
    CHECK(keyring_open(&k, &s).code == ERR_CONFLICT);
    authority_close(other);
    // Another key, whole by itself.
    str pem, key;
    CHECK(authority_issue(h.ca, h.memory, STR("tns"), STR("tns"), 1, &pem, &key).code == OK);
    home_write(&h, "tns/identity/node.key", key, 0600);
    CHECK(home_load(&h, h.now).code == ERR_CONFLICT);
    home_write(&h, "tns/identity/node.pem", pem, 0644);
    CHECK(home_load(&h, h.now).code == OK);
    CHECK(k == NULL);
    home_close(&h);
}

// ---- certificates that an authority would not make

static X509 *x509_of(str pem)
{
    X509 *c = NULL;
    CHECK(identity_certificate_read(&c, pem).code == OK);
    return c;
}

// One for the node's key with this name, signed by `key` in the name of `issuer`.
static str x509_forge(home *h, const keyring *k, const char *uri, X509 *issuer, EVP_PKEY *key)
{
    EVP_PKEY *own = NULL;
    str pem;
    CHECK(identity_key_read(&own, keyring_key(k)).code == OK);
    X509 *c = identity_certificate_new(own, STR("tns"), 3600);
    X509_NAME *name = issuer != NULL ? X509_get_subject_name(issuer) : X509_get_subject_name(c);
    X509 *from = issuer != NULL ? issuer : c;
    CHECK(X509_set_issuer_name(c, name) == 1);
    CHECK(identity_extension_add(c, from, NID_basic_constraints, "critical,CA:FALSE") &&
          identity_extension_add(c, from, NID_key_usage, "critical,digitalSignature") &&
          identity_extension_add(c, from, NID_ext_key_usage, "serverAuth,clientAuth") &&
          identity_extension_add(c, from, NID_subject_key_identifier, "hash") &&
          identity_extension_add(c, from, NID_authority_key_identifier, "keyid:always") &&
          (uri == NULL || identity_uri_add(c, uri)));
    CHECK(X509_sign(c, key != NULL ? key : own, EVP_sha256()) != 0);
    CHECK(identity_pem_of_certificate(h->memory, c, &pem).code == OK);
    X509_free(c);
    EVP_PKEY_free(own);
    return pem;
}

TEST(keyring_takes_no_certificate_but_its_own_of_its_own_authority)
{
    static const char own[] = "ctau://blackhole/tns/tns";
    home h;
    home_open(&h);
    keyring *k = home_keyring(&h);
    authority *foreign = home_authority(&h, "foreign", "blackhole");
    authority *white = home_authority(&h, "white", "whitehole");
    str ca = authority_certificate(h.ca), alien = authority_certificate(foreign);
    X509 *root = x509_of(ca);
    str good = x509_forge(&h, k, own, root, h.ca->key);
    const struct {
        const char *what;
        str certificate, authority_pem;
        err_code code;
    } rows[] = {
        {"foreign authority", home_sign(&h, foreign, k, "tns", "tns"), ca, ERR_DENIED},
        {"signed under a foreign key", x509_forge(&h, k, own, root, foreign->key), ca, ERR_DENIED},
        {"self-signed", x509_forge(&h, k, own, NULL, NULL), ca, ERR_DENIED},
        {"its own authority", x509_forge(&h, k, own, NULL, NULL),
         x509_forge(&h, k, own, NULL, NULL), ERR_DENIED},
        {"another universe", home_sign(&h, white, k, "tns", "tns"), authority_certificate(white),
         ERR_CONFLICT},
        {"another universe's name", x509_forge(&h, k, "ctau://whitehole/tns/tns", root, h.ca->key),
         ca, ERR_CONFLICT},
        {"another node", home_sign(&h, h.ca, k, "seer", "tns"), ca, ERR_CONFLICT},
        {"other protocols", home_sign(&h, h.ca, k, "tns", "tns+auth"), ca, ERR_CONFLICT},
        {"an elder", home_sign(&h, h.ca, k, "tns", "elder"), ca, ERR_CONFLICT},
        {"no name", x509_forge(&h, k, NULL, root, h.ca->key), ca, ERR_SYNTAX},
        {"no node's name", x509_forge(&h, k, "https://tns", root, h.ca->key), ca, ERR_SYNTAX},
        {"the authority's own", ca, ca, ERR_DENIED},
        {"two at once", str_format(h.memory, "%s%s", good.at, good.at), ca, ERR_SYNTAX},
        {"nothing", STR(""), ca, ERR_SYNTAX},
        {"noise", STR("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), ca,
         ERR_SYNTAX},
        {"a foreign authority's word", good, alien, ERR_DENIED},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        err e = keyring_accept(k, rows[i].certificate, rows[i].authority_pem, h.now);
        if (e.code != rows[i].code)
            print_error("%s: %s, %s\n", rows[i].what, err_name(e.code), e.what);
        CHECK(e.code == rows[i].code);
        CHECK(!file_exists(home_path(&h, "tns/identity/node.pem")) &&
              keyring_certificate(k).len == 0);
    }
    CHECK(keyring_accept(k, good, ca, h.now).code == OK);
    // Joined: whoever comes later with an authority of its own is too late.
    str late = home_sign(&h, foreign, k, "tns", "tns");
    CHECK(keyring_accept(k, late, alien, h.now).code == ERR_CONFLICT);
    CHECK(keyring_accept(k, late, STR(""), h.now).code == ERR_DENIED);
    CHECK(str_is(keyring_certificate(k), good) && home_load(&h, h.now).code == OK);
    X509_free(root);
    authority_close(foreign);
    authority_close(white);
    keyring_close(k);
    home_close(&h);
}

TEST(keyring_refuses_what_a_node_signed_as_if_it_were_an_authority)
{
    home h;
    home_open(&h);
    keyring *k = home_keyring(&h);
    str pem, key;
    CHECK(authority_issue(h.ca, h.memory, STR("monkey"), STR("monkey"), 1, &pem, &key).code == OK);
    X509 *node = x509_of(pem);
    EVP_PKEY *secret = NULL;
    CHECK(identity_key_read(&secret, key).code == OK);
    str forged = x509_forge(&h, k, "ctau://blackhole/tns/tns", node, secret);
    CHECK(keyring_accept(k, forged, authority_certificate(h.ca), h.now).code == ERR_DENIED);
    CHECK(keyring_accept(k, forged, pem, h.now).code == ERR_DENIED); // the node as the authority
    EVP_PKEY_free(secret);
    X509_free(node);
    keyring_close(k);
    home_close(&h);
}

TEST(keyring_stays_whole_whichever_write_or_allocation_fails)
{
    home h;
    home_open(&h);
    for (int kind = 0; kind < 2; kind++)
        for (uint64_t after = 0; after < 40; after++) {
            CHECK(file_remove_tree(h.node).code == OK);
            keyring *k = home_joined(&h);
            str former = str_copy(h.memory, keyring_certificate(k));
            str next = home_sign(&h, h.ca, k, "tns", "tns");
            fault_now = (fault_plan){
                .what = kind == 0 ? FAULT_WRITE : FAULT_MEMORY, .after = after, .times = 1};
            err e = keyring_accept(k, next, authority_certificate(h.ca), h.now);
            bool hit = fault_now.seen > after;
            fault_now = (fault_plan){0};
            CHECK(str_is(keyring_certificate(k), e.code == OK ? next : former));
            keyring_close(k);
            CHECK(home_load(&h, h.now).code == OK);
            arena_reset(h.memory);
            if (!hit)
                break;
        }
    home_close(&h);
}

// ---- requests

static str request_pem(home *h, X509_REQ *r)
{
    BIO *b = BIO_new(BIO_s_mem());
    char *at;
    CHECK(PEM_write_bio_X509_REQ(b, r) == 1);
    long len = BIO_get_mem_data(b, &at);
    str pem = str_copy(h->memory, (str){at, (size_t)len});
    CHECK(pem.at != NULL && BIO_free(b) == 1);
    return pem;
}

static str request_make(home *h, EVP_PKEY *named, EVP_PKEY *signer, bool greedy)
{
    X509_REQ *r = X509_REQ_new();
    CHECK(X509_REQ_set_version(r, 0) == 1 && X509_REQ_set_pubkey(r, named) == 1);
    if (greedy) {
        STACK_OF(X509_EXTENSION) *wanted = sk_X509_EXTENSION_new_null();
        X509_EXTENSION *ca = X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, "CA:TRUE");
        X509_EXTENSION *uri = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name,
                                                  "URI:ctau://blackhole/elder/elder");
        CHECK(sk_X509_EXTENSION_push(wanted, ca) > 0 && sk_X509_EXTENSION_push(wanted, uri) > 0);
        CHECK(X509_REQ_add_extensions(r, wanted) == 1);
        sk_X509_EXTENSION_pop_free(wanted, X509_EXTENSION_free);
    }
    CHECK(X509_REQ_sign(r, signer, EVP_sha256()) != 0);
    str pem = request_pem(h, r);
    X509_REQ_free(r);
    return pem;
}

TEST(identity_authority_signs_only_requests_whose_key_is_proven)
{
    home h;
    home_open(&h);
    EVP_PKEY *own = EVP_EC_gen("P-256"), *other = EVP_EC_gen("P-256");
    EVP_PKEY *large = EVP_EC_gen("P-384"), *rsa = EVP_RSA_gen(2048);
    authority_grant g = {STR("tns"), STR("tns"), 3600};
    str out = STR("untouched");
    CHECK(authority_sign(h.ca, h.memory, request_make(&h, own, other, false), &g, &out).code ==
          ERR_DENIED);
    CHECK(authority_sign(h.ca, h.memory, request_make(&h, large, large, false), &g, &out).code ==
          ERR_UNSUPPORTED);
    CHECK(authority_sign(h.ca, h.memory, request_make(&h, rsa, rsa, false), &g, &out).code ==
          ERR_UNSUPPORTED);
    CHECK(authority_sign(h.ca, h.memory, STR(""), &g, &out).code == ERR_SYNTAX);
    CHECK(authority_sign(h.ca, h.memory, authority_certificate(h.ca), &g, &out).code == ERR_SYNTAX);
    str good = request_make(&h, own, own, false);
    str padded = str_format(h.memory, "%5000s%s", "", good.at);
    CHECK(authority_sign(h.ca, h.memory, padded, &g, &out).code == ERR_LIMIT);
    // Any one character changed: never a certificate for other bytes than were signed.
    for (size_t i = 40; i < good.len - 40; i += 7) {
        char *bent = (char *)str_copy(h.memory, good).at;
        bent[i] = bent[i] == 'A' ? 'B' : 'A';
        str bytes = {bent, good.len}, got = {0};
        if (memcmp(bent, good.at, good.len) != 0 &&
            authority_sign(h.ca, h.memory, bytes, &g, &got).code == OK)
            print_error("a request bent at %zu was signed\n", i);
        CHECK(got.at == NULL);
    }
    CHECK(str_is(out, STR("untouched")));
    CHECK(authority_sign(h.ca, h.memory, good, &g, &out).code == OK);
    EVP_PKEY_free(own);
    EVP_PKEY_free(other);
    EVP_PKEY_free(large);
    EVP_PKEY_free(rsa);
    home_close(&h);
}

TEST(identity_authority_ignores_what_a_request_asks_for)
{
    home h;
    home_open(&h);
    EVP_PKEY *own = EVP_EC_gen("P-256");
    authority_grant g = {STR("x"), STR(""), 3600};
    str pem, uri;
    CHECK(authority_sign(h.ca, h.memory, request_make(&h, own, own, true), &g, &pem).code == OK);
    X509 *c = x509_of(pem);
    CHECK(X509_check_ca(c) == 0 && EVP_PKEY_eq(X509_get0_pubkey(c), own) == 1);
    CHECK(identity_certificate_uri(h.memory, c, &uri).code == OK);
    CHECK(str_is(uri, STR("ctau://blackhole/x/-")));
    X509_free(c);
    EVP_PKEY_free(own);
    home_close(&h);
}

TEST(identity_authority_is_known_by_its_key)
{
    home h;
    home_open(&h);
    authority *other = home_authority(&h, "other", "blackhole");
    str id = authority_universe_id(h.ca), pem, key;
    CHECK(authority_check(authority_certificate(h.ca), id).code == OK);
    CHECK(authority_check(authority_certificate(other), id).code == ERR_DENIED);
    CHECK(authority_check(authority_certificate(h.ca), STR("")).code == ERR_DENIED);
    CHECK(authority_check(STR("noise"), id).code == ERR_SYNTAX);
    CHECK(authority_issue(h.ca, h.memory, STR("tns"), STR("tns"), 1, &pem, &key).code == OK);
    CHECK(authority_check(pem, id).code == ERR_DENIED);
    authority_close(other);
    home_close(&h);
}

TEST(identity_authority_makes_elders_of_nothing_else)
{
    home h;
    home_open(&h);
    str pem, key, uri;
    static const struct {
        const char *protocols;
        err_code code;
    } rows[] = {{"elder", OK},
                {"elder+tns", ERR_DENIED},
                {"tns+elder", ERR_DENIED},
                {"elder+elder", ERR_DENIED},
                {"elder+-", ERR_SYNTAX},
                {"elders", OK}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        authority_grant g = {STR("elder"), str_of(rows[i].protocols), 60};
        CHECK(authority_issue_for(h.ca, h.memory, &g, &pem, &key).code == rows[i].code);
    }
    CHECK(authority_issue(h.ca, h.memory, STR("a"), STR("tns+elder"), 1, &pem, &key).code ==
          ERR_DENIED);
    authority_grant g = {STR("elder-2"), STR("elder"), 60};
    CHECK(authority_issue_for(h.ca, h.memory, &g, &pem, &key).code == OK);
    X509 *c = x509_of(pem);
    identity i;
    CHECK(identity_certificate_uri(h.memory, c, &uri).code == OK);
    CHECK(identity_read(uri, &i).code == OK && identity_is_elder(&i));
    X509_free(c);
    g.seconds = 1ULL << 40;
    CHECK(authority_issue_for(h.ca, h.memory, &g, &pem, &key).code == ERR_LIMIT);
    g = (authority_grant){STR("any"), STR("tns"), 60};
    CHECK(authority_issue_for(h.ca, h.memory, &g, &pem, &key).code == ERR_SYNTAX);
    home_close(&h);
}
