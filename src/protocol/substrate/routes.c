// Turns the documents of all live revisions into the table that workers look requests up in.
#include "base/str.h"
#include "protocol/substrate/substrate_inner.h"

#include <stdlib.h>
#include <string.h>

static size_t list_count(const json *object, const char *name)
{
    const json *list = json_field(object, name);
    return list != NULL && list->kind == JSON_LIST ? list->count : 0;
}

static void routes_put(project *p, const json *f, size_t function)
{
    const json *domains = json_field(f, "domains"), *methods = json_field(f, "methods"),
               *paths = json_field(f, "paths");
    if (domains == NULL || methods == NULL || paths == NULL)
        return;
    for (const json *d = domains->first; d != NULL; d = d->next)
        for (const json *m = methods->first; m != NULL; m = m->next)
            for (const json *t = paths->first; t != NULL; t = t->next)
                if (d->text.len > 0 && m->text.len > 0 && t->text.len > 0)
                    p->routes[p->routes_count++] = (route){d->text, m->text, t->text, function};
}

static void function_put(project *p, const json *document, const json *f)
{
    const json *made = NULL;
    str id = json_text(f, "id");
    const json *artefacts = json_field(document, "artefacts");
    for (const json *a = artefacts != NULL ? artefacts->first : NULL; a != NULL && made == NULL;
         a = a->next)
        if (str_is(a->name, id))
            made = a;
    str module = json_text(made, "module");
    if (id.len == 0 || module.len == 0)
        return; // not built: it is not served
    route_function *to = &p->functions[p->functions_count];
    *to = (route_function){
        .id = id,
        .name = json_text(f, "name"),
        .application = json_text(f, "application"),
        .project = str_of(p->id),
        .branch = json_text(document, "branch"),
        .commit = json_text(document, "code_commit"),
        .call = json_text(f, "call"),
        .module = module,
        .timeout_ms = json_whole(f, "timeout_ms", 0),
        .memory_bytes = json_whole(f, "memory", 0),
        .response_bytes = json_whole(f, "response", 0),
        .concurrency = json_whole(f, "concurrency", 0),
    };
    routes_put(p, f, p->functions_count++);
}

err routes_read(project *p, arena *a, str document)
{
    const json *all;
    TRY(json_read(a, document, &all, NULL));
    const json *functions = json_field(json_field(all, "configuration"), "functions");
    size_t count = 0, routes = 0;
    for (const json *f = functions != NULL ? functions->first : NULL; f != NULL; f = f->next) {
        count++;
        routes += list_count(f, "domains") * list_count(f, "methods") * list_count(f, "paths");
    }
    p->functions = arena_take(a, (count + 1) * sizeof(*p->functions));
    p->routes = arena_take(a, (routes + 1) * sizeof(*p->routes));
    p->functions_count = p->routes_count = 0;
    if (p->functions == NULL || p->routes == NULL)
        return fail(ERR_MEMORY, 0, "read the project's document");
    for (const json *f = functions != NULL ? functions->first : NULL; f != NULL; f = f->next)
        function_put(p, all, f);
    return ok();
}

// The names of what ran outlive the deployments; counts find their project by them.
static void count_name(substrate *s, const route_function *f)
{
    function_count *c = map_get(s->counts, f->id);
    if (c == NULL) {
        c = calloc(1, sizeof(*c));
        if (c == NULL || map_put(s->counts, f->id, c, NULL).code != OK) {
            free(c);
            return;
        }
    }
    free(c->project);
    free(c->name);
    c->project = strndup(f->project.at, f->project.len);
    c->name = strndup(f->name.at, f->name.len);
}

static err routes_join(substrate *s, route_function *functions, route *routes, route_table *table)
{
    size_t at = 0;
    str key;
    void *value;
    while (map_next(s->projects, &at, &key, &value)) {
        project *p = value;
        if (p->memory == NULL)
            continue;
        size_t base = table->functions_count;
        for (size_t i = 0; i < p->functions_count; i++) {
            functions[table->functions_count++] = p->functions[i];
            count_name(s, &p->functions[i]);
            TRY(map_put(s->modules, p->functions[i].module, p, NULL));
        }
        p->published = p->revision;
        for (size_t i = 0; i < p->routes_count; i++) {
            routes[table->routes_count] = p->routes[i];
            routes[table->routes_count++].function += base;
        }
    }
    return ok();
}

void routes_publish(substrate *s)
{
    size_t functions = 0, routes = 0, at = 0;
    str key;
    void *value;
    while (map_next(s->projects, &at, &key, &value)) {
        functions += ((project *)value)->functions_count;
        routes += ((project *)value)->routes_count;
    }
    map_close(s->modules);
    s->modules = NULL;
    err e = map_open(&s->modules, FUNCTIONS_MAX);
    route_function *all = calloc(functions + 1, sizeof(*all));
    route *list = calloc(routes + 1, sizeof(*list));
    route_table table = {.functions = all, .routes = list};
    if (e.code == OK && (all == NULL || list == NULL))
        e = fail(ERR_MEMORY, 0, "publish routes");
    if (e.code == OK)
        e = routes_join(s, all, list, &table);
    if (e.code != OK)
        log_fail(s->context.log, "routes not published", e, NULL);
    else if (s->workers != NULL)
        workers_publish_routes(s->workers, &table);
    free(all);
    free(list);
}
