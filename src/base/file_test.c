// Files and folders on a real disk: durability's steps, modes, links, deep trees.
#include "base/clock.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/str.h"
#include "base/test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct place {
    char root[64];
    char path[256];
};

static struct place place_make(void)
{
    struct place p;
    (void)snprintf(p.root, sizeof(p.root), "/tmp/ctau-file-test-%016llx",
                   (unsigned long long)random_u64());
    CHECK(file_make_folders(p.root, 0700).code == OK);
    return p;
}

static const char *at(struct place *p, const char *name)
{
    (void)snprintf(p->path, sizeof(p->path), "%s/%s", p->root, name);
    return p->path;
}

static size_t entries(const char *path)
{
    size_t count = 0;
    DIR *d = opendir(path);
    CHECK(d != NULL);
    while (readdir(d) != NULL)
        count++;
    (void)closedir(d);
    return count - 2;
}

TEST(file_read_tells_absence_from_failure)
{
    OWNED(arena_drop) arena *a = NULL;
    CHECK(arena_open(&a, 1 << 20).code == OK);
    str body;
    CHECK(file_read(a, "/no/such/file", 4096, &body).code == ERR_ABSENT);
    CHECK(file_read(a, "/", 1 << 19, &body).code == ERR_SYSTEM);
    CHECK(file_read(a, "/etc/passwd", 3, &body).code == ERR_LIMIT);
    CHECK(file_read(a, "/proc/self/status", 1 << 16, &body).code == OK && body.len > 100);
}

TEST(file_write_durable_replaces_whole_and_sets_mode)
{
    OWNED(arena_drop) arena *a = NULL;
    struct place p = place_make();
    str body;
    struct stat info;
    CHECK(arena_open(&a, 1 << 20).code == OK);
    CHECK(file_write_durable(at(&p, "x"), STR("one"), 0666).code == OK);
    CHECK(stat(p.path, &info) == 0 && (info.st_mode & 07777) == 0666);
    CHECK(file_write_durable(p.path, STR(""), 0600).code == OK);
    CHECK(stat(p.path, &info) == 0 && (info.st_mode & 07777) == 0600 && info.st_size == 0);
    CHECK(file_write_durable(p.path, STR("three\0"), 0600).code == OK);
    CHECK(file_read(a, p.path, 100, &body).code == OK && str_is(body, STR("three\0")));
    CHECK(file_write_durable(at(&p, "no/x"), STR("one"), 0600).code == ERR_ABSENT);
    CHECK(file_exists(at(&p, "x")) && !file_exists(at(&p, "y")) && entries(p.root) == 1);
    CHECK(file_remove_tree(p.root).code == OK && !file_exists(p.root));
}

TEST(file_write_durable_keeps_old_or_new_at_each_failure)
{
    OWNED(arena_drop) arena *a = NULL;
    struct place p = place_make();
    CHECK(arena_open(&a, 1 << 20).code == OK);
    bool done = false;
    for (uint64_t k = 0; !done; k++) {
        str body;
        CHECK(file_write_durable(at(&p, "x"), STR("old"), 0600).code == OK);
        fault_now = (fault_plan){.what = FAULT_WRITE, .after = k, .times = 1};
        err e = file_write_durable(p.path, STR("new"), 0600);
        done = fault_now.seen <= k;
        fault_now = (fault_plan){0};
        CHECK(e.code == (done ? OK : k == 0 ? ERR_FULL : ERR_SYSTEM));
        CHECK(file_read(a, p.path, 100, &body).code == OK);
        CHECK(str_is(body, done || k == 3 ? STR("new") : STR("old")));
        CHECK(entries(p.root) == 1);
    }
    CHECK(file_remove_tree(p.root).code == OK);
}

TEST(file_write_durable_tells_a_full_disk)
{
    // Root may write here, and the disk is always full; nothing can be made beside it though.
    err e = file_write_durable("/dev/full/x", STR("x"), 0600);
    CHECK(e.code == ERR_SYSTEM && e.sys == ENOTDIR);
}

TEST(file_make_folders_is_idempotent_and_refuses_files)
{
    struct place p = place_make();
    CHECK(file_make_folders(at(&p, "a//b/c/"), 0750).code == OK);
    CHECK(file_make_folders(at(&p, "a/b/c"), 0750).code == OK);
    CHECK(file_make_folders("/", 0750).code == OK &&
          file_make_folders("", 0750).code == ERR_ABSENT);
    CHECK(file_write_durable(at(&p, "a/f"), STR("x"), 0600).code == OK);
    CHECK(file_make_folders(at(&p, "a/f"), 0750).code == ERR_CONFLICT);
    CHECK(file_make_folders(at(&p, "a/f/g"), 0750).code != OK);
    CHECK(file_remove_tree(p.root).code == OK && !file_exists(p.root));
}

TEST(file_remove_tree_does_not_follow_links)
{
    struct place p = place_make();
    struct place kept = place_make();
    CHECK(file_write_durable(at(&kept, "f"), STR("x"), 0600).code == OK);
    CHECK(symlink(kept.root, at(&p, "link")) == 0);
    CHECK(symlink("/no/such", at(&p, "dangling")) == 0);
    CHECK(file_make_folders(at(&p, "d/e"), 0700).code == OK);
    CHECK(symlink(kept.root, at(&p, "d/e/link")) == 0);
    CHECK(file_remove_tree(at(&p, "link")).code == OK && file_exists(kept.root));
    CHECK(file_remove_tree(p.root).code == OK && !file_exists(p.root));
    CHECK(file_exists(at(&kept, "f")));
    CHECK(file_remove_tree(at(&kept, "f")).code == OK && !file_exists(kept.path));
    CHECK(file_remove_tree(kept.root).code == OK && file_remove_tree(kept.root).code == OK);
}

TEST(file_remove_tree_empties_read_only_and_deep_and_wide_folders)
{
    struct place p = place_make();
    CHECK(file_make_folders(at(&p, "ro/below"), 0700).code == OK);
    CHECK(file_write_durable(at(&p, "ro/below/f"), STR("x"), 0400).code == OK);
    CHECK(chmod(at(&p, "ro/below"), 0500) == 0 && chmod(at(&p, "ro"), 0) == 0);
    int f = open(p.root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < 3000; i++) {
        CHECK(f >= 0 && mkdirat(f, "deep", 0700) == 0);
        int next = openat(f, "deep", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (i % 100 == 0)
            CHECK(symlinkat("/", next, "link") == 0);
        (void)close(f);
        f = next;
    }
    for (int i = 0; i < 2000; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "w%d", i);
        CHECK(mkdirat(f, name, 0700) == 0);
    }
    (void)close(f);
    CHECK(file_remove_tree(p.root).code == OK && !file_exists(p.root));
}
