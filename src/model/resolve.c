// What needs more than one key: keys that belong together, references between resources.
#include "base/str.h"
#include "model/model_inner.h"

#include <string.h>

enum { CHOICES_MAX = 256 };

typedef struct resolver {
    arena *memory;
    model *model;
    diagnoses *found;
} resolver;

const tree *value_node(const field_value *v, size_t at)
{
    const tree *t = v->at != NULL ? v->at->first : NULL;
    while (t != NULL && at-- > 0)
        t = t->next;
    return t != NULL ? t : v->at;
}

static void say(resolver *s, const resource *r, const tree *at, const char *code, str text)
{
    tree_note(s->found, r->file, at, code, text);
}

// The node of a key on the first level, for what is missing below it.
static const tree *key_node(const resource *r, const char *name)
{
    const tree *t = tree_field(r->root, str_of(name));
    return t != NULL ? t->key : NULL;
}

// Whether a key holds something; one of a wrong shape does, since that is reported already.
static bool given(const resource *r, const char *name)
{
    const field_value *v = resource_value(r, name);
    if (v->at == NULL)
        return false;
    if (schema_of(r->kind)->fields[schema_field(r->kind, name)].list)
        return v->at->kind != TREE_LIST || v->count > 0;
    return v->at->kind != TREE_SCALAR || v->text.len > 0;
}

// Says that a key is missing which another one makes necessary.
static void
need(resolver *s, const resource *r, const char *name, const char *under, const char *why)
{
    if (given(r, name))
        return;
    const field_value *v = resource_value(r, name);
    const char *path = schema_of(r->kind)->fields[schema_field(r->kind, name)].path;
    str shown = schema_path_shown(s->memory, str_of(path));
    say(s, r, v->at != NULL ? v->at->key : key_node(r, under), "CFG007",
        str_format(s->memory, "the key `%.*s` is %s: %s", STR_ARG(shown),
                   v->at != NULL ? "empty" : "missing", why));
}

static err find_named(resolver *s,
                      const resource *r,
                      resource_kind kind,
                      str name,
                      const tree *at,
                      const resource **out)
{
    const char *choices[CHOICES_MAX];
    size_t count = 0;
    *out = model_find(s->model, kind, r->application, name);
    if (*out != NULL)
        return ok();
    const resources *of = &s->model->of[kind];
    for (size_t i = 0; i < of->count && count < CHOICES_MAX; i++) {
        bool seen =
            of->at[i]->application.len == 0 || str_is(of->at[i]->application, r->application);
        const char *one = seen ? str_c(s->memory, of->at[i]->name) : NULL;
        if (seen && one == NULL)
            return fail(ERR_MEMORY, 0, "resolve configuration");
        if (seen)
            choices[count++] = one;
    }
    const char *closest = str_closest(name, choices, count);
    str shown = str_printable(s->memory, name);
    const char *what = schema_of(kind)->name;
    str text = str_format(s->memory, "there is no %s `%.*s`", what, STR_ARG(shown));
    diagnosis *d = tree_note(s->found, r->file, at, "CFG011", text);
    if (closest != NULL)
        d->help = str_format(s->memory, "did you mean `%s`?", closest);
    else if (count == 0)
        d->help = str_format(s->memory, "make one with `tau new %s`", what);
    return ok();
}

static err find_domains(resolver *s, const resource *r, const resource *const **out, size_t *count)
{
    const field_value *v = resource_value(r, "domains");
    const resource **all = (const resource **)resources_take(s->memory, v->count + 1);
    size_t met = 0;
    if (all == NULL)
        return fail(ERR_MEMORY, 0, "resolve configuration");
    for (size_t i = 0; i < v->count; i++) {
        if (v->items[i].len == 0) // not a text, which is reported
            continue;
        TRY(find_named(s, r, KIND_DOMAIN, v->items[i], value_node(v, i), &all[met]));
        met += all[met] != NULL;
    }
    *out = all;
    *count = met;
    return ok();
}

static err find_library(resolver *s, const resource *r, const resource **out)
{
    const field_value *v = resource_value(r, "source");
    str start = STR("libraries/");
    if (!str_starts(v->text, start))
        return ok();
    return find_named(s, r, KIND_LIBRARY, str_from(v->text, start.len), v->at, out);
}

static err find_smartops(resolver *s, const resource *r)
{
    str start = STR("smartops:");
    const field_value *v = resource_value(r, "tags");
    for (size_t i = 0; i < v->count; i++) {
        const resource *unused;
        if (str_starts(v->items[i], start))
            TRY(find_named(s, r, KIND_SMARTOP, str_from(v->items[i], start.len), value_node(v, i),
                           &unused));
    }
    return ok();
}

static err http_methods(resolver *s, const resource *r, model_function *f)
{
    const field_value *one = resource_value(r, "method");
    const field_value *many = resource_value(r, "methods");
    if (given(r, "method") && given(r, "methods"))
        say(s, r, many->at->key, "CFG017",
            STR("`trigger.method` and `trigger.methods` are both set"));
    else if (!given(r, "methods"))
        need(s, r, "method", "trigger", "a function of type http answers to one");
    f->methods = many->items;
    f->methods_count = many->count;
    if (many->count == 0 && one->text.len > 0) {
        f->methods = &one->text;
        f->methods_count = 1;
    }
    return ok();
}

static err resolve_function(resolver *s, const resource *r, model_function *f)
{
    str type = resource_value(r, "type")->text;
    f->of = r;
    if (r->root == NULL)
        return ok();
    f->secure = str_is(type, STR("https"));
    f->type = f->secure ? STR("http") : type;
    f->call = resource_value(r, "call")->text;
    f->timeout_ms = resource_value(r, "timeout_ms")->number;
    f->memory_bytes = resource_value(r, "memory")->number;
    f->concurrency = resource_value(r, "concurrency")->number;
    f->response_bytes = resource_value(r, "response")->number;
    TRY(find_library(s, r, &f->library));
    if (str_is(f->type, STR("pubsub")))
        need(s, r, "channel", "trigger", "a function of type pubsub listens to one");
    if (str_is(f->type, STR("p2p"))) {
        need(s, r, "service", "trigger", "a function of type p2p belongs to one");
        need(s, r, "command", "trigger", "a function of type p2p answers to one");
    }
    if (!str_is(f->type, STR("http")))
        return ok();
    f->paths = resource_value(r, "paths")->items;
    f->paths_count = resource_value(r, "paths")->count;
    TRY(http_methods(s, r, f));
    if (f->paths_count == 0)
        need(s, r, "paths", "trigger", "a function of type http serves at least one");
    if (resource_value(r, "domains")->count == 0)
        need(s, r, "domains", "domains", "a function of type http needs at least one");
    return find_domains(s, r, &f->domains, &f->domains_count);
}

static void check_domain(resolver *s, const resource *r)
{
    if (!str_is(resource_value(r, "certificate_type")->text, STR("inline")))
        return;
    need(s, r, "certificate_cert", "certificate", "the type is inline");
    need(s, r, "certificate_key", "certificate", "the type is inline");
}

static void check_database(resolver *s, const resource *r)
{
    const field_value *min = resource_value(r, "replicas_min");
    const field_value *max = resource_value(r, "replicas_max");
    if (resource_value(r, "regex")->number == 0)
        need(s, r, "match", "match", "`useRegex` is false");
    if (min->number > 0 && max->number > 0 && min->number >= max->number)
        say(s, r, min->at != NULL ? min->at : max->at, "CFG017",
            STR("`replicas.min` must be less than `replicas.max`"));
}

static void check_storage(resolver *s, const resource *r)
{
    const tree *object = tree_field(r->root, STR("object"));
    const tree *streaming = tree_field(r->root, STR("streaming"));
    need(s, r, "match", "match", "a storage has a name that code asks for");
    if (object != NULL && streaming != NULL)
        say(s, r, streaming->key, "CFG017", STR("`object` and `streaming` are both set"));
    else if (object != NULL)
        need(s, r, "object_size", "object", "a storage has a limit");
    else if (streaming != NULL)
        need(s, r, "streaming_size", "streaming", "a storage has a limit");
    else
        say(s, r, NULL, "CFG007", STR("one of the keys `object` and `streaming` is missing"));
}

static void check_project(resolver *s, const resource *r)
{
    const tree *clouds = tree_field(r->root, STR("clouds"));
    for (const tree *t = clouds != NULL && clouds->kind == TREE_MAP ? clouds->first : NULL;
         t != NULL; t = t->next) {
        bool account = tree_field(t, STR("account")) != NULL;
        if (t->kind == TREE_MAP && account != (tree_field(t, STR("plan")) != NULL))
            say(s, r, t->key, "CFG017",
                account ? STR("`plan` is missing beside `account`")
                        : STR("`account` is missing beside `plan`"));
    }
}

static err resolve_one(resolver *s, const resource *r)
{
    const resource *library;
    const resource *const *domains;
    size_t count;
    if (r->root == NULL || r->root->kind != TREE_MAP)
        return ok();
    TRY(find_smartops(s, r));
    switch (r->kind) {
    case KIND_PROJECT:
        check_project(s, r);
        return ok();
    case KIND_DOMAIN:
        check_domain(s, r);
        return ok();
    case KIND_DATABASE:
        check_database(s, r);
        return ok();
    case KIND_STORAGE:
        check_storage(s, r);
        return ok();
    case KIND_WEBSITE:
        return find_domains(s, r, &domains, &count);
    case KIND_SMARTOP:
        return find_library(s, r, &library);
    default:
        return ok();
    }
}

err model_resolve(arena *a, model *m, resource *const *all, size_t count, diagnoses *found)
{
    resolver s = {a, m, found};
    const resources *of = &m->of[KIND_FUNCTION];
    model_function *functions = arena_take(a, (of->count + 1) * sizeof(*functions));
    if (functions == NULL)
        return fail(ERR_MEMORY, 0, "resolve configuration");
    for (size_t i = 0; i < of->count; i++)
        TRY(resolve_function(&s, of->at[i], &functions[i]));
    m->functions = functions;
    m->functions_count = of->count;
    for (size_t i = 0; i < count; i++)
        TRY(resolve_one(&s, all[i]));
    return ok();
}
