// What a client on a plain socket sees of the server: answers, keep-alive, pipelines, bodies, ends.
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

TEST(server_answers_with_length_date_and_name)
{
    fixture f;
    buf out;
    open_default(&f, &out);
    http_fixture_ask(&f, GET_LAST("/pong"), &out);
    CHECK(str_starts(buf_str(&out), STR("HTTP/1.1 200 OK\r\nServer: test\r\nDate: ")));
    CHECK(http_text_has(
        &out,
        " GMT\r\nContent-Length: 4\r\nConnection: close\r\nContent-Type: text/plain\r\n\r\nPONG"));
    CHECK(f.requests == 1 && f.finished == 1 && f.last_status == 200);
    close_all(&f, &out);
}

TEST(server_keeps_a_connection_alive)
{
    fixture f;
    buf out;
    open_default(&f, &out);
    int fd = http_fixture_connect(&f);
    for (size_t i = 1; i <= 50; i++) {
        http_fixture_write(&f, fd, STR(GET("/pong")));
        CHECK(http_fixture_read(&f, fd, &out, "PONG"));
        buf_clear(&out);
    }
    CHECK(http_server_connections(f.s) == 1 && f.requests == 50);
    close(fd);
    http_fixture_turn(&f, 20);
    CHECK(http_server_connections(f.s) == 0);
    close_all(&f, &out);
}

TEST(server_answers_a_request_cut_at_every_byte)
{
    fixture f;
    buf out;
    open_default(&f, &out);
    str whole = STR("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nhello world");
    str chunked = STR("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                      "6\r\nhello \r\n5\r\nworld\r\n0\r\n\r\n");
    int fd = http_fixture_connect(&f);
    for (size_t cut = 1; cut < chunked.len; cut++) {
        for (size_t i = 0; i < 2; i++) {
            str text = i == 0 ? whole : chunked;
            http_fixture_write(&f, fd, str_first(text, cut));
            http_fixture_turn(&f, 0);
            http_fixture_write(&f, fd, str_from(text, cut));
            CHECK(http_fixture_read(&f, fd, &out, "\r\n\r\nhello world"));
            buf_clear(&out);
        }
    }
    for (size_t i = 0; i < chunked.len; i++) {
        http_fixture_write(&f, fd, (str){chunked.at + i, 1});
        http_fixture_turn(&f, 0);
    }
    CHECK(http_fixture_read(&f, fd, &out, "\r\n\r\nhello world"));
    close(fd);
    close_all(&f, &out);
}

TEST(server_answers_a_thousand_pipelined_requests_in_order)
{
    fixture f;
    buf out, in;
    open_default(&f, &out);
    buf_open(&in, 1024 * 1024);
    for (size_t i = 0; i < 1000; i++)
        buf_add_format(&in, "GET /host HTTP/1.1\r\nHost: n%zu.\r\n\r\n", i);
    buf_add(&in, STR(GET_LAST("/pong")));
    int fd = http_fixture_connect(&f);
    http_fixture_write(&f, fd, buf_str(&in));
    CHECK(http_fixture_read_end(&f, fd, &out));
    CHECK(f.requests == 1001);
    str rest = buf_str(&out);
    for (size_t i = 0; i < 1000; i++) {
        char want[32];
        snprintf(want, sizeof(want), "\r\n\r\nn%zu", i);
        size_t at = str_find(rest, str_of(want));
        CHECK(at < rest.len);
        rest = str_from(rest, at + strlen(want));
    }
    CHECK(str_ends(rest, STR("PONG")));
    buf_close(&in);
    close_all(&f, &out);
}

TEST(server_pipelines_behind_late_answers_and_bodies)
{
    fixture f;
    buf out;
    open_default(&f, &out);
    http_fixture_ask(
        &f,
        GET("/late") "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody" GET(
            "/late") "POST /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nunread"
                     "POST /ignore HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "
                     "chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" GET_LAST("/late"),
        &out);
    CHECK(f.requests == 6 && http_text_count(buf_str(&out), "HTTP/1.1 200 OK") == 4);
    CHECK(http_text_count(buf_str(&out), "HTTP/1.1 403 Forbidden") == 2);
    CHECK(http_text_has(&out, "\r\n\r\nbody") && str_ends(buf_str(&out), STR("/late")));
    close_all(&f, &out);
}

TEST(server_does_not_run_ahead_of_a_client_that_does_not_read)
{
    fixture f;
    buf out, in;
    open_default(&f, &out);
    buf_open(&in, 16 * 1024 * 1024);
    for (size_t i = 0; i < 2000; i++)
        buf_add(&in, STR(GET("/big?100000")));
    int fd = http_fixture_connect(&f);
    http_fixture_write(&f, fd, buf_str(&in));
    http_fixture_turn(&f, 50);
    CHECK(f.requests < 200);
    unsigned before = f.requests;
    CHECK(http_fixture_read_len(&f, fd, &out, 10 * 1000 * 1000));
    CHECK(f.requests > before);
    close(fd);
    buf_close(&in);
    close_all(&f, &out);
}

TEST(server_leaves_out_bodies_of_head_and_204_and_304)
{
    fixture f;
    buf out;
    open_default(&f, &out);
    http_fixture_ask(&f, "HEAD /pong HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", &out);
    CHECK(http_text_has(&out, "Content-Length: 4\r\n") && str_ends(buf_str(&out), STR("\r\n\r\n")));
    http_fixture_ask(&f, GET_LAST("/204"), &out);
    CHECK(!http_text_has(&out, "Content-Length") && str_ends(buf_str(&out), STR("\r\n\r\n")));
    http_fixture_ask(&f, GET_LAST("/304"), &out);
    CHECK(str_ends(buf_str(&out), STR("\r\n\r\n")));
    http_fixture_ask(&f, "HEAD /chunks HTTP/1.1\r\nHost: a\r\n\r\n" GET_LAST("/pong"), &out);
    CHECK(!http_text_has(&out, "one") && http_text_has(&out, "PONG"));
    close_all(&f, &out);
}

TEST(server_sends_piecewise_chunked_or_with_a_length)
{
    fixture f;
    buf out;
    open_default(&f, &out);
    http_fixture_ask(&f, GET("/chunks") GET_LAST("/length"), &out);
    CHECK(http_text_has(&out, "Transfer-Encoding: chunked\r\n"));
    CHECK(http_text_has(&out, "\r\n\r\n4\r\none \r\n3\r\ntwo\r\n0\r\n\r\n"));
    CHECK(http_text_has(&out, "Content-Length: 7\r\n") &&
          str_ends(buf_str(&out), STR("\r\n\r\none two")));
    // HTTP/1.0 knows no chunks: the end of the connection ends the body.
    http_fixture_ask(&f, "GET /chunks HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", &out);
    CHECK(!http_text_has(&out, "chunked") && http_text_has(&out, "Connection: close\r\n"));
    CHECK(str_ends(buf_str(&out), STR("\r\n\r\none two")));
    // Less than announced: the peer must not take it for whole.
    http_fixture_ask(&f, GET("/short"), &out);
    CHECK(!http_text_has(&out, "two") && f.last_status == 499);
    close_all(&f, &out);
}

TEST(server_speaks_http_1_0)
{
    fixture f;
    buf out;
    open_default(&f, &out);
    http_fixture_ask(&f, "GET /pong HTTP/1.0\r\n\r\n", &out);
    CHECK(http_text_has(&out, "Connection: close\r\n") && str_ends(buf_str(&out), STR("PONG")));
    int fd = http_fixture_connect(&f);
    buf_clear(&out);
    for (size_t i = 0; i < 3; i++) {
        http_fixture_write(&f, fd, STR("GET /pong HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
        CHECK(http_fixture_read(&f, fd, &out, "Connection: keep-alive\r\n"));
        CHECK(http_fixture_read(&f, fd, &out, "PONG"));
        buf_clear(&out);
    }
    close(fd);
    close_all(&f, &out);
}

TEST(server_drops_headers_that_would_split_or_frame_an_answer)
{
    fixture f;
    buf out;
    open_default(&f, &out);
    http_fixture_ask(&f, GET("/bad-headers") GET_LAST("/pong"), &out);
    CHECK(http_text_has(&out, "X-Good: yes\r\n") && !http_text_has(&out, "evil") &&
          !http_text_has(&out, "X Bad"));
    CHECK(!http_text_has(&out, "999") && !http_text_has(&out, "chunked"));
    CHECK(http_text_count(buf_str(&out), "Connection: close") == 1 && http_text_has(&out, "PONG"));
    close_all(&f, &out);
}

TEST(server_tells_errors_as_json_with_a_request_id)
{
    fixture f;
    buf out;
    open_default(&f, &out);
    http_fixture_ask(&f, GET_LAST("/nowhere"), &out);
    CHECK(str_starts(buf_str(&out), STR("HTTP/1.1 404 Not Found\r\n")));
    CHECK(http_text_has(
        &out,
        "{\"error\":{\"code\":\"absent\",\"message\":\"no such \\\"path\\\"\",\"request\":\""));
    close_all(&f, &out);
}

TEST(server_says_100_continue_only_to_who_waits_for_it)
{
    fixture f;
    buf out;
    open_default(&f, &out);
    int fd = http_fixture_connect(&f);
    http_fixture_write(&f, fd,
                       STR("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n"
                           "Expect: 100-continue\r\n\r\n"));
    CHECK(http_fixture_read(&f, fd, &out, "HTTP/1.1 100 Continue\r\n\r\n"));
    CHECK(!http_text_has(&out, "200 OK"));
    http_fixture_write(&f, fd, STR("body"));
    CHECK(http_fixture_read(&f, fd, &out, "\r\n\r\nbody"));
    // An answer without reading: the connection ends, since the body may or may not follow.
    buf_clear(&out);
    http_fixture_write(&f, fd,
                       STR("POST /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n"
                           "Expect: 100-continue\r\n\r\n"));
    CHECK(http_fixture_read_end(&f, fd, &out));
    CHECK(http_text_has(&out, "403 Forbidden") && !http_text_has(&out, "100 Continue"));
    CHECK(http_text_has(&out, "Connection: close"));
    close_all(&f, &out);
}

TEST(server_skips_small_unread_bodies_and_ends_at_large_ones)
{
    fixture f;
    buf out;
    char *body = calloc(1, 200000);
    open_default(&f, &out);
    int fd = http_fixture_connect(&f);
    http_fixture_write(&f, fd,
                       STR("POST /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n"));
    http_fixture_write(&f, fd, (str){body, 60000});
    http_fixture_write(&f, fd, STR(GET("/pong")));
    CHECK(http_fixture_read(&f, fd, &out, "PONG"));
    http_fixture_write(&f, fd,
                       STR("POST /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n"));
    http_fixture_write(&f, fd, (str){body, 200000});
    buf_clear(&out);
    CHECK(http_fixture_read_end(&f, fd, &out)); // and no reset destroys the answer
    CHECK(http_text_has(&out, "403 Forbidden") && http_text_has(&out, "Connection: close"));
    free(body);
    close_all(&f, &out);
}

TEST(server_streams_bodies_both_ways)
{
    fixture f;
    buf out;
    open_default(&f, &out);
    int fd = http_fixture_connect(&f);
    http_fixture_write(&f, fd,
                       STR("POST /stream HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "
                           "chunked\r\n\r\n5\r\nhello\r\n"));
    CHECK(http_fixture_read(&f, fd, &out, "5\r\nhello\r\n"));
    http_fixture_write(&f, fd, STR("1\r\n!\r\n0\r\n\r\n"));
    CHECK(http_fixture_read(&f, fd, &out, "1\r\n!\r\n0\r\n\r\n"));
    http_fixture_write(&f, fd, STR(GET("/pong")));
    CHECK(http_fixture_read(&f, fd, &out, "PONG"));
    close(fd);
    close_all(&f, &out);
}

TEST(server_reads_no_faster_than_the_handler_wants)
{
    fixture f;
    buf out;
    size_t len = 8 * 1024 * 1024;
    char *body = calloc(1, len);
    open_default(&f, &out);
    int fd = http_fixture_connect(&f);
    http_fixture_write(
        &f, fd, STR("POST /slow-read HTTP/1.1\r\nHost: a\r\nContent-Length: 8388608\r\n\r\n"));
    http_fixture_write(&f, fd, (str){body, len});
    CHECK(http_fixture_read(&f, fd, &out, "read slowly"));
    CHECK(f.piece_bytes == len && f.piece_count > 10);
    close(fd);
    free(body);
    close_all(&f, &out);
}

TEST(server_floods_no_faster_than_the_client_reads)
{
    fixture f;
    buf out;
    open_default(&f, &out);
    int fd = http_fixture_connect(&f);
    http_fixture_write(&f, fd, STR(GET("/flood?50000000")));
    http_fixture_turn(&f, 50);
    CHECK(f.finished == 0);
    CHECK(http_fixture_read_len(&f, fd, &out, 50000000));
    CHECK(http_fixture_read(&f, fd, &out, "\r\n0\r\n\r\n") && f.drained > 3 && f.finished == 1);
    close(fd);
    close_all(&f, &out);
}

TEST(server_tells_the_handler_that_the_client_went)
{
    fixture f;
    buf out;
    open_default(&f, &out);
    int fd = http_fixture_connect(&f);
    http_fixture_write(&f, fd, STR(GET("/wait")));
    http_fixture_turn(&f, 20);
    CHECK(f.kept != NULL && f.broken == 0);
    close(fd);
    http_fixture_turn(&f, 20);
    CHECK(f.kept == NULL && f.broken == 1 && f.last_status == 499);
    CHECK(http_server_connections(f.s) == 0);
    close_all(&f, &out);
}

TEST(server_lets_a_handler_answer_into_the_void)
{
    fixture f;
    buf out;
    open_default(&f, &out);
    int fd = http_fixture_connect(&f);
    http_fixture_write(&f, fd, STR(GET("/wait")));
    http_fixture_turn(&f, 10);
    http_exchange *x = f.kept;
    http_on_broken(x, NULL); // it does not want to know
    struct linger reset = {1, 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    close(fd);
    http_fixture_turn(&f, 20);
    CHECK(http_server_connections(f.s) == 0);
    CHECK(http_send(x, STR("piece")).code == ERR_CLOSED);
    http_answer_text(x, 200, "text/plain", STR("late"));
    close_all(&f, &out);
}

TEST(server_answers_a_client_that_closed_its_side)
{
    fixture f;
    buf out;
    open_default(&f, &out);
    int fd = http_fixture_connect(&f);
    http_fixture_write(&f, fd, STR(GET("/late") GET("/pong")));
    shutdown(fd, SHUT_WR);
    CHECK(http_fixture_read_end(&f, fd, &out));
    CHECK(http_text_has(&out, "/late") && http_text_has(&out, "PONG"));
    // Half a request is nobody's.
    fd = http_fixture_connect(&f);
    buf_clear(&out);
    http_fixture_write(&f, fd,
                       STR("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbo"));
    shutdown(fd, SHUT_WR);
    CHECK(http_fixture_read_end(&f, fd, &out));
    CHECK(out.len == 0 && http_server_connections(f.s) == 0);
    close_all(&f, &out);
}

TEST(server_hands_over_the_connection)
{
    fixture f;
    buf out;
    open_default(&f, &out);
    int fd = http_fixture_connect(&f);
    http_fixture_write(&f, fd, STR(GET("/take")));
    http_fixture_turn(&f, 20);
    CHECK(f.taken != NULL && http_server_connections(f.s) == 0 && f.last_status == 101);
    static const conn_events none = {.on_read = NULL};
    conn_set_events(f.taken, &none);
    str hello = STR("HTTP/1.1 101 Switching Protocols\r\n\r\n");
    CHECK(conn_write(f.taken, &hello, 1).code == OK);
    CHECK(http_fixture_read(&f, fd, &out, "101 Switching"));
    close(fd);
    close_all(&f, &out);
}

TEST(server_drains_after_the_answers_that_are_due)
{
    fixture f;
    buf out;
    open_default(&f, &out);
    int idle = http_fixture_connect(&f), busy = http_fixture_connect(&f);
    http_fixture_write(&f, idle, STR(GET("/pong")));
    http_fixture_write(&f, busy, STR(GET("/wait")));
    http_fixture_turn(&f, 20);
    CHECK(http_server_connections(f.s) == 2);
    http_server_drain(f.s);
    CHECK(http_fixture_read_end(&f, idle, &out));
    CHECK(http_server_connections(f.s) == 1);
    http_answer_text(f.kept, 200, "text/plain", STR("done"));
    buf_clear(&out);
    CHECK(http_fixture_read_end(&f, busy, &out));
    CHECK(http_text_has(&out, "Connection: close\r\n") && str_ends(buf_str(&out), STR("done")));
    CHECK(http_server_connections(f.s) == 0);
    close_all(&f, &out);
}

TEST(server_closes_while_a_handler_waits)
{
    fixture f;
    buf out;
    open_default(&f, &out);
    int fd = http_fixture_connect(&f);
    http_fixture_write(&f, fd, STR(GET("/wait") GET("/pong")));
    http_fixture_turn(&f, 20);
    CHECK(f.kept != NULL);
    http_server_close(f.s);
    f.s = NULL;
    CHECK(f.broken == 1);
    close(fd);
    close_all(&f, &out);
}
