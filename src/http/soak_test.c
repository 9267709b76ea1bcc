// Many clients at once that cut, pause, reset and cancel by chance: nothing leaks, nothing hangs.
#include "base/fault.h"
#include "base/str.h"
#include "base/test.h"
#include "http/client.h"
#include "http/fixture_inner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SOCKETS = 12, STEPS = 400, CALLS = 8 };

typedef struct soak {
    fixture f;
    uint64_t dice;
    int fds[SOCKETS];
    str left[SOCKETS]; // of what that socket is sending
    http_client *client;
    http_call *calls[CALLS];
    unsigned sent, done;
} soak;

static unsigned roll(soak *s, unsigned sides)
{
    s->dice ^= s->dice << 13;
    s->dice ^= s->dice >> 7;
    s->dice ^= s->dice << 17;
    return (unsigned)(s->dice >> 20) % sides;
}

static const char *const streams[] = {
    "GET /pong HTTP/1.1\r\nHost: a\r\n\r\nGET /late HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET /wait HTTP/1.1\r\nHost: "
    "a\r\n\r\n",
    "POST /stream HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "POST /slow-read HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n0123456789",
    "GET /big?300000 HTTP/1.1\r\nHost: a\r\n\r\nGET /big?300000 HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /flood?900000 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "GET /chunks HTTP/1.0\r\n\r\n",
    "GET /short HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST /limit HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "
    "chunked\r\n\r\nf\r\n0123456789abcdef\r\n",
    "POST /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nExpect: "
    "100-continue\r\n\r\n012345678",
    "POST /ignore HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz",
    "GET /nowhere HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "GET /\x01 HTTP/1.1\r\n\r\n",
};

static void on_piece(void *data, http_call *c, str piece)
{
    soak *s = data;
    (void)piece;
    if (roll(s, 4) == 0)
        http_call_read_pause(c, true);
}

static void on_done(void *data, http_call *c, err e, const http_answer_head *head, str body)
{
    soak *s = data;
    (void)e;
    (void)head;
    (void)body;
    s->done++;
    for (size_t i = 0; i < CALLS; i++)
        if (s->calls[i] == c)
            s->calls[i] = NULL;
}

static void call_step(soak *s)
{
    static const char *const targets[] = {"/pong",   "/late",         "/big?200000", "/wait",
                                          "/chunks", "/flood?500000", "/short",      "/echo"};
    http_call **c = &s->calls[roll(s, CALLS)];
    if (*c != NULL) {
        unsigned what = roll(s, 8);
        http_call *call = *c;
        if (what == 0) {
            *c = NULL;
            http_call_cancel(call);
            s->done++;
        } else if (what == 1) {
            http_call_send_end(call);
        } else if (what == 2) {
            (void)!http_call_send(call, STR("piece")).code;
        } else {
            http_call_read_pause(call, what == 3);
        }
        return;
    }
    http_client_request r = {.address = "127.0.0.1",
                             .port = s->f.port,
                             .method = STR("POST"),
                             .target = str_of(targets[roll(s, COUNT(targets))]),
                             .host = STR("a"),
                             .streamed = roll(s, 2) == 0,
                             .on_piece = roll(s, 2) == 0 ? on_piece : NULL,
                             .on_done = on_done,
                             .data = s};
    if (roll(s, 2) == 0) {
        r.method = STR("GET");
        r.streamed = false;
    }
    if (http_client_send(s->client, &r, c).code == OK)
        s->sent++;
}

static void socket_step(soak *s)
{
    unsigned i = roll(s, SOCKETS), what = roll(s, 16);
    char bytes[65536];
    if (s->fds[i] < 0) {
        s->fds[i] = http_fixture_connect(&s->f);
        s->left[i] = (str){"", 0};
    }
    if (what == 0) {
        struct linger reset = {1, (int)roll(s, 2)};
        setsockopt(s->fds[i], SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
        close(s->fds[i]);
        s->fds[i] = -1;
    } else if (what == 1) {
        shutdown(s->fds[i], SHUT_WR);
    } else if (what < 6) {
        (void)!recv(s->fds[i], bytes, sizeof(bytes), 0);
    } else {
        if (s->left[i].len == 0)
            s->left[i] = str_of(streams[roll(s, COUNT(streams))]);
        str some = str_first(s->left[i], roll(s, 3) == 0 ? 1 + roll(s, 20) : s->left[i].len);
        (void)!send(s->fds[i], some.at, some.len, MSG_NOSIGNAL);
        s->left[i] = str_from(s->left[i], some.len);
    }
}

static void soak_run(uint64_t seed, fault_kind fault)
{
    soak s = {.dice = seed * 0x9e3779b97f4a7c15u};
    CHECK(http_fixture_open(&s.f, (http_limits){.head_ms = 300, .body_idle_ms = 300}).code == OK);
    CHECK(http_client_open(&s.client, s.f.l, 3).code == OK);
    for (size_t i = 0; i < SOCKETS; i++)
        s.fds[i] = -1;
    for (size_t i = 0; i < STEPS; i++) {
        if (roll(&s, 20) == 0)
            fault_now = (fault_plan){fault, roll(&s, 20), 1, 0};
        if (roll(&s, 3) == 0)
            call_step(&s);
        else
            socket_step(&s);
        if (roll(&s, 3) != 0)
            loop_turn(s.f.l, 0);
        if (s.f.kept != NULL && roll(&s, 10) == 0) {
            http_exchange *x = s.f.kept;
            s.f.kept = NULL;
            http_answer_text(x, 200, "text/plain", STR("kept"));
        }
    }
    fault_now = (fault_plan){.what = FAULT_NONE};
    if (roll(&s, 2) == 0) { // the server goes first, or the client
        http_server_close(s.f.s);
        s.f.s = NULL;
        http_fixture_turn(&s.f, 2);
    }
    http_client_close(s.client);
    CHECK(s.done == s.sent); // each call ended exactly once
    for (size_t i = 0; i < SOCKETS; i++)
        if (s.fds[i] >= 0)
            close(s.fds[i]);
    http_fixture_turn(&s.f, 2);
    http_fixture_close(&s.f);
}

TEST(http_survives_clients_by_chance)
{
    for (uint64_t seed = 1; seed <= 25; seed++)
        soak_run(seed, FAULT_NONE);
}

TEST(http_survives_clients_by_chance_with_failing_memory_and_writes)
{
    for (uint64_t seed = 1; seed <= 25; seed++)
        soak_run(seed, seed % 2 == 0 ? FAULT_MEMORY : FAULT_WRITE);
}
