// SHA-256 and what is built on it, ids, and comparison that takes the same time.
//
// The low-level SHA256_* calls keep their state on the stack and cannot fail; EVP_Digest looks up
// its algorithm and allocates each time, which costs more than hashing a short text does.
#define OPENSSL_SUPPRESS_DEPRECATED
#include "base/hash.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/str.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { HMAC_BLOCK_BYTES = 64 };

struct sha256_stream {
    SHA256_CTX state;
};

sha256 sha256_of(str bytes)
{
    sha256 digest;
    SHA256_CTX state;
    SHA256_Init(&state);
    SHA256_Update(&state, bytes.at, bytes.len);
    SHA256_Final(digest.bytes, &state);
    return digest;
}

err sha256_stream_open(sha256_stream **out)
{
    sha256_stream *s = fault_hits(FAULT_MEMORY) ? NULL : calloc(1, sizeof(*s));
    if (s == NULL)
        return fail(ERR_MEMORY, 0, "open digest");
    SHA256_Init(&s->state);
    *out = s;
    return ok();
}

void sha256_stream_add(sha256_stream *s, str bytes)
{
    SHA256_Update(&s->state, bytes.at, bytes.len);
}

sha256 sha256_stream_close(sha256_stream *s)
{
    sha256 digest;
    SHA256_Final(digest.bytes, &s->state);
    free(s);
    return digest;
}

// RFC 2104.
sha256 hmac_sha256(str key, str bytes)
{
    unsigned char block[HMAC_BLOCK_BYTES] = {0};
    sha256 digest;
    SHA256_CTX state;
    if (key.len > sizeof(block)) {
        digest = sha256_of(key);
        memcpy(block, digest.bytes, sizeof(digest.bytes));
    } else if (key.len > 0) {
        memcpy(block, key.at, key.len);
    }
    for (size_t i = 0; i < sizeof(block); i++)
        block[i] ^= 0x36;
    SHA256_Init(&state);
    SHA256_Update(&state, block, sizeof(block));
    SHA256_Update(&state, bytes.at, bytes.len);
    SHA256_Final(digest.bytes, &state);
    for (size_t i = 0; i < sizeof(block); i++)
        block[i] ^= 0x36 ^ 0x5C;
    SHA256_Init(&state);
    SHA256_Update(&state, block, sizeof(block));
    SHA256_Update(&state, digest.bytes, sizeof(digest.bytes));
    SHA256_Final(digest.bytes, &state);
    OPENSSL_cleanse(block, sizeof(block));
    return digest;
}

void hex_random(char *out, size_t bytes)
{
    char dice[64];
    assert(bytes <= sizeof dice);
    random_bytes(dice, bytes);
    hex_write(out, (str){dice, bytes});
}

void sha256_hex(sha256 digest, char out[SHA256_HEX + 1])
{
    hex_write(out, (str){(const char *)digest.bytes, SHA256_BYTES});
}

err sha256_from_hex(str hex, sha256 *out)
{
    sha256 digest = {{0}};
    if (hex.len != SHA256_HEX)
        return fail(ERR_SYNTAX, 0, "digest of 64 digits");
    for (size_t i = 0; i < SHA256_HEX; i++) {
        char c = hex.at[i];
        bool decimal = c >= '0' && c <= '9';
        if (!decimal && (c < 'a' || c > 'f'))
            return fail(ERR_SYNTAX, 0, "digest of 64 digits");
        unsigned digit = (unsigned)(decimal ? c - '0' : c - 'a' + 10);
        digest.bytes[i / 2] = (unsigned char)(digest.bytes[i / 2] << 4 | digit);
    }
    *out = digest;
    return ok();
}

bool secret_is(str a, str b)
{
    return a.len == b.len && (a.len == 0 || CRYPTO_memcmp(a.at, b.at, a.len) == 0);
}

str id_new(arena *a)
{
    for (;;) {
        unsigned char bytes[ID_BYTES];
        random_bytes(bytes, sizeof(bytes));
        str id = base58_of(a, (str){(const char *)bytes, sizeof(bytes)});
        // One in two thousand is shorter; ids look alike, so those are thrown again.
        if (id.at == NULL || id.len >= ID_TEXT_MAX - 3)
            return id;
    }
}
