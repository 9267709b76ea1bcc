// Packs a commit's tree: "ctau tree 1\n", then one entry after the other, folders nested.
//
// An entry is a kind (F file, X executable file, L link, D folder, E end of a folder), the lengths
// of its name (u32) and of its bytes (u64), little-endian, then both. The last E ends the archive.
#include "repo/archive.h"

#include "base/buf.h"
#include "base/str.h"
#include "repo/repo_inner.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    ARCHIVE_FILES_MAX = 100000,
    ARCHIVE_DEPTH_MAX = 64,
    ARCHIVE_NAME_MAX = 255,
    ARCHIVE_LINK_MAX = 1024,
    ARCHIVE_CHUNK = 64 << 10,
};
#define ARCHIVE_MAGIC STR("ctau tree 1\n")

// ---- pack

typedef struct packing {
    git_repository *repository;
    git_odb *objects;
    blob_draft *draft;
    sha256_stream *stream;
    uint64_t bytes;
    size_t files_left;
} packing;

static err pack_add(packing *p, str bytes)
{
    sha256_stream_add(p->stream, bytes);
    p->bytes += bytes.len;
    return blob_draft_add(p->draft, bytes);
}

static err pack_entry(packing *p, char kind, str name, str bytes)
{
    OWNED(buf_close) buf head;
    buf_open(&head, 2 * ARCHIVE_LINK_MAX);
    buf_add_byte(&head, kind);
    buf_add_u32(&head, (uint32_t)name.len);
    buf_add_u64(&head, bytes.len);
    buf_add(&head, name);
    TRY(head.error);
    TRY(pack_add(p, buf_str(&head)));
    return pack_add(p, bytes);
}

static void pack_object_drop(git_odb_object **o)
{
    git_odb_object_free(*o);
}

static err pack_file(packing *p, char kind, const git_tree_entry *entry)
{
    OWNED(pack_object_drop) git_odb_object *object = NULL;
    int code = git_odb_read(&object, p->objects, git_tree_entry_id(entry));
    if (code != 0)
        return repo_fail(code, "read a file of the repository");
    return pack_entry(p, kind, str_of(git_tree_entry_name(entry)),
                      (str){git_odb_object_data(object), git_odb_object_size(object)});
}

static err pack_tree(packing *p, const git_oid *id, size_t depth)
{
    OWNED(repo_tree_drop) git_tree *tree = NULL;
    int code = git_tree_lookup(&tree, p->repository, id);
    if (code != 0)
        return repo_fail(code, "read a folder of the repository");
    if (depth > ARCHIVE_DEPTH_MAX)
        return fail(ERR_LIMIT, 0, "the repository's folders are too deep");
    for (size_t i = 0; i < git_tree_entrycount(tree); i++) {
        const git_tree_entry *entry = git_tree_entry_byindex(tree, i);
        str name = str_of(git_tree_entry_name(entry));
        TRY(repo_check_name(name));
        if (p->files_left-- == 0)
            return fail(ERR_LIMIT, 0, "the repository holds more than 100,000 files");
        switch (git_tree_entry_filemode(entry)) {
        case GIT_FILEMODE_BLOB:
            TRY(pack_file(p, 'F', entry));
            break;
        case GIT_FILEMODE_BLOB_EXECUTABLE:
            TRY(pack_file(p, 'X', entry));
            break;
        case GIT_FILEMODE_LINK:
            TRY(pack_file(p, 'L', entry));
            break;
        case GIT_FILEMODE_TREE:
            TRY(pack_entry(p, 'D', name, STR("")));
            TRY(pack_tree(p, git_tree_entry_id(entry), depth + 1));
            break;
        default:
            return fail(ERR_SYNTAX, 0, "the repository holds a submodule");
        }
    }
    return pack_entry(p, 'E', STR(""), STR(""));
}

static err pack_all(packing *p, const git_oid *id, blobs *into)
{
    int code = git_repository_odb(&p->objects, p->repository);
    if (code != 0)
        return repo_fail(code, "open a repository's objects");
    TRY(sha256_stream_open(&p->stream));
    TRY(blob_draft_open(&p->draft, into));
    TRY(pack_add(p, ARCHIVE_MAGIC));
    return pack_tree(p, id, 0);
}

err archive_pack(
    const char *path, str commit, str below, blobs *into, sha256 *hash, uint64_t *bytes)
{
    OWNED(repo_drop) git_repository *r = NULL;
    OWNED(repo_tree_drop) git_tree *tree = NULL;
    TRY(repo_open(&r, path));
    TRY(repo_tree_find(&tree, r, commit, below));
    packing p = {.repository = r, .files_left = ARCHIVE_FILES_MAX};
    err e = pack_all(&p, git_tree_id(tree), into);
    sha256 found = {{0}};
    if (p.stream != NULL)
        found = sha256_stream_close(p.stream);
    if (e.code == OK)
        e = blob_draft_keep(p.draft, &found);
    else
        blob_draft_drop(p.draft);
    repo_odb_drop(&p.objects);
    TRY(e);
    *hash = found;
    *bytes = p.bytes;
    return ok();
}

// ---- unpack

typedef struct unpacking {
    FILE *from;
    uint64_t bytes_left;
    size_t files_left;
} unpacking;
typedef struct archive_entry {
    char kind;
    char name[ARCHIVE_NAME_MAX + 1];
    size_t name_len;
    uint64_t bytes;
} archive_entry;

static err unpack_read(unpacking *u, void *to, size_t size)
{
    if (fread(to, 1, size, u->from) != size)
        return fail(ERR_SYNTAX, 0, "the archive of the sources is cut off");
    return ok();
}

static uint64_t unpack_number(const unsigned char *at, size_t bytes)
{
    uint64_t number = 0;
    while (bytes-- > 0)
        number = number << 8 | at[bytes];
    return number;
}

static err unpack_head(unpacking *u, archive_entry *entry)
{
    unsigned char head[13];
    TRY(unpack_read(u, head, sizeof head));
    entry->kind = (char)head[0];
    entry->name_len = (size_t)unpack_number(head + 1, 4);
    entry->bytes = unpack_number(head + 5, 8);
    if (entry->name_len > ARCHIVE_NAME_MAX)
        return fail(ERR_SYNTAX, 0, "a name in the archive of the sources is too long");
    TRY(unpack_read(u, entry->name, entry->name_len));
    entry->name[entry->name_len] = '\0';
    if (entry->kind == 'E')
        return entry->name_len == 0 && entry->bytes == 0
                   ? ok()
                   : fail(ERR_SYNTAX, 0, "a folder's end in the archive of the sources");
    TRY(repo_check_name((str){entry->name, entry->name_len}));
    if (strlen(entry->name) != entry->name_len)
        return fail(ERR_SYNTAX, 0, "a name in the archive of the sources");
    if (u->files_left-- == 0)
        return fail(ERR_LIMIT, 0, "the archive of the sources holds too many files");
    if (entry->bytes > u->bytes_left)
        return fail(ERR_LIMIT, 0, "the repository's files are too large");
    u->bytes_left -= entry->bytes;
    return ok();
}

static err unpack_made(const char *what)
{
    if (errno == EEXIST)
        return fail(ERR_SYNTAX, EEXIST, "a name in the archive of the sources is there twice");
    return fail_errno(errno, what);
}

static err unpack_file(unpacking *u, int folder, const archive_entry *entry)
{
    const int how = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    mode_t mode = entry->kind == 'X' ? 0755 : 0644;
    char chunk[ARCHIVE_CHUNK];
    OWNED(fd_drop) int f = openat(folder, entry->name, how, mode);
    if (f < 0)
        return unpack_made("write a source file");
    for (uint64_t left = entry->bytes; left > 0;) {
        size_t size = left < sizeof chunk ? (size_t)left : sizeof chunk;
        TRY(unpack_read(u, chunk, size));
        for (size_t at = 0; at < size;) {
            ssize_t n = write(f, chunk + at, size - at);
            if (n < 0 && errno == EINTR)
                continue;
            if (n < 0)
                return fail_errno(errno, "write a source file");
            at += (size_t)n;
        }
        left -= size;
    }
    return fchmod(f, mode) == 0 ? ok() : fail_errno(errno, "set a file's mode");
}

static err unpack_link(unpacking *u, int folder, const archive_entry *entry, size_t depth)
{
    char target[ARCHIVE_LINK_MAX + 1];
    if (entry->bytes > ARCHIVE_LINK_MAX)
        return fail(ERR_SYNTAX, 0, "a symbolic link in the archive of the sources is too long");
    TRY(unpack_read(u, target, (size_t)entry->bytes));
    target[entry->bytes] = '\0';
    TRY(repo_check_link((str){target, (size_t)entry->bytes}, depth));
    if (symlinkat(target, folder, entry->name) != 0)
        return unpack_made("make a symbolic link of the sources");
    return ok();
}

static err unpack_folder(unpacking *u, int folder, size_t depth)
{
    for (;;) {
        archive_entry entry;
        TRY(unpack_head(u, &entry));
        if (entry.kind == 'E')
            return ok();
        if (entry.kind == 'F' || entry.kind == 'X') {
            TRY(unpack_file(u, folder, &entry));
            continue;
        }
        if (entry.kind == 'L') {
            TRY(unpack_link(u, folder, &entry, depth));
            continue;
        }
        if (entry.kind != 'D' || entry.bytes != 0 || depth >= ARCHIVE_DEPTH_MAX)
            return fail(ERR_SYNTAX, 0, "an unknown entry in the archive of the sources");
        if (mkdirat(folder, entry.name, 0755) != 0)
            return unpack_made("make a folder of the sources");
        OWNED(fd_drop)
        int f = openat(folder, entry.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (f < 0 || fchmod(f, 0755) != 0)
            return fail_errno(errno, "open a folder of the sources");
        TRY(unpack_folder(u, f, depth + 1));
    }
}

static void unpack_close(FILE **f)
{
    if (*f != NULL)
        (void)fclose(*f);
}

err archive_unpack(blobs *from, const sha256 *hash, const char *folder, uint64_t bytes_max)
{
    OWNED(fd_drop) int f = -1;
    TRY(blobs_open_fd(from, hash, &f));
    OWNED(unpack_close) FILE *file = fdopen(f, "r");
    if (file == NULL)
        return fail(ERR_MEMORY, errno, "open the archive of the sources");
    (void)fd_move(&f);
    OWNED(fd_drop) int top = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (top < 0)
        return fail_errno(errno, "open the folder to unpack into");
    unpacking u = {.from = file, .bytes_left = bytes_max, .files_left = ARCHIVE_FILES_MAX};
    char magic[sizeof "ctau tree 1\n" - 1];
    TRY(unpack_read(&u, magic, sizeof magic));
    if (!str_is((str){magic, sizeof magic}, ARCHIVE_MAGIC))
        return fail(ERR_SYNTAX, 0, "this blob is no archive of sources");
    TRY(unpack_folder(&u, top, 0));
    return fgetc(file) == EOF ? ok() : fail(ERR_SYNTAX, 0, "bytes behind the archive's end");
}
