// A store: commits wait for the writer's thread and come back to the loop in their order.
//
// The happy path is: store_commit copies and queues, the thread applies all that wait in one
// transaction, posts to the loop, where hooks and done run. What can fail: memory for the copy
// (the commit passes through with that error, in its place), and what writer.c says.
#include "base/fault.h"
#include "base/file.h"
#include "base/str.h"
#include "store/reader_inner.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BATCH_COMMITS_MAX = 512, BATCH_BYTES_MAX = 16 << 20, POST_RETRY_NS = 1000000 };

typedef struct hook {
    void (*on)(void *data, const store_change *changes, size_t count, uint64_t revision);
    void *data;
} hook;

// What a posted delivery holds: it may reach the loop after the store was closed.
typedef struct delivery {
    store *owner;
} delivery;

struct store {
    loop *loop;
    reader reader;
    writer writer;
    hook hooks[STORE_HOOKS_MAX];
    size_t hook_count;
    uint64_t revision; // as delivered
    bool delivering, closed;
    pthread_t thread;
    // Shared with the writer's thread, under `lock`:
    pthread_mutex_t lock;
    pthread_cond_t wake;
    commits waiting, done;
    size_t waiting_bytes;
    delivery *posted; // on its way to the loop, or NULL
    bool closing;
};

static void store_deliver_one(store *s, commit *c)
{
    if (c->error.code == OK) {
        s->revision = c->revision;
        for (size_t i = 0; i < s->hook_count; i++)
            s->hooks[i].on(s->hooks[i].data, c->changes, c->count, c->revision);
    }
    if (c->done != NULL)
        c->done(c->data, c->error, c->revision);
    free(c);
}

static void store_deliver(store *s)
{
    s->delivering = true;
    for (;;) {
        (void)pthread_mutex_lock(&s->lock);
        commit *first = s->done.first;
        s->done = (commits){.last = &s->done.first};
        (void)pthread_mutex_unlock(&s->lock);
        if (first == NULL)
            break;
        for (commit *c = first, *next; c != NULL; c = next) {
            next = c->next;
            store_deliver_one(s, c);
        }
    }
    s->delivering = false;
}

static void store_on_posted(void *data)
{
    delivery *d = data;
    store *s = d->owner;
    if (s != NULL) {
        (void)pthread_mutex_lock(&s->lock);
        s->posted = NULL;
        (void)pthread_mutex_unlock(&s->lock);
        store_deliver(s);
    }
    free(d);
}

// Hands a batch to the loop; waits when there is no memory to say so, since nothing may be lost.
static void store_post(store *s, commit *batch)
{
    const struct timespec pause = {.tv_nsec = POST_RETRY_NS};
    (void)pthread_mutex_lock(&s->lock);
    for (commit *c = batch, *next; c != NULL; c = next) {
        next = c->next;
        commits_add(&s->done, c);
    }
    while (s->posted == NULL) {
        delivery *d = malloc(sizeof *d);
        if (d != NULL) {
            *d = (delivery){s};
            s->posted = d;
            if (loop_post(s->loop, store_on_posted, d).code == OK)
                break;
            s->posted = NULL;
            free(d);
        }
        (void)pthread_mutex_unlock(&s->lock);
        (void)nanosleep(&pause, NULL);
        (void)pthread_mutex_lock(&s->lock);
        if (s->closing)
            break; // store_close delivers what is left
    }
    (void)pthread_mutex_unlock(&s->lock);
}

// Takes a batch off the queue; waits for one. NULL when the store closes and all is done.
static commit *store_take(store *s)
{
    (void)pthread_mutex_lock(&s->lock);
    while (s->waiting.first == NULL && !s->closing)
        (void)pthread_cond_wait(&s->wake, &s->lock);
    commit *first = s->waiting.first, *last = first;
    if (first == NULL) {
        (void)pthread_mutex_unlock(&s->lock);
        return NULL;
    }
    size_t bytes = first->bytes;
    for (size_t n = 1; last->next != NULL && n < BATCH_COMMITS_MAX &&
                       bytes + last->next->bytes <= BATCH_BYTES_MAX;
         n++) {
        last = last->next;
        bytes += last->bytes;
    }
    s->waiting.first = last->next;
    last->next = NULL;
    if (s->waiting.first == NULL)
        s->waiting.last = &s->waiting.first;
    s->waiting_bytes -= bytes;
    (void)pthread_mutex_unlock(&s->lock);
    return first;
}

static void *store_thread(void *data)
{
    store *s = data;
    commit *batch;
    while ((batch = store_take(s)) != NULL) {
        writer_apply(&s->writer, batch);
        store_post(s, batch);
        writer_checkpoint(&s->writer);
    }
    return NULL;
}

static err folder_sync(const char *path)
{
    OWNED(fd_drop) int f = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (f < 0 || fsync(f) != 0)
        return fail_errno(errno, "sync the store's folder");
    return ok();
}

// Makes the folder of the file, or with `made` syncs it and the one above: a first commit must not
// be durable in a file that a power cut unlists.
static err store_folder(const char *path, bool made)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    if (slash == NULL || slash == path)
        return ok();
    if ((size_t)(slash - path) + sizeof "/.." > sizeof folder)
        return fail(ERR_LIMIT, 0, "path of the store");
    char *end = mempcpy(folder, path, (size_t)(slash - path));
    *end = '\0';
    if (!made)
        return file_make_folders(folder, 0700);
    TRY(folder_sync(folder));
    memcpy(end, "/..", sizeof "/..");
    return folder_sync(folder);
}

static err store_start(store *s)
{
    // Signals are for the threads that watch them.
    sigset_t all, former;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &former);
    int code = pthread_create(&s->thread, NULL, store_thread, s);
    (void)pthread_sigmask(SIG_SETMASK, &former, NULL);
    return code == 0 ? ok() : fail_errno(code, "start the store's thread");
}

static void store_free(store *s)
{
    reader_close(&s->reader);
    writer_close(&s->writer);
    (void)pthread_cond_destroy(&s->wake);
    (void)pthread_mutex_destroy(&s->lock);
    free(s);
}

static err store_open_as(store **out, loop *l, const char *path, bool copy)
{
    TRY(store_folder(path, false));
    store *s = fault_hits(FAULT_MEMORY) ? NULL : calloc(1, sizeof *s);
    if (s == NULL)
        return fail(ERR_MEMORY, 0, "store");
    s->loop = l;
    s->waiting.last = &s->waiting.first;
    s->done.last = &s->done.first;
    (void)pthread_mutex_init(&s->lock, NULL);
    (void)pthread_cond_init(&s->wake, NULL);
    err e = writer_open(&s->writer, path, copy);
    if (e.code == OK)
        e = store_folder(path, true);
    if (e.code == OK)
        e = reader_open(&s->reader, path);
    s->revision = s->writer.revision;
    if (e.code == OK)
        e = store_start(s);
    if (e.code != OK) {
        store_free(s);
        return e;
    }
    *out = s;
    return ok();
}

err store_open(store **out, loop *l, const char *path)
{
    return store_open_as(out, l, path, false);
}

err store_open_copy(store **out, loop *l, const char *path)
{
    return store_open_as(out, l, path, true);
}

void store_close(store *s)
{
    if (s == NULL)
        return;
    assert(!s->delivering);
    (void)pthread_mutex_lock(&s->lock);
    s->closing = true;
    (void)pthread_cond_signal(&s->wake);
    (void)pthread_mutex_unlock(&s->lock);
    (void)pthread_join(s->thread, NULL);
    s->closed = true;
    store_deliver(s);
    if (s->posted != NULL)
        s->posted->owner = NULL; // it frees itself when the loop comes to it
    store_free(s);
}

static err changes_check(const store_change *changes, size_t count, size_t *bytes)
{
    *bytes = 0;
    for (size_t i = 0; i < count; i++) {
        const store_change *c = &changes[i];
        if (c->key.len > STORE_KEY_BYTES_MAX || c->bucket.len > STORE_KEY_BYTES_MAX)
            return fail(ERR_LIMIT, 0, "record's key is too long");
        if (c->verb != STORE_DELETE && c->value.len > STORE_VALUE_BYTES_MAX)
            return fail(ERR_LIMIT, 0, "record is too large");
        *bytes += c->bucket.len + c->key.len + (c->verb != STORE_DELETE ? c->value.len : 0);
    }
    return ok();
}

static str bytes_move(char **at, str from)
{
    str moved = {*at, from.len};
    if (from.len > 0)
        *at = mempcpy(*at, from.at, from.len);
    return moved;
}

static commit *commit_new(const store_change *changes, size_t count)
{
    size_t bytes = 0;
    err e = changes_check(changes, count, &bytes);
    size_t room = sizeof(commit) + count * sizeof(store_change) + bytes;
    commit *c = e.code != OK || fault_hits(FAULT_MEMORY) ? NULL : malloc(room + 1);
    if (c == NULL) {
        c = calloc(1, sizeof *c);
        if (c == NULL)
            abort(); // even the failure could not be told
        c->error = e.code != OK ? e : fail(ERR_MEMORY, 0, "commit");
        c->bytes = sizeof *c;
        return c;
    }
    *c = (commit){.bytes = room, .count = count};
    char *at = (char *)&c->changes[count];
    for (size_t i = 0; i < count; i++) {
        c->changes[i] = changes[i];
        c->changes[i].bucket = bytes_move(&at, changes[i].bucket);
        c->changes[i].key = bytes_move(&at, changes[i].key);
        c->changes[i].value = (str){NULL, 0};
        if (changes[i].verb != STORE_DELETE)
            c->changes[i].value = bytes_move(&at, changes[i].value);
    }
    return c;
}

void store_commit(store *s, const store_change *changes, size_t count, store_done *done, void *data)
{
    store_commit_at(s, 0, changes, count, done, data);
}

void store_resume(store *s)
{
    atomic_store(&s->writer.stuck, false);
}

void store_commit_at(store *s,
                     uint64_t revision,
                     const store_change *changes,
                     size_t count,
                     store_done *done,
                     void *data)
{
    commit *c = commit_new(changes, count);
    if (c->error.code != OK && revision != 0)
        atomic_store(&s->writer.stuck, true); // what follows must not overtake it
    c->at = revision;
    c->done = done;
    c->data = data;
    (void)pthread_mutex_lock(&s->lock);
    if (s->closed) {
        c->error = fail(ERR_CLOSED, 0, "store is closed");
        commits_add(&s->done, c);
    } else {
        if (c->error.code == OK && s->waiting_bytes > STORE_PENDING_BYTES_MAX)
            c->error = fail(ERR_BUSY, 0, "too many commits wait");
        if (c->error.code == ERR_BUSY && revision != 0)
            atomic_store(&s->writer.stuck, true);
        commits_add(&s->waiting, c);
        s->waiting_bytes += c->bytes;
        (void)pthread_cond_signal(&s->wake);
    }
    (void)pthread_mutex_unlock(&s->lock);
}

err store_get(store *s, str bucket, str key, arena *a, store_entry *out)
{
    return reader_get(&s->reader, bucket, key, a, out);
}

// NOLINTNEXTLINE(readability-function-size): store.h's contract
err store_list(store *s,
               str bucket,
               str prefix,
               str after,
               size_t limit,
               bool reverse,
               arena *a,
               store_entry **out,
               size_t *count)
{
    range r = {bucket, prefix, after, limit, reverse};
    return reader_list(&s->reader, &r, a, out, count);
}

err store_each(store *s,
               str bucket,
               str prefix,
               bool (*each)(void *data, const store_entry *entry),
               void *data,
               uint64_t *revision)
{
    return reader_each(&s->reader, bucket, prefix, each, data, revision);
}

uint64_t store_revision(store *s)
{
    return s->revision;
}

void store_on_commit(
    store *s,
    void (*on)(void *data, const store_change *changes, size_t count, uint64_t revision),
    void *data)
{
    assert(s->hook_count < STORE_HOOKS_MAX);
    s->hooks[s->hook_count++] = (hook){on, data};
}
