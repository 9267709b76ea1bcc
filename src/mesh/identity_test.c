// The authority keeps one identity, certificates hold, the table of senders is whole.
#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"
#include "base/test.h"
#include "mesh/identity.h"
#include "mesh/identity_inner.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct place {
    char folder[64], ca[96];
    arena *memory;
} place;

static void place_open(place *p)
{
    (void)snprintf(p->folder, sizeof p->folder, "/tmp/identity-test-XXXXXX");
    CHECK(mkdtemp(p->folder) != NULL && arena_open(&p->memory, 4 << 20).code == OK);
    (void)snprintf(p->ca, sizeof p->ca, "%s/u/ca", p->folder);
}

static void place_close(place *p)
{
    arena_close(p->memory);
    CHECK(file_remove_tree(p->folder).code == OK);
}

static const char *place_path(place *p, const char *name)
{
    return str_format(p->memory, "%s/%s", p->ca, name).at;
}

TEST(identity_authority_stays_the_same_over_restarts)
{
    place p;
    place_open(&p);
    authority *c = NULL;
    CHECK(authority_open(&c, p.ca, STR("blackhole")).code == OK);
    str id = str_copy(p.memory, authority_universe_id(c));
    str pem = str_copy(p.memory, authority_certificate(c));
    CHECK(id.len == 64 && str_starts(pem, STR("-----BEGIN CERTIFICATE-----")));
    authority_close(c);
    struct stat info;
    CHECK(stat(place_path(&p, "ca.key"), &info) == 0 && (info.st_mode & 07777) == 0600);
    CHECK(stat(p.ca, &info) == 0 && (info.st_mode & 07777) == 0700);
    CHECK(authority_open(&c, p.ca, STR("blackhole")).code == OK);
    CHECK(str_is(authority_universe_id(c), id) && str_is(authority_certificate(c), pem));
    authority_close(c);
    // Without its certificate the key makes the same identity again; a crash may leave it so.
    CHECK(unlink(place_path(&p, "ca.pem")) == 0);
    CHECK(authority_open(&c, p.ca, STR("blackhole")).code == OK);
    CHECK(str_is(authority_universe_id(c), id));
    authority_close(c);
    place_close(&p);
}

TEST(identity_authority_refuses_damaged_files)
{
    place p;
    place_open(&p);
    authority *c = NULL, *other = NULL;
    CHECK(authority_open(&c, p.ca, STR("blackhole")).code == OK);
    CHECK(authority_open(&other, p.ca, STR("whitehole")).code == ERR_SYNTAX);
    CHECK(authority_open(&other, p.ca, STR("Black hole/")).code == ERR_SYNTAX);
    CHECK(chmod(place_path(&p, "ca.key"), 0644) == 0);
    CHECK(authority_open(&other, p.ca, STR("blackhole")).code == ERR_DENIED);
    str key;
    CHECK(file_read(p.memory, place_path(&p, "ca.key"), 1 << 16, &key).code == OK);
    CHECK(file_write_durable(place_path(&p, "ca.key"), str_first(key, key.len / 2), 0600).code ==
          OK);
    CHECK(authority_open(&other, p.ca, STR("blackhole")).code == ERR_SYNTAX);
    str pem, foreign;
    CHECK(authority_issue(c, p.memory, STR("x"), STR(""), 1, &pem, &foreign).code == OK);
    CHECK(file_write_durable(place_path(&p, "ca.key"), foreign, 0600).code == OK);
    CHECK(authority_open(&other, p.ca, STR("blackhole")).code == ERR_SYNTAX);
    CHECK(unlink(place_path(&p, "ca.key")) == 0);
    CHECK(authority_open(&other, p.ca, STR("blackhole")).code == ERR_SYNTAX);
    CHECK(file_write_durable(place_path(&p, "ca.key"), key, 0600).code == OK);
    CHECK(file_write_durable(place_path(&p, "ca.pem"), STR("nonsense"), 0644).code == OK);
    CHECK(authority_open(&other, p.ca, STR("blackhole")).code == ERR_SYNTAX);
    CHECK(other == NULL);
    authority_close(c);
    place_close(&p);
}

static X509 *certificate_of(str pem)
{
    BIO *b = BIO_new_mem_buf(pem.at, (int)pem.len);
    X509 *c = PEM_read_bio_X509(b, NULL, NULL, NULL);
    CHECK(c != NULL && BIO_free(b) == 1);
    return c;
}

// What OpenSSL says of this leaf under that authority, for this purpose, `later` seconds from now.
static int certificate_verify(X509 *leaf, X509 *ca, int purpose, long later)
{
    X509_STORE *roots = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    CHECK(X509_STORE_add_cert(roots, ca) == 1 && X509_STORE_CTX_init(ctx, roots, leaf, NULL) == 1);
    X509_STORE_CTX_set_flags(ctx, X509_V_FLAG_X509_STRICT);
    X509_STORE_CTX_set_time(ctx, 0, (time_t)(clock_real_ms() / 1000) + later);
    CHECK(X509_STORE_CTX_set_purpose(ctx, purpose) == 1);
    (void)X509_verify_cert(ctx);
    int result = X509_STORE_CTX_get_error(ctx);
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(roots);
    return result;
}

TEST(identity_certificates_hold_under_their_own_authority_alone)
{
    place p;
    place_open(&p);
    authority *c = NULL, *d = NULL;
    CHECK(authority_open(&c, p.ca, STR("blackhole")).code == OK);
    CHECK(authority_open(&d, place_path(&p, "other"), STR("blackhole")).code == OK);
    CHECK(!str_is(authority_universe_id(c), authority_universe_id(d)));
    str pem, key;
    CHECK(
        authority_issue(c, p.memory, STR("tns@blackhole"), STR("tns+auth"), 90, &pem, &key).code ==
        OK);
    X509 *leaf = certificate_of(pem), *ca = certificate_of(authority_certificate(c));
    X509 *foreign = certificate_of(authority_certificate(d));
    const long day = 86400;
    CHECK(certificate_verify(leaf, ca, X509_PURPOSE_SSL_CLIENT, 0) == X509_V_OK);
    CHECK(certificate_verify(leaf, ca, X509_PURPOSE_SSL_SERVER, 89 * day) == X509_V_OK);
    CHECK(certificate_verify(leaf, ca, X509_PURPOSE_SSL_CLIENT, -30) == X509_V_OK);
    CHECK(certificate_verify(leaf, ca, X509_PURPOSE_SSL_CLIENT, 91 * day) ==
          X509_V_ERR_CERT_HAS_EXPIRED);
    CHECK(certificate_verify(leaf, foreign, X509_PURPOSE_SSL_CLIENT, 0) != X509_V_OK);
    GENERAL_NAMES *names = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
    CHECK(names != NULL && sk_GENERAL_NAME_num(names) == 1);
    int type = 0;
    ASN1_STRING *uri = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names, 0), &type);
    CHECK(type == GEN_URI);
    assert_string_equal((const char *)ASN1_STRING_get0_data(uri),
                        "ctau://blackhole/tns@blackhole/tns+auth");
    GENERAL_NAMES_free(names);
    CHECK(ASN1_STRING_length(X509_get0_serialNumber(leaf)) == 16);
    BIO *b = BIO_new_mem_buf(key.at, (int)key.len);
    EVP_PKEY *secret = PEM_read_bio_PrivateKey(b, NULL, NULL, NULL);
    CHECK(X509_check_private_key(leaf, secret) == 1 && EVP_PKEY_get_bits(secret) == 256);
    EVP_PKEY_free(secret);
    CHECK(BIO_free(b) == 1);
    X509_free(leaf);
    // Zero days: over at once, for those who must see such a one refused.
    CHECK(authority_issue(c, p.memory, STR("x"), STR(""), 0, &pem, &key).code == OK);
    leaf = certificate_of(pem);
    CHECK(certificate_verify(leaf, ca, X509_PURPOSE_SSL_CLIENT, 2) == X509_V_ERR_CERT_HAS_EXPIRED);
    X509_free(leaf);
    CHECK(authority_issue(c, p.memory, STR("a/b"), STR(""), 1, &pem, &key).code == ERR_SYNTAX);
    CHECK(authority_issue(c, p.memory, STR("a"), STR("tns/x"), 1, &pem, &key).code == ERR_SYNTAX);
    X509_free(ca);
    X509_free(foreign);
    authority_close(c);
    authority_close(d);
    place_close(&p);
}

TEST(identity_uris_are_read_strictly)
{
    identity i;
    CHECK(identity_read(STR("ctau://blackhole/tns/tns"), &i).code == OK);
    CHECK(str_is(i.universe, STR("blackhole")) && str_is(i.node, STR("tns")) &&
          identity_has(&i, STR("tns")));
    CHECK(identity_read(STR("ctau://u/n@u/tns+auth"), &i).code == OK);
    CHECK(identity_has(&i, STR("auth")) && identity_has(&i, STR("tns")) &&
          !identity_has(&i, STR("au")));
    CHECK(identity_read(STR("ctau://u/client@u/-"), &i).code == OK && !identity_has(&i, STR("-")));
    static const char *const bad[] = {
        "",
        "ctau://",
        "ctau://u",
        "ctau://u/n",
        "ctau://u/n/",
        "ctau:///n/tns",
        "ctau://u//tns",
        "ctau://u/n/tns/",
        "ctau://u/n/tns+",
        "ctau://u/n/+tns",
        "ctau://u/n/tns++auth",
        "CTAU://u/n/tns",
        "ctau://u/n/TNS",
        "ctau://u/n/tns ",
        "ctau://u/../tns",
        "ctau://u@v/n/tns",
        "http://u/n/tns",
        "ctau://u/n/-+tns",
        "ctau://u/any/tns",
        "ctau://u/n.x/tns",
    };
    for (size_t n = 0; n < COUNT(bad); n++)
        CHECK(identity_read(str_of(bad[n]), &i).code == ERR_SYNTAX);
    CHECK(identity_read((str){"ctau://u/n\0/tns", 15}, &i).code == ERR_SYNTAX);
}

// Roles: a auth, t tns, s seer, p patrick, m monkey, h hoarder, b substrate, g gateway, c client, e
// elder.
static const struct {
    const char *subject, *senders;
} expected[] = {
    {"node.ping", "atspmhbgce"},
    {"node.drain", "c"},
    {"node.renew", "atspmhbgce"},
    {"node.denied", "atspmhbgce"},
    {"node.denied.changed", "c"},
    {"auth.login", "c"},
    {"auth.token.check", "ac"},
    {"auth.token.revoke", "c"},
    {"auth.repository.create", "c"},
    {"auth.repository.get", "atspmhbgc"},
    {"auth.repository.list", "atspmhbgc"},
    {"auth.repository.delete", "c"},
    {"auth.repository.hook", "c"},
    {"auth.hook.secret", "p"},
    {"auth.deploy.key", "m"},
    {"auth.source", "m"},
    {"auth.project.create", "c"},
    {"auth.project.get", "atspmhbgc"},
    {"auth.project.list", "atspmhbgc"},
    {"auth.project.delete", "c"},
    {"auth.domain.claim", "c"},
    {"auth.domain.list", "atspmhbgc"},
    {"tns.publish", "m"},
    {"tns.get", "atspmhbgc"},
    {"tns.list", "atspmhbgc"},
    {"tns.projects", "atspmhbgc"},
    {"tns.live.set", "c"},
    {"tns.lookup", "atspmhbgc"},
    {"tns.remove", "ac"},
    {"seer.heartbeat", "atspmhbgce"},
    {"seer.nodes", "atspmhbgc"},
    {"seer.resolve", "atspmhbgc"},
    {"patrick.push", "apc"},
    {"patrick.jobs", "atspmhbgc"},
    {"patrick.job", "atspmhbgc"},
    {"patrick.cancel", "c"},
    {"patrick.retry", "c"},
    {"patrick.replay", "c"},
    {"patrick.branch.set", "c"},
    {"patrick.progress", "m"},
    {"patrick.log.add", "m"},
    {"patrick.log", "atspmhbgc"},
    {"monkey.status", "atspmhbgc"},
    {"monkey.cancel", "p"},
    {"hoarder.stash", "m"},
    {"hoarder.locate", "atspmhbgc"},
    {"hoarder.read", "atspmhbgc"},
    {"hoarder.status", "atspmhbgc"},
    {"hoarder.collect", "c"},
    {"hoarder.keep", "h"},
    {"substrate.status", "atspmhbgc"},
    {"substrate.logs", "atspmhbgc"},
    {"substrate.serves", "atspmhbgc"},
    {"gateway.status", "atspmhbgc"},
};

TEST(identity_table_of_senders_is_as_decided_message_by_message)
{
    static const struct {
        char letter;
        const char *protocols;
    } roles[] = {
        {'a', "auth"},   {'t', "tns"},     {'s', "seer"},      {'p', "patrick"},
        {'m', "monkey"}, {'h', "hoarder"}, {'b', "substrate"}, {'g', "gateway"},
        {'c', "client"}, {'c', "-"},       {'e', "elder"},
    };
    size_t rows = 0;
    for (size_t kind = 0; kind < MESSAGE_KINDS; kind++) {
        const char *subject = message_infos[kind].subject, *senders = NULL;
        for (size_t i = 0; i < COUNT(expected); i++)
            if (strcmp(expected[i].subject, subject) == 0)
                senders = expected[i].senders;
        bool worker = str_starts(str_of(subject), STR("worker.")); // never over the mesh: no rows
        if (worker)
            senders = "";
        rows += !worker;
        if (senders == NULL || (identity_senders[kind] & ROLE_NOBODY) == (worker ? ROLE_NOBODY : 0))
            print_error("%s has no row of who may send it\n", subject);
        CHECK(senders != NULL &&
              (identity_senders[kind] & ROLE_NOBODY) == (worker ? 0 : ROLE_NOBODY));
        for (size_t r = 0; r < COUNT(roles); r++) {
            identity who = {STR("u"), STR("n"), str_of(roles[r].protocols)};
            if (identity_may(&who, str_of(subject)) != (strchr(senders, roles[r].letter) != NULL))
                print_error("%s from %s\n", subject, roles[r].protocols);
            CHECK(identity_may(&who, str_of(subject)) ==
                  (strchr(senders, roles[r].letter) != NULL));
        }
    }
    CHECK(COUNT(expected) == rows);
}

TEST(identity_unknown_senders_and_subjects_are_denied)
{
    identity stranger = {STR("u"), STR("n"), STR("nobody")},
             both = {STR("u"), STR("n"), STR("tns+monkey")};
    CHECK(!identity_may(&stranger, STR("node.ping")));
    CHECK(identity_may(&both, STR("auth.deploy.key")) &&
          !identity_may(&both, STR("auth.hook.secret")));
    // Its protocols make an elder, not its name, and an elder is nothing else.
    identity elder = {STR("u"), STR("x"), STR("elder")}, named = {STR("u"), STR("elder"), STR("-")},
             mixed = {STR("u"), STR("elder"), STR("elder+client")};
    CHECK(identity_is_elder(&elder) && !identity_is_elder(&named) && !identity_is_elder(&mixed));
    CHECK(identity_may(&elder, STR("node.ping")) && !identity_may(&elder, STR("tns.get")));
    CHECK(identity_may(&named, STR("tns.get")) && identity_may(&named, STR("auth.login")));
    mixed.protocols = STR("elder+x");
    CHECK(!identity_may(&mixed, STR("node.ping")));
    CHECK(!identity_may(&both, STR("auth.deploy.keys")) && !identity_may(&both, STR("")));
}
