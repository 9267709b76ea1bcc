// dream's verbs that change something: universes, nodes, injected pushes.
#include "base/json.h"
#include "base/str.h"
#include "cmd/dream_inner.h"

#include <fcntl.h>
#include <sys/file.h>
#include <time.h>

enum { WAIT_STEP_MS = 20, KILL_WAIT_MS = 5000 };

static void verbs_pause(void)
{
    nanosleep(&(struct timespec){.tv_nsec = WAIT_STEP_MS * 1000000L}, NULL);
}

// One request whose answer says nothing but that it is done.
static int verbs_do(cli *c, str method, str path, str body, str said)
{
    int code = EXIT_OK;
    dream_client *api = dream_api(c, &code);
    if (api == NULL)
        return code;
    const json *value;
    str text;
    err e = dream_client_json(api, cli_arena(c), method, path, body, &value, &text);
    dream_client_close(api);
    if (e.code != OK)
        return dream_api_failed(c, e);
    if (cli_json(c))
        cli_json_out(c, text);
    else
        cli_print(c, "[SUCCESS] %.*s\n", STR_ARG(said));
    return EXIT_OK;
}

int dream_new_universe(cli *c)
{
    arena *a = cli_arena(c);
    str name = cli_argument(c, 0);
    uint64_t shift, gateway, elders;
    if (name.len == 0)
        return cli_fail(c, EXIT_USAGE, STR("which name?"), STR("dream new universe NAME"));
    if (!cli_number(c, "shift", 1024, 60000, 0, &shift) ||
        !cli_number(c, "gateway-port", 1, 65535, 0, &gateway) ||
        !cli_number(c, "elders", 1, 3, 0, &elders))
        return EXIT_USAGE;
    str body = str_format(
        a, "{\"shift\":%llu,\"gateway_port\":%llu,\"elders\":%llu,\"processes\":%s,\"clean\":%s}",
        (unsigned long long)shift, (unsigned long long)gateway, (unsigned long long)elders,
        cli_switch(c, "processes") ? "true" : "false", cli_switch(c, "clean") ? "true" : "false");
    return verbs_do(c, STR("POST"), str_format(a, "/v1/universes/%.*s", STR_ARG(name)), body,
                    str_format(a, "Universe %.*s started!", STR_ARG(name)));
}

// The universe a verb is about: its last argument, --universe, or the first one that runs.
static int verbs_universe(cli *c, size_t argument, str *out)
{
    *out = cli_argument(c, argument).len > 0 ? cli_argument(c, argument) : cli_value(c, "universe");
    if (out->len > 0)
        return EXIT_OK;
    int code = EXIT_OK;
    dream_client *api = dream_api(c, &code);
    if (api == NULL)
        return code;
    const json *status;
    err e =
        dream_client_json(api, cli_arena(c), STR("GET"), STR("/v1/status"), STR(""), &status, NULL);
    dream_client_close(api);
    if (e.code != OK)
        return dream_api_failed(c, e);
    const json *universes = json_field(status, "universes");
    if (universes == NULL || universes->first == NULL)
        return cli_fail(c, EXIT_ABSENT, STR("no universe is running"),
                        STR("dream new universe NAME"));
    *out = json_text(universes->first, "universe");
    return EXIT_OK;
}

// Whether the multiverse of this DREAM_HOME has given its lock back: its process is gone then,
// even where nobody has buried it yet.
static bool verbs_lock_is_free(cli *c)
{
    const char *home = dream_home(cli_arena(c));
    OWNED(fd_drop) int fd = -1;
    if (home != NULL)
        fd = open(str_format(cli_arena(c), "%s/lock", home).at, O_RDONLY | O_CLOEXEC);
    return fd < 0 || flock(fd, LOCK_SH | LOCK_NB) == 0;
}

static int verbs_kill_all(cli *c)
{
    int code = verbs_do(c, STR("POST"), STR("/v1/stop"), STR(""),
                        STR("everything of this DREAM_HOME stops"));
    // The command ends when the process has: a script may start the next one at once.
    for (int waited = 0; code == EXIT_OK && waited < KILL_WAIT_MS; waited += WAIT_STEP_MS) {
        if (verbs_lock_is_free(c))
            return EXIT_OK;
        verbs_pause();
    }
    return code;
}

static int verbs_node(cli *c, const char *verb, str node, size_t universe_argument)
{
    arena *a = cli_arena(c);
    str universe;
    int code = verbs_universe(c, universe_argument, &universe);
    if (code != EXIT_OK)
        return code;
    str path =
        str_format(a, "/v1/universes/%.*s/nodes/%.*s/%s", STR_ARG(universe), STR_ARG(node), verb);
    bool start = verb[2] == 'a';
    return verbs_do(c, STR("POST"), path, STR(""),
                    str_format(a, "%.*s@%.*s %s", STR_ARG(node), STR_ARG(universe),
                               start ? "started" : "stopped"));
}

int dream_kill(cli *c)
{
    str what = cli_argument(c, 0);
    if (what.len == 0)
        return cli_fail(c, EXIT_USAGE, STR("kill what?"),
                        STR("dream kill universe [NAME], dream kill NODE, or dream kill all"));
    if (str_is(what, STR("all")))
        return verbs_kill_all(c);
    if (!str_is(what, STR("universe")))
        return verbs_node(c, "stop", what, 1);
    str universe;
    int code = verbs_universe(c, 1, &universe);
    if (code != EXIT_OK)
        return code;
    arena *a = cli_arena(c);
    return verbs_do(c, STR("DELETE"), str_format(a, "/v1/universes/%.*s", STR_ARG(universe)),
                    STR(""),
                    str_format(a, "Universe %.*s stopped; what it keeps stays", STR_ARG(universe)));
}

int dream_node(cli *c)
{
    str verb = cli_argument(c, 0), node = cli_argument(c, 1);
    bool start = str_is(verb, STR("start"));
    if ((!start && !str_is(verb, STR("stop"))) || node.len == 0)
        return cli_fail(c, EXIT_USAGE, STR("start or stop which node?"),
                        STR("dream node start hoarder"));
    return verbs_node(c, start ? "start" : "stop", node, 2);
}

// ---- injected pushes

// Waits for one job; false when it did not end well.
static bool inject_wait(cli *c, dream_client *api, str universe, const job_record *job)
{
    cli_progress *p = cli_progress_start(
        c, str_c(cli_arena(c), str_format(cli_arena(c), "%.*s %.*s", STR_ARG(job->repository_name),
                                          STR_ARG(job->id))));
    for (;;) {
        OWNED(arena_drop) arena *a = NULL;
        if (arena_open(&a, 16 << 20).code != OK)
            return false;
        patrick_job_request ask = {.id = job->id};
        patrick_job_reply reply;
        err e = dream_client_ask(api, a, universe, MSG_patrick_job, &ask, &reply);
        if (e.code != OK || reply.jobs.count == 0) {
            cli_progress_end(p, false, str_of(e.what));
            return false;
        }
        str state = reply.jobs.at[0].state;
        bool done = str_is(state, STR("done"));
        if (done || str_is(state, STR("failed")) || str_is(state, STR("cancelled"))) {
            str error = reply.jobs.at[0].error;
            cli_progress_end(p, done, done ? STR("") : error.len > 0 ? error : state);
            return done;
        }
        cli_progress_note(p, state);
        verbs_pause();
    }
}

static int inject_replay(cli *c, const patrick_replay_request *request)
{
    str universe;
    int code = verbs_universe(c, 0, &universe);
    dream_client *api = code == EXIT_OK ? dream_api(c, &code) : NULL;
    if (api == NULL)
        return code;
    arena *a = cli_arena(c);
    patrick_replay_reply reply;
    err e = dream_client_ask(api, a, universe, MSG_patrick_replay, request, &reply);
    if (e.code != OK) {
        dream_client_close(api);
        return dream_api_failed(c, e);
    }
    if (reply.jobs.count == 0) {
        dream_client_close(api);
        cli_say(c, "nothing to build: no repository was pushed yet\n");
        return request->repository.len > 0
                   ? cli_fail(c, EXIT_ABSENT, STR("no such repository was pushed"), STR("tau list"))
                   : EXIT_OK;
    }
    size_t failed = 0;
    for (size_t i = reply.jobs.count; i-- > 0 && !cli_switch(c, "no-wait");)
        failed += !inject_wait(c, api, universe, &reply.jobs.at[i]);
    dream_client_close(api);
    if (cli_json(c)) {
        OWNED(buf_close) buf out;
        buf_open(&out, (size_t)2 * MESSAGE_BYTES_MAX);
        json_writer w = {.out = &out};
        message_json_write(&w, NULL, message_infos[MSG_patrick_replay].reply, &reply);
        cli_json_out(c, buf_str(&out));
    } else if (failed == 0) {
        cli_print(c, "[SUCCESS] %zu %s\n", reply.jobs.count,
                  reply.jobs.count == 1 ? "repository" : "repositories");
    }
    return failed == 0
               ? EXIT_OK
               : cli_fail(c, EXIT_FAILED,
                          str_format(a, "%zu of %zu builds failed", failed, reply.jobs.count),
                          STR("tau builds ID --log"));
}

int dream_inject_push_all(cli *c)
{
    patrick_replay_request request = {.project = cli_value(c, "project-id")};
    return inject_replay(c, &request);
}

int dream_inject_push_specific(cli *c)
{
    str full = cli_value(c, "repository-fullname"), id = cli_value(c, "repository-id");
    if (full.len > 0) {
        size_t slash = str_find_byte(full, '/');
        full = slash < full.len ? str_from(full, slash + 1) : full;
    }
    if (id.len == 0 && full.len == 0)
        return cli_fail(c, EXIT_USAGE, STR("which repository?"),
                        STR("dream inject push-specific --repository-fullname OWNER/NAME"));
    patrick_replay_request request = {.project = cli_value(c, "project-id"),
                                      .repository = id.len > 0 ? id : full};
    return inject_replay(c, &request);
}

int dream_inject_set_branch(cli *c)
{
    str branch = cli_value(c, "name");
    if (branch.len == 0)
        return cli_fail(c, EXIT_USAGE, STR("which branch?"),
                        STR("dream inject set-branch --name BRANCH"));
    str universe;
    int code = verbs_universe(c, 0, &universe);
    dream_client *api = code == EXIT_OK ? dream_api(c, &code) : NULL;
    if (api == NULL)
        return code;
    patrick_branch_set_request request = {.branch = branch};
    patrick_branch_set_reply reply;
    err e = dream_client_ask(api, cli_arena(c), universe, MSG_patrick_branch_set, &request, &reply);
    dream_client_close(api);
    if (e.code != OK)
        return dream_api_failed(c, e);
    if (!cli_json(c)) {
        cli_print(c, "[SUCCESS] branch %.*s goes live from now on (it was %.*s)\n", STR_ARG(branch),
                  STR_ARG(reply.former));
        return EXIT_OK;
    }
    OWNED(buf_close) buf out;
    buf_open(&out, MESSAGE_BYTES_MAX);
    json_writer w = {.out = &out};
    json_open_object(&w, NULL);
    json_put_text(&w, "branch", branch);
    json_put_text(&w, "former", reply.former);
    json_close_object(&w);
    cli_json_out(c, buf_str(&out));
    return EXIT_OK;
}
