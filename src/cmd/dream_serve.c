// dream new multiverse: runs the clouds of this DREAM_HOME, in the foreground or as a daemon.
//
// The happy path is: 1. --daemon forks while there is one thread; 2. a log file, a loop, the
// multiverse; 3. the article's two lines; 4. until Ctrl-C, SIGTERM or `dream kill all`. What can
// fail: another one runs, ports, the disk.
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "cmd/dream_inner.h"
#include "dream/multiverse.h"
#include "dream/ports.h"
#include "io/loop.h"
#include "vm/vm.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ADDRESS_SPACE_MIN (280ULL << 30) // a worker's pools, of pages that are mostly never touched
enum { SERVE_TURN_MS = 100, FILES_MIN = 256, READY_JSON_BYTES = 64 * 1024 };
enum { HOME_BYTES_MAX = 420 }; // SQLite takes paths of 512 bytes, and some are below a universe's
enum { LOG_FILE_BYTES_MAX = 16 << 20, STOP_MS_MAX = 900, SERVE_UNIVERSES_MAX = UNIVERSES_MAX };

struct serve {
    cli *c;
    loop *loop;
    log_sink *log;
    journal *journal; // of nodes that are processes
    multiverse *multiverse;
    timer *limit;
    bool stopping;
    int code; // to end with
};

static void serve_on_closed(void *data)
{
    struct serve *s = data;
    s->multiverse = NULL;
    loop_stop(s->loop);
}

// What still hangs after this long is killed with us: children die with their parent.
static void serve_on_limit(void *data)
{
    struct serve *s = data;
    _exit(s->code != EXIT_OK ? s->code : EXIT_FAILED);
}

// Processes have that long each, and elders end behind the others.
static uint64_t serve_stop_ms(const struct serve *s)
{
    universe *u;
    for (size_t i = 0; (u = multiverse_at(s->multiverse, i)) != NULL; i++)
        if (str_is(str_of(universe_engine_name(u)), STR("processes")))
            return 3 * STOP_MS_MAX;
    return STOP_MS_MAX;
}

static void serve_stop(void *data)
{
    struct serve *s = data;
    if (s->stopping)
        return;
    s->stopping = true;
    timer_start(s->limit, serve_stop_ms(s), 0);
    multiverse_close(s->multiverse, serve_on_closed, s);
}

static void serve_on_signal(void *data, int number)
{
    (void)number;
    serve_stop(data);
}

static void serve_on_stop_asked(void *data)
{
    // After the answer has left: the API is the first thing that closes.
    struct serve *s = data;
    if (loop_defer(s->loop, serve_stop, s).code != OK)
        serve_stop(s);
}

// Appends to HOME/logs/dream.log; a large one of former runs becomes dream.log.1.
static err serve_log_open(arena *a, const char *home, int *fd)
{
    const char *folder = str_format(a, "%s/logs", home).at,
               *path = str_format(a, "%s/logs/dream.log", home).at;
    const char *former = str_format(a, "%s/logs/dream.log.1", home).at;
    if (former == NULL)
        return fail(ERR_LIMIT, 0, "DREAM_HOME is too long a path");
    TRY(file_make_folders(folder, 0700));
    struct stat info;
    if (stat(path, &info) == 0 && info.st_size > LOG_FILE_BYTES_MAX)
        (void)rename(path, former);
    *fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    return *fd < 0 ? fail_errno(errno, "open log file") : ok();
}

static int serve_copies(cli *c, universe_copies *out)
{
    str copies[8];
    size_t given = cli_values(c, "copies", copies, COUNT(copies));
    for (size_t i = 0; i < given; i++) {
        str rest = copies[i];
        str name = str_cut(&rest, '=');
        uint64_t n;
        size_t *into = str_is(name, STR("monkey"))      ? &out->monkey
                       : str_is(name, STR("substrate")) ? &out->substrate
                       : str_is(name, STR("hoarder"))   ? &out->hoarder
                                                        : NULL;
        uint64_t most = cli_switch(c, "processes") ? COPIES_MAX : 64;
        if (into == NULL || str_number(rest, &n).code != OK || n == 0 || n > most)
            return cli_fail(c, EXIT_USAGE,
                            str_format(cli_arena(c),
                                       "--copies is a list like monkey=2,substrate=2 (at most %u)",
                                       (unsigned)most),
                            STR("dream new multiverse --help"));
        *into = (size_t)n;
    }
    return EXIT_OK;
}

static int serve_settings(cli *c, universe_settings *u, str *names, size_t *count)
{
    uint64_t shift, gateway, elders;
    if (!cli_number(c, "shift", 1024, 60000, 0, &shift) ||
        !cli_number(c, "gateway-port", 1, 65535, 0, &gateway) ||
        !cli_number(c, "elders", 1, ELDERS_MAX, 0, &elders))
        return EXIT_USAGE;
    *u = (universe_settings){.shift = (uint16_t)shift,
                             .gateway_port = (uint16_t)gateway,
                             .clean = cli_switch(c, "clean"),
                             .kind = cli_switch(c, "processes")         ? ENGINE_PROCESSES
                                     : cli_switched_off(c, "processes") ? ENGINE_EMBEDDED
                                                                        : ENGINE_AS_IT_WAS,
                             .elders = (size_t)elders,
                             .address = cli_value(c, "address"),
                             .request_log = cli_switch(c, "request-log"),
                             .debug = cli_switch(c, "debug"),
                             .program = dream_program(cli_arena(c)),
                             .engine = vm_flags(NULL)};
    int code = serve_copies(c, &u->copies);
    if (code != EXIT_OK)
        return code;
    *count = cli_values(c, "universes", names, SERVE_UNIVERSES_MAX);
    if (*count == 0)
        names[(*count)++] = STR("blackhole");
    if (u->program == NULL)
        return cli_fail(c, EXIT_FAILED, STR("/proc/self/exe cannot be read"), STR("mount /proc"));
    return EXIT_OK;
}

static bool serve_api_address(arena *a, const char **host, uint16_t *port)
{
    const char *given = getenv("DREAM_API");
    str text = given == NULL ? STR("127.0.0.1:1421") : str_of(given);
    if (str_starts(text, STR("http://")))
        text = str_from(text, 7);
    size_t colon = str_find_byte(text, ':');
    uint64_t number;
    if (colon == text.len || str_number(str_from(text, colon + 1), &number).code != OK ||
        number > 65535)
        return false;
    str name = str_first(text, colon);
    *host = str_c(a, str_is(name, STR("localhost")) ? STR("127.0.0.1") : name);
    *port = (uint16_t)number;
    return *host != NULL;
}

static void serve_say_ready(struct serve *s)
{
    cli *c = s->c;
    universe *u;
    if (cli_json(c)) {
        OWNED(buf_close) buf out;
        buf_open(&out, READY_JSON_BYTES);
        json_writer w = {.out = &out};
        json_open_list(&w, NULL);
        for (size_t i = 0; (u = multiverse_at(s->multiverse, i)) != NULL; i++) {
            json_open_object(&w, NULL);
            json_put_text(&w, "universe", universe_name(u));
            json_put_whole(&w, "shift", universe_shift(u));
            json_put_whole(&w, "gateway_port", universe_gateway_port(u));
            json_close_object(&w);
        }
        json_close_list(&w);
        cli_json_out(c, buf_str(&out));
        return;
    }
    cli_print(c, "[INFO] Dreamland ready\n");
    for (size_t i = 0; (u = multiverse_at(s->multiverse, i)) != NULL; i++) {
        if (universe_shift_moved(u))
            cli_say(c, "[INFO] ports from %u on: the wanted block was in use\n", universe_shift(u));
        if (universe_gateway_port(u) != PORTS_GATEWAY)
            cli_say(c, "[INFO] gateway of %.*s: port %u\n", STR_ARG(universe_name(u)),
                    universe_gateway_port(u));
        cli_print(c, "[SUCCESS] Universe %.*s started!\n", STR_ARG(universe_name(u)));
    }
}

// The daemon's parent waits here for its child to be ready, or to say why not.
static int serve_wait_for(int ready, pid_t child)
{
    char code = EXIT_FAILED;
    ssize_t n;
    do
        n = read(ready, &code, 1);
    while (n < 0 && errno == EINTR);
    if (n == 1)
        return code;
    int status;
    return waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status)
                                                                    : EXIT_FAILED;
}

static void serve_detach(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; fd <= 2 && null >= 0; fd++)
        (void)dup2(null, fd);
    if (null > 2)
        (void)close(null);
}

static int serve_failed(cli *c, err e)
{
    if (e.code == ERR_BUSY)
        return cli_fail(c, EXIT_CONFLICT, str_of(e.what),
                        STR("dream status universe   or stop it: dream kill all"));
    if (e.code == ERR_CONFLICT && e.sys < 0)
        return cli_fail(c, EXIT_CONFLICT, str_of(e.what),
                        STR("leave the flag out, or add --clean: it starts empty then"));
    if (e.code == ERR_CONFLICT && e.sys != EEXIST && e.sys != ENOTDIR)
        return cli_fail(
            c, EXIT_CONFLICT, str_of(e.what),
            STR("name other ports: --shift N, --gateway-port PORT, DREAM_API=127.0.0.1:PORT"));
    return cli_fail(c, EXIT_FAILED,
                    str_format(cli_arena(c), "%s%s%s", e.what, e.sys > 0 ? ": " : "",
                               e.sys > 0 ? strerror(e.sys) : ""),
                    STR("dream logs tells more; dream doctor checks this machine"));
}

static err serve_open(struct serve *s, const char *home, bool foreground, int *log_fd)
{
    TRY(serve_log_open(cli_arena(s->c), home, log_fd));
    TRY(log_open(&s->log, *log_fd, false, cli_switch(s->c, "debug") ? LOG_DEBUG : LOG_INFO));
    TRY(journal_open(&s->journal, *log_fd, foreground ? STDERR_FILENO : -1,
                     cli_colour(s->c, STDERR_FILENO)));
    return loop_open(&s->loop);
}

// Universes of processes come up by and by.
static err serve_wait_ready(struct serve *s)
{
    universe *u;
    for (size_t i = 0; !s->stopping && (u = multiverse_at(s->multiverse, i)) != NULL; i++) {
        err e;
        while (!s->stopping && multiverse_at(s->multiverse, i) == u && universe_is_starting(u, &e))
            loop_turn(s->loop, SERVE_TURN_MS);
        if (s->stopping || multiverse_at(s->multiverse, i) != u)
            break;
        if (e.code != OK)
            return e;
    }
    return ok();
}

// `ready`: -1 in the foreground, else the pipe on which the parent waits for the exit code.
static int serve_run(cli *c, int ready)
{
    struct serve s = {.c = c};
    arena *a = cli_arena(c);
    str names[SERVE_UNIVERSES_MAX];
    multiverse_settings settings = {
        .home = dream_home(a), .universes = names, .on_stop = serve_on_stop_asked, .data = &s};
    int code = serve_settings(c, &settings.defaults, names, &settings.universes_count);
    if (code != EXIT_OK)
        return code;
    if (settings.home == NULL)
        return cli_fail(c, EXIT_USAGE, STR("neither DREAM_HOME nor HOME is set"),
                        STR("dream help environment"));
    if (strlen(settings.home) > HOME_BYTES_MAX)
        return cli_fail(c, EXIT_USAGE,
                        str_format(a, "DREAM_HOME is a path of more than %d bytes", HOME_BYTES_MAX),
                        STR("dream help environment"));
    if (!serve_api_address(a, &settings.api_address, &settings.api_port))
        return cli_fail(c, EXIT_USAGE, STR("DREAM_API is HOST:PORT"),
                        STR("dream help environment"));
    OWNED(fd_drop) int log_fd = -1;
    err e = serve_open(&s, settings.home, ready < 0, &log_fd);
    if (e.code != OK)
        return serve_failed(c, e);
    settings.defaults.journal = s.journal;
    settings.loop = s.loop;
    settings.log = s.log;
    signal_watch *watches[3] = {0};
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < COUNT(numbers) && e.code == OK; i++)
        e = signal_watch_open(&watches[i], s.loop, numbers[i], serve_on_signal, &s);
    if (e.code == OK)
        e = timer_open(&s.limit, s.loop, serve_on_limit, &s);
    if (e.code == OK)
        e = multiverse_open(&s.multiverse, &settings);
    if (e.code == OK)
        e = serve_wait_ready(&s);
    if (s.stopping) { // somebody wanted it to end before it was up
        while (s.multiverse != NULL)
            loop_turn(s.loop, STOP_MS_MAX);
        code = EXIT_INTERRUPTED;
    } else if (e.code != OK) {
        s.code = code = serve_failed(c, e);
        if (s.multiverse != NULL)
            serve_stop(&s);
        while (s.multiverse != NULL)
            loop_turn(s.loop, STOP_MS_MAX);
    } else {
        serve_say_ready(&s);
        fflush(NULL);
        if (ready >= 0) {
            char zero = EXIT_OK;
            (void)!write(ready, &zero, 1);
            serve_detach();
        }
        loop_run(s.loop);
    }
    for (size_t i = 0; i < COUNT(watches); i++)
        if (watches[i] != NULL)
            signal_watch_close(watches[i]);
    timer_close(s.limit);
    loop_close(s.loop);
    journal_close(s.journal);
    log_close(s.log);
    return code;
}

// Said now, because later it would look like workers that crash and builds that fail.
int process_limits(cli *c)
{
    arena *a = cli_arena(c);
    struct rlimit files, space;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
        if (files.rlim_max < FILES_MIN)
            return cli_fail(c, EXIT_FAILED,
                            str_format(a, "only %llu files may be open here, and a cloud needs %d",
                                       (unsigned long long)files.rlim_max, FILES_MIN),
                            STR("ulimit -Hn 4096"));
    }
    if (getrlimit(RLIMIT_AS, &space) == 0 && space.rlim_cur < ADDRESS_SPACE_MIN)
        return cli_fail(c, EXIT_FAILED,
                        str_format(a,
                                   "address space is limited to %llu MiB here, and each worker "
                                   "reserves more (it uses little of it)",
                                   (unsigned long long)space.rlim_cur >> 20),
                        STR("ulimit -v unlimited"));
    return EXIT_OK;
}

int dream_new_multiverse(cli *c)
{
    (void)signal(SIGPIPE, SIG_IGN);
    // Keys are in this process: no core files, and no other process of this user reads its memory.
    (void)prctl(PR_SET_DUMPABLE, 0);
    int limits = process_limits(c);
    if (limits != EXIT_OK)
        return limits;
    if (!cli_switch(c, "daemon"))
        return serve_run(c, -1);
    int ready[2];
    if (pipe2(ready, O_CLOEXEC) != 0)
        return cli_fail(c, EXIT_FAILED, STR("no pipe for the daemon"), STR(""));
    fflush(NULL);
    pid_t child = fork(); // before any thread exists
    if (child < 0)
        return cli_fail(c, EXIT_FAILED, STR("the daemon cannot be forked"), STR(""));
    if (child > 0) {
        (void)close(ready[1]);
        int code = serve_wait_for(ready[0], child);
        (void)close(ready[0]);
        return code;
    }
    (void)close(ready[0]);
    (void)setsid();
    return serve_run(c, ready[1]);
}
