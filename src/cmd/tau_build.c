// tau builds, cancel, retry; and how a push watches its jobs: live log, then the error where it is.
#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"
#include "cmd/tau_inner.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum {
    POLL_MS = 50,
    JOBS_MAX = 16,
    BUILDS_LISTED = 30,
    JOBS_JSON_BYTES = 8 << 20,
    ID_SHOWN = 8,
    LOG_PIECE_BYTES = 64 * 1024,
};

bool tau_job_ended(str state)
{
    return str_is(state, STR("done")) || str_is(state, STR("failed")) ||
           str_is(state, STR("cancelled"));
}

static void put_time(json_writer *w, const char *name, uint64_t real_ms)
{
    char text[RFC3339_TEXT];
    if (real_ms == 0) {
        json_put_null(w, name);
        return;
    }
    clock_rfc3339(real_ms, text);
    json_put_text(w, name, str_of(text));
}

void tau_job_json(json_writer *w, const job_record *job)
{
    json_open_object(w, NULL);
    json_put_text(w, "id", job->id);
    json_put_text(w, "repository", job->repository_name);
    json_put_text(w, "kind", job->kind);
    json_put_text(w, "branch", job->branch);
    json_put_text(w, "commit", job->commit);
    json_put_text(w, "subject", job->subject);
    json_put_text(w, "author", job->author);
    json_put_text(w, "status", job->state);
    json_put_text(w, "error", job->error);
    json_put_text(w, "deployment", job->deployment);
    json_put_whole(w, "revision", job->revision);
    json_put_whole(w, "attempt", job->attempt);
    put_time(w, "created", job->created_real_ms);
    put_time(w, "started", job->started_real_ms);
    put_time(w, "ended", job->ended_real_ms);
    json_open_list(w, "assets");
    for (size_t i = 0; i < job->assets.count; i++) {
        const asset_record *asset = &job->assets.at[i];
        json_open_object(w, NULL);
        json_put_text(w, "name", asset->name);
        json_put_text(w, "application", asset->application);
        json_put_text(w, "kind", asset->kind);
        json_put_text(w, "id", asset->resource);
        json_put_text(w, "hash", asset->hash);
        json_put_whole(w, "bytes", asset->bytes);
        json_put_flag(w, "cached", asset->cached);
        json_close_object(w);
    }
    json_close_list(w);
    json_close_object(w);
}

// ---- the error where it is

// "functions/x/ping.c:12:7: text" cut into a diagnosis of the project's folder. False: no place.
static bool error_place(tau *t, str error, diagnosis *out)
{
    str rest = error;
    str file = str_cut(&rest, ':');
    uint64_t line = 0, column = 0;
    if (t->root == NULL || rest.at == NULL || file.len == 0 || str_find_byte(file, ' ') < file.len)
        return false;
    str after = rest;
    if (str_number(str_cut(&after, ':'), &line).code == OK) {
        rest = after;
        if (str_number(str_cut(&after, ':'), &column).code == OK)
            rest = after;
    }
    static const char *const places[] = {"code", "config"};
    for (size_t i = 0; i < COUNT(places); i++) {
        str path = str_format(t->memory, "%s/%.*s", places[i], STR_ARG(file));
        if (path.at == NULL || !file_exists(tau_path(t, path)))
            continue;
        *out = (diagnosis){.file = path,
                           .line = (size_t)line,
                           .column = column == 0 && line > 0 ? 1 : (size_t)column,
                           .width = 1,
                           .text = str_trim(rest)};
        return true;
    }
    return false;
}

// An export that is missing is a word in the configuration: `call:` of the function whose folder
// the error names.
static void error_place_call(tau *t, diagnosis *place)
{
    model *m;
    diagnoses found;
    str name = place->file;
    while (str_find_byte(name, '/') < name.len)
        name = str_from(name, str_find_byte(name, '/') + 1);
    if (place->line > 0 || str_find(place->text, STR("is not exported")) == place->text.len ||
        tau_model(t, &m, &found).code != OK)
        return;
    for (size_t i = 0; i < m->functions_count; i++) {
        const resource *r = m->functions[i].of;
        const tree *at = resource_value(r, "call")->at;
        if (!str_is(r->name, name) || at == NULL)
            continue;
        place->file = str_format(t->memory, "config/%.*s", STR_ARG(r->file));
        place->line = at->line;
        place->column = at->column;
        place->width = at->width;
        place->help = str_find(place->text, STR("exported are")) < place->text.len
                          ? STR("set call: to one of them, or rename the exported function")
                          : STR("export it: //export NAME in Go, TB_EXPORT(NAME) in C");
    }
}

static void job_error_show(tau *t, const job_record *job)
{
    str id = str_first(job->id, ID_SHOWN);
    str took = {0};
    if (job->ended_real_ms > job->started_real_ms)
        took = str_format(t->memory, ", %.1f s",
                          (double)(job->ended_real_ms - job->started_real_ms) / 1000.0);
    str help = str_format(t->memory, "log: tau builds %.*s --log", STR_ARG(id));
    if (str_is(job->state, STR("cancelled"))) {
        (void)tau_fail(t, EXIT_FAILED, help, "build %.*s was cancelled", STR_ARG(id));
        return;
    }
    diagnoses found;
    diagnoses_init(&found, t->memory, 1);
    diagnosis place;
    bool known = !cli_json(t->c) && error_place(t, job->error, &place);
    if (!known) {
        (void)tau_fail(t, EXIT_FAILED, help, "build %.*s of %.*s failed%.*s: %.*s", STR_ARG(id),
                       STR_ARG(job->repository_name), STR_ARG(took),
                       STR_ARG(str_printable(t->memory, job->error)));
        return;
    }
    error_place_call(t, &place);
    diagnosis *kept = diagnoses_add(&found, place.file, place.line, place.column, NULL);
    kept->text = place.text;
    kept->help = place.help;
    kept->width = place.width;
    cli_diagnoses(t->c, t->root, &found);
    cli_say(t->c, "build %.*s failed%.*s; what was live stays live.   %.*s\n", STR_ARG(id),
            STR_ARG(took), STR_ARG(help));
}

// ---- watching

// True when Ctrl-C came while we waited.
static bool wait_interrupted(int signals)
{
    struct pollfd wait = {.fd = signals, .events = POLLIN};
    return poll(&wait, signals < 0 ? 0 : 1, POLL_MS) > 0;
}

static int signals_open(sigset_t *before)
{
    sigset_t wanted;
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &wanted, before);
    return signalfd(-1, &wanted, SFD_CLOEXEC);
}

typedef struct log_view {
    str id;
    uint64_t offset;
    buf rest;   // the begin of a line whose end has not come
    bool plain; // as it is, on stdout; else drawn beside the progress on stderr
    bool complete;
} log_view;

static void log_line_show(tau *t, const log_view *v, str line)
{
    if (v->plain)
        cli_print(t->c, "%.*s\n", STR_ARG(str_printable(t->memory, line)));
    else
        cli_say(t->c, "\r\033[K      │ %.*s\n", STR_ARG(str_printable(t->memory, line)));
}

// Shows what is new in a job's log.
static err log_more(tau *t, log_view *v)
{
    for (;;) {
        patrick_log_request ask = {.id = v->id, .offset = v->offset, .bytes_max = LOG_PIECE_BYTES};
        patrick_log_reply reply;
        TRY(tau_ask(t, MSG_patrick_log, &ask, &reply));
        buf_add(&v->rest, reply.text);
        v->offset = reply.offset;
        v->complete = reply.complete;
        str whole = buf_str(&v->rest);
        size_t shown = 0;
        for (size_t at; (at = str_find_byte(str_from(whole, shown), '\n')) < whole.len - shown;) {
            log_line_show(t, v, (str){whole.at + shown, at});
            shown += at + 1;
        }
        buf_drop_front(&v->rest, shown);
        if (reply.text.len == 0 || reply.complete)
            break;
    }
    if (v->complete && v->rest.len > 0) {
        log_line_show(t, v, buf_str(&v->rest));
        buf_clear(&v->rest);
    }
    return ok();
}

static err job_get(tau *t, str id, job_record *out)
{
    patrick_job_request ask = {.id = id};
    patrick_job_reply reply;
    TRY(tau_ask(t, MSG_patrick_job, &ask, &reply));
    if (reply.jobs.count == 0)
        return fail(ERR_ABSENT, 0, "there is no such build");
    *out = reply.jobs.at[0];
    return ok();
}

static str job_took(tau *t, const job_record *job)
{
    uint64_t from = job->started_real_ms > 0 ? job->started_real_ms : job->created_real_ms;
    uint64_t ms = job->ended_real_ms > from ? job->ended_real_ms - from : 0;
    return ms < 1000 ? str_format(t->memory, "%llu ms", (unsigned long long)ms)
                     : str_format(t->memory, "%.1f s", (double)ms / 1000.0);
}

static str job_summary(tau *t, const job_record *job)
{
    str names = {0};
    for (size_t i = 0; i < job->assets.count; i++) {
        const asset_record *asset = &job->assets.at[i];
        names = str_format(t->memory, "%.*s%s%.*s %llu kB%s", STR_ARG(names), i == 0 ? "" : ", ",
                           STR_ARG(asset->name), (unsigned long long)(asset->bytes + 999) / 1000,
                           asset->cached ? " (cached)" : "");
    }
    if (names.len > 0)
        names = str_format(t->memory, "%.*s  ", STR_ARG(names));
    bool done = str_is(job->state, STR("done"));
    return str_format(t->memory, "%.*s  %.*s%.*s%s%.*s", STR_ARG(str_first(job->id, ID_SHOWN)),
                      STR_ARG(names), STR_ARG(done ? STR("") : job->state), done ? "" : "  ",
                      STR_ARG(job_took(t, job)));
}

// One job until it ends. EXIT_INTERRUPTED: Ctrl-C, the build goes on.
static int job_watch(tau *t, job_record *job, int signals, bool live)
{
    const char *what = str_format(t->memory, "build %.*s", STR_ARG(job->repository_name)).at;
    cli_progress *progress = cli_progress_start(t->c, what == NULL ? "build" : what);
    log_view view = {.id = job->id, .plain = false};
    buf_open(&view.rest, JOBS_JSON_BYTES);
    int code = EXIT_OK;
    err e;
    for (;;) {
        // The state before the log: what is logged before the end is shown before it.
        e = job_get(t, view.id, job);
        if (e.code == OK && live)
            e = log_more(t, &view);
        if (e.code != OK || tau_job_ended(job->state))
            break;
        cli_progress_note(progress, job->state);
        if (wait_interrupted(signals)) {
            code = EXIT_INTERRUPTED;
            break;
        }
    }
    buf_close(&view.rest);
    if (code == EXIT_INTERRUPTED) {
        cli_progress_end(progress, false, STR("interrupted"));
        str id = str_first(view.id, ID_SHOWN);
        cli_say(t->c, "Build %.*s goes on. Watch: tau builds %.*s --follow\n", STR_ARG(id),
                STR_ARG(id));
        return code;
    }
    if (e.code != OK) {
        cli_progress_end(progress, false, str_of(e.what));
        return tau_failed(t, e);
    }
    bool good = str_is(job->state, STR("done"));
    cli_progress_end(progress, good, job_summary(t, job));
    return good ? EXIT_OK : EXIT_FAILED;
}

int tau_jobs_watch(tau *t, job_record *jobs, size_t count)
{
    bool live = !cli_json(t->c) && isatty(STDERR_FILENO) && cli_colour(t->c, STDERR_FILENO);
    sigset_t before;
    int signals = signals_open(&before);
    int worst = EXIT_OK;
    for (size_t i = 0; i < count && worst != EXIT_INTERRUPTED; i++) {
        int code = job_watch(t, &jobs[i], signals, live);
        worst = code == EXIT_OK ? worst : code;
    }
    for (size_t i = 0; i < count && worst == EXIT_FAILED; i++)
        if (tau_job_ended(jobs[i].state) && !str_is(jobs[i].state, STR("done"))) {
            job_error_show(t, &jobs[i]); // the first one explains most
            break;
        }
    if (signals >= 0)
        (void)close(signals);
    (void)sigprocmask(SIG_SETMASK, &before, NULL);
    return worst;
}

// ---- verbs

// The job that the begin of an id means. Said when there is none or several.
static int job_find(tau *t, str id, job_record *out)
{
    patrick_jobs_request ask = {.project = t->id, .limit = 500};
    patrick_jobs_reply reply;
    err e = tau_ask(t, MSG_patrick_jobs, &ask, &reply);
    if (e.code != OK)
        return tau_failed(t, e);
    size_t found = 0;
    for (size_t i = 0; i < reply.jobs.count; i++)
        if (str_starts(reply.jobs.at[i].id, id)) {
            *out = reply.jobs.at[i];
            if (str_is(out->id, id))
                return EXIT_OK;
            found++;
        }
    str shown = str_printable(t->memory, id);
    if (found == 0)
        return tau_fail(t, EXIT_ABSENT, STR("tau builds"), "there is no build %.*s",
                        STR_ARG(shown));
    if (found > 1)
        return tau_fail(t, EXIT_USAGE, STR("give more of it"), "%zu builds begin with %.*s", found,
                        STR_ARG(shown));
    return EXIT_OK;
}

static int builds_list(tau *t)
{
    uint64_t limit;
    if (!cli_number(t->c, "limit", 1, 500, BUILDS_LISTED, &limit))
        return EXIT_USAGE;
    patrick_jobs_request ask = {.project = t->id, .limit = limit};
    patrick_jobs_reply reply;
    err e = tau_ask(t, MSG_patrick_jobs, &ask, &reply);
    if (e.code != OK)
        return tau_failed(t, e);
    OWNED(buf_close) buf out;
    buf_open(&out, JOBS_JSON_BYTES);
    json_writer w = {.out = &out};
    json_open_list(&w, NULL);
    for (size_t i = 0; i < reply.jobs.count; i++)
        tau_job_json(&w, &reply.jobs.at[i]);
    json_close_list(&w);
    if (tau_said_json(t, &out))
        return EXIT_OK;
    if (reply.jobs.count == 0) {
        cli_say(t->c, "No builds yet.   Next: tau push\n");
        return EXIT_OK;
    }
    enum { COLUMNS = 6 };
    str *cells = arena_take(t->memory, (reply.jobs.count + 1) * COLUMNS * sizeof(*cells));
    if (cells == NULL)
        return tau_failed(t, fail(ERR_MEMORY, 0, "list builds"));
    static const str heading[COLUMNS] = {STR("ID"),     STR("REPOSITORY"), STR("COMMIT"),
                                         STR("STATUS"), STR("WHEN"),       STR("MESSAGE")};
    memcpy(cells, heading, sizeof(heading));
    for (size_t i = 0; i < reply.jobs.count; i++) {
        const job_record *job = &reply.jobs.at[i];
        const str row[COLUMNS] = {str_first(job->id, ID_SHOWN),
                                  job->repository_name,
                                  str_first(job->commit, 7),
                                  job->state,
                                  cli_age(t->memory, job->created_real_ms, clock_real_ms()),
                                  job->error.len > 0 ? job->error : job->subject};
        memcpy(&cells[(i + 1) * COLUMNS], row, sizeof(row));
    }
    cli_columns(t->c, cells, COLUMNS, reply.jobs.count + 1);
    return EXIT_OK;
}

// The log on stdout; with --follow until the job has ended.
static int build_log(tau *t, job_record *job)
{
    sigset_t before;
    bool follow = cli_switch(t->c, "follow");
    int signals = follow ? signals_open(&before) : -1;
    log_view view = {.id = job->id, .plain = true};
    buf_open(&view.rest, JOBS_JSON_BYTES);
    err e;
    bool interrupted = false;
    for (;;) {
        e = log_more(t, &view);
        if (e.code != OK || view.complete || !follow)
            break;
        interrupted = wait_interrupted(signals);
        if (interrupted)
            break;
    }
    if (e.code == OK && view.rest.len > 0)
        log_line_show(t, &view, buf_str(&view.rest));
    buf_close(&view.rest);
    if (follow) {
        (void)close(signals);
        (void)sigprocmask(SIG_SETMASK, &before, NULL);
    }
    if (e.code == OK)
        e = job_get(t, view.id, job);
    if (e.code != OK)
        return tau_failed(t, e);
    if (interrupted)
        return EXIT_INTERRUPTED;
    return str_is(job->state, STR("failed")) && follow ? EXIT_FAILED : EXIT_OK;
}

static void build_show(tau *t, const job_record *job)
{
    cli *c = t->c;
    str error = job->error.len > 0 ? job->error : STR("-");
    str cells[] = {
        STR("build"),      job->id,
        STR("repository"), job->repository_name,
        STR("commit"),     job->commit,
        STR("message"),    job->subject,
        STR("status"),     job->state,
        STR("error"),      error,
        STR("took"),       tau_job_ended(job->state) ? job_took(t, job) : STR("-"),
        STR("when"),       cli_age(t->memory, job->created_real_ms, clock_real_ms()),
    };
    cli_box(c, cells, 2, COUNT(cells) / 2);
    for (size_t i = 0; i < job->assets.count; i++)
        cli_print(c, "  %.*s  %llu bytes  %.*s%s\n", STR_ARG(job->assets.at[i].name),
                  (unsigned long long)job->assets.at[i].bytes,
                  STR_ARG(str_first(job->assets.at[i].hash, 12)),
                  job->assets.at[i].cached ? "  from the cache" : "");
}

int tau_builds(cli *c)
{
    OWNED(tau_close) tau t;
    int code = tau_open(c, &t, TAU_PROJECT | TAU_CLOUD);
    if (code != EXIT_OK)
        return code;
    bool log = cli_switch(c, "log") || cli_switch(c, "follow");
    str id = cli_argument(c, 0);
    if (id.len == 0 && !log)
        return builds_list(&t);
    job_record job = {0};
    if (id.len > 0) {
        code = job_find(&t, id, &job);
    } else { // the last one
        patrick_jobs_request ask = {.project = t.id, .limit = 1};
        patrick_jobs_reply reply;
        err e = tau_ask(&t, MSG_patrick_jobs, &ask, &reply);
        if (e.code != OK)
            return tau_failed(&t, e);
        if (reply.jobs.count == 0)
            return tau_fail(&t, EXIT_ABSENT, STR("tau push"), "there is no build yet");
        job = reply.jobs.at[0];
    }
    if (code == EXIT_OK && log)
        return build_log(&t, &job);
    if (code != EXIT_OK)
        return code;
    OWNED(buf_close) buf out;
    buf_open(&out, JOBS_JSON_BYTES);
    json_writer w = {.out = &out};
    tau_job_json(&w, &job);
    if (!tau_said_json(&t, &out))
        build_show(&t, &job);
    return EXIT_OK;
}

static int job_command(cli *c, message_kind kind, const char *said)
{
    OWNED(tau_close) tau t;
    job_record job = {0};
    int code = tau_open(c, &t, TAU_PROJECT | TAU_CLOUD);
    if (code == EXIT_OK)
        code = job_find(&t, cli_argument(c, 0), &job);
    if (code != EXIT_OK)
        return code;
    // Cancel and retry have the same request and reply.
    patrick_cancel_request ask = {.id = job.id};
    patrick_cancel_reply reply;
    err e = tau_ask(&t, kind, &ask, &reply);
    if (e.code != OK)
        return tau_failed(&t, e);
    if (reply.jobs.count > 0)
        job = reply.jobs.at[0];
    OWNED(buf_close) buf out;
    buf_open(&out, JOBS_JSON_BYTES);
    json_writer w = {.out = &out};
    tau_job_json(&w, &job);
    if (tau_said_json(&t, &out))
        return EXIT_OK;
    str id = str_first(job.id, ID_SHOWN);
    if (kind == MSG_patrick_cancel)
        cli_print(c, "%s %.*s.   Once more: tau retry %.*s\n", said, STR_ARG(id), STR_ARG(id));
    else
        cli_print(c, "%s %.*s.   Watch: tau builds %.*s --follow\n", said, STR_ARG(id),
                  STR_ARG(id));
    return EXIT_OK;
}

int tau_cancel(cli *c)
{
    return job_command(c, MSG_patrick_cancel, "Cancelled build");
}

int tau_retry(cli *c)
{
    return job_command(c, MSG_patrick_retry, "Queued again as build");
}
