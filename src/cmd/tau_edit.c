// tau edit and delete: splices that keep comments; nothing is left that does not hold together.
#include "base/file.h"
#include "base/str.h"
#include "cmd/tau_inner.h"
#include "model/edit.h"

#include <string.h>

enum { ITEMS_MAX = 64, EDIT_JSON_BYTES = 64 * 1024 };

// Which flag writes which field of which kind.
typedef struct edit_flag {
    const char *flag, *field;
    resource_kind kind;
    bool list;
} edit_flag;
static const edit_flag edit_flags[] = {
    {"description", "description", KIND_FUNCTION, false},
    {"timeout", "timeout_ms", KIND_FUNCTION, false},
    {"memory", "memory", KIND_FUNCTION, false},
    {"method", "method", KIND_FUNCTION, false},
    {"path", "paths", KIND_FUNCTION, true},
    {"domain", "domains", KIND_FUNCTION, true},
    {"call", "call", KIND_FUNCTION, false},
    {"description", "description", KIND_DOMAIN, false},
    {"fqdn", "fqdn", KIND_DOMAIN, false},
    {"description", "description", KIND_APPLICATION, false},
};

static int edit_error(tau *t, const edit_flag *f, err e)
{
    if (e.code == ERR_UNSUPPORTED || e.code == ERR_CONFLICT)
        return tau_fail(t, EXIT_FAILED, STR("change the file in an editor; tau validate checks it"),
                        "--%s does not fit the layout of the file", f->flag);
    return tau_failed(t, e);
}

// All flags that were given, applied to the file's text one after the other.
static int edit_apply(tau *t, const resource *r, str *text, size_t *changes)
{
    str items[ITEMS_MAX];
    for (size_t i = 0; i < COUNT(edit_flags); i++) {
        const edit_flag *f = &edit_flags[i];
        str value = cli_value(t->c, f->flag);
        if (f->kind != r->kind || value.at == NULL)
            continue;
        tree_value write = {
            .kind = f->list ? TREE_TEXTS : TREE_TEXT, .text = value, .items = items};
        if (f->list)
            write.count = cli_values(t->c, f->flag, items, ITEMS_MAX);
        err e = tree_set(t->memory, *text, model_path_of(r, f->field), write, text);
        if (e.code != OK)
            return edit_error(t, f, e);
        ++*changes;
    }
    return EXIT_OK;
}

int tau_edit(cli *c)
{
    OWNED(tau_close) tau t;
    int code = tau_open(c, &t, TAU_CHECKOUT);
    if (code != EXIT_OK)
        return code;
    resource_kind kind = schema_of_name(cli_argument(c, 0));
    if (kind != KIND_FUNCTION && kind != KIND_DOMAIN && kind != KIND_APPLICATION)
        return tau_fail(&t, EXIT_USAGE,
                        STR("other kinds are edited in their file: config/KIND/NAME.yaml"),
                        "usage: tau edit function|domain|application NAME --FLAG VALUE");
    model *m;
    diagnoses found;
    err e = tau_model(&t, &m, &found);
    if (e.code != OK)
        return tau_failed(&t, e);
    size_t wrong_before = found.count, changes = 0;
    const resource *r = tau_resource(&t, m, kind, cli_argument(c, 1));
    if (r == NULL)
        return EXIT_ABSENT;
    str text = r->text, file = str_format(t.memory, "config/%.*s", STR_ARG(r->file));
    code = edit_apply(&t, r, &text, &changes);
    if (code != EXIT_OK)
        return code;
    if (changes == 0)
        return tau_fail(&t, EXIT_USAGE, STR("tau edit --help"), "nothing to change was given");
    e = tau_write(&t, file, text);
    if (e.code == OK)
        e = tau_model(&t, &m, &found);
    if (e.code == OK && found.count > wrong_before) {
        if (cli_json(c) && found.first != NULL)
            (void)tau_fail(&t, EXIT_FAILED, found.first->help, "%.*s", STR_ARG(found.first->text));
        else
            cli_diagnoses(c, t.root, &found);
        e = tau_write(&t, file, r->text);
        if (e.code == OK && !cli_json(c))
            cli_say(c, "Nothing was changed.\n");
        return e.code == OK ? EXIT_FAILED : tau_failed(&t, e);
    }
    if (e.code != OK)
        return tau_failed(&t, e);
    if (cli_json(c))
        cli_json_out(
            c, str_format(t.memory, "{\"file\":\"%.*s\",\"changes\":%zu}", STR_ARG(file), changes));
    else
        cli_print(c, "  ~ %.*s   Next: tau push\n", STR_ARG(file));
    return EXIT_OK;
}

// ---- delete

static bool website_uses(const resource *website, str domain)
{
    const field_value *domains = resource_value(website, "domains");
    for (size_t i = 0; i < domains->count; i++)
        if (str_is(domains->items[i], domain))
            return true;
    return false;
}

// Who still needs it: "function ping_pong"; empty: nobody.
static str resource_user(tau *t, const model *m, const resource *r)
{
    for (size_t i = 0; r->kind == KIND_DOMAIN && i < m->functions_count; i++)
        for (size_t d = 0; d < m->functions[i].domains_count; d++)
            if (m->functions[i].domains[d] == r)
                return str_format(t->memory, "function %.*s", STR_ARG(m->functions[i].of->name));
    for (size_t i = 0; r->kind == KIND_DOMAIN && i < m->of[KIND_WEBSITE].count; i++)
        if (website_uses(m->of[KIND_WEBSITE].at[i], r->name))
            return str_format(t->memory, "website %.*s", STR_ARG(m->of[KIND_WEBSITE].at[i]->name));
    for (size_t i = 0; r->kind == KIND_LIBRARY && i < m->functions_count; i++)
        if (m->functions[i].library == r)
            return str_format(t->memory, "function %.*s", STR_ARG(m->functions[i].of->name));
    for (int kind = 0; r->kind == KIND_APPLICATION && kind < KIND_COUNT; kind++)
        for (size_t i = 0; i < m->of[kind].count; i++)
            if (str_is(m->of[kind].at[i]->application, r->name))
                return str_format(t->memory, "%s %.*s in it", schema_of((resource_kind)kind)->name,
                                  STR_ARG(m->of[kind].at[i]->name));
    return STR("");
}

// The folder of a function's code, or empty.
static str resource_code(tau *t, const resource *r)
{
    if (r->kind != KIND_FUNCTION && r->kind != KIND_SMARTOP)
        return STR("");
    str inside = r->application.len == 0
                     ? STR("")
                     : str_format(t->memory, "applications/%.*s/", STR_ARG(r->application));
    str folder = str_format(t->memory, "code/%.*s%s/%.*s", STR_ARG(inside),
                            schema_of(r->kind)->folder, STR_ARG(r->name));
    return file_exists(tau_path(t, folder)) ? folder : STR("");
}

static int delete_confirmed(tau *t, const resource *r)
{
    cli *c = t->c;
    if (cli_switch(c, "yes"))
        return EXIT_OK;
    if (!cli_may_ask(c))
        return tau_fail(t, EXIT_USAGE, STR("--yes"), "nobody can be asked whether that is meant");
    const char *question = str_format(t->memory, "Delete %s %.*s of %.*s?",
                                      schema_of(r->kind)->name, STR_ARG(r->name), STR_ARG(t->name))
                               .at;
    return question != NULL && cli_confirm(c, question, false)
               ? EXIT_OK
               : tau_fail(t, EXIT_FAILED, STR(""), "nothing was deleted");
}

static int delete_resource(tau *t, const model *m, const resource *r)
{
    const char *noun = schema_of(r->kind)->name;
    str user = resource_user(t, m, r);
    if (user.len > 0)
        return tau_fail(t, EXIT_FAILED,
                        str_format(t->memory, "change or delete %.*s first", STR_ARG(user)),
                        "%s %.*s is used by %.*s", noun, STR_ARG(r->name), STR_ARG(user));
    int code = delete_confirmed(t, r);
    if (code != EXIT_OK)
        return code;
    str file = str_format(t->memory, "config/%.*s", STR_ARG(r->file)), folder = resource_code(t, r);
    str removed =
        r->kind != KIND_APPLICATION ? file : str_first(file, file.len - STR("/config.yaml").len);
    err e = file_remove_tree(tau_path(t, removed));
    if (e.code == OK && folder.len > 0)
        e = file_remove_tree(tau_path(t, folder));
    if (e.code != OK)
        return tau_failed(t, e);
    OWNED(buf_close) buf out;
    buf_open(&out, EDIT_JSON_BYTES);
    json_writer w = {.out = &out};
    json_open_object(&w, NULL);
    json_open_list(&w, "removed");
    json_put_text(&w, NULL, file);
    if (folder.len > 0)
        json_put_text(&w, NULL, folder);
    json_close_list(&w);
    json_close_object(&w);
    if (tau_said_json(t, &out))
        return EXIT_OK;
    cli_print(t->c, "  - %.*s\n", STR_ARG(file));
    if (folder.len > 0)
        cli_print(t->c, "  - %.*s/\n", STR_ARG(folder));
    if (r->kind == KIND_FUNCTION)
        cli_print(t->c, "What stays: its domains, and its answers until the next tau push.\n");
    else
        cli_print(t->c, "What is live stays so until the next tau push.\n");
    return EXIT_OK;
}

int tau_delete(cli *c)
{
    OWNED(tau_close) tau t;
    int code = tau_open(c, &t, TAU_CHECKOUT);
    if (code != EXIT_OK)
        return code;
    resource_kind kind = schema_of_name(cli_argument(c, 0));
    if (kind == KIND_COUNT || kind == KIND_PROJECT)
        return tau_fail(&t, EXIT_USAGE, STR("usage: tau delete function|domain|application|… NAME"),
                        "there is no kind of resource \"%.*s\"",
                        STR_ARG(str_printable(t.memory, cli_argument(c, 0))));
    model *m;
    diagnoses found;
    err e = tau_model(&t, &m, &found);
    if (e.code != OK)
        return tau_failed(&t, e);
    const resource *r = tau_resource(&t, m, kind, cli_argument(c, 1));
    return r == NULL ? EXIT_ABSENT : delete_resource(&t, m, r);
}
