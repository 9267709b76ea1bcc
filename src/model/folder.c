// Configuration in a folder on disk: opened step by step from its descriptor, no link followed.
#include "base/str.h"
#include "model/model_inner.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static err open_below(arena *a, int dir, str path, int flags, int *out)
{
    OWNED(fd_drop) int at = fcntl(dir, F_DUPFD_CLOEXEC, 0);
    if (at < 0)
        return fail_errno(errno, "open configuration");
    for (str rest = path.len > 0 ? path : (str){0}; rest.at != NULL;) {
        const char *step = str_c(a, str_cut(&rest, '/'));
        if (step == NULL)
            return fail(ERR_MEMORY, 0, "open configuration");
        int how = rest.at != NULL ? O_RDONLY | O_DIRECTORY : flags;
        int next = openat(at, step, how | O_NOFOLLOW | O_CLOEXEC);
        if (next < 0)
            return fail_errno(errno, "open configuration");
        fd_drop(&at);
        at = next;
    }
    *out = fd_move(&at);
    return ok();
}

static void dir_drop(DIR **d)
{
    if (*d != NULL)
        closedir(*d);
}

static entry_kind kind_of(int dir, const struct dirent *e)
{
    struct stat s;
    if (e->d_type == DT_REG)
        return ENTRY_FILE;
    if (e->d_type == DT_DIR)
        return ENTRY_FOLDER;
    if (e->d_type != DT_UNKNOWN || fstatat(dir, e->d_name, &s, AT_SYMLINK_NOFOLLOW) != 0)
        return ENTRY_OTHER;
    return S_ISREG(s.st_mode) ? ENTRY_FILE : S_ISDIR(s.st_mode) ? ENTRY_FOLDER : ENTRY_OTHER;
}

static err entries_read(arena *a, DIR *d, size_t entries_max, model_entry **entries, size_t *count)
{
    size_t room = 64;
    size_t filled = 0;
    model_entry *all = arena_take(a, room * sizeof(*all));
    if (all == NULL)
        return fail(ERR_MEMORY, 0, "list configuration");
    for (;;) {
        errno = 0;
        const struct dirent *e = readdir(d);
        if (e == NULL && errno != 0)
            return fail_errno(errno, "list configuration");
        if (e == NULL)
            break;
        if (e->d_name[0] == '.') // ".", ".." and what git and editors keep
            continue;
        if (filled == entries_max)
            return fail(ERR_LIMIT, 0, "too many files in one folder");
        if (filled == room) {
            room *= 2;
            model_entry *wider = arena_take(a, room * sizeof(*wider));
            if (wider == NULL)
                return fail(ERR_MEMORY, 0, "list configuration");
            memcpy(wider, all, filled * sizeof(*all));
            all = wider;
        }
        all[filled].name = str_copy(a, str_of(e->d_name));
        if (all[filled].name.at == NULL)
            return fail(ERR_MEMORY, 0, "list configuration");
        all[filled++].kind = kind_of(dirfd(d), e);
    }
    *entries = all;
    *count = filled;
    return ok();
}

static err folder_list(
    void *state, arena *a, str folder, size_t entries_max, model_entry **entries, size_t *count)
{
    OWNED(fd_drop) int f = -1;
    TRY(open_below(a, *(const int *)state, folder, O_RDONLY | O_DIRECTORY, &f));
    // The descriptor of the root may have been read before: its position is shared by copies.
    if (lseek(f, 0, SEEK_SET) < 0)
        return fail_errno(errno, "list configuration");
    OWNED(dir_drop) DIR *d = fdopendir(f);
    if (d == NULL)
        return fail_errno(errno, "list configuration");
    f = -1; // the stream has it
    return entries_read(a, d, entries_max, entries, count);
}

static err folder_read(void *state, arena *a, str path, size_t bytes_max, str *out)
{
    OWNED(fd_drop) int f = -1;
    TRY(open_below(a, *(const int *)state, path, O_RDONLY | O_NONBLOCK, &f));
    struct stat s;
    if (fstat(f, &s) != 0)
        return fail_errno(errno, "read configuration");
    if (!S_ISREG(s.st_mode))
        return fail(ERR_DENIED, 0, "not a plain file");
    if ((uint64_t)s.st_size > bytes_max)
        return fail(ERR_LIMIT, 0, "file too large");
    size_t size = (size_t)s.st_size;
    char *bytes = arena_take(a, size + 1);
    if (bytes == NULL)
        return fail(ERR_MEMORY, 0, "read configuration");
    size_t have = 0;
    while (have < size) {
        ssize_t got = read(f, bytes + have, size - have);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail_errno(errno, "read configuration");
        if (got == 0)
            break; // it shrank while we read
        have += (size_t)got;
    }
    *out = (str){bytes, have};
    return ok();
}

model_source folder_source(const int *dir)
{
    return (model_source){.state = (void *)dir, .list = folder_list, .read = folder_read};
}

err model_load(arena *a, const char *config_folder, diagnoses *found, model **out)
{
    OWNED(fd_drop) int dir = open(config_folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return fail_errno(errno, "open configuration");
    model_source from = folder_source(&dir);
    return model_load_from(a, &from, found, out);
}
