// tau login, logout, current; and the tokens kept for each cloud in $XDG_CONFIG_HOME/ctau/tau.json.
#include "base/file.h"
#include "base/str.h"
#include "cmd/tau_inner.h"

#include <ctype.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LOGINS_BYTES_MAX = 256 * 1024, LOGINS_MAX = 200, ACCOUNT_LEN_MAX = 39 };

static err logins_folder(arena *a, str *out)
{
    const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    if (config != NULL && config[0] == '/')
        *out = str_format(a, "%s/ctau", config);
    else if (home != NULL && home[0] == '/')
        *out = str_format(a, "%s/.config/ctau", home);
    else
        return fail(ERR_ABSENT, 0, "neither XDG_CONFIG_HOME nor HOME is set");
    return out->at == NULL ? fail(ERR_MEMORY, 0, "logins") : ok();
}

// All logins, the last one made first. None is no error.
static err logins_read(arena *a, tau_login_record *out, size_t *count)
{
    str folder, text;
    const json *value;
    *count = 0;
    TRY(logins_folder(a, &folder));
    err e =
        file_read(a, str_format(a, "%.*s/tau.json", STR_ARG(folder)).at, LOGINS_BYTES_MAX, &text);
    if (e.code == ERR_ABSENT)
        return ok();
    TRY(e);
    e = json_read(a, text, &value, NULL);
    if (e.code != OK)
        return fail(ERR_SYNTAX, 0,
                    "the file of logins (ctau/tau.json) is damaged: remove it and log in");
    const json *list = json_field(value, "logins");
    for (const json *l = list != NULL ? list->first : NULL; l != NULL && *count < LOGINS_MAX;
         l = l->next)
        out[(*count)++] = (tau_login_record){.api = json_text(l, "api"),
                                             .universe = json_text(l, "universe"),
                                             .account = json_text(l, "account"),
                                             .token = json_text(l, "token")};
    return ok();
}

static err logins_write(arena *a, const tau_login_record *logins, size_t count)
{
    str folder;
    TRY(logins_folder(a, &folder));
    OWNED(buf_close) buf out;
    buf_open(&out, LOGINS_BYTES_MAX);
    json_writer w = {.out = &out};
    json_open_object(&w, NULL);
    json_open_list(&w, "logins");
    for (size_t i = 0; i < count; i++) {
        json_open_object(&w, NULL);
        json_put_text(&w, "api", logins[i].api);
        json_put_text(&w, "universe", logins[i].universe);
        json_put_text(&w, "account", logins[i].account);
        json_put_text(&w, "token", logins[i].token);
        json_close_object(&w);
    }
    json_close_list(&w);
    json_close_object(&w);
    TRY(out.error);
    TRY(file_make_folders(folder.at, 0700));
    return file_write_durable(str_format(a, "%.*s/tau.json", STR_ARG(folder)).at, buf_str(&out),
                              0600);
}

err tau_login_find(arena *a, str api, str universe, tau_login_record *out)
{
    tau_login_record logins[LOGINS_MAX];
    size_t count;
    TRY(logins_read(a, logins, &count));
    for (size_t i = 0; i < count; i++)
        if (str_is(logins[i].api, api) &&
            (universe.len == 0 || str_is(logins[i].universe, universe))) {
            *out = logins[i];
            return ok();
        }
    return fail(ERR_ABSENT, 0, "not logged in");
}

// Puts a login in front, or (without a token) takes it away. False: there was none.
static err logins_change(arena *a, const tau_login_record *login, bool *was_there)
{
    tau_login_record logins[LOGINS_MAX + 1];
    size_t count, kept = 1;
    TRY(logins_read(a, &logins[1], &count));
    *was_there = false;
    for (size_t i = 1; i <= count; i++) {
        bool same =
            str_is(logins[i].api, login->api) && str_is(logins[i].universe, login->universe);
        *was_there = *was_there || same;
        if (!same && kept < LOGINS_MAX)
            logins[kept++] = logins[i];
    }
    logins[0] = *login;
    bool add = login->token.len > 0;
    return add || *was_there ? logins_write(a, add ? logins : logins + 1, add ? kept : kept - 1)
                             : ok();
}

// The user's name as an account: letters, digits, '-' and '_', at most 39.
static str local_account(arena *a)
{
    const char *user = getenv("USER");
    const struct passwd *entry = user == NULL || user[0] == 0 ? getpwuid(geteuid()) : NULL;
    str name = entry != NULL ? str_of(entry->pw_name) : str_of(user);
    char *clean = arena_take(a, ACCOUNT_LEN_MAX + 1);
    size_t len = 0;
    for (size_t i = 0; clean != NULL && i < name.len && len < ACCOUNT_LEN_MAX; i++) {
        unsigned char byte = (unsigned char)name.at[i];
        if (isalnum(byte) && byte < 128)
            clean[len++] = (char)byte;
        else if (len > 0)
            clean[len++] = '-';
    }
    return len > 0 ? (str){clean, len} : STR("user");
}

// The universe that is meant, as the cloud writes it. ERR_ABSENT: none runs, or none of this name.
static err universe_find(tau *t, str wanted, str *out)
{
    const json *status;
    TRY(dream_client_json(t->client, t->memory, STR("GET"), STR("/v1/status"), STR(""), &status,
                          NULL));
    const json *universes = json_field(status, "universes");
    for (const json *u = universes != NULL ? universes->first : NULL; u != NULL; u = u->next)
        if (wanted.len == 0 || str_is(json_text(u, "universe"), wanted)) {
            *out = json_text(u, "universe");
            return ok();
        }
    return fail(ERR_ABSENT, 0,
                wanted.len == 0 ? "no universe is running" : "no universe of this name runs");
}

int tau_login(cli *c)
{
    OWNED(tau_close) tau t;
    int code = tau_open(c, &t, 0);
    if (code != EXIT_OK)
        return code;
    str wanted = cli_argument(c, 0).len > 0 ? cli_argument(c, 0) : t.universe;
    // The machine's own token: whoever can read DREAM_HOME is its owner.
    err e = dream_client_open(&t.client, t.memory, STR(""));
    if (e.code == OK) {
        t.address = dream_client_address(t.client);
        e = universe_find(&t, wanted, &t.universe);
    }
    if (e.code == ERR_DENIED)
        return tau_fail(&t, EXIT_AUTH,
                        STR("use the DREAM_HOME of the running multiverse, or set DREAM_TOKEN"),
                        "%s", e.what);
    if (e.code != OK)
        return tau_failed(&t, e);
    char device[65] = "";
    (void)gethostname(device, sizeof(device) - 1);
    str account = cli_value(c, "account");
    auth_login_request ask = {.account = account.len > 0 ? account : local_account(t.memory),
                              .device = str_of(device)};
    auth_login_reply reply;
    e = tau_ask(&t, MSG_auth_login, &ask, &reply);
    if (e.code != OK)
        return tau_failed(&t, e);
    bool was_there;
    tau_login_record login = {t.address, t.universe, reply.account, reply.token};
    e = logins_change(t.memory, &login, &was_there);
    if (e.code != OK)
        return tau_failed(&t, e);
    OWNED(buf_close) buf out;
    buf_open(&out, LOGINS_BYTES_MAX);
    json_writer w = {.out = &out};
    json_open_object(&w, NULL);
    json_put_text(&w, "account", login.account);
    json_put_text(&w, "universe", login.universe);
    json_put_text(&w, "api", login.api);
    json_close_object(&w);
    if (!tau_said_json(&t, &out))
        cli_print(c, "Logged in to %.*s as %.*s.   Next: tau new project NAME\n",
                  STR_ARG(login.universe), STR_ARG(login.account));
    return EXIT_OK;
}

int tau_logout(cli *c)
{
    OWNED(tau_close) tau t;
    int code = tau_open(c, &t, TAU_CLOUD_MAYBE);
    if (code != EXIT_OK)
        return code;
    if (t.client == NULL)
        return tau_fail(&t, EXIT_ABSENT, STR(""), "not logged in");
    auth_token_revoke_request ask = {.token = t.token};
    auth_token_revoke_reply reply;
    err e = tau_ask(&t, MSG_auth_token_revoke, &ask, &reply);
    bool was_there;
    tau_login_record login = {t.address, t.universe, t.account, STR("")};
    err kept = logins_change(t.memory, &login, &was_there);
    if (kept.code != OK)
        return tau_failed(&t, kept);
    if (e.code != OK && e.code != ERR_DENIED)
        return tau_fail(&t, EXIT_FAILED, STR(""), "forgotten here, but not revoked: %s", e.what);
    if (cli_json(c))
        cli_json_out(c, STR("{\"revoked\":true}"));
    else
        cli_print(c, "Logged out of %.*s.\n", STR_ARG(t.universe));
    return EXIT_OK;
}

static str or_none(str s)
{
    return s.len > 0 ? s : STR("(none)");
}

int tau_current(cli *c)
{
    OWNED(tau_close) tau t;
    int code = tau_open(c, &t, TAU_CLOUD_MAYBE);
    if (code != EXIT_OK)
        return code;
    OWNED(buf_close) buf out;
    buf_open(&out, LOGINS_BYTES_MAX);
    json_writer w = {.out = &out};
    json_open_object(&w, NULL);
    json_put_text(&w, "account", t.account);
    json_put_text(&w, "universe", t.universe);
    json_put_text(&w, "api", t.address);
    json_put_text(&w, "project", t.name);
    json_put_text(&w, "project_id", t.id);
    json_put_text(&w, "folder", str_of(t.root));
    json_close_object(&w);
    if (tau_said_json(&t, &out))
        return EXIT_OK;
    str cells[] = {
        STR("account"), or_none(t.account),      STR("universe"), or_none(t.universe),
        STR("api"),     or_none(t.address),      STR("project"),  or_none(t.name),
        STR("folder"),  or_none(str_of(t.root)),
    };
    cli_box(c, cells, 2, COUNT(cells) / 2);
    return EXIT_OK;
}

// git's credential protocol: lines name=value on stdin, ended by an empty one.
int tau_git_credential(cli *c)
{
    if (!str_is(cli_argument(c, 0), STR("get")))
        return EXIT_OK; // store and erase: nothing of git's is kept
    arena *a = cli_arena(c);
    char input[16 * 1024];
    size_t len = 0;
    ssize_t n;
    while (len < sizeof(input) && (n = read(STDIN_FILENO, input + len, sizeof(input) - len)) > 0)
        len += (size_t)n;
    str host = {0}, protocol = {0};
    for (str rest = {input, len}; rest.len > 0;) {
        str value = str_cut(&rest, '\n');
        str name = str_cut(&value, '=');
        if (str_is(name, STR("host")))
            host = value;
        else if (str_is(name, STR("protocol")))
            protocol = value;
    }
    tau_login_record login;
    if (!str_is(protocol, STR("http")) ||
        tau_login_find(a, host, cli_value(c, "universe"), &login).code != OK) {
        cli_say(c, "error: not logged in at %.*s\nhelp: tau login\n",
                STR_ARG(str_printable(a, host)));
        return EXIT_AUTH;
    }
    cli_print(c, "username=%.*s\npassword=%.*s\n", STR_ARG(login.account), STR_ARG(login.token));
    return EXIT_OK;
}
