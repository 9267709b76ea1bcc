// dream doctor, logs and version: what this machine can do, what the nodes said, what this program
// is.
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "cmd/dream_inner.h"
#include "dream/ports.h"
#include "io/conn.h"
#include "node/elder.h"
#include "vm/vm.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LOG_TAIL_BYTES = 8 << 20, DISK_MIB_LEAST = 1024 };

// ---- doctor

struct check {
    const char *name;
    bool good;
    str found, fix;
};

static bool doctor_find(arena *a, const char *program, str *where)
{
    str rest = str_of(getenv("PATH"));
    while (rest.len > 0) {
        str folder = str_cut(&rest, ':');
        str path = str_format(a, "%.*s/%s", STR_ARG(folder), program);
        if (path.at != NULL && access(path.at, X_OK) == 0) {
            *where = path;
            return true;
        }
    }
    *where = STR("not found");
    return false;
}

static struct check doctor_program(arena *a, const char *name, const char *program, const char *fix)
{
    struct check c = {.name = name, .fix = str_of(fix)};
    c.good = doctor_find(a, program, &c.found);
    return c;
}

// Starts bubblewrap for real: finding it does not mean that this kernel lets it work.
static struct check doctor_sandbox(arena *a)
{
    struct check c = doctor_program(a, "sandbox", "bwrap", "apt-get install bubblewrap");
    if (!c.good)
        return c;
    pid_t child = fork();
    if (child == 0) {
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        (void)dup2(null, 1);
        (void)dup2(null, 2);
        (void)execl(c.found.at, "bwrap", "--unshare-all", "--ro-bind", "/", "/", "/bin/true",
                    (char *)NULL);
        _exit(127);
    }
    int status = 1;
    c.good = child > 0 && waitpid(child, &status, 0) == child && status == 0;
    if (!c.good) {
        c.found = STR("bwrap cannot make a sandbox here");
        c.fix = STR("allow user namespaces: sysctl kernel.unprivileged_userns_clone=1");
    }
    return c;
}

static struct check doctor_disk(arena *a)
{
    struct check c = {.name = "disk", .fix = STR("make room, or set DREAM_HOME to another disk")};
    const char *home = dream_home(a);
    struct statvfs info;
    while (home != NULL &&
           statvfs(home, &info) != 0) { // not made yet: ask for the folder it will be in
        str up = str_of(home);
        while (up.len > 1 && up.at[up.len - 1] != '/')
            up.len--;
        home = up.len <= 1 ? "/" : str_c(a, str_first(up, up.len - 1));
    }
    uint64_t mib = home == NULL ? 0 : (uint64_t)info.f_bavail * info.f_frsize >> 20;
    c.good = mib >= DISK_MIB_LEAST;
    c.found = str_format(a, "%llu MiB free", (unsigned long long)mib);
    return c;
}

static struct check doctor_ports(arena *a, bool running)
{
    struct check c = {.name = "ports",
                      .good = true,
                      .fix = STR("nothing to do: the next free block is taken and said")};
    if (running)
        c.found = STR("in use by the running multiverse");
    else if (!ports_block_is_free("127.0.0.1", PORTS_SHIFT))
        c.found =
            str_format(a, "some of %d to %d are in use", PORTS_SHIFT, PORTS_SHIFT + PORTS_STEP - 1);
    else
        c.found = STR("free");
    return c;
}

// Without it a cloud still runs in one process.
static struct check doctor_mesh(arena *a)
{
    struct check c = {.name = "mesh", .good = true};
    const char *server = elder_find_server(a, dream_program(a));
    c.found = server == NULL ? STR("no meshd: --processes needs it, make dream builds it")
                             : str_of(server);
    return c;
}

int dream_doctor(cli *c)
{
    arena *a = cli_arena(c);
    dream_client *api;
    bool running = dream_client_open(&api, a, STR("")).code == OK;
    if (running)
        dream_client_close(api);
    const struct check checks[] = {
        doctor_program(a, "git", "git", "apt-get install git"),
        doctor_sandbox(a),
        doctor_program(a, "c", "clang", "apt-get install clang lld"),
        doctor_program(a, "linker", "wasm-ld", "apt-get install lld"),
        doctor_program(a, "go", "go", "make setup, or install Go 1.24 or later"),
        doctor_mesh(a),
        doctor_disk(a),
        doctor_ports(a, running),
    };
    size_t bad = 0;
    OWNED(buf_close) buf out;
    buf_open(&out, 64 * 1024);
    json_writer w = {.out = &out};
    json_open_list(&w, NULL);
    for (size_t i = 0; i < COUNT(checks); i++) {
        const struct check *k = &checks[i];
        bad += !k->good;
        json_open_object(&w, NULL);
        json_put_text(&w, "check", str_of(k->name));
        json_put_flag(&w, "good", k->good);
        json_put_text(&w, "found", k->found);
        if (!k->good)
            json_put_text(&w, "fix", k->fix);
        json_close_object(&w);
        if (cli_json(c))
            continue;
        cli_print(c, "  %s %-9s %.*s\n", k->good ? "✓" : "✗", k->name, STR_ARG(k->found));
        if (!k->good)
            cli_print(c, "      fix: %.*s\n", STR_ARG(k->fix));
    }
    json_close_list(&w);
    if (cli_json(c))
        cli_json_out(c, buf_str(&out));
    else if (bad > 0)
        cli_print(c, "%zu %s\n", bad, bad == 1 ? "problem" : "problems");
    return bad == 0 ? EXIT_OK : EXIT_FAILED;
}

// ---- logs

static int logs_follow(cli *c, int fd, off_t at)
{
    char bytes[16 * 1024];
    for (;;) {
        ssize_t n = pread(fd, bytes, sizeof(bytes), at);
        if (n < 0)
            return cli_fail(c, EXIT_FAILED, STR("the log file cannot be read"), STR(""));
        if (n > 0)
            cli_print(c, "%.*s", (int)n, bytes);
        at += n;
        if (n == 0)
            nanosleep(&(struct timespec){.tv_nsec = 200 * 1000 * 1000}, NULL);
    }
}

int dream_logs(cli *c)
{
    arena *a = cli_arena(c);
    uint64_t lines;
    const char *home = dream_home(a);
    if (!cli_number(c, "lines", 0, 1000 * 1000, 100, &lines))
        return EXIT_USAGE;
    OWNED(fd_drop)
    int fd =
        home == NULL ? -1 : open(str_format(a, "%s/logs/dream.log", home).at, O_RDONLY | O_CLOEXEC);
    struct stat info;
    if (fd < 0 || fstat(fd, &info) != 0)
        return cli_fail(c, EXIT_ABSENT, STR("there is no log yet"), STR("dream new multiverse"));
    off_t from = info.st_size > LOG_TAIL_BYTES ? info.st_size - LOG_TAIL_BYTES : 0;
    size_t size = (size_t)(info.st_size - from);
    char *bytes = arena_take(a, size + 1);
    ssize_t n = bytes == NULL ? -1 : pread(fd, bytes, size, from);
    if (n < 0)
        return cli_fail(c, EXIT_FAILED, STR("the log file cannot be read"), STR(""));
    size_t at = (size_t)n;
    for (uint64_t seen = 0; at > 0; at--)
        if (bytes[at - 1] == '\n' && at < (size_t)n && ++seen == lines)
            break;
    cli_print(c, "%.*s", (int)((size_t)n - at), bytes + at);
    return cli_switch(c, "follow") ? logs_follow(c, fd, from + n) : EXIT_OK;
}

// ---- version

int dream_version(cli *c)
{
    if (cli_json(c))
        cli_json_out(c, str_format(cli_arena(c), "{\"version\":\"%s\",\"engine\":\"%s\"}", VERSION,
                                   vm_flags(NULL)));
    else
        cli_print(c, "dream %s (%s)\n", VERSION, vm_flags(NULL));
    return EXIT_OK;
}
