// Folders: made with those above, removed with all below.
//
// Removal holds folders by descriptor and never follows a link, so nobody who writes below can
// lead it elsewhere. A folder deeper than LEVELS_MAX is first moved to the top: descriptors and
// the stack stay bounded, however deep a tree was built.
#include "base/clock.h"
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LEVELS_MAX = 32, PASSES_MAX = 1 << 20, NAME_BYTES = 32 };

err file_make_folders(const char *path, unsigned mode)
{
    char part[PATH_MAX];
    size_t len = strlen(path);
    if (len == 0 || len >= sizeof(part))
        return fail(len == 0 ? ERR_ABSENT : ERR_LIMIT, 0, "make folder");
    for (size_t i = 1; i <= len; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        *(char *)mempcpy(part, path, i) = '\0';
        struct stat info;
        // Asked first: making "/" or a folder on a read-only disk fails with other numbers.
        if (stat(part, &info) != 0) {
            if (mkdir(part, mode) == 0)
                continue;
            int why = errno;
            if (stat(part, &info) != 0) // nobody else made it meanwhile
                return fail_errno(why, "make folder");
        }
        if (!S_ISDIR(info.st_mode))
            return fail(ERR_CONFLICT, ENOTDIR, "make folder");
    }
    return ok();
}

static void folder_drop(DIR **d)
{
    if (*d != NULL)
        (void)closedir(*d);
    *d = NULL;
}

// Opens a folder to be emptied, with the right to do so even if its maker took that away.
static err folder_open(int parent, const char *name, int *out)
{
    const int how = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    OWNED(fd_drop) int f = openat(parent, name, how);
    if (f < 0 && errno == EACCES && fchmodat(parent, name, 0700, AT_SYMLINK_NOFOLLOW) == 0)
        f = openat(parent, name, how);
    if (f < 0)
        return fail_errno(errno, "open folder");
    struct stat info;
    if (fstat(f, &info) != 0)
        return fail_errno(errno, "stat folder");
    if ((info.st_mode & 0700) != 0700 && fchmod(f, 0700) != 0)
        return fail_errno(errno, "set folder mode");
    *out = fd_move(&f);
    return ok();
}

static err folder_remove(int top, int parent, const char *name, size_t level);

static err folder_remove_entry(int top, int folder, const struct dirent *entry, size_t level)
{
    if (unlinkat(folder, entry->d_name, 0) == 0 || errno == ENOENT)
        return ok();
    // Linux says EISDIR, POSIX EPERM.
    if (errno != EISDIR && errno != EPERM)
        return fail_errno(errno, "remove file");
    if (level < LEVELS_MAX)
        return folder_remove(top, folder, entry->d_name, level + 1);
    char name[NAME_BYTES];
    (void)snprintf(name, sizeof(name), ".deep-%016llx", (unsigned long long)random_u64());
    if (renameat(folder, entry->d_name, top, name) != 0)
        return fail_errno(errno, "move deep folder");
    return ok();
}

// Empties the open folder; `moved` folders come back at the top, so it is read until none is left.
static err folder_empty(int top, int folder, size_t level)
{
    int again = fcntl(folder, F_DUPFD_CLOEXEC, 0);
    if (again < 0)
        return fail_errno(errno, "open folder");
    OWNED(folder_drop) DIR *d = fdopendir(again);
    if (d == NULL) {
        (void)close(again);
        return fail(ERR_MEMORY, 0, "read folder");
    }
    for (size_t pass = 0;; pass++) {
        size_t removed = 0;
        struct dirent *entry;
        rewinddir(d);
        while ((errno = 0, entry = readdir(d)) != NULL) {
            if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
                continue;
            TRY(folder_remove_entry(top, folder, entry, level));
            removed++;
        }
        if (errno != 0)
            return fail_errno(errno, "read folder");
        if (removed == 0)
            return ok();
        if (pass >= PASSES_MAX) // somebody keeps filling it
            return fail(ERR_BUSY, 0, "empty folder");
    }
}

static err folder_remove(int top, int parent, const char *name, size_t level)
{
    OWNED(fd_drop) int f = -1;
    err e = folder_open(parent, name, &f);
    if (e.code == ERR_ABSENT)
        return ok();
    TRY(e);
    TRY(folder_empty(top < 0 ? f : top, f, level));
    if (unlinkat(parent, name, AT_REMOVEDIR) != 0 && errno != ENOENT)
        return fail_errno(errno, "remove folder");
    return ok();
}

err file_remove_tree(const char *path)
{
    if (unlink(path) == 0 || errno == ENOENT)
        return ok();
    if (errno != EISDIR && errno != EPERM)
        return fail_errno(errno, "remove file");
    return folder_remove(-1, AT_FDCWD, path, 0);
}
