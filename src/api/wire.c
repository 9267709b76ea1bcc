// The bytes of messages: version, form, header and fields in order, little-endian.
//
// A message: u8 version, u8 form (1: fields follow, 2: an error), then for fields the texts
// subject, request id, project, account and u64 deadline, then the fields. Texts and bytes: u32
// length, bytes. Lists: u32 count, then each record behind its u32 length, so that unknown fields
// at a record's end can be skipped as well. An error: u32 code, u32 sys, text. The subject travels
// as text, since message_kind is renumbered when a line is added to messages.def.
#include "api/api.h"
#include "base/str.h"

#include <assert.h>
#include <string.h>

enum { FORM_FIELDS = 1, FORM_ERROR = 2, ENTRIES_MAX = 65536, ERROR_TEXT_MAX = 4096 };

typedef struct list {
    void *at;
    size_t count;
} list;

static void text_write(buf *out, str s)
{
    if (s.len > MESSAGE_BYTES_MAX && out->error.code == OK)
        out->error = fail(ERR_LIMIT, 0, "message is too large");
    buf_add_u32(out, (uint32_t)s.len);
    buf_add(out, s);
}

static void fields_write(buf *out, const message_shape *shape, const char *at, size_t *entries);

static void list_write(buf *out, const message_shape *record, list l, size_t *entries)
{
    if (l.count > ENTRIES_MAX - *entries) {
        if (out->error.code == OK)
            out->error = fail(ERR_LIMIT, 0, "message has too many list entries");
        return;
    }
    *entries += l.count;
    buf_add_u32(out, (uint32_t)l.count);
    for (size_t i = 0; i < l.count; i++) {
        size_t start = out->len;
        buf_add_u32(out, 0);
        fields_write(out, record, (const char *)l.at + i * record->bytes, entries);
        if (out->error.code != OK)
            return;
        uint32_t len = (uint32_t)(out->len - start - 4);
        for (size_t b = 0; b < 4; b++)
            out->at[start + b] = (char)(len >> (8 * b));
    }
}

static void fields_write(buf *out, const message_shape *shape, const char *at, size_t *entries)
{
    for (size_t i = 0; i < shape->count; at += field_bytes(shape->fields[i++].kind)) {
        str s;
        uint64_t number;
        list l;
        switch (shape->fields[i].kind) {
        case FIELD_TEXT:
        case FIELD_BYTES:
            memcpy(&s, at, sizeof s);
            text_write(out, s);
            break;
        case FIELD_NUMBER:
            memcpy(&number, at, sizeof number);
            buf_add_u64(out, number);
            break;
        case FIELD_FLAG:
            buf_add_byte(out, *(const bool *)at ? 1 : 0);
            break;
        case FIELD_LIST:
            memcpy(&l, at, sizeof l);
            list_write(out, shape->fields[i].record, l, entries);
            break;
        }
    }
}

void message_write(buf *out,
                   const message_header *header,
                   const message_shape *shape,
                   const void *fields)
{
    assert(header->kind < MESSAGE_KINDS);
    size_t start = out->len, entries = 0;
    buf_add_byte(out, MESSAGE_VERSION);
    buf_add_byte(out, FORM_FIELDS);
    text_write(out, str_of(message_infos[header->kind].subject));
    text_write(out, header->request_id);
    text_write(out, header->project);
    text_write(out, header->account);
    buf_add_u64(out, header->deadline_ms);
    fields_write(out, shape, fields, &entries);
    if (out->error.code == OK && out->len - start > MESSAGE_BYTES_MAX)
        out->error = fail(ERR_LIMIT, 0, "message is too large");
}

typedef struct reader {
    arena *memory;
    str rest;
    size_t entries;
} reader;

static err byte_read(reader *r, unsigned *out)
{
    if (r->rest.len < 1)
        return fail(ERR_SYNTAX, 0, "message ends inside a byte");
    *out = (unsigned char)r->rest.at[0];
    r->rest = str_from(r->rest, 1);
    return ok();
}

static err number_read(reader *r, size_t width, uint64_t *out)
{
    if (r->rest.len < width)
        return fail(ERR_SYNTAX, 0, "message ends inside a number");
    *out = little_endian(r->rest.at, width);
    r->rest = str_from(r->rest, width);
    return ok();
}

static err text_read(reader *r, str *out)
{
    uint64_t len;
    TRY(number_read(r, 4, &len));
    if (len > r->rest.len)
        return fail(ERR_SYNTAX, 0, "message ends inside a text");
    *out = str_first(r->rest, len);
    r->rest = str_from(r->rest, len);
    return ok();
}

static err fields_read(reader *r, const message_shape *shape, char *at);

static err list_read(reader *r, const message_shape *record, list *out)
{
    uint64_t count;
    TRY(number_read(r, 4, &count));
    if (count > ENTRIES_MAX - r->entries)
        return fail(ERR_LIMIT, 0, "message has too many list entries");
    // Each takes its length at least: a short message can not ask for much memory.
    if (count * 4 > r->rest.len)
        return fail(ERR_SYNTAX, 0, "message ends inside a list");
    r->entries += count;
    if (count == 0)
        return ok();
    char *records = arena_take(r->memory, count * record->bytes);
    if (records == NULL)
        return fail(ERR_MEMORY, 0, "list of a message");
    for (size_t i = 0; i < count; i++) {
        reader inner = {.memory = r->memory, .entries = r->entries};
        TRY(text_read(r, &inner.rest));
        TRY(fields_read(&inner, record, records + i * record->bytes));
        r->entries = inner.entries;
    }
    *out = (list){records, count};
    return ok();
}

static err field_read(reader *r, const message_field *field, char *at)
{
    str s;
    uint64_t number;
    unsigned byte;
    list l = {NULL, 0};
    switch (field->kind) {
    case FIELD_TEXT:
    case FIELD_BYTES:
        TRY(text_read(r, &s));
        memcpy(at, &s, sizeof s);
        return ok();
    case FIELD_NUMBER:
        TRY(number_read(r, 8, &number));
        memcpy(at, &number, sizeof number);
        return ok();
    case FIELD_FLAG:
        TRY(byte_read(r, &byte));
        if (byte > 1)
            return fail(ERR_SYNTAX, 0, "flag of a message is neither 0 nor 1");
        *(bool *)at = byte == 1;
        return ok();
    case FIELD_LIST:
        TRY(list_read(r, field->record, &l));
        memcpy(at, &l, sizeof l);
        return ok();
    }
    return ok();
}

// An older peer ends before our last fields: they stay zero. A newer one goes on: not ours to read.
static err fields_read(reader *r, const message_shape *shape, char *at)
{
    for (size_t i = 0; i < shape->count && r->rest.len > 0; i++) {
        TRY(field_read(r, &shape->fields[i], at));
        at += field_bytes(shape->fields[i].kind);
    }
    return ok();
}

static err form_read(reader *r, unsigned *form)
{
    if (r->rest.len > MESSAGE_BYTES_MAX)
        return fail(ERR_LIMIT, 0, "message is too large");
    unsigned version;
    TRY(byte_read(r, &version));
    if (version != MESSAGE_VERSION)
        return fail(ERR_SYNTAX, 0, "message of an unknown version");
    TRY(byte_read(r, form));
    if (*form != FORM_FIELDS && *form != FORM_ERROR)
        return fail(ERR_SYNTAX, 0, "message of an unknown form");
    return ok();
}

static err header_read(reader *r, message_header *out)
{
    unsigned form;
    TRY(form_read(r, &form));
    if (form == FORM_ERROR)
        return fail(ERR_SYNTAX, 0, "an error reply where a message should be");
    str subject;
    message_header h;
    TRY(text_read(r, &subject));
    TRY(text_read(r, &h.request_id));
    TRY(text_read(r, &h.project));
    TRY(text_read(r, &h.account));
    TRY(number_read(r, 8, &h.deadline_ms));
    const message_info *info = message_find(subject);
    if (info == NULL)
        return fail(ERR_UNSUPPORTED, 0, "unknown subject");
    h.kind = (uint64_t)(info - message_infos);
    *out = h;
    return ok();
}

err message_read_header(str bytes, message_header *header)
{
    reader r = {.rest = bytes};
    return header_read(&r, header);
}

err message_read(
    arena *a, str bytes, message_header *header, const message_shape *shape, void *fields)
{
    memset(fields, 0, shape->bytes);
    reader r = {.memory = a, .rest = bytes};
    TRY(header_read(&r, header));
    const message_info *info = &message_infos[header->kind];
    if (shape != info->request && shape != info->reply)
        return fail(ERR_SYNTAX, 0, "another message than the expected one");
    return fields_read(&r, shape, fields);
}

void message_write_error(buf *out, err e)
{
    str what = str_of(e.what);
    buf_add_byte(out, MESSAGE_VERSION);
    buf_add_byte(out, FORM_ERROR);
    buf_add_u32(out, e.code == OK ? ERR_SYSTEM : (uint32_t)e.code);
    buf_add_u32(out, (uint32_t)e.sys);
    text_write(out, str_first(what, ERROR_TEXT_MAX));
}

err message_read_error(arena *a, str bytes, err *e)
{
    reader r = {.rest = bytes};
    unsigned form;
    TRY(form_read(&r, &form));
    if (form == FORM_FIELDS) {
        *e = ok();
        return ok();
    }
    uint64_t code, sys;
    str what;
    TRY(number_read(&r, 4, &code));
    TRY(number_read(&r, 4, &sys));
    TRY(text_read(&r, &what));
    if (code == OK)
        return fail(ERR_SYNTAX, 0, "error reply without an error");
    // A newer peer may know more codes than we do.
    err_code known = code <= ERR_UNSUPPORTED ? (err_code)code : ERR_SYSTEM;
    const char *copy = str_c(a, str_first(what, ERROR_TEXT_MAX));
    *e = fail(known, (int)(uint32_t)sys, copy != NULL ? copy : "error reply");
    return ok();
}
