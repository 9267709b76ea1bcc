// What may stand only once: names in a scope, ids in a project, routes of a host.
#include "base/str.h"
#include "model/model_inner.h"

#include <stdlib.h>

resource **resources_take(arena *a, size_t count)
{
    return arena_take(a, count * sizeof(resource *)); // NOLINT(bugprone-sizeof-expression)
}

void resources_sort(resource **all, size_t count, int (*by)(const void *, const void *))
{
    if (count > 1)
        qsort(all, count, sizeof(*all), by); // NOLINT(bugprone-sizeof-expression)
}

static int order_nocase(str x, str y)
{
    for (size_t i = 0; i < x.len && i < y.len; i++) {
        int a = x.at[i] >= 'A' && x.at[i] <= 'Z' ? x.at[i] + 32 : x.at[i];
        int b = y.at[i] >= 'A' && y.at[i] <= 'Z' ? y.at[i] + 32 : y.at[i];
        if (a != b)
            return a < b ? -1 : 1;
    }
    return x.len == y.len ? 0 : x.len < y.len ? -1 : 1;
}

static int by_name(const void *x, const void *y)
{
    const resource *a = *(const resource *const *)x;
    const resource *b = *(const resource *const *)y;
    if (a->kind != b->kind)
        return a->kind < b->kind ? -1 : 1;
    int order = order_nocase(a->application, b->application);
    if (order == 0)
        order = order_nocase(a->name, b->name);
    return order != 0 ? order : str_order(a->file, b->file);
}

static int by_id(const void *x, const void *y)
{
    const resource *a = *(const resource *const *)x;
    const resource *b = *(const resource *const *)y;
    int order = str_order(a->id, b->id);
    return order != 0 ? order : str_order(a->file, b->file);
}

static void name_twice(arena *a, const resource *first, const resource *r, diagnoses *found)
{
    str text =
        str_format(a, "the name `%.*s` stands twice (case does not count)", STR_ARG(r->name));
    tree_note(found, r->file, NULL, "CFG012", text)->help =
        str_format(a, "the other one is %.*s", STR_ARG(first->file));
}

static void id_twice(arena *a, const resource *first, const resource *r, diagnoses *found)
{
    const field_value *id = resource_value(r, "id");
    str text = str_format(a, "the id `%.*s` is that of %.*s", STR_ARG(r->id), STR_ARG(first->file));
    tree_note(found, r->file, id->at, "CFG016", text)->help =
        STR("write `id: ''` in the copy to get a new one");
}

err model_unique(arena *a, resource *const *all, size_t count, diagnoses *found)
{
    resource **sorted = resources_take(a, count + 1);
    if (sorted == NULL)
        return fail(ERR_MEMORY, 0, "compare names");
    for (size_t i = 0; i < count; i++)
        sorted[i] = all[i];
    resources_sort(sorted, count, by_name);
    for (size_t i = 1; i < count; i++) {
        const resource *x = sorted[i - 1];
        const resource *y = sorted[i];
        if (x->kind == y->kind && str_is_nocase(x->name, y->name) &&
            str_is_nocase(x->application, y->application))
            name_twice(a, x, y, found);
    }
    resources_sort(sorted, count, by_id);
    for (size_t i = 1; i < count; i++)
        if (sorted[i]->id.len > 0 && str_is(sorted[i - 1]->id, sorted[i]->id))
            id_twice(a, sorted[i - 1], sorted[i], found);
    return ok();
}

typedef struct route {
    str host;
    str path;
    str method; // empty: a website, which is asked after the functions
    const resource *of;
    const tree *at;
} route;

typedef struct routes {
    route *at;
    size_t count;
    size_t room;
} routes;

static int by_route(const void *x, const void *y)
{
    const route *a = x;
    const route *b = y;
    int order = str_order(a->host, b->host);
    if (order == 0)
        order = str_order(a->path, b->path);
    if (order == 0)
        order = str_order(a->method, b->method);
    return order != 0 ? order : str_order(a->of->file, b->of->file);
}

static void add_paths(routes *all, const resource *of, const resource *domain, str method)
{
    const field_value *paths = resource_value(of, "paths");
    const field_value *host = resource_value(domain, "fqdn");
    const tree *node = value_node(paths, 0);
    for (size_t i = 0; i < paths->count && all->count < all->room; i++) {
        if (host->text.len > 0 && paths->items[i].len > 0)
            all->at[all->count++] = (route){host->text, paths->items[i], method, of, node};
        node = node != NULL ? node->next : NULL;
    }
}

static size_t routes_count(const model *m)
{
    size_t count = 0;
    for (size_t i = 0; i < m->functions_count && count <= MODEL_ROUTES_MAX; i++) {
        const model_function *f = &m->functions[i];
        count += f->domains_count * f->methods_count * f->paths_count;
    }
    for (size_t i = 0; i < m->of[KIND_WEBSITE].count && count <= MODEL_ROUTES_MAX; i++) {
        const resource *r = m->of[KIND_WEBSITE].at[i];
        count += resource_value(r, "domains")->count * resource_value(r, "paths")->count;
    }
    return count;
}

static void routes_fill(const model *m, routes *all)
{
    for (size_t i = 0; i < m->functions_count; i++) {
        const model_function *f = &m->functions[i];
        for (size_t d = 0; d < f->domains_count; d++)
            for (size_t n = 0; n < f->methods_count; n++)
                if (f->methods[n].len > 0)
                    add_paths(all, f->of, f->domains[d], f->methods[n]);
    }
    for (size_t i = 0; i < m->of[KIND_WEBSITE].count; i++) {
        const resource *r = m->of[KIND_WEBSITE].at[i];
        const field_value *domains = resource_value(r, "domains");
        for (size_t d = 0; d < domains->count; d++) {
            const resource *domain = model_find(m, KIND_DOMAIN, r->application, domains->items[d]);
            if (domain != NULL)
                add_paths(all, r, domain, (str){0});
        }
    }
}

static void route_twice(arena *a, const route *first, const route *r, diagnoses *found)
{
    str path = str_printable(a, r->path);
    str text = str_format(a, "`%.*s%s%.*s%.*s` is already served by %s `%.*s`", STR_ARG(r->method),
                          r->method.len > 0 ? " " : "", STR_ARG(r->host), STR_ARG(path),
                          schema_of(first->of->kind)->name, STR_ARG(first->of->name));
    tree_note(found, r->of->file, r->at, "CFG013", text)->help =
        str_format(a, "see %.*s", STR_ARG(first->of->file));
}

err model_routes(arena *a, const model *m, diagnoses *found)
{
    routes all = {.room = routes_count(m)};
    if (all.room > MODEL_ROUTES_MAX)
        return fail(ERR_LIMIT, 0, "too many routes in one project");
    all.at = arena_take(a, (all.room + 1) * sizeof(*all.at));
    if (all.at == NULL)
        return fail(ERR_MEMORY, 0, "compare routes");
    routes_fill(m, &all);
    if (all.count > 1)
        qsort(all.at, all.count, sizeof(*all.at), by_route);
    for (size_t i = 1; i < all.count; i++) {
        const route *x = &all.at[i - 1];
        const route *y = &all.at[i];
        // A path that stands twice in one file has been told by its list.
        bool told = x->of == y->of && x->at != y->at;
        if (!told && str_is(x->host, y->host) && str_is(x->path, y->path) &&
            str_is(x->method, y->method))
            route_twice(a, x, y, found);
    }
    return ok();
}
