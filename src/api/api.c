// The table of all messages: shapes and subjects, made from messages.def.
#include "api/api.h"

#include "base/str.h"

// Every field is 8-aligned and takes its whole width, so a sum that equals sizeof proves every
// offset.
#define RECORD(name, fields) \
    _Static_assert(sizeof(name##_record) == 0 fields, "layout of record " #name);
#define TELL(name, subject, fields) _Static_assert(sizeof(name) == 0 fields, "layout of " #name);
#define ASK(name, subject, request, reply)                                                  \
    _Static_assert(sizeof(name##_request) == 0 request, "layout of the request of " #name); \
    _Static_assert(sizeof(name##_reply) == 0 reply, "layout of the reply of " #name);
#define TEXT(field)         +16
#define BYTES(field)        +16
#define NUMBER(field)       +8
#define FLAG(field)         +8
#define LIST(record, field) +16
#include "api/messages.def"
#undef RECORD
#undef TELL
#undef ASK
#undef TEXT
#undef BYTES
#undef NUMBER
#undef FLAG
#undef LIST

#define TEXT(field)         {FIELD_TEXT, #field, NULL},
#define BYTES(field)        {FIELD_BYTES, #field, NULL},
#define NUMBER(field)       {FIELD_NUMBER, #field, NULL},
#define FLAG(field)         {FIELD_FLAG, #field, NULL},
#define LIST(record, field) {FIELD_LIST, #field, &shape_##record},
#define RECORD(name, fields)                                                                      \
    static const message_field name##_record_fields[] = {fields};                                 \
    const message_shape shape_##name = {#name, name##_record_fields, COUNT(name##_record_fields), \
                                        sizeof(name##_record)};
#define TELL(name, subject, fields)                                                        \
    static const message_field name##_fields[] = {fields};                                 \
    static const message_shape name##_shape = {#name, name##_fields, COUNT(name##_fields), \
                                               sizeof(name)};
#define ASK(name, subject, request, reply)                                                   \
    static const message_field name##_request_fields[] = {request};                          \
    static const message_shape name##_request_shape = {                                      \
        #name, name##_request_fields, COUNT(name##_request_fields), sizeof(name##_request)}; \
    static const message_field name##_reply_fields[] = {reply};                              \
    static const message_shape name##_reply_shape = {                                        \
        #name, name##_reply_fields, COUNT(name##_reply_fields), sizeof(name##_reply)};
#include "api/messages.def"
#undef RECORD
#undef TELL
#undef ASK
#undef TEXT
#undef BYTES
#undef NUMBER
#undef FLAG
#undef LIST

const message_info message_infos[MESSAGE_KINDS] = {
#define RECORD(name, fields)
#define TELL(name, subject, fields) {#name, subject, &name##_shape, NULL},
#define ASK(name, subject, request, reply) \
    {#name, subject, &name##_request_shape, &name##_reply_shape},
#include "api/messages.def"
#undef RECORD
#undef TELL
#undef ASK
};

// With their lengths: every message that is read looks its subject up here.
static const str subjects[MESSAGE_KINDS] = {
#define RECORD(name, fields)
#define TELL(name, subject, fields)        {subject, sizeof(subject) - 1},
#define ASK(name, subject, request, reply) {subject, sizeof(subject) - 1},
#include "api/messages.def"
#undef RECORD
#undef TELL
#undef ASK
};

const message_info *message_find(str subject)
{
    for (size_t i = 0; i < MESSAGE_KINDS; i++)
        if (str_is(subjects[i], subject))
            return &message_infos[i];
    return NULL;
}

size_t field_bytes(field_kind kind)
{
    return kind == FIELD_NUMBER || kind == FIELD_FLAG ? 8 : 16;
}
