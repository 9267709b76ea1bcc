// Reads a project's files into resources.
//
// The happy path: list the root, read config.yaml, the folders of the kinds, then each
// application's the same way; check each file along its schema; sort; resolve (resolve.c).
#include "model/model.h"

#include "base/hash.h"
#include "base/str.h"
#include "model/model_inner.h"
#include "model/value.h"

#include <stdlib.h>
#include <string.h>

typedef struct loader {
    arena *memory;
    const model_source *from;
    diagnoses *found;
    model *model;
    resource **all;
    size_t count;
    size_t applications;
} loader;

static err starved(void)
{
    return fail(ERR_MEMORY, 0, "load configuration");
}

static void say(loader *l, str file, const char *code, str text, str help)
{
    // A folder's entry may hold anything; names that are read are letters and digits.
    tree_note(l->found, str_printable(l->memory, file), NULL, code, text)->help = help;
}

static str path_join(loader *l, str folder, str name)
{
    if (folder.len == 0)
        return name;
    return str_format(l->memory, "%.*s/%.*s", STR_ARG(folder), STR_ARG(name));
}

static str value_text(const resource *r, const char *name)
{
    return r->values[schema_field(r->kind, name)].text;
}

// Reads and checks one file. A file that is no YAML becomes a resource without values, so that
// what refers to it is not reported as well.
static err load_file(loader *l, resource_kind kind, str application, str name, str file)
{
    if (l->count == MODEL_FILES_MAX)
        return fail(ERR_LIMIT, 0, "too many resources in one project");
    resource *r = arena_take(l->memory, sizeof(*r));
    if (r == NULL || file.at == NULL)
        return starved();
    *r = (resource){.kind = kind, .name = name, .application = application, .file = file};
    r->values = arena_take(l->memory, schema_of(kind)->count * sizeof(*r->values));
    if (r->values == NULL)
        return starved();
    err e = l->from->read(l->from->state, l->memory, file, TREE_BYTES_MAX, &r->text);
    if (e.code == ERR_LIMIT)
        say(l, file, "CFG002", STR("the file has more than 1 MiB"), (str){0});
    else if (e.code == ERR_DENIED)
        say(l, file, "CFG015", STR("the file can not be read"), (str){0});
    else
        TRY(e);
    tree *root = NULL;
    if (e.code == OK) {
        e = tree_read(l->memory, file, r->text, l->found, &root);
        if (e.code == ERR_MEMORY)
            return e;
    }
    if (root != NULL) {
        field_value *values = NULL;
        TRY(schema_check(l->memory, kind, file, root, l->found, &values));
        const field_value *tags = &values[schema_field(kind, "tags")];
        r->values = values;
        r->root = root;
        r->id = value_text(r, "id");
        r->description = value_text(r, "description");
        r->tags = tags->items;
        r->tags_count = tags->count;
        if (kind == KIND_PROJECT)
            r->name = value_text(r, "name");
    }
    l->all[l->count++] = r;
    return ok();
}

// "ping_pong" of "ping_pong.yaml"; false, and perhaps a diagnosis, when it is no resource's file.
static bool resource_name(loader *l, const model_entry *e, str file, str *name)
{
    static const char *const endings[] = {".yml", ".YAML", ".YML", ".Yaml"};
    str yaml = STR(".yaml");
    if (e->name.len > 0 && e->name.at[0] == '.')
        return false;
    if (e->kind == ENTRY_OTHER) {
        say(l, file, "CFG015", STR("neither file nor folder; links are not followed"), (str){0});
        return false;
    }
    if (e->kind == ENTRY_FOLDER) {
        say(l, file, "CFG015", STR("no folder belongs here"), (str){0});
        return false;
    }
    for (size_t i = 0; i < COUNT(endings); i++)
        if (str_ends(e->name, str_of(endings[i])))
            say(l, file, "CFG015", STR("not read: the ending must be .yaml"),
                STR("rename the file"));
    if (!str_ends(e->name, yaml))
        return false;
    *name = str_first(e->name, e->name.len - yaml.len);
    if (!name_is_valid(*name)) {
        str shown = str_printable(l->memory, *name);
        say(l, file, "CFG014", str_format(l->memory, "`%.*s` is no name", STR_ARG(shown)),
            STR("a letter first, then letters, digits, `_` and `-`"));
        return false;
    }
    return true;
}

static int entry_order(const void *x, const void *y)
{
    return str_order(((const model_entry *)x)->name, ((const model_entry *)y)->name);
}

static err list_sorted(loader *l, str folder, model_entry **entries, size_t *count)
{
    if (folder.at == NULL)
        return starved();
    TRY(l->from->list(l->from->state, l->memory, folder, MODEL_ENTRIES_MAX, entries, count));
    if (*count > 1)
        qsort(*entries, *count, sizeof(**entries), entry_order);
    return ok();
}

static err load_kind(loader *l, resource_kind kind, str application, str folder)
{
    model_entry *entries = NULL;
    size_t count = 0;
    TRY(list_sorted(l, folder, &entries, &count));
    for (size_t i = 0; i < count; i++) {
        str name = {0};
        str file = path_join(l, folder, entries[i].name);
        if (resource_name(l, &entries[i], file, &name))
            TRY(load_file(l, kind, application, name, file));
    }
    return ok();
}

static void folder_unknown(loader *l, str folder, str name, bool project)
{
    const char *choices[KIND_COUNT + 1];
    size_t count = 0;
    for (resource_kind k = 0; k < KIND_COUNT; k++)
        if (schema_of(k)->folder != NULL)
            choices[count++] = schema_of(k)->folder;
    if (project)
        choices[count++] = "applications";
    const char *closest = str_closest(name, choices, count);
    if (closest != NULL) // others may be anybody's business
        say(l, path_join(l, folder, name), "CFG015", STR("not read: no kind has this folder"),
            str_format(l->memory, "did you mean `%s`?", closest));
}

static err load_applications(loader *l);

// The project, or one of its applications.
static err load_scope(loader *l, str application, str folder)
{
    bool project = application.len == 0;
    bool configured = false;
    model_entry *entries = NULL;
    size_t count = 0;
    TRY(list_sorted(l, folder, &entries, &count));
    for (size_t i = 0; i < count; i++) {
        str name = entries[i].name;
        str path = path_join(l, folder, name);
        resource_kind kind = schema_of_folder(name);
        bool applications = str_is(name, STR("applications"));
        if (entries[i].kind == ENTRY_FILE && str_is(name, STR("config.yaml"))) {
            configured = true;
            TRY(load_file(l, project ? KIND_PROJECT : KIND_APPLICATION, (str){0}, application,
                          path));
        } else if (entries[i].kind == ENTRY_FILE || (name.len > 0 && name.at[0] == '.')) {
            continue; // README, LICENSE, .git
        } else if (entries[i].kind == ENTRY_OTHER) {
            if (kind != KIND_COUNT || applications || str_is(name, STR("config.yaml")))
                say(l, path, "CFG015", STR("neither file nor folder; links are not followed"),
                    (str){0});
        } else if (kind != KIND_COUNT) {
            TRY(load_kind(l, kind, application, path));
        } else if (applications && project) {
            TRY(load_applications(l));
        } else if (applications) {
            say(l, path, "CFG015", STR("applications do not nest"), (str){0});
        } else {
            folder_unknown(l, folder, name, project);
        }
    }
    if (!configured)
        say(l, path_join(l, folder, STR("config.yaml")), "CFG007",
            project ? STR("the project has no config.yaml")
                    : STR("the application has no config.yaml"),
            (str){0});
    return ok();
}

static err load_applications(loader *l)
{
    str folder = STR("applications");
    model_entry *entries = NULL;
    size_t count = 0;
    TRY(list_sorted(l, folder, &entries, &count));
    for (size_t i = 0; i < count; i++) {
        str name = entries[i].name;
        str path = path_join(l, folder, name);
        if (entries[i].kind != ENTRY_FOLDER || (name.len > 0 && name.at[0] == '.'))
            continue;
        if (++l->applications > MODEL_APPLICATIONS_MAX)
            return fail(ERR_LIMIT, 0, "too many applications in one project");
        if (!name_is_valid(name)) {
            str shown = str_printable(l->memory, name);
            say(l, path, "CFG014", str_format(l->memory, "`%.*s` is no name", STR_ARG(shown)),
                STR("a letter first, then letters, digits, `_` and `-`"));
            continue;
        }
        TRY(load_scope(l, name, path));
    }
    return ok();
}

static int resource_order(const void *x, const void *y)
{
    const resource *a = *(resource *const *)x;
    const resource *b = *(resource *const *)y;
    if (a->kind != b->kind)
        return a->kind < b->kind ? -1 : 1;
    int by = str_order(a->application, b->application);
    if (by == 0)
        by = str_order(a->name, b->name);
    return by != 0 ? by : str_order(a->file, b->file);
}

// Stable while the file keeps its name and place; `tau` writes real ones.
static err id_derive(loader *l, resource *r)
{
    str project = l->model->project != NULL ? l->model->project->id : (str){0};
    str place = str_format(l->memory, "%.*s/%.*s/%s/%.*s", STR_ARG(project),
                           STR_ARG(r->application), schema_of(r->kind)->name, STR_ARG(r->name));
    if (place.at == NULL)
        return starved();
    sha256 digest = sha256_of(place);
    r->id = base58_of(l->memory, (str){(const char *)digest.bytes, ID_BYTES});
    return r->id.at != NULL ? ok() : starved();
}

static err model_fill(loader *l)
{
    model *m = l->model;
    resources_sort(l->all, l->count, resource_order);
    const resource *const *all = (const resource *const *)l->all;
    for (size_t i = 0; i < l->count; i++) {
        resource_kind kind = l->all[i]->kind;
        if (kind == KIND_PROJECT) {
            m->project = l->all[i];
            m->email = value_text(m->project, "email");
            continue;
        }
        if (m->of[kind].count++ == 0)
            m->of[kind].at = all + i;
        if (l->all[i]->id.len == 0)
            TRY(id_derive(l, l->all[i]));
    }
    TRY(model_unique(l->memory, l->all, l->count, l->found));
    TRY(model_resolve(l->memory, m, l->all, l->count, l->found));
    return model_routes(l->memory, m, l->found);
}

err model_load_from(arena *a, const model_source *from, diagnoses *found, model **out)
{
    loader l = {.memory = a, .from = from, .found = found};
    l.model = arena_take(a, sizeof(*l.model));
    l.all = resources_take(a, MODEL_FILES_MAX);
    if (l.model == NULL || l.all == NULL)
        return starved();
    TRY(load_scope(&l, (str){"", 0}, (str){"", 0}));
    TRY(model_fill(&l));
    *out = l.model;
    return ok();
}

static const resource *find_in(const resources *of, str application, str name)
{
    size_t low = 0;
    size_t high = of->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int by = str_order(application, of->at[mid]->application);
        if (by == 0)
            by = str_order(name, of->at[mid]->name);
        if (by == 0)
            return of->at[mid];
        if (by < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return NULL;
}

const resource *model_find(const model *m, resource_kind kind, str application, str name)
{
    const resources *of = &m->of[kind];
    if (str_starts(name, STR("../")))
        return find_in(of, (str){0}, str_from(name, 3));
    if (str_starts(name, STR("/")))
        return find_in(of, (str){0}, str_from(name, 1));
    const resource *inner = application.len > 0 ? find_in(of, application, name) : NULL;
    return inner != NULL ? inner : find_in(of, (str){0}, name);
}

const model_function *model_function_of(const model *m, const resource *r)
{
    for (size_t i = 0; i < m->functions_count; i++)
        if (m->functions[i].of == r)
            return &m->functions[i];
    return NULL;
}

const field_value *resource_value(const resource *r, const char *name)
{
    return &r->values[schema_field(r->kind, name)];
}
