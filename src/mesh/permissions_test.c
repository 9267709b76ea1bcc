// The subjects of each role are those of the tables, message by message, and no others.
#include "base/str.h"
#include "base/test.h"
#include "mesh/identity.h"
#include "mesh/identity_inner.h"
#include "mesh/permissions.h"

#include <stdio.h>
#include <string.h>

enum { MEMORY_BYTES = 4 << 20 };

typedef struct settings {
    arena *memory;
    buf text;
    const json *roles, *streams;
} settings;

static void settings_open(settings *x, const shards *s)
{
    CHECK(arena_open(&x->memory, MEMORY_BYTES).code == OK);
    buf_open(&x->text, MEMORY_BYTES);
    json_writer w = {.out = &x->text};
    json_open_object(&w, NULL);
    permissions_write_streams(&w, s);
    permissions_write_roles(&w, s);
    json_close_object(&w);
    const json *all;
    CHECK(x->text.error.code == OK &&
          json_read(x->memory, buf_str(&x->text), &all, NULL).code == OK);
    x->roles = json_field(all, "roles");
    x->streams = json_field(all, "streams");
    CHECK(x->roles != NULL && x->streams != NULL);
}

static void settings_close(settings *x)
{
    buf_close(&x->text);
    arena_close(x->memory);
}

// As a server decides: `*` is one token, a last `>` the rest, {node} the certificate's name.
static bool matches(str pattern, str subject, str node)
{
    while (pattern.len > 0 && subject.len > 0) {
        str want = str_cut(&pattern, '.');
        if (str_is(want, STR(">")))
            return true;
        str got = str_cut(&subject, '.');
        if (str_is(want, STR("{node}")))
            want = node;
        if (!str_is(want, STR("*")) && !str_is(want, got))
            return false;
    }
    return pattern.at == NULL && subject.at == NULL;
}

// May this role, as node `n`, do this?
static bool may(const settings *x, const char *role, const char *verb, const char *subject)
{
    const json *list = json_field(json_field(x->roles, role), verb);
    CHECK(list != NULL);
    for (const json *at = list->first; at != NULL; at = at->next)
        if (matches(at->text, str_of(subject), STR("n")))
            return true;
    return false;
}

static bool says(const settings *x, const char *role, const char *format, const char *word)
{
    char subject[200];
    (void)snprintf(subject, sizeof subject, format, word);
    return may(x, role, "publish", subject);
}

static bool hears(const settings *x, const char *role, const char *format, const char *word)
{
    char subject[200];
    (void)snprintf(subject, sizeof subject, format, word);
    return may(x, role, "subscribe", subject);
}

TEST(permissions_let_each_role_send_what_the_table_of_senders_says_and_no_more)
{
    settings x;
    settings_open(&x, &shards_of_universe);
    size_t allowed = 0;
    for (const identity_role *r = identity_roles; r->name != NULL; r++)
        for (size_t kind = 0; kind < MESSAGE_KINDS; kind++) {
            const message_info *info = &message_infos[kind];
            identity who = {STR("u"), STR("n"), str_of(r->name)};
            bool told = info->reply == NULL, expected = identity_may(&who, str_of(info->subject));
            if (str_starts(str_of(info->subject), STR("worker.")))
                CHECK(!expected);
            bool ask = says(&x, r->name, "ask.%s.any.n", info->name);
            bool tell = says(&x, r->name, "tell.%s.n", info->name);
            if (ask != (expected && !told) || tell != (expected && told))
                print_error("%s from %s\n", info->name, r->name);
            CHECK(ask == (expected && !told) && tell == (expected && told));
            CHECK(says(&x, r->name, "ask.%s.tns.n", info->name) == ask);
            CHECK(!says(&x, r->name, "ask.%s.any.other", info->name));
            CHECK(!says(&x, r->name, "tell.%s.other", info->name));
            CHECK(!says(&x, r->name, "ask.%s.n", info->name));
            allowed += ask || tell;
        }
    CHECK(allowed > 100); // the tables were not empty
    settings_close(&x);
}

TEST(permissions_let_each_role_hear_what_it_serves_and_no_more)
{
    settings x;
    settings_open(&x, &shards_of_universe);
    for (const identity_role *r = identity_roles; r->name != NULL; r++) {
        for (size_t kind = 0; kind < MESSAGE_KINDS; kind++) {
            const message_info *info = &message_infos[kind];
            str rest = str_of(info->subject);
            str first = str_cut(&rest, '.');
            bool expected = info->reply != NULL &&
                            (str_is(first, STR("node")) || str_is(first, str_of(r->name)));
            CHECK(hears(&x, r->name, "ask.%s.any.someone", info->name) == expected);
            CHECK(hears(&x, r->name, "ask.%s.n.someone", info->name));
            CHECK(!hears(&x, r->name, "ask.%s.other.someone", info->name));
            CHECK(hears(&x, r->name, "tell.%s.someone", info->name));
        }
        CHECK(hears(&x, r->name, "re.%s.1", "n") && !hears(&x, r->name, "re.%s.1", "other"));
        CHECK(hears(&x, r->name, "to.%s.auth", "n") && !hears(&x, r->name, "to.%s.auth", "other"));
        bool jobs = strcmp(r->name, "patrick") == 0 || strcmp(r->name, "monkey") == 0;
        CHECK(hears(&x, r->name, "beat.jobs.%s", "someone") == jobs);
        CHECK(!hears(&x, r->name, "log.%s.auth.auth", "auth") &&
              !hears(&x, r->name, "snap.%s.1", "registry") &&
              !hears(&x, r->name, "$JS.%s.>", "API") && !hears(&x, r->name, "$SYS.%s.>", "x") &&
              !hears(&x, r->name, "%s", ">"));
    }
    settings_close(&x);
}

// What decides over the logs, a row for each role: where it logs, where it makes consumers, where
// it shortens.
static const struct {
    const char *role, *writes, *reads, *snapshots;
} log_rows[] = {
    {"auth", "auth domain", "auth domain", "auth domain"},
    {"tns", "registry", "registry", "registry"},
    {"seer", "", "domain registry", ""},
    {"patrick", "jobs", "jobs", "jobs"},
    {"monkey", "jobs", "jobs", ""},
    {"hoarder", "blobs", "blobs", "blobs"},
    {"substrate", "", "registry", ""},
    {"gateway", "", "domain registry", ""},
    {"client", "", "", ""},
    {"elder", "", "", ""},
};

static bool has_word(const char *list, const char *word)
{
    for (str rest = str_of(list); rest.len > 0;)
        if (str_is(str_cut(&rest, ' '), str_of(word)))
            return true;
    return false;
}

TEST(permissions_open_the_logs_to_their_writers_and_readers_alone)
{
    settings x;
    settings_open(&x, &shards_of_universe);
    const shards *s = &shards_of_universe;
    CHECK(COUNT(log_rows) == x.roles->count);
    for (size_t row = 0; row < COUNT(log_rows); row++)
        for (size_t i = 0; i < s->count; i++) {
            const char *role = log_rows[row].role, *log = s->all[i].name;
            bool writes = has_word(log_rows[row].writes, log);
            bool reads = has_word(log_rows[row].reads, log);
            bool snapshots = has_word(log_rows[row].snapshots, log);
            for (size_t other = 0; other < COUNT(log_rows); other++) {
                char format[64];
                (void)snprintf(format, sizeof format, "log.%%s.%s.n", log_rows[other].role);
                CHECK(says(&x, role, format, log) == (writes && other == row));
                (void)snprintf(format, sizeof format, "log.%%s.%s.other", log_rows[other].role);
                CHECK(!says(&x, role, format, log));
            }
            CHECK(says(&x, role, "snap.%s.1.0", log) == snapshots);
            CHECK(says(&x, role, "$JS.API.STREAM.PURGE.%s", log) == snapshots);
            CHECK(permissions_may_snapshot(s, i, str_of(role)) == snapshots);
            CHECK(says(&x, role, "follow.%s.n", log) == (reads || writes));
            CHECK(!says(&x, role, "follow.%s.other", log));
            CHECK(says(&x, role, "$JS.FC.%s.c.1", log) == (reads || writes));
            static const char *const never[] = {
                "$JS.API.STREAM.DELETE.%s",
                "$JS.API.STREAM.INFO.%s",
                "$JS.API.CONSUMER.CREATE.%s",
                "$JS.API.CONSUMER.CREATE.%s.c",
                "$JS.API.CONSUMER.CREATE.%s.c.log.x.>",
                "$JS.ACK.%s.c.1",
                "$JS.API.STREAM.UPDATE.%s",
                "$JS.API.STREAM.CREATE.%s",
                "$JS.API.STREAM.MSG.DELETE.%s",
                "$JS.API.STREAM.MSG.GET.%s",
                "$JS.API.STREAM.SNAPSHOT.%s",
                "$JS.API.STREAM.RESTORE.%s",
                "$JS.API.DIRECT.GET.%s",
                "$JS.API.CONSUMER.NAMES.%s",
                "$JS.API.CONSUMER.DELETE.%s.c",
                "$JS.API.STREAM.LEADER.%s.x",
                "$JS.API.CONSUMER.DURABLE.CREATE.%s.c",
                "$SYS.REQ.%s",
                "to.other.%s",
                "to.n.%s",
                "_INBOX.%s",
            };
            for (size_t n = 0; n < COUNT(never); n++)
                CHECK(!says(&x, role, never[n], log));
        }
    settings_close(&x);
}

TEST(permissions_of_a_substrate_reach_neither_registry_nor_jobs_nor_secrets)
{
    settings x;
    settings_open(&x, &shards_of_universe);
    static const char *const denied[] = {
        "log.registry.tns.n",
        "log.registry.substrate.n",
        "log.jobs.monkey.n",
        "log.jobs.substrate.n",
        "log.auth.auth.n",
        "log.domain.auth.n",
        "snap.registry.1",
        "beat.jobs.n",
        "beat.jobs.monkey",
        "ask.tns_publish.any.n",
        "ask.auth_hook_secret.any.n",
        "ask.auth_deploy_key.any.n",
        "ask.auth_deploy_key.any.monkey",
        "$JS.API.CONSUMER.CREATE.auth.c.log.auth.>",
        "$JS.API.CONSUMER.CREATE.registry.c.log.registry.>",
        "$JS.API.CONSUMER.CREATE.registry",
        "follow.auth.n",
        "follow.jobs.n",
        "follow.registry.other",
        "$JS.API.STREAM.INFO.auth",
        "$JS.API.INFO",
        "$JS.API.STREAM.LIST",
    };
    for (size_t i = 0; i < COUNT(denied); i++)
        CHECK(!may(&x, "substrate", "publish", denied[i]));
    // And what it lives on.
    CHECK(may(&x, "substrate", "publish", "follow.registry.n"));
    CHECK(may(&x, "substrate", "publish", "re.tns.1.2.3"));
    CHECK(may(&x, "substrate", "publish", "ask.hoarder_locate.any.n"));
    CHECK(may(&x, "monkey", "publish", "beat.jobs.n") &&
          !may(&x, "monkey", "publish", "beat.jobs.other"));
    for (const identity_role *r = identity_roles; r->name != NULL; r++) {
        bool claims = strcmp(r->name, "monkey") == 0;
        CHECK(may(&x, r->name, "publish", "beat.jobs.n") == claims);
        CHECK(permissions_may_claim(&shards_of_universe, str_of(r->name)) == claims);
    }
    settings_close(&x);
}

// Each subject is bound to its sender's name, or belongs to one shard: no wildcard stands where
// the sender does.
static bool published_is_bound(str pattern)
{
    if (str_starts(pattern, STR("ask."))) // ask.KIND.*.{node}
        return str_ends(pattern, STR(".*.{node}")) &&
               str_find_byte(pattern, '*') == pattern.len - (sizeof "*.{node}" - 1);
    if (str_starts(pattern, STR("tell.")) || str_starts(pattern, STR("log.")))
        return str_ends(pattern, STR(".{node}")) && str_find_byte(pattern, '*') == pattern.len &&
               str_find_byte(pattern, '>') == pattern.len;
    if (str_starts(pattern, STR("re.")))
        return str_is(pattern, STR("re.*.>")); // bound by a secret
    if (str_starts(pattern, STR("beat.")))
        return str_is(pattern, STR("beat.*.{node}"));
    for (size_t i = 0; i < shards_of_universe.count; i++) {
        static const char *const forms[] = {"snap.%s.>", "$JS.FC.%s.>", "$JS.API.STREAM.PURGE.%s",
                                            "follow.%s.{node}"};
        for (size_t n = 0; n < COUNT(forms); n++) {
            char one[100];
            (void)snprintf(one, sizeof one, forms[n], shards_of_universe.all[i].name);
            if (str_is(pattern, str_of(one)))
                return true;
        }
    }
    return false;
}

static bool subscribed_is_bound(str pattern)
{
    static const char *const fixed[] = {"re.{node}.>", "to.{node}.>", "ask.*.{node}.*",
                                        "tell.*.*",    "beat.*.*",    "tip.*"};
    for (size_t i = 0; i < COUNT(fixed); i++)
        if (str_is(pattern, str_of(fixed[i])))
            return true;
    return str_starts(pattern, STR("ask.")) && str_ends(pattern, STR(".any.*")) &&
           str_find_byte(pattern, '*') == pattern.len - 1 &&
           str_find_byte(pattern, '>') == pattern.len;
}

TEST(permissions_bind_every_subject_to_its_sender)
{
    settings x;
    settings_open(&x, &shards_of_universe);
    for (const json *role = x.roles->first; role != NULL; role = role->next) {
        const json *publish = json_field(role, "publish"), *hear = json_field(role, "subscribe");
        CHECK(role->count == 2 && publish->count > 0 && hear->count > 4);
        for (const json *at = publish->first; at != NULL; at = at->next) {
            if (!published_is_bound(at->text))
                print_error("%.*s publishes %.*s\n", STR_ARG(role->name), STR_ARG(at->text));
            CHECK(published_is_bound(at->text));
        }
        for (const json *at = hear->first; at != NULL; at = at->next)
            CHECK(subscribed_is_bound(at->text));
    }
    CHECK(x.streams->count == shards_of_universe.count);
    const json *first = x.streams->first, *subjects = json_field(first, "subjects");
    CHECK(str_is(json_text(first, "name"), STR("auth")) && subjects->count == 2);
    CHECK(str_is(subjects->first->text, STR("log.auth.>")) &&
          str_is(subjects->first->next->text, STR("snap.auth.>")));
    settings_close(&x);
}

TEST(permissions_say_which_role_may_write_which_bucket)
{
    const shards *s = &shards_of_universe;
    CHECK(permissions_may_write(s, STR("monkey"), STR("queue/jobs")) &&
          permissions_may_write(s, STR("patrick"), STR("queue/jobs")) &&
          permissions_may_write(s, STR("patrick"), STR("patrick.job")));
    CHECK(!permissions_may_write(s, STR("monkey"), STR("patrick.job")) &&
          !permissions_may_write(s, STR("monkey"), STR("tns.live")) &&
          !permissions_may_write(s, STR("monkey"), STR("auth.token")));
    CHECK(permissions_may_write(s, STR("auth"), STR("auth.domain")) &&
          permissions_may_write(s, STR("auth"), STR("auth.token")) &&
          !permissions_may_write(s, STR("gateway"), STR("auth.domain")));
    CHECK(!permissions_may_write(s, STR(""), STR("queue/jobs")) &&
          !permissions_may_write(s, STR("-"), STR("queue/jobs")) &&
          !permissions_may_write(s, STR("tns+monkey"), STR("queue/jobs")) &&
          !permissions_may_write(s, STR("client"), STR("tns.live")) &&
          !permissions_may_write(s, STR("tns"), STR("mesh.writer")) &&
          !permissions_may_write(s, STR("tns"), STR("")));
}
