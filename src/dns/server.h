// An authoritative DNS server: UDP and TCP on one port; what the answers say is its owner's matter.
#pragma once
#include "dns/packet.h"
#include "io/loop.h"

typedef struct dns_server dns_server;
// Fills the answer to one question (class IN, an ordinary type) at once: see dns_answer_zone().
// Left alone the answer is REFUSED.
typedef void dns_answerer(void *data, const dns_question *question, dns_answer *answer);
typedef struct dns_server_settings {
    loop *loop;
    const char *address; // "127.0.0.1" or "::1"
    uint16_t port;       // 0 picks one
    dns_answerer *answerer;
    void *data;
    size_t connections_max;      // past it the longest idle one ends (0 = 256)
    uint64_t idle_ms;            // a connection without a whole query for so long ends (0 = 10 s)
    uint32_t answers_per_second; // by UDP, per source address (0 = 2,000)
} dns_server_settings;
typedef struct dns_server_counts {
    uint64_t datagrams, streamed; // queries by UDP and TCP
    uint64_t malformed;           // FORMERR
    uint64_t ignored;             // answers, and what is no message
    uint64_t limited;             // truncated or dropped by the rate limit
    uint64_t lost;                // answers by UDP that the system did not take
    uint64_t connections;         // open now
} dns_server_counts;
// ERR_CONFLICT: the port is in use.
err dns_server_open(dns_server **out, const dns_server_settings *settings) MUST_USE;
void dns_server_close(dns_server *s); // NULL is fine; not from within the answerer
uint16_t dns_server_port(const dns_server *s);
dns_server_counts dns_server_read(const dns_server *s);
