// Fuzzes configuration: reading YAML, checking it against every schema, editing it in place.
#include "model/yaml.h"

#include "base/buf.h"
#include "base/str.h"
#include "model/schema.h"

#include <stdlib.h>

enum { MEMORY_BYTES = 64 << 20, INPUT_BYTES_MAX = 64 * 1024, PATH_STEPS_MAX = 8 };

static void must(bool holds)
{
    if (!holds)
        abort();
}

// Every node must lie inside the text, inside its parent, and behind its elder sibling.
static void spans_check(str text, const tree *t)
{
    size_t behind = t->from;
    must(t->from <= t->to && t->to <= text.len && t->width >= 1);
    for (const tree *c = t->first; c != NULL; c = c->next) {
        must(c->from >= behind && c->to <= t->to);
        behind = c->to;
        spans_check(text, c);
    }
}

// The path of the node that the input's own bytes choose; empty when a key has a `/` in it.
static str node_choose(arena *a, str text, const tree *root, const tree **out)
{
    str path = {0};
    const tree *t = root;
    for (size_t i = 0; i < PATH_STEPS_MAX && t->count > 0; i++) {
        size_t at = (unsigned char)text.at[(i * 7 + text.len / 2) % text.len] % t->count;
        const tree *next = t->first;
        for (size_t n = 0; n < at; n++)
            next = next->next;
        str step = t->kind == TREE_MAP ? next->key->text : str_format(a, "%zu", at);
        if (step.len == 0 || str_find_byte(step, '/') < step.len)
            break;
        path = path.len == 0 ? step : str_format(a, "%.*s/%.*s", STR_ARG(path), STR_ARG(step));
        t = next;
    }
    *out = t;
    return path;
}

static void edits_check(arena *a, str text, const tree *root)
{
    const tree *t;
    str path = node_choose(a, text, root, &t);
    str out = {0};
    str item = str_first(str_from(text, text.len / 3), 16);
    tree_value v = {.kind = TREE_TEXT, .text = item};
    err e = tree_set(a, text, path, v, &out);
    if (e.code == OK && path.len > 0) {
        must(out.len >= t->from && out.len >= text.len - t->to);
        must(str_is(str_first(text, t->from), str_first(out, t->from)));
        must(str_is(str_from(text, t->to), str_from(out, out.len - (text.len - t->to))));
    }
    (void)!tree_append(a, text, path, item, &out).code;
    (void)!tree_remove(a, text, path, &out).code;
    v = (tree_value){.kind = TREE_TEXTS, .items = &item, .count = text.len % 2};
    (void)!tree_set(a, text, path, v, &out).code;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    OWNED(arena_drop) arena *a = NULL;
    diagnoses found;
    tree *root = NULL;
    str text = {(const char *)bytes, size};
    if (size == 0 || size > INPUT_BYTES_MAX || arena_open(&a, MEMORY_BYTES).code != OK)
        return 0;
    diagnoses_init(&found, a, 100);
    err e = tree_read(a, STR("a.yaml"), text, &found, &root);
    must(e.code == ERR_MEMORY || (e.code == OK) == (found.count == 0));
    if (e.code != OK)
        return 0;
    spans_check(text, root);
    for (resource_kind k = 0; k < KIND_COUNT; k++) {
        field_value *values = NULL;
        if (schema_check(a, k, STR("a.yaml"), root, &found, &values).code != OK)
            return 0;
    }
    edits_check(a, text, root);
    return 0;
}
