// Slices of bytes: compare, search, cut, parse numbers, format into an arena.
#pragma once
#include "base/base.h"

#include <stdarg.h>

str str_of(const char *text); // NUL-terminated text as a slice; NULL gives an empty one
bool str_is(str a, str b);
bool str_is_nocase(str a, str b); // ASCII only
bool str_starts(str s, str prefix);
bool str_ends(str s, str suffix);
int str_order(str a, str b);         // as memcmp, shorter first
size_t str_find(str s, str needle);  // index, or s.len when absent
size_t str_find_byte(str s, char c); // index, or s.len when absent
str str_from(str s, size_t at);      // the rest from `at` (clamped)
str str_first(str s, size_t len);    // the first `len` bytes (clamped)
str str_trim(str s);                 // without blanks, tabs, CR, LF at both ends
// Cuts `*rest` at the first `separator`: returns what was before, leaves what is after.
// When there is none, returns all and leaves an empty slice with at == NULL.
str str_cut(str *rest, char separator);
// Decimal digits only (no sign, no blanks). ERR_SYNTAX otherwise, ERR_LIMIT past 64 bits.
err str_number(str s, uint64_t *out) MUST_USE;

// Copies into the arena; NULL at (and len 0) when its budget is used up. Always NUL-terminated
// behind.
str str_copy(arena *a, str s);
const char *str_c(arena *a, str s); // NUL-terminated copy, NULL past the limit
str str_lower(arena *a, str s);     // ASCII
str str_join(arena *a, const str *parts, size_t count, str between);
// printf into the arena; {NULL, 0} past the limit. NUL-terminated behind.
str str_format(arena *a, const char *format, ...) __attribute__((format(printf, 2, 3)));
str str_format_list(arena *a, const char *format, va_list list);

// The closest of `choices` to `word` for "did you mean" (edit distance <= 2, or NULL).
const char *str_closest(str word, const char *const *choices, size_t count);
// Bytes that would move a terminal or break a log line become \xNN; tabs and valid UTF-8 stay.
str str_printable(arena *a, str s);
bool str_is_utf8(str s);
// Bytes of the UTF-8 character that starts at `at` (1 to 4), 0 when there is none or it is invalid.
size_t str_utf8_len(str s, size_t at);
size_t str_printable_len(str s, size_t at); // the same, and 0 for what str_printable() replaces
