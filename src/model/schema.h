// The schema: which keys each kind of resource has, in both spellings, and what their values are.
#pragma once
#include "base/base.h"
#include "base/diagnosis.h"
#include "model/yaml.h"

// The order in which documents and lists show them.
typedef enum {
    KIND_PROJECT,
    KIND_APPLICATION,
    KIND_FUNCTION,
    KIND_DOMAIN,
    KIND_DATABASE,
    KIND_STORAGE,
    KIND_MESSAGING,
    KIND_SERVICE,
    KIND_LIBRARY,
    KIND_WEBSITE,
    KIND_SMARTOP,
    KIND_COUNT,
} resource_kind;

typedef enum {
    VALUE_TEXT,
    VALUE_ID,   // base58; empty while a draft, except the project's
    VALUE_NAME, // see name_is_valid
    VALUE_EMAIL,
    VALUE_BYTES,    // number: bytes
    VALUE_DURATION, // number: milliseconds
    VALUE_FLAG,     // number: 0 or 1
    VALUE_WHOLE,    // number
    VALUE_FQDN,     // text: lower-case
    VALUE_CHOICE,   // text: one of `choices`
    VALUE_METHOD,   // text: upper-case
    VALUE_PATH,     // starts with `/`
    VALUE_SOURCE,   // `.` or `libraries/NAME`
    VALUE_DOMAIN,   // name of a domain, found by model.c
    VALUE_CALL,     // name of a WebAssembly export
} value_type;

// Paths are written as tree_set takes them: "trigger/method"; `*` stands for any key.
typedef struct schema_rule {
    const char *path; // the spelling that we write
    const char *also; // the other one, or NULL
    const char *name; // in the compiled document; NULL: checked and not kept
    value_type type;
    bool list;
    bool required;
    const char *otherwise;      // what is read when the key is missing, or NULL
    const char *const *choices; // ends with NULL
} schema_rule;

typedef struct schema {
    const char *name;   // "function"
    const char *folder; // "functions"; NULL for project and application
    const schema_rule *fields;
    size_t count;
} schema;

// What one field holds. Lives in the arena that schema_check was given.
typedef struct field_value {
    const tree *at; // NULL when the file has no such key
    str text;
    uint64_t number;
    const str *items; // of a list
    size_t count;
} field_value;

const schema *schema_of(resource_kind kind);
// The kind whose folder or name this is, or KIND_COUNT.
resource_kind schema_of_folder(str folder);
resource_kind schema_of_name(str name);
// Index of a field by its name in the document; aborts on a name that the table lacks.
size_t schema_field(resource_kind kind, const char *name);
// Checks one file against its table and reads its values, one for each field; what is wrong is
// added to `found`. Fails only with ERR_MEMORY.
err schema_check(arena *a,
                 resource_kind kind,
                 str file,
                 const tree *root,
                 diagnoses *found,
                 field_value **out) MUST_USE;
// "trigger/method" as people write it: trigger.method.
str schema_path_shown(arena *a, str path);
