// The loop's own read-only connection to the store's file.
#pragma once
#include "store/store_inner.h"

typedef struct reader {
    sqlite3 *database;
    sqlite3_stmt *get, *up, *down, *revision, *begin, *end;
    size_t open; // walks (store_each) that hold the moment
} reader;
typedef struct range {
    str bucket, prefix, after;
    size_t limit;
    bool reverse;
} range;
err reader_open(reader *r, const char *path) MUST_USE;
void reader_close(reader *r);
err reader_get(reader *r, str bucket, str key, arena *a, store_entry *out) MUST_USE;
err reader_list(reader *r, const range *what, arena *a, store_entry **out, size_t *count) MUST_USE;
err reader_each(reader *r,
                str bucket,
                str prefix,
                bool (*each)(void *data, const store_entry *entry),
                void *data,
                uint64_t *revision) MUST_USE;
