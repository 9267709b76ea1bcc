// The server's limits and refusals as a client on a plain socket sees them, and its faults.
#include "base/clock.h"
#include "base/fault.h"
#include "base/str.h"
#include "base/test.h"
#include "http/fixture_inner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define GET(path)      "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"
#define GET_LAST(path) "GET " path " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

static void open_default(fixture *f, buf *out)
{
    CHECK(http_fixture_open(f, (http_limits){.head_bytes = 0}).code == OK);
    buf_open(out, 64 * 1024 * 1024);
}

static void close_all(fixture *f, buf *out)
{
    buf_close(out);
    http_fixture_close(f);
}

TEST(server_refuses_bad_heads_and_closes)
{
    static const struct {
        const char *request, *answer;
    } cases[] = {
        {"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n"},
        {"GET /pong HTTP/1.1\nHost: a\n\n", "HTTP/1.1 400 "},
        {"\x16\x03\x01\x02\x00\x01\x00", "HTTP/1.1 400 "},
        {"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 501 "},
        {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/1.1 505 "},
        {"GET / HTTP/3.0\r\nHost: a\r\n\r\n", "HTTP/1.1 505 "},
        {"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: x\r\n\r\n",
         "HTTP/1.1 417 "},
        {"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello",
         "HTTP/1.1 400 "},
        {"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: "
         "chunked\r\n\r\n0\r\n\r\n",
         "HTTP/1.1 400 "},
        {"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n", "HTTP/1.1 413 "},
        {"POST /limit HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n", "HTTP/1.1 413 "},
        {"POST /limit HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nhello "
         "world\r\n",
         "HTTP/1.1 413 "},
    };
    fixture f;
    buf out;
    open_default(&f, &out);
    for (size_t i = 0; i < COUNT(cases); i++) {
        buf request;
        buf_open(&request, 4096);
        buf_add(&request, str_of(cases[i].request));
        buf_add(&request, STR(GET("/pong"))); // nothing behind a refused request is read
        buf_add_byte(&request, 0);
        http_fixture_ask(&f, request.at, &out);
        CHECK(str_starts(buf_str(&out), str_of(cases[i].answer)));
        CHECK(http_text_count(buf_str(&out), "HTTP/1.1 ") == 1 &&
              http_text_has(&out, "Connection: close\r\n"));
        buf_close(&request);
    }
    CHECK(http_server_connections(f.s) == 0);
    close_all(&f, &out);
}

TEST(server_bounds_head_target_and_header_count)
{
    fixture f;
    buf out, in;
    open_default(&f, &out);
    buf_open(&in, 1024 * 1024);
    for (size_t kind = 0; kind < 4; kind++) {
        buf_clear(&in);
        buf_add(&in, STR("GET /"));
        for (size_t i = 0; kind < 2 && i < (kind == 0 ? 8193 : 100000); i++)
            buf_add_byte(&in, 'a');
        buf_add(&in, STR(" HTTP/1.1\r\nHost: a\r\n"));
        for (size_t i = 0; kind == 2 && i < 101; i++)
            buf_add(&in, STR("X: y\r\n"));
        for (size_t i = 0; kind == 3 && i < 40; i++)
            buf_add_format(&in, "X: %01000d\r\n", 1);
        buf_add(&in, STR("\r\n"));
        int fd = http_fixture_connect(&f);
        buf_clear(&out);
        http_fixture_write(&f, fd, buf_str(&in));
        CHECK(http_fixture_read_end(&f, fd, &out));
        CHECK(str_starts(buf_str(&out), kind < 2 ? STR("HTTP/1.1 414 ") : STR("HTTP/1.1 431 ")));
    }
    buf_close(&in);
    close_all(&f, &out);
}

TEST(server_refuses_a_gigabyte_before_reading_it)
{
    fixture f;
    buf out;
    open_default(&f, &out);
    int fd = http_fixture_connect(&f);
    http_fixture_write(&f, fd,
                       STR("PUT /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1073741824\r\n"
                           "Expect: 100-continue\r\n\r\n"));
    CHECK(http_fixture_read(&f, fd, &out, "413 Content Too Large"));
    CHECK(!http_text_has(&out, "100 Continue") && f.last_status == 413);
    close(fd);
    close_all(&f, &out);
}

TEST(server_bounds_all_bodies_together_and_forgets_those_that_are_gone)
{
    http_limits limits = {.bodies_bytes = 10};
    fixture f;
    buf out;
    CHECK(http_fixture_open(&f, limits).code == OK);
    buf_open(&out, 100000);
    str half = STR("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n12345678");
    int one = http_fixture_connect(&f), two = http_fixture_connect(&f);
    http_fixture_write(&f, one, half);
    http_fixture_turn(&f, 20);
    http_fixture_write(&f, two, half);
    CHECK(http_fixture_read_end(&f, two, &out) && http_text_has(&out, "HTTP/1.1 503 "));
    http_fixture_write(&f, one, STR("9"));
    buf_clear(&out);
    CHECK(http_fixture_read(&f, one, &out, "123456789"));
    // What was answered, and what was cut, takes no room any more.
    for (size_t i = 0; i < 4; i++) {
        buf_clear(&out);
        http_fixture_ask(&f,
                         "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nConnection: "
                         "close\r\n\r\n123456789",
                         &out);
        CHECK(http_text_has(&out, "HTTP/1.1 200 "));
        int cut = http_fixture_connect(&f);
        http_fixture_write(&f, cut, half);
        http_fixture_turn(&f, 20);
        close(cut);
        http_fixture_turn(&f, 20);
    }
    close(one);
    close_all(&f, &out);
}

TEST(server_closes_slow_and_idle_connections)
{
    http_limits limits = {.head_ms = 100, .idle_ms = 100, .body_idle_ms = 100};
    fixture f;
    buf out;
    CHECK(http_fixture_open(&f, limits).code == OK);
    buf_open(&out, 100000);
    int silent = http_fixture_connect(&f), slow = http_fixture_connect(&f),
        idle = http_fixture_connect(&f), body = http_fixture_connect(&f);
    http_fixture_write(&f, slow, STR("GET /pong HTTP/1.1\r\nHos"));
    http_fixture_write(&f, idle, STR(GET("/pong")));
    http_fixture_write(&f, body,
                       STR("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbo"));
    CHECK(http_fixture_read_end(&f, silent, &out) && out.len == 0);
    CHECK(http_fixture_read_end(&f, slow, &out) && http_text_has(&out, "HTTP/1.1 408 "));
    buf_clear(&out);
    CHECK(http_fixture_read_end(&f, idle, &out) &&
          http_text_count(buf_str(&out), "HTTP/1.1 ") == 1);
    buf_clear(&out);
    CHECK(http_fixture_read_end(&f, body, &out) && http_text_has(&out, "HTTP/1.1 408 "));
    CHECK(http_server_connections(f.s) == 0);
    close_all(&f, &out);
}

TEST(server_breaks_with_a_client_that_takes_nothing)
{
    http_limits limits = {.write_idle_ms = 200};
    fixture f;
    buf out;
    CHECK(http_fixture_open(&f, limits).code == OK);
    buf_open(&out, 100000);
    int fd = http_fixture_connect(&f);
    http_fixture_write(&f, fd, STR(GET("/big?30000000")));
    http_fixture_turn(&f, 1600);
    CHECK(http_server_connections(f.s) == 0);
    close(fd);
    close_all(&f, &out);
}

TEST(server_pauses_accepting_at_its_limit)
{
    http_limits limits = {.connections = 2};
    fixture f;
    buf out;
    CHECK(http_fixture_open(&f, limits).code == OK);
    buf_open(&out, 100000);
    int one = http_fixture_connect(&f), two = http_fixture_connect(&f),
        three = http_fixture_connect(&f), four = http_fixture_connect(&f);
    http_fixture_write(&f, three, STR(GET_LAST("/pong")));
    http_fixture_write(&f, four, STR(GET_LAST("/pong")));
    http_fixture_turn(&f, 50);
    CHECK(http_server_connections(f.s) == 2 && f.requests == 0);
    close(one);
    CHECK(http_fixture_read_end(&f, three, &out) && http_text_has(&out, "PONG"));
    buf_clear(&out);
    CHECK(http_fixture_read_end(&f, four, &out) && http_text_has(&out, "PONG"));
    close(two);
    close_all(&f, &out);
}

TEST(server_ends_a_connection_after_its_last_request)
{
    http_limits limits = {.requests_per_connection = 2};
    fixture f;
    buf out;
    CHECK(http_fixture_open(&f, limits).code == OK);
    buf_open(&out, 100000);
    http_fixture_ask(&f, GET("/pong") GET("/pong") GET("/pong"), &out);
    CHECK(f.requests == 2 && http_text_count(buf_str(&out), "Connection: close") == 1);
    close_all(&f, &out);
}

TEST(server_survives_the_failure_of_every_allocation)
{
    for (uint64_t after = 0;; after++) {
        fixture f;
        buf out;
        buf_open(&out, 1024 * 1024);
        CHECK(buf_reserve(&out, 200000) != NULL);
        if (http_fixture_open(&f, (http_limits){.head_bytes = 0}).code != OK)
            break;
        int fd = http_fixture_connect(&f);
        fault_now = (fault_plan){FAULT_MEMORY, after, 1, 0};
        http_fixture_write(
            &f, fd,
            STR("GET /nowhere HTTP/1.1\r\nHost: a\r\nX: 1\r\nX: 1\r\nX: 1\r\nX: 1\r\n\r\n"));
        http_fixture_write(
            &f, fd,
            STR("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                "5\r\nhello\r\n"));
        http_fixture_write(&f, fd,
                           STR("0\r\n\r\n" GET("/late") GET("/big?100000") GET_LAST("/pong")));
        CHECK(http_fixture_read_end(&f, fd, &out));
        uint64_t seen = fault_now.seen;
        fault_now = (fault_plan){.what = FAULT_NONE};
        CHECK(seen <= after || http_text_count(buf_str(&out), "PONG") <= 1);
        CHECK(seen > after || http_text_count(buf_str(&out), "PONG") == 1);
        // The server itself goes on.
        http_fixture_ask(&f, GET_LAST("/pong"), &out);
        CHECK(http_text_has(&out, "PONG"));
        CHECK(http_server_connections(f.s) == 0);
        close_all(&f, &out);
        if (seen <= after)
            break;
    }
}

TEST(server_survives_the_failure_of_every_write)
{
    for (uint64_t after = 0; after < 8; after++) {
        fixture f;
        buf out;
        open_default(&f, &out);
        int fd = http_fixture_connect(&f);
        fault_now = (fault_plan){FAULT_WRITE, after, 1, 0};
        http_fixture_write(
            &f, fd, STR(GET("/pong") GET("/chunks") GET("/late") GET("/length") GET_LAST("/pong")));
        CHECK(http_fixture_read_end(&f, fd, &out));
        fault_now = (fault_plan){.what = FAULT_NONE};
        http_fixture_ask(&f, GET_LAST("/pong"), &out);
        CHECK(http_text_has(&out, "PONG") && http_server_connections(f.s) == 0);
        close_all(&f, &out);
    }
}

TEST(server_without_connections_lets_the_loop_sleep)
{
    fixture f;
    buf out;
    open_default(&f, &out);
    http_fixture_ask(&f, GET_LAST("/pong"), &out);
    http_fixture_turn(&f, 50);
    uint64_t start = clock_now_ms();
    loop_turn(f.l, 700);
    CHECK(clock_now_ms() - start >= 690);
    close_all(&f, &out);
}
