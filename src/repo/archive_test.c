// A tree that was packed and unpacked is the tree that an export would have made.
#include "base/buf.h"
#include "base/file.h"
#include "base/str.h"
#include "repo/archive.h"
#include "repo/repo_shop_test.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static blobs *shop_blobs(shop *s)
{
    char path[SHOP_PATH + 8];
    blobs *b = NULL;
    (void)snprintf(path, sizeof path, "%.100s/blobs", s->folder);
    CHECK(blobs_open(&b, path).code == OK);
    return b;
}

static void shop_sources(shop *s, char commit[41], char tree[41])
{
    char text[41], script[41], link[41], inner[41];
    shop_blob(s, STR("package lib\n"), text);
    shop_blob(s, STR("#!/bin/sh\n"), script);
    shop_blob(s, STR("../go.mod"), link);
    shop_entry below[] = {{"100755", "build.sh", script}, {"120000", "link", link}};
    shop_tree(s, below, COUNT(below), inner);
    shop_entry top[] = {{"40000", ".taubyte", inner}, {"100644", "go.mod", text}};
    shop_tree(s, top, COUNT(top), tree);
    shop_commit(s, tree, "sources\n", commit);
}

TEST(archive_of_a_commit_unpacks_to_its_files)
{
    shop s;
    char commit[41], tree[41], path[SHOP_PATH + 32], target[32] = "";
    sha256 hash, again;
    uint64_t bytes;
    struct stat info;
    shop_open(&s);
    blobs *b = shop_blobs(&s);
    shop_sources(&s, commit, tree);
    CHECK(archive_pack(s.repository, str_of(commit), STR(""), b, &hash, &bytes).code == OK);
    CHECK(archive_pack(s.repository, str_of(commit), STR("/"), b, &again, &bytes).code == OK);
    CHECK(memcmp(hash.bytes, again.bytes, SHA256_BYTES) == 0);
    CHECK(archive_unpack(b, &hash, s.out, 1 << 20).code == OK);
    (void)snprintf(path, sizeof path, "%s/.taubyte/build.sh", s.out);
    CHECK(stat(path, &info) == 0 && (info.st_mode & 0777) == 0755 && info.st_size == 10);
    (void)snprintf(path, sizeof path, "%s/go.mod", s.out);
    CHECK(stat(path, &info) == 0 && (info.st_mode & 0777) == 0644 && info.st_size == 12);
    (void)snprintf(path, sizeof path, "%s/.taubyte/link", s.out);
    CHECK(readlink(path, target, sizeof target - 1) == 9 && strcmp(target, "../go.mod") == 0);
    CHECK(archive_unpack(b, &hash, s.out, 1 << 20).code == ERR_SYNTAX); // it is not empty now
    (void)snprintf(path, sizeof path, "%.100s/small", s.folder);
    CHECK(mkdir(path, 0755) == 0);
    CHECK(archive_unpack(b, &hash, path, 20).code == ERR_LIMIT);
    CHECK(archive_pack(s.repository, str_of(commit), STR("absent"), b, &hash, &bytes).code ==
          ERR_ABSENT);
    blobs_close(b);
    shop_close(&s);
}

static void entry_add(buf *b, char kind, str name, str bytes)
{
    buf_add_byte(b, kind);
    buf_add_u32(b, (uint32_t)name.len);
    buf_add_u64(b, bytes.len);
    buf_add(b, name);
    buf_add(b, bytes);
}

TEST(archive_that_leaves_its_folder_or_is_damaged_is_refused)
{
    static const struct {
        char kind;
        str name, bytes;
    } rows[] = {
        {'F', STR("../x"), STR("a")}, {'F', STR(".."), STR("a")},
        {'F', STR(""), STR("a")},     {'F', STR("a/b"), STR("a")},
        {'F', STR("a\0b"), STR("a")}, {'D', STR(".git"), STR("")},
        {'L', STR("l"), STR("/etc")}, {'L', STR("l"), STR("../x")},
        {'Q', STR("q"), STR("")},     {'D', STR("d"), STR("with bytes")},
        {'E', STR("e"), STR("")},
    };
    shop s;
    shop_open(&s);
    blobs *b = shop_blobs(&s);
    for (size_t i = 0; i < COUNT(rows) + 3; i++) {
        OWNED(buf_close) buf bytes;
        sha256 hash;
        buf_open(&bytes, 4096);
        buf_add(&bytes, i == COUNT(rows) ? STR("ctau tree 2\n") : STR("ctau tree 1\n"));
        if (i < COUNT(rows))
            entry_add(&bytes, rows[i].kind, rows[i].name, rows[i].bytes);
        if (i != COUNT(rows) + 1) // cut off
            entry_add(&bytes, 'E', STR(""), STR(""));
        if (i == COUNT(rows) + 2)
            buf_add(&bytes, STR("more"));
        CHECK(blobs_put(b, buf_str(&bytes), &hash).code == OK);
        CHECK(archive_unpack(b, &hash, s.out, 1 << 20).code == ERR_SYNTAX);
        CHECK(file_remove_tree(s.out).code == OK && mkdir(s.out, 0755) == 0);
    }
    blobs_close(b);
    shop_close(&s);
}
