// A link greets, subscribes, asks and comes back, against a server that the test plays itself.
#include "base/buf.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/str.h"
#include "base/test.h"
#include "io/conn.h"
#include "mesh/identity.h"
#include "mesh/nats_link.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// ---- the server: TLS first, INFO, an answer to each PING, else what the test says
typedef struct fake {
    loop *loop;
    char folder[64];
    arena *memory;
    authority *authority;
    tls_context *tls;
    listener *listener;
    uint16_t port;
    conn *conn; // the last one
    size_t connections;
    bool mute;
    buf heard; // of this connection
    nats_link *link;
    unsigned ups, downs, messages, replies;
    err error; // of the last reply
    char last[256];
} fake;

static void fake_say(fake *f, const char *text)
{
    str piece = str_of(text);
    CHECK(conn_write(f->conn, &piece, 1).code == OK);
}

static bool fake_heard(fake *f, const char *text)
{
    return str_find(buf_str(&f->heard), str_of(text)) < f->heard.len;
}

static void fake_on_read(void *owner, conn *c, str bytes)
{
    fake *f = owner;
    buf_add(&f->heard, bytes);
    if (!f->mute && str_find(bytes, STR("PING\r\n")) < bytes.len)
        fake_say(f, "PONG\r\n");
    (void)c;
}

static void fake_on_end(void *owner, conn *c, err e)
{
    fake *f = owner;
    (void)e;
    conn_close(c);
    if (f->conn == c)
        f->conn = NULL;
}

static void fake_on_ready(void *owner, conn *c)
{
    fake *f = owner;
    (void)c;
    fake_say(f, "INFO {\"headers\":true,\"max_payload\":4096} \r\n");
}

static const conn_events fake_events = {
    .on_read = fake_on_read, .on_end = fake_on_end, .on_ready = fake_on_ready};

static void fake_on_accept(void *data, conn *c)
{
    fake *f = data;
    conn_close(f->conn);
    f->conn = c;
    f->connections++;
    buf_clear(&f->heard);
    conn_set_owner(c, f);
}

static void fake_listen(fake *f)
{
    int fd = -1;
    CHECK(socket_listen("127.0.0.1", f->port, false, &fd).code == OK);
    f->port = socket_port(fd);
    conn_settings settings = {.events = &fake_events, .tls = f->tls};
    CHECK(listener_open(&f->listener, f->loop, fd, &settings, fake_on_accept, f).code == OK);
}

static void fake_open_as(fake *f, const char *name, const char *protocols)
{
    str certificate, key;
    *f = (fake){.port = 0};
    (void)snprintf(f->folder, sizeof f->folder, "/tmp/link-test-XXXXXX");
    CHECK(mkdtemp(f->folder) != NULL && arena_open(&f->memory, 1 << 20).code == OK);
    CHECK(loop_open(&f->loop).code == OK);
    CHECK(authority_open(&f->authority, f->folder, STR("blackhole")).code == OK);
    CHECK(authority_issue(f->authority, f->memory, str_of(name), str_of(protocols), 1, &certificate,
                          &key)
              .code == OK);
    tls_settings tls = {.certificate_pem = certificate,
                        .key_pem = key,
                        .ca_pem = authority_certificate(f->authority),
                        .server = true};
    CHECK(tls_context_open(&f->tls, &tls).code == OK);
    buf_open(&f->heard, 64 << 20);
    fake_listen(f);
}

static void fake_open(fake *f)
{
    fake_open_as(f, "elder", "elder");
}

static void fake_close(fake *f)
{
    nats_link_close(f->link);
    conn_close(f->conn);
    listener_close(f->listener);
    tls_context_close(f->tls);
    authority_close(f->authority);
    loop_close(f->loop);
    buf_close(&f->heard);
    arena_close(f->memory);
    CHECK(file_remove_tree(f->folder).code == OK);
}

// ---- the link
static void link_on_state(void *data, bool connected)
{
    fake *f = data;
    f->ups += connected;
    f->downs += !connected;
}

static err fake_connect(fake *f)
{
    mesh_server here = {STR("127.0.0.1"), f->port}, servers[] = {here, here};
    str certificate, key;
    TRY(authority_issue(f->authority, f->memory, STR("tns"), STR("tns"), 1, &certificate, &key));
    return nats_link_open(&f->link, &(nats_link_settings){
                                        .loop = f->loop,
                                        .servers = servers,
                                        .servers_count = 2,
                                        .node = STR("tns"),
                                        .certificate_pem = certificate,
                                        .key_pem = key,
                                        .ca_pem = authority_certificate(f->authority),
                                        .universe = STR("blackhole"),
                                        .on_state = link_on_state,
                                        .data = f,
                                    });
}

#define UNTIL(f, condition, ms)                                                           \
    do {                                                                                  \
        for (uint64_t end = clock_now_ms() + (ms); !(condition) && clock_now_ms() < end;) \
            loop_turn((f)->loop, 10);                                                     \
        CHECK(condition);                                                                 \
    } while (0)

static void fake_up(fake *f)
{
    CHECK(fake_connect(f).code == OK && !nats_link_connected(f->link));
    UNTIL(f, nats_link_connected(f->link) && fake_heard(f, "SUB re.tns."), 5000);
}

static void on_message(void *data, const nats_message *m)
{
    fake *f = data;
    f->messages++;
    (void)snprintf(f->last, sizeof f->last, "%.*s|%.*s|%.*s|%u|%.*s", STR_ARG(m->subject),
                   STR_ARG(m->reply), STR_ARG(m->headers), m->status, STR_ARG(m->payload));
}

static void on_reply(void *data, err e, const nats_message *m)
{
    fake *f = data;
    f->replies++;
    f->error = e;
    CHECK((m != NULL) == (e.code == OK));
    if (m != NULL)
        (void)snprintf(f->last, sizeof f->last, "%.*s", STR_ARG(m->payload));
}

static uint64_t fake_ask(fake *f, const char *subject, uint64_t deadline_ms)
{
    str payload = STR("what");
    nats_outgoing out = {.subject = str_of(subject), .pieces = &payload, .pieces_count = 1};
    return nats_request(f->link, &out, deadline_ms, on_reply, f);
}

static err fake_publish(fake *f, const char *subject, const char *headers, str payload)
{
    nats_outgoing out = {.subject = str_of(subject),
                         .headers = str_of(headers),
                         .pieces = &payload,
                         .pieces_count = 1};
    return nats_publish(f->link, &out);
}

// The word behind `before`, as last heard.
static str fake_word(fake *f, const char *before)
{
    str all = buf_str(&f->heard), found = STR("");
    for (size_t at; (at = str_find(all, str_of(before))) < all.len;) {
        all = str_from(all, at + strlen(before));
        found = str_first(all, str_find_byte(all, all.at[0] == ' ' ? ' ' : '\r'));
        found = str_first(found, str_find_byte(found, ' '));
    }
    return found;
}

TEST(link_greets_and_says_who_it_is)
{
    fake f;
    fake_open(&f);
    fake_up(&f);
    CHECK(fake_heard(&f, "CONNECT {\"verbose\":false,\"pedantic\":false,\"tls_required\":true,"
                         "\"name\":\"tns\",\"lang\":\"ctau\",\"version\":\"1\",\"protocol\":1,"
                         "\"headers\":true,\"no_responders\":true,\"echo\":true}\r\nSUB re.tns."));
    str all = buf_str(&f.heard); // what it hears stands before it counts as connected
    CHECK(str_find(all, STR("SUB re.tns.")) < str_find(all, STR("PING\r\n")));
    CHECK(f.ups == 1 && f.downs == 0 && nats_link_payload_max(f.link) == 4096);
    fake_say(&f, "PING\r\n");
    UNTIL(&f, fake_heard(&f, "PONG\r\n"), 2000);
    fake_close(&f);
}

TEST(link_trusts_only_elders_of_its_universe)
{
    static const char *const others[][2] = {{"tns", "tns"}, {"elder", ""}, {"elder-2", "auth+tns"}};
    for (size_t i = 0; i < COUNT(others); i++) {
        fake f;
        fake_open_as(&f, others[i][0], others[i][1]);
        CHECK(fake_connect(&f).code == OK);
        UNTIL(&f, f.connections >= 2, 5000);
        CHECK(f.ups == 0 && !fake_heard(&f, "CONNECT"));
        fake_close(&f);
    }
}

TEST(link_publishes_in_order_in_one_write)
{
    fake f;
    fake_open(&f);
    fake_up(&f);
    CHECK(fake_publish(&f, "tell.a.tns", "", STR("one")).code == OK);
    CHECK(fake_publish(&f, "tell.b.tns", "A: b\r\n", STR("two")).code == OK);
    UNTIL(&f,
          fake_heard(&f, "PUB tell.a.tns  3\r\none\r\n"
                         "HPUB tell.b.tns  18 21\r\nNATS/1.0\r\nA: b\r\n\r\ntwo\r\n"),
          2000);
    static char large[5000];
    CHECK(fake_publish(&f, "a", "", (str){large, 4097}).code == ERR_LIMIT);
    CHECK(fake_publish(&f, "a.*", "", STR("")).code == ERR_SYNTAX);
    CHECK(fake_publish(&f, "a b", "", STR("")).code == ERR_SYNTAX);
    CHECK(fake_publish(&f, "a", "A: b", STR("")).code == ERR_SYNTAX);
    fake_close(&f);
}

TEST(link_delivers_what_was_subscribed_and_nothing_else)
{
    fake f;
    char text[200];
    nats_subscription *s = NULL, *d = NULL;
    fake_open(&f);
    fake_up(&f);
    CHECK(nats_subscribe(&s, f.link, STR("ask.a.*.*"), STR("a"), on_message, &f).code == OK);
    CHECK(nats_subscribe_delivery(&d, f.link, STR("to.tns.a"), STR(""), on_message, &f).code == OK);
    UNTIL(&f, fake_heard(&f, "SUB to.tns.a  "), 2000);
    str one = fake_word(&f, "SUB ask.a.*.* a "), two = fake_word(&f, "SUB to.tns.a  ");
    (void)snprintf(text, sizeof text,
                   "MSG ask.a.any.x %.*s re.x.1 2\r\nhi\r\nMSG log.b.x %.*s 1\r\n1\r\n",
                   STR_ARG(one), STR_ARG(one));
    fake_say(&f, text);
    UNTIL(&f, nats_link_strays(f.link) == 1, 2000);
    CHECK(f.messages == 1 && strcmp(f.last, "ask.a.any.x|re.x.1||0|hi") == 0);
    (void)snprintf(text, sizeof text,
                   "HMSG log.b.x %.*s $JS.ACK 24 25\r\nNATS/1.0 100 B\r\nA: b\r\n\r\n1\r\n",
                   STR_ARG(two));
    fake_say(&f, text);
    UNTIL(&f, f.messages == 2, 2000);
    CHECK(strcmp(f.last, "log.b.x|$JS.ACK|A: b\r\n|100|1") == 0);
    nats_unsubscribe(s);
    UNTIL(&f, fake_heard(&f, "UNSUB "), 2000);
    (void)snprintf(text, sizeof text, "MSG ask.a.any.x 2 0\r\n\r\nMSG other 1 0\r\n\r\n");
    fake_say(&f, text);
    UNTIL(&f, nats_link_strays(f.link) == 2, 2000); // the inbox too
    CHECK(f.messages == 2);
    fake_close(&f);
}

static void fake_answer(fake *f, str reply, const char *payload)
{
    char text[300];
    (void)snprintf(text, sizeof text, "MSG %.*s 1 %zu\r\n%s\r\n", STR_ARG(reply), strlen(payload),
                   payload);
    fake_say(f, text);
}

TEST(link_request_ends_once)
{
    fake f;
    char text[300];
    fake_open(&f);
    fake_up(&f);
    uint64_t number = fake_ask(&f, "ask.a.any.tns", 5000);
    CHECK(number > 0 && f.replies == 0);
    UNTIL(&f, fake_heard(&f, "4\r\nwhat\r\n"), 2000);
    str reply = str_copy(f.memory, fake_word(&f, "PUB ask.a.any.tns "));
    CHECK(str_starts(reply, STR("re.tns.")));
    // Who was not asked knows its number at most, and not the secret behind.
    char forged[200];
    int len = snprintf(forged, sizeof forged, "%.*s", STR_ARG(reply));
    forged[len - 1] = forged[len - 1] == '0' ? '1' : '0';
    fake_answer(&f, str_of(forged), "forged");
    fake_answer(&f, str_first(reply, reply.len - 17), "forged");
    fake_answer(&f, reply, "yes");
    fake_answer(&f, reply, "again");
    UNTIL(&f, f.replies == 1, 2000);
    CHECK(f.error.code == OK && strcmp(f.last, "yes") == 0);
    (void)fake_ask(&f, "ask.b.any.tns", 5000);
    UNTIL(&f, fake_heard(&f, "PUB ask.b.any.tns "), 2000);
    (void)snprintf(text, sizeof text, "HMSG %.*s 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n",
                   STR_ARG(fake_word(&f, "PUB ask.b.any.tns ")));
    fake_say(&f, text);
    UNTIL(&f, f.replies == 2, 2000);
    CHECK(f.error.code == ERR_BUSY && f.error.what != NULL);
    uint64_t begin = clock_now_ms();
    (void)fake_ask(&f, "ask.c.any.tns", 3000); // later in the heap
    (void)fake_ask(&f, "ask.d.any.tns", 50);
    UNTIL(&f, f.replies == 3, 2000);
    CHECK(f.error.code == ERR_TIMEOUT && clock_now_ms() - begin >= 50);
    number = fake_ask(&f, "ask.e.any.tns", 50);
    nats_request_cancel(f.link, number);
    nats_request_cancel(f.link, number);
    nats_link_close(f.link); // ends the third within the call
    CHECK(f.replies == 4 && f.error.code == ERR_CLOSED);
    f.link = NULL;
    fake_close(&f);
}

TEST(link_request_denied_ends_at_once)
{
    fake f;
    fake_open(&f);
    fake_up(&f);
    (void)fake_ask(&f, "ask.a.any.tns", 60000);
    (void)fake_ask(&f, "ask.b.any.tns", 60000);
    UNTIL(&f, fake_heard(&f, "PUB ask.b.any.tns"), 2000);
    fake_say(&f, "-ERR 'Permissions Violation for Publish to \"ask.a.any.tns\"'\r\n");
    UNTIL(&f, f.replies == 1, 2000);
    CHECK(f.error.code == ERR_DENIED);
    nats_outgoing wrong = {.subject = STR("not a subject")};
    (void)nats_request(f.link, &wrong, 1000, on_reply, &f);
    CHECK(f.replies == 1); // never before the call has returned
    UNTIL(&f, f.replies == 2, 2000);
    CHECK(f.error.code == ERR_SYNTAX);
    fake_close(&f);
}

TEST(link_comes_back_with_its_subscriptions_first)
{
    fake f;
    nats_subscription *s = NULL;
    fake_open(&f);
    fake_up(&f);
    CHECK(nats_subscribe(&s, f.link, STR("tell.a.*"), STR(""), on_message, &f).code == OK);
    UNTIL(&f, fake_heard(&f, "SUB tell.a.*"), 2000);
    listener_close(f.listener);
    conn_abort(f.conn);
    f.conn = NULL;
    UNTIL(&f, f.downs == 1, 2000);
    CHECK(!nats_link_connected(f.link));
    CHECK(fake_publish(&f, "tell.b.tns", "", STR("waits")).code == OK);
    (void)fake_ask(&f, "ask.short.any.tns", 30);
    (void)fake_ask(&f, "ask.long.any.tns", 60000);
    UNTIL(&f, f.replies == 1, 2000);
    CHECK(f.error.code == ERR_TIMEOUT);
    fake_listen(&f);
    UNTIL(&f, fake_heard(&f, "PUB ask.long.any.tns "), 5000);
    str all = buf_str(&f.heard);
    size_t first = str_find(all, STR("SUB tell.a.*")), then = str_find(all, STR("PUB tell.b.tns"));
    CHECK(first < then && then < str_find(all, STR("PUB ask.long")));
    CHECK(!fake_heard(&f, "ask.short") && f.ups == 2);
    fake_answer(&f, fake_word(&f, "PUB ask.long.any.tns "), "late is fine");
    UNTIL(&f, f.replies == 2, 2000);
    CHECK(f.error.code == OK && strcmp(f.last, "late is fine") == 0);
    fake_close(&f);
}

TEST(link_leaves_a_server_that_talks_nonsense)
{
    fake f;
    fake_open(&f);
    fake_up(&f);
    fake_say(&f, "HELLO\r\n");
    UNTIL(&f, f.downs == 1 && f.ups == 2, 5000);
    fake_close(&f);
}

TEST(link_leaves_a_server_that_is_silent)
{
    fake f;
    fake_open(&f);
    fake_up(&f);
    f.mute = true;
    uint64_t begin = clock_now_ms();
    UNTIL(&f, f.downs == 1, 8000);
    CHECK(clock_now_ms() - begin >= 5500);
    UNTIL(&f, f.connections >= 4, 8000); // none of the next says PONG either
    CHECK(f.ups == 1);
    f.mute = false;
    UNTIL(&f, f.ups == 2, 5000);
    fake_close(&f);
}

TEST(link_lets_only_so_much_wait)
{
    fake f;
    fake_open(&f);
    CHECK(fake_connect(&f).code == OK);
    char *large = calloc(1, 1 << 20);
    err e = ok();
    size_t count = 0;
    for (; e.code == OK && count < 100; count++)
        e = fake_publish(&f, "a", "", (str){large, 1 << 20});
    CHECK(e.code == ERR_LIMIT && count == 64);
    free(large);
    fake_close(&f);
}

static void on_reply_close(void *data, err e, const nats_message *m)
{
    fake *f = data;
    on_reply(data, e, m);
    nats_link_close(f->link);
    f->link = NULL;
}

static void on_message_close(void *data, const nats_message *m)
{
    on_message(data, m);
    on_reply_close(data, fail(ERR_CLOSED, 0, "test"), NULL);
}

TEST(link_may_be_closed_by_its_callbacks)
{
    fake f;
    char text[100];
    nats_subscription *s = NULL;
    fake_open(&f);
    fake_up(&f);
    nats_outgoing out = {.subject = STR("ask.a.any.tns")};
    (void)nats_request(f.link, &out, 30, on_reply_close, &f);
    UNTIL(&f, f.link == NULL, 2000);
    CHECK(f.replies == 1 && f.error.code == ERR_TIMEOUT);
    fake_up(&f);
    CHECK(nats_subscribe(&s, f.link, STR("tell.a.*"), STR(""), on_message_close, &f).code == OK);
    UNTIL(&f, fake_heard(&f, "SUB tell.a.*"), 2000);
    str number = fake_word(&f, "SUB tell.a.*  ");
    (void)snprintf(text, sizeof text, "MSG tell.a.x %.*s 2\r\nhi\r\nMSG tell.a.x %.*s 2\r\nhi\r\n",
                   STR_ARG(number), STR_ARG(number));
    fake_say(&f, text);
    UNTIL(&f, f.link == NULL, 2000);
    CHECK(f.messages == 1);
    fake_close(&f);
}

TEST(link_tells_when_memory_is_short)
{
    fake f;
    fake_open(&f);
    err e = fail(ERR_MEMORY, 0, "test");
    for (uint64_t k = 0; e.code != OK; k++) {
        CHECK(e.code == ERR_MEMORY && k < 1000);
        fault_now = (fault_plan){.what = FAULT_MEMORY, .after = k, .times = 1};
        e = fake_connect(&f);
        if (fault_now.seen > k && e.code == OK) {
            nats_link_close(f.link); // survived
            e = fail(ERR_MEMORY, 0, "test");
        }
        fault_now = (fault_plan){.what = FAULT_NONE};
    }
    UNTIL(&f, nats_link_connected(f.link), 5000);
    for (unsigned step = 0; step < 3; step++)
        for (uint64_t k = 0, seen = 1; k < seen; k++) {
            nats_subscription *s = NULL;
            fault_now = (fault_plan){.what = FAULT_MEMORY, .after = k, .times = 1};
            if (step == 0)
                e = fake_publish(&f, "a", "", STR("payload"));
            else if (step == 1)
                e = nats_subscribe(&s, f.link, STR("a"), STR(""), on_message, &f);
            else
                (void)fake_ask(&f, "a", 1); // ends by one error or another
            seen = fault_now.seen;
            fault_now = (fault_plan){.what = FAULT_NONE};
            CHECK(e.code == OK || e.code == ERR_MEMORY);
            nats_unsubscribe(s);
            for (unsigned i = 0; i < 3; i++)
                loop_turn(f.loop, 1);
        }
    UNTIL(&f, nats_link_connected(f.link), 5000);
    fake_close(&f);
}
