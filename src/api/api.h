// Messages between protocols: structs, subjects, wire and JSON forms, all made from messages.def.
#pragma once
#include "base/base.h"
#include "base/buf.h"
#include "base/json.h"

// A list in a message: `at` points to `count` records of the named kind.
#define RECORD(name, fields)       \
    typedef struct name##_record { \
        fields                     \
    } name##_record;
#define TELL(name, subject, fields) \
    typedef struct name {           \
        fields                      \
    } name;
#define ASK(name, subject, request, reply) \
    typedef struct name##_request {        \
        request                            \
    } name##_request;                      \
    typedef struct name##_reply {          \
        reply                              \
    } name##_reply;
#define TEXT(field)   str field;
#define BYTES(field)  str field;
#define NUMBER(field) uint64_t field;
#define FLAG(field)   _Alignas(8) bool field;
#define LIST(record, field)  \
    struct {                 \
        record##_record *at; \
        size_t count;        \
    } field;
#include "api/messages.def"
#undef RECORD
#undef TELL
#undef ASK
#undef TEXT
#undef BYTES
#undef NUMBER
#undef FLAG
#undef LIST

typedef enum message_kind {
#define RECORD(name, fields)
#define TELL(name, subject, fields)        MSG_##name,
#define ASK(name, subject, request, reply) MSG_##name,
#include "api/messages.def"
    MESSAGE_KINDS
#undef RECORD
#undef TELL
#undef ASK
} message_kind;

typedef enum { FIELD_TEXT, FIELD_BYTES, FIELD_NUMBER, FIELD_FLAG, FIELD_LIST } field_kind;
typedef struct message_shape message_shape;
typedef struct message_field {
    field_kind kind;
    const char *name;
    const message_shape *record; // of a list
} message_field;
// Every field takes 16 bytes (TEXT, BYTES, LIST) or 8 (NUMBER, FLAG) of its struct, in order: see
// field_bytes().
struct message_shape {
    const char *name;
    const message_field *fields;
    size_t count;
    size_t bytes; // sizeof the struct
};
typedef struct message_info {
    const char *name;             // auth_login
    const char *subject;          // auth.login
    const message_shape *request; // or the told fields
    const message_shape *reply;   // NULL for a TELL
} message_info;
size_t field_bytes(field_kind kind);
extern const message_info message_infos[MESSAGE_KINDS];
// The shape of each record by itself (shape_job, …), for keeping records as JSON with
// message_json_write.
#define RECORD(name, fields) extern const message_shape shape_##name;
#define TELL(name, subject, fields)
#define ASK(name, subject, request, reply)
#include "api/messages.def"
#undef RECORD
#undef TELL
#undef ASK
const message_info *message_find(str subject); // NULL when unknown

enum { MESSAGE_BYTES_MAX = 1024 * 1024, MESSAGE_VERSION = 1 };
// What stands before the fields. `account` is who asks on whose behalf, empty for the platform
// itself.
typedef struct message_header {
    uint64_t kind;
    str request_id;
    str project;
    str account;
    uint64_t deadline_ms; // left when it was sent
} message_header;
// Little-endian: numbers u64, lengths u32. Unknown trailing fields are skipped, missing ones are
// zero.
void message_write(buf *out,
                   const message_header *header,
                   const message_shape *shape,
                   const void *fields);
// ERR_SYNTAX for malformed bytes, ERR_LIMIT past MESSAGE_BYTES_MAX or 65,536 list entries. `fields`
// is zeroed first; texts point into `bytes` (which must outlive them), lists into the arena.
err message_read(
    arena *a, str bytes, message_header *header, const message_shape *shape, void *fields) MUST_USE;
// ERR_UNSUPPORTED: a subject this version does not know.
err message_read_header(str bytes, message_header *header) MUST_USE;
// An error reply: code, sys and text travel; `what` is then a copy in the arena.
void message_write_error(buf *out, err e);
// If `bytes` is an error reply, *e is that error; otherwise *e is OK and message_read may follow.
err message_read_error(arena *a, str bytes, err *e) MUST_USE;
// JSON: field names as in messages.def, BYTES as base64 (or, where valid UTF-8, as {"text":…}), for
// API, tests and the console.
void message_json_write(json_writer *w,
                        const char *name,
                        const message_shape *shape,
                        const void *fields);
err message_json_read(arena *a,
                      const json *value,
                      const message_shape *shape,
                      void *fields) MUST_USE;
