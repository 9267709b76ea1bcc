// Fuzzes JSON: what is read must be written, read back as the same value, and written the same
// again.
#include "base/json.h"

#include "base/str.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MEMORY_BYTES = 64 << 20, INPUT_BYTES_MAX = 64 * 1024, WRITTEN_BYTES_MAX = 8 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

// False when a name has a NUL: the writer's names are C strings and can not hold it.
static bool value_write(json_writer *w, const json *v)
{
    const char *name = v->name.at;
    bool writable = name == NULL || memchr(name, '\0', v->name.len) == NULL;
    must(name == NULL || name[v->name.len] == '\0');
    switch (v->kind) {
    case JSON_NULL:
        json_put_null(w, name);
        break;
    case JSON_FALSE:
    case JSON_TRUE:
        json_put_flag(w, name, v->kind == JSON_TRUE);
        break;
    case JSON_NUMBER:
        if (v->whole > 0)
            json_put_whole(w, name, v->whole);
        else
            json_put_real(w, name, v->number);
        break;
    case JSON_TEXT:
        json_put_text(w, name, v->text);
        break;
    case JSON_LIST:
    case JSON_OBJECT:
        (v->kind == JSON_LIST ? json_open_list : json_open_object)(w, name);
        for (const json *entry = v->first; entry != NULL; entry = entry->next)
            writable = value_write(w, entry) && writable;
        (v->kind == JSON_LIST ? json_close_list : json_close_object)(w);
        break;
    }
    return writable;
}

static void values_compare(const json *a, const json *b)
{
    size_t count = 0;
    must(a->kind == b->kind && a->count == b->count && a->whole == b->whole);
    must(a->number == b->number && signbit(a->number) == signbit(b->number));
    must(str_is(a->text, b->text) && str_is(a->name, b->name));
    const json *other = b->first;
    for (const json *entry = a->first; entry != NULL; entry = entry->next, other = other->next) {
        must(other != NULL);
        values_compare(entry, other);
        count++;
    }
    must(other == NULL && count == a->count);
}

// Each field is found by its name, and every kind of question has an answer.
static void fields_ask(const json *object)
{
    for (const json *field = object->first; field != NULL; field = field->next) {
        if (memchr(field->name.at, '\0', field->name.len) != NULL)
            continue;
        must(json_field(object, field->name.at) == field);
        must(json_flag(object, field->name.at) == (field->kind == JSON_TRUE));
        must(field->kind == JSON_NUMBER || json_whole(object, field->name.at, 7) == 7);
        must(json_text(object, field->name.at).len == field->text.len);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    OWNED(arena_drop) arena *a = NULL;
    OWNED(buf_close) buf one, two = {0};
    const json *v = NULL, *again = NULL;
    str where;
    buf_open(&one, WRITTEN_BYTES_MAX);
    buf_open(&two, WRITTEN_BYTES_MAX);
    if (size > INPUT_BYTES_MAX || arena_open(&a, MEMORY_BYTES).code != OK)
        return 0;
    err e = json_read(a, (str){(const char *)bytes, size}, &v, &where);
    must(e.code == ERR_MEMORY || (e.code == OK) == (where.len == 0));
    if (e.code != OK)
        return 0;
    if (v->kind == JSON_OBJECT && v->count < 100)
        fields_ask(v);
    json_writer w = {.out = &one};
    if (!value_write(&w, v) || one.error.code != OK)
        return 0;
    e = json_read(a, buf_str(&one), &again, &where);
    if (e.code == ERR_MEMORY)
        return 0;
    must(e.code == OK);
    values_compare(v, again);
    w = (json_writer){.out = &two};
    must(value_write(&w, again));
    must(two.error.code == OK && str_is(buf_str(&one), buf_str(&two)));
    return 0;
}
