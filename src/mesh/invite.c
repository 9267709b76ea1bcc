// The token of an invitation: what it holds, written and read.
#include "mesh/invite.h"

#include "base/buf.h"
#include "base/hash.h"
#include "base/str.h"

#include <string.h>

enum { TOKEN_VERSION = 1, SUM_BYTES = 4, RAW_MAX = INVITE_TOKEN_MAX / 4 * 3 };

static bool host_is(str s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.at[i];
        bool word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == ':';
        if (!word && (i == 0 || (c != '-' && c != '.')))
            return false;
    }
    return s.len > 0 && s.len <= INVITE_HOST_MAX;
}

static void sum_of(str bytes, char out[SUM_BYTES])
{
    sha256 digest = sha256_of(bytes);
    memcpy(out, digest.bytes, SUM_BYTES);
}

err invite_write(arena *a, const invite *i, str *token)
{
    OWNED(buf_close) buf raw;
    sha256 universe;
    char sum[SUM_BYTES];
    buf_open(&raw, RAW_MAX);
    if (sha256_from_hex(i->universe_id, &universe).code != OK)
        return fail(ERR_SYNTAX, 0, "a universe's id");
    if (i->secret.len != INVITE_SECRET_BYTES)
        return fail(ERR_SYNTAX, 0, "an invitation's secret");
    if (i->addresses_count == 0 || i->addresses_count > INVITE_ADDRESSES_MAX)
        return fail(ERR_LIMIT, 0, "addresses of an invitation: one to eight");
    buf_add_byte(&raw, TOKEN_VERSION);
    buf_add(&raw, (str){(const char *)universe.bytes, SHA256_BYTES});
    buf_add(&raw, i->secret);
    for (size_t n = 0; n < i->addresses_count; n++) {
        const invite_address *at = &i->addresses[n];
        if (!host_is(at->host) || at->port == 0)
            return fail(ERR_SYNTAX, 0, "an invitation's address");
        buf_add_byte(&raw, (char)at->host.len);
        buf_add(&raw, at->host);
        buf_add_byte(&raw, (char)(at->port >> 8));
        buf_add_byte(&raw, (char)(at->port & 0xff));
    }
    TRY(raw.error);
    sum_of(buf_str(&raw), sum);
    buf_add(&raw, (str){sum, SUM_BYTES});
    TRY(raw.error);
    str text = base64url_of(a, buf_str(&raw));
    explicit_bzero(raw.at, raw.len);
    if (text.at == NULL)
        return fail(ERR_MEMORY, 0, "invitation");
    *token = text;
    return ok();
}

// base64url without padding; only the one spelling that its bytes have.
static err token_bytes(arena *a, str token, str *out)
{
    size_t padding = (4 - token.len % 4) % 4;
    char *text = arena_take(a, token.len + padding + 1);
    if (text == NULL)
        return fail(ERR_MEMORY, 0, "invitation");
    for (size_t i = 0; i < token.len; i++) {
        char c = token.at[i];
        text[i] = c == '-' ? '+' : c == '_' ? '/' : c == '+' || c == '/' ? '*' : c;
    }
    memset(text + token.len, '=', padding);
    str bytes;
    err e = base64_read(a, (str){text, token.len + padding}, &bytes);
    if (e.code == ERR_MEMORY)
        return e;
    if (e.code != OK || !str_is(base64url_of(a, bytes), token))
        return fail(ERR_SYNTAX, 0, "this is no invitation");
    *out = bytes;
    return ok();
}

static bool take(str *rest, size_t len, str *out)
{
    if (rest->len < len)
        return false;
    *out = str_first(*rest, len);
    *rest = str_from(*rest, len);
    return true;
}

static bool addresses_read(str rest, invite *out)
{
    while (rest.len > 0) {
        str len, host, port;
        if (out->addresses_count == INVITE_ADDRESSES_MAX || !take(&rest, 1, &len) ||
            !take(&rest, (unsigned char)len.at[0], &host) || !take(&rest, 2, &port) ||
            !host_is(host))
            return false;
        uint16_t number = (uint16_t)((unsigned char)port.at[0] << 8 | (unsigned char)port.at[1]);
        if (number == 0)
            return false;
        out->addresses[out->addresses_count++] = (invite_address){host, number};
    }
    return out->addresses_count > 0;
}

err invite_read(arena *a, str token, invite *out)
{
    str bytes, version, universe, text = str_trim(token);
    char sum[SUM_BYTES];
    invite i = {0};
    if (text.len > INVITE_TOKEN_MAX)
        return fail(ERR_SYNTAX, 0, "this is no invitation");
    TRY(token_bytes(a, text, &bytes));
    if (bytes.len < SUM_BYTES)
        return fail(ERR_SYNTAX, 0, "this is no invitation");
    str rest = str_first(bytes, bytes.len - SUM_BYTES);
    sum_of(rest, sum);
    if (memcmp(sum, bytes.at + rest.len, SUM_BYTES) != 0)
        return fail(ERR_SYNTAX, 0, "this invitation is misspelt: copy all of it");
    if (!take(&rest, 1, &version) || version.at[0] != TOKEN_VERSION)
        return fail(ERR_UNSUPPORTED, 0, "this invitation is of another version of ctau");
    if (!take(&rest, SHA256_BYTES, &universe) || !take(&rest, INVITE_SECRET_BYTES, &i.secret) ||
        !addresses_read(rest, &i))
        return fail(ERR_SYNTAX, 0, "this is no invitation");
    i.universe_id = hex_of(a, universe);
    if (i.universe_id.at == NULL)
        return fail(ERR_MEMORY, 0, "invitation");
    *out = i;
    return ok();
}
