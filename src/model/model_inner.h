// What loading hands to cross-checking; for this folder alone.
#pragma once
#include "model/model.h"

// Opens a folder as a source. `dir` is borrowed and must stay open.
model_source folder_source(const int *dir);

// Arrays of resources: one place that takes and sorts them.
resource **resources_take(arena *a, size_t count) MUST_USE; // NULL past the limit
void resources_sort(resource **all, size_t count, int (*by)(const void *, const void *));

// Checks what needs more than one key or file, and makes the functions' views. `all` is sorted by
// kind, application, name. Fails with ERR_MEMORY or ERR_LIMIT.
err model_resolve(
    arena *a, model *m, resource *const *all, size_t count, diagnoses *found) MUST_USE;
// Names and ids that stand twice.
err model_unique(arena *a, resource *const *all, size_t count, diagnoses *found) MUST_USE;
// Hosts, methods and paths that two functions or two websites would serve.
err model_routes(arena *a, const model *m, diagnoses *found) MUST_USE;
// The node of entry `at` of a list value, or the value's own.
const tree *value_node(const field_value *v, size_t at);
