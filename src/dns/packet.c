// The reader of DNS queries: every length is checked, every pointer leads back, nothing trails.
#include "dns/packet.h"

#include <string.h>

enum {
    LABEL_BYTES_MAX = 63,
    POINTER = 0xc0,    // the two bits that make a length byte a pointer
    RECORD_BYTES = 10, // type, class, ttl and length behind a name
    FLAG_ANSWER = 0x8000,
    FLAG_RECURSION = 0x0100,
    EDNS_DNSSEC_OK = 0x8000,
};

static unsigned dns_u16(str s, size_t at)
{
    const unsigned char *b = (const unsigned char *)s.at + at;
    return (unsigned)b[0] << 8 | b[1];
}

bool dns_name_read(str message, size_t *at, unsigned char name[DNS_NAME_BYTES_MAX], size_t *bytes)
{
    const unsigned char *b = (const unsigned char *)message.at;
    size_t from = *at, lowest = from, behind = 0, len = 0;
    for (;;) {
        if (from >= message.len)
            return false;
        size_t label = b[from];
        if ((label & POINTER) == POINTER) {
            if (message.len - from < 2)
                return false;
            size_t to = dns_u16(message, from) & 0x3fff;
            if (to < DNS_HEADER_BYTES || to >= lowest)
                return false;
            behind = behind == 0 ? from + 2 : behind;
            from = lowest = to;
            continue;
        }
        // One byte stays free for the root.
        if (label > LABEL_BYTES_MAX || message.len - from <= label ||
            len + label + 1 + (label > 0) > DNS_NAME_BYTES_MAX)
            return false;
        memcpy(name + len, b + from, label + 1);
        len += label + 1;
        from += label + 1;
        if (label == 0)
            break;
    }
    *at = behind == 0 ? from : behind;
    *bytes = len;
    return true;
}

static void dns_question_write_text(dns_question *q)
{
    size_t len = 0;
    for (size_t at = 0; q->name[at] != 0; at += q->name[at] + 1u) {
        if (len > 0)
            q->text[len++] = '.';
        for (size_t i = 1; i <= q->name[at]; i++) {
            unsigned char c = q->name[at + i];
            if (c >= 'A' && c <= 'Z')
                c = (unsigned char)(c + 'a' - 'A');
            if (c > ' ' && c < 0x7f && c != '.' && c != '\\') {
                q->text[len++] = (char)c;
                continue;
            }
            q->text[len++] = '\\';
            q->text[len++] = (char)('0' + c / 100);
            q->text[len++] = (char)('0' + c / 10 % 10);
            q->text[len++] = (char)('0' + c % 10);
        }
    }
    q->text_bytes = len;
}

// The OPT pseudo-record: what the asker takes, and which version it speaks.
static bool dns_read_edns(dns_query *q, str fixed, str options, size_t name_bytes)
{
    if (q->edns || name_bytes != 1)
        return false;
    for (size_t at = 0; at < options.len;) {
        if (options.len - at < 4 || options.len - at - 4 < dns_u16(options, at + 2))
            return false;
        at += 4u + dns_u16(options, at + 2);
    }
    q->edns = true;
    q->datagram_bytes_max = dns_u16(fixed, 2);
    if (q->datagram_bytes_max < DNS_PLAIN_BYTES)
        q->datagram_bytes_max = DNS_PLAIN_BYTES;
    q->dnssec_ok = (dns_u16(fixed, 6) & EDNS_DNSSEC_OK) != 0;
    if ((unsigned char)fixed.at[5] != 0)
        q->rcode = DNS_BADVERS;
    return true;
}

static bool dns_read_additional(dns_query *q, str bytes, size_t *at, unsigned count)
{
    unsigned char name[DNS_NAME_BYTES_MAX];
    for (unsigned i = 0; i < count; i++) {
        size_t name_bytes;
        if (!dns_name_read(bytes, at, name, &name_bytes) || bytes.len - *at < RECORD_BYTES)
            return false;
        str fixed = {bytes.at + *at, RECORD_BYTES};
        size_t len = dns_u16(fixed, 8);
        *at += RECORD_BYTES;
        if (bytes.len - *at < len)
            return false;
        str data = {bytes.at + *at, len};
        if (dns_u16(fixed, 0) == DNS_OPT && !dns_read_edns(q, fixed, data, name_bytes))
            return false;
        *at += len;
    }
    return true;
}

bool dns_query_read(str bytes, dns_query *out)
{
    if (bytes.len < DNS_HEADER_BYTES || (dns_u16(bytes, 2) & FLAG_ANSWER) != 0)
        return false;
    unsigned flags = dns_u16(bytes, 2);
    *out = (dns_query){
        .id = (uint16_t)dns_u16(bytes, 0),
        .opcode = flags >> 11 & 15,
        .recursion_desired = (flags & FLAG_RECURSION) != 0,
        .datagram_bytes_max = DNS_PLAIN_BYTES,
    };
    dns_question *q = &out->question;
    size_t at = DNS_HEADER_BYTES;
    if (out->opcode != 0) {
        out->rcode = DNS_NOTIMP;
        return true;
    }
    out->rcode = DNS_FORMERR;
    if (dns_u16(bytes, 4) != 1 || !dns_name_read(bytes, &at, q->name, &q->name_bytes) ||
        bytes.len - at < 4)
        return true;
    q->type = (uint16_t)dns_u16(bytes, at);
    q->class = (uint16_t)dns_u16(bytes, at + 2);
    at += 4;
    dns_question_write_text(q);
    out->has_question = true;
    out->rcode = DNS_NOERROR;
    if (dns_u16(bytes, 6) != 0 || dns_u16(bytes, 8) != 0 ||
        !dns_read_additional(out, bytes, &at, dns_u16(bytes, 10)) || at != bytes.len)
        out->rcode = DNS_FORMERR;
    return true;
}
