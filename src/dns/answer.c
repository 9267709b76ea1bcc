// The writer of DNS answers: records that fit, names compressed against the question.
#include "dns/packet.h"

#include <assert.h>
#include <string.h>

enum {
    OPT_BYTES = 11,
    FLAGS_ANSWER = 0x8000,
    FLAG_AUTHORITATIVE = 0x0400,
    FLAG_TRUNCATED = 0x0200,
    FLAG_RECURSION = 0x0100,
    POINTER = 0xc000,
    TEXT_PIECE_BYTES = 255,
    LABEL_BYTES_MAX = 63,
};

static void dns_set_u16(unsigned char *at, unsigned value)
{
    at[0] = (unsigned char)(value >> 8);
    at[1] = (unsigned char)value;
}

static void dns_add(dns_answer *a, const void *bytes, size_t len)
{
    if (a->full || a->bytes_max - a->len < len) {
        a->full = true;
        return;
    }
    memcpy(a->at + a->len, bytes, len);
    a->len += len;
}

static void dns_add_u16(dns_answer *a, unsigned value)
{
    unsigned char bytes[2];
    dns_set_u16(bytes, value);
    dns_add(a, bytes, sizeof(bytes));
}

static void dns_add_u32(dns_answer *a, uint32_t value)
{
    dns_add_u16(a, value >> 16);
    dns_add_u16(a, value & 0xffff);
}

void dns_answer_open(dns_answer *a, const dns_query *query, unsigned char *room, size_t bytes_max)
{
    assert(bytes_max >= DNS_PLAIN_BYTES);
    *a = (dns_answer){
        .query = query,
        .at = room,
        .len = DNS_HEADER_BYTES,
        .bytes_max = bytes_max - (query->edns ? OPT_BYTES : 0),
        .rcode = query->rcode,
    };
    memset(room, 0, DNS_HEADER_BYTES);
    if (query->has_question) {
        dns_add(a, query->question.name, query->question.name_bytes);
        dns_add_u16(a, query->question.type);
        dns_add_u16(a, query->question.class);
    }
    a->question_end = a->len;
}

void dns_answer_zone(dns_answer *a, const dns_soa *soa, bool exists)
{
    a->in_zone = true;
    a->exists = exists;
    a->soa = *soa;
}

void dns_answer_fail(dns_answer *a, dns_rcode rcode)
{
    a->rcode = rcode;
}

void dns_answer_truncate(dns_answer *a)
{
    a->truncated = true;
}

void dns_answer_section(dns_answer *a, dns_section section)
{
    assert(section >= a->section);
    a->section = section;
}

// \DDD or the byte itself; how many characters it took, 0 for what is neither.
static size_t dns_text_byte(str text, size_t at, unsigned char *out)
{
    *out = (unsigned char)text.at[at];
    if (*out != '\\')
        return 1;
    unsigned value = 0;
    for (size_t i = 1; i <= 3; i++) {
        if (at + i >= text.len || text.at[at + i] < '0' || text.at[at + i] > '9')
            return 0;
        value = value * 10 + (unsigned)(text.at[at + i] - '0');
    }
    *out = (unsigned char)value;
    return value > 255 ? 0 : 4;
}

// The text as labels on the wire; 0 when it is no name.
static size_t dns_name_of(str text, unsigned char name[DNS_NAME_BYTES_MAX])
{
    size_t label = 0, len = 1; // where the current label's length stands, and its next byte
    for (size_t at = 0; text.len > 0;) {
        if (at < text.len && text.at[at] != '.') {
            size_t taken = dns_text_byte(text, at, &name[len]);
            if (taken == 0 || len + 1 >= DNS_NAME_BYTES_MAX)
                return 0;
            len++;
            at += taken;
            continue;
        }
        size_t bytes = len - label - 1;
        if (bytes == 0 || bytes > LABEL_BYTES_MAX || len >= DNS_NAME_BYTES_MAX)
            return 0;
        name[label] = (unsigned char)bytes;
        label = len++;
        if (at++ == text.len)
            break;
    }
    name[label] = 0;
    return label + 1;
}

static bool dns_same(const unsigned char *a, const unsigned char *b, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char x = a[i], y = b[i];
        // Length bytes are below 'A', so folding leaves them alone.
        x = x >= 'A' && x <= 'Z' ? (unsigned char)(x + 32) : x;
        y = y >= 'A' && y <= 'Z' ? (unsigned char)(y + 32) : y;
        if (x != y)
            return false;
    }
    return true;
}

// Where in the message the question's name ends in this name; 0: nowhere, but for the root.
static size_t dns_find_suffix(const dns_answer *a, const unsigned char *name, size_t bytes)
{
    const dns_question *q = &a->query->question;
    if (!a->query->has_question || bytes < 2)
        return 0;
    for (size_t i = 0; q->name[i] != 0; i += q->name[i] + 1u)
        if (q->name_bytes - i == bytes && dns_same(q->name + i, name, bytes))
            return DNS_HEADER_BYTES + i;
    return 0;
}

static void dns_add_name(dns_answer *a, str text)
{
    unsigned char name[DNS_NAME_BYTES_MAX];
    size_t bytes = dns_name_of(text, name), at = 0, found = 0;
    if (bytes == 0) {
        a->broken = true;
        return;
    }
    while (name[at] != 0 && (found = dns_find_suffix(a, name + at, bytes - at)) == 0)
        at += name[at] + 1u;
    if (found == 0) {
        dns_add(a, name, bytes);
    } else {
        dns_add(a, name, at);
        dns_add_u16(a, POINTER | (unsigned)found);
    }
}

// One record: dns_record_open, its data, dns_record_close, which takes back what did not fit.
static size_t dns_record_open(dns_answer *a, str owner, unsigned type, uint32_t ttl_s)
{
    size_t start = a->len;
    a->full = a->broken = false;
    if (owner.len == 0)
        dns_add_u16(a, POINTER | DNS_HEADER_BYTES);
    else
        dns_add_name(a, owner);
    dns_add_u16(a, type);
    dns_add_u16(a, DNS_CLASS_IN);
    dns_add_u32(a, ttl_s);
    dns_add_u16(a, 0);
    return start;
}

static void dns_record_close(dns_answer *a, size_t start, size_t data)
{
    if (a->full || a->broken) {
        a->len = start;
        // Additional records are a favour: leaving them out truncates nothing (RFC 2181 section 9).
        a->truncated |= a->full && a->section != DNS_ADDITIONAL;
        a->failed |= a->broken;
        return;
    }
    dns_set_u16(a->at + data - 2, (unsigned)(a->len - data));
    a->counts[a->section]++;
}

void dns_put_address(
    dns_answer *a, str owner, uint32_t ttl_s, const unsigned char *address, size_t bytes)
{
    assert(bytes == 4 || bytes == 16);
    size_t start = dns_record_open(a, owner, bytes == 4 ? DNS_A : DNS_AAAA, ttl_s);
    size_t data = a->len;
    dns_add(a, address, bytes);
    dns_record_close(a, start, data);
}

void dns_put_name(dns_answer *a, str owner, uint32_t ttl_s, unsigned type, str target)
{
    size_t start = dns_record_open(a, owner, type, ttl_s);
    size_t data = a->len;
    dns_add_name(a, target);
    dns_record_close(a, start, data);
}

static void dns_add_text(dns_answer *a, str text)
{
    do {
        unsigned char piece =
            (unsigned char)(text.len < TEXT_PIECE_BYTES ? text.len : TEXT_PIECE_BYTES);
        dns_add(a, &piece, 1);
        dns_add(a, text.at, piece);
        text.at += piece;
        text.len -= piece;
    } while (text.len > 0);
}

void dns_put_text(dns_answer *a, str owner, uint32_t ttl_s, str text)
{
    size_t start = dns_record_open(a, owner, DNS_TXT, ttl_s);
    size_t data = a->len;
    dns_add_text(a, text.at == NULL ? STR("") : text);
    dns_record_close(a, start, data);
}

void dns_put_soa(dns_answer *a, const dns_soa *soa)
{
    size_t start = dns_record_open(a, soa->zone, DNS_SOA, soa->ttl_s);
    size_t data = a->len;
    dns_add_name(a, soa->server);
    dns_add_name(a, soa->mailbox);
    const uint32_t numbers[] = {soa->serial, soa->refresh_s, soa->retry_s, soa->expire_s,
                                soa->ttl_s};
    for (size_t i = 0; i < COUNT(numbers); i++)
        dns_add_u32(a, numbers[i]);
    dns_record_close(a, start, data);
}

// Asked for everything we say that it is there, and no more (RFC 8482 section 4.2).
static void dns_put_minimal(dns_answer *a)
{
    size_t start = dns_record_open(a, (str){NULL, 0}, DNS_HINFO, a->soa.ttl_s);
    size_t data = a->len;
    dns_add_text(a, STR("RFC8482"));
    dns_add_text(a, STR(""));
    dns_record_close(a, start, data);
}

static void dns_answer_negative(dns_answer *a)
{
    if (a->exists && a->query->question.type == DNS_ANY) {
        dns_put_minimal(a);
        return;
    }
    a->rcode = a->exists ? DNS_NOERROR : DNS_NXDOMAIN;
    assert(a->counts[DNS_AUTHORITY] == 0 && a->counts[DNS_ADDITIONAL] == 0);
    a->section = DNS_AUTHORITY;
    dns_put_soa(a, &a->soa);
}

static void dns_answer_reset(dns_answer *a)
{
    a->len = a->question_end;
    memset(a->counts, 0, sizeof(a->counts));
}

static void dns_answer_add_edns(dns_answer *a)
{
    a->full = false;
    a->bytes_max += OPT_BYTES;
    dns_add(a, "", 1);
    dns_add_u16(a, DNS_OPT);
    dns_add_u16(a, DNS_DATAGRAM_BYTES_MAX);
    dns_add_u16(a, (unsigned)a->rcode >> 4 << 8); // the code's upper bits; version 0
    dns_add_u16(a, a->query->dnssec_ok ? 0x8000 : 0);
    dns_add_u16(a, 0);
    a->counts[DNS_ADDITIONAL]++;
}

str dns_answer_close(dns_answer *a, bool stream)
{
    const dns_query *q = a->query;
    if (a->rcode == DNS_NOERROR && !a->in_zone && !a->truncated)
        a->rcode = DNS_REFUSED;
    if (a->rcode == DNS_NOERROR && a->counts[DNS_ANSWER] == 0 && !a->truncated && !a->failed)
        dns_answer_negative(a);
    if (a->failed || (a->truncated && stream))
        a->rcode = DNS_SERVFAIL;
    bool told = a->rcode == DNS_NOERROR || a->rcode == DNS_NXDOMAIN;
    bool truncated = told && a->truncated;
    if (!told || truncated)
        dns_answer_reset(a);
    if (q->edns)
        dns_answer_add_edns(a);
    dns_set_u16(a->at, q->id);
    unsigned flags = FLAGS_ANSWER | q->opcode << 11 | ((unsigned)a->rcode & 15);
    flags |= told && a->in_zone ? FLAG_AUTHORITATIVE : 0;
    flags |= truncated ? FLAG_TRUNCATED : 0;
    flags |= q->recursion_desired ? FLAG_RECURSION : 0;
    dns_set_u16(a->at + 2, flags);
    dns_set_u16(a->at + 4, q->has_question);
    for (size_t i = 0; i < 3; i++)
        dns_set_u16(a->at + 6 + 2 * i, a->counts[i]);
    return (str){(const char *)a->at, a->len};
}
