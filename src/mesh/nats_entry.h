// One entry of a shard's log: a batch of commits by one writer.
#pragma once
#include "base/buf.h"
#include "mesh/mesh.h"
#include "store/store.h"

enum {
    WRITER_BYTES = 16,
    ENTRY_COMMITS_MAX = 1022, // a revision is entry's number in the log * 1024 + commit's in it
    ENTRY_CHANGES_MAX = MESH_COMMIT_CHANGES_MAX, // of one commit
};
typedef struct entry_commit {
    store_change *changes;
    size_t count;
} entry_commit;
typedef struct log_entry {
    char writer[WRITER_BYTES]; // a process, anew at each start
    uint64_t number;           // grows by writer: what comes again is not applied again
    uint64_t after;            // the last entry that the writer had applied
    entry_commit *commits;
    size_t count;
} log_entry;
// One commit's part of an entry. The sticky error of `out`: ERR_LIMIT past its maximum.
void entry_commit_write(buf *out, const store_change *changes, size_t count);
// What stands before `count` of those.
void entry_head_write(buf *out, const log_entry *head);
// ERR_SYNTAX: malformed; ERR_LIMIT. Texts point into `bytes`, the rest lives in the arena.
err entry_read(arena *a, str bytes, log_entry *out) MUST_USE;
