// The gateway's doors and the peers' doors, with real certificates and real workers.
#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"
#include "io/conn.h"
#include "mesh/identity.h"
#include "worker/farm_test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct city { // a farm with a universe's authority
    farm f;
    arena *memory;
    authority *authority;
    char folder[64];
    uint16_t gateway, p2p;
    unsigned relays;
    char peer[128], request[128];
} city;

static tls_context *city_client(city *c, const char *node, const char *protocols)
{
    str certificate, key;
    tls_context *tls;
    CHECK(authority_issue(c->authority, c->memory, str_of(node), str_of(protocols), 1, &certificate,
                          &key)
              .code == OK);
    tls_settings settings = {.certificate_pem = certificate,
                             .key_pem = key,
                             .ca_pem = authority_certificate(c->authority)};
    CHECK(tls_context_open(&tls, &settings).code == OK);
    return tls;
}

static void city_identity(city *c, bool gateway)
{
    str certificate, key, name = gateway ? STR("gateway") : STR("substrate");
    CHECK(authority_issue(c->authority, c->memory, name, name, 1, &certificate, &key).code == OK);
    workers_identity(c->f.workers, gateway, certificate, key);
}

static void city_on_relay(void *data, uint64_t ticket, str peer_uri, str request)
{
    city *c = data;
    c->relays++;
    (void)snprintf(c->peer, sizeof(c->peer), "%.*s", STR_ARG(peer_uri));
    (void)snprintf(c->request, sizeof(c->request), "%.*s", STR_ARG(request));
    workers_relayed(c->f.workers, ticket, STR("the reply"));
}

static void city_publish(city *c, uint16_t dead_port, bool live)
{
    static const str hosts[] = {{"hello.black.localtau", 20}};
    backend all[2];
    backend_table table = {.at = all, .hosts = hosts, .hosts_count = 1};
    if (dead_port != 0)
        all[table.count++] = (backend){STR("substrate@dead"), STR("127.0.0.1"), dead_port};
    if (live)
        all[table.count++] = (backend){STR("substrate@black"), STR("127.0.0.1"), c->p2p};
    workers_publish_backends(c->f.workers, &table);
}

static void city_open(city *c, size_t slots)
{
    *c = (city){.relays = 0};
    (void)snprintf(c->folder, sizeof(c->folder), "/tmp/ctau-city-XXXXXX");
    CHECK(mkdtemp(c->folder) != NULL);
    CHECK(arena_open(&c->memory, 1 << 20).code == OK);
    CHECK(authority_open(&c->authority, c->folder, STR("black")).code == OK);
    farm_open_with(&c->f, slots, authority_certificate(c->authority));
    city_identity(c, false);
    city_identity(c, true);
    CHECK(workers_listen(c->f.workers, WORKER_SUBSTRATE_P2P, "127.0.0.1", 0).code == OK);
    CHECK(workers_listen(c->f.workers, WORKER_GATEWAY_HTTP, "127.0.0.1", 0).code == OK);
    c->p2p = workers_port(c->f.workers, WORKER_SUBSTRATE_P2P);
    c->gateway = workers_port(c->f.workers, WORKER_GATEWAY_HTTP);
    workers_on_relay(c->f.workers, false, city_on_relay, c);
    farm_publish(&c->f, &(route_function){.timeout_ms = 2000});
    city_publish(c, 0, true);
    farm_start(&c->f);
}

static void city_close(city *c)
{
    farm_close(&c->f);
    authority_close(c->authority);
    arena_close(c->memory);
    CHECK(file_remove_tree(c->folder).code == OK);
}

static void city_get(city *c, reply *r, const char *path)
{
    farm_send(&c->f, r, &(http_client_request){.target = str_of(path), .port = c->gateway});
    farm_wait(&c->f, r);
}

static void turn_for(city *c, uint64_t ms)
{
    uint64_t end = clock_now_ms() + ms;
    for (uint64_t now; (now = clock_now_ms()) < end;)
        loop_turn(c->f.loop, end - now);
}

TEST(gateway_forwards_both_ways)
{
    static char body[150 * 1000];
    city c;
    reply r;
    memset(body, 'y', sizeof(body));
    city_open(&c, 2);
    for (int i = 0; i < 20; i++) {
        city_get(&c, &r, "/pong");
        CHECK(r.error.code == OK && r.status == 200 && str_is(str_of(r.body), STR("PONG")));
    }
    city_get(&c, &r, "/teapot");
    CHECK(r.status == 418 && strstr(r.head, "X-A: one\n") != NULL);
    city_get(&c, &r, "/stream");
    CHECK(r.error.code == OK && r.pieces >= 4 && r.len == 20);
    city_get(&c, &r, "/broken");
    CHECK(r.status == 200 && r.error.code != OK);
    http_client_request post = {
        .target = STR("/echo"), .method = STR("POST"), .port = c.gateway, .body = {body, 5000}};
    farm_send(&c.f, &r, &post);
    farm_wait(&c.f, &r);
    CHECK(r.status == 200 && r.len == 5000);
    post.body.len = sizeof(body); // too large to be kept: it streams
    farm_send(&c.f, &r, &post);
    farm_wait(&c.f, &r);
    CHECK(r.status == 200 && r.len == sizeof(r.body) - 1 && r.body[8000] == 'y');
    farm_send(
        &c.f, &r,
        &(http_client_request){.target = STR("/pong"), .method = STR("HEAD"), .port = c.gateway});
    farm_wait(&c.f, &r);
    CHECK(r.status == 200 && r.len == 0 && strstr(r.head, "Content-Length: 4\n") != NULL);
    uint64_t requests = 0, failures = 0;
    turn_for(&c, 1300);
    workers_gateway_counts(c.f.workers, &requests, &failures);
    CHECK(requests == 26 && failures == 1);
    CHECK(workers_backend_counts(c.f.workers, STR("substrate@black"), &requests, &failures) &&
          requests == 26);
    city_close(&c);
}

TEST(gateway_tries_another_backend_and_says_when_none_is_left)
{
    city c;
    reply r;
    int fd = -1;
    city_open(&c, 1);
    CHECK(socket_listen("127.0.0.1", 0, false, &fd).code == OK);
    uint16_t dead = socket_port(fd);
    (void)close(fd);
    city_publish(&c, dead, true);
    turn_for(&c, 100);
    for (int i = 0; i < 10; i++) {
        farm_send(&c.f, &r,
                  &(http_client_request){
                      .target = STR("/pong"), .method = STR("POST"), .port = c.gateway});
        farm_wait(&c.f, &r);
        CHECK(r.status == 200);
    }
    city_publish(&c, dead, false);
    turn_for(&c, 100);
    city_get(&c, &r, "/pong");
    CHECK(r.status == 502 && strstr(r.head, "X-Request-Id: ") != NULL);
    city_publish(&c, 0, false);
    turn_for(&c, 100);
    city_get(&c, &r, "/pong");
    CHECK(r.status == 503 && strstr(r.head, "Retry-After: 1\n") != NULL);
    farm_send(
        &c.f, &r,
        &(http_client_request){.target = STR("/"), .host = STR("example.com"), .port = c.gateway});
    farm_wait(&c.f, &r);
    CHECK(r.status == 404);
    city_close(&c);
}

TEST(peer_door_relays_messages_and_takes_calls_of_gateways_only)
{
    city c;
    reply r;
    city_open(&c, 1);
    tls_context *tls = city_client(&c, "tns", "tns");
    http_client_request request = {.target = STR("/ping"), .port = c.p2p, .tls = tls};
    farm_send(&c.f, &r, &request);
    farm_wait(&c.f, &r);
    CHECK(r.status == 200 && str_is(str_of(r.body), STR("pong")));
    request.target = STR("/ask");
    request.method = STR("POST");
    request.body = STR("a message");
    farm_send(&c.f, &r, &request);
    farm_wait(&c.f, &r);
    CHECK(r.status == 200 && str_is(str_of(r.body), STR("the reply")) && c.relays == 1);
    assert_string_equal(c.peer, "ctau://black/tns/tns");
    assert_string_equal(c.request, "a message");
    http_header mark = {STR("x-ctau-forwarded"), STR("gateway")};
    request = (http_client_request){
        .target = STR("/pong"), .port = c.p2p, .tls = tls, .headers = {&mark, 1}};
    farm_send(&c.f, &r, &request);
    farm_wait(&c.f, &r);
    CHECK(r.status == 404 && strstr(r.body, "PONG") == NULL);
    city_close(&c);
    tls_context_close(tls);
}

TEST(peer_door_refuses_strangers_and_takes_renewed_certificates)
{
    city c, other = {.relays = 0};
    reply r;
    city_open(&c, 1);
    CHECK(arena_open(&other.memory, 1 << 20).code == OK);
    (void)snprintf(other.folder, sizeof(other.folder), "/tmp/ctau-city-XXXXXX");
    CHECK(mkdtemp(other.folder) != NULL);
    CHECK(authority_open(&other.authority, other.folder, STR("black")).code == OK);
    tls_context *stranger = city_client(&other, "gateway", "gateway"),
                *tls = city_client(&c, "tns", "tns");
    farm_send(&c.f, &r,
              &(http_client_request){.target = STR("/ping"), .port = c.p2p, .tls = stranger});
    farm_wait(&c.f, &r);
    CHECK(r.status == 0 && r.error.code != OK);
    farm_send(&c.f, &r, &(http_client_request){.target = STR("/ping"), .port = c.p2p});
    farm_wait(&c.f, &r);
    CHECK(r.status != 200);
    for (int i = 0; i < 3; i++) {
        city_identity(&c, false);
        city_identity(&c, true);
        turn_for(&c, 50);
        farm_send(&c.f, &r,
                  &(http_client_request){.target = STR("/ping"), .port = c.p2p, .tls = tls});
        farm_wait(&c.f, &r);
        CHECK(r.status == 200);
        city_get(&c, &r, "/pong");
        CHECK(r.status == 200);
    }
    city_close(&c);
    tls_context_close(tls);
    tls_context_close(stranger);
    authority_close(other.authority);
    arena_close(other.memory);
    CHECK(file_remove_tree(other.folder).code == OK);
}

TEST(gateway_goes_on_when_workers_are_killed)
{
    city c;
    reply r;
    city_open(&c, 2);
    city_get(&c, &r, "/pong");
    for (int i = 0; i < 6; i++) {
        CHECK(kill(workers_process(c.f.workers, (size_t)i % 2), 9) == 0);
        for (int k = 0; k < 5; k++) {
            city_get(&c, &r, "/pong");
            if (r.status != 200)
                print_error("%d.%d: %u %s %s\n", i, k, r.status, r.error.what, r.body);
            CHECK(r.status == 200);
        }
    }
    city_close(&c);
}

// Many at once through both doors, clients that leave, routes that change, workers that are killed:
// everybody gets an answer or a broken connection, and nothing is left when it stops.
TEST(gateway_and_workers_stand_a_storm)
{
    static const char *const paths[] = {"/pong", "/trap", "/stream", "/broken",
                                        "/echo", "/nap",  "/eat",    "/none"};
    static char body[100 * 1000];
    static reply many[48];
    city c;
    city_open(&c, 2);
    http_client *mine = c.f.client, *leaving;
    CHECK(http_client_open(&leaving, c.f.loop, 8).code == OK);
    unsigned answered = 0, broken = 0, round = 0;
    for (uint64_t end = clock_now_ms() + 6000; clock_now_ms() < end; round++) {
        for (size_t i = 0; i < COUNT(many); i++) {
            http_client_request request = {.target = str_of(paths[random_u64() % COUNT(paths)]),
                                           .port = random_u64() % 2 ? c.gateway : 0};
            if (random_u64() % 3 == 0) {
                request.method = STR("POST");
                request.body = (str){body, random_u64() % sizeof(body)};
            }
            c.f.client = i % 4 == 0 ? leaving : mine;
            farm_send(&c.f, &many[i], &request);
        }
        turn_for(&c, random_u64() % 100);
        http_client_close(leaving);
        if (round % 4 == 1)
            farm_publish(&c.f,
                         &(route_function){.timeout_ms = 2000 + round, .concurrency = 100 + round});
        if (round % 8 == 5)
            CHECK(kill(workers_process(c.f.workers, round / 8 % 2), SIGKILL) == 0);
        for (size_t i = 0; i < COUNT(many); i++) {
            farm_wait(&c.f, &many[i]);
            answered += many[i].status != 0;
            broken += many[i].error.code != OK;
        }
        CHECK(http_client_open(&leaving, c.f.loop, 8).code == OK);
    }
    http_client_close(leaving);
    c.f.client = mine;
    reply r;
    city_get(&c, &r, "/pong");
    CHECK(r.status == 200 && answered > 0);
    print_message("%u rounds, %u answered, %u broken, %llu workers lost\n", round, answered, broken,
                  (unsigned long long)workers_restarts(c.f.workers));
    CHECK(workers_restarts(c.f.workers) <= round / 8 + 1);
    city_close(&c);
}
