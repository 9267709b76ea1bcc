// The DNS server: datagrams are answered as they come, connections query by query.
//
// The happy path is: 1. bytes arrive, 2. the packet reader finds one question, 3. the owner fills
// the answer, 4. it leaves at once. What can fail: the bytes (FORMERR, or silence), a peer that
// floods (rate limit), stalls (idle limit) or does not read (back-pressure).
#include "dns/server.h"

#include "base/buf.h"
#include "dns/rate.h"
#include "io/conn.h"
#include "io/udp.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

enum {
    CONNECTIONS_MAX = 256,
    IDLE_MS = 10 * 1000,
    TICK_MS = 1000,
    ANSWERS_PER_SECOND = 2000,
    QUERY_BYTES_MAX = 4096, // by TCP; none of ours is longer than 300
    LENGTH_BYTES = 2,
    // What was left of a query and one more read.
    INTAKE_BYTES_MAX = QUERY_BYTES_MAX + LENGTH_BYTES + 128 * 1024,
    PORT_TRIES = 16,
    TYPE_TRANSFER_FIRST = 249, // TKEY, TSIG, IXFR, AXFR, MAILB, MAILA: none is a type of data
    TYPE_TRANSFER_LAST = 254,
};

// A connection; the list is in the order of their last queries.
struct dns_peer {
    dns_server *server;
    struct dns_peer *next, *prev;
    conn *c;
    buf intake;
    uint64_t seen_ms;
};
struct dns_server {
    dns_server_settings settings;
    udp *datagrams;
    listener *streams;
    timer *tick;
    dns_rate *rate;
    uint16_t port;
    struct dns_peer peers; // list head
    dns_server_counts counts;
    dns_query query;
    unsigned char room[LENGTH_BYTES + DNS_STREAM_BYTES_MAX];
};

static bool dns_type_is_data(unsigned type)
{
    return type != 0 && type != DNS_OPT &&
           (type < TYPE_TRANSFER_FIRST || type > TYPE_TRANSFER_LAST);
}

// The answer behind room for its length; empty: none.
static str dns_server_answer(dns_server *s, str bytes, bool stream, bool slip)
{
    dns_query *q = &s->query;
    if (!dns_query_read(bytes, q)) {
        s->counts.ignored++;
        return (str){NULL, 0};
    }
    size_t limit = DNS_STREAM_BYTES_MAX;
    if (!stream)
        limit = q->datagram_bytes_max < DNS_DATAGRAM_BYTES_MAX ? q->datagram_bytes_max
                                                               : DNS_DATAGRAM_BYTES_MAX;
    s->counts.malformed += q->rcode == DNS_FORMERR;
    dns_answer a;
    dns_answer_open(&a, q, s->room + LENGTH_BYTES, limit);
    if (slip)
        dns_answer_truncate(&a);
    else if (q->rcode == DNS_NOERROR &&
             (q->question.class != DNS_CLASS_IN || !dns_type_is_data(q->question.type)))
        dns_answer_fail(&a, DNS_REFUSED);
    else if (q->rcode == DNS_NOERROR)
        s->settings.answerer(s->settings.data, &q->question, &a);
    return dns_answer_close(&a, stream);
}

// ---- datagrams

static str dns_source(const udp_from *from)
{
    const struct sockaddr *any = (const void *)from->address;
    const struct sockaddr_in *v4 = (const void *)any;
    const struct sockaddr_in6 *v6 = (const void *)any;
    if (any->sa_family == AF_INET6)
        return (str){(const char *)&v6->sin6_addr, 8};
    return (str){(const char *)&v4->sin_addr, sizeof(v4->sin_addr)};
}

static void dns_on_datagram(void *data, udp *u, str bytes, const udp_from *from)
{
    dns_server *s = data;
    s->counts.datagrams++;
    dns_rate_verdict verdict =
        dns_rate_step(s->rate, dns_source(from), loop_now_ms(s->settings.loop));
    s->counts.limited += verdict != DNS_RATE_PASS;
    if (verdict == DNS_RATE_DROP)
        return;
    str answer = dns_server_answer(s, bytes, false, verdict == DNS_RATE_SLIP);
    if (answer.len > 0)
        s->counts.lost += udp_send(u, answer, from).code != OK; // who gets none asks again
}

// ---- connections

static void dns_peer_unlink(struct dns_peer *p)
{
    p->next->prev = p->prev;
    p->prev->next = p->next;
}

static void dns_peer_append(struct dns_peer *p, uint64_t now_ms)
{
    struct dns_peer *head = &p->server->peers;
    p->seen_ms = now_ms;
    p->next = head;
    p->prev = head->prev;
    head->prev->next = p;
    head->prev = p;
}

static void dns_peer_end(struct dns_peer *p, bool gently)
{
    p->server->counts.connections--;
    if (gently)
        conn_close_when_written(p->c);
    else
        conn_close(p->c);
    buf_close(&p->intake);
    free(p);
}

static void dns_peer_close(struct dns_peer *p, bool gently)
{
    dns_peer_unlink(p);
    dns_peer_end(p, gently);
}

// The one whose last query is the longest ago goes.
static void dns_peer_close_oldest(dns_server *s)
{
    struct dns_peer *p = s->peers.next;
    s->peers.next = p->next;
    p->next->prev = &s->peers;
    dns_peer_end(p, false);
}

static bool dns_peer_answer(struct dns_peer *p, str query)
{
    dns_server *s = p->server;
    s->counts.streamed++;
    dns_peer_unlink(p);
    dns_peer_append(p, loop_now_ms(s->settings.loop));
    str answer = dns_server_answer(s, query, true, false);
    if (answer.len == 0)
        return false;
    s->room[0] = (unsigned char)(answer.len >> 8);
    s->room[1] = (unsigned char)answer.len;
    str whole = {(const char *)s->room, LENGTH_BYTES + answer.len};
    return conn_write(p->c, &whole, 1).code == OK;
}

// Answers the whole queries of the intake in their order, until the peer must read first.
static void dns_peer_step(struct dns_peer *p)
{
    str rest = buf_str(&p->intake);
    while (rest.len >= LENGTH_BYTES && !conn_write_full(p->c)) {
        size_t len = (size_t)(unsigned char)rest.at[0] << 8 | (unsigned char)rest.at[1];
        if (len > QUERY_BYTES_MAX) {
            dns_peer_close(p, true);
            return;
        }
        if (rest.len - LENGTH_BYTES < len)
            break;
        if (!dns_peer_answer(p, (str){rest.at + LENGTH_BYTES, len})) {
            dns_peer_close(p, true);
            return;
        }
        rest.at += LENGTH_BYTES + len;
        rest.len -= LENGTH_BYTES + len;
    }
    buf_drop_front(&p->intake, p->intake.len - rest.len);
    if (conn_write_full(p->c))
        conn_pause(p->c);
    else
        conn_resume(p->c);
}

static void dns_peer_on_read(void *owner, conn *c, str bytes)
{
    (void)c;
    struct dns_peer *p = owner;
    buf_add(&p->intake, bytes);
    if (p->intake.error.code != OK)
        dns_peer_close(p, false);
    else
        dns_peer_step(p);
}

static void dns_peer_on_drain(void *owner, conn *c)
{
    (void)c;
    dns_peer_step(owner);
}

static void dns_peer_on_end(void *owner, conn *c, err e)
{
    (void)c;
    dns_peer_close(owner, e.code == OK);
}

static const conn_events dns_peer_events = {
    .on_read = dns_peer_on_read, .on_end = dns_peer_on_end, .on_drain = dns_peer_on_drain};

static void dns_on_accept(void *data, conn *c)
{
    dns_server *s = data;
    struct dns_peer *p = calloc(1, sizeof(*p));
    if (p == NULL) {
        conn_close(c);
        return;
    }
    if (s->counts.connections >= s->settings.connections_max)
        dns_peer_close_oldest(s);
    p->server = s;
    p->c = c;
    buf_open(&p->intake, INTAKE_BYTES_MAX);
    dns_peer_append(p, loop_now_ms(s->settings.loop));
    if (s->counts.connections++ == 0)
        timer_start(s->tick, TICK_MS, TICK_MS);
    conn_set_owner(c, p);
}

static void dns_on_tick(void *data)
{
    dns_server *s = data;
    uint64_t now_ms = loop_now_ms(s->settings.loop);
    while (s->peers.next != &s->peers && s->peers.next->seen_ms + s->settings.idle_ms <= now_ms)
        dns_peer_close_oldest(s);
    if (s->peers.next == &s->peers)
        timer_stop(s->tick);
}

// ---- opening

// One port for both: a free one for TCP may be taken for UDP, then another is tried.
static err dns_server_bind(dns_server *s)
{
    static const conn_settings streams = {.events = &dns_peer_events};
    const dns_server_settings *set = &s->settings;
    for (unsigned tries = 0;; tries++) {
        OWNED(fd_drop) int fd = -1;
        TRY(socket_listen(set->address, set->port, false, &fd));
        s->port = socket_port(fd);
        err e = udp_open(&s->datagrams, set->loop, set->address, s->port, dns_on_datagram, s);
        if (e.code == ERR_CONFLICT && set->port == 0 && tries < PORT_TRIES)
            continue;
        TRY(e);
        return listener_open(&s->streams, set->loop, fd_move(&fd), &streams, dns_on_accept, s);
    }
}

static err dns_server_start(dns_server *s)
{
    TRY(dns_rate_open(&s->rate, s->settings.answers_per_second));
    TRY(timer_open(&s->tick, s->settings.loop, dns_on_tick, s));
    return dns_server_bind(s);
}

err dns_server_open(dns_server **out, const dns_server_settings *settings)
{
    dns_server *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return fail(ERR_MEMORY, 0, "open name server");
    s->settings = *settings;
    s->peers.next = s->peers.prev = &s->peers;
    if (s->settings.connections_max == 0)
        s->settings.connections_max = CONNECTIONS_MAX;
    if (s->settings.idle_ms == 0)
        s->settings.idle_ms = IDLE_MS;
    if (s->settings.answers_per_second == 0)
        s->settings.answers_per_second = ANSWERS_PER_SECOND;
    err e = dns_server_start(s);
    if (e.code != OK) {
        dns_server_close(s);
        return e;
    }
    *out = s;
    return ok();
}

void dns_server_close(dns_server *s)
{
    if (s == NULL)
        return;
    while (s->peers.next != &s->peers)
        dns_peer_close_oldest(s);
    if (s->streams != NULL)
        listener_close(s->streams);
    udp_close(s->datagrams);
    timer_close(s->tick);
    dns_rate_close(s->rate);
    free(s);
}

uint16_t dns_server_port(const dns_server *s)
{
    return s->port;
}

dns_server_counts dns_server_read(const dns_server *s)
{
    return s->counts;
}
