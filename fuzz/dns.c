// Fuzz target: any bytes as a DNS query; each answer must be a whole message within its limit.
#include "dns/packet.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned message_u16(str s, size_t at)
{
    return (unsigned)(unsigned char)s.at[at] << 8 | (unsigned char)s.at[at + 1];
}

// What a resolver would do with it: one walk over all records.
static void message_check(str m, const dns_query *q, size_t limit)
{
    unsigned char name[DNS_NAME_BYTES_MAX];
    size_t at = DNS_HEADER_BYTES, bytes;
    if (m.len < DNS_HEADER_BYTES || m.len > limit || message_u16(m, 0) != q->id ||
        (message_u16(m, 2) & 0x8000) == 0 || message_u16(m, 4) != q->has_question)
        abort();
    if (q->has_question) {
        if (!dns_name_read(m, &at, name, &bytes) || bytes != q->question.name_bytes ||
            memcmp(name, q->question.name, bytes) != 0 || m.len - at < 4)
            abort();
        at += 4;
    }
    size_t records = (size_t)message_u16(m, 6) + message_u16(m, 8) + message_u16(m, 10);
    for (size_t i = 0; i < records; i++) {
        if (!dns_name_read(m, &at, name, &bytes) || m.len - at < 10 ||
            m.len - at - 10 < message_u16(m, at + 8))
            abort();
        at += 10u + message_u16(m, at + 8);
    }
    if (at != m.len)
        abort();
}

static void answer_try(const dns_query *q, unsigned plan, size_t limit, bool stream)
{
    static const dns_soa soa = {
        .zone = {"zone.test", 9}, .server = {"ns.zone.test", 12}, .mailbox = {"me.zone.test", 12}};
    unsigned char *room = malloc(limit); // exactly: the sanitizer sees a byte too far
    dns_answer a;
    dns_answer_open(&a, q, room, limit);
    str name = dns_question_text(&q->question);
    if (plan & 1 && q->rcode == DNS_NOERROR)
        dns_answer_zone(&a, &soa, plan & 2);
    if (plan & 4 && q->rcode == DNS_NOERROR)
        for (unsigned i = 0; i < (plan & 31); i++) {
            dns_put_address(&a, name, 5, (const unsigned char *)"0123456789abcdef", i & 1 ? 4 : 16);
            dns_put_name(&a, STR(""), 5, DNS_CNAME,
                         name.len > i ? (str){name.at + i, name.len - i} : name);
            dns_put_text(&a, soa.zone, 5, name);
        }
    if (plan & 8)
        dns_answer_truncate(&a);
    str answer = dns_answer_close(&a, stream);
    message_check(answer, q, limit);
    dns_query again;
    if (dns_query_read(answer, &again))
        abort(); // answers are never answered
    free(room);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy = malloc(size + (size == 0));
    memcpy(copy, data, size);
    dns_query q;
    if (dns_query_read((str){copy, size}, &q)) {
        unsigned plan = q.id;
        answer_try(&q, plan, DNS_PLAIN_BYTES, false);
        answer_try(&q, plan, DNS_DATAGRAM_BYTES_MAX, false);
        answer_try(&q, plan, DNS_PLAIN_BYTES, true);
        answer_try(&q, plan | 5, DNS_STREAM_BYTES_MAX, true);
    }
    free(copy);
    return 0;
}
