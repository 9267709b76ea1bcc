// Blobs are what their names say and leave nothing half; rings keep the newest records.
#include "base/clock.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/str.h"
#include "base/test.h"
#include "store/blob.h"
#include "store/ring.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct shelf {
    char folder[64], path[96];
    blobs *blobs;
    arena *memory;
} shelf;

static void shelf_open(shelf *s)
{
    (void)snprintf(s->folder, sizeof s->folder, "/tmp/blob-test-XXXXXX");
    CHECK(mkdtemp(s->folder) != NULL && arena_open(&s->memory, 4 << 20).code == OK);
    (void)snprintf(s->path, sizeof s->path, "%s/blobs", s->folder);
    CHECK(blobs_open(&s->blobs, s->path).code == OK);
}

static void shelf_close(shelf *s)
{
    blobs_close(s->blobs);
    arena_close(s->memory);
    CHECK(file_remove_tree(s->folder).code == OK);
}

typedef struct tally {
    size_t count;
    uint64_t bytes, newest;
    size_t stop_at;
} tally;

static bool on_blob(void *data, const sha256 *hash, uint64_t size, uint64_t written_real_ms)
{
    tally *t = data;
    (void)hash;
    t->bytes += size;
    t->newest = written_real_ms > t->newest ? written_real_ms : t->newest;
    return ++t->count != t->stop_at;
}

static size_t shelf_temporaries(const shelf *s)
{
    size_t count = 0;
    DIR *d = opendir(s->path);
    CHECK(d != NULL);
    const struct dirent *entry;
    while ((entry = readdir(d)) != NULL)
        count += str_starts(str_of(entry->d_name), STR(".put-"));
    CHECK(closedir(d) == 0);
    return count;
}

TEST(blob_is_found_by_its_hash_until_it_is_removed)
{
    shelf s;
    shelf_open(&s);
    sha256 one, two, again;
    CHECK(blobs_put(s.blobs, STR("hello"), &one).code == OK);
    CHECK(blobs_put(s.blobs, STR(""), &two).code == OK);
    CHECK(blobs_put(s.blobs, STR("hello"), &again).code == OK &&
          memcmp(&one, &again, sizeof one) == 0);
    char hex[SHA256_HEX + 1];
    sha256_hex(one, hex);
    assert_string_equal(hex, "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
    str got;
    CHECK(blobs_get(s.blobs, &one, 5, s.memory, &got).code == OK && str_is(got, STR("hello")));
    CHECK(blobs_get(s.blobs, &one, 4, s.memory, &got).code == ERR_LIMIT);
    CHECK(blobs_get(s.blobs, &two, 5, s.memory, &got).code == OK && got.len == 0);
    uint64_t size = 0;
    CHECK(blobs_has(s.blobs, &one, &size) && size == 5);
    tally t = {.stop_at = 9}, first = {.stop_at = 1};
    CHECK(blobs_each(s.blobs, on_blob, &t).code == OK && t.count == 2 && t.bytes == 5);
    CHECK(t.newest <= clock_real_ms() && t.newest + 60000 > clock_real_ms());
    CHECK(blobs_each(s.blobs, on_blob, &first).code == OK && first.count == 1);
    CHECK(blobs_remove_before(s.blobs, &one, clock_real_ms() - 3600000).code == ERR_CONFLICT);
    CHECK(blobs_remove(s.blobs, &one).code == OK && blobs_remove(s.blobs, &one).code == ERR_ABSENT);
    CHECK(!blobs_has(s.blobs, &one, NULL) &&
          blobs_get(s.blobs, &one, 5, s.memory, &got).code == ERR_ABSENT);
    int f = -1;
    CHECK(blobs_open_fd(s.blobs, &one, &f).code == ERR_ABSENT && f == -1);
    shelf_close(&s);
}

TEST(blob_put_again_counts_as_written_now)
{
    shelf s;
    shelf_open(&s);
    sha256 hash;
    CHECK(blobs_put(s.blobs, STR("old"), &hash).code == OK);
    char hex[SHA256_HEX + 1], path[256];
    sha256_hex(hash, hex);
    (void)snprintf(path, sizeof path, "%s/%.2s/%s", s.path, hex, hex);
    struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    uint64_t hour_ago = clock_real_ms() - 3600000;
    CHECK(utimensat(AT_FDCWD, path, old, 0) == 0 &&
          blobs_put(s.blobs, STR("old"), &hash).code == OK);
    CHECK(blobs_remove_before(s.blobs, &hash, hour_ago).code == ERR_CONFLICT);
    CHECK(utimensat(AT_FDCWD, path, old, 0) == 0);
    CHECK(blobs_remove_before(s.blobs, &hash, hour_ago).code == OK);
    shelf_close(&s);
}

TEST(blob_from_a_file_equals_one_from_memory)
{
    shelf s;
    shelf_open(&s);
    static char large[300000];
    for (size_t i = 0; i < sizeof large; i++)
        large[i] = (char)(i * 7 + i / 256);
    char path[128];
    (void)snprintf(path, sizeof path, "%s/file", s.folder);
    CHECK(file_write_durable(path, (str){large, sizeof large}, 0600).code == OK);
    sha256 hash, same = sha256_of((str){large, sizeof large});
    uint64_t size = 0;
    for (size_t i = 0; i < 2; i++)
        CHECK(blobs_put_file(s.blobs, path, &hash, &size).code == OK);
    CHECK(size == sizeof large && memcmp(&hash, &same, sizeof hash) == 0);
    CHECK(blobs_put_file(s.blobs, s.path, &hash, &size).code != OK); // a folder
    CHECK(blobs_put_file(s.blobs, "/nowhere/x", &hash, &size).code == ERR_ABSENT);
    CHECK(shelf_temporaries(&s) == 0);
    // Damage is told, and mended by putting it again at its full size only when it is short.
    char hex[SHA256_HEX + 1], blob[256];
    sha256_hex(same, hex);
    (void)snprintf(blob, sizeof blob, "%s/%.2s/%s", s.path, hex, hex);
    int f = open(blob, O_WRONLY);
    CHECK(f >= 0 && pwrite(f, "!", 1, 1000) == 1 && close(f) == 0);
    str got;
    CHECK(blobs_get(s.blobs, &same, 1 << 20, s.memory, &got).code == ERR_SYNTAX);
    CHECK(truncate(blob, 10) == 0 && blobs_put_file(s.blobs, path, &hash, &size).code == OK);
    CHECK(blobs_get(s.blobs, &same, 1 << 20, s.memory, &got).code == OK);
    shelf_close(&s);
}

TEST(blob_survives_every_failed_write_and_a_crash_leaves_nothing)
{
    uint64_t after = 0, seen = 1;
    for (; seen >= after; after++) {
        shelf s;
        shelf_open(&s);
        fault_now = (fault_plan){.what = FAULT_WRITE, .after = after, .times = 1};
        sha256 hash = sha256_of(STR("bytes")), got;
        err e = blobs_put(s.blobs, STR("bytes"), &got);
        seen = fault_now.seen;
        fault_now = (fault_plan){0};
        CHECK(e.code == (seen > after ? ERR_FULL : OK));
        CHECK(blobs_has(s.blobs, &hash, NULL) == (e.code == OK) && shelf_temporaries(&s) == 0);
        CHECK(blobs_put(s.blobs, STR("bytes"), &got).code == OK && blobs_has(s.blobs, &hash, NULL));
        char left[128];
        (void)snprintf(left, sizeof left, "%s/.put-0123", s.path);
        CHECK(file_write_durable(left, STR("half"), 0600).code == OK);
        blobs_close(s.blobs);
        CHECK(blobs_open(&s.blobs, s.path).code == OK && shelf_temporaries(&s) == 0);
        CHECK(blobs_has(s.blobs, &hash, NULL));
        shelf_close(&s);
    }
    CHECK(after > 2);
}

// ---- rings
typedef struct lines {
    uint64_t first, last, count, stop_at;
} lines;

static bool on_line(void *data, uint64_t number, str record)
{
    lines *l = data;
    char text[64];
    (void)snprintf(text, sizeof text, "line %llu", (unsigned long long)number);
    CHECK(str_starts(record, str_of(text)));
    CHECK(l->count == 0 || number == l->last + 1);
    if (l->count++ == 0)
        l->first = number;
    l->last = number;
    return l->count != l->stop_at;
}

static lines ring_lines(ring *r, uint64_t after, uint64_t stop_at)
{
    lines l = {.stop_at = stop_at};
    CHECK(ring_read(r, after, on_line, &l).code == OK);
    return l;
}

static void ring_fill(ring *r, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char text[128];
        (void)snprintf(text, sizeof text, "line %llu %*s", (unsigned long long)ring_last(r) + 1,
                       (int)(i % 60), "x");
        uint64_t number = 0, expected = ring_last(r) + 1;
        CHECK(ring_add(r, str_of(text), &number).code == OK && number == expected);
    }
}

static uint64_t folder_bytes(const char *path)
{
    uint64_t bytes = 0;
    DIR *d = opendir(path);
    CHECK(d != NULL);
    struct dirent *entry;
    struct stat info;
    while ((entry = readdir(d)) != NULL)
        if (fstatat(dirfd(d), entry->d_name, &info, 0) == 0 && S_ISREG(info.st_mode))
            bytes += (uint64_t)info.st_size;
    CHECK(closedir(d) == 0);
    return bytes;
}

TEST(ring_numbers_grow_over_reopening_and_the_oldest_go)
{
    char folder[] = "/tmp/ring-test-XXXXXX", path[64];
    CHECK(mkdtemp(folder) != NULL);
    (void)snprintf(path, sizeof path, "%s/log", folder);
    enum { LIMIT = 64 << 10 };
    ring *r = NULL;
    CHECK(ring_open(&r, path, LIMIT).code == OK && ring_last(r) == 0);
    CHECK(ring_lines(r, 0, 0).count == 0);
    ring_fill(r, 100);
    lines l = ring_lines(r, 0, 0);
    CHECK(l.first == 1 && l.last == 100 && l.count == 100);
    l = ring_lines(r, 97, 0);
    CHECK(l.first == 98 && l.count == 3 && ring_lines(r, 100, 0).count == 0);
    l = ring_lines(r, 10, 5);
    CHECK(l.first == 11 && l.last == 15);
    l = ring_lines(r, 15, 0); // goes on where the last reading ended
    CHECK(l.first == 16 && l.last == 100);
    for (size_t i = 0; i < 10; i++) {
        ring_fill(r, 500);
        CHECK(ring_sync(r).code == OK);
        ring_close(r);
        CHECK(ring_open(&r, path, LIMIT).code == OK && ring_last(r) == 100 + (i + 1) * 500);
        CHECK(folder_bytes(path) <= LIMIT);
        l = ring_lines(r, 0, 0);
        CHECK(l.last == ring_last(r) && l.count > 300);
        l = ring_lines(r, ring_last(r) - 400, 0);
        CHECK(l.count <= 400 && l.last == ring_last(r));
    }
    static char large[LIMIT];
    uint64_t number;
    CHECK(ring_add(r, (str){large, sizeof large}, &number).code == ERR_LIMIT);
    ring_close(r);
    CHECK(file_remove_tree(folder).code == OK);
}

TEST(ring_tail_is_cut_wherever_it_was_torn)
{
    char folder[] = "/tmp/ring-test-XXXXXX", file[96];
    CHECK(mkdtemp(folder) != NULL);
    ring *r = NULL;
    CHECK(ring_open(&r, folder, 1 << 20).code == OK);
    ring_fill(r, 20);
    ring_close(r);
    (void)snprintf(file, sizeof file, "%s/%020d.ring", folder, 1);
    struct stat info;
    CHECK(stat(file, &info) == 0);
    OWNED(arena_drop) arena *a = NULL;
    str whole;
    CHECK(arena_open(&a, 4 << 20).code == OK && file_read(a, file, 1 << 20, &whole).code == OK);
    for (size_t len = 0; len < whole.len; len += 7) {
        CHECK(file_write_durable(file, str_first(whole, len), 0600).code == OK);
        CHECK(ring_open(&r, folder, 1 << 20).code == OK && ring_last(r) < 20);
        ring_fill(r, 2); // goes on behind what was whole
        lines l = ring_lines(r, 0, 0);
        CHECK(l.first == 1 && l.last == ring_last(r) && l.count == ring_last(r));
        ring_close(r);
        // And a flipped bit ends it as well.
        char *copy = arena_take(a, whole.len);
        memcpy(copy, whole.at, whole.len);
        copy[len] ^= 4;
        CHECK(file_write_durable(file, (str){copy, whole.len}, 0600).code == OK);
        CHECK(ring_open(&r, folder, 1 << 20).code == OK && ring_last(r) < 20);
        ring_close(r);
    }
    CHECK(file_remove_tree(folder).code == OK);
}

TEST(ring_goes_on_after_a_failed_write)
{
    char folder[] = "/tmp/ring-test-XXXXXX";
    CHECK(mkdtemp(folder) != NULL);
    ring *r = NULL;
    CHECK(ring_open(&r, folder, 1 << 20).code == OK);
    ring_fill(r, 3);
    fault_now = (fault_plan){.what = FAULT_WRITE, .after = 0, .times = 1};
    uint64_t number;
    CHECK(ring_add(r, STR("line 4"), &number).code == ERR_FULL && ring_last(r) == 3);
    fault_now = (fault_plan){0};
    ring_fill(r, 2);
    CHECK(ring_lines(r, 0, 0).count == 5);
    ring_close(r);
    CHECK(file_remove_tree(folder).code == OK);
}

TEST(blob_draft_is_kept_under_its_name_or_leaves_nothing)
{
    shelf s;
    shelf_open(&s);
    sha256 hash = sha256_of(STR("in two pieces")), other = sha256_of(STR("other"));
    blob_draft *d = NULL;
    CHECK(blob_draft_open(&d, s.blobs).code == OK);
    CHECK(blob_draft_add(d, STR("in two ")).code == OK && shelf_temporaries(&s) == 1);
    CHECK(blob_draft_add(d, STR("pieces")).code == OK && !blobs_has(s.blobs, &hash, NULL));
    CHECK(blob_draft_keep(d, &hash).code == OK && shelf_temporaries(&s) == 0);
    str bytes;
    CHECK(blobs_get(s.blobs, &hash, 100, s.memory, &bytes).code == OK);
    CHECK(str_is(bytes, STR("in two pieces")));
    // Other bytes than its name says.
    CHECK(blob_draft_open(&d, s.blobs).code == OK);
    CHECK(blob_draft_add(d, STR("not those")).code == OK);
    CHECK(blob_draft_keep(d, &other).code == ERR_SYNTAX && !blobs_has(s.blobs, &other, NULL));
    CHECK(blob_draft_open(&d, s.blobs).code == OK);
    blob_draft_drop(d);
    // A full disk, at each write.
    for (uint64_t after = 0; after < 2; after++) {
        CHECK(blob_draft_open(&d, s.blobs).code == OK);
        fault_now = (fault_plan){.what = FAULT_WRITE, .after = after, .times = 1};
        err e = blob_draft_add(d, STR("other"));
        if (e.code == OK)
            e = blob_draft_keep(d, &other);
        else
            blob_draft_drop(d);
        fault_now = (fault_plan){.what = FAULT_NONE};
        CHECK(e.code == ERR_FULL && !blobs_has(s.blobs, &other, NULL));
    }
    CHECK(shelf_temporaries(&s) == 0);
    // It outlives the owner of the blobs.
    CHECK(blob_draft_open(&d, s.blobs).code == OK && blobs_touch(s.blobs, &hash));
    CHECK(!blobs_touch(s.blobs, &other));
    blobs *mine = blobs_share(s.blobs);
    blobs_close(s.blobs);
    s.blobs = mine;
    CHECK(blob_draft_add(d, STR("other")).code == OK && blob_draft_keep(d, &other).code == OK);
    CHECK(blobs_has(mine, &other, NULL));
    shelf_close(&s);
}
