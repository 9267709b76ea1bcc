// Reads JSON (RFC 8259) strictly into values that live in an arena.
//
// The text is copied once; strings are decoded in place in the copy, where they never grow, and
// end in NUL where their closing quote stood. Errors are placed by offset in the original.
#include "base/json.h"

#include "base/map.h"
#include "base/str.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 64, NUMBER_MAX = 512, COMPARED_MAX = 8 };

struct reader {
    arena *memory;
    char *at; // the copy; a NUL stands behind it
    size_t len;
    size_t pos;
    size_t depth;
    size_t wrong_at;
};

static err json_wrong(struct reader *r, size_t at, const char *why)
{
    r->wrong_at = at;
    return fail(ERR_SYNTAX, 0, why);
}

static char json_peek(const struct reader *r)
{
    return r->pos < r->len ? r->at[r->pos] : '\0';
}

static void json_skip_blanks(struct reader *r)
{
    while (r->pos < r->len && strchr(" \t\r\n", r->at[r->pos]) != NULL && r->at[r->pos] != '\0')
        r->pos++;
}

static err json_unexpected(struct reader *r, const char *why)
{
    return json_wrong(r, r->pos, r->pos >= r->len ? "unexpected end" : why);
}

static bool json_hex4(const struct reader *r, size_t at, uint32_t *out)
{
    uint32_t value = 0;
    if (r->len - at < 4)
        return false;
    for (size_t i = 0; i < 4; i++) {
        char c = r->at[at + i];
        uint32_t digit = c >= '0' && c <= '9'   ? (uint32_t)(c - '0')
                         : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10)
                         : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A' + 10)
                                                : 16;
        if (digit == 16)
            return false;
        value = value << 4 | digit;
    }
    *out = value;
    return true;
}

static char *json_put_utf8(char *to, uint32_t c)
{
    if (c < 0x80) {
        *to++ = (char)c;
    } else if (c < 0x800) {
        *to++ = (char)(0xC0 | c >> 6);
        *to++ = (char)(0x80 | (c & 0x3F));
    } else if (c < 0x10000) {
        *to++ = (char)(0xE0 | c >> 12);
        *to++ = (char)(0x80 | (c >> 6 & 0x3F));
        *to++ = (char)(0x80 | (c & 0x3F));
    } else {
        *to++ = (char)(0xF0 | c >> 18);
        *to++ = (char)(0x80 | (c >> 12 & 0x3F));
        *to++ = (char)(0x80 | (c >> 6 & 0x3F));
        *to++ = (char)(0x80 | (c & 0x3F));
    }
    return to;
}

// At the backslash; leaves `pos` behind the escape.
static err json_read_escape(struct reader *r, char **to)
{
    static const char letters[] = "\"\\/bfnrt";
    static const char bytes[] = "\"\\/\b\f\n\r\t";
    size_t start = r->pos++;
    char c = json_peek(r);
    const char *found = c == '\0' ? NULL : strchr(letters, c);
    if (found != NULL) {
        *(*to)++ = bytes[found - letters];
        r->pos++;
        return ok();
    }
    uint32_t high = 0, low = 0;
    if (c != 'u' || !json_hex4(r, r->pos + 1, &high))
        return json_wrong(r, start, "unknown escape");
    r->pos += 5;
    if (high >= 0xD800 && high < 0xE000) {
        if (high >= 0xDC00 || r->len - r->pos < 6 || r->at[r->pos] != '\\' ||
            r->at[r->pos + 1] != 'u' || !json_hex4(r, r->pos + 2, &low) || low < 0xDC00 ||
            low >= 0xE000)
            return json_wrong(r, start, "half of a surrogate pair");
        r->pos += 6;
        high = 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
    }
    *to = json_put_utf8(*to, high);
    return ok();
}

// At the opening quote.
static err json_read_text(struct reader *r, str *out)
{
    char *start = r->at + ++r->pos;
    char *to = start;
    str all = {r->at, r->len};
    while (r->pos < r->len) {
        char c = r->at[r->pos];
        if (c == '"') {
            *to = '\0';
            *out = (str){start, (size_t)(to - start)};
            r->pos++;
            return ok();
        }
        if (c == '\\') {
            TRY(json_read_escape(r, &to));
            continue;
        }
        if ((unsigned char)c < ' ')
            return json_wrong(r, r->pos, "control character in a string");
        size_t len = (unsigned char)c < 0x80 ? 1 : str_utf8_len(all, r->pos);
        if (len == 0)
            return json_wrong(r, r->pos, "invalid UTF-8");
        for (size_t i = 0; i < len; i++)
            *to++ = r->at[r->pos++];
    }
    return json_wrong(r, r->pos, "unexpected end");
}

static size_t json_digits(struct reader *r)
{
    size_t start = r->pos;
    while (json_peek(r) >= '0' && json_peek(r) <= '9')
        r->pos++;
    return r->pos - start;
}

static err json_read_number(struct reader *r, json *v)
{
    size_t start = r->pos;
    bool plain = json_peek(r) != '-';
    if (!plain)
        r->pos++;
    bool zero = json_peek(r) == '0';
    size_t digits = json_digits(r);
    if (digits == 0 || (zero && digits > 1))
        return json_wrong(r, start, "malformed number");
    if (json_peek(r) == '.') {
        r->pos++;
        plain = false;
        if (json_digits(r) == 0)
            return json_wrong(r, start, "malformed number");
    }
    if (json_peek(r) == 'e' || json_peek(r) == 'E') {
        r->pos++;
        plain = false;
        if (json_peek(r) == '+' || json_peek(r) == '-')
            r->pos++;
        if (json_digits(r) == 0)
            return json_wrong(r, start, "malformed number");
    }
    size_t len = r->pos - start;
    if (len > NUMBER_MAX)
        return json_wrong(r, start, "number too long");
    char copy[NUMBER_MAX + 1]; // strtod reads on until a byte that is not its own
    memcpy(copy, r->at + start, len);
    copy[len] = '\0';
    v->kind = JSON_NUMBER;
    v->number = strtod(copy, NULL);
    if (!isfinite(v->number))
        return json_wrong(r, start, "number out of range");
    if (plain && str_number((str){copy, len}, &v->whole).code == OK)
        return ok();
    bool whole = v->number >= 0 && v->number < 0x1p64 && v->number == floor(v->number);
    v->whole = whole ? (uint64_t)v->number : 0;
    return ok();
}

static err json_read_word(struct reader *r, const char *word, json_kind kind, json *v)
{
    str left = {r->at + r->pos, r->len - r->pos};
    if (!str_starts(left, str_of(word)))
        return json_wrong(r, r->pos, "unknown word");
    r->pos += strlen(word);
    v->kind = kind;
    return ok();
}

static void json_names_drop(map **names)
{
    map_close(*names);
}

// A few names are compared with each other; many are found by hash, so that no object costs n^2.
static err json_check_name(struct reader *r, const json *object, str name, size_t at, map **names)
{
    if (*names == NULL && object->count < COMPARED_MAX) {
        for (const json *field = object->first; field != NULL; field = field->next)
            if (str_is(field->name, name))
                return json_wrong(r, at, "duplicate key");
        return ok();
    }
    if (*names == NULL) {
        TRY(map_open(names, SIZE_MAX));
        for (const json *field = object->first; field != NULL; field = field->next)
            TRY(map_put(*names, field->name, r, NULL));
    }
    void *old = NULL;
    TRY(map_put(*names, name, r, &old));
    return old != NULL ? json_wrong(r, at, "duplicate key") : ok();
}

static err json_read_name(struct reader *r, const json *object, map **names, str *name)
{
    size_t at = r->pos;
    if (json_peek(r) != '"')
        return json_unexpected(r, "expected a key in quotes");
    TRY(json_read_text(r, name));
    TRY(json_check_name(r, object, *name, at, names));
    json_skip_blanks(r);
    if (json_peek(r) != ':')
        return json_unexpected(r, "expected ':'");
    r->pos++;
    json_skip_blanks(r);
    return ok();
}

static err json_read_value(struct reader *r, json *v);

static err json_read_entries(struct reader *r, json *v, char end)
{
    OWNED(json_names_drop) map *names = NULL;
    const json **last = &v->first;
    if (++r->depth > DEPTH_MAX)
        return json_wrong(r, r->pos, "nested too deeply");
    r->pos++;
    json_skip_blanks(r);
    bool more = json_peek(r) != end;
    while (more) {
        str name = {NULL, 0};
        if (v->kind == JSON_OBJECT)
            TRY(json_read_name(r, v, &names, &name));
        json *entry = arena_take(r->memory, sizeof(*entry));
        if (entry == NULL)
            return fail(ERR_MEMORY, 0, "read JSON");
        entry->name = name;
        TRY(json_read_value(r, entry));
        *last = entry;
        last = &entry->next;
        v->count++;
        json_skip_blanks(r);
        more = json_peek(r) == ',';
        if (!more && json_peek(r) != end)
            return json_unexpected(r, end == '}' ? "expected ',' or '}'" : "expected ',' or ']'");
        if (more)
            r->pos++;
        json_skip_blanks(r);
    }
    r->pos++;
    r->depth--;
    return ok();
}

static err json_read_value(struct reader *r, json *v)
{
    switch (json_peek(r)) {
    case '{':
        v->kind = JSON_OBJECT;
        return json_read_entries(r, v, '}');
    case '[':
        v->kind = JSON_LIST;
        return json_read_entries(r, v, ']');
    case '"':
        v->kind = JSON_TEXT;
        return json_read_text(r, &v->text);
    case 't':
        return json_read_word(r, "true", JSON_TRUE, v);
    case 'f':
        return json_read_word(r, "false", JSON_FALSE, v);
    case 'n':
        return json_read_word(r, "null", JSON_NULL, v);
    case '-':
    case '0' ... '9':
        return json_read_number(r, v);
    default:
        return json_unexpected(r, "expected a value");
    }
}

static str json_place(arena *a, str text, size_t at, const char *why)
{
    size_t line = 1, column = 1;
    for (size_t i = 0; i < at && i < text.len; i++) {
        bool new_line = text.at[i] == '\n';
        line += new_line;
        // Columns count characters: bytes that continue one do not.
        column = new_line ? 1 : column + (((unsigned char)text.at[i] & 0xC0) != 0x80);
    }
    return str_format(a, "%zu:%zu: %s", line, column, why);
}

err json_read(arena *a, str text, const json **out, str *where)
{
    if (where != NULL)
        *where = (str){NULL, 0};
    str copy = str_copy(a, text);
    json *top = arena_take(a, sizeof(*top));
    if (copy.at == NULL || top == NULL)
        return fail(ERR_MEMORY, 0, "read JSON");
    struct reader r = {.memory = a, .at = (char *)(uintptr_t)copy.at, .len = copy.len};
    json_skip_blanks(&r);
    err e = json_read_value(&r, top);
    json_skip_blanks(&r);
    if (e.code == OK && r.pos < r.len)
        e = json_wrong(&r, r.pos, "bytes after the value");
    if (e.code == ERR_SYNTAX && where != NULL)
        *where = json_place(a, text, r.wrong_at, e.what);
    if (e.code == OK)
        *out = top;
    return e;
}

const json *json_field(const json *object, const char *name)
{
    if (object == NULL || object->kind != JSON_OBJECT)
        return NULL;
    str wanted = str_of(name);
    for (const json *field = object->first; field != NULL; field = field->next)
        if (str_is(field->name, wanted))
            return field;
    return NULL;
}

str json_text(const json *object, const char *name)
{
    const json *field = json_field(object, name);
    return field != NULL && field->kind == JSON_TEXT ? field->text : (str){NULL, 0};
}

uint64_t json_whole(const json *object, const char *name, uint64_t otherwise)
{
    const json *field = json_field(object, name);
    if (field == NULL || field->kind != JSON_NUMBER)
        return otherwise;
    return field->whole > 0 || field->number == 0 ? field->whole : otherwise;
}

bool json_flag(const json *object, const char *name)
{
    const json *field = json_field(object, name);
    return field != NULL && field->kind == JSON_TRUE;
}
