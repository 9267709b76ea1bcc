// The few lines that run in a child between clone and exec, sharing our memory.
//
// CLONE_VM|CLONE_VFORK costs the same whatever our size is: no page table is copied. The price is
// that the child may only make system calls, on a stack of its own, with every signal blocked until
// no handler of ours can run in it. The happy path is: death signal, group, descriptors, folder,
// signals, limits, exec. What fails leaves its step and errno in the parent's memory.
#include "io/proc_inner.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    CHILD_STACK_BYTES = 64 * 1024,
    KERNEL_SIGNALS = 64,
    CLOSE_RANGE_ON_EXEC = 4 // CLOSE_RANGE_CLOEXEC, which glibc and linux headers both claim
};

#ifdef __SANITIZE_THREAD__
// The sanitizer's own clone() takes any child for a copy: it then forgets each thread but this one.
int __clone(int (*run)(void *), void *stack, int flags, void *data, ...);
#define clone __clone
#endif

typedef enum {
    STEP_NONE,
    STEP_PARENT,
    STEP_GROUP,
    STEP_FDS,
    STEP_FOLDER,
    STEP_LIMITS,
    STEP_EXEC
} step;

typedef struct child_plan {
    const proc_birth *birth;
    char *const *environment;
    int parent;
    int fds[3 + PROC_PASS_MAX]; // become 0, 1, 2, 3, …; the child moves them
    int fd_count;
    volatile step failed;
    volatile int number;
} child_plan;

err proc_find_program(const char *name, char *out)
{
    if (*name == '\0')
        return fail(ERR_ABSENT, ENOENT, "no such program");
    if (strchr(name, '/') != NULL) {
        if ((size_t)snprintf(out, PATH_MAX, "%s", name) >= PATH_MAX)
            return fail(ERR_LIMIT, ENAMETOOLONG, "program's path is too long");
        return ok();
    }
    const char *path = getenv("PATH");
    str rest = {path != NULL ? path : "/usr/local/bin:/usr/bin:/bin", 0};
    rest.len = strlen(rest.at);
    while (rest.at != NULL) {
        const char *colon = memchr(rest.at, ':', rest.len);
        size_t len = colon != NULL ? (size_t)(colon - rest.at) : rest.len;
        // An empty entry would mean the working directory, which nobody wants searched.
        if (len > 0 &&
            (size_t)snprintf(out, PATH_MAX, "%.*s/%s", (int)len, rest.at, name) < PATH_MAX) {
            struct stat info;
            if (access(out, X_OK) == 0 && stat(out, &info) == 0 && S_ISREG(info.st_mode))
                return ok();
        }
        rest = colon != NULL ? (str){colon + 1, rest.len - len - 1} : (str){NULL, 0};
    }
    return fail(ERR_ABSENT, ENOENT, "no such program");
}

// No sanitizer in here: its shadow of this foreign stack would outlive the child.
__attribute__((no_sanitize_address, no_sanitize_undefined, no_sanitize_thread)) static int
child_fail(child_plan *plan, step failed)
{
    plan->number = errno;
    plan->failed = failed;
    return 127;
}

__attribute__((no_sanitize_address, no_sanitize_undefined, no_sanitize_thread)) static bool
child_move_fds(child_plan *plan)
{
    // First out of the way of the numbers that are about to be taken, then into place.
    for (int i = 0; i < plan->fd_count; i++) {
        if (plan->fds[i] >= plan->fd_count)
            continue;
        plan->fds[i] = fcntl(plan->fds[i], F_DUPFD_CLOEXEC, plan->fd_count);
        if (plan->fds[i] < 0)
            return false;
    }
    for (int i = 0; i < plan->fd_count; i++)
        if (syscall(SYS_dup3, plan->fds[i], i, 0) < 0) // raw: a sanitizer's book of them is shared
            return false;
    // A library may have opened something without close-on-exec; older kernels do without this.
    (void)syscall(SYS_close_range, plan->fd_count, ~0U, CLOSE_RANGE_ON_EXEC);
    return true;
}

__attribute__((no_sanitize_address, no_sanitize_undefined, no_sanitize_thread)) static void
child_reset_signals(void)
{
    // Raw calls here too, for the book of handlers.
    const unsigned long nothing[4] = {0};
    for (int number = 1; number <= KERNEL_SIGNALS; number++)
        (void)syscall(SYS_rt_sigaction, number, nothing, NULL, sizeof(nothing[0]));
    (void)syscall(SYS_rt_sigprocmask, SIG_SETMASK, nothing, NULL, sizeof(nothing[0]));
}

__attribute__((no_sanitize_address, no_sanitize_undefined, no_sanitize_thread)) static bool
child_set_limits(const proc_settings *s)
{
    struct rlimit cpu = {s->cpu_s_max, s->cpu_s_max + 1}; // SIGXCPU first, SIGKILL a second later
    if (s->cpu_s_max > 0 && setrlimit(RLIMIT_CPU, &cpu) != 0)
        return false;
    struct rlimit space = {s->memory_bytes_max, s->memory_bytes_max};
    return s->memory_bytes_max == 0 || setrlimit(RLIMIT_AS, &space) == 0;
}

__attribute__((no_sanitize_address, no_sanitize_undefined, no_sanitize_thread)) static int
child_run(void *data)
{
    child_plan *plan = data;
    const proc_settings *s = plan->birth->settings;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
        return child_fail(plan, STEP_PARENT);
    if (getppid() != plan->parent) { // it died before we asked to be told
        errno = ESRCH;
        return child_fail(plan, STEP_PARENT);
    }
    if (s->own_group && setpgid(0, 0) != 0)
        return child_fail(plan, STEP_GROUP);
    if (!child_move_fds(plan))
        return child_fail(plan, STEP_FDS);
    if (s->folder != NULL && chdir(s->folder) != 0)
        return child_fail(plan, STEP_FOLDER);
    child_reset_signals();
    if (!child_set_limits(s))
        return child_fail(plan, STEP_LIMITS);
    execve(plan->birth->program, (char *const *)s->argv, plan->environment);
    return child_fail(plan, STEP_EXEC);
}

static err child_failure(const child_plan *plan)
{
    static const char *const what[] = {
        [STEP_PARENT] = "parent is gone",     [STEP_GROUP] = "make process group",
        [STEP_FDS] = "hand over descriptors", [STEP_FOLDER] = "enter the program's folder",
        [STEP_LIMITS] = "limit the process",  [STEP_EXEC] = "run program",
    };
    if (plan->failed == STEP_EXEC && plan->number == ENOENT)
        return fail(ERR_ABSENT, ENOENT, "no such program");
    return fail_errno(plan->number, what[plan->failed]);
}

err proc_fork(const proc_birth *birth, int *pid, int *pidfd)
{
    const proc_settings *s = birth->settings;
    child_plan plan = {.birth = birth, .parent = getpid(), .fd_count = 3 + (int)s->pass_count};
    plan.environment = s->environment != NULL ? (char *const *)s->environment : environ;
    memcpy(plan.fds, birth->stdio, sizeof(birth->stdio));
    for (size_t i = 0; i < s->pass_count; i++)
        plan.fds[3 + i] = s->pass_fds[i];

    char *stack = mmap(NULL, CHILD_STACK_BYTES, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (stack == MAP_FAILED)
        return fail_errno(errno, "stack for a child");
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int ended = -1;
    int child = clone(child_run, stack + CHILD_STACK_BYTES,
                      CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, &plan, &ended);
    int number = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void)munmap(stack, CHILD_STACK_BYTES);
    if (child < 0)
        return fail_errno(number, "fork");
    if (plan.failed != STEP_NONE) {
        while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
            ;
        fd_drop(&ended);
        return child_failure(&plan);
    }
    *pid = child;
    *pidfd = ended;
    return ok();
}
