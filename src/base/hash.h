// Digests, message authentication, ids, sealing of secrets, constant-time comparison.
#pragma once
#include "base/base.h"

enum { SHA256_BYTES = 32, SHA256_HEX = 64, ID_BYTES = 16, ID_TEXT_MAX = 24, SEAL_KEY_BYTES = 32 };
typedef struct sha256 {
    unsigned char bytes[SHA256_BYTES];
} sha256;

sha256 sha256_of(str bytes);
typedef struct sha256_stream sha256_stream;
err sha256_stream_open(sha256_stream **out) MUST_USE;
void sha256_stream_add(sha256_stream *s, str bytes);
sha256 sha256_stream_close(sha256_stream *s); // frees it
sha256 hmac_sha256(str key, str bytes);
void sha256_hex(sha256 digest, char out[SHA256_HEX + 1]);
err sha256_from_hex(str hex, sha256 *out) MUST_USE; // exactly 64 lower-case digits
str hex_of(arena *a, str bytes);
void hex_write(char *out, str bytes);     // two digits each, and a NUL behind
void hex_random(char *out, size_t bytes); // so many random bytes, written like that
err hex_read(arena *a, str hex, str *out) MUST_USE;
bool secret_is(str a, str b); // constant time for equal lengths

// Texts below are {NULL, 0} when the arena is used up; NUL-terminated behind otherwise.
str base58_of(arena *a, str bytes);
str base64_of(arena *a, str bytes);
str base64url_of(arena *a, str bytes); // RFC 4648 section 5, no padding, as JWS wants it
err base64_read(arena *a, str text, str *out) MUST_USE;
// 16 random bytes as base58 (21 or 22 characters): ids of projects, resources, jobs, requests.
str id_new(arena *a);

// Sealed secrets (XChaCha20-Poly1305, random nonce in front). `about` is authenticated, not stored:
// a value sealed for one record cannot be moved to another.
err seal(
    arena *a, const unsigned char key[SEAL_KEY_BYTES], str about, str plain, str *out) MUST_USE;
// ERR_DENIED for another key or record, or changed bytes.
err unseal(
    arena *a, const unsigned char key[SEAL_KEY_BYTES], str about, str sealed, str *out) MUST_USE;
// Passwords (argon2id interactive: 70 ms, so never on a loop thread).
err password_hash(arena *a, str password, str *out) MUST_USE;
bool password_is(str hash, str password);
