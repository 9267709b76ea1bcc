// Slices of bytes: compare, search, cut, parse numbers.
#include "base/str.h"

#include <string.h>

str str_of(const char *text)
{
    return text == NULL ? (str){NULL, 0} : (str){text, strlen(text)};
}

bool str_is(str a, str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

static char str_lower_byte(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

bool str_is_nocase(str a, str b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (a.at[i] != b.at[i] && str_lower_byte(a.at[i]) != str_lower_byte(b.at[i]))
            return false;
    return true;
}

bool str_starts(str s, str prefix)
{
    return s.len >= prefix.len && str_is(str_first(s, prefix.len), prefix);
}

bool str_ends(str s, str suffix)
{
    return s.len >= suffix.len && str_is(str_from(s, s.len - suffix.len), suffix);
}

int str_order(str a, str b)
{
    size_t both = a.len < b.len ? a.len : b.len;
    int order = both == 0 ? 0 : memcmp(a.at, b.at, both);
    if (order != 0)
        return order;
    return a.len == b.len ? 0 : a.len < b.len ? -1 : 1;
}

size_t str_find(str s, str needle)
{
    if (needle.len == 0)
        return 0;
    if (needle.len > s.len)
        return s.len;
    const char *found = memmem(s.at, s.len, needle.at, needle.len);
    return found == NULL ? s.len : (size_t)(found - s.at);
}

size_t str_find_byte(str s, char c)
{
    const char *found = s.len == 0 ? NULL : memchr(s.at, c, s.len);
    return found == NULL ? s.len : (size_t)(found - s.at);
}

str str_from(str s, size_t at)
{
    if (at > s.len)
        at = s.len;
    return at == 0 ? s : (str){s.at + at, s.len - at};
}

str str_first(str s, size_t len)
{
    return (str){s.at, len < s.len ? len : s.len};
}

static bool str_is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

str str_trim(str s)
{
    while (s.len > 0 && str_is_blank(s.at[0]))
        s = str_from(s, 1);
    while (s.len > 0 && str_is_blank(s.at[s.len - 1]))
        s.len--;
    return s;
}

str str_cut(str *rest, char separator)
{
    str all = *rest;
    size_t at = str_find_byte(all, separator);
    *rest = at == all.len ? (str){NULL, 0} : str_from(all, at + 1);
    return str_first(all, at);
}

err str_number(str s, uint64_t *out)
{
    uint64_t value = 0;
    bool large = false;
    if (s.len == 0)
        return fail(ERR_SYNTAX, 0, "not a number");
    for (size_t i = 0; i < s.len; i++) {
        if (s.at[i] < '0' || s.at[i] > '9')
            return fail(ERR_SYNTAX, 0, "not a number");
        large = large || __builtin_mul_overflow(value, 10, &value) ||
                __builtin_add_overflow(value, (uint64_t)(s.at[i] - '0'), &value);
    }
    if (large)
        return fail(ERR_LIMIT, 0, "number past 64 bits");
    *out = value;
    return ok();
}

enum { WORD_MAX = 63, DISTANCE_MAX = 2 };

// Optimal string alignment: a swap of neighbours counts one.
static size_t str_distance(str a, str b)
{
    unsigned char rows[3][WORD_MAX + 1];
    for (size_t j = 0; j <= b.len; j++)
        rows[0][j] = (unsigned char)j;
    for (size_t i = 1; i <= a.len; i++) {
        unsigned char *row = rows[i % 3];
        const unsigned char *above = rows[(i - 1) % 3];
        const unsigned char *higher = rows[(i + 1) % 3];
        row[0] = (unsigned char)i;
        for (size_t j = 1; j <= b.len; j++) {
            bool same = str_lower_byte(a.at[i - 1]) == str_lower_byte(b.at[j - 1]);
            int least = above[j - 1] + !same;
            if (above[j] + 1 < least)
                least = above[j] + 1;
            if (row[j - 1] + 1 < least)
                least = row[j - 1] + 1;
            if (i > 1 && j > 1 && a.at[i - 1] == b.at[j - 2] && a.at[i - 2] == b.at[j - 1] &&
                higher[j - 2] + 1 < least)
                least = higher[j - 2] + 1;
            row[j] = (unsigned char)least;
        }
    }
    return rows[a.len % 3][b.len];
}

const char *str_closest(str word, const char *const *choices, size_t count)
{
    const char *best = NULL;
    size_t best_distance = DISTANCE_MAX + 1;
    if (word.len == 0 || word.len > WORD_MAX)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        str choice = str_of(choices[i]);
        if (choice.len > WORD_MAX)
            continue;
        size_t distance = str_distance(word, choice);
        // Two changes of a word of two letters are another word.
        if (distance < best_distance && distance < choice.len && distance < word.len) {
            best = choices[i];
            best_distance = distance;
        }
    }
    return best;
}

// RFC 3629, section 4: no overlong forms, no surrogates, nothing past U+10FFFF.
size_t str_utf8_len(str s, size_t at)
{
    const unsigned char *c = (const unsigned char *)s.at + at;
    size_t left = s.len - at;
    if (left == 0)
        return 0;
    if (c[0] < 0x80)
        return 1;
    if (c[0] < 0xC2 || c[0] > 0xF4)
        return 0;
    size_t len = c[0] < 0xE0 ? 2 : c[0] < 0xF0 ? 3 : 4;
    if (left < len)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((c[i] & 0xC0) != 0x80)
            return 0;
    if ((c[0] == 0xE0 && c[1] < 0xA0) || (c[0] == 0xED && c[1] > 0x9F) ||
        (c[0] == 0xF0 && c[1] < 0x90) || (c[0] == 0xF4 && c[1] > 0x8F))
        return 0;
    return len;
}

size_t str_printable_len(str s, size_t at)
{
    const unsigned char *c = (const unsigned char *)s.at + at;
    size_t len = str_utf8_len(s, at);
    if (len == 1 && ((c[0] < ' ' && c[0] != '\t') || c[0] == 0x7F))
        return 0;
    if (len == 2 && c[0] == 0xC2 && c[1] < 0xA0)
        return 0; // C1 controls: 0x9B alone starts a terminal sequence
    return len;
}

bool str_is_utf8(str s)
{
    for (size_t at = 0, len = 0; at < s.len; at += len)
        if ((len = str_utf8_len(s, at)) == 0)
            return false;
    return true;
}
