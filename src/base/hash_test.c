// Digests against published vectors, bytes as text and back, secrets that stay where they are.
#include "base/clock.h"
#include "base/fault.h"
#include "base/hash.h"
#include "base/str.h"
#include "base/test.h"

#include <string.h>

static bool digest_is(sha256 digest, const char *hex)
{
    char text[SHA256_HEX + 1];
    sha256_hex(digest, text);
    return strcmp(text, hex) == 0;
}

TEST(sha256_agrees_with_fips_180)
{
    CHECK(digest_is(sha256_of((str){NULL, 0}),
                    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"));
    CHECK(digest_is(sha256_of(STR("abc")),
                    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"));
    sha256_stream *s = NULL;
    CHECK(sha256_stream_open(&s).code == OK);
    for (int i = 0; i < 1000000; i += 1000) {
        char part[1000];
        memset(part, 'a', sizeof(part));
        sha256_stream_add(s, (str){part, sizeof(part)});
    }
    CHECK(digest_is(sha256_stream_close(s),
                    "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"));
    fault_now = (fault_plan){.what = FAULT_MEMORY, .times = 1};
    err e = sha256_stream_open(&s);
    fault_now = (fault_plan){0};
    CHECK(e.code == ERR_MEMORY);
}

TEST(hmac_agrees_with_rfc_4231)
{
    char key[131];
    memset(key, 0xaa, sizeof(key));
    CHECK(digest_is(hmac_sha256(STR("Jefe"), STR("what do ya want for nothing?")),
                    "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"));
    CHECK(digest_is(hmac_sha256((str){key, sizeof(key)},
                                STR("Test Using Larger Than Block-Size Key - Hash Key First")),
                    "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"));
    CHECK(digest_is(hmac_sha256((str){NULL, 0}, (str){NULL, 0}),
                    "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad"));
}

TEST(sha256_from_hex_takes_64_lower_case_digits)
{
    sha256 d;
    char hex[SHA256_HEX + 1];
    sha256 abc = sha256_of(STR("abc"));
    sha256_hex(abc, hex);
    CHECK(sha256_from_hex(str_of(hex), &d).code == OK && memcmp(&d, &abc, sizeof(d)) == 0);
    CHECK(sha256_from_hex(str_first(str_of(hex), 63), &d).code == ERR_SYNTAX);
    hex[0] = 'B';
    CHECK(sha256_from_hex(str_of(hex), &d).code == ERR_SYNTAX);
    hex[0] = 'g';
    CHECK(sha256_from_hex(str_of(hex), &d).code == ERR_SYNTAX);
}

TEST(base58_agrees_with_known_values)
{
    OWNED(arena_drop) arena *a = NULL;
    CHECK(arena_open(&a, 1 << 20).code == OK);
    CHECK(str_is(base58_of(a, STR("Hello World!")), STR("2NEpo7TZRRrLZSi2U")));
    CHECK(str_is(base58_of(a, STR("\0\0\x28\x7f\xb4\xcd")), STR("11233QC4")));
    CHECK(str_is(base58_of(a, STR("\0")), STR("1")) && str_is(base58_of(a, STR("")), STR("")));
    char ones[100];
    memset(ones, 0xFF, sizeof(ones));
    for (size_t len = 0; len <= sizeof(ones); len++)
        CHECK(base58_of(a, (str){ones, len}).at[0] != 0 || len == 0);
}

TEST(base64_and_hex_agree_with_rfc_4648)
{
    OWNED(arena_drop) arena *a = NULL;
    CHECK(arena_open(&a, 1 << 20).code == OK);
    CHECK(str_is(base64_of(a, STR("")), STR("")) && str_is(base64_of(a, STR("f")), STR("Zg==")));
    CHECK(str_is(base64_of(a, STR("fo")), STR("Zm8=")) &&
          str_is(base64_of(a, STR("foo")), STR("Zm9v")));
    CHECK(str_is(base64_of(a, STR("foobar")), STR("Zm9vYmFy")));
    CHECK(str_is(base64url_of(a, STR("\xFB\xFF")), STR("-_8")));
    CHECK(str_is(hex_of(a, STR("\0\xAB")), STR("00ab")));
    static const char *const wrong[] = {
        "Zg=", "Zg", "Z===", "====", "Zh==", "Zm9=", "Zg==Zg==", "Zm 9", "Zm9v\n", "-_8=", "=Zg="};
    str out = STR("kept");
    for (size_t i = 0; i < COUNT(wrong); i++)
        CHECK(base64_read(a, str_of(wrong[i]), &out).code == ERR_SYNTAX);
    CHECK(hex_read(a, STR("0"), &out).code == ERR_SYNTAX && str_is(out, STR("kept")));
    CHECK(hex_read(a, STR("0g"), &out).code == ERR_SYNTAX);
    CHECK(hex_read(a, STR("00aBFf"), &out).code == OK && str_is(out, STR("\0\xAB\xFF")));
}

TEST(base64_and_hex_return_what_went_in)
{
    for (size_t len = 0; len < 200; len++) {
        OWNED(arena_drop) arena *a = NULL;
        CHECK(arena_open(&a, 1 << 16).code == OK);
        char bytes[200];
        random_bytes(bytes, len);
        str in = {bytes, len}, out;
        CHECK(base64_read(a, base64_of(a, in), &out).code == OK && str_is(in, out));
        CHECK(hex_read(a, hex_of(a, in), &out).code == OK && str_is(in, out));
    }
}

TEST(id_new_has_21_or_22_letters_and_never_repeats)
{
    OWNED(arena_drop) arena *a = NULL;
    CHECK(arena_open(&a, 1 << 20).code == OK);
    str last = {NULL, 0};
    for (int i = 0; i < 5000; i++) {
        str id = id_new(a);
        CHECK(id.len == 21 || id.len == 22);
        CHECK(!str_is(id, last));
        last = id;
    }
    OWNED(arena_drop) arena *small = NULL;
    CHECK(arena_open(&small, 16).code == OK && id_new(small).at == NULL);
}

TEST(secret_is_compares)
{
    CHECK(secret_is(STR("abc"), STR("abc")) && !secret_is(STR("abc"), STR("abd")));
    CHECK(!secret_is(STR("abc"), STR("ab")) && secret_is((str){NULL, 0}, STR("")));
}

TEST(seal_opens_only_with_its_key_and_record_and_whole)
{
    OWNED(arena_drop) arena *a = NULL;
    CHECK(arena_open(&a, 1 << 20).code == OK);
    unsigned char key[SEAL_KEY_BYTES], other[SEAL_KEY_BYTES];
    random_bytes(key, sizeof(key));
    random_bytes(other, sizeof(other));
    str sealed, again, plain;
    CHECK(seal(a, key, STR("p/1"), STR("secret"), &sealed).code == OK);
    CHECK(seal(a, key, STR("p/1"), STR("secret"), &again).code == OK && !str_is(sealed, again));
    CHECK(unseal(a, key, STR("p/1"), sealed, &plain).code == OK && str_is(plain, STR("secret")));
    CHECK(unseal(a, key, STR("p/2"), sealed, &plain).code == ERR_DENIED);
    CHECK(unseal(a, other, STR("p/1"), sealed, &plain).code == ERR_DENIED);
    for (size_t i = 0; i < sealed.len; i++) {
        str cut = str_copy(a, sealed);
        ((char *)(uintptr_t)cut.at)[i] ^= 1;
        CHECK(unseal(a, key, STR("p/1"), cut, &plain).code == ERR_DENIED);
        CHECK(unseal(a, key, STR("p/1"), str_first(sealed, i), &plain).code == ERR_DENIED);
    }
    CHECK(seal(a, key, STR(""), (str){NULL, 0}, &sealed).code == OK);
    CHECK(unseal(a, key, STR(""), sealed, &plain).code == OK && plain.len == 0);
}

TEST(password_is_the_one_that_was_hashed)
{
    OWNED(arena_drop) arena *a = NULL;
    CHECK(arena_open(&a, 1 << 16).code == OK);
    str hash;
    CHECK(password_hash(a, STR("open sesame"), &hash).code == OK);
    CHECK(str_starts(hash, STR("$argon2id$")));
    CHECK(password_is(hash, STR("open sesame")) && !password_is(hash, STR("open sesamE")));
    CHECK(!password_is(STR(""), STR("")) && !password_is(STR("$argon2id$x"), STR("")));
}
