// tau new function, domain, application: files from templates, configuration in the seed's order.
#include "base/assets.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/str.h"
#include "cmd/tau_inner.h"
#include "model/edit.h"
#include "model/value.h"

#include <string.h>

enum { MADE_MAX = 256, PATHS_MAX = 64, MADE_JSON_BYTES = 256 * 1024 };
static const str generated_domain = {"GeneratedDomain", 15};

// What a command made, to be said at the end and taken back on failure.
typedef struct made_files {
    str files[MADE_MAX];
    size_t count;
    str folder; // was not there before, or empty
} made_files;

static err made_write(tau *t, made_files *m, str path, str bytes)
{
    if (m->count == MADE_MAX)
        return fail(ERR_LIMIT, 0, "a template has at most 256 files");
    TRY(tau_write(t, path, bytes));
    m->files[m->count++] = path;
    return ok();
}

static void made_undo(tau *t, made_files *m)
{
    err e = m->folder.len > 0 ? file_remove_tree(tau_path(t, m->folder)) : ok();
    while (m->count > 0 && e.code == OK)
        e = file_remove_tree(tau_path(t, m->files[--m->count]));
    if (e.code != OK)
        cli_say(t->c, "and what was made of it could not be removed: %s\n", e.what);
}

static void made_json(json_writer *w, const made_files *m)
{
    json_open_list(w, "files");
    for (size_t i = 0; i < m->count; i++)
        json_put_text(w, NULL, m->files[i]);
    json_close_list(w);
}

static void made_print(tau *t, const made_files *m)
{
    for (size_t i = 0; i < m->count; i++)
        cli_print(t->c, "  + %.*s\n", STR_ARG(m->files[i]));
}

static int name_check(tau *t, const char *noun, str name)
{
    if (name_is_valid(name))
        return EXIT_OK;
    return tau_fail(t, EXIT_USAGE, STR(""),
                    "a %s's name is a letter, then letters, digits, _ and -, not \"%.*s\"", noun,
                    STR_ARG(str_printable(t->memory, name)));
}

static int application_check(tau *t, const model *m, str application)
{
    if (application.len == 0)
        return EXIT_OK;
    for (size_t i = 0; i < m->of[KIND_APPLICATION].count; i++)
        if (str_is(m->of[KIND_APPLICATION].at[i]->name, application))
            return EXIT_OK;
    return tau_fail(t, EXIT_ABSENT,
                    str_format(t->memory, "tau new application %.*s", STR_ARG(application)),
                    "there is no application %.*s", STR_ARG(str_printable(t->memory, application)));
}

// ---- domains

// The text of a domain's file. `fqdn` empty: a generated name.
static err domain_write(tau *t, const model *m, made_files *made, str name, str fqdn)
{
    arena *a = t->memory;
    str file, text;
    if (fqdn.len == 0)
        TRY(model_generated_fqdn(a, t->id, model_next_counter(m, t->id), t->universe, &fqdn));
    TRY(model_new_domain(a, id_new(a), fqdn, &text));
    TRY(model_file_of(a, KIND_DOMAIN, STR(""), name, &file));
    return made_write(t, made, str_format(a, "config/%.*s", STR_ARG(file)), text);
}

int tau_new_domain(cli *c)
{
    OWNED(tau_close) tau t;
    model *m;
    int code = tau_open(c, &t, TAU_CHECKOUT | TAU_CLOUD_MAYBE);
    if (code != EXIT_OK)
        return code;
    str name = cli_argument(c, 0).len > 0 ? cli_argument(c, 0) : generated_domain;
    str fqdn = cli_value(c, "fqdn");
    if (fqdn.len > 0 && !fqdn_is_valid(fqdn))
        return tau_fail(&t, EXIT_USAGE, STR("--fqdn www.example.com"), "--fqdn is not a host name");
    code = name_check(&t, "domain", name);
    diagnoses found;
    if (code != EXIT_OK)
        return code;
    err e = tau_model(&t, &m, &found);
    if (e.code == OK && model_find(m, KIND_DOMAIN, STR(""), name) != NULL)
        return tau_fail(&t, EXIT_CONFLICT, STR("tau list domains"),
                        "there is a domain %.*s already", STR_ARG(name));
    made_files made = {0};
    if (e.code == OK)
        e = domain_write(&t, m, &made, name, fqdn);
    if (e.code == OK)
        e = tau_model(&t, &m, &found);
    if (e.code != OK) {
        made_undo(&t, &made);
        return tau_failed(&t, e);
    }
    const resource *r = model_find(m, KIND_DOMAIN, STR(""), name);
    OWNED(buf_close) buf out;
    buf_open(&out, MADE_JSON_BYTES);
    json_writer w = {.out = &out};
    json_open_object(&w, NULL);
    json_put_text(&w, "name", name);
    json_put_text(&w, "fqdn", r != NULL ? resource_value(r, "fqdn")->text : fqdn);
    made_json(&w, &made);
    json_close_object(&w);
    if (tau_said_json(&t, &out))
        return EXIT_OK;
    made_print(&t, &made);
    if (r != NULL)
        cli_print(c, "  fqdn: %.*s   Next: tau push\n", STR_ARG(resource_value(r, "fqdn")->text));
    return EXIT_OK;
}

int tau_new_application(cli *c)
{
    OWNED(tau_close) tau t;
    model *m;
    int code = tau_open(c, &t, TAU_CHECKOUT);
    str name = cli_argument(c, 0), file, text;
    if (code == EXIT_OK)
        code = name_check(&t, "application", name);
    if (code != EXIT_OK)
        return code;
    diagnoses found;
    err e = tau_model(&t, &m, &found);
    if (e.code == OK && model_find(m, KIND_APPLICATION, STR(""), name) != NULL)
        return tau_fail(&t, EXIT_CONFLICT, STR("tau list"), "there is an application %.*s already",
                        STR_ARG(name));
    made_files made = {0};
    if (e.code == OK)
        e = model_new_application(t.memory, id_new(t.memory), cli_value(c, "description"), &text);
    if (e.code == OK)
        e = model_file_of(t.memory, KIND_APPLICATION, STR(""), name, &file);
    if (e.code == OK)
        e = made_write(&t, &made, str_format(t.memory, "config/%.*s", STR_ARG(file)), text);
    if (e.code != OK)
        return tau_failed(&t, e);
    OWNED(buf_close) buf out;
    buf_open(&out, MADE_JSON_BYTES);
    json_writer w = {.out = &out};
    json_open_object(&w, NULL);
    json_put_text(&w, "name", name);
    made_json(&w, &made);
    json_close_object(&w);
    if (!tau_said_json(&t, &out)) {
        made_print(&t, &made);
        cli_print(c, "  Next: tau new function NAME --application %.*s\n", STR_ARG(name));
    }
    return EXIT_OK;
}

// ---- templates

typedef struct template_choice {
    str language, name;
    str prefix; // "templates/go/ping_pong/"
} template_choice;

static str language_of(str given)
{
    static const struct {
        const char *said, *meant;
    } also[] = {{"golang", "go"},         {"rs", "rust"},
                {"as", "assemblyscript"}, {"assembly_script", "assemblyscript"},
                {"ts", "assemblyscript"}, {"typescript", "assemblyscript"}};
    for (size_t i = 0; i < COUNT(also); i++)
        if (str_is_nocase(given, str_of(also[i].said)))
            return str_of(also[i].meant);
    return given;
}

// "go/ping_pong, go/empty, …": every template that is there.
static str templates_all(tau *t)
{
    str path, bytes, last = {0}, names[128];
    size_t count = 0;
    for (size_t at = 0; assets_next(&at, &path, &bytes);) {
        if (!str_starts(path, STR("templates/")))
            continue;
        str rest = str_from(path, STR("templates/").len);
        str language = str_cut(&rest, '/'), name = str_cut(&rest, '/');
        str shown = str_format(t->memory, "%.*s/%.*s", STR_ARG(language), STR_ARG(name));
        if (rest.len > 0 && !str_is(shown, last) && count < COUNT(names))
            names[count++] = last = shown;
    }
    return str_join(t->memory, names, count, STR(" "));
}

static bool template_exists(str prefix)
{
    str path, bytes;
    for (size_t at = 0; assets_next(&at, &path, &bytes);)
        if (str_starts(path, prefix))
            return true;
    return false;
}

static int template_choose(tau *t, template_choice *out)
{
    cli *c = t->c;
    str given = cli_value(c, "template"), language = language_of(cli_value(c, "lang"));
    size_t slash = str_find_byte(given, '/');
    if (slash < given.len) {
        language = language.len > 0 ? language : language_of(str_first(given, slash));
        given = str_from(given, slash + 1);
    }
    if (given.len == 0 && !cli_ask(c, "Template", STR("ping_pong"), "--template", &given))
        return EXIT_USAGE;
    if (language.len == 0 && !cli_ask(c, "Language", STR("go"), "--lang", &language))
        return EXIT_USAGE;
    *out = (template_choice){.language = str_lower(t->memory, language), .name = given};
    out->prefix =
        str_format(t->memory, "templates/%.*s/%.*s/", STR_ARG(out->language), STR_ARG(out->name));
    if (template_exists(out->prefix))
        return EXIT_OK;
    str shown = str_printable(
        t->memory, str_format(t->memory, "%.*s/%.*s", STR_ARG(out->language), STR_ARG(out->name)));
    return tau_fail(t, EXIT_ABSENT,
                    str_format(t->memory, "there are: %.*s", STR_ARG(templates_all(t))),
                    "there is no template %.*s", STR_ARG(shown));
}

static str value_or(str given, const tree *otherwise)
{
    if (given.len > 0)
        return given;
    return otherwise != NULL && otherwise->kind == TREE_SCALAR ? otherwise->text : (str){0};
}

// The command line's values, else the template's.
static err function_fill(tau *t, const template_choice *choice, new_function *f, str *paths)
{
    cli *c = t->c;
    const char *file = str_format(t->memory, "%.*sconfig.yaml", STR_ARG(choice->prefix)).at;
    tree *root = NULL;
    diagnoses found;
    diagnoses_init(&found, t->memory, 1);
    TRY(tree_read(t->memory, str_of(file), file == NULL ? STR("") : assets_find(file), &found,
                  &root));
    const tree *trigger = tree_field(root, STR("trigger"));
    const tree *execution = tree_field(root, STR("execution"));
    f->id = id_new(t->memory);
    f->description = value_or(cli_value(c, "description"), tree_field(root, STR("description")));
    f->type = value_or(cli_value(c, "type"), trigger ? tree_field(trigger, STR("type")) : NULL);
    f->method =
        value_or(cli_value(c, "method"), trigger ? tree_field(trigger, STR("method")) : NULL);
    f->timeout =
        value_or(cli_value(c, "timeout"), execution ? tree_field(execution, STR("timeout")) : NULL);
    f->memory =
        value_or(cli_value(c, "memory"), execution ? tree_field(execution, STR("memory")) : NULL);
    f->call = value_or(cli_value(c, "call"), execution ? tree_field(execution, STR("call")) : NULL);
    f->channel = cli_value(c, "channel");
    f->service = cli_value(c, "service");
    f->command = cli_value(c, "command");
    f->paths_count = cli_values(c, "path", paths, PATHS_MAX);
    const tree *list = trigger != NULL ? tree_field(trigger, STR("paths")) : NULL;
    if (f->paths_count == 0 && list != NULL && list->kind == TREE_LIST)
        for (const tree *each = list->first; each != NULL && f->paths_count < PATHS_MAX;
             each = each->next)
            paths[f->paths_count++] = each->text;
    f->paths = paths;
    return ok();
}

// A template's path that another function of one of these domains has already: /NAME is taken then.
static void function_path_free(tau *t, const model *m, new_function *f, str *paths)
{
    if (cli_value(t->c, "path").len > 0 || f->paths_count != 1)
        return;
    for (size_t i = 0; i < m->functions_count; i++)
        for (size_t p = 0; p < m->functions[i].paths_count; p++)
            if (str_is(m->functions[i].paths[p], paths[0])) {
                paths[0] = str_format(t->memory, "/%.*s", STR_ARG(f->name));
                return;
            }
}

// The domains that are named exist, or are the generated one, which is made then.
static int function_domains(tau *t, const model *m, new_function *f, str *domains, made_files *made)
{
    size_t count = cli_values(t->c, "domain", domains, PATHS_MAX);
    bool web = f->type.len == 0 || str_starts(f->type, STR("http"));
    if (count == 0 && web)
        domains[count++] = generated_domain;
    bool generated_made = false;
    for (size_t i = 0; i < count; i++) {
        if (model_find(m, KIND_DOMAIN, STR(""), domains[i]) != NULL)
            continue;
        if (!str_is(domains[i], generated_domain)) {
            (void)tau_resource(t, m, KIND_DOMAIN, domains[i]);
            return EXIT_ABSENT;
        }
        err e = generated_made ? ok() : domain_write(t, m, made, generated_domain, STR(""));
        generated_made = true;
        if (e.code != OK)
            return tau_failed(t, e);
    }
    f->domains = domains;
    f->domains_count = count;
    return EXIT_OK;
}

static err template_copy(tau *t, const template_choice *choice, str folder, made_files *made)
{
    str path, bytes;
    for (size_t at = 0; assets_next(&at, &path, &bytes);) {
        str rest = str_from(path, choice->prefix.len);
        if (!str_starts(path, choice->prefix) || str_is(rest, STR("config.yaml")))
            continue;
        TRY(made_write(t, made, str_format(t->memory, "%.*s/%.*s", STR_ARG(folder), STR_ARG(rest)),
                       bytes));
    }
    return ok();
}

static void function_said(tau *t, const made_files *made, str application, str name)
{
    model *m;
    diagnoses found;
    tau_url *urls = NULL;
    size_t count = 0;
    if (tau_model(t, &m, &found).code != OK)
        return;
    const resource *r = NULL;
    for (size_t i = 0; i < m->of[KIND_FUNCTION].count; i++) {
        const resource *each = m->of[KIND_FUNCTION].at[i];
        r = str_is(each->name, name) && str_is(each->application, application) ? each : r;
    }
    const model_function *f = r != NULL ? model_function_of(m, r) : NULL;
    if (f != NULL)
        count = tau_urls(t, f, &urls);
    OWNED(buf_close) buf out;
    buf_open(&out, MADE_JSON_BYTES);
    json_writer w = {.out = &out};
    json_open_object(&w, NULL);
    json_put_text(&w, "name", name);
    json_put_text(&w, "application", application);
    json_put_text(&w, "id", r != NULL ? r->id : STR(""));
    made_json(&w, made);
    json_open_list(&w, "urls");
    for (size_t i = 0; i < count; i++)
        json_put_text(&w, NULL, urls[i].url);
    json_close_list(&w);
    json_close_object(&w);
    if (tau_said_json(t, &out))
        return;
    made_print(t, made);
    for (size_t i = 0; i < count; i++)
        cli_print(t->c, "  %.*s %.*s   once pushed.   Next: tau push\n", STR_ARG(urls[i].method),
                  STR_ARG(urls[i].url));
}

static int function_make(tau *t, const model *m, made_files *made, str application, str name)
{
    arena *a = t->memory;
    str paths[PATHS_MAX], domains[PATHS_MAX], text, file;
    new_function f = {.name = name};
    template_choice choice;
    int code = template_choose(t, &choice);
    if (code != EXIT_OK)
        return code;
    err e = function_fill(t, &choice, &f, paths);
    if (e.code != OK)
        return tau_failed(t, e);
    function_path_free(t, m, &f, paths);
    code = function_domains(t, m, &f, domains, made);
    if (code != EXIT_OK)
        return code;
    str inside =
        application.len == 0 ? STR("") : str_format(a, "applications/%.*s/", STR_ARG(application));
    str folder = str_format(a, "code/%.*sfunctions/%.*s", STR_ARG(inside), STR_ARG(name));
    if (file_exists(tau_path(t, folder)))
        return tau_fail(t, EXIT_CONFLICT, STR("choose another name, or remove the folder"),
                        "there is code in %.*s already", STR_ARG(folder));
    made->folder = folder;
    e = template_copy(t, &choice, folder, made);
    if (e.code == OK)
        e = model_new_function(a, &f, &text);
    if (e.code == OK)
        e = model_file_of(a, KIND_FUNCTION, application, name, &file);
    if (e.code == OK)
        e = made_write(t, made, str_format(a, "config/%.*s", STR_ARG(file)), text);
    return e.code == OK ? EXIT_OK : tau_failed(t, e);
}

// What the new files brought in is told, and nothing of them stays; mistakes of before are not
// told.
static int function_check(tau *t, const made_files *made, size_t wrong_before)
{
    model *m;
    diagnoses found, told;
    err e = tau_model(t, &m, &found);
    if (e.code != OK)
        return tau_failed(t, e);
    if (found.count <= wrong_before)
        return EXIT_OK;
    diagnoses_init(&told, t->memory, found.count);
    for (const diagnosis *d = found.first; d != NULL; d = d->next) {
        bool ours = false;
        for (size_t i = 0; i < made->count; i++)
            ours = ours || str_is(d->file, made->files[i]);
        diagnosis *kept = ours ? diagnoses_add(&told, d->file, d->line, d->column, d->code) : NULL;
        if (kept != NULL) {
            kept->text = d->text;
            kept->help = d->help;
            kept->width = d->width;
        }
    }
    const diagnoses *shown = told.count > 0 ? &told : &found;
    if (cli_json(t->c) && shown->first != NULL)
        return tau_fail(t, EXIT_FAILED, shown->first->help, "%.*s", STR_ARG(shown->first->text));
    cli_diagnoses(t->c, t->root, shown);
    cli_say(t->c, "Nothing was made.\n");
    return EXIT_FAILED;
}

int tau_new_function(cli *c)
{
    OWNED(tau_close) tau t;
    model *m;
    int code = tau_open(c, &t, TAU_CHECKOUT | TAU_CLOUD_MAYBE);
    if (code != EXIT_OK)
        return code;
    str name = cli_argument(c, 0), application = cli_value(c, "application");
    if (name.len == 0 && !cli_ask(c, "Name", STR(""), "a name: tau new function NAME", &name))
        return EXIT_USAGE;
    code = name_check(&t, "function", name);
    if (code != EXIT_OK)
        return code;
    diagnoses found;
    err e = tau_model(&t, &m, &found);
    if (e.code != OK)
        return tau_failed(&t, e);
    code = application_check(&t, m, application);
    if (code != EXIT_OK)
        return code;
    for (size_t i = 0; i < m->of[KIND_FUNCTION].count; i++)
        if (str_is(m->of[KIND_FUNCTION].at[i]->name, name) &&
            str_is(m->of[KIND_FUNCTION].at[i]->application, application))
            return tau_fail(&t, EXIT_CONFLICT,
                            str_format(t.memory, "tau edit function %.*s", STR_ARG(name)),
                            "there is a function %.*s already", STR_ARG(name));
    made_files made = {0};
    size_t wrong_before = found.count;
    code = function_make(&t, m, &made, application, name);
    if (code == EXIT_OK)
        code = function_check(&t, &made, wrong_before);
    if (code != EXIT_OK) {
        made_undo(&t, &made);
        return code;
    }
    function_said(&t, &made, application, name);
    return EXIT_OK;
}
