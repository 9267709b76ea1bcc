// The JSON form of messages: for the API, the console and tests.
//
// Numbers past 2^53-1, which JavaScript would round, are texts of digits. Unknown fields are passed
// over and absent or null ones are zero, as on the wire; a field of the wrong type is an error that
// names it.
#include "api/api.h"
#include "base/hash.h"
#include "base/str.h"

#include <string.h>

enum { EXACT_MAX_BITS = 53, ENTRIES_MAX = 65536 };

typedef struct list {
    void *at;
    size_t count;
} list;

static void bytes_write(json_writer *w, const char *name, str s)
{
    // JSON readers refuse NUL in texts.
    if (str_is_utf8(s) && str_find_byte(s, '\0') == s.len) {
        json_open_object(w, name);
        json_put_text(w, "text", s);
        json_close_object(w);
        return;
    }
    OWNED(arena_drop) arena *scratch = NULL;
    err e = arena_open(&scratch, s.len * 2 + 4096);
    str text = e.code == OK ? base64_of(scratch, s) : (str){NULL, 0};
    if (text.at == NULL && w->out->error.code == OK)
        w->out->error = fail(ERR_MEMORY, 0, "bytes as base64");
    json_put_text(w, name, text);
}

static void number_write(json_writer *w, const char *name, uint64_t number)
{
    if (number >> EXACT_MAX_BITS == 0) {
        json_put_whole(w, name, number);
        return;
    }
    char digits[20];
    size_t at = sizeof digits;
    for (; number > 0; number /= 10)
        digits[--at] = (char)('0' + number % 10);
    json_put_text(w, name, (str){digits + at, sizeof digits - at});
}

void message_json_write(json_writer *w,
                        const char *name,
                        const message_shape *shape,
                        const void *fields)
{
    const char *at = fields;
    json_open_object(w, name);
    for (size_t i = 0; i < shape->count; at += field_bytes(shape->fields[i++].kind)) {
        const message_field *f = &shape->fields[i];
        str s;
        uint64_t number;
        list l;
        switch (f->kind) {
        case FIELD_TEXT:
            memcpy(&s, at, sizeof s);
            json_put_text(w, f->name, s);
            break;
        case FIELD_BYTES:
            memcpy(&s, at, sizeof s);
            bytes_write(w, f->name, s);
            break;
        case FIELD_NUMBER:
            memcpy(&number, at, sizeof number);
            number_write(w, f->name, number);
            break;
        case FIELD_FLAG:
            json_put_flag(w, f->name, *(const bool *)at);
            break;
        case FIELD_LIST:
            memcpy(&l, at, sizeof l);
            json_open_list(w, f->name);
            for (size_t n = 0; n < l.count; n++)
                message_json_write(w, NULL, f->record, (const char *)l.at + n * f->record->bytes);
            json_close_list(w);
            break;
        }
    }
    json_close_object(w);
}

static err field_fail(arena *a, const message_field *f, const char *expected)
{
    str what = str_format(a, "field '%s' must be %s", f->name, expected);
    return fail(ERR_SYNTAX, 0, what.at != NULL ? what.at : "field of the wrong type");
}

static err bytes_read(arena *a, const json *value, const message_field *f, str *out)
{
    const json *text = json_field(value, "text");
    if (text != NULL && text->kind == JSON_TEXT) {
        *out = text->text;
        return ok();
    }
    if (value->kind != JSON_TEXT || base64_read(a, value->text, out).code != OK)
        return field_fail(a, f, "base64 or {\"text\": ...}");
    return ok();
}

static err number_read(arena *a, const json *value, const message_field *f, uint64_t *out)
{
    if (value->kind == JSON_TEXT && str_number(value->text, out).code == OK)
        return ok();
    if (value->kind != JSON_NUMBER || value->number < 0 ||
        (value->whole == 0 && value->number != 0))
        return field_fail(a, f, "a whole number");
    *out = value->whole;
    return ok();
}

static err list_read(arena *a, const json *value, const message_field *f, list *out)
{
    if (value->kind != JSON_LIST)
        return field_fail(a, f, "a list");
    if (value->count > ENTRIES_MAX)
        return fail(ERR_LIMIT, 0, "list of a message is too long");
    if (value->count == 0)
        return ok();
    char *records = arena_take(a, value->count * f->record->bytes);
    if (records == NULL)
        return fail(ERR_MEMORY, 0, "list of a message");
    size_t n = 0;
    for (const json *entry = value->first; entry != NULL; entry = entry->next)
        TRY(message_json_read(a, entry, f->record, records + n++ * f->record->bytes));
    *out = (list){records, n};
    return ok();
}

static err field_read(arena *a, const json *value, const message_field *f, char *at)
{
    str s = {NULL, 0};
    uint64_t number = 0;
    list l = {NULL, 0};
    switch (f->kind) {
    case FIELD_TEXT:
        if (value->kind != JSON_TEXT)
            return field_fail(a, f, "a text");
        memcpy(at, &value->text, sizeof s);
        return ok();
    case FIELD_BYTES:
        TRY(bytes_read(a, value, f, &s));
        memcpy(at, &s, sizeof s);
        return ok();
    case FIELD_NUMBER:
        TRY(number_read(a, value, f, &number));
        memcpy(at, &number, sizeof number);
        return ok();
    case FIELD_FLAG:
        if (value->kind != JSON_TRUE && value->kind != JSON_FALSE)
            return field_fail(a, f, "true or false");
        *(bool *)at = value->kind == JSON_TRUE;
        return ok();
    case FIELD_LIST:
        TRY(list_read(a, value, f, &l));
        memcpy(at, &l, sizeof l);
        return ok();
    }
    return ok();
}

err message_json_read(arena *a, const json *value, const message_shape *shape, void *fields)
{
    memset(fields, 0, shape->bytes);
    if (value->kind != JSON_OBJECT)
        return fail(ERR_SYNTAX, 0, "a message must be an object");
    char *at = fields;
    for (size_t i = 0; i < shape->count; at += field_bytes(shape->fields[i++].kind)) {
        const json *field = json_field(value, shape->fields[i].name);
        if (field != NULL && field->kind != JSON_NULL)
            TRY(field_read(a, field, &shape->fields[i], at));
    }
    return ok();
}
