// dig and raw sockets as peers: what a resolver sees, and what a hostile one gets.
#include "base/clock.h"
#include "base/str.h"
#include "base/test.h"
#include "dns/dig_inner.h"
#include "dns/server.h"
#include "io/conn.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const dns_soa zone_soa = {
    .zone = {"example.test", 12},
    .server = {"ns.example.test", 15},
    .mailbox = {"hostmaster.example.test", 23},
    .serial = 2026,
    .refresh_s = 60,
    .retry_s = 30,
    .expire_s = 600,
    .ttl_s = 5,
};

static void zone_answer(void *data, const dns_question *q, dns_answer *a)
{
    ++*(unsigned *)data;
    str name = dns_question_text(q);
    if (!str_is(name, STR("example.test")) && !str_ends(name, STR(".example.test")))
        return;
    bool apex = str_is(name, STR("example.test"));
    bool www = str_is(name, STR("www.example.test")), big = str_is(name, STR("big.example.test"));
    bool alias = str_is(name, STR("alias.example.test"));
    dns_answer_zone(a, &zone_soa, apex || www || big || alias);
    if (apex && q->type == DNS_SOA)
        dns_put_soa(a, &zone_soa);
    if (apex && q->type == DNS_NS)
        dns_put_name(a, STR(""), 5, DNS_NS, STR("ns.example.test"));
    if (alias)
        dns_put_name(a, STR(""), 5, DNS_CNAME, STR("www.example.test"));
    if (www && q->type == DNS_A)
        dns_put_address(a, STR(""), 5, (const unsigned char *)"\x7f\x00\x00\x09", 4);
    if (www && q->type == DNS_AAAA)
        dns_put_address(a, STR(""), 5,
                        (const unsigned char *)"\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x09", 16);
    for (int i = 0; big && q->type == DNS_TXT && i < 40; i++) {
        char text[320];
        (void)snprintf(text, sizeof(text), "%03d%0290d", i, 0);
        dns_put_text(a, STR(""), 5, str_of(text));
    }
}

struct town {
    loop *l;
    dns_server *s;
    uint16_t port;
    unsigned asked;
};

static void town_open(struct town *t, dns_server_settings settings)
{
    *t = (struct town){.asked = 0};
    CHECK(loop_open(&t->l).code == OK);
    settings.loop = t->l;
    settings.address = "127.0.0.1";
    settings.answerer = zone_answer;
    settings.data = &t->asked;
    CHECK(dns_server_open(&t->s, &settings).code == OK);
    t->port = dns_server_port(t->s);
}

static void town_close(struct town *t)
{
    dns_server_close(t->s);
    loop_close(t->l);
}

#define SAYS(words, part) CHECK(dig_says(t.l, t.port, words, part))

TEST(dns_server_answers_dig_by_udp_and_tcp)
{
    struct town t;
    town_open(&t, (dns_server_settings){0});
    SAYS("www.example.test A", "www.example.test.\t5\tIN\tA\t127.0.0.9\n");
    SAYS("www.example.test A", "flags: qr aa rd;");
    SAYS("www.example.test A", "udp: 1232");
    SAYS("+noedns www.example.test A", "ADDITIONAL: 0");
    SAYS("+tcp www.example.test A", "127.0.0.9");
    SAYS("WwW.eXample.tEst A", "WwW.eXample.tEst.\t5\tIN\tA\t127.0.0.9\n");
    SAYS("www.example.test AAAA", "fd00::9");
    SAYS("www.example.test MX", "status: NOERROR");
    SAYS("www.example.test MX", "example.test.\t\t5\tIN\tSOA\tns.example.test. "
                                "hostmaster.example.test. 2026 60 30 600 5\n");
    SAYS("alias.example.test A", "CNAME\twww.example.test.");
    SAYS("example.test SOA", "ANSWER: 1, AUTHORITY: 0");
    SAYS("example.test NS", "IN\tNS\tns.example.test.");
    SAYS("nobody.example.test A", "status: NXDOMAIN");
    SAYS("nobody.example.test A", "AUTHORITY: 1");
    SAYS("www.elsewhere.test A", "status: REFUSED");
    SAYS("www.elsewhere.test A", "flags: qr rd;");
    SAYS(". NS", "status: REFUSED");
    SAYS("www.example.test ANY +notcp", "HINFO\t\"RFC8482\" \"\"");
    CHECK(dns_server_read(t.s).malformed == 0);
    town_close(&t);
}

TEST(dns_server_truncates_by_udp_and_gives_all_by_tcp)
{
    struct town t;
    town_open(&t, (dns_server_settings){0});
    SAYS("+ignore big.example.test TXT", "flags: qr aa tc rd; QUERY: 1, ANSWER: 0, AUTHORITY: 0");
    SAYS("+ignore +bufsize=65535 big.example.test TXT", "flags: qr aa tc rd;");
    SAYS("big.example.test TXT", "ANSWER: 40,"); // dig comes again by TCP
    SAYS("big.example.test TXT", "\"0390");
    SAYS("big.example.test TXT", "MSG SIZE  rcvd: 12");
    town_close(&t);
}

TEST(dns_server_refuses_what_it_does_not_speak)
{
    struct town t;
    town_open(&t, (dns_server_settings){0});
    SAYS("+edns=1 +noednsneg www.example.test A", "status: BADVERS");
    SAYS("+ednsopt=65001:abcd www.example.test A", "127.0.0.9");
    SAYS("+ednsflags=0x40 www.example.test A", "127.0.0.9");
    SAYS("+dnssec www.example.test A", "flags: do; udp: 1232");
    SAYS("+cookie www.example.test A", "127.0.0.9");
    SAYS("+opcode=notify www.example.test A", "status: NOTIMP");
    SAYS("+opcode=15 +noedns www.example.test A", "status: NOTIMP");
    SAYS("-c CH version.bind TXT", "status: REFUSED");
    SAYS("example.test AXFR", "Transfer failed");
    SAYS("+zflag +adflag +cdflag www.example.test A", "flags: qr aa rd;");
    SAYS("+header-only +noedns www.example.test", "status: FORMERR");
    town_close(&t);
}

// ---- raw peers

static int raw_open(struct town *t, int type)
{
    int f = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(t->port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(connect(f, (struct sockaddr *)&to, sizeof(to)) == 0);
    return f;
}

// Turns until so many bytes came (or, with 0, until the peer ended or `ms` passed).
static size_t raw_read(struct town *t, int f, char *out, size_t want, uint64_t ms)
{
    size_t len = 0;
    uint64_t until = clock_now_ms() + ms;
    while (clock_now_ms() < until) {
        loop_turn(t->l, 5);
        ssize_t n = recv(f, out + len, want > 0 ? want - len : 4096, MSG_DONTWAIT);
        if (n == 0)
            break;
        len += n > 0 ? (size_t)n : 0;
        if (want > 0 && len == want)
            break;
    }
    return len;
}

#define QUERY                                                     \
    "\x00\x07\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07" \
    "example\x04test\x00\x00\x01\x00\x01"
enum { QUERY_BYTES = sizeof(QUERY) - 1, ANSWER_BYTES = QUERY_BYTES + 16 };

TEST(dns_server_never_answers_an_answer_nor_a_fragment)
{
    struct town t;
    char got[4096], answer[] = QUERY;
    town_open(&t, (dns_server_settings){0});
    answer[2] = (char)0x80;
    int f = raw_open(&t, SOCK_DGRAM);
    CHECK(send(f, answer, QUERY_BYTES, 0) == QUERY_BYTES && send(f, "", 0, 0) == 0);
    CHECK(send(f, QUERY, 11, 0) == 11);
    CHECK(raw_read(&t, f, got, 1, 100) == 0);
    CHECK(dns_server_read(t.s).ignored == 3 && t.asked == 0);
    CHECK(send(f, QUERY, 20, 0) == 20); // a header without its question
    CHECK(raw_read(&t, f, got, 12, 1000) == 12 && (got[3] & 15) == DNS_FORMERR);
    CHECK(send(f, QUERY, QUERY_BYTES, 0) == QUERY_BYTES);
    CHECK(raw_read(&t, f, got, ANSWER_BYTES, 1000) == ANSWER_BYTES);
    (void)close(f);
    // By TCP whoever sends an answer is hung up on.
    f = raw_open(&t, SOCK_STREAM);
    char framed[2 + QUERY_BYTES] = {0, QUERY_BYTES};
    memcpy(framed + 2, answer, QUERY_BYTES);
    CHECK(send(f, framed, sizeof(framed), 0) == sizeof(framed));
    uint64_t since = clock_now_ms();
    CHECK(raw_read(&t, f, got, 0, 3000) == 0 && clock_now_ms() - since < 2000);
    (void)close(f);
    town_close(&t);
}

TEST(dns_server_answers_pipelined_queries_in_any_pieces)
{
    enum { COUNT_ASKED = 5000 };
    struct town t;
    static char sent[COUNT_ASKED * (2 + QUERY_BYTES)], got[COUNT_ASKED * (2 + ANSWER_BYTES)];
    town_open(&t, (dns_server_settings){0});
    for (size_t i = 0, at = 0; i < COUNT_ASKED; i++) {
        sent[at + 1] = QUERY_BYTES;
        memcpy(sent + at + 2, QUERY, QUERY_BYTES);
        sent[at + 2] = (char)(i >> 8);
        sent[at + 3] = (char)i;
        at += 2 + QUERY_BYTES;
    }
    int f = raw_open(&t, SOCK_STREAM);
    // The first two byte by byte, the rest as it comes.
    size_t at = 0, have = 0;
    uint64_t until = clock_now_ms() + 20 * 1000;
    while (have < sizeof(got) && clock_now_ms() < until) {
        size_t piece = at < 2 * (2 + QUERY_BYTES) ? 1 : sizeof(sent) - at;
        ssize_t n = piece == 0 ? 0 : send(f, sent + at, piece, MSG_DONTWAIT | MSG_NOSIGNAL);
        at += n > 0 ? (size_t)n : 0;
        loop_turn(t.l, 1);
        n = recv(f, got + have, sizeof(got) - have, MSG_DONTWAIT);
        have += n > 0 ? (size_t)n : 0;
    }
    CHECK(have == sizeof(got) && t.asked == COUNT_ASKED);
    for (size_t i = 0; i < COUNT_ASKED; i++) {
        const unsigned char *a = (unsigned char *)got + i * (2 + ANSWER_BYTES);
        CHECK(a[1] == ANSWER_BYTES && (size_t)(a[2] << 8 | a[3]) == i && a[9] == 1);
    }
    // Half closed after a query: the answer still comes, then the end.
    CHECK(send(f, sent, 2 + QUERY_BYTES, 0) == 2 + QUERY_BYTES && shutdown(f, SHUT_WR) == 0);
    CHECK(raw_read(&t, f, got, 0, 2000) == 2 + ANSWER_BYTES);
    (void)close(f);
    town_close(&t);
}

TEST(dns_server_does_not_queue_for_who_does_not_read)
{
    struct town t;
    char framed[2 + QUERY_BYTES] = {0, QUERY_BYTES};
    memcpy(framed + 2, QUERY, QUERY_BYTES);
    town_open(&t, (dns_server_settings){0});
    int f = raw_open(&t, SOCK_STREAM);
    uint64_t quiet_since = clock_now_ms();
    size_t sent = 0;
    // Whole frames until the server takes no more for half a second.
    for (size_t part = 0; clock_now_ms() - quiet_since < 500;) {
        ssize_t n = send(f, framed + part, sizeof(framed) - part, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0) {
            part = (part + (size_t)n) % sizeof(framed);
            sent += (size_t)n;
            quiet_since = clock_now_ms();
            if (sent % 4096 > sizeof(framed))
                continue;
        }
        loop_turn(t.l, n > 0 ? 0 : 5);
    }
    unsigned asked = t.asked;
    CHECK(asked < sent / sizeof(framed)); // the rest waits in the socket's buffers
    static char got[1 << 16];
    size_t have = 0;
    for (uint64_t until = clock_now_ms() + 10000; clock_now_ms() < until;) {
        ssize_t n = recv(f, got, sizeof(got), MSG_DONTWAIT);
        have += n > 0 ? (size_t)n : 0;
        if (have / (2 + ANSWER_BYTES) >= sent / sizeof(framed))
            break;
        loop_turn(t.l, 1);
    }
    CHECK(have / (2 + ANSWER_BYTES) == sent / sizeof(framed));
    (void)close(f);
    town_close(&t);
}

TEST(dns_server_ends_idle_and_surplus_connections)
{
    struct town t;
    char got[4096];
    town_open(&t, (dns_server_settings){.connections_max = 2, .idle_ms = 300});
    int first = raw_open(&t, SOCK_STREAM), second = raw_open(&t, SOCK_STREAM);
    loop_turn(t.l, 20);
    CHECK(dns_server_read(t.s).connections == 2);
    int third = raw_open(&t, SOCK_STREAM);
    uint64_t since = clock_now_ms();
    (void)raw_read(&t, first, got, 0, 250); // the longest idle one makes room
    CHECK(clock_now_ms() - since < 240 && dns_server_read(t.s).connections == 2);
    CHECK(send(second, "\x00", 1, 0) == 1); // a trickle is no query
    CHECK(raw_read(&t, second, got, 0, 4000) == 0 && clock_now_ms() - since < 3000);
    CHECK(raw_read(&t, third, got, 0, 2000) == 0);
    CHECK(dns_server_read(t.s).connections == 0);
    (void)close(first);
    (void)close(second);
    (void)close(third);
    // A length that no query has ends the connection.
    int fourth = raw_open(&t, SOCK_STREAM);
    CHECK(send(fourth, "\xff\xff", 2, 0) == 2);
    CHECK(raw_read(&t, fourth, got, 0, 3000) == 0 && dns_server_read(t.s).connections == 0);
    (void)close(fourth);
    town_close(&t);
}

TEST(dns_server_limits_what_one_address_gets_by_udp)
{
    struct town t;
    char got[512];
    town_open(&t, (dns_server_settings){.answers_per_second = 10});
    int f = raw_open(&t, SOCK_DGRAM);
    unsigned whole = 0, truncated = 0;
    for (int i = 0; i < 40; i++)
        CHECK(send(f, QUERY, QUERY_BYTES, 0) == QUERY_BYTES);
    for (uint64_t until = clock_now_ms() + 200; clock_now_ms() < until; loop_turn(t.l, 10))
        for (ssize_t n; (n = recv(f, got, sizeof(got), MSG_DONTWAIT)) > 0;) {
            whole += n == ANSWER_BYTES;
            truncated += n == QUERY_BYTES && (got[2] & 2) != 0 && got[7] == 0;
        }
    CHECK(whole >= 10 && whole <= 13 && truncated >= 13 && truncated <= 15);
    CHECK(dns_server_read(t.s).limited == 40 - whole);
    SAYS("+tcp www.example.test A", "127.0.0.9");
    (void)close(f);
    town_close(&t);
}

TEST(dns_server_port_in_use_is_a_conflict)
{
    struct town t;
    town_open(&t, (dns_server_settings){0});
    dns_server_settings settings = {
        .loop = t.l, .address = "127.0.0.1", .port = t.port, .answerer = zone_answer};
    dns_server *other = NULL;
    CHECK(dns_server_open(&other, &settings).code == ERR_CONFLICT && other == NULL);
    town_close(&t);
}
