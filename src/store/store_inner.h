// What the store's parts share: a commit on its way, the writer's and the reader's statements.
#pragma once
#include "store/store.h"

#include <sqlite3.h>

#include <pthread.h>
#include <stdatomic.h>

enum { STORE_BUSY_MS = 5000, STORE_HOOKS_MAX = 16, STORE_PENDING_BYTES_MAX = 256 << 20 };

// One commit, accepted: one piece of memory with its changes and their bytes behind.
typedef struct commit commit;
struct commit {
    commit *next;
    store_done *done;
    void *data;
    err error;   // set before the writer sees it: it only passes through, in its place
    uint64_t at; // the revision it is to get; 0: the next one
    uint64_t revision;
    size_t bytes;
    size_t count;
    store_change changes[];
};
typedef struct commits {
    commit *first, **last;
} commits;
static inline void commits_add(commits *list, commit *c)
{
    c->next = NULL;
    *list->last = c;
    list->last = &c->next;
}

// The writer's connection: used by the writer's thread alone once that runs.
typedef struct writer {
    sqlite3 *database;
    sqlite3_stmt *begin, *end, *undo, *mark, *release, *back;
    sqlite3_stmt *find, *put, *remove, *revision_set;
    uint64_t revision;
    atomic_bool stuck; // an entry of the log could not be applied: none after it may be
    int wal_pages;     // after the last commit, 0 when checkpointed
} writer;
// `copy`: of what is durable elsewhere; a power cut may take the last commits, never their order.
err writer_open(writer *w, const char *path, bool copy) MUST_USE;
void writer_close(writer *w);
// Applies all that expect what is there, in one transaction; sets each commit's error and revision.
void writer_apply(writer *w, commit *batch);
void writer_checkpoint(writer *w); // when the log has grown

err store_fail(sqlite3 *database, const char *what); // from the last call's result
err store_prepare(sqlite3 *database, sqlite3_stmt **out, const char *sql) MUST_USE;
void store_bind(sqlite3_stmt *s, int at, str bytes, bool text); // bytes must stay until reset
