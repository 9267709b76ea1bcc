// tau start: one node of a universe as this process; tau config: what its shape file says.
//
// Its supervisor reads standard output, one JSON object per line: {"event":"ready"},
// {"event":"server","pid":7,"up":true} of an elder, {"event":"failed","err":"conflict","text":"…"};
// standard error is the journal, JSON as well.
#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "cmd/dream_inner.h"
#include "cmd/tau_inner.h"
#include "io/loop.h"
#include "model/shape_file.h"
#include "node/process.h"
#include "vm/vm.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { START_STOP_MS_MAX = 900, START_LINE_BYTES = 8192, START_DIAGNOSES = 20 };

struct start {
    loop *loop;
    log_sink *log;
    process *process;
    timer *limit;
    bool stopping;
    int code;
};

// One line for whoever started us; nobody there is fine.
static void start_say(buf *line)
{
    buf_add_byte(line, '\n');
    for (size_t at = 0; line->error.code == OK && at < line->len;) {
        ssize_t n = write(STDOUT_FILENO, line->at + at, line->len - at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        at += (size_t)n;
    }
}

static void start_say_failed(err e)
{
    OWNED(buf_close) buf line;
    buf_open(&line, START_LINE_BYTES);
    json_writer w = {.out = &line};
    json_open_object(&w, NULL);
    json_put_text(&w, "event", STR("failed"));
    json_put_text(&w, "err", str_of(err_name(e.code)));
    json_put_text(&w, "text", str_of(e.what));
    json_close_object(&w);
    start_say(&line);
}

static void start_on_closed(void *data)
{
    struct start *s = data;
    s->process = NULL;
    loop_stop(s->loop);
}

// What still hangs after this long is killed with us: children die with their parent.
static void start_on_limit(void *data)
{
    struct start *s = data;
    _exit(s->code != EXIT_OK ? s->code : EXIT_FAILED);
}

static void start_stop(void *data)
{
    struct start *s = data;
    if (s->stopping)
        return;
    s->stopping = true;
    timer_start(s->limit, START_STOP_MS_MAX, 0);
    process_close(s->process, start_on_closed, s);
}

static void start_on_signal(void *data, int number)
{
    (void)number;
    start_stop(data);
}

static void start_end(struct start *s, err e)
{
    log_fail(s->log, "node ends", e, NULL);
    start_say_failed(e);
    s->code = e.code == ERR_CONFLICT || e.code == ERR_BUSY ? EXIT_CONFLICT : EXIT_FAILED;
    if (loop_defer(s->loop, start_stop, s).code != OK)
        start_stop(s);
}

static void start_on_ready(void *data, err e)
{
    struct start *s = data;
    if (e.code != OK) {
        start_end(s, e);
        return;
    }
    OWNED(buf_close) buf line;
    buf_open(&line, START_LINE_BYTES);
    buf_add_format(&line, "{\"event\":\"ready\",\"pid\":%d}", (int)getpid());
    start_say(&line);
}

static void start_on_lost(void *data, err e)
{
    start_end(data, e);
}

static void start_on_server(void *data, int pid, bool up)
{
    (void)data;
    OWNED(buf_close) buf line;
    buf_open(&line, START_LINE_BYTES);
    buf_add_format(&line, "{\"event\":\"server\",\"pid\":%d,\"up\":%s}", pid,
                   up ? "true" : "false");
    start_say(&line);
}

// ---- the shape file

static int start_shape(cli *c, const char **root, shape *out)
{
    arena *a = cli_arena(c);
    str name = cli_value(c, "shape"), folder = cli_value(c, "root");
    char path[PATH_MAX];
    if (name.len == 0 || folder.len == 0)
        return cli_fail(c, EXIT_USAGE, STR("which shape, below which folder?"),
                        STR("tau start --shape NAME --root DIR reads DIR/config/NAME.yaml"));
    if (str_find_byte(name, '/') < name.len || realpath(str_c(a, folder), path) == NULL)
        return cli_fail(
            c, EXIT_ABSENT,
            str_format(a, "there is no %.*s/config/%.*s.yaml", STR_ARG(folder), STR_ARG(name)),
            STR("name the universe's folder with --root"));
    *root = str_c(a, str_of(path));
    str file = str_format(a, "config/%.*s.yaml", STR_ARG(name)), text;
    err e =
        file_read(a, str_format(a, "%s/%.*s", path, STR_ARG(file)).at, SHAPE_FILE_BYTES_MAX, &text);
    if (e.code != OK)
        return cli_fail(c, e.code == ERR_ABSENT ? EXIT_ABSENT : EXIT_FAILED,
                        str_format(a, "%s/%.*s cannot be read: %s", path, STR_ARG(file),
                                   e.sys > 0 ? strerror(e.sys) : e.what),
                        STR("name the universe's folder with --root"));
    diagnoses found;
    diagnoses_init(&found, a, START_DIAGNOSES);
    e = shape_read(a, file, text, &found, out);
    if (found.count > 0) {
        cli_diagnoses(c, path, &found);
        return EXIT_USAGE;
    }
    return e.code == OK ? EXIT_OK : cli_fail(c, EXIT_FAILED, str_of(e.what), STR(""));
}

int tau_config(cli *c)
{
    str verb = cli_argument(c, 0);
    bool show = str_is(verb, STR("show"));
    const char *root;
    shape k;
    if (!show && !str_is(verb, STR("validate")))
        return cli_fail(c, EXIT_USAGE, STR("validate or show?"),
                        STR("tau config validate --shape NAME --root DIR"));
    int code = start_shape(c, &root, &k);
    if (code != EXIT_OK)
        return code;
    if (!show) {
        cli_print(c, "[SUCCESS] %.*s of universe %.*s is well\n", STR_ARG(k.node),
                  STR_ARG(k.universe));
        return EXIT_OK;
    }
    OWNED(buf_close) buf out;
    buf_open(&out, SHAPE_FILE_BYTES_MAX);
    shape_write(&out, &k);
    cli_print(c, "%.*s", STR_ARG(buf_str(&out)));
    return EXIT_OK;
}

// ---- the process

static err start_open(struct start *s, signal_watch **watches, const process_settings *settings)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < COUNT(numbers); i++)
        TRY(signal_watch_open(&watches[i], s->loop, numbers[i], start_on_signal, s));
    TRY(timer_open(&s->limit, s->loop, start_on_limit, s));
    return process_open(&s->process, settings);
}

static int start_run(struct start *s, process_settings *settings)
{
    signal_watch *watches[3] = {0};
    settings->loop = s->loop;
    settings->log = s->log;
    err e = start_open(s, watches, settings);
    if (e.code != OK) {
        start_end(s, e);
        if (s->process == NULL)
            return s->code;
    }
    loop_run(s->loop);
    for (size_t i = 0; i < COUNT(watches); i++)
        if (watches[i] != NULL)
            signal_watch_close(watches[i]);
    timer_close(s->limit);
    loop_close(s->loop);
    return s->code;
}

int tau_start(cli *c)
{
    (void)signal(SIGPIPE, SIG_IGN);
    // A key is in this process: no core files, and no other process of this user reads its memory.
    (void)prctl(PR_SET_DUMPABLE, 0);
    struct start s = {.code = EXIT_OK};
    shape k;
    process_settings settings = {
        .shape = &k,
        .program = dream_program(cli_arena(c)),
        .engine = vm_flags(NULL),
        .ready = start_on_ready,
        .lost = start_on_lost,
        .on_server = start_on_server,
        .data = &s,
    };
    int code = start_shape(c, &settings.root, &k);
    if (code == EXIT_OK)
        code = process_limits(c);
    if (code != EXIT_OK)
        return code;
    log_sink *plain = NULL;
    err e = log_open(&plain, STDERR_FILENO, true, cli_switch(c, "debug") ? LOG_DEBUG : LOG_INFO);
    if (e.code == OK)
        e = log_scope(&s.log, plain, "universe", k.universe);
    if (e.code == OK)
        e = loop_open(&s.loop);
    if (e.code != OK)
        return cli_fail(c, EXIT_FAILED, str_of(e.what), STR(""));
    code = start_run(&s, &settings);
    log_close(s.log);
    log_close(plain);
    return code;
}
