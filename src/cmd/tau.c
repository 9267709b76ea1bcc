// tau: projects of a cloud by the command line. The table of its verbs.
#include "base/str.h"
#include "cmd/cmd.h"
#include "cmd/tau_inner.h"

#include <unistd.h>

static const cli_flag common_flags[] = {
    {"directory", 'C', "DIR", "as if started there"},
    {"project", 'p', "NAME", "another project than this directory's (TAU_PROJECT)"},
    {"universe", 'u', "NAME", "another universe than the project's (DREAM_UNIVERSE)"},
    {0},
};
static const cli_flag login_flags[] = {
    {"account", 0, "NAME", "another account than your user's name"},
    {0},
};
static const cli_flag project_flags[] = {
    {"description", 0, "TEXT", "what it is"},
    {"location", 0, "DIR", "where its folder is made (here)"},
    {"private", 0, NULL, "only you see its repositories (always so in the built-in forge)"},
    {"public", 0, NULL, "not in this release"},
    {0},
};
static const cli_flag function_flags[] = {
    {"template", 't', "NAME", "ping_pong, empty, … (ping_pong)"},
    {"lang", 'l', "LANGUAGE", "go, c, rust, assemblyscript (go)"},
    {"domain", 'd', "NAMES", "domains, with commas between; GeneratedDomain is made when missing"},
    {"path", 0, "PATHS", "/paths, with commas between"},
    {"method", 0, "METHOD", "GET, POST, …"},
    {"timeout", 0, "TIME", "10s, 500ms, …"},
    {"memory", 0, "SIZE", "10MB, 32MiB, …"},
    {"call", 0, "NAME", "the export that is called"},
    {"type", 0, "TYPE", "https, http, pubsub or p2p"},
    {"channel", 0, "NAME", "of type pubsub"},
    {"service", 0, "NAME", "of type p2p"},
    {"command", 0, "NAME", "of type p2p"},
    {"application", 'a', "NAME", "in this application"},
    {"description", 0, "TEXT", "what it does"},
    {0},
};
static const cli_flag domain_flags[] = {
    {"fqdn", 0, "HOST", "a host name of your own; without it one is generated"},
    {0},
};
static const cli_flag describe_flags[] = {
    {"description", 0, "TEXT", "what it is"},
    {0},
};
static const cli_flag application_flags[] = {
    {"application", 'a', "NAME", "of this application"},
    {0},
};
static const cli_flag edit_flags[] = {
    {"timeout", 0, "TIME", "10s, 500ms, …"},
    {"memory", 0, "SIZE", "10MB, 32MiB, …"},
    {"method", 0, "METHOD", "GET, POST, …"},
    {"path", 0, "PATHS", "/paths, with commas between"},
    {"domain", 'd', "NAMES", "domains, with commas between"},
    {"call", 0, "NAME", "the export that is called"},
    {"fqdn", 0, "HOST", "of a domain"},
    {"description", 0, "TEXT", "what it is"},
    {"application", 'a', "NAME", "of this application"},
    {0},
};
static const cli_flag push_flags[] = {
    {"message", 'm', "TEXT", "of the commits"},
    {"dry-run", 'n', NULL, "check and show what would be pushed"},
    {"detach", 0, NULL, "do not wait for the builds"},
    {"config-only", 0, NULL, "only the configuration"},
    {"code-only", 0, NULL, "only the code"},
    {0},
};
static const cli_flag builds_flags[] = {
    {"log", 0, NULL, "the build's log (the last build's without an ID)"},
    {"follow", 'f', NULL, "the log as it grows, until the build has ended"},
    {"limit", 0, "N", "how many are listed (30)"},
    {0},
};
static const cli_flag logs_flags[] = {
    {"follow", 'f', NULL, "go on as lines come"},
    {"lines", 'n', "N", "how many of the last lines (100)"},
    {"application", 'a', "NAME", "of this application"},
    {0},
};
static const cli_flag start_flags[] = {
    {"shape", 's', "NAME", "which node: DIR/config/NAME.yaml"},
    {"root", 0, "DIR", "the universe's folder"},
    {"debug", 0, NULL, "log more"},
    {0},
};

static const cli_flag invite_flags[] = {
    {"shape", 's', "SHAPE", "substrate, gateway, hoarder, monkey or seer"},
    {"valid", 0, "TIME", "how long the token may be used, once (10m)"},
    {"certificates", 0, "TIME", "how long the node's certificates hold; it renews them (168h)"},
    {"elder", 0, NULL, "an elder: only from the start, dream new multiverse --elders 3"},
    {0},
};
static const cli_flag join_flags[] = {
    {"root", 0, "DIR", "where the node's files go; several nodes may share it"},
    {"address", 0, "IP",
     "of this machine, that the others reach (found by the way to the inviter)"},
    {"shift", 0, "N", "first port of its block (as the universe's)"},
    {"start", 0, NULL, "and run it, in the foreground"},
    {0},
};
static const cli_flag init_flags[] = {
    {"root", 0, "DIR", "the universe's folder"},
    {0},
};

static const cli_verb verbs[] = {
    {"login", "[UNIVERSE]", "log in to a universe of this machine, without questions",
     "$ tau login\n$ tau login --universe blackhole\n", login_flags, tau_login, "universe"},
    {"logout", NULL, "forget and revoke the token", "$ tau logout\n", NULL, tau_logout, NULL},
    {"current", NULL, "account, universe and project that commands work with", "$ tau current\n",
     NULL, tau_current, NULL},
    {"new project", "[NAME]", "two repositories, registered and checked out",
     "$ tau new project hello\n$ tau new project hello --description \"My first\" --yes\n",
     project_flags, tau_new_project, NULL},
    {"new function", "[NAME]", "a function out of a template",
     "$ tau new function ping_pong\n"
     "$ tau new function ping_pong --template ping_pong --lang c --domain GeneratedDomain --yes\n",
     function_flags, tau_new_function, NULL},
    {"new domain", "[NAME]", "a host name, generated or your own",
     "$ tau new domain\n$ tau new domain shop --fqdn shop.example.com\n", domain_flags,
     tau_new_domain, NULL},
    {"new application", "NAME", "a group of resources", "$ tau new application backoffice\n",
     describe_flags, tau_new_application, NULL},
    {"list", "[functions|domains|applications|projects|…]", "what the project has",
     "$ tau list\n$ tau list functions --json=name,urls\n$ tau list projects\n", NULL, tau_list,
     "kind"},
    {"query", "KIND [NAME]", "one resource with its URLs",
     "$ tau query function ping_pong --json\n$ tau query domain GeneratedDomain\n$ tau query "
     "project\n",
     application_flags, tau_query, "resource"},
    {"edit", "KIND NAME", "change fields of a resource's file; comments stay",
     "$ tau edit function ping_pong --timeout 5s --memory 32MB\n", edit_flags, tau_edit,
     "resource"},
    {"delete project", "NAME", "take a project off the cloud; its repositories stay",
     "$ tau delete project hello\n", NULL, tau_delete_project, "project"},
    {"delete", "KIND NAME", "delete a resource's files", "$ tau delete function ping_pong\n",
     application_flags, tau_delete, "resource"},
    {"validate", NULL, "check the configuration, with file, line and column", "$ tau validate\n",
     NULL, tau_validate, NULL},
    {"status", NULL, "what is changed here, what is live", "$ tau status\n", NULL, tau_status,
     NULL},
    {"push", NULL, "check, commit, push, build; ends with each function's answer",
     "$ tau push\n$ tau push -m \"first\"\n$ tau push --dry-run\n", push_flags, tau_push, NULL},
    {"pull", NULL, "take over what others have pushed", "$ tau pull\n", NULL, tau_pull, NULL},
    {"clone", "NAME [DIR]", "check out a project", "$ tau clone hello\n", NULL, tau_clone,
     "project"},
    {"builds", "[ID]", "builds of the project, or one of them",
     "$ tau builds\n$ tau builds --log\n$ tau builds 4kR2 --follow\n", builds_flags, tau_builds,
     "job"},
    {"cancel", "ID", "stop a build", "$ tau cancel 4kR2\n", NULL, tau_cancel, "job"},
    {"retry", "ID", "build the same commits again", "$ tau retry 4kR2\n", NULL, tau_retry, "job"},
    {"logs", "[NAME]", "what functions print, and their traps",
     "$ tau logs ping_pong\n$ tau logs ping_pong -f\n", logs_flags, tau_logs, "function"},
    {"rollback", "[REVISION]", "make a former revision live again (the one before)",
     "$ tau rollback\n$ tau rollback 6\n", NULL, tau_rollback, NULL},
    {"webhook", "[config|code]",
     "where a git host elsewhere announces pushes, and the secret it signs with",
     "$ tau webhook code\n$ tau webhook code --json\n", NULL, tau_webhook, NULL},
    {"open", "[FUNCTION]", "print a function's URL, and open it where there is a browser",
     "$ tau open ping_pong\n", application_flags, tau_open_url, "function"},
    {"start", NULL, "one node of a universe as this process",
     "$ tau start --shape tns --root ~/.local/share/ctau/universes/blackhole\n", start_flags,
     tau_start, NULL},
    {"config", "validate|show", "check a node's shape file, or print what it comes to",
     "$ tau config validate --shape tns --root ~/.local/share/ctau/universes/blackhole\n",
     start_flags, tau_config, NULL},
    {"node invite", NULL, "a one-time token with which another machine joins this universe",
     "$ tau node invite --shape substrate\n$ tau node invite --shape hoarder --valid 1h --json\n",
     invite_flags, tau_node_invite, NULL},
    {"node join", "TOKEN", "make this machine a node of the token's universe",
     "$ tau node join TOKEN --root /var/lib/ctau\n"
     "$ tau node join TOKEN --root /var/lib/ctau --address 10.0.0.2 --start\n",
     join_flags, tau_node_join, NULL},
    {"node list", NULL, "all nodes of the universe, wherever they are",
     "$ tau node list\n$ tau node list --json\n", NULL, tau_node_list, NULL},
    {"node drain", "NODE", "it takes no new work, and ends what is under way",
     "$ tau node drain substrate-2\n", NULL, tau_node_drain, NULL},
    {"node remove", "NODE", "its certificate is worthless from now on, everywhere",
     "$ tau node remove substrate-2\n", NULL, tau_node_remove, NULL},
    {"node init", NULL, "how a universe with an authority of its own is made",
     "$ dream new multiverse --processes --address 10.0.0.1\n", init_flags, tau_node_init, NULL},
    {"git-credential", "ACTION", NULL, NULL, NULL, tau_git_credential, NULL},
};

static const char topics[] =
    "environment\0"
    "TAU_PROJECT     project that commands are about; -p wins, the directory comes last\n"
    "DREAM_UNIVERSE  universe; -u wins, the project's own comes last\n"
    "DREAM_API       address of the cloud's API (127.0.0.1:1421)\n"
    "DREAM_HOME      where a cloud of this machine keeps everything\n"
    "XDG_CONFIG_HOME tokens are kept in its ctau/tau.json (~/.config)\n\0";

static void complete_model(tau *t, bool functions_only)
{
    model *m;
    diagnoses found;
    if (t->root == NULL || tau_model(t, &m, &found).code != OK)
        return;
    for (int kind = 1; kind < KIND_COUNT; kind++)
        for (size_t i = 0; i < m->of[kind].count && (!functions_only || kind == KIND_FUNCTION); i++)
            cli_print(t->c, "%.*s\n", STR_ARG(m->of[kind].at[i]->name));
}

static void complete_cloud(tau *t, str what)
{
    if (t->client == NULL)
        return;
    if (str_is(what, STR("project"))) {
        auth_project_list_request ask = {.owner = t->account};
        auth_project_list_reply reply;
        if (tau_ask(t, MSG_auth_project_list, &ask, &reply).code == OK)
            for (size_t i = 0; i < reply.projects.count; i++)
                cli_print(t->c, "%.*s\n", STR_ARG(reply.projects.at[i].name));
    } else if (str_is(what, STR("job")) && t->id.len > 0) {
        patrick_jobs_request ask = {.project = t->id, .limit = 20};
        patrick_jobs_reply reply;
        if (tau_ask(t, MSG_patrick_jobs, &ask, &reply).code == OK)
            for (size_t i = 0; i < reply.jobs.count; i++)
                cli_print(t->c, "%.*s\n", STR_ARG(str_first(reply.jobs.at[i].id, 8)));
    } else if (str_is(what, STR("universe"))) {
        const json *status;
        if (dream_client_json(t->client, t->memory, STR("GET"), STR("/v1/status"), STR(""), &status,
                              NULL)
                .code != OK)
            return;
        const json *list = json_field(status, "universes");
        for (const json *u = list != NULL ? list->first : NULL; u != NULL; u = u->next)
            cli_print(t->c, "%.*s\n", STR_ARG(json_text(u, "universe")));
    }
}

static void tau_complete(cli *c, const char *what)
{
    OWNED(tau_close) tau t;
    str word = str_of(what);
    if (str_is(word, STR("kind")) || str_is(word, STR("resource")))
        cli_print(c, "function\ndomain\napplication\n");
    if (tau_open(c, &t, TAU_CLOUD_MAYBE) != EXIT_OK)
        return;
    if (str_is(word, STR("function")) || str_is(word, STR("resource")))
        complete_model(&t, str_is(word, STR("function")));
    else
        complete_cloud(&t, word);
}

int tau_main(int argc, char **argv)
{
    static const cli_program program = {
        .name = "tau",
        .version = VERSION,
        .about = "projects of a cloud, from the first function to its answer",
        .verbs = verbs,
        .verbs_count = COUNT(verbs),
        .common = common_flags,
        .complete = tau_complete,
        .topics = topics,
    };
    return cli_run(&program, argc, argv, NULL);
}
