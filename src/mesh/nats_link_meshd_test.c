// A link against real meshd servers: asks, denials, logs, and elders that die or stop.
#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"
#include "base/test.h"
#include "mesh/meshd_fixture_test.h"
#include "mesh/nats_link.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct town {
    char folder[64];
    arena *memory;
    loop *loop;
    meshd_set *servers;
    nats_link *auth, *tns;
    unsigned asked, replies;
    err error;
    char last[256];
} town;

static const char town_roles[] =
    "{\"auth\":{\"publish\":[\"re.>\"],\"subscribe\":[\"ask.a.any.*\",\"re.{node}.>\"]},"
    "\"tns\":{\"publish\":[\"ask.a.*.{node}\",\"ask.nobody.*.{node}\",\"log.auth.tns.{node}\"],"
    "\"subscribe\":[\"re.{node}.>\"]}}";

// False: there is no meshd here, and the test says so.
static bool town_open(town *t, size_t elders)
{
    *t = (town){.asked = 0};
    (void)snprintf(t->folder, sizeof t->folder, "/tmp/meshd-test-XXXXXX");
    CHECK(mkdtemp(t->folder) != NULL && arena_open(&t->memory, 1 << 20).code == OK);
    CHECK(loop_open(&t->loop).code == OK);
    err e = meshd_start(&t->servers,
                        &(meshd_plan){
                            .folder = t->folder,
                            .count = elders,
                            .streams = STR("[{\"name\":\"auth\",\"subjects\":[\"log.auth.>\"]}]"),
                            .roles = str_of(town_roles),
                        });
    if (e.code != OK)
        print_message("meshd: %s: %s\n", err_name(e.code), e.what);
    CHECK(e.code == OK || e.code == ERR_ABSENT);
    return e.code == OK;
}

static void town_close(town *t)
{
    nats_link_close(t->auth);
    nats_link_close(t->tns);
    loop_close(t->loop);
    meshd_stop(t->servers);
    arena_close(t->memory);
    CHECK(file_remove_tree(t->folder).code == OK);
}

static void town_link(town *t, const char *node, nats_link **out)
{
    str certificate, key;
    CHECK(meshd_issue(t->servers, t->memory, str_of(node), str_of(node), &certificate, &key).code ==
          OK);
    nats_link_settings settings = {
        .loop = t->loop,
        .servers = t->servers->servers,
        .servers_count = t->servers->count,
        .node = str_of(node),
        .certificate_pem = certificate,
        .key_pem = key,
        .ca_pem = authority_certificate(t->servers->authority),
        .universe = STR("blackhole"),
        .data = t,
    };
    CHECK(nats_link_open(out, &settings).code == OK);
}

#define UNTIL(t, condition, ms)                                                           \
    do {                                                                                  \
        for (uint64_t end = clock_now_ms() + (ms); !(condition) && clock_now_ms() < end;) \
            loop_turn((t)->loop, 10);                                                     \
        CHECK(condition);                                                                 \
    } while (0)

static void town_on_ask(void *data, const nats_message *m)
{
    town *t = data;
    t->asked++;
    const str pieces[] = {STR("heard "), m->payload};
    CHECK(nats_publish(t->auth,
                       &(nats_outgoing){.subject = m->reply, .pieces = pieces, .pieces_count = 2})
              .code == OK);
}

static void town_on_reply(void *data, err e, const nats_message *m)
{
    town *t = data;
    t->replies++;
    t->error = e;
    t->last[0] = 0;
    if (m != NULL)
        (void)snprintf(t->last, sizeof t->last, "%.*s", STR_ARG(m->payload));
}

static err town_ask(town *t, const char *subject, uint64_t deadline_ms)
{
    str payload = STR("hello");
    unsigned before = t->replies;
    (void)nats_request(
        t->tns, &(nats_outgoing){.subject = str_of(subject), .pieces = &payload, .pieces_count = 1},
        deadline_ms, town_on_reply, t);
    UNTIL(t, t->replies > before, deadline_ms + 1000);
    return t->error;
}

static void town_open_links(town *t)
{
    nats_subscription *s = NULL;
    town_link(t, "auth", &t->auth);
    town_link(t, "tns", &t->tns);
    CHECK(nats_subscribe(&s, t->auth, STR("ask.a.any.*"), STR("a"), town_on_ask, t).code == OK);
    UNTIL(t, nats_link_connected(t->auth) && nats_link_connected(t->tns), 5000);
    // Servers tell each other of interest a little later.
    for (uint64_t end = clock_now_ms() + 5000; clock_now_ms() < end;)
        if (town_ask(t, "ask.a.any.tns", 500).code == OK)
            break;
}

TEST(link_asks_over_meshd)
{
    town t;
    if (!town_open(&t, 1)) {
        town_close(&t);
        skip();
        return;
    }
    town_open_links(&t);
    CHECK(town_ask(&t, "ask.a.any.tns", 5000).code == OK && strcmp(t.last, "heard hello") == 0);
    CHECK(town_ask(&t, "ask.nobody.any.tns", 5000).code == ERR_BUSY);
    uint64_t begin = clock_now_ms();
    CHECK(town_ask(&t, "ask.a.any.auth", 3000).code == ERR_DENIED); // in another's name
    CHECK(clock_now_ms() - begin < 2000);
    CHECK(town_ask(&t, "log.auth.tns.tns", 5000).code == OK);
    CHECK(str_starts(str_of(t.last), STR("{\"stream\":\"auth\"")));
    CHECK(nats_link_payload_max(t.tns) == 8 << 20);
    town_close(&t);
}

TEST(link_comes_back_when_meshd_does)
{
    town t;
    if (!town_open(&t, 1)) {
        town_close(&t);
        skip();
        return;
    }
    town_open_links(&t);
    meshd_signal(t.servers, 0, SIGKILL);
    UNTIL(&t, !nats_link_connected(t.tns) && !nats_link_connected(t.auth), 2000);
    unsigned before = t.replies, asked = t.asked;
    (void)nats_request(t.tns, &(nats_outgoing){.subject = STR("ask.a.any.tns")}, 30000,
                       town_on_reply, &t);
    CHECK(meshd_restart(t.servers, 0).code == OK);
    UNTIL(&t, nats_link_connected(t.tns) && nats_link_connected(t.auth), 5000);
    UNTIL(&t, t.replies > before, 5000);
    // It was written before or after the other node's subscription: both have an end.
    CHECK(t.error.code == ERR_BUSY || (t.error.code == OK && t.asked == asked + 1));
    CHECK(town_ask(&t, "ask.a.any.tns", 5000).code == OK);
    town_close(&t);
}

TEST(link_leaves_a_stopped_meshd_for_another)
{
    town t;
    if (!town_open(&t, 3)) {
        town_close(&t);
        skip();
        return;
    }
    town_open_links(&t);
    for (size_t i = 0; i < 2; i++) {
        meshd_signal(t.servers, i, SIGSTOP);
        uint64_t end = clock_now_ms() + 20000;
        while (town_ask(&t, "ask.a.any.tns", 300).code != OK)
            CHECK(clock_now_ms() < end);
        meshd_signal(t.servers, i, SIGCONT);
    }
    town_close(&t);
}
