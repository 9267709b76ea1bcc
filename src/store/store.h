// One universe's durable records: keys with revisions in SQLite, group commit by one thread.
#pragma once
#include "base/base.h"
#include "io/loop.h"

typedef struct store store;
enum { STORE_VALUE_BYTES_MAX = 1024 * 1024, STORE_KEY_BYTES_MAX = 1024 };
#define STORE_ANY UINT64_MAX // expected revision: whatever is there
// STORE_ADD puts where nothing stands and otherwise does nothing; hooks find in its `expected` 1
// when it put, else 0.
typedef enum { STORE_PUT, STORE_DELETE, STORE_ADD } store_verb;
typedef struct store_change {
    store_verb verb;
    str bucket;
    str key;
    str value;
    uint64_t expected; // STORE_ANY, or 0: must not exist, or the revision that must stand there
} store_change;
typedef struct store_entry {
    str bucket, key, value;
    uint64_t revision; // of the commit that wrote it: grows over the whole store
} store_entry;
// path: the database file, made with mode 0600. Opening checks integrity of the schema's version.
err store_open(store **out, loop *l, const char *path) MUST_USE;
// A copy of what a log elsewhere keeps: not synced at each commit, and a power cut may take the
// last ones, in their order.
err store_open_copy(store **out, loop *l, const char *path) MUST_USE;
// Waits for what was accepted and calls every done that is due; what such a done commits gets
// ERR_CLOSED. Not from within a callback of the store.
void store_close(store *s);
// All changes or none, durable (fsync, WAL, synchronous=FULL) before `done(data, ok, revision)`
// runs on the loop. ERR_CONFLICT: an expectation failed, nothing was written. ERR_FULL: no space,
// nothing was written, later commits work again when there is room. Copies everything. Commits are
// applied in the order of these calls.
typedef void store_done(void *data, err e, uint64_t revision);
void store_commit(
    store *s, const store_change *changes, size_t count, store_done *done, void *data);
// As an entry of a log: it gets this revision, which is greater than all before it. After an error
// other than ERR_CONFLICT no later one is applied (ERR_BUSY) until store_resume(), which is called
// once all of them were told.
void store_commit_at(store *s,
                     uint64_t revision,
                     const store_change *changes,
                     size_t count,
                     store_done *done,
                     void *data);
void store_resume(store *s);
// Any thread, blocking: a compact copy of a store's file that may be in use, and the revision that
// it holds. `to` must not exist.
err store_copy_file(const char *from, const char *to, uint64_t *revision) MUST_USE;
err store_file_revision(const char *path, uint64_t *revision) MUST_USE; // ERR_ABSENT, ERR_SYNTAX
// Reads what is committed, on the loop's thread, from the page cache (tens of microseconds).
err store_get(store *s, str bucket, str key, arena *a, store_entry *out) MUST_USE; // ERR_ABSENT
// Entries with `prefix` in key order, after `after` (empty: from the start), `limit` at most;
// newest first when `reverse`.
err store_list(store *s,
               str bucket,
               str prefix,
               str after,
               size_t limit,
               bool reverse,
               arena *a,
               store_entry **out,
               size_t *count) MUST_USE;
// Calls `each` for all entries with `prefix` in key order, all from one moment, until it returns
// false; *revision is the last commit of that moment (what store_on_commit brings with a greater
// one came later). Texts live in the call.
err store_each(store *s,
               str bucket,
               str prefix,
               bool (*each)(void *data, const store_entry *entry),
               void *data,
               uint64_t *revision) MUST_USE;
uint64_t store_revision(store *s); // of the last commit whose done has run or is running
// Called on the loop after each commit with its changes (revision set), before that commit's done.
void store_on_commit(
    store *s,
    void (*on)(void *data, const store_change *changes, size_t count, uint64_t revision),
    void *data);
