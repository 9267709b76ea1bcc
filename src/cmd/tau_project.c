// tau new project, clone, delete project: two repositories, a registration, a folder with both.
//
// The happy path of a new one is: 1. both repositories; 2. the project that pairs them; 3. a folder
// with two checkouts; 4. config.yaml committed and pushed. What can fail: a name that is taken,
// git.
#include "base/file.h"
#include "base/str.h"
#include "cmd/tau_inner.h"
#include "model/edit.h"
#include "model/value.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PROJECT_JSON_BYTES = 64 * 1024 };

// A folder as a whole path; it need not exist.
static const char *folder_whole(arena *a, str folder)
{
    char here[PATH_MAX];
    if (folder.len > 0 && folder.at[0] == '/')
        return str_c(a, folder);
    if (getcwd(here, sizeof(here)) == NULL)
        return NULL;
    return str_format(a, "%s/%.*s", here, STR_ARG(folder)).at;
}

// The repository of this name: made, or one of ours that no project uses and that is empty.
static int repository_take(tau *t, str name, const char *kind, repository_record *out)
{
    auth_repository_create_request ask = {.owner = t->account, .name = name, .kind = str_of(kind)};
    auth_repository_create_reply made;
    err e = tau_ask(t, MSG_auth_repository_create, &ask, &made);
    if (e.code == OK && made.repositories.count > 0) {
        *out = made.repositories.at[0];
        return EXIT_OK;
    }
    if (e.code != ERR_CONFLICT)
        return tau_failed(t,
                          e.code == OK ? fail(ERR_SYNTAX, 0, "the answer names no repository") : e);
    auth_repository_get_request get = {.owner = t->account, .name = name};
    auth_repository_get_reply there;
    e = tau_ask(t, MSG_auth_repository_get, &get, &there);
    if (e.code != OK || there.repositories.count == 0)
        return tau_failed(t, e.code == OK ? fail(ERR_CONFLICT, 0, "the name is taken") : e);
    *out = there.repositories.at[0];
    str owner = t->owner;
    t->owner = out->owner;
    checkout k = tau_checkout(t, "/");
    checkout_end end = {0};
    str remote = tau_remote(t, name);
    t->owner = owner;
    bool free_one =
        out->project.len == 0 &&
        checkout_run(&k, &end, "ls-remote", str_c(t->memory, remote), NULL).code == OK &&
        end.status == 0 && str_trim(end.out).len == 0;
    if (free_one)
        return EXIT_OK;
    return tau_fail(t, EXIT_CONFLICT,
                    out->project.len > 0 ? STR("tau clone NAME gets it; or choose another name")
                                         : STR("choose another name"),
                    out->project.len > 0 ? "%.*s/%.*s belongs to a project already"
                                         : "%.*s/%.*s holds the commits of a former project",
                    STR_ARG(out->owner), STR_ARG(name));
}

// `config` and `code` below the project's folder, with their remotes.
static err checkouts_make(tau *t, const repository_record *repositories)
{
    const char *const folders[] = {t->config, t->code};
    for (size_t i = 0; i < COUNT(folders); i++) {
        TRY(file_make_folders(folders[i], 0755));
        checkout k = tau_checkout(t, folders[i]);
        TRY(checkout_do(&k, NULL, "init", "--quiet", "--initial-branch=main", NULL));
        TRY(tau_checkout_configure(t, &k, tau_remote(t, repositories[i].name)));
    }
    return tau_link_write(t);
}

static err configuration_push(tau *t, str description)
{
    arena *a = t->memory;
    checkout k = tau_checkout(t, t->config);
    str email = {0}, text;
    if (checkout_do(&k, &email, "config", "user.email", NULL).code != OK || !email_is_valid(email))
        email = STR("");
    TRY(model_new_project(a, t->id, t->name, description, email, &text));
    TRY(tau_write(t, STR("config/config.yaml"), text));
    TRY(checkout_do(&k, NULL, "add", "config.yaml", NULL));
    const char *message = str_format(a, "New project %.*s", STR_ARG(t->name)).at;
    TRY(checkout_do(&k, NULL, "commit", "--quiet", "-m", message, NULL));
    return checkout_do(&k, NULL, "push", "--quiet", "--set-upstream", "origin",
                       "HEAD:refs/heads/main", NULL);
}

static void project_said(tau *t, const repository_record *repositories, const char *folder)
{
    cli *c = t->c;
    OWNED(buf_close) buf out;
    buf_open(&out, PROJECT_JSON_BYTES);
    json_writer w = {.out = &out};
    json_open_object(&w, NULL);
    json_put_text(&w, "id", t->id);
    json_put_text(&w, "name", t->name);
    json_put_text(&w, "owner", t->owner);
    json_put_text(&w, "universe", t->universe);
    json_put_text(&w, "folder", str_of(t->root));
    json_open_list(&w, "repositories");
    for (size_t i = 0; i < 2; i++) {
        json_open_object(&w, NULL);
        json_put_text(&w, "id", repositories[i].id);
        json_put_text(&w, "name", repositories[i].name);
        json_put_text(&w, "kind", repositories[i].kind);
        json_put_text(&w, "url", tau_remote(t, repositories[i].name));
        json_close_object(&w);
    }
    json_close_list(&w);
    json_close_object(&w);
    if (tau_said_json(t, &out))
        return;
    cli_print(c, "  ✓ repositories  %.*s/%.*s  %.*s/%.*s\n  ✓ registered    %.*s\n",
              STR_ARG(t->owner), STR_ARG(repositories[0].name), STR_ARG(t->owner),
              STR_ARG(repositories[1].name), STR_ARG(t->id));
    cli_print(c, "  ✓ checked out   %s/{config,code}\n\n", folder);
    cli_print(c, "Next: cd %s && tau new function\n", folder);
}

static int project_create(tau *t, repository_record *repositories)
{
    arena *a = t->memory;
    str names[] = {str_format(a, "tb_%.*s", STR_ARG(t->name)),
                   str_format(a, "tb_code_%.*s", STR_ARG(t->name))};
    static const char *const kinds[] = {"config", "code"};
    for (size_t i = 0; i < COUNT(names); i++) {
        int code = repository_take(t, names[i], kinds[i], &repositories[i]);
        if (code != EXIT_OK)
            return code;
    }
    auth_project_create_request ask = {.owner = t->account,
                                       .name = t->name,
                                       .description = cli_value(t->c, "description"),
                                       .configuration = repositories[0].id,
                                       .code = repositories[1].id};
    auth_project_create_reply reply;
    err e = tau_ask(t, MSG_auth_project_create, &ask, &reply);
    if (e.code == OK && reply.projects.count == 0)
        e = fail(ERR_SYNTAX, 0, "the answer names no project");
    if (e.code == ERR_CONFLICT)
        return tau_fail(t, EXIT_CONFLICT, str_format(a, "tau clone %.*s", STR_ARG(t->name)),
                        "there is a project %.*s already", STR_ARG(t->name));
    if (e.code != OK)
        return tau_failed(t, e);
    t->id = reply.projects.at[0].id;
    t->owner = reply.projects.at[0].owner;
    return EXIT_OK;
}

int tau_new_project(cli *c)
{
    OWNED(tau_close) tau t;
    int code = tau_open(c, &t, TAU_CLOUD);
    if (code != EXIT_OK)
        return code;
    str name = cli_argument(c, 0), location = cli_value(c, "location");
    if (name.len == 0 && !cli_ask(c, "Name", STR(""), "a name: tau new project NAME", &name))
        return EXIT_USAGE;
    if (!name_is_valid(name))
        return tau_fail(&t, EXIT_USAGE, STR(""),
                        "a project's name is a letter, then letters, digits, _ and -, not \"%.*s\"",
                        STR_ARG(str_printable(t.memory, name)));
    if (cli_switch(c, "public") || cli_switched_off(c, "private"))
        return tau_fail(&t, EXIT_USAGE, STR("leave --public out"),
                        "the built-in forge keeps repositories private in this release");
    str folder = location.len == 0
                     ? name
                     : str_format(t.memory, "%.*s/%.*s", STR_ARG(location), STR_ARG(name));
    t.root = folder_whole(t.memory, folder);
    if (t.root == NULL)
        return tau_failed(&t, fail_errno(errno, "this directory"));
    t.name = name;
    t.owner = t.account;
    t.config = str_format(t.memory, "%s/config", t.root).at;
    t.code = str_format(t.memory, "%s/code", t.root).at;
    if (file_exists(t.root))
        return tau_fail(&t, EXIT_CONFLICT, STR("choose another name or --location"),
                        "there is %s already", t.root);
    repository_record repositories[2] = {0};
    code = project_create(&t, repositories);
    if (code != EXIT_OK)
        return code;
    err e = checkouts_make(&t, repositories);
    if (e.code == OK)
        e = configuration_push(&t, cli_value(c, "description"));
    if (e.code != OK) {
        code = tau_failed(&t, e);
        cli_say(c, "help: the project is registered; its folder is incomplete: %s\n", t.root);
        return code;
    }
    project_said(&t, repositories, str_c(t.memory, folder));
    return EXIT_OK;
}

static err project_repositories(tau *t, repository_record *out)
{
    auth_project_get_request ask = {.id = t->id};
    auth_project_get_reply project;
    TRY(tau_ask(t, MSG_auth_project_get, &ask, &project));
    if (project.projects.count == 0)
        return fail(ERR_ABSENT, 0, "there is no such project");
    str ids[] = {project.projects.at[0].configuration, project.projects.at[0].code};
    for (size_t i = 0; i < COUNT(ids); i++) {
        auth_repository_get_request get = {.id = ids[i]};
        auth_repository_get_reply reply;
        TRY(tau_ask(t, MSG_auth_repository_get, &get, &reply));
        if (reply.repositories.count == 0)
            return fail(ERR_ABSENT, 0, "a repository of the project is gone");
        out[i] = reply.repositories.at[0];
    }
    return ok();
}

static err checkouts_clone(tau *t, const repository_record *repositories)
{
    const char *const names[] = {"config", "code"};
    TRY(file_make_folders(t->root, 0755));
    checkout above = tau_checkout(t, t->root);
    for (size_t i = 0; i < COUNT(names); i++) {
        str remote = tau_remote(t, repositories[i].name);
        TRY(checkout_do(&above, NULL, "clone", "--quiet", str_c(t->memory, remote), names[i],
                        NULL));
        checkout k = tau_checkout(t, i == 0 ? t->config : t->code);
        if (checkout_commit(&k, "HEAD").len == 0) // an empty repository
            TRY(checkout_do(&k, NULL, "symbolic-ref", "HEAD", "refs/heads/main", NULL));
        TRY(tau_checkout_configure(t, &k, remote));
    }
    return tau_link_write(t);
}

// The project that an argument names, of the account.
static int project_by_name(tau *t, str name)
{
    auth_project_get_request ask = {.owner = t->account, .name = name};
    auth_project_get_reply reply;
    err e = tau_ask(t, MSG_auth_project_get, &ask, &reply);
    if (e.code == OK && reply.projects.count > 0) {
        t->id = reply.projects.at[0].id;
        t->name = reply.projects.at[0].name;
        t->owner = reply.projects.at[0].owner;
        return EXIT_OK;
    }
    if (e.code != OK && e.code != ERR_ABSENT)
        return tau_failed(t, e);
    return tau_fail(t, EXIT_ABSENT, STR("tau list projects"), "there is no project %.*s",
                    STR_ARG(str_printable(t->memory, name)));
}

int tau_clone(cli *c)
{
    OWNED(tau_close) tau t;
    int code = tau_open(c, &t, TAU_CLOUD);
    if (code == EXIT_OK)
        code = project_by_name(&t, cli_argument(c, 0));
    if (code != EXIT_OK)
        return code;
    str folder = cli_argument(c, 1).len > 0 ? cli_argument(c, 1) : t.name;
    t.root = folder_whole(t.memory, folder);
    if (t.root == NULL)
        return tau_failed(&t, fail_errno(errno, "this directory"));
    t.config = str_format(t.memory, "%s/config", t.root).at;
    t.code = str_format(t.memory, "%s/code", t.root).at;
    if (file_exists(t.root))
        return tau_fail(&t, EXIT_CONFLICT, STR("tau clone NAME DIR"), "there is %s already",
                        t.root);
    repository_record repositories[2] = {0};
    err e = project_repositories(&t, repositories);
    if (e.code == OK)
        e = checkouts_clone(&t, repositories);
    if (e.code != OK)
        return tau_failed(&t, e);
    project_said(&t, repositories, str_c(t.memory, folder));
    return EXIT_OK;
}

int tau_delete_project(cli *c)
{
    OWNED(tau_close) tau t;
    int code = tau_open(c, &t, TAU_CLOUD);
    if (code == EXIT_OK)
        code = project_by_name(&t, cli_argument(c, 0));
    if (code != EXIT_OK)
        return code;
    const char *question = str_format(t.memory, "Delete %.*s with all its functions from %.*s?",
                                      STR_ARG(t.name), STR_ARG(t.universe))
                               .at;
    if (!cli_switch(c, "yes") && !cli_may_ask(c))
        return tau_fail(&t, EXIT_USAGE, STR("--yes"), "nobody can be asked whether that is meant");
    if (!cli_switch(c, "yes") && !cli_confirm(c, question, false))
        return tau_fail(&t, EXIT_FAILED, STR(""), "nothing was deleted");
    repository_record repositories[2] = {0};
    err e = project_repositories(&t, repositories);
    tns_remove_request live = {.project = t.id};
    tns_remove_reply removed;
    if (e.code == OK)
        e = tau_ask(&t, MSG_tns_remove, &live, &removed);
    auth_project_delete_request ask = {.id = t.id};
    auth_project_delete_reply reply;
    if (e.code == OK)
        e = tau_ask(&t, MSG_auth_project_delete, &ask, &reply);
    if (e.code != OK)
        return tau_failed(&t, e);
    if (cli_json(c)) {
        cli_json_out(c, STR("{\"deleted\":true}"));
        return EXIT_OK;
    }
    cli_print(c,
              "Deleted project %.*s; its functions answer no more.\n"
              "What stays: repositories %.*s/%.*s and %.*s/%.*s, and checkouts on this machine.\n",
              STR_ARG(t.name), STR_ARG(t.owner), STR_ARG(repositories[0].name), STR_ARG(t.owner),
              STR_ARG(repositories[1].name));
    return EXIT_OK;
}
