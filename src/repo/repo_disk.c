// Repositories as files: made whole or not at all, cleaned after a crash, synced after a push.
#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"
#include "repo/repo_inner.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LOCKS_DEPTH_MAX = 32, ID_MAX = 64, PUSH_RESERVE_BYTES = 16 << 10 };
static const char pending[] = "push-pending";

// Hooks never run: what a push means is our business. Nothing is collected behind our back.
// Everything is fsynced: by itself git fsyncs packs only.
static const char settings[] = "[core]\n"
                               "\trepositoryformatversion = 0\n"
                               "\tfilemode = true\n"
                               "\tbare = true\n"
                               "\tfsync = all\n"
                               "\tfsyncMethod = fsync\n"
                               "\thooksPath = /dev/null\n"
                               "[receive]\n"
                               "\tdenyNonFastForwards = false\n"
                               "\tadvertisePushOptions = true\n"
                               "\tfsckObjects = true\n"
                               "\tautogc = false\n"
                               "\tupdateServerInfo = false\n"
                               "\tmaxInputSize = 1g\n"
                               "[uploadpack]\n"
                               "\tallowReachableSHA1InWant = true\n"
                               "[gc]\n"
                               "\tauto = 0\n";

static err disk_path(char out[PATH_MAX], const char *path, const char *below)
{
    if (snprintf(out, PATH_MAX, "%s/%s", path, below) >= PATH_MAX)
        return fail(ERR_LIMIT, 0, "path of a repository");
    return ok();
}

static err disk_sync(int folder, const char *below)
{
    OWNED(fd_drop) int f = openat(folder, below, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (f < 0)
        return fail_errno(errno, "open a repository's folder");
    if (fsync(f) != 0)
        return fail_errno(errno, "fsync a repository's folder");
    return ok();
}

static err disk_make_at(const char *path)
{
    static const char *const folders[] = {"objects/info", "objects/pack", "refs/heads",
                                          "refs/tags"};
    static const char *const synced[] = {"objects", "refs", "."};
    char file[PATH_MAX];
    for (size_t i = 0; i < COUNT(folders); i++) {
        TRY(disk_path(file, path, folders[i]));
        TRY(file_make_folders(file, 0755));
    }
    TRY(disk_path(file, path, "config"));
    TRY(file_write_durable(file, (str){settings, sizeof(settings) - 1}, 0644));
    TRY(disk_path(file, path, "HEAD"));
    TRY(file_write_durable(file, STR("ref: refs/heads/main\n"), 0644));
    OWNED(fd_drop) int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return fail_errno(errno, "open a repository's folder");
    for (size_t i = 0; i < COUNT(synced); i++)
        TRY(disk_sync(folder, synced[i]));
    return ok();
}

err repo_make(const char *path)
{
    char file[PATH_MAX], draft[PATH_MAX], above[PATH_MAX];
    TRY(disk_path(file, path, "HEAD"));
    if (file_exists(file))
        return ok();
    const char *slash = strrchr(path, '/');
    if (slash == NULL || slash[1] == '\0' || slash == path)
        return fail(ERR_SYNTAX, 0, "a repository's path is absolute and ends in its name");
    snprintf(above, sizeof(above), "%.*s", (int)(slash - path), path);
    if (snprintf(draft, sizeof(draft), "%s/.new-%016llx", above,
                 (unsigned long long)random_u64()) >= (int)sizeof(draft))
        return fail(ERR_LIMIT, 0, "path of a repository");
    TRY(file_make_folders(above, 0755));
    err e = disk_make_at(draft);
    if (e.code == OK && rename(draft, path) != 0) {
        // Somebody else was first: theirs is as good.
        e = errno == ENOTEMPTY || errno == EEXIST ? ok() : fail_errno(errno, "make repository");
        err removed = file_remove_tree(draft);
        return e.code != OK ? e : removed;
    }
    if (e.code != OK) {
        err removed = file_remove_tree(draft);
        (void)removed; // the first failure is what counts
        return e;
    }
    TRY(disk_sync(AT_FDCWD, above));
    slash = strrchr(above, '/'); // the owner's folder may be new as well
    if (slash == NULL || slash == above)
        return ok();
    above[slash - above] = '\0';
    return disk_sync(AT_FDCWD, above);
}

static bool disk_is_id(str id)
{
    for (size_t i = 0; i < id.len; i++) {
        char c = id.at[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')))
            return false;
    }
    return id.len > 0 && id.len <= ID_MAX;
}

static err disk_move_aside(const char *path, str id)
{
    char aside[PATH_MAX];
    const char *slash = strrchr(path, '/');
    if (snprintf(aside, sizeof(aside), "%.*s/.was-%.*s-%08x", (int)(slash - path), path,
                 STR_ARG(disk_is_id(id) ? id : STR("unknown")),
                 (unsigned)random_u64()) >= (int)sizeof(aside))
        return fail(ERR_LIMIT, 0, "path of a repository");
    return rename(path, aside) == 0 ? ok() : fail_errno(errno, "move a repository aside");
}

err repo_claim(const char *path, str id)
{
    OWNED(arena_drop) arena *a = NULL;
    char file[PATH_MAX];
    str known;
    if (!disk_is_id(id))
        return fail(ERR_SYNTAX, 0, "the id of a repository");
    TRY(arena_open(&a, 4096));
    TRY(disk_path(file, path, "auth-id"));
    TRY(repo_make(path));
    err e = file_read(a, file, 1024, &known);
    if (e.code == OK && str_is(known, id))
        return ok();
    if (e.code == OK) {
        TRY(disk_move_aside(path, known));
        TRY(repo_make(path));
    } else if (e.code != ERR_ABSENT) {
        return e;
    }
    return file_write_durable(file, id, 0644);
}

// ---- a push under way

err repo_push_begin(const char *path)
{
    char file[PATH_MAX];
    TRY(disk_path(file, path, pending));
    (void)unlink(file); // so that its time is now
    OWNED(fd_drop) int f = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (f < 0)
        return fail_errno(errno, "note a push");
    int number = posix_fallocate(f, 0, PUSH_RESERVE_BYTES);
    if (number == 0)
        return ok();
    (void)unlink(file);
    return fail_errno(number, "note a push");
}

void repo_push_release(const char *path)
{
    char file[PATH_MAX];
    if (disk_path(file, path, pending).code == OK)
        (void)!truncate(file, 0);
}

void repo_push_end(const char *path)
{
    char file[PATH_MAX];
    if (disk_path(file, path, pending).code == OK)
        (void)unlink(file);
}

static void disk_list_drop(DIR **d)
{
    if (*d != NULL)
        (void)closedir(*d);
}

static err disk_list_open(DIR **out, int folder, const char *below)
{
    int f = openat(folder, below, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (f < 0)
        return fail_errno(errno, "open a repository's folder");
    *out = fdopendir(f);
    if (*out != NULL)
        return ok();
    (void)close(f);
    return fail(ERR_MEMORY, 0, "read a repository's folder");
}

// Removes *.lock from a folder, and below when `depth` allows it.
static err disk_unlock(int folder, const char *below, size_t depth)
{
    OWNED(disk_list_drop) DIR *list = NULL;
    TRY(disk_list_open(&list, folder, below));
    struct dirent *entry;
    while ((entry = readdir(list)) != NULL) {
        str name = str_of(entry->d_name);
        if (str_is(name, STR(".")) || str_is(name, STR("..")))
            continue;
        if (str_ends(name, STR(".lock")) && unlinkat(dirfd(list), entry->d_name, 0) == 0)
            continue;
        if (depth > 0 && entry->d_type == DT_DIR)
            TRY(disk_unlock(dirfd(list), entry->d_name, depth - 1));
    }
    return ok();
}

// Objects of a push that never ended: quarantines and temporary packs.
static err disk_sweep(int folder, const char *path, const char *below)
{
    OWNED(disk_list_drop) DIR *list = NULL;
    TRY(disk_list_open(&list, folder, below));
    struct dirent *entry;
    while ((entry = readdir(list)) != NULL) {
        if (strncmp(entry->d_name, "tmp_", 4) != 0)
            continue;
        char whole[PATH_MAX];
        if (snprintf(whole, sizeof(whole), "%s/%s/%s", path, below, entry->d_name) <
            (int)sizeof(whole))
            TRY(file_remove_tree(whole));
    }
    return ok();
}

err repo_push_recover(const char *path, bool *cut)
{
    char file[PATH_MAX];
    TRY(disk_path(file, path, pending));
    *cut = file_exists(file);
    if (!*cut)
        return ok();
    OWNED(fd_drop) int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return fail_errno(errno, "open a repository");
    TRY(disk_unlock(folder, ".", 0));
    TRY(disk_unlock(folder, "refs", LOCKS_DEPTH_MAX));
    TRY(disk_sweep(folder, path, "objects"));
    return disk_sweep(folder, path, "objects/pack");
}

static bool disk_is_since(const struct timespec *at, const struct timespec *since)
{
    return at->tv_sec > since->tv_sec ||
           (at->tv_sec == since->tv_sec && at->tv_nsec >= since->tv_nsec);
}

static err disk_sync_objects(int folder)
{
    struct stat mark, info;
    struct timespec since = {0};
    if (fstatat(folder, pending, &mark, 0) == 0)
        since = mark.st_mtim;
    for (int i = -1; i < 256; i++) {
        char below[32] = "objects/pack";
        if (i >= 0)
            snprintf(below, sizeof(below), "objects/%02x", (unsigned)i);
        if (fstatat(folder, below, &info, 0) == 0 && disk_is_since(&info.st_mtim, &since))
            TRY(disk_sync(folder, below));
    }
    return disk_sync(folder, "objects");
}

err repo_push_sync(const char *path, const repo_change *changes, size_t count)
{
    if (count == 0)
        return ok();
    OWNED(fd_drop) int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return fail_errno(errno, "open a repository");
    TRY(disk_sync_objects(folder));
    char last[PATH_MAX] = "";
    for (size_t i = 0; i < count; i++) {
        char below[PATH_MAX];
        if (snprintf(below, sizeof(below), "%.*s", STR_ARG(changes[i].ref)) >= (int)sizeof(below))
            return fail(ERR_LIMIT, 0, "a ref's name");
        char *slash = strrchr(below, '/');
        if (slash != NULL)
            *slash = '\0';
        if (strcmp(below, last) == 0)
            continue;
        snprintf(last, sizeof(last), "%s", below);
        for (; slash != NULL; slash = strrchr(below, '/')) {
            *slash = '\0';
            // A deletion may have taken the folder with it.
            err e = disk_sync(folder, below);
            if (e.code != OK && e.code != ERR_ABSENT)
                return e;
        }
    }
    return disk_sync(folder, "."); // packed-refs
}
