// New files of configuration, as `tau new` writes them, and generated host names.
#pragma once
#include "base/base.h"
#include "model/model.h"

// Everything empty has the article's value: type https, method GET, path `/NAME`, source `.`,
// timeout 10s, memory 10MB, call = name with `-` as `_`.
typedef struct new_function {
    str name;
    str id; // may be empty: a draft
    str description;
    str type;
    str method;
    const str *paths;
    size_t paths_count;
    const str *domains; // names
    size_t domains_count;
    str source;
    str timeout;
    str memory;
    str call;
    str channel; // of type pubsub
    str service; // of type p2p
    str command;
} new_function;

// Each gives the text of one YAML file, in `a`. ERR_MEMORY; ERR_SYNTAX when a name is none.
err model_new_function(arena *a, const new_function *f, str *out) MUST_USE;
// Where it belongs: "functions/ping_pong.yaml", "applications/shop/functions/ping_pong.yaml".
err model_file_of(arena *a, resource_kind kind, str application, str name, str *out) MUST_USE;
err model_new_domain(arena *a, str id, str fqdn, str *out) MUST_USE;
err model_new_project(arena *a, str id, str name, str description, str email, str *out) MUST_USE;
err model_new_application(arena *a, str id, str description, str *out) MUST_USE;

// Where `tau edit` writes a field (its name in the compiled document) of a resource's file, for
// tree_set: the spelling that the file uses, else ours. Aborts on a name that the schema lacks.
str model_path_of(const resource *r, const char *name);

// "gftxhd6h0.blackhole.localtau": the id's last eight in lower case, the counter, the universe.
err model_generated_fqdn(
    arena *a, str project_id, uint64_t counter, str universe, str *out) MUST_USE;
// The next counter: one more than the highest among the project's generated host names, whatever
// their universe; 0 when there is none.
uint64_t model_next_counter(const model *m, str project_id);
