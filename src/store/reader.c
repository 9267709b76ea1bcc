// Reads of what is committed: one record, a range in key order, a walk at one moment.
#include "base/fault.h"
#include "base/str.h"
#include "store/reader_inner.h"

#include <string.h>

enum { READ_BUSY_MS = 200, FIRST_ENTRIES = 32 };

err reader_open(reader *r, const char *path)
{
    *r = (reader){0};
    int flags = SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX;
    if (sqlite3_open_v2(path, &r->database, flags, NULL) != SQLITE_OK)
        return r->database != NULL ? store_fail(r->database, "open the store for reading")
                                   : fail(ERR_MEMORY, 0, "open the store for reading");
    (void)sqlite3_extended_result_codes(r->database, 1);
    (void)sqlite3_busy_timeout(r->database, READ_BUSY_MS);
    const struct {
        sqlite3_stmt **out;
        const char *sql;
    } all[] = {
        {&r->get, "SELECT value, revision FROM entries WHERE bucket=?1 AND key=?2"},
        {&r->up, "SELECT key, value, revision FROM entries"
                 " WHERE bucket=?1 AND key>=?2 AND key<?3 ORDER BY key LIMIT ?4"},
        {&r->down, "SELECT key, value, revision FROM entries"
                   " WHERE bucket=?1 AND key>=?2 AND key<?3 ORDER BY key DESC LIMIT ?4"},
        {&r->revision, "SELECT revision FROM meta"},
        {&r->begin, "BEGIN"},
        {&r->end, "COMMIT"},
    };
    for (size_t i = 0; i < COUNT(all); i++)
        TRY(store_prepare(r->database, all[i].out, all[i].sql));
    return ok();
}

void reader_close(reader *r)
{
    sqlite3_stmt *all[] = {r->get, r->up, r->down, r->revision, r->begin, r->end};
    for (size_t i = 0; i < COUNT(all); i++)
        (void)sqlite3_finalize(all[i]);
    (void)sqlite3_close(r->database);
    *r = (reader){0};
}

static str column_bytes(sqlite3_stmt *s, int at)
{
    const char *from = sqlite3_column_blob(s, at);
    return (str){from != NULL ? from : "", (size_t)sqlite3_column_bytes(s, at)};
}

static err entry_copy(arena *a, str bucket, str key, str value, store_entry *out)
{
    out->bucket = str_copy(a, bucket);
    out->key = str_copy(a, key);
    out->value = str_copy(a, value);
    if (out->bucket.at == NULL || out->key.at == NULL || out->value.at == NULL)
        return fail(ERR_MEMORY, 0, "records that were read");
    return ok();
}

err reader_get(reader *r, str bucket, str key, arena *a, store_entry *out)
{
    store_bind(r->get, 1, bucket, true);
    store_bind(r->get, 2, key, false);
    int code = sqlite3_step(r->get);
    err e;
    store_entry found = {.revision = 0};
    if (code == SQLITE_ROW) {
        found.revision = (uint64_t)sqlite3_column_int64(r->get, 1);
        e = entry_copy(a, bucket, key, column_bytes(r->get, 0), &found);
    } else if (code == SQLITE_DONE) {
        e = fail(ERR_ABSENT, 0, "no such record");
    } else {
        e = store_fail(r->database, "read record");
    }
    (void)sqlite3_reset(r->get);
    if (e.code == OK)
        *out = found;
    return e;
}

typedef struct bounds {
    char low[STORE_KEY_BYTES_MAX + 1], high[STORE_KEY_BYTES_MAX + 1];
    str from, below; // from <= key < below
} bounds;

// Keys are at most STORE_KEY_BYTES_MAX long: one 0xff more is above them all.
static err bounds_make(bounds *b, const range *what)
{
    if (what->prefix.len > STORE_KEY_BYTES_MAX || what->after.len > STORE_KEY_BYTES_MAX)
        return fail(ERR_LIMIT, 0, "key is too long");
    memset(b->high, 0xff, sizeof b->high);
    b->below = (str){b->high, sizeof b->high};
    size_t len = what->prefix.len;
    while (len > 0 && (unsigned char)what->prefix.at[len - 1] == 0xff)
        len--;
    if (len > 0) {
        memcpy(b->high, what->prefix.at, len);
        b->high[len - 1]++;
        b->below.len = len;
    }
    b->from = what->prefix;
    if (what->after.len == 0)
        return ok();
    if (what->reverse) {
        if (str_order(what->after, b->below) < 0)
            b->below = what->after;
    } else if (str_order(what->after, b->from) >= 0) {
        memcpy(b->low, what->after.at, what->after.len);
        b->low[what->after.len] = '\0'; // the very next key
        b->from = (str){b->low, what->after.len + 1};
    }
    return ok();
}

static err range_bind(sqlite3_stmt *s, bounds *b, const range *what)
{
    TRY(bounds_make(b, what));
    store_bind(s, 1, what->bucket, true);
    store_bind(s, 2, b->from, false);
    store_bind(s, 3, b->below, false);
    bool all = what->limit > (size_t)INT64_MAX;
    (void)sqlite3_bind_int64(s, 4, all ? INT64_MAX : (int64_t)what->limit);
    return ok();
}

typedef struct entries {
    store_entry *at;
    size_t count, room;
} entries;

// The former array stays in the arena: doubling wastes at most as much again.
static err entries_add(entries *list, arena *a, store_entry **out)
{
    if (list->count == list->room) {
        size_t room = list->room == 0 ? FIRST_ENTRIES : list->room * 2;
        store_entry *grown = arena_take(a, room * sizeof *grown);
        if (grown == NULL)
            return fail(ERR_MEMORY, 0, "records that were read");
        if (list->count > 0)
            memcpy(grown, list->at, list->count * sizeof *grown);
        list->at = grown;
        list->room = room;
    }
    *out = &list->at[list->count++];
    return ok();
}

static err list_step(reader *r, sqlite3_stmt *s, str bucket, arena *a, entries *list)
{
    int code;
    while ((code = sqlite3_step(s)) == SQLITE_ROW) {
        store_entry *entry = NULL;
        TRY(entries_add(list, a, &entry));
        TRY(entry_copy(a, bucket, column_bytes(s, 0), column_bytes(s, 1), entry));
        entry->revision = (uint64_t)sqlite3_column_int64(s, 2);
    }
    return code == SQLITE_DONE ? ok() : store_fail(r->database, "list records");
}

err reader_list(reader *r, const range *what, arena *a, store_entry **out, size_t *count)
{
    bounds b;
    entries list = {NULL, 0, 0};
    sqlite3_stmt *s = what->reverse ? r->down : r->up;
    TRY(range_bind(s, &b, what));
    err e = list_step(r, s, what->bucket, a, &list);
    (void)sqlite3_reset(s);
    TRY(e);
    *out = list.at;
    *count = list.count;
    return ok();
}

static err revision_read(reader *r, uint64_t *out)
{
    err e = ok();
    if (sqlite3_step(r->revision) == SQLITE_ROW)
        *out = (uint64_t)sqlite3_column_int64(r->revision, 0);
    else
        e = store_fail(r->database, "read revision");
    (void)sqlite3_reset(r->revision);
    return e;
}

static err each_step(reader *r,
                     sqlite3_stmt *s,
                     str bucket,
                     bool (*each)(void *data, const store_entry *entry),
                     void *data)
{
    int code;
    while ((code = sqlite3_step(s)) == SQLITE_ROW) {
        store_entry entry = {bucket, column_bytes(s, 0), column_bytes(s, 1),
                             (uint64_t)sqlite3_column_int64(s, 2)};
        if (!each(data, &entry))
            return ok();
    }
    return code == SQLITE_DONE ? ok() : store_fail(r->database, "walk records");
}

// `each` may read from the store as well, walks included: what it reads is of the same moment.
err reader_each(reader *r,
                str bucket,
                str prefix,
                bool (*each)(void *data, const store_entry *entry),
                void *data,
                uint64_t *revision)
{
    bounds b;
    range what = {bucket, prefix, {NULL, 0}, SIZE_MAX, false};
    sqlite3_stmt *s = NULL;
    if (r->open == 0) {
        err e = sqlite3_step(r->begin) == SQLITE_DONE ? ok() : store_fail(r->database, "walk");
        (void)sqlite3_reset(r->begin);
        TRY(e);
    }
    r->open++;
    err e = revision_read(r, revision);
    if (e.code == OK)
        e = store_prepare(r->database, &s, sqlite3_sql(r->up));
    if (e.code == OK)
        e = range_bind(s, &b, &what);
    if (e.code == OK)
        e = each_step(r, s, bucket, each, data);
    (void)sqlite3_finalize(s);
    if (--r->open == 0) {
        (void)sqlite3_step(r->end);
        (void)sqlite3_reset(r->end);
    }
    return e;
}
