// Reads, follows and changes the file of what is denied.
#include "mesh/deny.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/map.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

enum { KEY_MAX = DENY_WORD_MAX + 8, PROBLEM_MAX = PATH_MAX + 160 };

struct deny {
    char path[PATH_MAX], lock[PATH_MAX];
    map *entries; // "node NAME" or a serial number without leading zeros -> any pointer
    struct stat seen;
    uint64_t looked_ms, version;
    bool looked;
    char problem[PROBLEM_MAX];
};

static void entries_drop(map **m)
{
    map_close(*m);
}

// ---- words

static bool serial_is(str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!((s.at[i] >= '0' && s.at[i] <= '9') || (s.at[i] >= 'a' && s.at[i] <= 'f')))
            return false;
    return s.len > 0 && s.len <= DENY_WORD_MAX;
}

static bool name_is(str s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.at[i];
        bool word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (!word && (i == 0 || (c != '-' && c != '_')))
            return false;
    }
    return s.len > 0 && s.len <= DENY_WORD_MAX;
}

// Libraries disagree on the leading zeros of a number.
static str serial_key(str s)
{
    while (s.len > 1 && s.at[0] == '0')
        s = str_from(s, 1);
    return s;
}

static str name_key(str name, char out[KEY_MAX])
{
    int len = snprintf(out, KEY_MAX, "node %.*s", STR_ARG(str_first(name, DENY_WORD_MAX)));
    return (str){out, (size_t)len};
}

// The key that a line stands for; empty: none. NULL when it is fine, else what is wrong with it.
static const char *line_read(str line, char room[KEY_MAX], str *key)
{
    str text = str_trim(str_first(line, str_find_byte(line, '#')));
    *key = STR("");
    if (text.len == 0)
        return NULL;
    if (str_starts(text, STR("node "))) {
        str name = str_trim(str_from(text, sizeof "node " - 1));
        name = str_first(name, str_find_byte(name, '@')); // full names are fine
        if (!name_is(name))
            return "no short name of a node";
        *key = name_key(name, room);
        return NULL;
    }
    if (!serial_is(text))
        return "neither a serial number in lower-case hex nor `node NAME`";
    *key = serial_key(text);
    return NULL;
}

// ---- lists

typedef struct mistake {
    size_t line;
    const char *reason;
} mistake;

static err list_read(str text, map **out, mistake *m)
{
    OWNED(entries_drop) map *entries = NULL;
    *m = (mistake){0};
    TRY(map_open(&entries, DENY_ENTRIES_MAX));
    if (text.len > DENY_BYTES_MAX) {
        m->reason = "the list is longer than 1 MiB";
        return fail(ERR_LIMIT, 0, "deny list");
    }
    for (str rest = text; rest.len > 0;) {
        char room[KEY_MAX];
        str key;
        m->line++;
        m->reason = line_read(str_cut(&rest, '\n'), room, &key);
        if (m->reason != NULL)
            return fail(ERR_SYNTAX, 0, "deny list");
        if (key.len == 0 || map_get(entries, key) != NULL)
            continue;
        err e = map_put(entries, key, entries, NULL);
        if (e.code == ERR_LIMIT)
            m->reason = "more than 16384 entries";
        TRY(e);
    }
    *out = entries;
    entries = NULL;
    return ok();
}

err deny_check(str text, size_t *count, size_t *line, const char **reason)
{
    OWNED(entries_drop) map *entries = NULL;
    mistake m;
    err e = list_read(text, &entries, &m);
    *line = e.code == OK ? 0 : m.line;
    *reason = m.reason;
    *count = e.code == OK ? map_count(entries) : 0;
    return e;
}

static void problem_set(deny *d, const mistake *m, const char *otherwise)
{
    if (m != NULL && m->reason != NULL)
        (void)snprintf(d->problem, sizeof d->problem, "%s:%zu: %s", d->path, m->line, m->reason);
    else
        (void)snprintf(d->problem, sizeof d->problem, "%s: %s", d->path, otherwise);
}

// Puts the file's bytes in force, or leaves what is.
static err list_take(deny *d, str text)
{
    map *entries = NULL;
    mistake m;
    err e = list_read(text, &entries, &m);
    if (e.code != OK) {
        problem_set(d, &m, e.what);
        return e;
    }
    map_close(d->entries);
    d->entries = entries;
    d->version++;
    d->problem[0] = '\0';
    return ok();
}

static err file_take(deny *d, arena *a, str *text)
{
    err e = file_read(a, d->path, DENY_BYTES_MAX, text);
    if (e.code != OK) {
        problem_set(d, NULL, e.code == ERR_LIMIT ? "the list is longer than 1 MiB" : e.what);
        return e;
    }
    return list_take(d, *text);
}

static bool stat_is(const struct stat *x, const struct stat *y)
{
    return x->st_ino == y->st_ino && x->st_dev == y->st_dev && x->st_size == y->st_size &&
           x->st_mtim.tv_sec == y->st_mtim.tv_sec && x->st_mtim.tv_nsec == y->st_mtim.tv_nsec &&
           x->st_ctim.tv_sec == y->st_ctim.tv_sec && x->st_ctim.tv_nsec == y->st_ctim.tv_nsec;
}

static void file_follow(deny *d)
{
    struct stat now;
    if (stat(d->path, &now) != 0) {
        problem_set(d, NULL, "the list is gone; the former one is in force");
        d->seen = (struct stat){0};
        return;
    }
    if (stat_is(&now, &d->seen))
        return;
    OWNED(arena_drop) arena *a = NULL;
    str text;
    err e = arena_open(&a, 2 * DENY_BYTES_MAX);
    if (e.code == OK)
        e = file_take(d, a, &text);
    // Errors of its text stay until it changes again; others may pass by themselves.
    if (e.code == OK || e.code == ERR_SYNTAX || e.code == ERR_LIMIT)
        d->seen = now;
}

err deny_open(deny **out, const char *folder, arena *a, str *problem)
{
    deny *d = calloc(1, sizeof *d);
    if (d == NULL)
        return fail(ERR_MEMORY, 0, "deny list");
    err e = ok();
    if (snprintf(d->path, PATH_MAX, "%s/deny", folder) >= PATH_MAX ||
        snprintf(d->lock, PATH_MAX, "%s/deny.lock", folder) >= PATH_MAX)
        e = fail(ERR_LIMIT, 0, "path of the deny list");
    if (e.code == OK)
        e = file_make_folders(folder, 0700);
    if (e.code == OK && !file_exists(d->path))
        e = file_write_durable(d->path, STR("# what no door lets in: SERIAL or `node NAME`\n"),
                               0644);
    OWNED(arena_drop) arena *memory = NULL;
    str text;
    if (e.code == OK)
        e = arena_open(&memory, 2 * DENY_BYTES_MAX);
    if (e.code == OK)
        e = file_take(d, memory, &text);
    if (e.code != OK) {
        if (problem != NULL)
            *problem = str_copy(a, d->problem[0] != '\0' ? str_of(d->problem) : str_of(e.what));
        deny_close(d);
        return e;
    }
    *out = d;
    return ok();
}

void deny_close(deny *d)
{
    if (d == NULL)
        return;
    map_close(d->entries);
    free(d);
}

static void deny_look(deny *d, uint64_t now_ms)
{
    if (d->path[0] == '\0' || (d->looked && now_ms - d->looked_ms < DENY_STAT_MS))
        return;
    d->looked = true;
    d->looked_ms = now_ms;
    file_follow(d);
}

uint64_t deny_version(deny *d, uint64_t now_ms)
{
    deny_look(d, now_ms);
    return d->version;
}

void deny_write(const deny *d, buf *out)
{
    size_t at = 0;
    str key;
    void *value;
    while (map_next(d->entries, &at, &key, &value)) {
        buf_add(out, key);
        buf_add_byte(out, '\n');
    }
}

err deny_of(deny **out, str text)
{
    deny *d = calloc(1, sizeof *d);
    if (d == NULL)
        return fail(ERR_MEMORY, 0, "deny list");
    err e = list_take(d, text);
    if (e.code != OK) {
        deny_close(d);
        return e;
    }
    *out = d;
    return ok();
}

bool deny_has(deny *d, str serial_hex, str node, uint64_t now_ms)
{
    deny_look(d, now_ms);
    char room[KEY_MAX];
    str name = str_first(node, str_find_byte(node, '@'));
    return (serial_hex.len > 0 && map_get(d->entries, serial_key(serial_hex)) != NULL) ||
           (name.len > 0 && name.len <= DENY_WORD_MAX &&
            map_get(d->entries, name_key(name, room)) != NULL);
}

str deny_problem(const deny *d)
{
    return str_of(d->problem);
}

size_t deny_count(const deny *d)
{
    return map_count(d->entries);
}

// ---- changes

static err key_of(str serial_hex, str node, char room[KEY_MAX], str *key)
{
    if ((serial_hex.len > 0) == (node.len > 0))
        return fail(ERR_SYNTAX, 0, "deny either a certificate or a node");
    if (node.len > 0) {
        if (!name_is(node))
            return fail(ERR_SYNTAX, 0, "no short name of a node");
        *key = name_key(node, room);
        return ok();
    }
    if (!serial_is(serial_hex))
        return fail(ERR_SYNTAX, 0, "no serial number in lower-case hex");
    *key = serial_key(serial_hex);
    return ok();
}

// Several processes may change the list: each waits for the others, then starts from the file.
static err change_begin(deny *d, arena *a, int *lock, str *text)
{
    *lock = open(d->lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (*lock < 0)
        return fail_errno(errno, "lock the deny list");
    while (flock(*lock, LOCK_EX) != 0)
        if (errno != EINTR)
            return fail_errno(errno, "lock the deny list");
    err e = file_take(d, a, text);
    if (e.code == ERR_SYNTAX)
        return fail(ERR_SYNTAX, 0, "the deny list has errors: mend it first");
    return e;
}

static err change_end(deny *d, const buf *bytes)
{
    TRY(bytes->error);
    size_t count, line;
    const char *reason;
    TRY(deny_check(buf_str(bytes), &count, &line, &reason));
    TRY(file_write_durable(d->path, buf_str(bytes), 0644));
    return list_take(d, buf_str(bytes));
}

// One line, whatever the words say.
static void why_add(buf *out, str why)
{
    why = str_trim(str_first(why, DENY_WHY_MAX));
    if (why.len > 0)
        buf_add(out, STR(" # "));
    for (size_t i = 0; i < why.len; i++)
        buf_add_byte(out, (unsigned char)why.at[i] < ' ' || why.at[i] == 0x7f ? ' ' : why.at[i]);
}

err deny_add(deny *d, str serial_hex, str node, str why)
{
    OWNED(fd_drop) int lock = -1;
    OWNED(arena_drop) arena *a = NULL;
    OWNED(buf_close) buf bytes;
    char room[KEY_MAX];
    str key, text;
    buf_open(&bytes, DENY_BYTES_MAX);
    TRY(key_of(serial_hex, node, room, &key));
    TRY(arena_open(&a, 2 * DENY_BYTES_MAX));
    TRY(change_begin(d, a, &lock, &text));
    if (map_get(d->entries, key) != NULL)
        return ok();
    buf_add(&bytes, text);
    if (text.len > 0 && text.at[text.len - 1] != '\n')
        buf_add_byte(&bytes, '\n');
    buf_add(&bytes, key);
    why_add(&bytes, why);
    buf_add_byte(&bytes, '\n');
    return change_end(d, &bytes);
}

err deny_remove(deny *d, str serial_hex, str node)
{
    OWNED(fd_drop) int lock = -1;
    OWNED(arena_drop) arena *a = NULL;
    OWNED(buf_close) buf bytes;
    char room[KEY_MAX], other[KEY_MAX];
    str key, text, there;
    buf_open(&bytes, DENY_BYTES_MAX);
    TRY(key_of(serial_hex, node, room, &key));
    TRY(arena_open(&a, 2 * DENY_BYTES_MAX));
    TRY(change_begin(d, a, &lock, &text));
    if (map_get(d->entries, key) == NULL)
        return fail(ERR_ABSENT, 0, "this is not denied");
    while (text.len > 0) {
        const char *from = text.at;
        str line = str_cut(&text, '\n');
        size_t len = line.len + (text.at != NULL ? 1 : 0);
        if (line_read(line, other, &there) != NULL || !str_is(there, key))
            buf_add(&bytes, (str){from, len});
    }
    return change_end(d, &bytes);
}
