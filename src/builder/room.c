// The closed room: bubblewrap with read-only tools, no network, limits, and nothing of this
// machine.
//
// As root bubblewrap keeps two capabilities for setpriv, which gives up root for a user of the
// room's own before anything foreign runs; as an ordinary user a user namespace does it. The first
// room's processes may outlive its script for a moment, so compiled code, which is trusted, is made
// in a second room from bytes that were read before.
#include "base/str.h"
#include "builder/builder_inner.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CAPABILITIES_MAX = 64, TREE_LEVELS_MAX = 128, PASSED_FIRST = 3 };

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define PROGRAM_IS_SANITIZED true // its shadow memory is terabytes of data
#else
#define PROGRAM_IS_SANITIZED false
#endif

typedef struct line {
    arena *memory;
    const char *words[ARGUMENTS_MAX];
    size_t count;
    bool failed;
} line;

static void add(line *l, const char *word)
{
    if (word == NULL || l->count + 1 >= ARGUMENTS_MAX)
        l->failed = true;
    else
        l->words[l->count++] = word;
}

static void add_two(line *l, const char *option, const char *value)
{
    add(l, option);
    add(l, value);
}

static void add_three(line *l, const char *option, const char *from, const char *to)
{
    add(l, option);
    add(l, from);
    add(l, to);
}

static void add_number(line *l, const char *format, uint64_t number)
{
    char text[64];
    int n = snprintf(text, sizeof(text), "%s%llu", format, (unsigned long long)number);
    add(l, str_c(l->memory, (str){text, (size_t)n}));
}

// Folders that bubblewrap makes on the way would be 0700.
static void add_folder(line *l, const char *path)
{
    add_two(l, "--perms", "0755");
    add_two(l, "--dir", path);
}

static void add_system(line *l)
{
    static const char *const links[] = {"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"};
    add_three(l, "--ro-bind", "/usr", "/usr");
    for (size_t i = 0; i < COUNT(links); i++) {
        char target[64];
        ssize_t n = readlink(links[i], target, sizeof(target));
        if (n > 0)
            add_three(l, "--symlink", str_c(l->memory, (str){target, (size_t)n}), links[i]);
        else
            add_three(l, "--ro-bind-try", links[i], links[i]);
    }
    add_folder(l, "/etc");
    add_three(l, "--ro-bind-try", "/etc/alternatives", "/etc/alternatives");
    add_three(l, "--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache");
    add_two(l, "--proc", "/proc");
    add_two(l, "--dev", "/dev");
    add_two(l, "--perms", "1777");
    add(l, "--size");
    add_number(l, "", BUILD_TMP_BYTES_MAX);
    add_two(l, "--tmpfs", "/tmp");
}

static void add_network(line *l)
{
    static const char *const files[] = {
        "/etc/resolv.conf",     "/etc/hosts",     "/etc/nsswitch.conf",        "/etc/ssl",
        "/etc/ca-certificates", "/etc/host.conf", "/usr/share/ca-certificates"};
    for (size_t i = 0; i < COUNT(files); i++)
        add_three(l, "--ro-bind-try", files[i], files[i]);
    // Where modules come from is the operator's choice.
    static const char *const names[] = {
        "GOPROXY",    "GONOPROXY",     "GOSUMDB",     "GONOSUMDB",  "GOPRIVATE",
        "HTTP_PROXY", "HTTPS_PROXY",   "NO_PROXY",    "http_proxy", "https_proxy",
        "no_proxy",   "SSL_CERT_FILE", "SSL_CERT_DIR"};
    for (size_t i = 0; i < COUNT(names); i++)
        if (getenv(names[i]) != NULL)
            add_three(l, "--setenv", names[i], getenv(names[i]));
    const char *certificates = getenv("SSL_CERT_FILE");
    if (certificates != NULL && *certificates == '/')
        add_three(l, "--ro-bind-try", certificates, certificates);
    add_three(l, "--setenv", "GOVCS", "*:off"); // archives from the proxy only, no git, no hg
}

static void add_go(line *l, const room *r)
{
    add_folder(l, "/opt");
    add_three(l, "--ro-bind", r->tools->go_root, "/opt/go");
    bool fetches = r->kind == ROOM_FETCH;
    add_three(l, fetches ? "--bind" : "--ro-bind", r->tools->go_cache, "/go");
    add_three(l, "--setenv", "GOPATH", "/go");
    add_three(l, "--setenv", "GOMODCACHE", "/go/mod");
    add_three(l, "--setenv", "GOCACHE", "/go/build");
    if (fetches)
        return;
    // The modules there were checked against the sum database when they came.
    add_three(l, "--setenv", "GOPROXY", "off");
    add_three(l, "--setenv", "GOSUMDB", "off");
}

static void add_variables(line *l, const room *r)
{
    const contract *c = r->contract;
    add_three(l, "--setenv", "SRC", "/src");
    add_three(l, "--setenv", "OUT", "/out");
    add_three(l, "--setenv", "UTILS", "/utils");
    add_three(l, "--setenv", "RECIPE", str_c(l->memory, c->language));
}

static bool has_ambient_capabilities(void)
{
    for (unsigned long capability = 0; capability < CAPABILITIES_MAX; capability++)
        if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, capability, 0, 0) == 1)
            return true;
    return false;
}

static void add_room(line *l, const room *r)
{
    bool root = geteuid() == 0;
    // bubblewrap refuses an ordinary user who has capabilities (as in a user namespace).
    if (!root && has_ambient_capabilities()) {
        add_three(l, "setpriv", "--ambient-caps=-all", "--inh-caps=-all");
        add(l, "--");
    }
    add(l, r->tools->bubblewrap);
    static const char *const options[] = {
        "--unshare-ipc",     "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try",
        "--die-with-parent", "--new-session", "--clearenv"};
    for (size_t i = 0; i < COUNT(options); i++)
        add(l, options[i]);
    if (r->kind != ROOM_FETCH)
        add(l, "--unshare-net");
    add_two(l, "--hostname", r->tools->host);
    add_two(l, "--chdir", "/"); // /src is the room's user's, whom root becomes later
    add_two(l, "--cap-drop", "ALL");
    if (!root) {
        add(l, "--unshare-user");
    } else if (r->kind == ROOM_FETCH) { // runs no foreign code, writes a cache that is ours
        add_two(l, "--cap-add", "CAP_DAC_READ_SEARCH");
    } else {
        add_two(l, "--cap-add", "CAP_SETUID");
        add_two(l, "--cap-add", "CAP_SETGID");
    }
    add(l, "--seccomp");
    add_number(l, "", PASSED_FIRST);
    add_system(l);
    add_three(l, "--setenv", "HOME", "/tmp");
    add_three(l, "--setenv", "LANG", "C.UTF-8");
    add_three(l, "--setenv", "PATH", "/opt/go/bin:/usr/local/bin:/usr/bin:/bin");
    if (r->kind == ROOM_COMPILE) {
        add_folder(l, "/opt");
        add_three(l, "--ro-bind", r->program, "/opt/program");
        return;
    }
    add_three(l, "--ro-bind", r->utils, "/utils");
    add_three(l, r->kind == ROOM_FETCH ? "--ro-bind" : "--bind", r->source, "/src");
    add_three(l, "--bind", r->out, "/out");
    if (r->fetched != NULL)
        add_three(l, "--ro-bind", r->fetched, "/fetched");
    if (str_is(r->contract->language, STR("go")))
        add_go(l, r);
    if (r->kind == ROOM_FETCH)
        add_network(l);
    add_variables(l, r);
}

// Nobody may raise a hard limit that we were started with.
static uint64_t room_files_max(void)
{
    struct rlimit files;
    bool lower = getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_max < BUILD_FILES_MAX;
    return lower ? files.rlim_max : BUILD_FILES_MAX;
}

static void add_limits(line *l, const room *r)
{
    if (geteuid() == 0 && r->kind != ROOM_FETCH) {
        add_two(l, "setpriv", "--reuid");
        add_number(l, "", r->uid);
        add(l, "--regid");
        add_number(l, "", r->uid);
        add_two(l, "--clear-groups", "--inh-caps=-all");
    }
    add(l, "prlimit");
    add(l, "--core=0");
    add_number(l, "--fsize=", BUILD_FILE_BYTES_MAX);
    add_number(l, "--nofile=", room_files_max());
    add_number(l, "--nproc=", BUILD_PROCESSES_MAX);
    if (r->kind != ROOM_COMPILE || !PROGRAM_IS_SANITIZED)
        add_number(l, "--data=", BUILD_MEMORY_BYTES_MAX);
    add(l, "--");
}

// What says where the build's folders are stays as the room says it.
static bool name_is_ours(str name)
{
    static const char *const ours[] = {"SRC", "OUT", "UTILS", "RECIPE"};
    for (size_t i = 0; i < COUNT(ours); i++)
        if (str_is(name, str_of(ours[i])))
            return true;
    return false;
}

// The user's own, for the steps alone: what runs before them as root must not obey an LD_PRELOAD or
// a PATH.
static void add_own_variables(line *l, const room *r)
{
    const contract *c = r->contract;
    add(l, "/usr/bin/env");
    for (size_t i = 0; i < c->variables_count; i++)
        if (!name_is_ours(c->names[i]))
            add(l,
                str_format(l->memory, "%.*s=%.*s", STR_ARG(c->names[i]), STR_ARG(c->values[i])).at);
}

static void add_work(line *l, const room *r)
{
    if (r->kind == ROOM_COMPILE) {
        add_two(l, "/opt/program", "compile");
        add_number(l, "/proc/self/fd/", PASSED_FIRST + 1);
        add_number(l, "/proc/self/fd/", PASSED_FIRST + 2);
        add(l, str_c(l->memory, r->call));
        add_number(l, "", r->memory_bytes);
        return;
    }
    if (r->kind == ROOM_SCRIPT)
        add_own_variables(l, r);
    add_two(l, "/bin/sh", r->kind == ROOM_FETCH ? "/utils/fetch.sh" : "/utils/steps.sh");
    for (size_t i = 0; i < r->contract->steps_count && r->kind == ROOM_SCRIPT; i++)
        add(l, str_format(l->memory, "/src/%.*s/%.*s.sh", STR_ARG(r->contract->folder),
                          STR_ARG(r->contract->steps[i]))
                   .at);
}

err room_start(proc **out, loop *l, arena *a, const room *r, const proc_settings *events)
{
    line *words = arena_take(a, sizeof(*words));
    if (words == NULL)
        return fail(ERR_MEMORY, 0, "open the build room");
    words->memory = a;
    // A child of the room must not exist before the group's limits hold for it: it waits for a
    // line.
    if (r->waits) {
        add_three(words, "/bin/sh", "-c", "read -r go && exec \"$@\" </dev/null");
        add(words, "sh");
    }
    add_room(words, r);
    add_two(words, "--remount-ro", "/"); // an ordinary user's room owns its root folder
    add(words, "--");
    add_limits(words, r);
    add_work(words, r);
    if (words->failed)
        return fail(ERR_MEMORY, 0, "open the build room");
    // The filter is read from the descriptor's position, so each room needs one of its own.
    char path[64];
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", r->filter);
    OWNED(fd_drop) int filter = open(path, O_RDONLY | O_CLOEXEC);
    if (filter < 0)
        return fail_errno(errno, "open the seccomp filter");
    const int passed[] = {filter, r->wasm, r->module};
    proc_settings settings = *events;
    settings.argv = words->words;
    settings.pass_fds = passed;
    settings.pass_count = r->kind == ROOM_COMPILE ? 3 : 1;
    settings.wall_ms_max = r->wall_ms_max;
    settings.output_bytes_max = BUILD_OUTPUT_BYTES_MAX;
    settings.own_group = true;
    settings.merge_output = true;
    settings.want_input = r->waits;
    return proc_start(out, l, &settings);
}

// Follows no link: what is walked belongs to strangers.
typedef bool tree_each(void *data, int folder, const char *name, const struct stat *info);

static bool tree_walk(int folder, tree_each *each, void *data, int depth);

static bool tree_enter(int folder, const char *name, tree_each *each, void *data, int depth)
{
    int inner = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return inner >= 0 && tree_walk(inner, each, data, depth + 1);
}

// Takes the descriptor. False: something could not be looked at, or is too deep.
static bool tree_walk(int folder, tree_each *each, void *data, int depth)
{
    DIR *entries = depth < TREE_LEVELS_MAX ? fdopendir(folder) : NULL;
    if (entries == NULL) {
        (void)close(folder);
        return false;
    }
    bool all = true;
    for (const struct dirent *entry; (entry = readdir(entries)) != NULL;) {
        str name = str_of(entry->d_name);
        struct stat info;
        if (str_is(name, STR(".")) || str_is(name, STR("..")))
            continue;
        if (fstatat(dirfd(entries), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0) {
            all = all && errno == ENOENT; // a build makes and removes files meanwhile
            continue;
        }
        all = each(data, dirfd(entries), entry->d_name, &info) && all;
        if (S_ISDIR(info.st_mode))
            all = tree_enter(dirfd(entries), entry->d_name, each, data, depth) && all;
    }
    (void)closedir(entries);
    return all;
}

static bool give_one(void *data, int folder, const char *name, const struct stat *info)
{
    const unsigned *uid = data;
    (void)info;
    return fchownat(folder, name, *uid, *uid, AT_SYMLINK_NOFOLLOW) == 0;
}

err tree_give(const char *folder, unsigned uid)
{
    OWNED(fd_drop) int f = open(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (f < 0 || fchown(f, uid, uid) != 0)
        return fail_errno(errno, "give the sources to the build's user");
    return tree_walk(fd_move(&f), give_one, &uid, 0)
               ? ok()
               : fail(ERR_SYSTEM, 0, "give the sources to the build's user");
}

static bool count_one(void *data, int folder, const char *name, const struct stat *info)
{
    uint64_t *sum = data;
    (void)folder;
    (void)name;
    *sum += (uint64_t)info->st_blocks * 512;
    return true;
}

uint64_t tree_bytes(const char *folder)
{
    uint64_t sum = 0;
    int f = open(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (f >= 0)
        (void)tree_walk(f, count_one, &sum, 0);
    return sum;
}
