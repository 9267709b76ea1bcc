// Positions and request subjects, as any node may send them.
#include "mesh/nats_wire.h"

#include "api/api.h"
#include "base/str.h"

enum { POSITIONS_VERSION = 0xC7, POSITION_OWN = 0x80 };

str positions_write(const positions *p, char out[static POSITIONS_BYTES_MAX])
{
    size_t count = 0;
    char *at = out + 2;
    for (size_t i = 0; i < SHARDS_MAX; i++) {
        if (p->at[i] == 0)
            continue;
        *at++ = (char)(i | (p->own[i] ? POSITION_OWN : 0));
        for (size_t k = 0; k < 8; k++)
            *at++ = (char)(p->at[i] >> (8 * k));
        count++;
    }
    out[0] = (char)POSITIONS_VERSION;
    out[1] = (char)count;
    return (str){out, (size_t)(at - out)};
}

bool positions_read(str *bytes, positions *out)
{
    *out = (positions){.at = {0}};
    if (bytes->len < 2 || (unsigned char)bytes->at[0] != POSITIONS_VERSION)
        return false;
    size_t count = (unsigned char)bytes->at[1];
    if (bytes->len < 2 + count * POSITION_BYTES)
        return false;
    for (size_t i = 0; i < count; i++) {
        const char *at = bytes->at + 2 + i * POSITION_BYTES;
        size_t which = (unsigned char)at[0] & ~(size_t)POSITION_OWN;
        if (which >= SHARDS_MAX) // a later version may have more of them
            continue;
        out->at[which] = little_endian(at + 1, 8);
        out->own[which] = ((unsigned char)at[0] & POSITION_OWN) != 0;
    }
    *bytes = str_from(*bytes, 2 + count * POSITION_BYTES);
    return true;
}

size_t message_kind_find(str name)
{
    for (size_t i = 0; i < MESSAGE_KINDS; i++)
        if (str_is(name, str_of(message_infos[i].name)))
            return i;
    return MESSAGE_KINDS;
}

bool request_read(str subject, str reply, size_t *kind, str *from)
{
    str rest = subject; // ask.KIND.TO.FROM
    bool is = str_is(str_cut(&rest, '.'), STR("ask"));
    *kind = message_kind_find(str_cut(&rest, '.'));
    (void)str_cut(&rest, '.');
    *from = rest;
    bool inbox = str_is(str_cut(&reply, '.'), STR("re"));
    return is && inbox && rest.len > 0 && str_is(str_cut(&reply, '.'), rest);
}
