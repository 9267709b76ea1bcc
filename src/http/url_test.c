// Decoding of queries and the normal form of paths.
#include "base/str.h"
#include "base/test.h"
#include "http/url.h"

TEST(http_decode_reads_escapes_and_refuses_bad_ones)
{
    OWNED(arena_drop) arena *a = NULL;
    str out;
    CHECK(arena_open(&a, 100000).code == OK);
    CHECK(http_decode(a, STR("a%20b%2Fc+d"), false, &out).code == OK &&
          str_is(out, STR("a b/c+d")));
    CHECK(http_decode(a, STR("a+b%2b"), true, &out).code == OK && str_is(out, STR("a b+")));
    CHECK(http_decode(a, STR(""), true, &out).code == OK && out.len == 0);
    static const char *const bad[] = {"%", "%1", "%g0", "%0g", "a%%20"};
    for (size_t i = 0; i < COUNT(bad); i++)
        CHECK(http_decode(a, str_of(bad[i]), false, &out).code == ERR_SYNTAX);
}

TEST(http_encode_and_decode_are_inverse_for_all_bytes)
{
    OWNED(arena_drop) arena *a = NULL;
    char all[256];
    str out;
    for (size_t i = 0; i < sizeof(all); i++)
        all[i] = (char)i;
    CHECK(arena_open(&a, 100000).code == OK);
    str text = http_encode(a, (str){all, sizeof(all)});
    CHECK(str_find_byte(text, ' ') == text.len && str_find_byte(text, '/') == text.len);
    CHECK(http_decode(a, text, true, &out).code == OK && str_is(out, (str){all, sizeof(all)}));
}

TEST(http_query_gives_pairs_in_order_and_decoded_values)
{
    OWNED(arena_drop) arena *a = NULL;
    CHECK(arena_open(&a, 100000).code == OK);
    str query = STR("a=1&b=x+y%21&&a=2&empty=&flag&%63=3"), name, value;
    CHECK(str_is(http_query_value(a, query, STR("a")), STR("1")));
    CHECK(str_is(http_query_value(a, query, STR("b")), STR("x y!")));
    CHECK(str_is(http_query_value(a, query, STR("c")), STR("3")));
    CHECK(http_query_value(a, query, STR("empty")).at != NULL);
    CHECK(http_query_value(a, query, STR("flag")).at != NULL);
    CHECK(http_query_value(a, query, STR("none")).at == NULL);
    CHECK(http_query_value(a, (str){NULL, 0}, STR("none")).at == NULL);
    size_t count = 0;
    while (http_query_next(&query, &name, &value))
        count++;
    CHECK(count == 6);
}

TEST(http_path_clean_has_one_form_per_path)
{
    static const char *const cases[][2] = {
        {"/", "/"},
        {"/a/b", "/a/b"},
        {"/a/", "/a/"},
        {"//a///b", "/a/b"},
        {"/a/./b", "/a/b"},
        {"/a/.", "/a/"},
        {"/a/..", "/"},
        {"/a/b/../c", "/a/c"},
        {"/a/b/..", "/a/"},
        {"/%61", "/a"},
        {"/a/%2e%2E/b", "/b"},
        {"/a%20b", "/a b"},
        {"/...", "/..."},
        {"/.a/..b", "/.a/..b"},
        {"/%c3%a4", "/\xc3\xa4"},
        {"/a%3fb", "/a?b"},
        {"/a/b/../..", "/"},
        {"/a//..", "/"},
        {NULL, NULL},
        {"/..", NULL},
        {"/a/../..", NULL},
        {"/%2e%2e/x", NULL},
        {"/a%2fb", NULL},
        {"/a%5Cb", NULL},
        {"/a\\b", NULL},
        {"/a%00", NULL},
        {"/a%0a", NULL},
        {"/%", NULL},
        {"/%zz", NULL},
        {"a", NULL},
        {"", NULL},
        {"*", NULL},
        {"/a%7f", NULL},
    };
    OWNED(arena_drop) arena *a = NULL;
    CHECK(arena_open(&a, 100000).code == OK);
    for (size_t i = 0; i < COUNT(cases); i++) {
        str out = {NULL, 0};
        if (cases[i][0] == NULL)
            continue;
        err e = http_path_clean(a, str_of(cases[i][0]), &out);
        CHECK(cases[i][1] == NULL ? e.code == ERR_SYNTAX
                                  : e.code == OK && str_is(out, str_of(cases[i][1])));
    }
}
