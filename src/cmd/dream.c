// dream: a whole cloud on this machine. The table of its verbs.
#include "base/json.h"
#include "base/str.h"
#include "cmd/cmd.h"
#include "cmd/dream_inner.h"

#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

static const cli_flag serve_flags[] = {
    {"daemon", 0, NULL, "return once every node is ready; the cloud goes on"},
    {"universes", 'u', "NAMES", "universes to start, with commas between (blackhole)"},
    {"shift", 0, "N", "first port of the block (14000; the next free one when in use)"},
    {"gateway-port", 0, "PORT",
     "the gateway's friendly port (8080; the next free one when in use)"},
    {"processes", 0, NULL, "each node a process of its own (--no-processes: all in one)"},
    {"elders", 0, "N", "with --processes: 1 or 3 nodes that keep the records (1)"},
    {"address", 0, "IP", "with --processes: where other machines reach it (tau node invite)"},
    {"copies", 0, "LIST",
     "monkey=2,substrate=2: parallel builds, processes for guests; with --processes: nodes"},
    {"clean", 0, NULL, "start empty: what the universe kept is removed"},
    {"request-log", 0, NULL, "log every request that functions serve"},
    {"debug", 0, NULL, "log more"},
    {0},
};
static const cli_flag universe_flags[] = {
    {"shift", 0, "N", "first port of the block"},
    {"gateway-port", 0, "PORT", "the gateway's friendly port"},
    {"processes", 0, NULL, "each node a process of its own"},
    {"elders", 0, "N", "with --processes: 1 or 3"},
    {"clean", 0, NULL, "start empty"},
    {0},
};
static const cli_flag where_flags[] = {
    {"universe", 'u', "NAME", "which universe (the first one)"},
    {0},
};
static const cli_flag status_flags[] = {
    {"universe", 'u', "NAME", "which universe (the first one)"},
    {"watch", 'w', NULL, "again each second, until Ctrl-C"},
    {0},
};
static const cli_flag push_flags[] = {
    {"universe", 'u', "NAME", "which universe (the first one)"},
    {"project-id", 0, "ID", "only this project"},
    {"repository-id", 0, "ID", "only this repository (push-specific)"},
    {"repository-fullname", 0, "OWNER/NAME", "only this repository (push-specific)"},
    {"branch", 'b', "NAME", "accepted for compatibility: the recorded branch is built"},
    {"no-wait", 0, NULL, "do not wait for the jobs"},
    {0},
};
static const cli_flag branch_flags[] = {
    {"universe", 'u', "NAME", "which universe (the first one)"},
    {"name", 'n', "BRANCH", "the branch whose pushes go live"},
    {0},
};
static const cli_flag logs_flags[] = {
    {"follow", 'f', NULL, "go on as lines come"},
    {"lines", 'n', "N", "how many of the last lines (100)"},
    {0},
};

static const cli_verb verbs[] = {
    {"new multiverse", NULL,
     "start a cloud (or the clouds that were there), in the foreground until Ctrl-C",
     "$ dream new multiverse\n$ dream new multiverse --daemon\n"
     "$ dream new multiverse --processes --elders 3\n"
     "$ dream new multiverse --processes --address 10.0.0.1\n",
     serve_flags, dream_new_multiverse, NULL},
    {"start", NULL, "the same as new multiverse", "$ dream start --daemon\n", serve_flags,
     dream_new_multiverse, NULL},
    {"new universe", "NAME", "add a universe to the running multiverse",
     "$ dream new universe andromeda\n", universe_flags, dream_new_universe, NULL},
    {"status", "[universe|id|NODE] [UNIVERSE]", "nodes, doors and ports",
     "$ dream status universe\n$ dream status substrate --json\n", status_flags, dream_status,
     "node"},
    {"list", NULL, "universes that run here", "$ dream list\n", NULL, dream_list, NULL},
    {"kill", "universe|NODE|all [UNIVERSE]",
     "stop a universe, a node, or everything of this DREAM_HOME",
     "$ dream kill all\n$ dream kill universe andromeda\n$ dream kill hoarder\n", where_flags,
     dream_kill, "node"},
    {"node", "start|stop NODE", "start or stop one node", "$ dream node stop hoarder\n",
     where_flags, dream_node, "node"},
    {"inject push-all", "[UNIVERSE]",
     "build the last push of every repository again and wait for it", "$ dream inject push-all\n",
     push_flags, dream_inject_push_all, "universe"},
    {"inject push-specific", "[UNIVERSE]", "build the last push of one repository again",
     "$ dream inject push-specific --repository-fullname alice/tb_code_hello\n", push_flags,
     dream_inject_push_specific, "universe"},
    {"inject set-branch", "[UNIVERSE]", "the branch whose pushes go live",
     "$ dream inject set-branch --name dev\n", branch_flags, dream_inject_set_branch, "universe"},
    {"logs", NULL, "what the nodes have to say", "$ dream logs -f\n", logs_flags, dream_logs, NULL},
    {"doctor", NULL, "check this machine: toolchains, ports, sandbox, disk, with the fix",
     "$ dream doctor\n", NULL, dream_doctor, NULL},
    {"version", NULL, "version and what it was built with", "$ dream version --json\n", NULL,
     dream_version, NULL},
};

static void dream_complete(cli *c, const char *what)
{
    arena *a = cli_arena(c);
    dream_client *client;
    const json *status;
    if (dream_client_open(&client, a, STR("")).code != OK)
        return;
    if (dream_client_json(client, a, STR("GET"), STR("/v1/status"), STR(""), &status, NULL).code ==
        OK) {
        const json *universes = json_field(status, "universes");
        bool nodes = str_is(str_of(what), STR("node"));
        for (const json *u = universes != NULL ? universes->first : NULL; u != NULL; u = u->next) {
            if (!nodes)
                cli_print(c, "%.*s\n", STR_ARG(json_text(u, "universe")));
            const json *list = nodes ? json_field(u, "nodes") : NULL;
            for (const json *n = list != NULL ? list->first : NULL; n != NULL; n = n->next)
                cli_print(c, "%.*s\n", STR_ARG(json_text(n, "name")));
        }
    }
    dream_client_close(client);
}

static const char topics[] =
    "environment\0"
    "DREAM_HOME   everything a multiverse keeps ($XDG_DATA_HOME/ctau, ~/.local/share/ctau)\n"
    "DREAM_API    address of the control API (127.0.0.1:1421)\n"
    "DREAM_TOKEN  token for it (that of DREAM_HOME/api.json)\n"
    "CTAU_MESHD   the mesh's server, for --processes (meshd beside dream, ../lib/ctau/meshd)\n"
    "NO_COLOR     no colours\n\0";

int dream_main(int argc, char **argv)
{
    static const cli_program program = {
        .name = "dream",
        .version = VERSION,
        .about = "a whole cloud on your own machine",
        .verbs = verbs,
        .verbs_count = COUNT(verbs),
        .complete = dream_complete,
        .topics = topics,
    };
    return cli_run(&program, argc, argv, NULL);
}

const char *dream_program(arena *a)
{
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
    return n <= 0 ? NULL : str_c(a, (str){path, (size_t)n});
}

dream_client *dream_api(cli *c, int *code)
{
    dream_client *client = NULL;
    err e = dream_client_open(&client, cli_arena(c), STR(""));
    if (e.code == OK)
        return client;
    *code = dream_api_failed(c, e);
    return NULL;
}

int dream_api_failed(cli *c, err e)
{
    bool gone = e.code == ERR_CLOSED || (e.code == ERR_SYSTEM && e.sys < 0);
    switch (e.code) {
    case ERR_ABSENT:
        return cli_fail(c, EXIT_ABSENT, str_of(e.what),
                        str_is(str_of(e.what), STR("no universe is running"))
                            ? STR("dream new multiverse")
                            : STR("dream list"));
    case ERR_DENIED:
        return cli_fail(c, EXIT_AUTH, str_of(e.what),
                        STR("use the DREAM_HOME of the running multiverse, or set DREAM_TOKEN"));
    case ERR_CONFLICT:
        return cli_fail(c, EXIT_CONFLICT, str_of(e.what), STR(""));
    case ERR_BUSY:
        return cli_fail(c, EXIT_FAILED, str_of(e.what), NODES_HELP);
    default:
        if (gone)
            return cli_fail(c, EXIT_ABSENT, STR("no universe is running"),
                            STR("dream new multiverse"));
        return cli_fail(c, EXIT_FAILED, str_of(e.what), STR("dream logs"));
    }
}
