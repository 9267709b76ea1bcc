// A project's configuration: read from a folder or a commit, checked, with its references resolved.
//
// Codes of diagnoses (stable): CFG001 not YAML, 002 a limit, 003 YAML beyond the plain part,
// 004 key twice, 005 unknown key, 006 wrong shape, 007 missing, 008 wrong value, 009 none of the
// choices, 010 both spellings, 011 no such resource, 012 name twice, 013 route twice, 014 not a
// name, 015 not a place for a file, 016 id twice, 017 keys that do not fit together.
#pragma once
#include "base/base.h"
#include "base/diagnosis.h"
#include "model/schema.h"

enum {
    MODEL_FILES_MAX = 10 * 1000, // resources of one project, all applications together
    MODEL_APPLICATIONS_MAX = 1000,
    MODEL_ENTRIES_MAX = 20 * 1000,  // of one folder, whatever they are
    MODEL_ROUTES_MAX = 100 * 1000,  // host + method + path
    MODEL_DIAGNOSES_MAX = 100,      // a good count_max for diagnoses_init
    MODEL_MEMORY_BYTES = 256 << 20, // a good limit for the arena; a common project needs 1 MiB
};

// One file of the configuration. Everything lives in the arena of model_load.
typedef struct resource resource;
struct resource {
    resource_kind kind;
    str id; // derived from project, place and name while the file says `id: ''`
    str name;
    str application; // empty in the project itself
    str description;
    const str *tags;
    size_t tags_count;
    str file;                  // "applications/shop/functions/pay.yaml"
    str text;                  // its bytes, for edits
    const tree *root;          // NULL when it is not readable as YAML (and a diagnosis says so)
    const field_value *values; // one for each field of schema_of(kind)
};
typedef struct resources {
    const resource *const *at; // by application (the project's own first), then by name
    size_t count;
} resources;

typedef struct model_function {
    const resource *of;
    str type; // "http", "pubsub" or "p2p"; what was https is http and secure
    bool secure;
    const str *methods; // upper-case
    size_t methods_count;
    const str *paths;
    size_t paths_count;
    const resource *const *domains;
    size_t domains_count;
    const resource *library; // NULL: inline code
    str call;
    uint64_t timeout_ms;
    uint64_t memory_bytes;
    uint64_t concurrency;
    uint64_t response_bytes;
} model_function;

typedef struct model {
    const resource *project; // NULL when there is no config.yaml
    str email;
    const model_function *functions; // in the order of of[KIND_FUNCTION]
    size_t functions_count;
    resources of[KIND_COUNT]; // KIND_PROJECT's is empty
} model;

// Where configuration is read from. Paths have `/` between and none in front; "" is the root.
typedef enum { ENTRY_FILE, ENTRY_FOLDER, ENTRY_OTHER } entry_kind;
typedef struct model_entry {
    str name;
    entry_kind kind;
} model_entry;
typedef struct model_source {
    void *state;
    // The entries of a folder in any order, in `a`. ERR_ABSENT when there is no such folder,
    // ERR_LIMIT past `entries_max`.
    err (*list)(void *state,
                arena *a,
                str folder,
                size_t entries_max,
                model_entry **entries,
                size_t *count);
    // A whole file. ERR_LIMIT past `bytes_max`.
    err (*read)(void *state, arena *a, str path, size_t bytes_max, str *out);
} model_source;

// Reads and checks the configuration below `config_folder`; symbolic links are not followed.
// What the user wrote wrongly lands in `found`, and the call is OK all the same: `*out` then holds
// what could be read, good for listing and not for model_document. Its strings live in `a`, those
// of the diagnoses in `a` as well. Fails with ERR_ABSENT (no such folder), ERR_LIMIT (too many
// files), ERR_MEMORY, ERR_SYSTEM.
err model_load(arena *a, const char *config_folder, diagnoses *found, model **out) MUST_USE;
err model_load_from(arena *a, const model_source *from, diagnoses *found, model **out) MUST_USE;

// The resource that `name` means inside `application`: there first, then in the project.
// "/NAME" and "../NAME" mean the project's. NULL when there is none.
const resource *model_find(const model *m, resource_kind kind, str application, str name);
// The function that this resource is, or NULL.
const model_function *model_function_of(const model *m, const resource *r);
// A value of a resource by its name in the compiled document, e.g. "fqdn".
const field_value *resource_value(const resource *r, const char *name);
