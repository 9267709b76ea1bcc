// Response-rate limiting: how many datagrams one source address may make us send.
#pragma once
#include "base/base.h"

typedef struct dns_rate dns_rate;
// SLIP: answer with TC alone, so that a real asker comes again by TCP, where addresses are proven.
typedef enum { DNS_RATE_PASS, DNS_RATE_SLIP, DNS_RATE_DROP } dns_rate_verdict;
err dns_rate_open(dns_rate **out, uint32_t answers_per_second) MUST_USE;
void dns_rate_close(dns_rate *r); // NULL is fine
// source: the bytes that one asker cannot choose freely (an IPv4 address, an IPv6 /64). The table
// is of fixed size: sources that fall on one slot, chosen by a secret, share its allowance.
dns_rate_verdict dns_rate_step(dns_rate *r, str source, uint64_t now_ms) MUST_USE;
