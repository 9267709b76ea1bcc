// TLS: who is let in, who is not, tickets included; certificates are made here.
#include "base/buf.h"
#include "base/fault.h"
#include "base/test.h"
#include "io/conn.h"
#include "io/tls_pair_inner.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define UNTIL(l, condition)                           \
    for (unsigned turns = 0; !(condition); turns++) { \
        CHECK(turns < 400);                           \
        loop_turn(l, 20);                             \
    }

struct end {
    conn *c;
    buf got;
    bool ready, connected, ended;
    bool echo, pause_on_ready;
    err connect, end;
    unsigned reads, drains;
    char uri[64], serial[64];
};

static void end_on_read(void *owner, conn *c, str bytes)
{
    struct end *e = owner;
    CHECK(e->c == c);
    e->reads++;
    buf_add(&e->got, bytes);
    if (e->echo)
        CHECK(conn_write(c, &bytes, 1).code == OK);
}

static void end_on_end(void *owner, conn *c, err why)
{
    struct end *e = owner;
    CHECK(e->c == c && !e->ended);
    e->ended = true;
    e->end = why;
}

static void end_on_drain(void *owner, conn *c)
{
    (void)c;
    ((struct end *)owner)->drains++;
}

static void end_on_ready(void *owner, conn *c)
{
    struct end *e = owner;
    CHECK(e->c == c && !e->ready);
    e->ready = true;
    const tls_peer *peer = conn_peer(c);
    if (peer != NULL) {
        memcpy(e->uri, peer->uri.at, peer->uri.len);
        memcpy(e->serial, peer->serial_hex.at, peer->serial_hex.len);
    }
    if (e->pause_on_ready)
        conn_pause(c);
}

static const conn_events end_events = {end_on_read, end_on_end, end_on_drain, end_on_ready};

static void end_on_accept(void *data, conn *c)
{
    struct end *e = data;
    CHECK(e->c == NULL);
    e->c = c;
    conn_set_owner(c, e);
}

static void end_on_connect(void *owner, conn *c, err why)
{
    struct end *e = owner;
    CHECK(e->c == c && !e->connected);
    e->connected = true;
    e->connect = why;
    if (why.code != OK)
        e->c = NULL;
}

struct world {
    loop *loop;
    struct pair ca, other_ca, server_pair, client_pair;
    tls_context *server_tls, *client_tls;
    listener *door;
    uint16_t port;
    struct end server, client;
    unsigned asked;
    bool refuse;
};

static bool world_allow(void *data, str uri, str serial_hex)
{
    struct world *w = data;
    w->asked++;
    CHECK(uri.len > 7 && memcmp(uri.at, "ctau://", 7) == 0 && serial_hex.len > 0);
    return !w->refuse;
}

static void end_clear(struct end *e)
{
    conn_close(e->c);
    buf_close(&e->got);
    *e = (struct end){0};
    buf_open(&e->got, 32 * 1024 * 1024);
}

static void world_open(struct world *w, uint64_t handshake_ms)
{
    int fd = -1;
    *w = (struct world){0};
    w->ca = pair_make(NULL, 1, NULL, 86400);
    w->other_ca = pair_make(NULL, 2, NULL, 86400);
    w->server_pair =
        pair_make(&w->ca, 0xabc1, "URI:ctau://blackhole/tns/tns,DNS:node.test,IP:127.0.0.1", 86400);
    w->client_pair = pair_make(&w->ca, 0xabc2, "DNS:x.test,URI:ctau://blackhole/seer/seer", 86400);
    CHECK(loop_open(&w->loop).code == OK);
    const tls_settings settings = {.certificate_pem = w->server_pair.x_pem,
                                   .key_pem = w->server_pair.key_pem,
                                   .ca_pem = w->ca.x_pem,
                                   .server = true,
                                   .http2 = true,
                                   .allow = world_allow,
                                   .data = w};
    CHECK(tls_context_open(&w->server_tls, &settings).code == OK);
    const conn_settings door = {
        .events = &end_events, .tls = w->server_tls, .handshake_ms = handshake_ms};
    CHECK(socket_listen("127.0.0.1", 0, false, &fd).code == OK);
    w->port = socket_port(fd);
    CHECK(listener_open(&w->door, w->loop, fd, &door, end_on_accept, &w->server).code == OK);
    end_clear(&w->server);
    end_clear(&w->client);
}

static void world_client(struct world *w, const struct pair *own, const struct pair *ca)
{
    tls_context_close(w->client_tls);
    const tls_settings settings = {.certificate_pem = own != NULL ? own->x_pem : (str){0},
                                   .key_pem = own != NULL ? own->key_pem : (str){0},
                                   .http2 = true,
                                   .ca_pem = ca != NULL ? ca->x_pem : (str){0}};
    CHECK(tls_context_open(&w->client_tls, &settings).code == OK);
}

static void world_connect(struct world *w, const char *name)
{
    end_clear(&w->server);
    end_clear(&w->client);
    const conn_settings settings = {.events = &end_events, .tls = w->client_tls};
    CHECK(conn_connect(&w->client.c, w->loop, "127.0.0.1", w->port, name, &settings, end_on_connect,
                       &w->client)
              .code == OK);
}

static void world_close(struct world *w)
{
    end_clear(&w->server);
    end_clear(&w->client);
    listener_close(w->door);
    tls_context_close(w->server_tls);
    tls_context_close(w->client_tls);
    loop_close(w->loop);
    pair_drop(&w->ca);
    pair_drop(&w->other_ca);
    pair_drop(&w->server_pair);
    pair_drop(&w->client_pair);
}

static bool text_is(str s, const char *text)
{
    return s.len == strlen(text) && memcmp(s.at, text, s.len) == 0;
}

TEST(tls_mutual_peers_know_each_other_and_talk)
{
    struct world w;
    world_open(&w, 0);
    world_client(&w, &w.client_pair, &w.ca);
    world_connect(&w, "node.test");
    str hello = STR("hello");
    CHECK(conn_write(w.client.c, &hello, 1).code == ERR_BUSY);
    UNTIL(w.loop, w.client.connected && w.server.ready);
    CHECK(w.client.connect.code == OK && w.asked == 1);
    CHECK(strcmp(w.server.uri, "ctau://blackhole/seer/seer") == 0);
    CHECK(strcmp(w.server.serial, "abc2") == 0);
    CHECK(text_is(conn_peer(w.client.c)->uri, "ctau://blackhole/tns/tns"));
    CHECK(conn_peer(w.client.c)->not_after_real_ms > 1700000000000);
    CHECK(text_is(conn_protocol(w.client.c), "h2"));
    w.server.echo = true;
    CHECK(conn_write(w.client.c, &hello, 1).code == OK);
    UNTIL(w.loop, w.client.got.len == 5);
    CHECK(memcmp(w.client.got.at, "hello", 5) == 0);
    conn_close_after_writes(w.client.c);
    w.client.c = NULL;
    UNTIL(w.loop, w.server.ended);
    CHECK(w.server.end.code == OK);
    world_close(&w);
}

TEST(tls_large_writes_arrive_whole_through_a_full_queue)
{
    enum { LEN = 10 * 1024 * 1024 + 77 };
    struct world w;
    char *sent = malloc(LEN);
    CHECK(sent != NULL);
    for (size_t i = 0; i < LEN; i++)
        sent[i] = (char)(i * 31 + i / 65537);
    world_open(&w, 0);
    world_client(&w, &w.client_pair, &w.ca);
    world_connect(&w, "127.0.0.1");
    UNTIL(w.loop, w.client.connected && w.server.ready);
    CHECK(w.client.connect.code == OK);
    conn_pause(w.client.c);
    str parts[] = {{sent, 100}, {sent + 100, 0}, {sent + 100, LEN - 101}, {sent + LEN - 1, 1}};
    CHECK(conn_write(w.server.c, parts, COUNT(parts)).code == OK);
    CHECK(conn_write_full(w.server.c));
    loop_turn(w.loop, 20);
    CHECK(w.client.reads == 0 && w.server.drains == 0);
    conn *c = w.server.c;
    conn_resume(w.client.c);
    UNTIL(w.loop, w.client.got.len == LEN);
    CHECK(memcmp(w.client.got.at, sent, LEN) == 0);
    UNTIL(w.loop, w.server.drains == 1);
    conn_close_after_writes(c);
    w.server.c = NULL;
    UNTIL(w.loop, w.client.ended);
    CHECK(w.client.end.code == OK);
    world_close(&w);
    free(sent);
}

// TLS 1.3 clients are done before the server has judged them: their refusal comes as an end.
static void check_refused_by_server(struct world *w)
{
    UNTIL(w->loop, w->server.ended && (w->client.ended || w->client.connected));
    CHECK(w->server.end.code == ERR_DENIED);
    CHECK(!w->server.ready && w->server.reads == 0);
    conn_close(w->server.c);
    w->server.c = NULL;
    if (w->client.connect.code == OK) {
        UNTIL(w->loop, w->client.ended);
        CHECK(w->client.end.code != OK);
    }
}

TEST(tls_server_refuses_strangers)
{
    struct world w;
    world_open(&w, 0);
    struct pair wrong = pair_make(&w.other_ca, 5, "URI:ctau://blackhole/seer/seer", 86400);
    struct pair expired = pair_make(&w.ca, 6, "URI:ctau://blackhole/seer/seer", -60);
    const struct pair *strangers[] = {NULL, &wrong, &expired};
    for (size_t i = 0; i < COUNT(strangers); i++) {
        world_client(&w, strangers[i], &w.ca);
        world_connect(&w, "node.test");
        check_refused_by_server(&w);
    }
    CHECK(w.asked == 0);
    world_close(&w);
    pair_drop(&wrong);
    pair_drop(&expired);
}

TEST(tls_client_refuses_a_server_of_another_ca_or_name)
{
    struct world w;
    world_open(&w, 0);
    world_client(&w, &w.client_pair, &w.other_ca);
    world_connect(&w, "node.test");
    UNTIL(w.loop, w.client.connected && w.server.ended);
    CHECK(w.client.connect.code == ERR_DENIED && w.server.end.code == ERR_DENIED);
    world_client(&w, &w.client_pair, NULL); // the system's store does not know our CA
    world_connect(&w, NULL);
    UNTIL(w.loop, w.client.connected && w.server.ended);
    CHECK(w.client.connect.code == ERR_DENIED);
    world_client(&w, &w.client_pair, &w.ca);
    world_connect(&w, "other.test");
    UNTIL(w.loop, w.client.connected && w.server.ended);
    CHECK(w.client.connect.code == ERR_DENIED);
    world_connect(&w, "127.0.0.2");
    UNTIL(w.loop, w.client.connected && w.server.ended);
    CHECK(w.client.connect.code == ERR_DENIED);
    CHECK(w.asked == 0);
    world_close(&w);
}

static void world_talk(struct world *w)
{
    str hello = STR("hello");
    UNTIL(w->loop, w->client.connected && w->server.ready);
    w->server.echo = true;
    CHECK(conn_write(w->client.c, &hello, 1).code == OK);
    UNTIL(w->loop, w->client.got.len == 5); // tickets have come as well
}

TEST(tls_resumed_session_is_asked_about_again)
{
    struct world w;
    world_open(&w, 0);
    world_client(&w, &w.client_pair, &w.ca);
    for (unsigned i = 1; i <= 3; i++) {
        world_connect(&w, "node.test");
        world_talk(&w);
        CHECK(w.asked == i);
        CHECK(conn_resumed(w.client.c) == (i > 1) && conn_resumed(w.server.c) == (i > 1));
        CHECK(strcmp(w.server.uri, "ctau://blackhole/seer/seer") == 0);
    }
    w.refuse = true;
    world_connect(&w, "node.test");
    check_refused_by_server(&w);
    CHECK(w.asked == 4);
    w.refuse = false;
    world_connect(&w, "node.test");
    world_talk(&w);
    world_close(&w);
}

TEST(tls_full_handshake_is_refused_by_allow)
{
    struct world w;
    world_open(&w, 0);
    w.refuse = true;
    world_client(&w, &w.client_pair, &w.ca);
    world_connect(&w, "node.test");
    check_refused_by_server(&w);
    CHECK(w.asked == 1);
    world_close(&w);
}

TEST(tls_handshake_has_a_deadline_and_garbage_is_an_error)
{
    struct world w;
    world_open(&w, 150);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(w.port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int f = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(connect(f, (struct sockaddr *)&to, sizeof(to)) == 0);
    UNTIL(w.loop, w.server.c != NULL);
    uint64_t before_ms = loop_now_ms(w.loop);
    UNTIL(w.loop, w.server.ended);
    CHECK(w.server.end.code == ERR_TIMEOUT);
    CHECK(loop_now_ms(w.loop) - before_ms < 1000);
    (void)close(f);
    end_clear(&w.server);
    f = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(connect(f, (struct sockaddr *)&to, sizeof(to)) == 0);
    CHECK(write(f, "GET / HTTP/1.1\r\n\r\n", 18) == 18);
    UNTIL(w.loop, w.server.ended);
    CHECK(w.server.end.code == ERR_SYNTAX && !w.server.ready);
    (void)close(f);
    world_close(&w);
}

TEST(tls_client_does_not_wait_for_ever_for_a_silent_server)
{
    struct world w;
    int fd = -1;
    world_open(&w, 0);
    world_client(&w, &w.client_pair, &w.ca);
    CHECK(socket_listen("127.0.0.1", 0, false, &fd).code == OK);
    const conn_settings s = {.events = &end_events, .tls = w.client_tls, .handshake_ms = 150};
    uint16_t port = socket_port(fd);
    CHECK(conn_connect(&w.client.c, w.loop, "127.0.0.1", port, NULL, &s, end_on_connect, &w.client)
              .code == OK);
    UNTIL(w.loop, w.client.connected);
    CHECK(w.client.connect.code == ERR_TIMEOUT);
    w.client.connected = false;
    CHECK(conn_connect(&w.client.c, w.loop, "127.0.0.1", port, NULL, &s, end_on_connect, &w.client)
              .code == OK);
    (void)close(fd); // resets what is in the backlog
    UNTIL(w.loop, w.client.connected);
    CHECK(w.client.connect.code == ERR_CLOSED);
    world_close(&w);
}

TEST(tls_end_without_notice_is_not_a_clean_end)
{
    struct world w;
    world_open(&w, 0);
    world_client(&w, &w.client_pair, &w.ca);
    world_connect(&w, "node.test");
    world_talk(&w);
    conn_abort(w.client.c);
    w.client.c = NULL;
    UNTIL(w.loop, w.server.ended);
    CHECK(w.server.end.code == ERR_CLOSED);
    world_close(&w);
}

TEST(tls_bytes_wait_when_the_owner_pauses_on_ready)
{
    struct world w;
    world_open(&w, 0);
    world_client(&w, &w.client_pair, &w.ca);
    w.server.pause_on_ready = true;
    const conn_settings settings = {.events = &end_events, .tls = w.client_tls};
    CHECK(conn_connect(&w.client.c, w.loop, "127.0.0.1", w.port, NULL, &settings, end_on_connect,
                       &w.client)
              .code == OK);
    // The client's first bytes are sent in the turn in which its handshake ends, so that they may
    // reach the server together with that end.
    str hello = STR("hello");
    UNTIL(w.loop, w.client.connected);
    CHECK(conn_write(w.client.c, &hello, 1).code == OK);
    UNTIL(w.loop, w.server.ready);
    for (unsigned i = 0; i < 5; i++)
        loop_turn(w.loop, 5);
    CHECK(w.server.reads == 0);
    w.server.echo = true;
    conn_resume(w.server.c);
    CHECK(w.server.reads == 0);
    UNTIL(w.loop, w.client.got.len == 5);
    CHECK(conn_write(w.client.c, &hello, 1).code == OK);
    UNTIL(w.loop, w.client.got.len == 10);
    world_close(&w);
}

static tls_context *world_choose(void *data, str name)
{
    return text_is(name, "other.test") ? data : NULL;
}

TEST(tls_certificate_is_chosen_by_name_and_tickets_hold_in_a_second_process)
{
    struct world w;
    char ticket_key[80];
    tls_context *other = NULL;
    world_open(&w, 0);
    memset(ticket_key, 7, sizeof(ticket_key));
    struct pair pair = pair_make(&w.ca, 0xd00d, "DNS:other.test", 86400);
    tls_settings s = {.server = true, .certificate_pem = pair.x_pem, .key_pem = pair.key_pem};
    CHECK(tls_context_open(&other, &s).code == OK);
    s.certificate_pem = w.server_pair.x_pem;
    s.key_pem = w.server_pair.key_pem;
    s.ca_pem = w.ca.x_pem;
    s.choose = world_choose;
    s.data = other;
    world_client(&w, &w.client_pair, &w.ca);
    listener_close(w.door);
    w.door = NULL;
    w.port = 0;
    for (size_t i = 0; i < 2; i++) { // the second door stands for a process that takes over
        int fd = -1;
        listener *door = NULL;
        tls_context *t = NULL;
        s.ticket_key = (str){ticket_key, 79};
        CHECK(tls_context_open(&t, &s).code == ERR_SYNTAX);
        s.ticket_key.len = 80;
        CHECK(tls_context_open(&t, &s).code == OK);
        const conn_settings settings = {.events = &end_events, .tls = t};
        CHECK(socket_listen("127.0.0.1", w.port, false, &fd).code == OK);
        w.port = socket_port(fd);
        CHECK(listener_open(&door, w.loop, fd, &settings, end_on_accept, &w.server).code == OK);
        tls_context_close(t); // its listener and connections still hold it
        static const char *const names[] = {"node.test", "other.test"};
        for (size_t n = 0; n < COUNT(names); n++) {
            world_connect(&w, names[n]);
            world_talk(&w);
            CHECK(text_is(conn_peer(w.client.c)->serial_hex, n == 0 ? "abc1" : "d00d"));
            CHECK(strcmp(w.server.uri, "ctau://blackhole/seer/seer") == 0);
            CHECK(conn_resumed(w.client.c) == (i > 0));
        }
        if (i > 0) {
            world_client(&w, NULL, &w.ca); // the chosen certificate does not open the door
            world_connect(&w, "other.test");
            check_refused_by_server(&w);
        }
        end_clear(&w.server);
        listener_close(door);
        loop_turn(w.loop, 1);
    }
    world_close(&w);
    tls_context_close(other);
    pair_drop(&pair);
}

TEST(tls_context_refuses_what_does_not_fit)
{
    struct world w;
    tls_context *t = NULL;
    world_open(&w, 0);
    tls_settings s = {.server = true, .certificate_pem = w.server_pair.x_pem};
    CHECK(tls_context_open(&t, &s).code == ERR_SYNTAX);
    s.key_pem = w.client_pair.key_pem;
    CHECK(tls_context_open(&t, &s).code == ERR_SYNTAX);
    s.key_pem = w.server_pair.key_pem;
    s.ca_pem = STR("no certificate");
    CHECK(tls_context_open(&t, &s).code == ERR_SYNTAX);
    world_close(&w);
}

TEST(tls_survives_every_failed_allocation)
{
    struct world w;
    world_open(&w, 0);
    world_client(&w, &w.client_pair, &w.ca);
    uint64_t k = 0;
    for (bool more = true; more && k < 200; k++) {
        end_clear(&w.server);
        end_clear(&w.client);
        const conn_settings settings = {.events = &end_events, .tls = w.client_tls};
        fault_now = (fault_plan){.what = FAULT_MEMORY, .after = k, .times = 1};
        w.server.echo = true;
        err e = conn_connect(&w.client.c, w.loop, "127.0.0.1", w.port, NULL, &settings,
                             end_on_connect, &w.client);
        str hello = STR("hello");
        for (unsigned i = 0; e.code == OK && i < 200; i++) {
            if (w.client.ended || (w.client.connected && w.client.connect.code != OK) ||
                w.server.ended || w.client.got.len == 5 || w.client.got.error.code != OK)
                break;
            if (w.client.connected && hello.len > 0) {
                (void)!conn_write(w.client.c, &hello, 1).code;
                hello.len = 0;
            }
            loop_turn(w.loop, 5);
        }
        more = fault_now.seen > k;
        fault_now = (fault_plan){0};
        CHECK(more || w.client.got.len == 5);
        end_clear(&w.server);
        end_clear(&w.client);
        for (unsigned i = 0; i < 3; i++) // what was still in the backlog
            loop_turn(w.loop, 1);
    }
    CHECK(k > 4);
    world_close(&w);
}
