// Which project and which cloud a command is about: flags, environment, then the directory.
#include "base/file.h"
#include "base/str.h"
#include "cmd/tau_inner.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINK_BYTES_MAX = 16 * 1024 };

int tau_fail(tau *t, int code, str help, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    str message = str_format_list(t->memory, format, list);
    va_end(list);
    return cli_fail(t->c, code, message, help);
}

int tau_failed(tau *t, err e)
{
    const char *what = e.what == NULL ? err_name(e.code) : e.what;
    if (e.code == ERR_CLOSED || e.sys == ECONNREFUSED || e.sys == -ECONNREFUSED)
        return tau_fail(t, EXIT_ABSENT, STR("dream new multiverse"), "no universe is running");
    switch (e.code) {
    case ERR_ABSENT: {
        bool none = strcmp(what, "no universe is running") == 0;
        bool universe = strcmp(what, "no universe of this name runs") == 0;
        str help = none ? STR("dream new multiverse") : universe ? STR("dream list") : STR("");
        return tau_fail(t, EXIT_ABSENT, help, "%s", what);
    }
    case ERR_DENIED:
        if (e.sys == EACCES || e.sys == EPERM)
            return tau_fail(t, EXIT_FAILED, STR(""), "%s: %s", what, strerror(e.sys));
        return tau_fail(
            t, EXIT_AUTH,
            str_format(t->memory,
                       t->universe.len > 0 ? "tau login --universe %.*s" : "tau login%.*s",
                       STR_ARG(t->universe)),
            "%s", what);
    case ERR_CONFLICT:
        return tau_fail(t, EXIT_CONFLICT, STR(""), "%s", what);
    case ERR_BUSY:
        return tau_fail(t, EXIT_FAILED, NODES_HELP, "%s", what);
    case ERR_FULL: {
        str help = STR("make room on that disk, then again (dream doctor shows how much there is)");
        bool said = strstr(what, "no space") != NULL;
        return tau_fail(t, EXIT_FAILED, help, said ? "%s" : "%s: no space left", what);
    }
    default:
        if (e.sys > 0 && e.sys < 200 && e.code != ERR_SYNTAX && strerrorname_np(e.sys) != NULL)
            return tau_fail(t, EXIT_FAILED, STR(""), "%s: %s", what, strerror(e.sys));
        return tau_fail(t, EXIT_FAILED, STR(""), "%s", what);
    }
}

// ---- the project

static err link_read(tau *t, const char *folder)
{
    str text;
    const json *value;
    TRY(file_read(t->memory, str_format(t->memory, "%s/.tau.json", folder).at, LINK_BYTES_MAX,
                  &text));
    TRY(json_read(t->memory, text, &value, NULL));
    t->id = json_text(value, "project");
    t->name = json_text(value, "name");
    t->owner = json_text(value, "owner");
    t->linked_api = json_text(value, "api");
    if (t->universe.len == 0)
        t->universe = json_text(value, "universe");
    t->root = folder;
    t->config = str_format(t->memory, "%s/config", folder).at;
    t->code = str_format(t->memory, "%s/code", folder).at;
    return t->id.len > 0 && t->config != NULL ? ok()
                                              : fail(ERR_SYNTAX, 0, ".tau.json names no project");
}

// Looks in this folder and those above it.
static err link_find(tau *t)
{
    char folder[PATH_MAX];
    if (getcwd(folder, sizeof(folder)) == NULL)
        return fail_errno(errno, "this directory");
    for (;;) {
        str path = str_format(t->memory, "%s/.tau.json", folder);
        if (path.at != NULL && file_exists(path.at))
            return link_read(t, str_c(t->memory, str_of(folder)));
        char *slash = strrchr(folder, '/');
        if (slash == NULL || folder[1] == 0)
            return fail(ERR_ABSENT, 0, "this directory is in no project");
        slash[slash == folder ? 1 : 0] = 0;
    }
}

err tau_link_write(tau *t)
{
    OWNED(buf_close) buf out;
    buf_open(&out, LINK_BYTES_MAX);
    json_writer w = {.out = &out};
    json_open_object(&w, NULL);
    json_put_text(&w, "project", t->id);
    json_put_text(&w, "name", t->name);
    json_put_text(&w, "owner", t->owner);
    json_put_text(&w, "universe", t->universe);
    json_put_text(&w, "api", t->address);
    json_close_object(&w);
    buf_add_byte(&out, '\n');
    TRY(out.error);
    return file_write_durable(str_format(t->memory, "%s/.tau.json", t->root).at, buf_str(&out),
                              0644);
}

// ---- the cloud

static err cloud_address(tau *t)
{
    dream_client *probe = NULL;
    // Any token: only the address is wanted.
    TRY(dream_client_open(&probe, t->memory, STR("-")));
    t->address = str_copy(t->memory, dream_client_address(probe));
    dream_client_close(probe);
    return ok();
}

static int cloud_open(tau *t, bool needed)
{
    err e = cloud_address(t);
    if (e.code != OK)
        return needed ? tau_failed(t, e) : EXIT_OK;
    tau_login_record login;
    e = tau_login_find(t->memory, t->address, t->universe, &login);
    if (e.code == ERR_ABSENT && !needed)
        return EXIT_OK;
    if (e.code == ERR_ABSENT) {
        // Not logged in and no cloud at all: the second is what has to be said.
        dream_client *probe = NULL;
        const json *status;
        err there = dream_client_open(&probe, t->memory, STR(""));
        if (there.code == OK)
            there = dream_client_json(probe, t->memory, STR("GET"), STR("/v1/status"), STR(""),
                                      &status, NULL);
        dream_client_close(probe);
        if (there.code != OK && there.code != ERR_DENIED)
            return tau_failed(t, there);
        str help = t->universe.len == 0
                       ? STR("tau login")
                       : str_format(t->memory, "tau login --universe %.*s", STR_ARG(t->universe));
        return tau_fail(t, EXIT_AUTH, help, "not logged in%s%.*s",
                        t->universe.len > 0 ? " to " : "", STR_ARG(t->universe));
    }
    if (e.code != OK)
        return tau_failed(t, e);
    t->universe = login.universe;
    t->account = login.account;
    t->token = login.token;
    e = dream_client_open(&t->client, t->memory, t->token);
    return e.code == OK ? EXIT_OK : tau_failed(t, e);
}

static int project_named(tau *t, str name)
{
    auth_project_get_request ask = {.owner = t->account, .name = name};
    auth_project_get_reply reply;
    err e = tau_ask(t, MSG_auth_project_get, &ask, &reply);
    if (e.code == ERR_ABSENT && e.sys == 404)
        return tau_fail(t, EXIT_ABSENT, STR("tau list projects"), "there is no project %.*s",
                        STR_ARG(name));
    if (e.code != OK)
        return tau_failed(t, e);
    if (reply.projects.count == 0)
        return tau_fail(t, EXIT_ABSENT, STR("tau list projects"), "there is no project %.*s",
                        STR_ARG(name));
    t->id = reply.projects.at[0].id;
    t->name = reply.projects.at[0].name;
    t->owner = reply.projects.at[0].owner;
    return EXIT_OK;
}

int tau_open(cli *c, tau *t, unsigned needs)
{
    *t = (tau){.c = c, .memory = cli_arena(c), .source = "directory"};
    str folder = cli_value(c, "directory"), named = cli_value(c, "project");
    if (folder.len > 0 && chdir(str_c(t->memory, folder)) != 0)
        return tau_fail(t, EXIT_ABSENT, STR(""), "-C %.*s: %s", STR_ARG(folder), strerror(errno));
    const char *variable = getenv("TAU_PROJECT");
    if (named.len > 0) {
        t->source = "-p";
    } else if (variable != NULL && variable[0] != 0) {
        named = str_of(variable);
        t->source = "TAU_PROJECT";
    }
    t->universe = cli_value(c, "universe");
    if (t->universe.len == 0)
        t->universe = str_of(getenv("DREAM_UNIVERSE"));
    err e = link_find(t);
    if (e.code != OK && e.code != ERR_ABSENT)
        return tau_failed(t, e);
    bool here = e.code == OK && (named.len == 0 || str_is(named, t->name));
    if (!here && (needs & TAU_CHECKOUT) == TAU_CHECKOUT)
        return tau_fail(t, EXIT_ABSENT,
                        STR("cd into a project, tau clone NAME, or tau new project NAME"),
                        named.len > 0 ? "this directory is not a checkout of %.*s"
                                      : "this directory is in no project%.*s",
                        STR_ARG(named));
    if (!here && (needs & TAU_PROJECT) && named.len == 0)
        return tau_fail(t, EXIT_ABSENT,
                        STR("cd into a project, or name one: -p NAME   (tau list projects)"),
                        "this directory is in no project");
    if (!here)
        t->root = NULL;
    if (needs & (TAU_CLOUD | TAU_CLOUD_MAYBE)) {
        int code = cloud_open(t, (needs & TAU_CLOUD) != 0);
        if (code != EXIT_OK)
            return code;
    }
    return !here && (needs & TAU_PROJECT) ? project_named(t, named) : EXIT_OK;
}

void tau_close(tau *t)
{
    if (t->client != NULL)
        dream_client_close(t->client);
    t->client = NULL;
}

err tau_ask(tau *t, message_kind kind, const void *request, void *reply)
{
    return dream_client_ask(t->client, t->memory, t->universe, kind, request, reply);
}

bool tau_ports(tau *t)
{
    if (t->gateway_port != 0)
        return true;
    const json *value;
    if (t->client == NULL)
        return false;
    str path = str_format(t->memory, "/v1/universes/%.*s", STR_ARG(t->universe));
    if (dream_client_json(t->client, t->memory, STR("GET"), path, STR(""), &value, NULL).code != OK)
        return false;
    t->gateway_port = json_whole(value, "gateway_port", 0);
    const json *nodes = json_field(value, "nodes");
    for (const json *n = nodes != NULL ? nodes->first : NULL; n != NULL; n = n->next)
        if (str_is(json_text(n, "name"), STR("substrate")))
            t->substrate_port = json_whole(json_field(n, "ports"), "http", 0);
    return t->gateway_port != 0;
}

// ---- checkouts

bool tau_universe_is_first(tau *t)
{
    const json *status;
    if (t->client == NULL || dream_client_json(t->client, t->memory, STR("GET"), STR("/v1/status"),
                                               STR(""), &status, NULL)
                                     .code != OK)
        return false; // the token is of another universe than the first: its own says so
    const json *universes = json_field(status, "universes");
    return universes != NULL && universes->first != NULL &&
           str_is(json_text(universes->first, "universe"), t->universe);
}

str tau_remote(tau *t, str repository)
{
    bool first = tau_universe_is_first(t);
    return str_format(t->memory, "http://%.*s%s%.*s/%.*s/%.*s.git", STR_ARG(t->address),
                      first ? "" : "/@", STR_ARG(first ? STR("") : t->universe), STR_ARG(t->owner),
                      STR_ARG(repository));
}

checkout tau_checkout(tau *t, const char *folder)
{
    checkout k = {.memory = t->memory, .folder = folder};
    if (t->client != NULL) {
        k.base = str_format(t->memory, "http://%.*s/", STR_ARG(t->address)).at;
        k.credentials =
            str_format(t->memory, "%.*s:%.*s", STR_ARG(t->account), STR_ARG(t->token)).at;
    }
    return k;
}

// The command that git runs for credentials: this very program, wherever it is started from.
static str helper_command(tau *t)
{
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
    str own = n > 0 ? (str){path, (size_t)n} : STR("tau");
    size_t slash = own.len;
    while (slash > 0 && own.at[slash - 1] != '/')
        slash--;
    str beside = str_format(t->memory, "%.*stau", (int)slash, own.at);
    bool found = slash > 0 && beside.at != NULL && access(beside.at, X_OK) == 0;
    return str_format(t->memory,
                      found ? "!'%.*s' git-credential --universe %.*s"
                            : "!'%.*s' tau git-credential --universe %.*s",
                      STR_ARG(found ? beside : own), STR_ARG(t->universe));
}

err tau_checkout_configure(tau *t, const checkout *k, str remote)
{
    arena *a = t->memory;
    str now = {0};
    err e = checkout_do(k, &now, "remote", "get-url", "origin", NULL);
    if (e.code != OK)
        TRY(checkout_do(k, NULL, "remote", "add", "origin", str_c(a, remote), NULL));
    else if (!str_is(now, remote))
        TRY(checkout_do(k, NULL, "remote", "set-url", "origin", str_c(a, remote), NULL));
    const char *base = str_format(a, "http://%.*s", STR_ARG(t->address)).at;
    const char *helper = str_format(a, "credential.%s.helper", base).at;
    const char *proxy = str_format(a, "http.%s.proxy", base).at;
    str command = helper_command(t);
    if (proxy == NULL || command.at == NULL)
        return fail(ERR_MEMORY, 0, "configure git");
    // The empty entry forgets helpers of the user's own configuration for this address.
    TRY(checkout_do(k, NULL, "config", "--replace-all", helper, "", NULL));
    TRY(checkout_do(k, NULL, "config", "--add", helper, command.at, NULL));
    if (checkout_do(k, &now, "config", "user.email", NULL).code != OK) {
        str email = str_format(a, "%.*s@localhost", STR_ARG(t->account));
        TRY(checkout_do(k, NULL, "config", "user.email", str_c(a, email), NULL));
        TRY(checkout_do(k, NULL, "config", "user.name", str_c(a, t->account), NULL));
    }
    return checkout_do(k, NULL, "config", proxy, "", NULL);
}

bool tau_said_json(tau *t, buf *out)
{
    if (cli_json(t->c) && out->error.code == OK)
        cli_json_out(t->c, buf_str(out));
    return cli_json(t->c);
}
