// DNS messages (RFC 1035, RFC 6891): a strict reader of queries and a bounded writer of answers.
#pragma once
#include "base/base.h"

enum {
    DNS_NAME_BYTES_MAX = 255, // on the wire, with the root's zero
    DNS_TEXT_BYTES_MAX = 4 * DNS_NAME_BYTES_MAX,
    DNS_HEADER_BYTES = 12,
    DNS_PLAIN_BYTES = 512,         // a datagram's answer to those who do not speak EDNS
    DNS_DATAGRAM_BYTES_MAX = 1232, // never fragmented on any path that carries IPv6
    DNS_STREAM_BYTES_MAX = 65535,
};
enum {
    DNS_A = 1,
    DNS_NS = 2,
    DNS_CNAME = 5,
    DNS_SOA = 6,
    DNS_HINFO = 13,
    DNS_TXT = 16,
    DNS_AAAA = 28,
    DNS_OPT = 41,
    DNS_ANY = 255,
    DNS_CLASS_IN = 1,
};
typedef enum {
    DNS_NOERROR,
    DNS_FORMERR,
    DNS_SERVFAIL,
    DNS_NXDOMAIN,
    DNS_NOTIMP,
    DNS_REFUSED,
    DNS_BADVERS = 16,
} dns_rcode;

typedef struct dns_question {
    unsigned char name[DNS_NAME_BYTES_MAX]; // labels as asked, in the asker's case
    size_t name_bytes;
    // In lower case, dots between labels and none at the end; the root is empty. What no host name
    // holds (dots within labels, blanks, …) stands as \DDD, so that two names never look alike.
    char text[DNS_TEXT_BYTES_MAX];
    size_t text_bytes;
    uint16_t type, class;
} dns_question;
static inline str dns_question_text(const dns_question *q)
{
    return (str){q->text, q->text_bytes};
}

typedef struct dns_query {
    uint16_t id;
    unsigned opcode;
    bool recursion_desired;
    bool has_question; // false for some of those with an rcode
    dns_question question;
    bool edns, dnssec_ok;
    size_t datagram_bytes_max; // what the asker takes: 512 to 65535
    dns_rcode rcode;           // NOERROR, or all that the answer will say
} dns_query;
// False: not to be answered at all (an answer itself, or too short to hold a header).
bool dns_query_read(str bytes, dns_query *out) MUST_USE;
// Reads the name at `*at` of a message into `name` (uncompressed) and moves `*at` behind it. Each
// compression pointer must lead further back than the one before. False: malformed.
bool dns_name_read(str message,
                   size_t *at,
                   unsigned char name[DNS_NAME_BYTES_MAX],
                   size_t *bytes) MUST_USE;

// Names are texts as in dns_question, in any case; an empty owner is the question's name.
typedef struct dns_soa {
    str zone, server, mailbox;
    uint32_t serial, refresh_s, retry_s, expire_s;
    uint32_t ttl_s; // of the record itself and of what it says is not there
} dns_soa;
typedef enum { DNS_ANSWER, DNS_AUTHORITY, DNS_ADDITIONAL } dns_section;

// One answer while it is written, into the caller's room.
typedef struct dns_answer {
    const dns_query *query;
    unsigned char *at;
    size_t len, bytes_max;
    size_t question_end;
    unsigned counts[3];
    dns_section section;
    dns_rcode rcode;
    bool in_zone, exists;
    bool full, broken;      // the record being written: does not fit, has no valid name
    bool truncated, failed; // some record that was needed did not fit, some could not be written
    dns_soa soa;
} dns_answer;
// `room` and `query` must live until dns_answer_close(). bytes_max: 512 at least.
void dns_answer_open(dns_answer *a, const dns_query *query, unsigned char *room, size_t bytes_max);
// We are the authority for the question's name, and it exists or not. Without this call the answer
// is REFUSED. With it, and without records, it is NXDOMAIN or "nothing of this type", with the SOA.
// The texts must live until dns_answer_close().
void dns_answer_zone(dns_answer *a, const dns_soa *soa, bool exists);
void dns_answer_fail(dns_answer *a, dns_rcode rcode); // only this, whatever was put
// Only "come again by TCP", without claiming authority.
void dns_answer_truncate(dns_answer *a);
// Records go to the answer section until another is chosen; sections only move forward.
void dns_answer_section(dns_answer *a, dns_section section);
// 4 bytes make an A, 16 an AAAA.
void dns_put_address(
    dns_answer *a, str owner, uint32_t ttl_s, const unsigned char *address, size_t bytes);
void dns_put_name(dns_answer *a, str owner, uint32_t ttl_s, unsigned type, str target); // NS, CNAME
void dns_put_text(dns_answer *a, str owner, uint32_t ttl_s, str text); // TXT, in pieces of 255
void dns_put_soa(dns_answer *a, const dns_soa *soa);
// The whole message. What did not fit: a truncated answer (TC), or SERVFAIL on a stream, where
// nothing larger could follow.
str dns_answer_close(dns_answer *a, bool stream);
