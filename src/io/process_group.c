// Limits for a group of processes by cgroup v2 or v1, where one is writable.
//
// v2 first: our own group or its parent, when it can hand the controllers down. Then v1, one folder
// per controller below the group we are in. All limits that were asked for, or ERR_UNSUPPORTED.
#include "io/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    FOLDERS_MAX = 3,
    PERIOD_US = 100000, // of the cpu quota
    CLOSE_TRIES_MAX = 50,
    CLOSE_WAIT_NS = 2000000,
    MEMBERS_BYTES_MAX = 64 * 1024,
};
static const char root[] = "/sys/fs/cgroup";

struct process_group_limits {
    char folders[FOLDERS_MAX][PATH_MAX];
    size_t count;
};

typedef struct limits {
    const char *name;
    uint64_t memory, processes, cpu_percent;
} limits;

static bool group_path(char out[PATH_MAX], const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static bool group_path(char out[PATH_MAX], const char *format, ...)
{
    va_list list;
    va_start(list, format);
    int len = vsnprintf(out, PATH_MAX, format, list);
    va_end(list);
    return len >= 0 && len < PATH_MAX;
}

static bool group_write(const char *folder, const char *file, const char *text)
{
    char path[PATH_MAX];
    if (!group_path(path, "%s/%s", folder, file))
        return false;
    OWNED(fd_drop) int f = open(path, O_WRONLY | O_CLOEXEC);
    return f >= 0 && write(f, text, strlen(text)) == (ssize_t)strlen(text);
}

static bool group_write_number(const char *folder, const char *file, uint64_t value)
{
    char text[32];
    (void)snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
    return group_write(folder, file, text);
}

// The start of a small file, NUL-terminated; empty when it can not be read.
static void group_read(const char *path, char *out, size_t size)
{
    out[0] = '\0';
    OWNED(fd_drop) int f = open(path, O_RDONLY | O_CLOEXEC);
    if (f < 0)
        return;
    ssize_t n = read(f, out, size - 1);
    out[n > 0 ? n : 0] = '\0';
}

static bool word_is_in(const char *words, const char *word, const char *between)
{
    size_t len = strlen(word);
    while (*words != '\0') {
        size_t next = strcspn(words, between);
        if (next == len && memcmp(words, word, len) == 0)
            return true;
        words += next + (words[next] != '\0');
    }
    return false;
}

// Our own group of a v1 controller, or of v2 when it is "". False when there is none.
static bool group_own(const char *controller, char out[PATH_MAX])
{
    char all[8192];
    group_read("/proc/self/cgroup", all, sizeof(all));
    for (char *line = all; line != NULL && *line != '\0';) { // ID:CONTROLLERS:PATH
        char *next = strchr(line, '\n');
        if (next != NULL)
            *next++ = '\0';
        char *names = strchr(line, ':');
        char *path = names != NULL ? strchr(names + 1, ':') : NULL;
        line = next;
        if (path == NULL)
            continue;
        *path++ = '\0';
        names++;
        if (*controller == '\0' ? *names == '\0' : word_is_in(names, controller, ","))
            return group_path(out, "%s", strcmp(path, "/") == 0 ? "" : path);
    }
    return false;
}

static void group_remove(process_group_limits *g)
{
    while (g->count > 0)
        (void)rmdir(g->folders[--g->count]);
}

static const char *group_add_folder(process_group_limits *g, const char *parent, const char *name)
{
    char *folder = g->folders[g->count];
    if (!group_path(folder, "%s/%s", parent, name))
        return NULL;
    if (mkdir(folder, 0755) != 0 && errno != EEXIST)
        return NULL;
    g->count++;
    return folder;
}

static bool group_hands_down(const char *parent, const char *controller)
{
    char path[PATH_MAX], words[512], plus[32];
    if (!group_path(path, "%s/cgroup.subtree_control", parent))
        return false;
    group_read(path, words, sizeof(words));
    (void)snprintf(plus, sizeof(plus), "+%s", controller);
    return word_is_in(words, controller, " \n") ||
           group_write(parent, "cgroup.subtree_control", plus);
}

static bool group_open_v2_below(process_group_limits *g, const char *parent, const limits *want)
{
    if ((want->memory > 0 && !group_hands_down(parent, "memory")) ||
        (want->processes > 0 && !group_hands_down(parent, "pids")) ||
        (want->cpu_percent > 0 && !group_hands_down(parent, "cpu")))
        return false;
    const char *folder = group_add_folder(g, parent, want->name);
    if (folder == NULL)
        return false;
    char quota[64];
    (void)snprintf(quota, sizeof(quota), "%llu %d",
                   (unsigned long long)want->cpu_percent * (PERIOD_US / 100), PERIOD_US);
    (void)group_write(folder, "memory.swap.max", "0"); // not there without swap
    bool good = (want->memory == 0 || group_write_number(folder, "memory.max", want->memory)) &&
                (want->processes == 0 || group_write_number(folder, "pids.max", want->processes)) &&
                (want->cpu_percent == 0 || group_write(folder, "cpu.max", quota));
    if (!good)
        group_remove(g);
    return good;
}

static bool group_open_v2(process_group_limits *g, const limits *want)
{
    char own[PATH_MAX], folder[PATH_MAX];
    if (access("/sys/fs/cgroup/cgroup.controllers", F_OK) != 0 || !group_own("", own) ||
        !group_path(folder, "%s%s", root, own))
        return false;
    if (group_open_v2_below(g, folder, want))
        return true;
    // A group with processes in it hands nothing down: a sister then, if the parent is ours too.
    char *slash = strrchr(folder, '/');
    if (*own == '\0' || slash == NULL)
        return false;
    *slash = '\0';
    return group_open_v2_below(g, folder, want);
}

static const char *
group_open_v1_folder(process_group_limits *g, const char *controller, const char *name)
{
    char own[PATH_MAX], parent[PATH_MAX];
    if (!group_own(controller, own) || !group_path(parent, "%s/%s%s", root, controller, own))
        return NULL;
    // Inside a container the path is the host's, and the mount begins at our own group.
    if (access(parent, F_OK) != 0 && !group_path(parent, "%s/%s", root, controller))
        return NULL;
    return group_add_folder(g, parent, name);
}

static bool group_open_v1(process_group_limits *g, const limits *want)
{
    const char *folder;
    if (want->memory > 0) {
        folder = group_open_v1_folder(g, "memory", want->name);
        if (folder == NULL || !group_write_number(folder, "memory.limit_in_bytes", want->memory))
            return false;
        (void)group_write_number(folder, "memory.memsw.limit_in_bytes", want->memory);
    }
    if (want->processes > 0) {
        folder = group_open_v1_folder(g, "pids", want->name);
        if (folder == NULL || !group_write_number(folder, "pids.max", want->processes))
            return false;
    }
    if (want->cpu_percent > 0) {
        folder = group_open_v1_folder(g, "cpu", want->name);
        if (folder == NULL || !group_write_number(folder, "cpu.cfs_period_us", PERIOD_US) ||
            !group_write_number(folder, "cpu.cfs_quota_us", want->cpu_percent * (PERIOD_US / 100)))
            return false;
    }
    return g->count > 0;
}

err process_group_open(process_group_limits **out,
                       const char *name,
                       uint64_t memory_bytes_max,
                       uint64_t processes_max,
                       uint64_t cpu_percent_max)
{
    if (*name == '\0' || *name == '.' || strchr(name, '/') != NULL)
        return fail(ERR_SYNTAX, 0, "name of a process group");
    process_group_limits *g = calloc(1, sizeof(*g));
    if (g == NULL)
        return fail(ERR_MEMORY, 0, "open process group");
    const limits want = {name, memory_bytes_max, processes_max, cpu_percent_max};
    if (group_open_v2(g, &want) || group_open_v1(g, &want)) {
        *out = g;
        return ok();
    }
    group_remove(g);
    free(g);
    return fail(ERR_UNSUPPORTED, 0, "no writable cgroup");
}

err process_group_add(process_group_limits *g, int pid)
{
    for (size_t i = 0; i < g->count; i++)
        if (!group_write_number(g->folders[i], "cgroup.procs", (uint64_t)pid))
            return fail_errno(errno, "move a process into its group");
    return ok();
}

static void group_kill(const char *folder)
{
    if (group_write(folder, "cgroup.kill", "1"))
        return;
    char path[PATH_MAX], members[MEMBERS_BYTES_MAX];
    if (!group_path(path, "%s/cgroup.procs", folder))
        return;
    group_read(path, members, sizeof(members));
    for (char *at = members; *at != '\0';) {
        char *end;
        long pid = strtol(at, &end, 10);
        if (end == at)
            break;
        if (pid > 1)
            (void)kill((pid_t)pid, SIGKILL);
        at = end + (*end == '\n');
    }
}

void process_group_close(process_group_limits *g)
{
    if (g == NULL)
        return;
    // The dead leave their group when they are reaped, which may take a moment.
    for (int tries = 0; g->count > 0 && tries < CLOSE_TRIES_MAX; tries++) {
        size_t left = 0;
        for (size_t i = 0; i < g->count; i++)
            if (rmdir(g->folders[i]) != 0 && errno == EBUSY)
                left++;
        if (left == 0)
            break;
        for (size_t i = 0; i < g->count; i++) // v1: nobody forks ahead of the signals
            (void)group_write(g->folders[i], "pids.max", "0");
        for (size_t i = 0; i < g->count; i++)
            group_kill(g->folders[i]);
        const struct timespec wait = {.tv_nsec = CLOSE_WAIT_NS};
        (void)nanosleep(&wait, NULL);
    }
    free(g);
}
