// The store keeps what it acknowledged, refuses what does not fit, and goes on after a full disk.
#include "base/clock.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/str.h"
#include "base/test.h"
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { RESULTS_MAX = 4096, TURN_MS = 20, TURNS_MAX = 3000 };

// A store in a folder of its own, and what came back from it, in order.
typedef struct bench {
    char folder[64], path[96];
    loop *loop;
    store *store;
    arena *memory;
    size_t sent, got, hooks;
    err errors[RESULTS_MAX];
    uint64_t revisions[RESULTS_MAX];
    uint64_t hook_revision;
} bench;

static void bench_reopen(bench *b)
{
    if (b->store != NULL)
        store_close(b->store);
    CHECK(store_open(&b->store, b->loop, b->path).code == OK);
}

static void bench_open(bench *b)
{
    *b = (bench){.sent = 0};
    (void)snprintf(b->folder, sizeof b->folder, "/tmp/store-test-XXXXXX");
    CHECK(mkdtemp(b->folder) != NULL);
    (void)snprintf(b->path, sizeof b->path, "%s/state/mesh.db", b->folder);
    CHECK(loop_open(&b->loop).code == OK);
    CHECK(arena_open(&b->memory, 64 << 20).code == OK);
    bench_reopen(b);
}

static void bench_close(bench *b)
{
    store_close(b->store);
    loop_close(b->loop);
    arena_close(b->memory);
    CHECK(file_remove_tree(b->folder).code == OK);
}

static void bench_on_done(void *data, err e, uint64_t revision)
{
    bench *b = data;
    b->errors[b->got] = e;
    b->revisions[b->got++] = revision;
}

static void bench_wait(bench *b)
{
    for (size_t i = 0; i < TURNS_MAX && b->got < b->sent; i++)
        loop_turn(b->loop, TURN_MS);
    CHECK(b->got == b->sent);
}

static store_change put_of(const char *key, const char *value, uint64_t expected)
{
    return (store_change){STORE_PUT, STR("b"), str_of(key), str_of(value), expected};
}

static void bench_send(bench *b, const store_change *changes, size_t count)
{
    b->sent++;
    store_commit(b->store, changes, count, bench_on_done, b);
}

static err bench_put(bench *b, const char *key, const char *value, uint64_t expected)
{
    store_change c = put_of(key, value, expected);
    bench_send(b, &c, 1);
    bench_wait(b);
    return b->errors[b->got - 1];
}

static bool bench_has(bench *b, const char *key, const char *value)
{
    store_entry e;
    err got = store_get(b->store, STR("b"), str_of(key), b->memory, &e);
    if (value == NULL)
        return got.code == ERR_ABSENT;
    return got.code == OK && str_is(e.value, str_of(value)) && str_is(e.key, str_of(key));
}

TEST(store_keeps_records_over_reopening_and_keeps_them_private)
{
    bench b;
    bench_open(&b);
    CHECK(bench_put(&b, "a", "1", 0).code == OK);
    CHECK(bench_put(&b, "a", "2", STORE_ANY).code == OK);
    CHECK(bench_put(&b, "empty", "", STORE_ANY).code == OK);
    CHECK(store_revision(b.store) == 3);
    struct stat info;
    CHECK(stat(b.path, &info) == 0 && (info.st_mode & 07777) == 0600);
    char wal[128];
    (void)snprintf(wal, sizeof wal, "%s-wal", b.path);
    CHECK(stat(wal, &info) == 0 && (info.st_mode & 07777) == 0600);
    *strrchr(wal, '/') = '\0';
    CHECK(stat(wal, &info) == 0 && (info.st_mode & 07777) == 0700);
    bench_reopen(&b);
    CHECK(store_revision(b.store) == 3);
    CHECK(bench_has(&b, "a", "2") && bench_has(&b, "empty", "") && bench_has(&b, "other", NULL));
    store_change remove = {STORE_DELETE, STR("b"), STR("a"), {NULL, 0}, 2};
    bench_send(&b, &remove, 1);
    bench_wait(&b);
    CHECK(bench_has(&b, "a", NULL) && b.revisions[b.got - 1] == 4);
    bench_close(&b);
}

TEST(store_conflict_undoes_its_commit_alone_and_order_stays)
{
    bench b;
    bench_open(&b);
    for (unsigned i = 0; i < 300; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "k%u", i / 3);
        // Of three commits the second always loses: its first change must go with it.
        store_change lost[] = {put_of("lost", "x", STORE_ANY), put_of(key, "no", 0)};
        store_change first = put_of(key, "1", 0), third = put_of(key, "3", STORE_ANY);
        if (i % 3 == 1)
            bench_send(&b, lost, 2);
        else
            bench_send(&b, i % 3 == 0 ? &first : &third, 1);
    }
    bench_wait(&b);
    uint64_t revision = 0;
    for (unsigned i = 0; i < 300; i++) {
        CHECK(b.errors[i].code == (i % 3 == 1 ? ERR_CONFLICT : OK));
        if (i % 3 != 1)
            CHECK(b.revisions[i] == ++revision);
    }
    CHECK(bench_has(&b, "lost", NULL) && bench_has(&b, "k0", "3") && bench_has(&b, "k99", "3"));
    CHECK(bench_put(&b, "k5", "new", 1).code == ERR_CONFLICT);
    store_entry e;
    CHECK(store_get(b.store, STR("b"), STR("k5"), b.memory, &e).code == OK);
    CHECK(bench_put(&b, "k5", "new", e.revision).code == OK);
    CHECK(bench_put(&b, "absent", "x", 7).code == ERR_CONFLICT);
    // Within one commit later changes see earlier ones.
    store_change twice[] = {put_of("t", "1", 0), put_of("t", "2", 0)};
    bench_send(&b, twice, 2);
    bench_wait(&b);
    CHECK(b.errors[b.got - 1].code == ERR_CONFLICT && bench_has(&b, "t", NULL));
    bench_close(&b);
}

static size_t bench_list(bench *b,
                         const char *prefix,
                         const char *after,
                         size_t limit,
                         bool reverse,
                         const char *expected)
{
    store_entry *list;
    size_t count;
    CHECK(store_list(b->store, STR("b"), str_of(prefix), str_of(after), limit, reverse, b->memory,
                     &list, &count)
              .code == OK);
    char keys[256] = "";
    for (size_t i = 0; i < count; i++) {
        memcpy(keys + strlen(keys), list[i].key.at, list[i].key.len + 1);
        keys[strlen(keys) + 1] = '\0';
        keys[strlen(keys)] = ' ';
    }
    assert_string_equal(keys, expected);
    return count;
}

TEST(store_lists_by_prefix_in_key_order_both_ways)
{
    bench b;
    bench_open(&b);
    const char *const keys[] = {"p/1", "p/2", "p/10", "p", "q", "p\xff", "p\xff\xff", "\xff\xff"};
    for (size_t i = 0; i < COUNT(keys); i++)
        CHECK(bench_put(&b, keys[i], "v", 0).code == OK);
    bench_list(&b, "p/", "", 10, false, "p/1 p/10 p/2 ");
    bench_list(&b, "p/", "", 2, false, "p/1 p/10 ");
    bench_list(&b, "p/", "p/1", 10, false, "p/10 p/2 ");
    bench_list(&b, "p/", "a", 10, false, "p/1 p/10 p/2 ");
    bench_list(&b, "p/", "p/2", 10, false, "");
    bench_list(&b, "p/", "", 2, true, "p/2 p/10 ");
    bench_list(&b, "p/", "p/10", 10, true, "p/1 ");
    bench_list(&b, "p/", "z", 10, true, "p/2 p/10 p/1 ");
    bench_list(&b, "p\xff", "", 10, false, "p\xff p\xff\xff ");
    bench_list(&b, "\xff", "", 10, false, "\xff\xff ");
    CHECK(bench_list(&b, "", "", SIZE_MAX, false, "p p/1 p/10 p/2 p\xff p\xff\xff q \xff\xff ") ==
          8);
    bench_close(&b);
}

static void
bench_on_commit(void *data, const store_change *changes, size_t count, uint64_t revision)
{
    bench *b = data;
    CHECK(count == 1 && revision > b->hook_revision && str_is(changes[0].value, STR("v")));
    CHECK(b->hooks == b->got); // before the done of the same commit
    b->hook_revision = revision;
    b->hooks++;
}

TEST(store_tells_each_commit_before_its_done)
{
    bench b;
    bench_open(&b);
    store_on_commit(b.store, bench_on_commit, &b);
    store_change c = put_of("k", "v", STORE_ANY);
    for (size_t i = 0; i < 50; i++)
        bench_send(&b, &c, 1);
    CHECK(b.got == 0); // never before store_commit returns
    bench_wait(&b);
    CHECK(b.hooks == 50);
    bench_close(&b);
}

TEST(store_add_keeps_what_stands_there)
{
    bench b;
    bench_open(&b);
    store_change add = {STORE_ADD, STR("b"), STR("k"), STR("1"), STORE_ANY};
    bench_send(&b, &add, 1);
    add.value = STR("2");
    store_change with[] = {add, put_of("other", "v", 0)};
    bench_send(&b, with, 2);
    bench_wait(&b);
    CHECK(b.errors[1].code == OK && bench_has(&b, "k", "1") && bench_has(&b, "other", "v"));
    bench_close(&b);
}

static bool bench_on_each(void *data, const store_entry *entry)
{
    bench *b = data;
    store_entry inner;
    CHECK(store_get(b->store, STR("b"), entry->key, b->memory, &inner).code == OK);
    CHECK(inner.revision == entry->revision);
    return ++b->hooks < 3;
}

TEST(store_walks_one_moment_and_stops_when_told)
{
    bench b;
    bench_open(&b);
    const char *const keys[] = {"a1", "a2", "a3", "a4", "b1"};
    for (size_t i = 0; i < COUNT(keys); i++)
        CHECK(bench_put(&b, keys[i], "v", 0).code == OK);
    uint64_t revision = 0;
    CHECK(store_each(b.store, STR("b"), STR("a"), bench_on_each, &b, &revision).code == OK);
    CHECK(b.hooks == 3 && revision == 5);
    CHECK(bench_put(&b, "a1", "w", STORE_ANY).code == OK);
    CHECK(bench_has(&b, "a1", "w")); // the walk's moment is over
    bench_close(&b);
}

TEST(store_refuses_what_is_too_large)
{
    bench b;
    bench_open(&b);
    static char large[STORE_VALUE_BYTES_MAX + 1];
    store_change c = {STORE_PUT, STR("b"), STR("k"), {large, sizeof large}, STORE_ANY};
    bench_send(&b, &c, 1);
    c.value.len--;
    bench_send(&b, &c, 1);
    c.key = (str){large, STORE_KEY_BYTES_MAX + 1};
    bench_send(&b, &c, 1);
    bench_wait(&b);
    CHECK(b.errors[0].code == ERR_LIMIT && b.errors[1].code == OK && b.errors[2].code == ERR_LIMIT);
    store_entry e;
    CHECK(store_get(b.store, STR("b"), STR("k"), b.memory, &e).code == OK);
    CHECK(e.value.len == STORE_VALUE_BYTES_MAX);
    bench_close(&b);
}

TEST(store_survives_every_failed_write)
{
    for (uint64_t after = 0; after < 4; after++) {
        bench b;
        bench_open(&b);
        fault_now = (fault_plan){.what = FAULT_WRITE, .after = after, .times = 1};
        size_t failed = 0;
        for (unsigned i = 0; i < 3; i++) {
            char key[8];
            (void)snprintf(key, sizeof key, "k%u", i);
            err e = bench_put(&b, key, "v", 0);
            CHECK(e.code == OK || e.code == ERR_FULL);
            failed += e.code != OK;
            CHECK(bench_has(&b, key, e.code == OK ? "v" : NULL));
        }
        CHECK(failed == (after < 3 ? 1 : 0));
        fault_now = (fault_plan){0};
        CHECK(bench_put(&b, "again", "v", 0).code == OK);
        bench_close(&b);
    }
}

TEST(store_tells_every_failed_allocation)
{
    uint64_t seen = 1;
    for (uint64_t after = 0; seen > after && after < 200; after++) {
        bench b;
        bench_open(&b);
        fault_now = (fault_plan){.what = FAULT_MEMORY, .after = after, .times = 1};
        err put = bench_put(&b, "k", "v", 0);
        store_entry e;
        err got = store_get(b.store, STR("b"), STR("k"), b.memory, &e);
        seen = fault_now.seen;
        fault_now = (fault_plan){0};
        CHECK(put.code == OK || put.code == ERR_MEMORY);
        CHECK(got.code == (put.code == OK ? OK : ERR_ABSENT) || got.code == ERR_MEMORY);
        CHECK(bench_put(&b, "k2", "v", 0).code == OK);
        bench_close(&b);
    }
    CHECK(seen > 0);
}

TEST(store_close_delivers_what_was_accepted)
{
    bench b;
    bench_open(&b);
    for (unsigned i = 0; i < 200; i++) {
        char key[8];
        (void)snprintf(key, sizeof key, "k%u", i);
        store_change c = put_of(key, "v", 0);
        bench_send(&b, &c, 1);
    }
    bench_reopen(&b);
    CHECK(b.got == 200);
    for (unsigned i = 0; i < 200; i++)
        CHECK(b.errors[i].code == OK);
    CHECK(bench_has(&b, "k0", "v") && bench_has(&b, "k199", "v"));
    bench_close(&b);
}

static void file_put(const char *path, const char *bytes, size_t len)
{
    int f = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    CHECK(f >= 0 && write(f, bytes, len) == (ssize_t)len && close(f) == 0);
}

TEST(store_refuses_damaged_foreign_and_newer_files)
{
    bench b;
    bench_open(&b);
    store *other = NULL;
    char path[128];
    (void)snprintf(path, sizeof path, "%s/foreign", b.folder);
    char junk[4096];
    memset(junk, 'x', sizeof junk);
    file_put(path, junk, sizeof junk);
    CHECK(store_open(&other, b.loop, path).code == ERR_SYNTAX);
    store_close(b.store);
    b.store = NULL;
    // The user version stands big-endian at byte 60 of the file.
    int f = open(b.path, O_RDWR);
    CHECK(f >= 0 && pwrite(f, "\0\0\0\7", 4, 60) == 4);
    CHECK(store_open(&other, b.loop, b.path).code == ERR_UNSUPPORTED);
    CHECK(pwrite(f, "\0\0\0\1", 4, 60) == 4 && pwrite(f, "\1\2\3\4", 4, 68) == 4);
    CHECK(store_open(&other, b.loop, b.path).code == ERR_SYNTAX);
    CHECK(close(f) == 0);
    (void)snprintf(path, sizeof path, "%s/foreign/x/mesh.db", b.folder);
    CHECK(store_open(&other, b.loop, path).code == ERR_CONFLICT); // a file where a folder should be
    CHECK(other == NULL);
    bench_close(&b);
}

// ---- a disk of one megabyte, in a mount namespace of a child's own
static bool mapping_put(const char *path, const char *text)
{
    int f = open(path, O_WRONLY | O_CLOEXEC);
    bool good = f >= 0 && write(f, text, strlen(text)) == (ssize_t)strlen(text);
    if (f >= 0)
        (void)close(f);
    return good;
}

static bool small_disk_mount(const char *folder)
{
    uid_t user = geteuid();
    gid_t group = getegid();
    if (unshare(user == 0 ? CLONE_NEWNS : CLONE_NEWNS | CLONE_NEWUSER) != 0)
        return false;
    // In a user namespace of its own an ordinary user is nobody until mapped to itself.
    char uids[32], gids[32];
    (void)snprintf(uids, sizeof uids, "%u %u 1", user, user);
    (void)snprintf(gids, sizeof gids, "%u %u 1", group, group);
    if (user != 0 &&
        !(mapping_put("/proc/self/setgroups", "deny") && mapping_put("/proc/self/uid_map", uids) &&
          mapping_put("/proc/self/gid_map", gids)))
        return false;
    (void)mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
    return mount("tmpfs", folder, "tmpfs", 0, "size=1m") == 0;
}

static int small_disk_fill(bench *b)
{
    static char large[100000];
    size_t written = 0;
    err e = ok();
    for (; written < 100 && e.code == OK; written++) {
        char key[16];
        (void)snprintf(key, sizeof key, "k%zu", written);
        store_change c = {STORE_PUT, STR("b"), str_of(key), {large, sizeof large}, 0};
        bench_send(b, &c, 1);
        bench_wait(b);
        e = b->errors[b->got - 1];
    }
    if (e.code != ERR_FULL || written < 2)
        return 10;
    // What was acknowledged is there, what failed is not.
    store_entry *list;
    size_t count;
    CHECK(store_list(b->store, STR("b"), STR("k"), STR(""), 1000, false, b->memory, &list, &count)
              .code == OK);
    if (count != written - 1)
        return 11;
    // Room is made elsewhere on the disk: it goes on, in the same store.
    char ballast[128];
    (void)snprintf(ballast, sizeof ballast, "%s/ballast", b->folder);
    if (unlink(ballast) != 0)
        return 12;
    if (bench_put(b, "after", "v", 0).code != OK || !bench_has(b, "after", "v"))
        return 13;
    bench_reopen(b);
    return bench_has(b, "after", "v") && bench_has(b, "k0", NULL) == false ? 0 : 14;
}

TEST(store_goes_on_after_a_full_disk)
{
    char folder[] = "/tmp/store-disk-XXXXXX";
    CHECK(mkdtemp(folder) != NULL);
    pid_t child = fork();
    if (child == 0) {
        if (!small_disk_mount(folder))
            _exit(77);
        bench b = {.sent = 0};
        (void)snprintf(b.folder, sizeof b.folder, "%s", folder);
        (void)snprintf(b.path, sizeof b.path, "%s/mesh.db", folder);
        char ballast[128];
        (void)snprintf(ballast, sizeof ballast, "%s/ballast", folder);
        static char zeros[200000];
        file_put(ballast, zeros, sizeof zeros);
        if (loop_open(&b.loop).code != OK || arena_open(&b.memory, 64 << 20).code != OK)
            _exit(1);
        bench_reopen(&b);
        _exit(small_disk_fill(&b));
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child && rmdir(folder) == 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        skip(); // no mount namespaces here
    CHECK(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

// ---- kill -9: a child commits and says what was acknowledged, until it is killed at random
typedef struct victim {
    bench *bench;
    int out;
    uint64_t next;
} victim;

static void victim_commit(victim *v);

static void victim_on_done(void *data, err e, uint64_t revision)
{
    victim *v = data;
    (void)revision;
    if (e.code != OK || write(v->out, &v->next, sizeof v->next) != sizeof v->next)
        _exit(1);
    v->next += 4;
    victim_commit(v);
}

static void victim_commit(victim *v)
{
    char key[24];
    (void)snprintf(key, sizeof key, "n%llu", (unsigned long long)v->next);
    store_change both[] = {put_of(key, "v", 0), put_of("last", key, STORE_ANY)};
    store_commit(v->bench->store, both, 2, victim_on_done, v);
}

static void victim_run(bench *b, int out, uint64_t first)
{
    if (loop_open(&b->loop).code != OK || store_open(&b->store, b->loop, b->path).code != OK)
        _exit(1);
    victim chains[4]; // four at once, so that groups form
    for (uint64_t i = 0; i < 4; i++) {
        chains[i] = (victim){b, out, first + i};
        victim_commit(&chains[i]);
    }
    loop_run(b->loop);
    _exit(1);
}

TEST(store_loses_nothing_acknowledged_when_killed)
{
    bench b;
    bench_open(&b);
    store_close(b.store);
    loop_close(b.loop);
    static bool acknowledged[1 << 20];
    uint64_t total = 0, first = 0;
    for (unsigned round = 0; round < 20; round++) {
        int ends[2];
        CHECK(pipe2(ends, O_CLOEXEC) == 0);
        pid_t child = fork();
        if (child == 0)
            victim_run(&b, ends[1], first);
        (void)close(ends[1]);
        uint64_t number = 0, until = clock_now_ms() + 20 + random_u64() % 80, most = first;
        bool killed = false;
        while (read(ends[0], &number, sizeof number) == sizeof number &&
               number < COUNT(acknowledged)) {
            acknowledged[number] = true;
            most = number > most ? number : most;
            total++;
            if (!killed && clock_now_ms() >= until)
                killed = kill(child, SIGKILL) == 0;
        }
        (void)kill(child, SIGKILL);
        (void)close(ends[0]);
        int status;
        CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status));
        CHECK(loop_open(&b.loop).code == OK && store_open(&b.store, b.loop, b.path).code == OK);
        for (uint64_t n = 0; n <= most; n++) {
            char key[24];
            (void)snprintf(key, sizeof key, "n%llu", (unsigned long long)n);
            if (acknowledged[n])
                CHECK(bench_has(&b, key, "v"));
        }
        // Both changes of a commit are there, or none.
        store_entry last, named;
        CHECK(store_get(b.store, STR("b"), STR("last"), b.memory, &last).code == OK);
        CHECK(store_get(b.store, STR("b"), last.value, b.memory, &named).code == OK);
        CHECK(named.revision == last.revision && last.revision == store_revision(b.store));
        first = (most + 8) & ~3ull;
        store_close(b.store);
        loop_close(b.loop);
        arena_reset(b.memory);
    }
    CHECK(total > 100);
    CHECK(loop_open(&b.loop).code == OK);
    b.store = NULL;
    bench_close(&b);
}
