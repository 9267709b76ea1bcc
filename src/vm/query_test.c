// Reading a raw query: decoding, repeated and broken pairs.
#include "base/str.h"
#include "vm/test_inner.h"

static bool value_is(const char *query, const char *key, const char *want)
{
    buf out;
    buf_open(&out, 4096);
    bool found = query_value(str_of(query), str_of(key), &out);
    bool same =
        want == NULL ? !found && out.len == 0 : found && str_is(buf_str(&out), str_of(want));
    buf_close(&out);
    return same;
}

TEST(query_value_is_decoded)
{
    CHECK(value_is("name=a%20b+c", "name", "a b c"));
    CHECK(value_is("x=1&n%61me=%E2%82%AC&name=2", "name", "\xe2\x82\xac"));
    CHECK(value_is("name=a=b", "name", "a=b"));
    CHECK(value_is("name", "name", ""));
    CHECK(value_is("&&name=&", "name", ""));
    CHECK(value_is("=v", "", "v"));
}

TEST(query_value_of_broken_pairs_is_absent)
{
    CHECK(value_is("", "name", NULL));
    CHECK(value_is("nam=1&names=2", "name", NULL));
    CHECK(value_is("name=%", "name", NULL));
    CHECK(value_is("name=%4", "name", NULL));
    CHECK(value_is("name=%zz&name=ok", "name", "ok"));
    CHECK(value_is("name=%4&name=ok", "name", "ok"));
}

TEST(query_keys_are_told_once)
{
    buf out;
    buf_open(&out, 4096);
    query_keys(STR("a=1&b=2&a=3&c%20d&%zz=4"), &out);
    CHECK(str_is(buf_str(&out), (str){"a\0b\0c d\0", 8}));
    query_keys(STR(""), &out);
    CHECK(out.len == 0);
    buf_close(&out);
}
