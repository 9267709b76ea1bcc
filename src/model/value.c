// The grammar of single values; what is wrong with one is told by the schema.
#include "model/value.h"

#include "base/str.h"

#include <string.h>

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

bool name_is_valid(str s)
{
    if (s.len == 0 || s.len > NAME_LEN_MAX || !is_letter(s.at[0]))
        return false;
    for (size_t i = 0; i < s.len; i++)
        if (!is_letter(s.at[i]) && !is_digit(s.at[i]) && s.at[i] != '_' && s.at[i] != '-')
            return false;
    return true;
}

bool id_is_valid(str s)
{
    if (s.len < ID_LEN_MIN || s.len > ID_LEN_MAX)
        return false;
    for (size_t i = 0; i < s.len; i++)
        if ((!is_letter(s.at[i]) && !is_digit(s.at[i])) || strchr("0OIl", s.at[i]) != NULL)
            return false;
    return true;
}

bool path_is_valid(str s)
{
    if (s.len == 0 || s.len > PATH_LEN_MAX || s.at[0] != '/' || !str_is_utf8(s))
        return false;
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.at[i];
        if (c <= ' ' || c == 0x7f || c == '?' || c == '#')
            return false;
    }
    return true;
}

static bool label_is_valid(str s)
{
    if (s.len == 0 || s.len > 63 || s.at[0] == '-' || s.at[s.len - 1] == '-')
        return false;
    for (size_t i = 0; i < s.len; i++)
        if (!is_letter(s.at[i]) && !is_digit(s.at[i]) && s.at[i] != '-')
            return false;
    return true;
}

bool fqdn_is_valid(str s)
{
    size_t labels = 0;
    if (s.len == 0 || s.len > FQDN_LEN_MAX || s.at[s.len - 1] == '.')
        return false;
    for (str rest = s; rest.at != NULL; labels++)
        if (!label_is_valid(str_cut(&rest, '.')))
            return false;
    return labels >= 2;
}

bool email_is_valid(str s)
{
    str rest = s;
    str local = str_cut(&rest, '@');
    if (local.len == 0 || local.len > 64 || !fqdn_is_valid(rest))
        return false;
    for (size_t i = 0; i < local.len; i++)
        if (!is_letter(local.at[i]) && !is_digit(local.at[i]) &&
            strchr("!#$%&'*+/=?^_`{|}~.-", local.at[i]) == NULL)
            return false;
    return local.at[0] != '.' && local.at[local.len - 1] != '.';
}

err bytes_read(str s, uint64_t *out)
{
    static const struct {
        const char *name;
        uint64_t size;
    } units[] = {
        {"", 1},
        {"B", 1},
        {"KB", 1000ULL},
        {"MB", 1000ULL * 1000},
        {"GB", 1000ULL * 1000 * 1000},
        {"TB", 1000ULL * 1000 * 1000 * 1000},
        {"PB", 1000ULL * 1000 * 1000 * 1000 * 1000},
        {"KiB", 1ULL << 10},
        {"MiB", 1ULL << 20},
        {"GiB", 1ULL << 30},
        {"TiB", 1ULL << 40},
        {"PiB", 1ULL << 50},
    };
    size_t digits = 0;
    while (digits < s.len && is_digit(s.at[digits]))
        digits++;
    uint64_t number = 0;
    TRY(str_number(str_first(s, digits), &number));
    for (size_t i = 0; i < COUNT(units); i++) {
        if (!str_is(str_from(s, digits), str_of(units[i].name)))
            continue;
        if (__builtin_mul_overflow(number, units[i].size, &number) || number > INT64_MAX)
            return fail(ERR_LIMIT, 0, "size too large");
        *out = number;
        return ok();
    }
    return fail(ERR_SYNTAX, 0, "unknown unit of size");
}

// Nanoseconds of the unit that stands in front of `*rest`, which is cut; 0 when there is none.
static uint64_t unit_take(str *rest)
{
    static const struct {
        str name;
        uint64_t ns;
    } units[] = {
        {{"ns", 2}, 1},
        {{"us", 2}, 1000},
        {{"\xc2\xb5s", 3}, 1000},
        {{"\xce\xbcs", 3}, 1000},
        {{"ms", 2}, 1000ULL * 1000},
        {{"s", 1}, 1000ULL * 1000 * 1000},
        {{"m", 1}, 60ULL * 1000 * 1000 * 1000},
        {{"h", 1}, 3600ULL * 1000 * 1000 * 1000},
    };
    for (size_t i = 0; i < COUNT(units); i++) {
        if (!str_starts(*rest, units[i].name))
            continue;
        *rest = str_from(*rest, units[i].name.len);
        return units[i].ns;
    }
    return 0;
}

static str digits_take(str *rest)
{
    size_t digits = 0;
    while (digits < rest->len && is_digit(rest->at[digits]))
        digits++;
    str taken = str_first(*rest, digits);
    *rest = str_from(*rest, digits);
    return taken;
}

// One part such as "1.5h" in nanoseconds.
static err part_take(str *rest, uint64_t *out)
{
    str whole = digits_take(rest);
    str part = {0};
    if (rest->len > 0 && rest->at[0] == '.') {
        *rest = str_from(*rest, 1);
        part = digits_take(rest);
    }
    uint64_t unit = unit_take(rest);
    if (whole.len + part.len == 0 || unit == 0)
        return fail(ERR_SYNTAX, 0, "a duration is a number with a unit");
    uint64_t ns = 0;
    if (whole.len > 0)
        TRY(str_number(whole, &ns));
    if (__builtin_mul_overflow(ns, unit, &ns))
        return fail(ERR_LIMIT, 0, "duration too long");
    uint64_t scale = unit;
    for (size_t i = 0; i < part.len && scale > 0; i++) {
        // Exact while the unit is a multiple of ten, and off by less than a nanosecond after.
        if (__builtin_add_overflow(ns, (uint64_t)(part.at[i] - '0') * scale / 10, &ns))
            return fail(ERR_LIMIT, 0, "duration too long");
        scale /= 10;
    }
    *out = ns;
    return ok();
}

err duration_read(str s, uint64_t *out_ms)
{
    enum { NS_OF_MS = 1000 * 1000 };
    uint64_t total = 0;
    str rest = s;
    if (rest.len > 0 && rest.at[0] == '+')
        rest = str_from(rest, 1);
    if (rest.len == 0)
        return fail(ERR_SYNTAX, 0, "a duration is a number with a unit");
    if (str_is(rest, STR("0")))
        rest = (str){0};
    while (rest.len > 0) {
        uint64_t part = 0;
        TRY(part_take(&rest, &part));
        if (__builtin_add_overflow(total, part, &total) || total > INT64_MAX)
            return fail(ERR_LIMIT, 0, "duration too long");
    }
    *out_ms = total / NS_OF_MS + (total % NS_OF_MS > 0);
    return ok();
}
