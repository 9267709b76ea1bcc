// JSON: read strictly into values that live in an arena, write into a buffer.
#pragma once
#include "base/base.h"
#include "base/buf.h"

typedef enum {
    JSON_NULL,
    JSON_FALSE,
    JSON_TRUE,
    JSON_NUMBER,
    JSON_TEXT,
    JSON_LIST,
    JSON_OBJECT,
} json_kind;
// Values and their texts live as long as the arena they were read into.
typedef struct json json;
struct json {
    json_kind kind;
    double number;
    uint64_t whole; // the number when it is a whole one >= 0
    str text;
    str name;          // the field's name when this value is a field of an object
    size_t count;      // entries of a list or an object
    const json *first; // first entry
    const json *next;  // next entry of the same list or object
};
// Duplicate keys, trailing bytes and depth past 64 are ERR_SYNTAX. `where` (may be NULL) then gets
// "line:column: reason".
err json_read(arena *a, str text, const json **out, str *where) MUST_USE;
const json *json_field(const json *object, const char *name); // NULL when absent or not an object
str json_text(const json *object, const char *name);          // field's text, {NULL,0} otherwise
uint64_t json_whole(const json *object, const char *name, uint64_t otherwise);
bool json_flag(const json *object, const char *name);

// The writer places commas itself:
//   json_open_object(&w, NULL); json_put_text(&w, "name", s); json_close_object(&w);
// `name` is NULL for entries of lists and for the top value. Invalid UTF-8 is written as U+FFFD.
typedef struct json_writer {
    buf *out;
    bool comma;
} json_writer;
void json_open_object(json_writer *w, const char *name);
void json_close_object(json_writer *w);
void json_open_list(json_writer *w, const char *name);
void json_close_list(json_writer *w);
void json_put_text(json_writer *w, const char *name, str value);
void json_put_whole(json_writer *w, const char *name, uint64_t value);
void json_put_real(json_writer *w, const char *name, double value);
void json_put_flag(json_writer *w, const char *name, bool value);
void json_put_null(json_writer *w, const char *name);
void json_put_raw(json_writer *w, const char *name, str already_json);
