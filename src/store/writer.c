// The writer: groups of commits become one SQLite transaction, a savepoint each, one fsync for all.
//
// The happy path is: begin, then for each commit a savepoint with its changes, then commit.
// What can fail: an expectation (that savepoint alone is undone), the disk (all is undone; a group
// is then tried again one by one, so that a large commit that finds no room takes no small one with
// it).
#include "base/fault.h"
#include "base/str.h"
#include "store/store_inner.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    SCHEMA_VERSION = 1,
    APPLICATION_ID = 0x63746175, // "ctau"
    CHECKPOINT_PAGES = 1000,
};

err store_fail(sqlite3 *database, const char *what)
{
    int code = sqlite3_extended_errcode(database);
    int number = sqlite3_system_errno(database);
    // This text reaches people as it is: over the wire an error keeps no system's number.
    if ((code & 0xff) == SQLITE_FULL ||
        ((code & 0xff) == SQLITE_IOERR && (number == ENOSPC || number == EDQUOT)))
        return fail(ERR_FULL, 0, "no space left on the store's disk");
    switch (code & 0xff) {
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
        return number != 0 ? fail_errno(number, what) : fail(ERR_SYSTEM, code, what);
    case SQLITE_NOMEM:
        return fail(ERR_MEMORY, 0, what);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return fail(ERR_BUSY, code, what);
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
        return fail(ERR_SYNTAX, code, "the store's file is damaged");
    case SQLITE_READONLY:
    case SQLITE_PERM:
        return fail(ERR_DENIED, code, what);
    default:
        return fail(ERR_SYSTEM, code, what);
    }
}

err store_prepare(sqlite3 *database, sqlite3_stmt **out, const char *sql)
{
    if (sqlite3_prepare_v3(database, sql, -1, SQLITE_PREPARE_PERSISTENT, out, NULL) != SQLITE_OK)
        return store_fail(database, "prepare statement");
    return ok();
}

void store_bind(sqlite3_stmt *s, int at, str bytes, bool text)
{
    // A NULL pointer would bind NULL instead of nothing.
    const char *from = bytes.at != NULL ? bytes.at : "";
    if (text)
        (void)sqlite3_bind_text(s, at, from, (int)bytes.len, SQLITE_STATIC);
    else
        (void)sqlite3_bind_blob(s, at, from, (int)bytes.len, SQLITE_STATIC);
}

// Runs a statement that returns no row.
static err writer_run(writer *w, sqlite3_stmt *s, const char *what)
{
    int code = sqlite3_step(s);
    err e = code == SQLITE_DONE || code == SQLITE_ROW ? ok() : store_fail(w->database, what);
    (void)sqlite3_reset(s);
    return e;
}

static err writer_text(writer *w, const char *sql)
{
    if (sqlite3_exec(w->database, sql, NULL, NULL, NULL) != SQLITE_OK)
        return store_fail(w->database, "set up the store's file");
    return ok();
}

static err writer_whole(writer *w, const char *sql, int64_t *out)
{
    sqlite3_stmt *s = NULL;
    TRY(store_prepare(w->database, &s, sql));
    err e = sqlite3_step(s) == SQLITE_ROW ? ok() : store_fail(w->database, "read the store's file");
    if (e.code == OK)
        *out = sqlite3_column_int64(s, 0);
    (void)sqlite3_finalize(s);
    return e;
}

static int writer_on_wal(void *data, sqlite3 *database, const char *name, int pages)
{
    (void)database;
    (void)name;
    ((writer *)data)->wal_pages = pages;
    return SQLITE_OK;
}

static err writer_schema(writer *w)
{
    int64_t application = 0, version = 0, tables = 0;
    TRY(writer_whole(w, "PRAGMA application_id", &application));
    TRY(writer_whole(w, "PRAGMA user_version", &version));
    TRY(writer_whole(w, "SELECT count(*) FROM sqlite_schema", &tables));
    if (application == APPLICATION_ID && version == SCHEMA_VERSION)
        return ok();
    if (application == APPLICATION_ID && version > SCHEMA_VERSION)
        return fail(ERR_UNSUPPORTED, (int)version, "the store was written by a newer version");
    if (tables != 0 || application != 0)
        return fail(ERR_SYNTAX, (int)version, "not a store: another program's database");
    // One transaction: a crash leaves an empty file or a whole schema.
    return writer_text(w, "BEGIN IMMEDIATE;"
                          "CREATE TABLE entries(bucket TEXT NOT NULL, key BLOB NOT NULL,"
                          " value BLOB NOT NULL, revision INTEGER NOT NULL,"
                          " PRIMARY KEY(bucket, key)) WITHOUT ROWID;"
                          "CREATE TABLE meta(revision INTEGER NOT NULL);"
                          "INSERT INTO meta VALUES(0);"
                          "PRAGMA application_id=1668571509;"
                          "PRAGMA user_version=1;"
                          "COMMIT");
}
_Static_assert(APPLICATION_ID == 1668571509, "the pragma above says the same");

static err writer_statements(writer *w)
{
    const struct {
        sqlite3_stmt **out;
        const char *sql;
    } all[] = {
        {&w->begin, "BEGIN IMMEDIATE"},
        {&w->end, "COMMIT"},
        {&w->undo, "ROLLBACK"},
        {&w->mark, "SAVEPOINT one"},
        {&w->release, "RELEASE one"},
        {&w->back, "ROLLBACK TO one"},
        {&w->find, "SELECT revision FROM entries WHERE bucket=?1 AND key=?2"},
        {&w->put, "INSERT INTO entries VALUES(?1,?2,?3,?4) ON CONFLICT(bucket,key)"
                  " DO UPDATE SET value=excluded.value, revision=excluded.revision"},
        {&w->remove, "DELETE FROM entries WHERE bucket=?1 AND key=?2"},
        {&w->revision_set, "UPDATE meta SET revision=?1"},
    };
    for (size_t i = 0; i < COUNT(all); i++)
        TRY(store_prepare(w->database, all[i].out, all[i].sql));
    return ok();
}

// SQLite would make the file with the umask's mode; its journals take over the file's mode.
static err writer_file(const char *path)
{
    OWNED(fd_drop) int f = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (f < 0)
        return fail_errno(errno, "open the store's file");
    if (fchmod(f, 0600) != 0)
        return fail_errno(errno, "set mode of the store's file");
    return ok();
}

err writer_open(writer *w, const char *path, bool copy)
{
    memset(w, 0, sizeof *w);
    TRY(writer_file(path));
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX;
    if (sqlite3_open_v2(path, &w->database, flags, NULL) != SQLITE_OK)
        return w->database != NULL ? store_fail(w->database, "open the store's file")
                                   : fail(ERR_MEMORY, 0, "open the store's file");
    (void)sqlite3_extended_result_codes(w->database, 1);
    (void)sqlite3_busy_timeout(w->database, STORE_BUSY_MS);
    TRY(writer_text(w, copy ? "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL"
                            : "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL"));
    TRY(writer_text(w, copy ? "PRAGMA temp_store=MEMORY; PRAGMA cache_size=-1024"
                            : "PRAGMA temp_store=MEMORY; PRAGMA cache_size=-8192"));
    TRY(writer_schema(w));
    int64_t revision = 0;
    TRY(writer_whole(w, "SELECT revision FROM meta", &revision));
    w->revision = (uint64_t)revision;
    TRY(writer_statements(w));
    sqlite3_wal_hook(w->database, writer_on_wal, w);
    return ok();
}

void writer_close(writer *w)
{
    sqlite3_stmt *all[] = {w->begin, w->end,  w->undo, w->mark,   w->release,
                           w->back,  w->find, w->put,  w->remove, w->revision_set};
    for (size_t i = 0; i < COUNT(all); i++)
        (void)sqlite3_finalize(all[i]);
    (void)sqlite3_close(w->database);
    memset(w, 0, sizeof *w);
}

static err writer_find(writer *w, const store_change *c, uint64_t *revision)
{
    store_bind(w->find, 1, c->bucket, true);
    store_bind(w->find, 2, c->key, false);
    int code = sqlite3_step(w->find);
    *revision = code == SQLITE_ROW ? (uint64_t)sqlite3_column_int64(w->find, 0) : 0;
    err e = ok();
    if (code != SQLITE_ROW && code != SQLITE_DONE)
        e = store_fail(w->database, "read revision");
    (void)sqlite3_reset(w->find);
    return e;
}

static err writer_change(writer *w, store_change *c, uint64_t revision)
{
    uint64_t present = 0;
    if (c->expected != STORE_ANY || c->verb == STORE_ADD)
        TRY(writer_find(w, c, &present));
    if (c->verb == STORE_ADD) {
        c->expected = present == 0 ? 1 : 0;
        if (present != 0)
            return ok();
    } else if (c->expected != STORE_ANY && c->expected != present) {
        return fail(ERR_CONFLICT, 0, "another revision stands there");
    }
    sqlite3_stmt *s = c->verb == STORE_DELETE ? w->remove : w->put;
    store_bind(s, 1, c->bucket, true);
    store_bind(s, 2, c->key, false);
    if (c->verb != STORE_DELETE) {
        store_bind(s, 3, c->value, false);
        (void)sqlite3_bind_int64(s, 4, (int64_t)revision);
    }
    return writer_run(w, s, "write record");
}

// ERR_CONFLICT has undone this commit alone; any other failure leaves the group to be undone.
static err writer_commit(writer *w, commit *c, uint64_t revision)
{
    TRY(writer_run(w, w->mark, "begin commit"));
    err e = ok();
    for (size_t i = 0; i < c->count && e.code == OK; i++)
        e = writer_change(w, &c->changes[i], revision);
    if (e.code == ERR_CONFLICT)
        TRY(writer_run(w, w->back, "undo commit"));
    else
        TRY(e);
    TRY(writer_run(w, w->release, "end commit"));
    return e;
}

static err writer_group(writer *w, commit *batch, uint64_t *revision)
{
    *revision = w->revision;
    for (commit *c = batch; c != NULL; c = c->next) {
        if (c->error.code != OK && c->error.code != ERR_CONFLICT)
            continue;
        if (c->at != 0 && atomic_load(&w->stuck)) {
            c->error = fail(ERR_BUSY, 0, "an entry before this one could not be applied");
            continue;
        }
        c->error = writer_commit(w, c, c->at != 0 ? c->at : *revision + 1);
        if (c->error.code != OK && c->error.code != ERR_CONFLICT) {
            err e = c->error;
            c->error = ok();
            return e;
        }
        if (c->error.code == OK)
            c->revision = *revision = c->at != 0 ? c->at : *revision + 1;
    }
    (void)sqlite3_bind_int64(w->revision_set, 1, (int64_t)*revision);
    TRY(writer_run(w, w->revision_set, "write revision"));
    if (fault_hits(FAULT_WRITE))
        return fail(ERR_FULL, ENOSPC, "planned fault");
    return writer_run(w, w->end, "commit");
}

// One transaction; OK, or the reason why nothing of it was written.
static err writer_transaction(writer *w, commit *batch)
{
    uint64_t revision;
    TRY(writer_run(w, w->begin, "begin"));
    err e = writer_group(w, batch, &revision);
    if (e.code == OK) {
        w->revision = revision;
        return ok();
    }
    // A full disk may have rolled back by itself already.
    if (sqlite3_get_autocommit(w->database) == 0)
        (void)writer_run(w, w->undo, "roll back");
    return e;
}

void writer_apply(writer *w, commit *batch)
{
    err e = writer_transaction(w, batch);
    if (e.code == OK)
        return;
    for (commit *c = batch, *next; c != NULL; c = next) {
        next = c->next;
        bool refused = c->error.code != OK && c->error.code != ERR_CONFLICT;
        if (refused)
            continue;
        c->error = ok();
        if (batch->next != NULL) {
            c->next = NULL;
            e = writer_transaction(w, c);
            c->next = next;
        }
        if (e.code != OK)
            c->error = e;
        if (e.code != OK && c->at != 0)
            atomic_store(&w->stuck, true);
    }
}

void writer_checkpoint(writer *w)
{
    if (w->wal_pages < CHECKPOINT_PAGES)
        return;
    w->wal_pages = 0;
    (void)sqlite3_wal_checkpoint_v2(w->database, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
}

err store_copy_file(const char *from, const char *to, uint64_t *revision)
{
    sqlite3 *database = NULL;
    sqlite3_stmt *s = NULL;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX;
    err e = sqlite3_open_v2(from, &database, flags, NULL) == SQLITE_OK
                ? ok()
                : store_fail(database, "open the store's file");
    if (database != NULL)
        (void)sqlite3_busy_timeout(database, STORE_BUSY_MS);
    if (e.code == OK)
        e = store_prepare(database, &s, "VACUUM INTO ?1");
    if (e.code == OK) {
        store_bind(s, 1, str_of(to), true);
        e = sqlite3_step(s) == SQLITE_DONE ? ok() : store_fail(database, "copy the store's file");
    }
    (void)sqlite3_finalize(s);
    (void)sqlite3_close(database);
    return e.code == OK ? store_file_revision(to, revision) : e;
}

err store_file_revision(const char *path, uint64_t *revision)
{
    OWNED(fd_drop) int there = open(path, O_RDONLY | O_CLOEXEC);
    if (there < 0)
        return fail_errno(errno, "open the store's file");
    sqlite3 *database = NULL;
    sqlite3_stmt *s = NULL;
    err e = sqlite3_open_v2(path, &database, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) ==
                    SQLITE_OK
                ? ok()
                : store_fail(database, "open the store's file");
    if (e.code == OK)
        e = store_prepare(database, &s, "SELECT revision FROM meta");
    if (e.code == OK)
        e = sqlite3_step(s) == SQLITE_ROW ? ok() : store_fail(database, "read the store's file");
    if (e.code == OK)
        *revision = (uint64_t)sqlite3_column_int64(s, 0);
    (void)sqlite3_finalize(s);
    (void)sqlite3_close(database);
    return e;
}
