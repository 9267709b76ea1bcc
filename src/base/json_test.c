// JSON: what is read, what is refused and where, what is written.
#include "base/fault.h"
#include "base/json.h"
#include "base/str.h"
#include "base/test.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static err json_try(arena *a, str text, const json **out, str *where)
{
    *out = NULL;
    return json_read(a, text, out, where);
}

TEST(json_reads_every_kind)
{
    OWNED(arena_drop) arena *a = NULL;
    const json *v;
    CHECK(arena_open(&a, 1 << 20).code == OK);
    str text = STR(" {\"n\": null, \"t\":true,\"f\":false,\"x\":-1.5e2,\"w\":18446744073709551615,"
                   "\"s\":\"a\\u00e9\\ud83d\\ude00\\n\\/\\\"\\\\\",\"l\":[1,[],{}],\"\":0} \n");
    CHECK(json_try(a, text, &v, NULL).code == OK && v->kind == JSON_OBJECT && v->count == 8);
    CHECK(json_field(v, "n")->kind == JSON_NULL && json_flag(v, "t") && !json_flag(v, "f"));
    CHECK(json_field(v, "x")->number == -150 && json_whole(v, "x", 9) == 9);
    CHECK(json_whole(v, "w", 0) == UINT64_MAX && json_whole(v, "none", 3) == 3);
    CHECK(str_is(json_text(v, "s"), STR("aé😀\n/\"\\")) && json_text(v, "l").at == NULL);
    CHECK(json_text(v, "s").at[json_text(v, "s").len] == '\0');
    const json *list = json_field(v, "l");
    CHECK(list->count == 3 && list->first->whole == 1 && list->first->next->kind == JSON_LIST);
    CHECK(list->first->next->next->kind == JSON_OBJECT && list->first->next->next->next == NULL);
    CHECK(json_whole(v, "", 5) == 0 && json_field(list, "x") == NULL &&
          json_field(NULL, "x") == NULL);
}

TEST(json_numbers_are_whole_or_not)
{
    OWNED(arena_drop) arena *a = NULL;
    const json *v;
    CHECK(arena_open(&a, 1 << 20).code == OK);
    CHECK(json_try(a,
                   STR("{\"a\":1.0,\"b\":1e3,\"c\":1.5,\"d\":-1,\"e\":18446744073709551616,"
                       "\"f\":-0,\"g\":1e-400}"),
                   &v, NULL)
              .code == OK);
    CHECK(json_whole(v, "a", 7) == 1 && json_whole(v, "b", 7) == 1000 &&
          json_whole(v, "c", 7) == 7);
    CHECK(json_whole(v, "d", 7) == 7 && json_whole(v, "e", 7) == 7 && json_whole(v, "f", 7) == 0);
    CHECK(json_field(v, "g")->number == 0 && json_field(v, "e")->number == 0x1p64);
}

TEST(json_refuses_with_line_and_column)
{
    static const struct {
        const char *text, *where;
    } cases[] = {
        {"", "1:1: unexpected end"},
        {"\n  ", "2:3: unexpected end"},
        {"{\"a\":1,\n \"é\":2,  \"a\":3}", "2:10: duplicate key"},
        {"[1,]", "1:4: expected a value"},
        {"[1 2]", "1:4: expected ',' or ']'"},
        {"{\"a\":1,}", "1:8: expected a key in quotes"},
        {"{\"a\" 1}", "1:6: expected ':'"},
        {"{a:1}", "1:2: expected a key in quotes"},
        {"[1", "1:3: unexpected end"},
        {"\"abc", "1:5: unexpected end"},
        {"1 x", "1:3: bytes after the value"},
        {"01", "1:1: malformed number"},
        {"-", "1:1: malformed number"},
        {"1.", "1:1: malformed number"},
        {".5", "1:1: expected a value"},
        {"+1", "1:1: expected a value"},
        {"1e+", "1:1: malformed number"},
        {"[1e999]", "1:2: number out of range"},
        {"nul", "1:1: unknown word"},
        {"truex", "1:5: bytes after the value"},
        {"NaN", "1:1: expected a value"},
        {"'a'", "1:1: expected a value"},
        {"\"a\tb\"", "1:3: control character in a string"},
        {"\"\\x41\"", "1:2: unknown escape"},
        {"\"\\u12g4\"", "1:2: unknown escape"},
        {"\"\\u12", "1:2: unknown escape"},
        {"\"\\", "1:2: unknown escape"},
        {"\"é\\ud800\"", "1:3: half of a surrogate pair"},
        {"\"\\ud800\\u0041\"", "1:2: half of a surrogate pair"},
        {"\"\\udc00\"", "1:2: half of a surrogate pair"},
        {"\"\xC0\x80\"", "1:2: invalid UTF-8"},
        {"\"\xE2\x82\"", "1:2: invalid UTF-8"},
        {"\xEF\xBB\xBF{}", "1:1: expected a value"},
        {"[1]//", "1:4: bytes after the value"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        OWNED(arena_drop) arena *a = NULL;
        const json *v;
        str where;
        CHECK(arena_open(&a, 1 << 16).code == OK);
        CHECK(json_try(a, str_of(cases[i].text), &v, &where).code == ERR_SYNTAX && v == NULL);
        if (!str_is(where, str_of(cases[i].where)))
            printf("case %zu: %.*s\n", i, STR_ARG(where));
        CHECK(str_is(where, str_of(cases[i].where)));
    }
}

TEST(json_nests_to_64_and_no_deeper)
{
    char text[260];
    for (size_t depth = 60; depth <= 70; depth++) {
        OWNED(arena_drop) arena *a = NULL;
        const json *v;
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        CHECK(arena_open(&a, 1 << 16).code == OK);
        CHECK(json_try(a, (str){text, depth * 2}, &v, NULL).code ==
              (depth <= 64 ? OK : ERR_SYNTAX));
    }
}

TEST(json_finds_duplicates_in_large_objects_quickly)
{
    for (size_t twice = 0; twice < 2; twice++) {
        OWNED(arena_drop) arena *a = NULL;
        OWNED(buf_close) buf b;
        const json *v;
        json_writer w = {.out = &b};
        CHECK(arena_open(&a, 64 << 20).code == OK);
        buf_open(&b, 8 << 20);
        json_open_object(&w, NULL);
        for (size_t i = 0; i < 50000; i++) {
            char name[16];
            (void)snprintf(name, sizeof(name), "k%zu", twice == 1 && i == 49999 ? 17 : i);
            json_put_whole(&w, name, i);
        }
        json_close_object(&w);
        CHECK(b.error.code == OK);
        CHECK(json_try(a, buf_str(&b), &v, NULL).code == (twice ? ERR_SYNTAX : OK));
    }
}

TEST(json_writer_places_commas_and_escapes)
{
    OWNED(buf_close) buf b;
    buf_open(&b, 4096);
    json_writer w = {.out = &b};
    json_open_object(&w, NULL);
    json_put_text(&w, "a\"", STR("x\"\\\n\1\0y\xFFz\xC3é"));
    json_open_list(&w, "l");
    json_put_whole(&w, NULL, UINT64_MAX);
    json_put_real(&w, NULL, 0.1);
    json_put_real(&w, NULL, NAN);
    json_open_object(&w, NULL);
    json_close_object(&w);
    json_put_raw(&w, NULL, STR("[1]"));
    json_close_list(&w);
    json_put_flag(&w, "t", true);
    json_put_null(&w, "n");
    json_put_whole(&w, "z", 0);
    json_close_object(&w);
    CHECK(b.error.code == OK);
    CHECK(
        str_is(buf_str(&b),
               STR("{\"a\\\"\":\"x\\\"\\\\\\n\\u0001\\u0000y\xEF\xBF\xBDz\xEF\xBF\xBDé\","
                   "\"l\":[18446744073709551615,0.1,null,{},[1]],\"t\":true,\"n\":null,\"z\":0}")));
}

TEST(json_written_texts_and_reals_read_back)
{
    for (uint64_t seed = 1; seed <= 500; seed++) {
        OWNED(arena_drop) arena *a = NULL;
        OWNED(buf_close) buf b;
        const json *v;
        uint64_t dice = seed;
        char bytes[40];
        double real;
        for (size_t i = 0; i < sizeof(bytes); i++) {
            dice = dice * 6364136223846793005u + 1442695040888963407u;
            bytes[i] = (char)(dice >> 57);
        }
        memcpy(&real, &dice, sizeof(real));
        CHECK(arena_open(&a, 1 << 16).code == OK);
        buf_open(&b, 4096);
        json_writer w = {.out = &b};
        json_open_object(&w, NULL);
        json_put_text(&w, "s", (str){bytes, sizeof(bytes)});
        json_put_real(&w, "r", real);
        json_close_object(&w);
        CHECK(json_try(a, buf_str(&b), &v, NULL).code == OK);
        CHECK(str_is(json_text(v, "s"), (str){bytes, sizeof(bytes)}));
        CHECK(!isfinite(real) || json_field(v, "r")->number == real);
    }
}

TEST(json_never_breaks_on_damaged_text)
{
    str good =
        STR("{\"a\":[1,2.5e3,\"\\ud83d\\ude00é\",{\"b\":null,\"c\":[true,false]}],\"d\":\"\"}");
    OWNED(arena_drop) arena *a = NULL;
    CHECK(arena_open(&a, 1 << 16).code == OK);
    for (uint64_t seed = 1; seed <= 20000; seed++) {
        const json *v;
        str where;
        char text[128];
        uint64_t dice = seed * 0x9E3779B97F4A7C15u;
        memcpy(text, good.at, good.len);
        text[dice % good.len] = (char)(dice >> 20);
        text[(dice >> 8) % good.len] = good.at[(dice >> 30) % good.len];
        size_t len = (dice >> 40) % 4 == 0 ? (dice >> 44) % good.len : good.len;
        err e = json_try(a, (str){text, len}, &v, &where);
        CHECK(e.code == OK ? v != NULL : e.code == ERR_SYNTAX && where.len > 0);
        arena_reset(a);
    }
}

TEST(json_survives_each_failed_allocation_and_small_arenas)
{
    str text =
        STR("{\"a\":1,\"b\":2,\"c\":3,\"d\":4,\"e\":5,\"f\":6,\"g\":7,\"h\":8,\"i\":9,\"j\":[]}");
    const json *v;
    bool done = false;
    for (uint64_t k = 0; !done; k++) {
        OWNED(arena_drop) arena *a = NULL;
        CHECK(arena_open(&a, 1 << 16).code == OK);
        fault_now = (fault_plan){.what = FAULT_MEMORY, .after = k, .times = 1};
        err e = json_try(a, text, &v, NULL);
        done = fault_now.seen <= k;
        fault_now = (fault_plan){0};
        CHECK(e.code == (done ? OK : ERR_MEMORY));
    }
    for (size_t limit = 0; limit < 2000; limit += 16) {
        OWNED(arena_drop) arena *a = NULL;
        CHECK(arena_open(&a, limit).code == OK);
        err e = json_try(a, text, &v, NULL);
        CHECK(e.code == OK || e.code == ERR_MEMORY);
    }
}
