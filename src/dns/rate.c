// Response-rate limiting: one bucket of a second's answers per slot, refilled as time passes.
#include "dns/rate.h"

#include "base/clock.h"

#include <stdlib.h>

enum { SLOTS = 4096, MILLI = 1000 };

struct rate_slot {
    uint64_t at_ms;
    uint64_t left; // answers in thousandths
    bool slipped;
};
struct dns_rate {
    uint64_t secret;
    uint64_t per_second;
    struct rate_slot slots[SLOTS];
};

err dns_rate_open(dns_rate **out, uint32_t answers_per_second)
{
    dns_rate *r = calloc(1, sizeof(*r));
    if (r == NULL)
        return fail(ERR_MEMORY, 0, "open rate limit");
    r->secret = random_u64();
    r->per_second = answers_per_second;
    *out = r;
    return ok();
}

void dns_rate_close(dns_rate *r)
{
    free(r);
}

static uint64_t rate_mix(uint64_t h)
{
    h = (h ^ h >> 33) * 0xff51afd7ed558ccdULL;
    h = (h ^ h >> 33) * 0xc4ceb9fe1a85ec53ULL;
    return h ^ h >> 33;
}

dns_rate_verdict dns_rate_step(dns_rate *r, str source, uint64_t now_ms)
{
    uint64_t h = r->secret;
    for (size_t i = 0; i < source.len; i++)
        h = rate_mix(h ^ (unsigned char)source.at[i]) + r->secret;
    struct rate_slot *s = &r->slots[rate_mix(h) % SLOTS];
    uint64_t full = r->per_second * MILLI;
    uint64_t passed_ms = now_ms - s->at_ms;
    if (s->at_ms == 0 || passed_ms >= MILLI || s->left + passed_ms * r->per_second > full)
        s->left = full;
    else
        s->left += passed_ms * r->per_second;
    s->at_ms = now_ms;
    if (s->left >= MILLI) {
        s->left -= MILLI;
        return DNS_RATE_PASS;
    }
    s->slipped = !s->slipped;
    return s->slipped ? DNS_RATE_SLIP : DNS_RATE_DROP;
}
