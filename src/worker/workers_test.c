// Worker processes with real guests: every outcome, loss and replacement, snapshots under load.
#include "base/clock.h"
#include "base/str.h"
#include "worker/farm_test.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

static void farm_begin(farm *f, size_t slots, route_function settings)
{
    farm_open(f, slots);
    if (settings.timeout_ms == 0)
        settings.timeout_ms = 2000;
    farm_publish(f, &settings);
    farm_start(f);
}

static void farm_turn_for(farm *f, uint64_t ms)
{
    uint64_t end = clock_now_ms() + ms;
    for (uint64_t now; (now = clock_now_ms()) < end;)
        loop_turn(f->loop, end - now);
}

static bool farm_said(farm *f, const char *text)
{
    uint64_t end = clock_now_ms() + 3000;
    while (clock_now_ms() < end) {
        if (str_find(buf_str(&f->lines), str_of(text)) < f->lines.len)
            return true;
        loop_turn(f->loop, 20);
    }
    print_error("not said: %s in:\n%.*s\n", text, (int)f->lines.len, f->lines.at);
    return false;
}

static bool head_has(const reply *r, const char *text)
{
    return strstr(r->head, text) != NULL;
}

TEST(worker_answers_pong_through_a_process)
{
    farm f;
    reply r;
    farm_begin(&f, 1, (route_function){0});
    for (int i = 0; i < 100; i++) {
        farm_get(&f, &r, "/pong");
        CHECK(r.error.code == OK && r.status == 200);
        assert_string_equal(r.body, "PONG");
    }
    CHECK(f.wants == 1);
    farm_turn_for(&f, 1200);
    CHECK(f.calls == 100 && f.failures == 0);
    farm_close(&f);
}

TEST(worker_outcomes_have_their_statuses)
{
    static const struct {
        const char *path;
        unsigned status;
        const char *code;
    } cases[] = {
        {"/trap", 500, "trap"},      {"/spin", 504, "timeout"},   {"/eat", 507, "memory"},
        {"/flood", 500, "response"}, {"/missing", 500, "module"}, {"/nowhere", 404, "path"},
        {"/%zz", 400, "path"},
    };
    farm f;
    reply r;
    farm_begin(
        &f, 1,
        (route_function){.timeout_ms = 300, .memory_bytes = 1 << 20, .response_bytes = 60000});
    for (size_t i = 0; i < COUNT(cases); i++) {
        farm_get(&f, &r, cases[i].path);
        if (r.status != cases[i].status || strstr(r.body, cases[i].code) == NULL)
            print_error("%s: %u %s\n", cases[i].path, r.status, r.body);
        CHECK(r.status == cases[i].status && strstr(r.body, cases[i].code) != NULL);
        CHECK(head_has(&r, "X-Request-Id: "));
    }
    CHECK(farm_said(&f, "trap|stdout|a line\n"));
    CHECK(farm_said(&f, "trap|error|trap: unreachable"));
    CHECK(farm_said(&f, "missing|error|"));
    farm_get(&f, &r, "/teapot");
    CHECK(r.status == 418 && head_has(&r, "X-A: one\n") && str_is(str_of(r.body), STR("PONG")));
    farm_get(&f, &r, "/a/%2e./%2e./path");
    CHECK(r.status == 400);
    farm_get(&f, &r, "/x/..//%70ath");
    CHECK(r.status == 200);
    assert_string_equal(r.body, "/path");
    farm_close(&f);
}

TEST(worker_answers_other_methods_and_hosts_precisely)
{
    farm f;
    reply r;
    farm_begin(&f, 1, (route_function){0});
    farm_send(&f, &r, &(http_client_request){.target = STR("/pong"), .method = STR("DELETE")});
    farm_wait(&f, &r);
    CHECK(r.status == 405 && head_has(&r, "Allow: GET, HEAD, POST\n"));
    farm_send(&f, &r, &(http_client_request){.target = STR("/pong"), .method = STR("HEAD")});
    farm_wait(&f, &r);
    CHECK(r.status == 200 && r.len == 0 && head_has(&r, "Content-Length: 4\n"));
    farm_send(
        &f, &r,
        &(http_client_request){.target = STR("/pong"), .host = STR("HELLO.black.localhost:8080")});
    farm_wait(&f, &r);
    CHECK(r.status == 200);
    farm_send(
        &f, &r,
        &(http_client_request){.target = STR("/pong"), .host = STR("other.black.localhost:8080")});
    farm_wait(&f, &r);
    CHECK(r.status == 404 &&
          strstr(r.body, "GET http://hello.black.localhost:8080/pong\n") != NULL);
    farm_send(&f, &r, &(http_client_request){.target = STR("/pong"), .host = STR("example.com")});
    farm_wait(&f, &r);
    CHECK(r.status == 404 && strstr(r.body, "hello") == NULL && strstr(r.body, "\"host\"") != NULL);
    farm_close(&f);
}

TEST(worker_reads_bodies_and_refuses_large_ones)
{
    static char body[20000];
    farm f;
    reply r;
    memset(body, 'x', sizeof(body));
    farm_begin(&f, 1, (route_function){0});
    farm_send(&f, &r,
              &(http_client_request){
                  .target = STR("/echo"), .method = STR("POST"), .body = {body, 5000}});
    farm_wait(&f, &r);
    CHECK(r.status == 200 && r.len == 5000 && r.body[4999] == 'x');
    size_t large = 11 * 1000 * 1000;
    char *much = calloc(1, large);
    CHECK(much != NULL);
    farm_send(&f, &r,
              &(http_client_request){
                  .target = STR("/echo"), .method = STR("POST"), .body = {much, large}});
    farm_wait(&f, &r);
    CHECK(r.status == 413);
    free(much);
    farm_get(&f, &r, "/pong");
    CHECK(r.status == 200);
    farm_close(&f);
}

TEST(worker_streams_and_breaks_what_fails_after_its_head)
{
    farm f;
    reply r;
    farm_begin(&f, 1, (route_function){0});
    farm_get(&f, &r, "/stream");
    CHECK(r.error.code == OK && r.status == 200 && r.pieces >= 4);
    assert_string_equal(r.body, "PONGPONGPONGPONGPONG");
    farm_get(&f, &r, "/broken");
    CHECK(r.status == 200 && r.error.code == ERR_CLOSED);
    farm_close(&f);
}

TEST(worker_limits_concurrency_of_a_function_alone)
{
    farm f;
    reply naps[4], other;
    farm_begin(&f, 1, (route_function){.concurrency = 2});
    farm_get(&f, &other, "/nap");
    CHECK(other.status == 200);
    for (size_t i = 0; i < COUNT(naps); i++)
        farm_send(&f, &naps[i], &(http_client_request){.target = STR("/nap")});
    farm_get(&f, &other, "/pong");
    CHECK(other.status == 200);
    unsigned served = 0, refused = 0;
    for (size_t i = 0; i < COUNT(naps); i++) {
        farm_wait(&f, &naps[i]);
        served += naps[i].status == 200;
        refused += naps[i].status == 503 && head_has(&naps[i], "Retry-After: 1\n");
    }
    CHECK(served == 2 && refused == 2);
    farm_close(&f);
}

// Connections land on either process: the limit holds for both together, and outlives one that is
// killed.
TEST(worker_limits_hold_over_all_processes)
{
    farm f;
    reply naps[12], r;
    farm_begin(&f, 2, (route_function){.concurrency = 3});
    for (size_t round = 0; round < 2; round++) {
        unsigned served = 0, refused = 0;
        for (size_t i = 0; i < COUNT(naps); i++)
            farm_send(&f, &naps[i],
                      &(http_client_request){.target = STR("/nap"), .method = STR("POST")});
        for (size_t i = 0; i < COUNT(naps); i++) {
            farm_wait(&f, &naps[i]);
            served += naps[i].status == 200;
            refused += naps[i].status == 503;
        }
        CHECK(served == 3 && refused == 9);
        for (size_t i = 0; i < 3; i++)
            farm_send(&f, &naps[i],
                      &(http_client_request){.target = STR("/nap"), .method = STR("POST")});
        farm_turn_for(&f, 100);
        CHECK(kill(workers_process(f.workers, round), SIGKILL) == 0);
        for (size_t i = 0; i < 3; i++)
            farm_wait(&f, &naps[i]);
        farm_get(&f, &r, "/pong");
    }
    farm_close(&f);
}

TEST(worker_killed_loses_calls_in_flight_only)
{
    farm f;
    reply nap, next[8];
    farm_begin(&f, 1, (route_function){0});
    farm_get(&f, &next[0], "/pong");
    farm_send(&f, &nap, &(http_client_request){.target = STR("/nap"), .method = STR("POST")});
    farm_turn_for(&f, 100);
    uint64_t from = clock_now_ms();
    CHECK(kill(workers_process(f.workers, 0), SIGKILL) == 0);
    for (size_t i = 0; i < COUNT(next); i++)
        farm_send(&f, &next[i], &(http_client_request){.target = STR("/pong")});
    farm_wait(&f, &nap);
    CHECK(nap.error.code != OK);
    for (size_t i = 0; i < COUNT(next); i++) {
        farm_wait(&f, &next[i]);
        CHECK(next[i].error.code == OK && next[i].status == 200);
    }
    uint64_t took = clock_now_ms() - from;
    print_message("killed worker replaced and answering after %llu ms\n", (unsigned long long)took);
    CHECK(f.losts == 1 && workers_restarts(f.workers) == 1);
    farm_close(&f);
}

TEST(worker_lost_names_the_function_that_ran)
{
    farm f;
    reply r;
    farm_begin(&f, 1, (route_function){.timeout_ms = 10000});
    farm_send(&f, &r, &(http_client_request){.target = STR("/spin"), .method = STR("POST")});
    farm_turn_for(&f, 500);
    for (int i = 0; i < 50 && f.losts == 0; i++) {
        (void)kill(workers_process(f.workers, 0), SIGKILL);
        farm_turn_for(&f, 200);
    }
    farm_wait(&f, &r);
    CHECK(r.error.code != OK);
    assert_string_equal(f.lost_function, "spin");
    assert_string_equal(f.lost_path, "/spin");
    farm_close(&f);
}

TEST(worker_that_stands_still_is_replaced)
{
    farm f;
    reply r;
    farm_begin(&f, 1, (route_function){0});
    int process = workers_process(f.workers, 0);
    farm_get(&f, &r, "/pong");
    CHECK(kill(process, SIGSTOP) == 0);
    farm_send(&f, &r, &(http_client_request){.target = STR("/pong"), .deadline_ms = 15000});
    farm_wait(&f, &r);
    CHECK(r.status == 200 && workers_process(f.workers, 0) != process && f.losts == 1);
    farm_close(&f);
}

TEST(worker_swaps_snapshots_under_load_without_a_failure)
{
    farm f;
    reply r;
    farm_begin(&f, 2, (route_function){0});
    for (uint64_t i = 0; i < 60; i++) {
        reply many[8];
        for (size_t k = 0; k < COUNT(many); k++)
            farm_send(&f, &many[k],
                      &(http_client_request){.target = k % 2 ? STR("/pong") : STR("/stream")});
        // Other limits are other functions to the workers: their modules load again.
        farm_publish(&f, &(route_function){.timeout_ms = 2000 + i});
        for (size_t k = 0; k < COUNT(many); k++) {
            farm_wait(&f, &many[k]);
            CHECK(many[k].error.code == OK && many[k].status == 200);
        }
    }
    route_table none = {.functions_count = 0};
    workers_publish_routes(f.workers, &none);
    farm_turn_for(&f, 200);
    farm_get(&f, &r, "/pong");
    CHECK(r.status == 404);
    farm_close(&f);
}

TEST(worker_module_that_does_not_come_is_an_answer)
{
    farm f;
    reply r;
    farm_begin(&f, 1, (route_function){.module = STR("absent")});
    farm_get(&f, &r, "/pong");
    CHECK(r.status == 500 && strstr(r.body, "module") != NULL);
    CHECK(farm_said(&f, "pong|error|no such blob"));
    farm_close(&f);
}

TEST(worker_that_cannot_start_backs_off)
{
    farm f;
    farm_open(&f, 1);
    workers *w;
    workers_settings settings = {
        .loop = f.loop, .log = NULL, .program = "/bin/false", .universe = STR("black"), .slots = 1};
    CHECK(workers_open(&w, &settings).code == OK);
    CHECK(workers_start(w).code == OK);
    farm_turn_for(&f, 1500);
    CHECK(workers_restarts(w) >= 3 && workers_restarts(w) < 12 && workers_serving(w) == 0);
    workers_close(w, NULL, NULL);
    farm_turn_for(&f, 50);
    farm_close(&f);
}

TEST(worker_port_in_use_is_a_conflict)
{
    farm f;
    farm_open(&f, 2);
    uint16_t port = workers_port(f.workers, WORKER_SUBSTRATE_HTTP);
    CHECK(workers_listen(f.workers, WORKER_GATEWAY_HTTP, "127.0.0.1", port).code == ERR_CONFLICT);
    farm_close(&f);
}

TEST(worker_unloads_idle_modules_and_loads_them_again)
{
    farm f;
    reply r;
    farm_begin(&f, 1, (route_function){0});
    farm_get(&f, &r, "/pong");
    farm_turn_for(&f, 400);
    farm_get(&f, &r, "/pong");
    CHECK(f.wants == 1);
    uint64_t end = clock_now_ms() + 15000;
    // The control side keeps a module for a while too: only when that is over as well it is wanted
    // anew.
    while (f.wants == 1 && clock_now_ms() < end) {
        farm_turn_for(&f, 6500);
        farm_get(&f, &r, "/pong");
        CHECK(r.status == 200);
    }
    CHECK(f.wants == 2);
    farm_close(&f);
}

TEST(worker_drops_the_call_of_a_client_that_has_gone)
{
    farm f;
    reply r;
    farm_begin(&f, 1, (route_function){.concurrency = 1});
    farm_get(&f, &r, "/pong");
    http_client *other;
    CHECK(http_client_open(&other, f.loop, 1).code == OK);
    http_client *mine = f.client;
    f.client = other;
    farm_send(&f, &r, &(http_client_request){.target = STR("/nap")});
    farm_turn_for(&f, 100);
    http_client_close(other);
    f.client = mine;
    farm_turn_for(&f, 30);
    farm_get(&f, &r, "/nap"); // the one place is free again
    CHECK(r.status == 200);
    farm_close(&f);
}

TEST(worker_says_how_many_lines_it_dropped)
{
    farm f;
    reply r;
    farm_begin(&f, 1, (route_function){0});
    for (int i = 0; i < 300; i++)
        farm_get(&f, &r, "/trap");
    farm_turn_for(&f, 1200);
    CHECK(f.calls == 300 && f.failures == 300);
    size_t lines = 0;
    for (size_t i = 0; i < f.lines.len; i++)
        lines += f.lines.at[i] == '\n';
    CHECK(lines >= 600 || farm_said(&f, "|dropped|"));
    farm_close(&f);
}

TEST(worker_serves_others_beside_an_endless_loop)
{
    farm f;
    reply spin, r;
    farm_begin(&f, 1, (route_function){.timeout_ms = 1500});
    farm_get(&f, &r, "/pong");
    farm_send(&f, &spin, &(http_client_request){.target = STR("/spin"), .method = STR("POST")});
    farm_turn_for(&f, 50);
    uint64_t from = clock_now_us(), slowest = 0;
    unsigned served = 0;
    while (!spin.done && clock_now_us() - from < 1200 * 1000) {
        uint64_t sent = clock_now_us();
        farm_get(&f, &r, "/pong");
        CHECK(r.status == 200);
        uint64_t took = clock_now_us() - sent;
        slowest = took > slowest ? took : slowest;
        served++;
    }
    print_message("%u answers beside an endless loop, the slowest after %llu us\n", served,
                  (unsigned long long)slowest);
    CHECK(served > 50);
    farm_wait(&f, &spin);
    CHECK(spin.status == 504);
    farm_close(&f);
}
