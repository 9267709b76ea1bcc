// Runs git for tau: one child at a time, its two outputs caught.
#include "cmd/git.h"

#include "base/buf.h"
#include "base/hash.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ARGUMENTS_MAX = 32, ENVIRONMENT_MAX = 1024, OUTPUT_BYTES_MAX = 16 << 20 };
extern char **environ;

// What of our environment would lead git to another repository, or make it wait for somebody.
static bool variable_is_dropped(const char *variable)
{
    static const char *const names[] = {"GIT_DIR=",
                                        "GIT_WORK_TREE=",
                                        "GIT_INDEX_FILE=",
                                        "GIT_PREFIX=",
                                        "GIT_OBJECT_DIRECTORY=",
                                        "GIT_NAMESPACE=",
                                        "GIT_CONFIG_COUNT=",
                                        "GIT_TERMINAL_PROMPT=",
                                        "GIT_ASKPASS=",
                                        "LC_ALL="};
    for (size_t i = 0; i < COUNT(names); i++)
        if (strncmp(variable, names[i], strlen(names[i])) == 0)
            return true;
    return false;
}

// Our environment without those, and settings for the one address that gets the token.
static err environment_make(const checkout *k, const char **out)
{
    arena *a = k->memory;
    size_t count = 0;
    for (char **each = environ; *each != NULL && count < ENVIRONMENT_MAX - 16; each++)
        if (!variable_is_dropped(*each))
            out[count++] = *each;
    out[count++] = "GIT_TERMINAL_PROMPT=0";
    out[count++] = "GIT_ASKPASS=true";
    out[count++] = "LC_ALL=C";
    if (k->base != NULL && k->credentials != NULL) {
        str secret = base64_of(a, str_of(k->credentials));
        out[count++] = "GIT_CONFIG_COUNT=2";
        out[count++] = str_format(a, "GIT_CONFIG_KEY_0=http.%s.extraHeader", k->base).at;
        out[count++] =
            str_format(a, "GIT_CONFIG_VALUE_0=Authorization: Basic %.*s", STR_ARG(secret)).at;
        out[count++] = str_format(a, "GIT_CONFIG_KEY_1=http.%s.proxy", k->base).at;
        out[count++] = "GIT_CONFIG_VALUE_1=";
    }
    out[count] = NULL;
    for (size_t i = 0; i < count; i++)
        if (out[i] == NULL)
            return fail(ERR_MEMORY, 0, "run git");
    return ok();
}

// The child has its own standard input (nothing) and dies of a broken pipe, which we do not.
static err child_start(const char *const *arguments,
                       const char *const *environment,
                       const int outputs[2],
                       pid_t *child)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t signals;
    if (posix_spawn_file_actions_init(&actions) != 0 || posix_spawnattr_init(&attributes) != 0)
        return fail(ERR_MEMORY, 0, "run git");
    sigemptyset(&signals);
    (void)posix_spawnattr_setsigmask(&attributes, &signals);
    sigaddset(&signals, SIGPIPE);
    (void)posix_spawnattr_setsigdefault(&attributes, &signals);
    (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    int rc = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    for (int i = 0; i < 2 && rc == 0; i++)
        rc = posix_spawn_file_actions_adddup2(&actions, outputs[i], i + 1);
    if (rc == 0)
        rc = posix_spawnp(child, "git", &actions, &attributes, (char *const *)arguments,
                          (char *const *)environment);
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)posix_spawnattr_destroy(&attributes);
    if (rc == ENOENT)
        return fail(ERR_ABSENT, rc, "git is not installed");
    return rc == 0 ? ok() : fail(ERR_SYSTEM, rc, "run git");
}

// Reads both outputs to their ends. Past the limit the rest is read and dropped.
static err outputs_read(const int inputs[2], buf texts[2])
{
    struct pollfd waits[2] = {{.fd = inputs[0], .events = POLLIN},
                              {.fd = inputs[1], .events = POLLIN}};
    char piece[16 * 1024];
    while (waits[0].fd >= 0 || waits[1].fd >= 0) {
        if (poll(waits, 2, -1) < 0 && errno != EINTR)
            return fail_errno(errno, "wait for git");
        for (int i = 0; i < 2; i++) {
            if (waits[i].fd < 0 || waits[i].revents == 0)
                continue;
            ssize_t n = read(waits[i].fd, piece, sizeof(piece));
            if (n > 0)
                buf_add(&texts[i], (str){piece, (size_t)n});
            else if (n == 0 || errno != EINTR)
                waits[i].fd = -1;
        }
    }
    TRY(texts[0].error);
    return texts[1].error;
}

static err child_end(pid_t child, int *status)
{
    int raw;
    while (waitpid(child, &raw, 0) < 0)
        if (errno != EINTR)
            return fail_errno(errno, "wait for git");
    *status = WIFSIGNALED(raw) ? 128 + WTERMSIG(raw) : WEXITSTATUS(raw);
    return ok();
}

static err child_run(const checkout *k, const char *const *arguments, checkout_end *end)
{
    const char *environment[ENVIRONMENT_MAX];
    TRY(environment_make(k, environment));
    int pipes[2][2] = {{-1, -1}, {-1, -1}};
    if (pipe2(pipes[0], O_CLOEXEC) != 0)
        return fail_errno(errno, "run git");
    OWNED(fd_drop) int out = pipes[0][0];
    OWNED(fd_drop) int out_child = pipes[0][1];
    if (pipe2(pipes[1], O_CLOEXEC) != 0)
        return fail_errno(errno, "run git");
    OWNED(fd_drop) int errors = pipes[1][0];
    OWNED(fd_drop) int errors_child = pipes[1][1];
    pid_t child = -1;
    TRY(child_start(arguments, environment, (int[2]){out_child, errors_child}, &child));
    fd_drop(&out_child);
    fd_drop(&errors_child);
    out_child = errors_child = -1;
    buf texts[2];
    buf_open(&texts[0], OUTPUT_BYTES_MAX);
    buf_open(&texts[1], OUTPUT_BYTES_MAX);
    err e = outputs_read((int[2]){out, errors}, texts);
    err ended = child_end(child, &end->status);
    end->out = str_copy(k->memory, buf_str(&texts[0]));
    end->errors = str_copy(k->memory, buf_str(&texts[1]));
    buf_close(&texts[0]);
    buf_close(&texts[1]);
    return e.code != OK ? e : ended;
}

static err list_run(const checkout *k, checkout_end *end, va_list list)
{
    const char *arguments[ARGUMENTS_MAX + 1] = {"git", "-C", k->folder};
    size_t count = 3;
    const char *each;
    *end = (checkout_end){0};
    while ((each = va_arg(list, const char *)) != NULL) {
        if (count == ARGUMENTS_MAX)
            return fail(ERR_LIMIT, 0, "too many arguments for git");
        arguments[count++] = each;
    }
    return child_run(k, arguments, end);
}

err checkout_run(const checkout *k, checkout_end *end, ...)
{
    va_list list;
    va_start(list, end);
    err e = list_run(k, end, list);
    va_end(list);
    return e;
}

err checkout_do(const checkout *k, str *out, ...)
{
    checkout_end end;
    va_list list;
    va_start(list, out);
    err e = list_run(k, &end, list);
    va_end(list);
    TRY(e);
    if (end.status != 0) {
        str said = str_trim(end.errors.len > 0 ? end.errors : end.out), last = said;
        for (str rest = said; rest.len > 0;) {
            str line = str_trim(str_cut(&rest, '\n'));
            last = line.len > 0 ? line : last;
        }
        const char *what = str_format(k->memory, "git: %.*s", STR_ARG(last)).at;
        return fail(ERR_SYSTEM, 0, what != NULL ? what : "git failed");
    }
    if (out != NULL)
        *out = str_trim(end.out);
    return ok();
}

str checkout_commit(const checkout *k, const char *name)
{
    checkout_end end;
    err e = checkout_run(k, &end, "rev-parse", "--verify", "--quiet", name, NULL);
    str commit = str_trim(end.out);
    return e.code == OK && end.status == 0 && commit.len == 40 ? commit : STR("");
}
