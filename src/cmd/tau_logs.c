// tau logs and rollback: what functions say, and the way back to a former revision.
#include "base/clock.h"
#include "base/str.h"
#include "cmd/tau_inner.h"

#include <time.h>
#include <unistd.h>

enum {
    LOGS_POLL_MS = 200,
    LOGS_SHOWN = 100,
    LOGS_PIECE = 500,
    LOGS_JSON_BYTES = 8 << 20,
    LOGS_ROUND_BYTES = 64 << 20
};

static void line_show(tau *t, const log_line_record *l)
{
    char time[RFC3339_TEXT];
    clock_rfc3339(l->real_ms, time);
    if (cli_json(t->c)) {
        OWNED(buf_close) buf out;
        buf_open(&out, LOGS_JSON_BYTES);
        json_writer w = {.out = &out};
        json_open_object(&w, NULL);
        json_put_whole(&w, "number", l->number);
        json_put_text(&w, "time", str_of(time));
        json_put_text(&w, "request", l->request);
        json_put_text(&w, "function", l->function);
        json_put_text(&w, "stream", l->stream);
        json_put_text(&w, "text", l->text);
        json_close_object(&w);
        cli_json_out(t->c, buf_str(&out));
        return;
    }
    bool bad = cli_colour(t->c, STDOUT_FILENO) && !str_is(l->stream, STR("stdout"));
    for (str rest = str_trim(l->text); rest.len > 0;) {
        str line = str_cut(&rest, '\n');
        cli_print(t->c, "%.12s  %-6.*s  %.*s  %s%.*s%s\n", time + 11, STR_ARG(l->stream),
                  STR_ARG(str_first(l->request, 8)), bad ? "\033[31m" : "",
                  STR_ARG(str_printable(t->memory, line)), bad ? "\033[0m" : "");
    }
}

// Lines after `*after`, at most `limit`.
static err lines_more(tau *t, str function, uint64_t limit, uint64_t *after, size_t *count)
{
    substrate_logs_request ask = {
        .project = t->id, .function = function, .after = *after, .limit = limit};
    substrate_logs_reply reply;
    TRY(tau_ask(t, MSG_substrate_logs, &ask, &reply));
    for (size_t i = 0; i < reply.lines.count; i++) {
        line_show(t, &reply.lines.at[i]);
        if (reply.lines.at[i].number > *after)
            *after = reply.lines.at[i].number;
    }
    if (reply.lines.count == 0 && reply.last > *after)
        *after = reply.last;
    *count = reply.lines.count;
    return ok();
}

// Until Ctrl-C. Each answer has memory of its own: this may go on for days.
static err lines_follow(tau *t, str function, uint64_t *after)
{
    OWNED(arena_drop) arena *round = NULL;
    arena *all = t->memory;
    TRY(arena_open(&round, LOGS_ROUND_BYTES));
    err e = ok();
    for (size_t count = 0; e.code == OK;) {
        if (count == 0) {
            struct timespec wait = {.tv_nsec = (long)LOGS_POLL_MS * 1000000};
            (void)nanosleep(&wait, NULL);
        }
        arena_reset(round);
        t->memory = round;
        e = lines_more(t, function, LOGS_PIECE, after, &count);
        t->memory = all;
    }
    if (e.what != NULL)
        e.what = str_c(all, str_of(e.what));
    return e;
}

int tau_logs(cli *c)
{
    OWNED(tau_close) tau t;
    int code = tau_open(c, &t, TAU_PROJECT | TAU_CLOUD);
    if (code != EXIT_OK)
        return code;
    str name = cli_argument(c, 0);
    if (t.root != NULL && name.len > 0) { // a typing error is better told than waited on
        model *m;
        diagnoses found;
        err e = tau_model(&t, &m, &found);
        const resource *r = e.code == OK ? tau_resource(&t, m, KIND_FUNCTION, name) : NULL;
        if (e.code == OK && r == NULL)
            return EXIT_ABSENT;
        name = r != NULL ? r->name : name;
    }
    uint64_t limit, after = 0;
    if (!cli_number(c, "lines", 1, 10000, LOGS_SHOWN, &limit))
        return EXIT_USAGE;
    size_t count = 0;
    err e = lines_more(&t, name, limit, &after, &count);
    if (e.code == OK && count == 0 && !cli_json(c))
        cli_say(c, "No lines yet.%s\n", cli_switch(c, "follow") ? " Waiting; Ctrl-C ends." : "");
    if (e.code == OK && cli_switch(c, "follow"))
        e = lines_follow(&t, name, &after);
    return e.code == OK ? EXIT_OK : tau_failed(&t, e);
}

static int revision_choose(tau *t,
                           const tns_list_reply *all,
                           const revision_record **live,
                           const revision_record **to)
{
    str given = cli_argument(t->c, 0);
    uint64_t number = 0;
    if (given.len > 0 && str_number(given, &number).code != OK)
        return tau_fail(t, EXIT_USAGE, STR("tau rollback --help"), "a revision is a number");
    *live = *to = NULL;
    for (size_t i = 0; i < all->revisions.count; i++)
        if (all->revisions.at[i].live)
            *live = &all->revisions.at[i];
    if (*live == NULL)
        return tau_fail(t, EXIT_ABSENT, STR("tau push"), "nothing is live yet");
    for (size_t i = 0; i < all->revisions.count; i++) {
        const revision_record *r = &all->revisions.at[i];
        bool fits = number > 0 ? r->number == number : r->number < (*live)->number;
        if (fits && (*to == NULL || r->number > (*to)->number))
            *to = r;
    }
    if (*to == NULL)
        return tau_fail(t, EXIT_ABSENT, STR("tau builds   shows what was published"),
                        number > 0 ? "there is no revision %llu"
                                   : "there is none before revision %llu",
                        (unsigned long long)(number > 0 ? number : (*live)->number));
    return EXIT_OK;
}

int tau_rollback(cli *c)
{
    OWNED(tau_close) tau t;
    int code = tau_open(c, &t, TAU_PROJECT | TAU_CLOUD);
    if (code != EXIT_OK)
        return code;
    tns_list_request list = {.project = t.id, .limit = 1000};
    tns_list_reply all;
    err e = tau_ask(&t, MSG_tns_list, &list, &all);
    if (e.code != OK)
        return tau_failed(&t, e);
    const revision_record *live = NULL, *to = NULL;
    code = revision_choose(&t, &all, &live, &to);
    if (code != EXIT_OK || live == NULL || to == NULL)
        return code;
    uint64_t began = clock_now_ms();
    tns_live_set_request ask = {.project = t.id, .revision = to->number, .expected = live->number};
    tns_live_set_reply reply;
    e = tau_ask(&t, MSG_tns_live_set, &ask, &reply);
    if (e.code != OK)
        return tau_failed(&t, e);
    if (cli_json(c)) {
        cli_json_out(c,
                     str_format(t.memory, "{\"from\":%llu,\"to\":%llu}",
                                (unsigned long long)live->number, (unsigned long long)to->number));
        return EXIT_OK;
    }
    cli_print(c, "%.*s: %llu → %llu  (config %.7s→%.7s, code %.7s→%.7s)   live in %llu ms\n",
              STR_ARG(t.name), (unsigned long long)live->number, (unsigned long long)to->number,
              str_format(t.memory, "%.*s", STR_ARG(live->configuration_commit)).at,
              str_format(t.memory, "%.*s", STR_ARG(to->configuration_commit)).at,
              str_format(t.memory, "%.*s", STR_ARG(live->code_commit)).at,
              str_format(t.memory, "%.*s", STR_ARG(to->code_commit)).at,
              (unsigned long long)(clock_now_ms() - began));
    return EXIT_OK;
}
