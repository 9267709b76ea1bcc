// Sealed secrets and hashed passwords, by libsodium.
#include "base/hash.h"
#include "base/str.h"

#include <sodium.h>
#include <string.h>

enum {
    NONCE_BYTES = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES,
    TAG_BYTES = crypto_aead_xchacha20poly1305_ietf_ABYTES,
};
_Static_assert(SEAL_KEY_BYTES == crypto_aead_xchacha20poly1305_ietf_KEYBYTES, "key size");

err seal(arena *a, const unsigned char key[SEAL_KEY_BYTES], str about, str plain, str *out)
{
    if (sodium_init() < 0)
        return fail(ERR_SYSTEM, 0, "start libsodium");
    size_t len;
    if (__builtin_add_overflow(plain.len, NONCE_BYTES + TAG_BYTES, &len))
        return fail(ERR_LIMIT, 0, "seal secret");
    unsigned char *sealed = arena_take(a, len);
    if (sealed == NULL)
        return fail(ERR_MEMORY, 0, "seal secret");
    randombytes_buf(sealed, NONCE_BYTES);
    crypto_aead_xchacha20poly1305_ietf_encrypt(
        sealed + NONCE_BYTES, NULL, (const unsigned char *)plain.at, plain.len,
        (const unsigned char *)about.at, about.len, NULL, sealed, key);
    *out = (str){(const char *)sealed, len};
    return ok();
}

err unseal(arena *a, const unsigned char key[SEAL_KEY_BYTES], str about, str sealed, str *out)
{
    if (sodium_init() < 0)
        return fail(ERR_SYSTEM, 0, "start libsodium");
    if (sealed.len < NONCE_BYTES + TAG_BYTES)
        return fail(ERR_DENIED, 0, "sealed secret too short");
    size_t len = sealed.len - NONCE_BYTES - TAG_BYTES;
    unsigned char *plain = arena_take(a, len + 1);
    if (plain == NULL)
        return fail(ERR_MEMORY, 0, "unseal secret");
    const unsigned char *bytes = (const unsigned char *)sealed.at;
    if (crypto_aead_xchacha20poly1305_ietf_decrypt(plain, NULL, NULL, bytes + NONCE_BYTES,
                                                   len + TAG_BYTES, (const unsigned char *)about.at,
                                                   about.len, bytes, key) != 0)
        return fail(ERR_DENIED, 0, "sealed secret of another key or record");
    *out = (str){(const char *)plain, len};
    return ok();
}

err password_hash(arena *a, str password, str *out)
{
    if (sodium_init() < 0)
        return fail(ERR_SYSTEM, 0, "start libsodium");
    char *text = arena_take(a, crypto_pwhash_STRBYTES);
    if (text == NULL ||
        crypto_pwhash_str(text, password.at, password.len, crypto_pwhash_OPSLIMIT_INTERACTIVE,
                          crypto_pwhash_MEMLIMIT_INTERACTIVE) != 0)
        return fail(ERR_MEMORY, 0, "hash password");
    *out = str_of(text);
    return ok();
}

bool password_is(str hash, str password)
{
    char text[crypto_pwhash_STRBYTES] = {0};
    if (sodium_init() < 0 || hash.len >= sizeof(text) || hash.len == 0)
        return false;
    memcpy(text, hash.at, hash.len);
    return crypto_pwhash_str_verify(text, password.at, password.len) == 0;
}
