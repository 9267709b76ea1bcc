// tau list, query, open: what the project has, and where it answers.
#include "base/str.h"
#include "cmd/tau_inner.h"

#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LIST_JSON_BYTES = 8 << 20 };
extern char **environ;

// "functions", "function" and "fn" alike; KIND_COUNT: no such kind.
static resource_kind kind_of(str word)
{
    resource_kind kind = schema_of_folder(word);
    if (kind == KIND_COUNT)
        kind = schema_of_name(word);
    if (str_is(word, STR("applications")) || str_is(word, STR("apps")) || str_is(word, STR("app")))
        kind = KIND_APPLICATION;
    return kind;
}

static str kinds_help(tau *t)
{
    str names[KIND_COUNT];
    size_t count = 0;
    for (int kind = 1; kind < KIND_COUNT; kind++)
        names[count++] = str_of(schema_of((resource_kind)kind)->name);
    return str_format(t->memory, "there are: project, %.*s",
                      STR_ARG(str_join(t->memory, names, count, STR(", "))));
}

static void put_texts(json_writer *w, const char *name, const str *items, size_t count)
{
    json_open_list(w, name);
    for (size_t i = 0; i < count; i++)
        json_put_text(w, NULL, items[i]);
    json_close_list(w);
}

static void put_function(tau *t, json_writer *w, const model_function *f)
{
    tau_url *urls;
    size_t count = tau_urls(t, f, &urls);
    json_put_text(w, "type", f->type);
    put_texts(w, "methods", f->methods, f->methods_count);
    put_texts(w, "paths", f->paths, f->paths_count);
    json_open_list(w, "domains");
    for (size_t i = 0; i < f->domains_count; i++)
        json_put_text(w, NULL, f->domains[i]->name);
    json_close_list(w);
    json_put_text(w, "call", f->call);
    json_put_whole(w, "timeout_ms", f->timeout_ms);
    json_put_whole(w, "memory_bytes", f->memory_bytes);
    json_open_list(w, "urls");
    for (size_t i = 0; i < count; i++)
        json_put_text(w, NULL, urls[i].url);
    json_close_list(w);
    json_open_list(w, "hosts");
    for (size_t i = 0; i < f->domains_count; i++)
        json_put_text(w, NULL, resource_value(f->domains[i], "fqdn")->text);
    json_close_list(w);
    json_open_object(w, "ports");
    if (t->gateway_port != 0)
        json_put_whole(w, "gateway", t->gateway_port);
    if (t->substrate_port != 0)
        json_put_whole(w, "substrate", t->substrate_port);
    json_close_object(w);
}

static void put_resource(tau *t, json_writer *w, const model *m, const resource *r)
{
    json_open_object(w, NULL);
    json_put_text(w, "kind", str_of(schema_of(r->kind)->name));
    json_put_text(w, "name", r->name);
    json_put_text(w, "application", r->application);
    json_put_text(w, "id", r->id);
    json_put_text(w, "description", r->description);
    put_texts(w, "tags", r->tags, r->tags_count);
    json_put_text(w, "file", str_format(t->memory, "config/%.*s", STR_ARG(r->file)));
    if (r->kind == KIND_DOMAIN) {
        str fqdn = resource_value(r, "fqdn")->text;
        json_put_text(w, "fqdn", fqdn);
        json_put_text(w, "host", tau_friendly_host(t->memory, fqdn));
    }
    const model_function *f = r->kind == KIND_FUNCTION ? model_function_of(m, r) : NULL;
    if (f != NULL)
        put_function(t, w, f);
    json_close_object(w);
}

// What a table says about a resource beside its name.
static str resource_about(tau *t, const model *m, const resource *r)
{
    if (r->kind == KIND_DOMAIN)
        return resource_value(r, "fqdn")->text;
    const model_function *f = r->kind == KIND_FUNCTION ? model_function_of(m, r) : NULL;
    tau_url *urls;
    if (f != NULL && tau_urls(t, f, &urls) > 0)
        return str_format(t->memory, "%.*s %.*s", STR_ARG(urls[0].method), STR_ARG(urls[0].url));
    return r->description;
}

static int list_projects(tau *t)
{
    auth_project_list_request ask = {.owner = t->account};
    auth_project_list_reply reply;
    err e = tau_ask(t, MSG_auth_project_list, &ask, &reply);
    if (e.code != OK)
        return tau_failed(t, e);
    OWNED(buf_close) buf out;
    buf_open(&out, LIST_JSON_BYTES);
    json_writer w = {.out = &out};
    size_t count = reply.projects.count;
    str *cells = arena_take(t->memory, (count + 1) * 3 * sizeof(*cells));
    if (cells == NULL)
        return tau_failed(t, fail(ERR_MEMORY, 0, "list projects"));
    cells[0] = STR("NAME");
    cells[1] = STR("ID");
    cells[2] = STR("DESCRIPTION");
    json_open_list(&w, NULL);
    for (size_t i = 0; i < count; i++) {
        const project_record *p = &reply.projects.at[i];
        json_open_object(&w, NULL);
        json_put_text(&w, "id", p->id);
        json_put_text(&w, "name", p->name);
        json_put_text(&w, "owner", p->owner);
        json_put_text(&w, "description", p->description);
        json_close_object(&w);
        cells[(i + 1) * 3] = p->name;
        cells[(i + 1) * 3 + 1] = p->id;
        cells[(i + 1) * 3 + 2] = p->description;
    }
    json_close_list(&w);
    if (tau_said_json(t, &out))
        return EXIT_OK;
    if (count == 0)
        cli_say(t->c, "No projects yet.   Next: tau new project NAME\n");
    else
        cli_columns(t->c, cells, 3, count + 1);
    return EXIT_OK;
}

static int list_resources(tau *t, resource_kind only)
{
    model *m;
    diagnoses found;
    err e = tau_model(t, &m, &found);
    if (e.code != OK)
        return tau_failed(t, e);
    size_t count = 0, row = 1;
    for (int kind = 1; kind < KIND_COUNT; kind++)
        count += only == KIND_COUNT || only == (resource_kind)kind ? m->of[kind].count : 0;
    OWNED(buf_close) buf out;
    buf_open(&out, LIST_JSON_BYTES);
    json_writer w = {.out = &out};
    str *cells = arena_take(t->memory, (count + 1) * 3 * sizeof(*cells));
    if (cells == NULL)
        return tau_failed(t, fail(ERR_MEMORY, 0, "list"));
    cells[0] = STR("KIND");
    cells[1] = STR("NAME");
    cells[2] = STR("WHERE");
    json_open_list(&w, NULL);
    for (int kind = 1; kind < KIND_COUNT; kind++)
        for (size_t i = 0;
             i < m->of[kind].count && (only == KIND_COUNT || only == (resource_kind)kind); i++) {
            const resource *r = m->of[kind].at[i];
            put_resource(t, &w, m, r);
            cells[row * 3] = str_of(schema_of(r->kind)->name);
            cells[row * 3 + 1] =
                r->application.len == 0
                    ? r->name
                    : str_format(t->memory, "%.*s/%.*s", STR_ARG(r->application), STR_ARG(r->name));
            cells[row++ * 3 + 2] = resource_about(t, m, r);
        }
    json_close_list(&w);
    if (tau_said_json(t, &out))
        return EXIT_OK;
    if (count == 0)
        cli_say(t->c, "Nothing yet.   Next: tau new function NAME\n");
    else
        cli_columns(t->c, cells, 3, count + 1);
    if (found.count > 0)
        cli_say(t->c, "%zu error%s: tau validate\n", found.count, found.count == 1 ? "" : "s");
    return EXIT_OK;
}

int tau_list(cli *c)
{
    OWNED(tau_close) tau t;
    str what = cli_argument(c, 0);
    bool projects = str_is(what, STR("projects")) || str_is(what, STR("project"));
    int code = tau_open(c, &t, projects ? TAU_CLOUD : TAU_CHECKOUT | TAU_CLOUD_MAYBE);
    if (code != EXIT_OK)
        return code;
    if (projects)
        return list_projects(&t);
    resource_kind kind = what.len == 0 ? KIND_COUNT : kind_of(what);
    if (what.len > 0 && kind == KIND_COUNT)
        return tau_fail(&t, EXIT_USAGE, kinds_help(&t), "there is no kind of resource \"%.*s\"",
                        STR_ARG(str_printable(t.memory, what)));
    return list_resources(&t, kind);
}

static int query_project(tau *t)
{
    auth_project_get_request ask = {.id = t->id};
    auth_project_get_reply reply;
    tns_list_request revisions_ask = {.project = t->id, .limit = 1000};
    tns_list_reply revisions = {0};
    err e = tau_ask(t, MSG_auth_project_get, &ask, &reply);
    if (e.code == OK && reply.projects.count == 0)
        e = fail(ERR_ABSENT, 0, "there is no such project");
    if (e.code != OK)
        return tau_failed(t, e);
    uint64_t live = 0; // none yet is no failure
    if (tau_ask(t, MSG_tns_list, &revisions_ask, &revisions).code == OK)
        for (size_t i = 0; i < revisions.revisions.count; i++)
            live = revisions.revisions.at[i].live ? revisions.revisions.at[i].number : live;
    const project_record *p = &reply.projects.at[0];
    OWNED(buf_close) buf out;
    buf_open(&out, LIST_JSON_BYTES);
    json_writer w = {.out = &out};
    json_open_object(&w, NULL);
    json_put_text(&w, "id", p->id);
    json_put_text(&w, "name", p->name);
    json_put_text(&w, "owner", p->owner);
    json_put_text(&w, "description", p->description);
    json_put_text(&w, "universe", t->universe);
    json_put_text(&w, "folder", str_of(t->root));
    json_put_whole(&w, "live_revision", live);
    json_put_text(&w, "config_repository", p->configuration);
    json_put_text(&w, "code_repository", p->code);
    json_close_object(&w);
    if (tau_said_json(t, &out))
        return EXIT_OK;
    str cells[] = {
        STR("name"),
        p->name,
        STR("id"),
        p->id,
        STR("owner"),
        p->owner,
        STR("universe"),
        t->universe,
        STR("description"),
        p->description,
        STR("live"),
        live == 0 ? STR("nothing yet")
                  : str_format(t->memory, "revision %llu", (unsigned long long)live),
    };
    cli_box(t->c, cells, 2, COUNT(cells) / 2);
    return EXIT_OK;
}

static void query_show(tau *t, const model *m, const resource *r)
{
    cli_print(t->c, "# config/%.*s\n%.*s", STR_ARG(r->file), STR_ARG(r->text));
    if (r->text.len > 0 && r->text.at[r->text.len - 1] != '\n')
        cli_print(t->c, "\n");
    const model_function *f = r->kind == KIND_FUNCTION ? model_function_of(m, r) : NULL;
    tau_url *urls;
    size_t count = f != NULL ? tau_urls(t, f, &urls) : 0;
    for (size_t i = 0; i < count; i++)
        cli_print(t->c, "# %.*s %.*s\n", STR_ARG(urls[i].method), STR_ARG(urls[i].url));
}

int tau_query(cli *c)
{
    OWNED(tau_close) tau t;
    str what = cli_argument(c, 0);
    bool project = str_is(what, STR("project"));
    int code = tau_open(c, &t, project ? TAU_CLOUD : TAU_CHECKOUT | TAU_CLOUD_MAYBE);
    if (code != EXIT_OK)
        return code;
    str name = cli_argument(c, 1);
    if (project) {
        auth_project_get_request ask = {.owner = t.account, .name = name};
        auth_project_get_reply reply;
        err e = name.len == 0 ? ok() : tau_ask(&t, MSG_auth_project_get, &ask, &reply);
        if (e.code != OK)
            return tau_failed(&t, e);
        if (name.len > 0 && reply.projects.count > 0)
            t.id = reply.projects.at[0].id;
        if (t.id.len == 0)
            return tau_fail(&t, EXIT_ABSENT, STR("tau list projects"),
                            "this directory is in no project");
        return query_project(&t);
    }
    resource_kind kind = kind_of(what);
    if (kind == KIND_COUNT || kind == KIND_PROJECT)
        return tau_fail(&t, EXIT_USAGE, kinds_help(&t), "there is no kind of resource \"%.*s\"",
                        STR_ARG(str_printable(t.memory, what)));
    if (name.len == 0)
        return tau_fail(&t, EXIT_USAGE, STR("usage: tau query KIND NAME"), "NAME is missing");
    model *m;
    diagnoses found;
    err e = tau_model(&t, &m, &found);
    if (e.code != OK)
        return tau_failed(&t, e);
    const resource *r = tau_resource(&t, m, kind, name);
    if (r == NULL)
        return EXIT_ABSENT;
    OWNED(buf_close) buf out;
    buf_open(&out, LIST_JSON_BYTES);
    json_writer w = {.out = &out};
    put_resource(&t, &w, m, r);
    if (!tau_said_json(&t, &out))
        query_show(&t, m, r);
    return EXIT_OK;
}

int tau_open_url(cli *c)
{
    OWNED(tau_close) tau t;
    int code = tau_open(c, &t, TAU_CHECKOUT | TAU_CLOUD);
    if (code != EXIT_OK)
        return code;
    model *m;
    diagnoses found;
    err e = tau_model(&t, &m, &found);
    if (e.code != OK)
        return tau_failed(&t, e);
    const resource *r = NULL;
    if (cli_argument(c, 0).len > 0) {
        r = tau_resource(&t, m, KIND_FUNCTION, cli_argument(c, 0));
        if (r == NULL)
            return EXIT_ABSENT;
    } else if (m->functions_count > 0) {
        r = m->functions[0].of;
    }
    const model_function *f = r == NULL ? NULL : model_function_of(m, r);
    tau_url *urls;
    if (f == NULL || tau_urls(&t, f, &urls) == 0)
        return tau_fail(&t, EXIT_ABSENT, STR("tau new function NAME"),
                        "there is no function with a URL");
    if (cli_json(c)) {
        cli_json_out(c, str_format(t.memory, "{\"url\":\"%.*s\"}", STR_ARG(urls[0].url)));
        return EXIT_OK;
    }
    cli_print(c, "%.*s\n", STR_ARG(urls[0].url));
    bool screen = getenv("DISPLAY") != NULL || getenv("WAYLAND_DISPLAY") != NULL;
    if (!screen || !isatty(STDOUT_FILENO))
        return EXIT_OK;
    const char *url = str_c(t.memory, urls[0].url);
    char *const arguments[] = {"xdg-open", (char *)url, NULL};
    pid_t child; // it outlives us
    (void)posix_spawnp(&child, "xdg-open", NULL, NULL, arguments, environ);
    return EXIT_OK;
}
