// The client against our server, and against raw sockets that answer wrongly on purpose.
#include "base/clock.h"
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

typedef struct outcome {
    unsigned done, heads, pieces, drains;
    err e;
    unsigned status;
    buf body;
    http_call *call;
    bool pause_each;
    size_t upload_left;
} outcome;

static void on_head(void *data, http_call *c, const http_answer_head *head)
{
    outcome *o = data;
    (void)c;
    o->heads++;
    o->status = head->status;
}

static void on_piece(void *data, http_call *c, str piece)
{
    outcome *o = data;
    o->pieces++;
    buf_add(&o->body, piece);
    if (o->pause_each)
        http_call_read_pause(c, true);
}

static void on_done(void *data, http_call *c, err e, const http_answer_head *head, str body)
{
    outcome *o = data;
    (void)c;
    o->done++;
    o->e = e;
    o->status = head != NULL ? head->status : 0;
    buf_add(&o->body, body);
}

typedef struct world {
    fixture f;
    http_client *client;
    http_client_request request;
    outcome o;
} world;

static void world_open(world *w)
{
    memset(w, 0, sizeof(*w));
    CHECK(http_fixture_open(&w->f, (http_limits){.head_bytes = 0}).code == OK);
    CHECK(http_client_open(&w->client, w->f.l, 4).code == OK);
    buf_open(&w->o.body, 64 * 1024 * 1024);
    w->request = (http_client_request){.address = "127.0.0.1",
                                       .port = w->f.port,
                                       .method = STR("GET"),
                                       .target = STR("/pong"),
                                       .host = STR("test"),
                                       .on_done = on_done,
                                       .data = &w->o};
}

static void world_close(world *w)
{
    http_client_close(w->client);
    buf_close(&w->o.body);
    http_fixture_close(&w->f);
}

static void wait_for(world *w, const unsigned *count, unsigned value)
{
    uint64_t end = clock_now_ms() + 5000;
    while (*count < value && clock_now_ms() < end)
        loop_turn(w->f.l, 5);
    CHECK(*count == value);
}

static void ask(world *w, const char *method, const char *target, const char *body)
{
    w->request.method = str_of(method);
    w->request.target = str_of(target);
    w->request.body = str_of(body);
    buf_clear(&w->o.body);
    w->o.done = 0;
    CHECK(http_client_send(w->client, &w->request, &w->o.call).code == OK);
    CHECK(w->o.done == 0); // never before it has returned
    wait_for(w, &w->o.done, 1);
}

TEST(client_gets_whole_answers_of_every_framing)
{
    world w;
    world_open(&w);
    ask(&w, "GET", "/pong", "");
    CHECK(w.o.e.code == OK && w.o.status == 200 && str_is(buf_str(&w.o.body), STR("PONG")));
    ask(&w, "GET", "/chunks", "");
    CHECK(w.o.e.code == OK && str_is(buf_str(&w.o.body), STR("one two")));
    ask(&w, "HEAD", "/pong", "");
    CHECK(w.o.e.code == OK && w.o.status == 200 && w.o.body.len == 0);
    ask(&w, "GET", "/204", "");
    CHECK(w.o.e.code == OK && w.o.status == 204 && w.o.body.len == 0);
    ask(&w, "GET", "/304", "");
    CHECK(w.o.e.code == OK && w.o.status == 304);
    ask(&w, "POST", "/echo", "hello");
    CHECK(w.o.e.code == OK && str_is(buf_str(&w.o.body), STR("hello")));
    ask(&w, "POST", "/echo", "");
    CHECK(w.o.e.code == OK && w.o.body.len == 0);
    ask(&w, "GET", "/big?5000000", "");
    CHECK(w.o.e.code == OK && w.o.body.len == 5000000);
    ask(&w, "GET", "/nowhere", "");
    CHECK(w.o.e.code == OK && w.o.status == 404);
    CHECK(http_server_connections(w.f.s) == 1); // all on one connection
    world_close(&w);
}

TEST(client_pools_connections_up_to_its_limit)
{
    world w;
    world_open(&w);
    for (size_t i = 0; i < 20; i++)
        CHECK(http_client_send(w.client, &w.request, NULL).code == OK);
    wait_for(&w, &w.o.done, 20);
    http_fixture_turn(&w.f, 30);
    CHECK(w.f.requests == 20 && http_server_connections(w.f.s) == 4);
    for (size_t i = 0; i < 4; i++)
        CHECK(http_client_send(w.client, &w.request, NULL).code == OK);
    wait_for(&w, &w.o.done, 24);
    CHECK(http_server_connections(w.f.s) == 4);
    world_close(&w);
}

TEST(client_refuses_to_write_what_splits_a_request)
{
    world w;
    world_open(&w);
    http_header bad = {STR("X"), STR("a\r\nX-Evil: 1")};
    static const char *const targets[] = {"/a b", "/a\r\nHost: b", "", "a", "/\xc3\xa4"};
    for (size_t i = 0; i < COUNT(targets); i++) {
        w.request.target = str_of(targets[i]);
        CHECK(http_client_send(w.client, &w.request, NULL).code == ERR_SYNTAX);
    }
    w.request.target = STR("/");
    w.request.method = STR("GET /x");
    CHECK(http_client_send(w.client, &w.request, NULL).code == ERR_SYNTAX);
    w.request.method = STR("GET");
    w.request.headers = (http_headers){&bad, 1};
    CHECK(http_client_send(w.client, &w.request, NULL).code == ERR_SYNTAX);
    w.request.headers.count = 0;
    w.request.host = STR("a\nb");
    CHECK(http_client_send(w.client, &w.request, NULL).code == ERR_SYNTAX);
    world_close(&w);
}

TEST(client_streams_an_answer_as_fast_as_it_is_read)
{
    world w;
    world_open(&w);
    w.request.on_head = on_head;
    w.request.on_piece = on_piece;
    w.o.pause_each = true;
    w.request.target = STR("/flood?20000000");
    CHECK(http_client_send(w.client, &w.request, &w.o.call).code == OK);
    wait_for(&w, &w.o.pieces, 1);
    http_fixture_turn(&w.f, 100);
    CHECK(w.o.pieces == 1 && w.o.done == 0 && w.f.finished == 0 && w.o.heads == 1);
    for (unsigned turns = 0; w.o.done == 0 && turns < 100000; turns++) {
        http_call_read_pause(w.o.call, false);
        loop_turn(w.f.l, 1);
    }
    CHECK(w.o.done == 1 && w.o.e.code == OK && w.o.body.len == 20000000);
    CHECK(str_starts(buf_str(&w.o.body), STR("flood")));
    w.request.on_head = NULL;
    w.request.on_piece = NULL;
    ask(&w, "GET", "/pong", ""); // the link is usable after all the pauses
    CHECK(w.o.e.code == OK && http_server_connections(w.f.s) == 1);
    world_close(&w);
}

static void upload_more(void *data, http_call *c)
{
    static const char block[10000] = "block";
    outcome *o = data;
    o->drains++;
    while (o->upload_left > 0 && !http_call_send_full(c)) {
        if (http_call_send(c, (str){block, sizeof(block)}).code != OK)
            return;
        o->upload_left--;
    }
    if (o->upload_left == 0)
        http_call_send_end(c);
}

TEST(client_streams_a_body_with_back_pressure)
{
    world w;
    world_open(&w);
    w.request.method = STR("POST");
    w.request.target = STR("/stream");
    w.request.streamed = true;
    w.request.on_drain = upload_more;
    w.o.upload_left = 1000;
    CHECK(http_client_send(w.client, &w.request, &w.o.call).code == OK);
    CHECK(http_call_send(w.o.call, STR("first ")).code == OK); // before it is connected
    wait_for(&w, &w.o.done, 1);
    CHECK(w.o.e.code == OK && w.o.body.len == 6 + 1000 * 10000);
    CHECK(str_starts(buf_str(&w.o.body), STR("first block")));
    world_close(&w);
}

TEST(client_cancels_without_a_callback)
{
    world w;
    world_open(&w);
    w.request.target = STR("/wait");
    CHECK(http_client_send(w.client, &w.request, &w.o.call).code == OK);
    http_fixture_turn(&w.f, 20);
    CHECK(w.f.kept != NULL);
    http_call_cancel(w.o.call);
    http_fixture_turn(&w.f, 20);
    CHECK(w.o.done == 0 && w.f.broken == 1);
    CHECK(http_client_send(w.client, &w.request, &w.o.call).code == OK);
    http_call_cancel(w.o.call); // while it connects
    http_fixture_turn(&w.f, 20);
    CHECK(w.o.done == 0);
    world_close(&w);
}

TEST(client_ends_calls_at_their_deadline)
{
    world w;
    world_open(&w);
    w.request.target = STR("/wait");
    w.request.deadline_ms = 100;
    uint64_t start = clock_now_ms();
    CHECK(http_client_send(w.client, &w.request, &w.o.call).code == OK);
    wait_for(&w, &w.o.done, 1);
    CHECK(w.o.e.code == ERR_TIMEOUT && clock_now_ms() - start >= 100 &&
          clock_now_ms() - start < 1000);
    world_close(&w);
}

TEST(client_closes_with_calls_under_way)
{
    world w;
    world_open(&w);
    w.request.target = STR("/wait");
    CHECK(http_client_send(w.client, &w.request, NULL).code == OK);
    http_fixture_turn(&w.f, 20);
    CHECK(http_client_send(w.client, &w.request, NULL).code == OK);
    http_client_close(w.client);
    w.client = NULL;
    CHECK(w.o.done == 2 && w.o.e.code == ERR_CLOSED);
    world_close(&w);
}

TEST(client_tells_that_nobody_listens)
{
    world w;
    world_open(&w);
    int fd = -1;
    CHECK(socket_listen("127.0.0.1", 0, false, &fd).code == OK);
    w.request.port = socket_port(fd);
    close(fd);
    CHECK(http_client_send(w.client, &w.request, NULL).code == OK);
    wait_for(&w, &w.o.done, 1);
    CHECK(w.o.e.code != OK);
    w.request.address = "/tmp/no-such-socket-of-ctau";
    CHECK(http_client_send(w.client, &w.request, NULL).code == OK);
    wait_for(&w, &w.o.done, 2);
    CHECK(w.o.e.code != OK);
    world_close(&w);
}

TEST(client_reaches_unix_sockets)
{
    char path[64];
    snprintf(path, sizeof(path), "/tmp/ctau-http-test-%d.sock", (int)getpid());
    world w;
    int fd = -1;
    world_open(&w);
    CHECK(socket_listen_unix(path, 0600, &fd).code == OK);
    CHECK(http_server_listen(w.f.s, fd, NULL, NULL).code == OK);
    w.request.address = path;
    ask(&w, "GET", "/pong", "");
    unlink(path);
    CHECK(w.o.e.code == OK && str_is(buf_str(&w.o.body), STR("PONG")));
    world_close(&w);
}

// A raw server: accepts one connection at a time and says what it is told.
typedef struct raw {
    int door, fd;
} raw;

static void raw_open(raw *r, world *w)
{
    CHECK(socket_listen("127.0.0.1", 0, false, &r->door).code == OK);
    r->fd = -1;
    w->request.port = socket_port(r->door);
}

static void raw_accept(raw *r, world *w)
{
    if (r->fd >= 0)
        close(r->fd);
    for (size_t i = 0; i < 2000; i++) {
        loop_turn(w->f.l, 1);
        r->fd = accept4(r->door, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (r->fd >= 0)
            return;
    }
    CHECK(r->fd >= 0);
}

static void raw_read(raw *r, world *w)
{
    char bytes[4096];
    for (size_t i = 0; i < 2000; i++) {
        loop_turn(w->f.l, 1);
        if (recv(r->fd, bytes, sizeof(bytes), 0) > 0)
            return;
    }
    CHECK(r->fd < 0);
}

static void raw_say(raw *r, const char *text)
{
    CHECK(send(r->fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text));
}

static void raw_close(raw *r)
{
    if (r->fd >= 0)
        close(r->fd);
    close(r->door);
}

TEST(client_refuses_answers_that_break_the_rules)
{
    static const struct {
        err_code code;
        const char *text;
    } cases[] = {
        {OK, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
             "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nBODY"},
        {OK, "HTTP/1.1 200 OK\r\n\r\nBODY"},
        {OK, "HTTP/1.0 200 OK\r\n\r\nBODY"},
        {ERR_CLOSED, ""},
        {ERR_CLOSED, "HTTP/1.1 200 OK\r\nContent-Le"},
        {ERR_CLOSED, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nBODY"},
        {ERR_CLOSED, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nBODY\r\n"},
        {ERR_SYNTAX, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\nBODY\r\n0\r\n\r\n"},
        {ERR_SYNTAX, "HTTP/1.1 200 OK\nContent-Length: 4\n\nBODY"},
        {ERR_SYNTAX, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nBODY"},
        {ERR_SYNTAX,
         "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\nBODY"},
        {ERR_SYNTAX, "SSH-2.0-OpenSSH_9.2 and so on\r\n\r\n"},
        {ERR_SYNTAX, "\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nBODY"},
        {ERR_UNSUPPORTED, "HTTP/1.1 101 Switching\r\n\r\n"},
        {ERR_UNSUPPORTED, "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"},
    };
    world w;
    raw r;
    world_open(&w);
    raw_open(&r, &w);
    for (size_t i = 0; i < COUNT(cases); i++) {
        for (size_t bytewise = 0; bytewise < 2; bytewise++) {
            w.o.done = 0;
            buf_clear(&w.o.body);
            CHECK(http_client_send(w.client, &w.request, NULL).code == OK);
            raw_accept(&r, &w);
            raw_read(&r, &w);
            for (const char *p = cases[i].text; bytewise && *p != 0; p++) {
                (void)!send(r.fd, p, 1, MSG_NOSIGNAL);
                loop_turn(w.f.l, 0);
            }
            if (!bytewise)
                raw_say(&r, cases[i].text);
            shutdown(r.fd, SHUT_WR);
            wait_for(&w, &w.o.done, 1);
            if (w.o.e.code != cases[i].code)
                printf("case %zu.%zu: %s %s\n", i, bytewise, err_name(w.o.e.code), w.o.e.what);
            CHECK(w.o.e.code == cases[i].code);
            CHECK(w.o.e.code != OK || str_is(buf_str(&w.o.body), STR("BODY")));
        }
    }
    raw_close(&r);
    world_close(&w);
}

TEST(client_bounds_heads_and_bodies_of_answers)
{
    world w;
    raw r;
    world_open(&w);
    raw_open(&r, &w);
    w.request.body_bytes_max = 3;
    CHECK(http_client_send(w.client, &w.request, NULL).code == OK);
    raw_accept(&r, &w);
    raw_say(&r, "HTTP/1.1 200 OK\r\n\r\nBODY");
    wait_for(&w, &w.o.done, 1);
    CHECK(w.o.e.code == ERR_LIMIT);
    CHECK(http_client_send(w.client, &w.request, NULL).code == OK);
    raw_accept(&r, &w);
    raw_say(&r, "HTTP/1.1 200 OK\r\n");
    for (size_t i = 0; i < 2000 && w.o.done == 1; i++) {
        (void)!send(r.fd, "X-Long-Header: with some text in it, again and again\r\n", 54,
                    MSG_NOSIGNAL);
        loop_turn(w.f.l, 0);
    }
    wait_for(&w, &w.o.done, 2);
    CHECK(w.o.e.code == ERR_LIMIT);
    raw_close(&r);
    world_close(&w);
}

TEST(client_takes_an_answer_with_as_many_headers_as_a_guest_may_send)
{
    enum { GUEST_HEADERS = 256, OURS = 4 };
    world w;
    raw r;
    world_open(&w);
    raw_open(&r, &w);
    CHECK(http_client_send(w.client, &w.request, NULL).code == OK);
    raw_accept(&r, &w);
    raw_say(&r, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n");
    for (size_t i = 0; i < GUEST_HEADERS + OURS; i++)
        raw_say(&r, "X-Many: yes\r\n");
    raw_say(&r, "\r\nBODY");
    wait_for(&w, &w.o.done, 1);
    CHECK(w.o.e.code == OK && str_is(buf_str(&w.o.body), STR("BODY")));
    raw_close(&r);
    world_close(&w);
}

// Makes an idle link and has the server end it just as the next request is on its way.
static void stale_link(world *w, raw *r)
{
    w->o.done = 0;
    CHECK(http_client_send(w->client, &w->request, NULL).code == OK);
    raw_accept(r, w);
    raw_read(r, w);
    raw_say(r, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    wait_for(w, &w->o.done, 1);
    CHECK(w->o.e.code == OK);
    w->o.done = 0;
}

TEST(client_tries_once_more_when_a_reused_connection_was_dead)
{
    world w;
    raw r;
    world_open(&w);
    raw_open(&r, &w);
    stale_link(&w, &r);
    CHECK(http_client_send(w.client, &w.request, NULL).code == OK);
    raw_read(&r, &w);
    raw_accept(&r, &w); // closes the first one without an answer
    raw_read(&r, &w);
    raw_say(&r, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nBODY");
    wait_for(&w, &w.o.done, 1);
    CHECK(w.o.e.code == OK && str_is(buf_str(&w.o.body), STR("BODY")));
    // But not twice, not after the first byte of an answer, and not what may have had an effect.
    for (size_t kind = 0; kind < 3; kind++) {
        close(r.fd);
        r.fd = -1;
        http_fixture_turn(&w.f, 20);
        w.request.method = STR("GET");
        stale_link(&w, &r);
        if (kind == 2)
            w.request.method = STR("POST");
        CHECK(http_client_send(w.client, &w.request, NULL).code == OK);
        raw_read(&r, &w);
        if (kind == 1)
            raw_say(&r, "H");
        http_fixture_turn(&w.f, 10);
        close(r.fd);
        r.fd = -1;
        if (kind == 0) {
            raw_accept(&r, &w);
            raw_read(&r, &w);
            close(r.fd);
            r.fd = -1;
        }
        wait_for(&w, &w.o.done, 1);
        CHECK(w.o.e.code == ERR_CLOSED);
    }
    raw_close(&r);
    world_close(&w);
}

TEST(client_does_not_reuse_a_connection_that_said_too_much)
{
    world w;
    raw r;
    world_open(&w);
    raw_open(&r, &w);
    CHECK(http_client_send(w.client, &w.request, NULL).code == OK);
    raw_accept(&r, &w);
    raw_read(&r, &w);
    raw_say(&r, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: "
                "4\r\n\r\nEVIL");
    wait_for(&w, &w.o.done, 1);
    w.o.done = 0;
    CHECK(http_client_send(w.client, &w.request, NULL).code == OK);
    raw_accept(&r, &w); // a new one
    raw_read(&r, &w);
    raw_say(&r, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nGOOD");
    wait_for(&w, &w.o.done, 1);
    CHECK(str_is(buf_str(&w.o.body), STR("GOOD")));
    raw_close(&r);
    world_close(&w);
}

TEST(client_survives_the_failure_of_every_allocation)
{
    for (uint64_t after = 0;; after++) {
        world w;
        world_open(&w);
        CHECK(buf_reserve(&w.o.body, 100000) != NULL);
        unsigned sent = 0;
        fault_now = (fault_plan){FAULT_MEMORY, after, 1, 0};
        static const char *const targets[] = {"/pong", "/chunks", "/late", "/big?50000"};
        for (size_t i = 0; i < COUNT(targets); i++) {
            w.request.target = str_of(targets[i]);
            w.request.deadline_ms = 400;
            if (http_client_send(w.client, &w.request, NULL).code == OK)
                sent++;
            uint64_t end = clock_now_ms() + 2000;
            while (w.o.done < sent && clock_now_ms() < end)
                loop_turn(w.f.l, 5);
        }
        uint64_t seen = fault_now.seen;
        fault_now = (fault_plan){.what = FAULT_NONE};
        CHECK(w.o.done == sent && sent >= 3);
        w.request.target = STR("/pong");
        w.request.deadline_ms = 0;
        ask(&w, "GET", "/pong", "");
        CHECK(w.o.e.code == OK && str_is(buf_str(&w.o.body), STR("PONG")));
        world_close(&w);
        if (seen <= after)
            break;
    }
}
