// A commit's tree as files: every name is checked, nothing is ever written outside the folder.
//
// Names are made with *at() calls below folders that this export has made itself, never through a
// link. A link may only point to what lies below the folder: `..` counts at its start alone, since
// behind a name it might follow another link upwards.
#include "base/str.h"
#include "repo/repo_inner.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    EXPORT_FILES_MAX = 100000,
    EXPORT_DEPTH_MAX = 64,
    EXPORT_NAME_MAX = 255,
    EXPORT_LINK_MAX = 1024
};

typedef struct export
{
    git_repository *repository;
    git_odb *objects;
    uint64_t bytes_left;
    size_t files_left;
}
export;

// ".git" as file systems that fold case, or ignore dots, blanks and streams at the end, may read
// it.
static bool export_is_git(str name)
{
    if (name.len < 4 || strncasecmp(name.at, ".git", 4) != 0)
        return name.len >= 5 && strncasecmp(name.at, "git~1", 5) == 0;
    for (size_t i = 4; i < name.len; i++) {
        if (name.at[i] == ':')
            return true;
        if (name.at[i] != '.' && name.at[i] != ' ')
            return false;
    }
    return true;
}

err repo_check_name(str name)
{
    if (name.len == 0 || name.len > EXPORT_NAME_MAX)
        return fail(ERR_SYNTAX, 0,
                    "a file name in the repository is empty or longer than 255 bytes");
    if (str_is(name, STR(".")) || str_is(name, STR("..")) || memchr(name.at, '/', name.len) != NULL)
        return fail(ERR_SYNTAX, 0, "a file name in the repository is a path");
    if (export_is_git(name))
        return fail(ERR_SYNTAX, 0, "a file in the repository is named .git");
    for (size_t i = 0; i < name.len; i++)
        if ((unsigned char)name.at[i] < 0x20 || name.at[i] == 0x7f)
            return fail(ERR_SYNTAX, 0, "a file name in the repository holds a control character");
    return ok();
}

// `depth`: how many folders lie between the top and the link.
err repo_check_link(str target, size_t depth)
{
    const err leaves = fail(ERR_SYNTAX, 0, "a symbolic link in the repository leaves it");
    if (target.len == 0 || target.len > EXPORT_LINK_MAX || target.at[0] == '/' ||
        memchr(target.at, '\0', target.len) != NULL)
        return leaves;
    bool named = false;
    for (str rest = target; rest.len > 0;) {
        str part = str_cut(&rest, '/');
        if (part.len == 0 || str_is(part, STR(".")))
            continue;
        if (!str_is(part, STR("..")))
            named = true;
        else if (named || depth-- == 0)
            return leaves;
    }
    return ok();
}

static err export_made(const char *what)
{
    if (errno == EEXIST)
        return fail(ERR_SYNTAX, EEXIST, "a name in the repository is there twice");
    return fail_errno(errno, what);
}

static void export_object_drop(git_odb_object **o)
{
    git_odb_object_free(*o);
}

// The size is asked first: what is too large is never unpacked.
static err export_read(export *x, const git_oid *id, git_odb_object **out)
{
    size_t size;
    git_object_t type;
    int code = git_odb_read_header(&size, &type, x->objects, id);
    if (code == 0 && type != GIT_OBJECT_BLOB)
        return fail(ERR_SYNTAX, 0, "a file in the repository is no file");
    if (code == 0 && size > x->bytes_left)
        return fail(ERR_LIMIT, 0, "the repository's files are too large");
    if (code == 0)
        code = git_odb_read(out, x->objects, id);
    if (code != 0)
        return repo_fail(code, "read a file of the repository");
    x->bytes_left -= size;
    return ok();
}

static err export_file(export *x, int folder, const git_tree_entry *entry, mode_t mode)
{
    OWNED(export_object_drop) git_odb_object *blob = NULL;
    TRY(export_read(x, git_tree_entry_id(entry), &blob));
    const char *at = git_odb_object_data(blob);
    size_t left = git_odb_object_size(blob);
    const int how = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    OWNED(fd_drop) int f = openat(folder, git_tree_entry_name(entry), how, mode);
    if (f < 0)
        return export_made("write a file of the repository");
    while (left > 0) {
        ssize_t n = write(f, at, left);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_errno(errno, "write a file of the repository");
        at += n;
        left -= (size_t)n;
    }
    if (fchmod(f, mode) != 0) // whatever the umask
        return fail_errno(errno, "set a file's mode");
    return ok();
}

static err export_link(export *x, int folder, const git_tree_entry *entry, size_t depth)
{
    OWNED(export_object_drop) git_odb_object *blob = NULL;
    TRY(export_read(x, git_tree_entry_id(entry), &blob));
    str target = {git_odb_object_data(blob), git_odb_object_size(blob)};
    TRY(repo_check_link(target, depth));
    char text[EXPORT_LINK_MAX + 1];
    *(char *)mempcpy(text, target.at, target.len) = '\0';
    if (symlinkat(text, folder, git_tree_entry_name(entry)) != 0)
        return export_made("make a symbolic link of the repository");
    return ok();
}

static err export_tree(export *x, const git_oid *id, int folder, size_t depth);

static err export_folder(export *x, int folder, const git_tree_entry *entry, size_t depth)
{
    const char *name = git_tree_entry_name(entry);
    if (depth >= EXPORT_DEPTH_MAX)
        return fail(ERR_LIMIT, 0, "the repository's folders are too deep");
    if (mkdirat(folder, name, 0755) != 0)
        return export_made("make a folder of the repository");
    OWNED(fd_drop) int f = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (f < 0 || fchmod(f, 0755) != 0)
        return fail_errno(errno, "open a folder of the repository");
    return export_tree(x, git_tree_entry_id(entry), f, depth + 1);
}

static err export_tree(export *x, const git_oid *id, int folder, size_t depth)
{
    OWNED(repo_tree_drop) git_tree *tree = NULL;
    int code = git_tree_lookup(&tree, x->repository, id);
    if (code != 0)
        return repo_fail(code, "read a folder of the repository");
    for (size_t i = 0; i < git_tree_entrycount(tree); i++) {
        const git_tree_entry *entry = git_tree_entry_byindex(tree, i);
        TRY(repo_check_name(str_of(git_tree_entry_name(entry))));
        if (x->files_left-- == 0)
            return fail(ERR_LIMIT, 0, "the repository holds more than 100,000 files");
        git_filemode_t mode = git_tree_entry_filemode(entry);
        switch (mode) {
        case GIT_FILEMODE_BLOB:
        case GIT_FILEMODE_BLOB_EXECUTABLE:
            TRY(export_file(x, folder, entry, mode == GIT_FILEMODE_BLOB ? 0644 : 0755));
            break;
        case GIT_FILEMODE_LINK:
            TRY(export_link(x, folder, entry, depth));
            break;
        case GIT_FILEMODE_TREE:
            TRY(export_folder(x, folder, entry, depth));
            break;
        default:
            return fail(ERR_SYNTAX, 0, "the repository holds a submodule");
        }
    }
    return ok();
}

err repo_export(const char *path, str commit, str below, const char *folder, uint64_t bytes_max)
{
    OWNED(repo_drop) git_repository *r = NULL;
    OWNED(repo_odb_drop) git_odb *objects = NULL;
    OWNED(repo_tree_drop) git_tree *tree = NULL;
    TRY(repo_open(&r, path));
    TRY(repo_tree_find(&tree, r, commit, below));
    int code = git_repository_odb(&objects, r);
    if (code != 0)
        return repo_fail(code, "open a repository's objects");
    OWNED(fd_drop) int f = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (f < 0)
        return fail_errno(errno, "open the folder to export to");
    export x = {.repository = r,
                .objects = objects,
                .bytes_left = bytes_max,
                .files_left = EXPORT_FILES_MAX};
    return export_tree(&x, git_tree_id(tree), f, 0);
}
