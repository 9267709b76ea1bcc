// Slices: comparing, cutting, numbers, UTF-8, texts in arenas.
#include "base/str.h"
#include "base/test.h"

#include <string.h>

static bool is(str s, const char *text)
{
    return str_is(s, str_of(text));
}

TEST(str_compares_and_searches_with_empty_and_null)
{
    str none = {NULL, 0};
    CHECK(str_is(none, STR("")) && str_is_nocase(none, none) && str_order(none, STR("")) == 0);
    CHECK(str_starts(none, none) && str_ends(STR("a"), none) && !str_starts(none, STR("a")));
    CHECK(str_order(STR("a"), STR("ab")) < 0 && str_order(STR("b"), STR("ab")) > 0);
    CHECK(str_order(STR("\xff"), STR("a")) > 0);
    CHECK(str_find(none, STR("x")) == 0 && str_find(STR("abcabd"), STR("abd")) == 3);
    CHECK(str_find(STR("abc"), none) == 0 && str_find(STR("abc"), STR("cd")) == 3);
    CHECK(str_find_byte(STR("a.b"), '.') == 1 && str_find_byte(STR("ab"), '.') == 2);
    CHECK(str_is_nocase(STR("Content-LENGTH"), STR("content-length")));
    CHECK(!str_is_nocase(STR("@"), STR("`")));
    CHECK(is(str_from(STR("abc"), 9), "") && is(str_first(STR("abc"), 9), "abc"));
    CHECK(is(str_trim(STR(" \t\r\n a b \n")), "a b") && is(str_trim(STR(" \n ")), ""));
}

TEST(str_cut_yields_each_part_once)
{
    str rest = STR("a,,b,");
    CHECK(is(str_cut(&rest, ','), "a") && is(str_cut(&rest, ','), "") &&
          is(str_cut(&rest, ','), "b"));
    CHECK(rest.at != NULL && rest.len == 0);
    CHECK(is(str_cut(&rest, ','), "") && rest.at == NULL);
}

TEST(str_number_takes_digits_only)
{
    uint64_t n = 7;
    CHECK(str_number(STR("18446744073709551615"), &n).code == OK && n == UINT64_MAX);
    CHECK(str_number(STR("18446744073709551616"), &n).code == ERR_LIMIT);
    CHECK(str_number(STR("99999999999999999999999x"), &n).code == ERR_SYNTAX);
    CHECK(str_number(STR("007"), &n).code == OK && n == 7);
    static const char *const wrong[] = {"", " 1", "1 ", "+1", "-1", "0x1", "1.0"};
    for (size_t i = 0; i < COUNT(wrong); i++)
        CHECK(str_number(str_of(wrong[i]), &n).code == ERR_SYNTAX && n == 7);
}

TEST(str_texts_in_arenas_end_in_nul)
{
    OWNED(arena_drop) arena *a = NULL;
    CHECK(arena_open(&a, 1 << 20).code == OK);
    str parts[] = {STR("a"), STR(""), STR("bc")};
    str texts[] = {str_copy(a, STR("abc")),        str_copy(a, (str){NULL, 0}),
                   str_lower(a, STR("AbÄ")),       str_join(a, parts, 3, STR(", ")),
                   str_format(a, "%d-%s", 5, "x"), str_format(a, "%0300d", 1)};
    static const char *const want[] = {"abc", "", "abÄ", "a, , bc", "5-x"};
    for (size_t i = 0; i < COUNT(texts); i++) {
        CHECK(texts[i].at != NULL && strlen(texts[i].at) == texts[i].len);
        CHECK(i >= COUNT(want) || is(texts[i], want[i]));
    }
    CHECK(texts[5].len == 300 && texts[5].at[299] == '1');
    CHECK(str_join(a, parts, 0, STR(",")).at != NULL);
}

TEST(str_texts_past_the_budget_are_null)
{
    OWNED(arena_drop) arena *a = NULL;
    CHECK(arena_open(&a, 16).code == OK);
    str parts[] = {STR("0123456789"), STR("0123456789")};
    CHECK(str_copy(a, STR("0123456789abcdef")).at == NULL);
    CHECK(str_join(a, parts, 2, STR("")).at == NULL);
    str f = str_format(a, "%040d", 1);
    CHECK(f.at == NULL && f.len == 0 && str_c(a, STR("0123456789abcdef")) == NULL);
    CHECK(str_copy(a, STR("0123456789abcde")).at != NULL);
    CHECK(str_printable(a, STR("x")).at == NULL);
}

TEST(str_closest_knows_slips_not_other_words)
{
    static const char *const words[] = {"function", "database", "domain", "id", "website"};
    CHECK(str_closest(STR("functon"), words, 5) == words[0]);
    CHECK(str_closest(STR("dmoain"), words, 5) == words[2]);
    CHECK(str_closest(STR("Websites"), words, 5) == words[4]);
    CHECK(str_closest(STR("storage"), words, 5) == NULL);
    CHECK(str_closest(STR("xy"), words, 5) == NULL);
    CHECK(str_closest(STR(""), words, 5) == NULL);
    char large[200];
    memset(large, 'a', sizeof(large));
    CHECK(str_closest((str){large, sizeof(large)}, words, 5) == NULL);
}

TEST(str_utf8_is_strict)
{
    static const char *const good[] = {
        "", "a", "é", "€", "😀", "\xED\x9F\xBF", "\xEE\x80\x80", "\xF4\x8F\xBF\xBF"};
    static const char *const bad[] = {"\x80",
                                      "\xC0\x80",
                                      "\xC1\xBF",
                                      "\xC3",
                                      "\xE0\x80\x80",
                                      "\xED\xA0\x80",
                                      "\xE2\x82",
                                      "\xF0\x80\x80\x80",
                                      "\xF4\x90\x80\x80",
                                      "\xF5\x80\x80\x80",
                                      "\xFF",
                                      "a\xC3(",
                                      "\xE2\x28\xA1"};
    for (size_t i = 0; i < COUNT(good); i++)
        CHECK(str_is_utf8(str_of(good[i])));
    for (size_t i = 0; i < COUNT(bad); i++)
        CHECK(!str_is_utf8(str_of(bad[i])));
    CHECK(str_is_utf8(STR("a\0b")));
}

TEST(str_printable_disarms_terminals_and_line_breaks)
{
    OWNED(arena_drop) arena *a = NULL;
    CHECK(arena_open(&a, 1 << 16).code == OK);
    CHECK(is(str_printable(a, STR("\x1b[31mred\n\tök\x7f")), "\\x1b[31mred\\x0a\tök\\x7f"));
    CHECK(is(str_printable(a, STR("a\0b\xff\xC2\x9B")), "a\\x00b\\xff\\xc2\\x9b"));
}
