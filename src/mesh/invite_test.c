// A token opens one door once, and what is kept of it opens none.
#include "base/clock.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/str.h"
#include "base/test.h"
#include "mesh/invite.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { HOUR_MS = 3600 * 1000 };
static const char universe[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

typedef struct inviter {
    char folder[64];
    arena *memory;
    uint64_t now;
} inviter;

static void inviter_open(inviter *v)
{
    (void)snprintf(v->folder, sizeof v->folder, "/tmp/invite-test-XXXXXX");
    CHECK(mkdtemp(v->folder) != NULL && arena_open(&v->memory, 8 << 20).code == OK);
    v->now = clock_real_ms();
}

static void inviter_close(inviter *v)
{
    arena_close(v->memory);
    CHECK(file_remove_tree(v->folder).code == OK);
}

static invite inviter_addresses(void)
{
    return (invite){.universe_id = str_of(universe),
                    .addresses = {{STR("10.0.0.1"), 14051}, {STR("fd00::1"), 443}},
                    .addresses_count = 2};
}

static str inviter_make(inviter *v, const char *node, const char *protocols, uint64_t valid_ms)
{
    invite i = inviter_addresses();
    invite_grant g = {str_of(node), str_of(protocols), STR("shape"), 0};
    str token;
    CHECK(invite_make(v->memory, v->folder, &g, v->now + valid_ms, &i, &token).code == OK);
    return token;
}

static str inviter_secret(inviter *v, str token)
{
    invite i;
    CHECK(invite_read(v->memory, token, &i).code == OK);
    return i.secret;
}

static size_t inviter_count(inviter *v)
{
    size_t count = 0;
    DIR *d = opendir(str_format(v->memory, "%s/invites", v->folder).at);
    CHECK(d != NULL);
    for (struct dirent *at; (at = readdir(d)) != NULL;)
        count += str_ends(str_of(at->d_name), STR(".json"));
    CHECK(closedir(d) == 0);
    return count;
}

TEST(invite_token_says_where_to_join_and_which_universe)
{
    inviter v;
    inviter_open(&v);
    str token = inviter_make(&v, "tns-2", "tns", HOUR_MS);
    invite i;
    CHECK(invite_read(v.memory, str_format(v.memory, "  %s\n", token.at), &i).code == OK);
    CHECK(str_is(i.universe_id, str_of(universe)) && i.secret.len == INVITE_SECRET_BYTES);
    CHECK(i.addresses_count == 2 && str_is(i.addresses[0].host, STR("10.0.0.1")) &&
          i.addresses[0].port == 14051);
    CHECK(str_is(i.addresses[1].host, STR("fd00::1")) && i.addresses[1].port == 443);
    CHECK(!str_is(token, inviter_make(&v, "tns-2", "tns", HOUR_MS)));
    for (size_t n = 0; n < token.len; n++) {
        char *bent = (char *)str_copy(v.memory, token).at;
        bent[n] = bent[n] == 'A' ? 'B' : 'A';
        invite other;
        CHECK(invite_read(v.memory, (str){bent, token.len}, &other).code != OK);
        CHECK(invite_read(v.memory, str_first(token, n), &other).code == ERR_SYNTAX);
    }
    invite none;
    CHECK(invite_read(v.memory, STR("not a token"), &none).code == ERR_SYNTAX);
    CHECK(invite_read(v.memory, str_format(v.memory, "%s=", token.at), &none).code == ERR_SYNTAX);
    inviter_close(&v);
}

TEST(invite_is_spent_once_and_knows_what_it_was_for)
{
    inviter v;
    inviter_open(&v);
    str secret = inviter_secret(&v, inviter_make(&v, "tns-2", "tns+auth", HOUR_MS));
    invite_grant g = {0};
    CHECK(invite_look(v.memory, v.folder, secret, v.now, &g).code == OK);
    CHECK(invite_look(v.memory, v.folder, secret, v.now, &g).code == OK);
    CHECK(invite_spend(v.memory, v.folder, secret, v.now, &g).code == OK);
    CHECK(str_is(g.node, STR("tns-2")) && str_is(g.protocols, STR("tns+auth")) &&
          str_is(g.shape, STR("shape")));
    CHECK(invite_spend(v.memory, v.folder, secret, v.now, &g).code == ERR_CONFLICT);
    CHECK(invite_look(v.memory, v.folder, secret, v.now + 1000, &g).code == ERR_CONFLICT);
    // A name may be left to who joins.
    secret = inviter_secret(&v, inviter_make(&v, "", "", HOUR_MS));
    CHECK(invite_spend(v.memory, v.folder, secret, v.now, &g).code == OK);
    CHECK(g.node.len == 0 && g.protocols.len == 0);
    inviter_close(&v);
}

TEST(invite_that_is_unknown_or_late_is_denied_and_swept)
{
    inviter v;
    inviter_open(&v);
    invite_grant g;
    CHECK(invite_look(v.memory, v.folder, STR("0123456789abcdef"), v.now, &g).code == ERR_DENIED);
    CHECK(invite_spend(v.memory, v.folder, STR("0123456789abcdef"), v.now, &g).code == ERR_DENIED);
    str secret = inviter_secret(&v, inviter_make(&v, "a", "tns", HOUR_MS));
    str used = inviter_secret(&v, inviter_make(&v, "b", "tns", HOUR_MS));
    CHECK(invite_spend(v.memory, v.folder, used, v.now, &g).code == OK && inviter_count(&v) == 2);
    static const size_t lengths[] = {0, 1, 15};
    for (size_t i = 0; i < COUNT(lengths); i++)
        CHECK(invite_spend(v.memory, v.folder, str_first(secret, lengths[i]), v.now, &g).code ==
              ERR_DENIED);
    char *bent = (char *)str_copy(v.memory, secret).at;
    bent[15] ^= 1;
    CHECK(invite_spend(v.memory, v.folder, (str){bent, 16}, v.now, &g).code == ERR_DENIED);
    CHECK(invite_look(v.memory, v.folder, secret, v.now + HOUR_MS - 1, &g).code == OK);
    CHECK(invite_look(v.memory, v.folder, secret, v.now + HOUR_MS, &g).code == ERR_DENIED);
    CHECK(invite_spend(v.memory, v.folder, secret, v.now + HOUR_MS, &g).code == ERR_DENIED);
    CHECK(inviter_count(&v) == 0);
    CHECK(invite_spend(v.memory, v.folder, secret, v.now, &g).code == ERR_DENIED); // gone
    inviter_close(&v);
}

TEST(invite_keeps_no_secret_and_nobody_else_reads_it)
{
    inviter v;
    inviter_open(&v);
    str secret = inviter_secret(&v, inviter_make(&v, "a", "tns", HOUR_MS));
    struct stat info;
    const char *folder = str_format(v.memory, "%s/invites", v.folder).at;
    CHECK(stat(folder, &info) == 0 && (info.st_mode & 07777) == 0700);
    char hash[SHA256_HEX + 1];
    sha256_hex(sha256_of(secret), hash);
    const char *path = str_format(v.memory, "%s/%.32s.json", folder, hash).at;
    CHECK(stat(path, &info) == 0 && (info.st_mode & 07777) == 0600);
    str text;
    CHECK(file_read(v.memory, path, 1 << 16, &text).code == OK);
    CHECK(str_find(text, secret) == text.len &&
          str_find(text, hex_of(v.memory, secret)) == text.len &&
          str_find(text, base64url_of(v.memory, secret)) == text.len);
    // Another's hash under this name, and a damaged file.
    invite_grant g;
    char *other = (char *)str_copy(v.memory, text).at;
    char *at = strstr(other, hash);
    CHECK(at != NULL);
    at[SHA256_HEX - 1] = at[SHA256_HEX - 1] == '0' ? '1' : '0';
    CHECK(file_write_durable(path, (str){other, text.len}, 0600).code == OK);
    CHECK(invite_look(v.memory, v.folder, secret, v.now, &g).code == ERR_DENIED);
    CHECK(file_write_durable(path, str_first(text, text.len / 2), 0600).code == OK);
    CHECK(invite_spend(v.memory, v.folder, secret, v.now, &g).code == ERR_SYNTAX);
    CHECK(invite_spend(v.memory, v.folder, secret, v.now, &g).code == ERR_DENIED);
    inviter_close(&v);
}

TEST(invite_is_refused_for_what_no_certificate_could_say)
{
    inviter v;
    inviter_open(&v);
    static const struct {
        const char *node, *protocols;
        err_code code;
    } rows[] = {
        {"any", "tns", ERR_SYNTAX},     {"a/b", "tns", ERR_SYNTAX}, {"a@b", "tns", ERR_SYNTAX},
        {"a", "tns/x", ERR_SYNTAX},     {"a", "+", ERR_SYNTAX},     {"a.b", "tns", ERR_SYNTAX},
        {"a", "elder+tns", ERR_DENIED}, {"elder-2", "elder", OK},   {"", "-", OK},
    };
    str token;
    for (size_t n = 0; n < COUNT(rows); n++) {
        invite i = inviter_addresses();
        invite_grant g = {str_of(rows[n].node), str_of(rows[n].protocols), STR(""), 0};
        CHECK(invite_make(v.memory, v.folder, &g, v.now + HOUR_MS, &i, &token).code ==
              rows[n].code);
    }
    CHECK(inviter_count(&v) == 2);
    invite_grant g = {STR("a"), STR("tns"), STR(""), 0};
    invite i = inviter_addresses();
    i.addresses_count = 0;
    CHECK(invite_make(v.memory, v.folder, &g, v.now + HOUR_MS, &i, &token).code == ERR_LIMIT);
    i = inviter_addresses();
    i.addresses[1].host = STR("a b");
    CHECK(invite_make(v.memory, v.folder, &g, v.now + HOUR_MS, &i, &token).code == ERR_SYNTAX);
    i = inviter_addresses();
    i.universe_id = STR("abc");
    CHECK(invite_make(v.memory, v.folder, &g, v.now + HOUR_MS, &i, &token).code == ERR_SYNTAX);
    CHECK(inviter_count(&v) == 2);
    inviter_close(&v);
}

TEST(invite_spent_by_many_processes_at_once_is_spent_by_one)
{
    inviter v;
    inviter_open(&v);
    enum { SPENDERS = 8 };
    str secret = inviter_secret(&v, inviter_make(&v, "a", "tns", HOUR_MS));
    pid_t pids[SPENDERS];
    for (size_t i = 0; i < SPENDERS; i++) {
        pids[i] = fork();
        CHECK(pids[i] >= 0);
        if (pids[i] == 0) {
            invite_grant g;
            _exit((int)invite_spend(v.memory, v.folder, secret, v.now, &g).code);
        }
    }
    size_t won = 0;
    for (size_t i = 0; i < SPENDERS; i++) {
        int status = 0;
        CHECK(waitpid(pids[i], &status, 0) == pids[i] && WIFEXITED(status));
        CHECK(WEXITSTATUS(status) == OK || WEXITSTATUS(status) == ERR_CONFLICT);
        won += WEXITSTATUS(status) == OK;
    }
    CHECK(won == 1);
    inviter_close(&v);
}

TEST(invite_is_never_given_unless_it_is_durably_spent)
{
    inviter v;
    inviter_open(&v);
    for (int kind = 0; kind < 2; kind++)
        for (uint64_t after = 0;; after++) {
            invite_grant g;
            str secret = inviter_secret(&v, inviter_make(&v, "a", "tns", HOUR_MS));
            fault_now = (fault_plan){
                .what = kind == 0 ? FAULT_WRITE : FAULT_MEMORY, .after = after, .times = 1};
            err e = invite_spend(v.memory, v.folder, secret, v.now, &g);
            bool hit = fault_now.seen > after;
            fault_now = (fault_plan){0};
            err again = invite_look(v.memory, v.folder, secret, v.now, &g);
            // A mark that may not have reached the disk counts, and gives nothing.
            CHECK(again.code == ERR_CONFLICT || (e.code != OK && again.code == OK));
            CHECK(file_remove_tree(str_format(v.memory, "%s/invites", v.folder).at).code == OK);
            if (!hit)
                break;
        }
    inviter_close(&v);
}

TEST(invite_store_has_a_limit)
{
    inviter v;
    inviter_open(&v);
    invite_grant g = {STR("a"), STR("tns"), STR(""), 0};
    str token;
    for (size_t n = 0; n < INVITES_MAX; n++)
        (void)inviter_make(&v, "a", "tns", n == 0 ? 0 : HOUR_MS);
    (void)inviter_make(&v, "a", "tns", HOUR_MS); // the first was late
    invite i = inviter_addresses();
    CHECK(invite_make(v.memory, v.folder, &g, v.now + HOUR_MS, &i, &token).code == ERR_LIMIT);
    CHECK(inviter_count(&v) == INVITES_MAX);
    inviter_close(&v);
}
