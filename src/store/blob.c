// Blobs on disk: folder/ab/HASH, written beside, synced, renamed, folder synced.
//
// What can fail: the disk (nothing stays but a temporary file, which goes at once or at the next
// opening), damage (told when read). Everything is by descriptor and safe from any thread.
#include "store/blob.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    TEMPORARY_TEXT = 32,
    NAME_TEXT = 3 + SHA256_HEX + 1,
    SHELF_TEXT = 3,
    CHUNK_BYTES = 64 << 10
};
#define TEMPORARY_PREFIX ".put-"

struct blobs {
    int folder;
    atomic_uint owners;
    pthread_mutex_t lock; // between "it is there already" and its removal
};

// "ab/abcd…" and "ab".
typedef struct names {
    char blob[NAME_TEXT], shelf[SHELF_TEXT];
} names;

static names names_of(const sha256 *hash)
{
    names n;
    char hex[SHA256_HEX + 1];
    sha256_hex(*hash, hex);
    (void)snprintf(n.shelf, sizeof n.shelf, "%.2s", hex);
    (void)snprintf(n.blob, sizeof n.blob, "%.2s/%s", hex, hex);
    return n;
}

static void folder_drop(DIR **d)
{
    if (*d != NULL)
        (void)closedir(*d);
}

static err folder_open(int at, const char *name, DIR **out)
{
    OWNED(fd_drop) int f = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (f < 0)
        return errno == ENOENT ? fail(ERR_ABSENT, ENOENT, "open folder of blobs")
                               : fail(ERR_SYSTEM, errno, "open folder of blobs");
    DIR *d = fdopendir(f);
    if (d == NULL)
        return fail(ERR_MEMORY, errno, "open folder of blobs");
    (void)fd_move(&f);
    *out = d;
    return ok();
}

static err blobs_sweep(blobs *b)
{
    OWNED(folder_drop) DIR *d = NULL;
    TRY(folder_open(b->folder, ".", &d));
    const struct dirent *entry;
    while ((entry = readdir(d)) != NULL)
        if (str_starts(str_of(entry->d_name), STR(TEMPORARY_PREFIX)))
            (void)unlinkat(b->folder, entry->d_name, 0);
    return ok();
}

err blobs_open(blobs **out, const char *folder)
{
    TRY(file_make_folders(folder, 0700));
    blobs *b = fault_hits(FAULT_MEMORY) ? NULL : calloc(1, sizeof *b);
    if (b == NULL)
        return fail(ERR_MEMORY, 0, "blobs");
    (void)pthread_mutex_init(&b->lock, NULL);
    atomic_init(&b->owners, 1);
    b->folder = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    err e = b->folder >= 0 ? blobs_sweep(b) : fail_errno(errno, "open folder of blobs");
    if (e.code != OK) {
        blobs_close(b);
        return e;
    }
    *out = b;
    return ok();
}

void blobs_close(blobs *b)
{
    if (b == NULL || atomic_fetch_sub(&b->owners, 1) > 1)
        return;
    fd_drop(&b->folder);
    (void)pthread_mutex_destroy(&b->lock);
    free(b);
}

blobs *blobs_share(blobs *b)
{
    (void)atomic_fetch_add(&b->owners, 1);
    return b;
}

static err folder_sync(int at, const char *name)
{
    OWNED(fd_drop) int f = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (f < 0 || fsync(f) != 0)
        return fail_errno(errno, "sync folder of blobs");
    return ok();
}

// True when the blob was there: it counts as written now, so that no collection takes it soon.
static bool blob_touch(blobs *b, const char *name)
{
    (void)pthread_mutex_lock(&b->lock);
    bool present = utimensat(b->folder, name, NULL, AT_SYMLINK_NOFOLLOW) == 0;
    (void)pthread_mutex_unlock(&b->lock);
    return present;
}

static err shelf_make(blobs *b, const char *shelf)
{
    if (mkdirat(b->folder, shelf, 0700) == 0)
        return folder_sync(b->folder, ".");
    return errno == EEXIST ? ok() : fail_errno(errno, "make folder of blobs");
}

// A file that has no place yet; dropped unless it finds one.
typedef struct temporary {
    blobs *blobs;
    int file;
    char name[TEMPORARY_TEXT];
} temporary;

static void temporary_drop(temporary *t)
{
    fd_drop(&t->file);
    if (t->name[0] != '\0')
        (void)unlinkat(t->blobs->folder, t->name, 0);
}

static err temporary_open(temporary *t)
{
    (void)snprintf(t->name, sizeof t->name, TEMPORARY_PREFIX "%016llx",
                   (unsigned long long)random_u64());
    int how = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC;
    t->file = openat(t->blobs->folder, t->name, how, 0600);
    if (t->file < 0) {
        int why = errno;
        t->name[0] = '\0';
        return fail_errno(why, "write blob");
    }
    return ok();
}

static err temporary_write(temporary *t, str bytes)
{
    while (bytes.len > 0) {
        ssize_t n =
            fault_hits(FAULT_WRITE) ? (errno = ENOSPC, -1) : write(t->file, bytes.at, bytes.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_errno(errno, "write blob");
        bytes = str_from(bytes, (size_t)n);
    }
    return ok();
}

static err temporary_keep(temporary *t, const sha256 *hash)
{
    names n = names_of(hash);
    if (fault_hits(FAULT_WRITE))
        return fail(ERR_FULL, ENOSPC, "planned fault");
    if (fsync(t->file) != 0)
        return fail_errno(errno, "sync blob");
    TRY(shelf_make(t->blobs, n.shelf));
    if (renameat(t->blobs->folder, t->name, t->blobs->folder, n.blob) != 0)
        return fail_errno(errno, "place blob");
    t->name[0] = '\0';
    return folder_sync(t->blobs->folder, n.shelf);
}

err blobs_put(blobs *b, str bytes, sha256 *out)
{
    sha256 hash = sha256_of(bytes);
    names n = names_of(&hash);
    uint64_t size = 0;
    if (blobs_has(b, &hash, &size) && size == bytes.len && blob_touch(b, n.blob)) {
        TRY(folder_sync(b->folder, n.shelf)); // another thread may have placed it just now
    } else {
        OWNED(temporary_drop) temporary t = {.blobs = b, .file = -1};
        TRY(temporary_open(&t));
        TRY(temporary_write(&t, bytes));
        TRY(temporary_keep(&t, &hash));
    }
    *out = hash;
    return ok();
}

static err temporary_copy(temporary *t, int from, sha256_stream *s, uint64_t *size)
{
    char *chunk = malloc(CHUNK_BYTES);
    if (chunk == NULL)
        return fail(ERR_MEMORY, 0, "copy blob");
    err e = ok();
    *size = 0;
    while (e.code == OK) {
        ssize_t n = read(from, chunk, CHUNK_BYTES);
        if (n == 0)
            break;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            e = fail_errno(errno, "read file for a blob");
            break;
        }
        sha256_stream_add(s, (str){chunk, (size_t)n});
        *size += (uint64_t)n;
        e = temporary_write(t, (str){chunk, (size_t)n});
    }
    free(chunk);
    return e;
}

err blobs_put_file(blobs *b, const char *path, sha256 *out, uint64_t *size)
{
    OWNED(fd_drop) int from = open(path, O_RDONLY | O_CLOEXEC);
    if (from < 0)
        return fail_errno(errno, "open file for a blob");
    OWNED(temporary_drop) temporary t = {.blobs = b, .file = -1};
    TRY(temporary_open(&t));
    sha256_stream *s = NULL;
    TRY(sha256_stream_open(&s));
    uint64_t copied = 0, present = 0;
    err e = temporary_copy(&t, from, s, &copied);
    sha256 hash = sha256_stream_close(s);
    TRY(e);
    names n = names_of(&hash);
    if (blobs_has(b, &hash, &present) && present == copied && blob_touch(b, n.blob))
        TRY(folder_sync(b->folder, n.shelf));
    else
        TRY(temporary_keep(&t, &hash));
    *out = hash;
    *size = copied;
    return ok();
}

// ---- drafts
struct blob_draft {
    temporary file;
    sha256_stream *stream;
    uint64_t size;
};

void blob_draft_drop(blob_draft *d)
{
    if (d == NULL)
        return;
    temporary_drop(&d->file);
    if (d->stream != NULL)
        (void)sha256_stream_close(d->stream);
    blobs_close(d->file.blobs);
    free(d);
}

err blob_draft_open(blob_draft **out, blobs *b)
{
    blob_draft *d = fault_hits(FAULT_MEMORY) ? NULL : calloc(1, sizeof *d);
    if (d == NULL)
        return fail(ERR_MEMORY, 0, "write blob");
    d->file = (temporary){.blobs = blobs_share(b), .file = -1};
    err e = temporary_open(&d->file);
    if (e.code == OK)
        e = sha256_stream_open(&d->stream);
    if (e.code != OK) {
        blob_draft_drop(d);
        return e;
    }
    *out = d;
    return ok();
}

err blob_draft_add(blob_draft *d, str bytes)
{
    sha256_stream_add(d->stream, bytes);
    d->size += bytes.len;
    return temporary_write(&d->file, bytes);
}

static err draft_place(blob_draft *d, const sha256 *hash)
{
    uint64_t present = 0;
    names n = names_of(hash);
    sha256 found = sha256_stream_close(d->stream);
    d->stream = NULL;
    if (memcmp(found.bytes, hash->bytes, SHA256_BYTES) != 0)
        return fail(ERR_SYNTAX, 0, "these bytes are not those of the blob's name");
    if (blobs_has(d->file.blobs, hash, &present) && present == d->size &&
        blob_touch(d->file.blobs, n.blob))
        return folder_sync(d->file.blobs->folder, n.shelf);
    return temporary_keep(&d->file, hash);
}

err blob_draft_keep(blob_draft *d, const sha256 *hash)
{
    err e = draft_place(d, hash);
    blob_draft_drop(d);
    return e;
}

bool blobs_touch(blobs *b, const sha256 *hash)
{
    names n = names_of(hash);
    return blob_touch(b, n.blob);
}

bool blobs_has(blobs *b, const sha256 *hash, uint64_t *size)
{
    struct stat info;
    names n = names_of(hash);
    if (fstatat(b->folder, n.blob, &info, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(info.st_mode))
        return false;
    if (size != NULL)
        *size = (uint64_t)info.st_size;
    return true;
}

err blobs_open_fd(blobs *b, const sha256 *hash, int *fd)
{
    names n = names_of(hash);
    int f = openat(b->folder, n.blob, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (f < 0)
        return fail_errno(errno, "open blob");
    *fd = f;
    return ok();
}

err blobs_get(blobs *b, const sha256 *hash, size_t limit, arena *a, str *out)
{
    OWNED(fd_drop) int f = -1;
    TRY(blobs_open_fd(b, hash, &f));
    struct stat info;
    if (fstat(f, &info) != 0)
        return fail_errno(errno, "read blob");
    if ((uint64_t)info.st_size > limit)
        return fail(ERR_LIMIT, 0, "blob is too large");
    size_t size = (size_t)info.st_size, got = 0;
    char *at = arena_take(a, size + 1);
    if (at == NULL)
        return fail(ERR_MEMORY, 0, "read blob");
    while (got < size) {
        ssize_t n = read(f, at + got, size - got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_errno(errno, "read blob");
        if (n == 0)
            break;
        got += (size_t)n;
    }
    sha256 found = sha256_of((str){at, got});
    if (memcmp(found.bytes, hash->bytes, SHA256_BYTES) != 0)
        return fail(ERR_SYNTAX, 0, "blob is damaged: its bytes are not those of its name");
    *out = (str){at, got};
    return ok();
}

err blobs_remove(blobs *b, const sha256 *hash)
{
    return blobs_remove_before(b, hash, UINT64_MAX);
}

static uint64_t stat_real_ms(const struct stat *info)
{
    return (uint64_t)info->st_mtim.tv_sec * 1000 + (uint64_t)info->st_mtim.tv_nsec / 1000000;
}

err blobs_remove_before(blobs *b, const sha256 *hash, uint64_t before_real_ms)
{
    names n = names_of(hash);
    struct stat info;
    err e = ok();
    (void)pthread_mutex_lock(&b->lock);
    bool present = fstatat(b->folder, n.blob, &info, AT_SYMLINK_NOFOLLOW) == 0;
    if (present && stat_real_ms(&info) >= before_real_ms)
        e = fail(ERR_CONFLICT, 0, "blob was written again");
    else if (!present || unlinkat(b->folder, n.blob, 0) != 0)
        e = fail_errno(errno, "remove blob");
    (void)pthread_mutex_unlock(&b->lock);
    return e;
}

typedef struct walk {
    bool (*each)(void *data, const sha256 *hash, uint64_t size, uint64_t written_real_ms);
    void *data;
    bool stopped;
} walk;

static err shelf_walk(blobs *b, const char *shelf, walk *w)
{
    OWNED(folder_drop) DIR *d = NULL;
    TRY(folder_open(b->folder, shelf, &d));
    const struct dirent *entry;
    while (!w->stopped && (entry = readdir(d)) != NULL) {
        sha256 hash;
        struct stat info;
        if (sha256_from_hex(str_of(entry->d_name), &hash).code != OK ||
            memcmp(entry->d_name, shelf, 2) != 0 ||
            fstatat(dirfd(d), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        w->stopped = !w->each(w->data, &hash, (uint64_t)info.st_size, stat_real_ms(&info));
    }
    return ok();
}

err blobs_each(
    blobs *b,
    bool (*each)(void *data, const sha256 *hash, uint64_t size, uint64_t written_real_ms),
    void *data)
{
    walk w = {each, data, false};
    for (unsigned i = 0; i < 256 && !w.stopped; i++) {
        char shelf[SHELF_TEXT];
        (void)snprintf(shelf, sizeof shelf, "%02x", i);
        err e = shelf_walk(b, shelf, &w);
        if (e.code != OK && e.code != ERR_ABSENT)
            return e;
    }
    return ok();
}
