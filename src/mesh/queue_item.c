// The record of a queue's item: how often it was handed out, who holds it, and its payload.
#include "base/buf.h"
#include "base/str.h"
#include "mesh/queue_inner.h"

#include <string.h>

// attempt (7 bytes) and the layout's number, lease and delay (4 bytes each), origin, token, length
// of the owner's name and the name; then the payload. All numbers little-endian.
enum { LAYOUT = 0xC1, ATTEMPT_BYTES = 8, HEAD_BYTES = 8 + 4 + 4 + ORIGIN_BYTES + TOKEN_BYTES + 1 };

static char *number_put(char *at, uint64_t value, size_t bytes)
{
    for (size_t n = 0; n < bytes; n++)
        *at++ = (char)(value >> (8 * n));
    return at;
}

void queue_record_read(str value, queue_record *out)
{
    *out = (queue_record){.payload = str_from(value, ATTEMPT_BYTES)};
    if (value.len < HEAD_BYTES || (unsigned char)value.at[7] != LAYOUT) {
        // As version 0.1 wrote them: attempt and payload.
        out->attempt =
            little_endian(value.at, value.len < ATTEMPT_BYTES ? value.len : ATTEMPT_BYTES);
        return;
    }
    const char *at = value.at;
    out->attempt = little_endian(at, 7);
    out->lease_ms = little_endian(at + 8, 4);
    out->delay_ms = little_endian(at + 12, 4);
    memcpy(out->origin, at + 16, ORIGIN_BYTES);
    memcpy(out->token, at + 16 + ORIGIN_BYTES, TOKEN_BYTES);
    size_t owner = (unsigned char)at[HEAD_BYTES - 1];
    str rest = str_from(value, HEAD_BYTES);
    out->owner = str_first(rest, owner);
    out->payload = str_from(rest, out->owner.len);
}

str queue_record_write(arena *a, const queue_record *r)
{
    str owner = str_first(r->owner, OWNER_BYTES_MAX);
    size_t len = HEAD_BYTES + owner.len + r->payload.len;
    char *value = arena_take(a, len);
    if (value == NULL)
        return (str){NULL, 0};
    char *at = number_put(value, r->attempt | (uint64_t)LAYOUT << 56, 8);
    at = number_put(at, r->lease_ms > UINT32_MAX ? UINT32_MAX : r->lease_ms, 4);
    at = number_put(at, r->delay_ms > UINT32_MAX ? UINT32_MAX : r->delay_ms, 4);
    at = mempcpy(at, r->origin, ORIGIN_BYTES);
    at = mempcpy(at, r->token, TOKEN_BYTES);
    *at++ = (char)owner.len;
    if (owner.len > 0)
        at = mempcpy(at, owner.at, owner.len);
    if (r->payload.len > 0)
        memcpy(at, r->payload.at, r->payload.len);
    return (str){value, len};
}

void mesh_queue_change(arena *a, store_change *out, str queue_name, str id, str payload)
{
    // Without memory the bucket is too long for any store: the commit is refused as a whole.
    *out = (store_change){.verb = STORE_ADD, .bucket = {"", SIZE_MAX}, .key = id};
    str value = queue_record_write(a, &(queue_record){.payload = payload});
    str bucket = str_format(a, "queue/%.*s", STR_ARG(queue_name));
    if (value.at == NULL || bucket.at == NULL)
        return;
    out->bucket = bucket;
    out->value = value;
}
