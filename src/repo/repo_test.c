// Repositories: made whole, read at a commit, exported safely, put back after a push.
#include "base/file.h"
#include "base/str.h"
#include "repo/repo_shop_test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char zeros[] = "0000000000000000000000000000000000000000";

static void shop_path(char out[512], const char *folder, const char *name)
{
    snprintf(out, 512, "%s/%s", folder, name);
}

static bool shop_holds(const shop *s, const char *name, const char *text, mode_t mode)
{
    OWNED(arena_drop) arena *a = NULL;
    char path[512];
    struct stat info;
    str bytes;
    shop_path(path, s->out, name);
    CHECK(arena_open(&a, 1 << 20).code == OK);
    return stat(path, &info) == 0 && (info.st_mode & 0777) == mode &&
           file_read(a, path, 1 << 16, &bytes).code == OK && str_is(bytes, str_of(text));
}

// A commit with one file `name` of `text`.
static void shop_simple(shop *s, const char *name, const char *text, char commit[41])
{
    char blob[41], tree[41];
    shop_blob(s, str_of(text), blob);
    shop_tree(s, (shop_entry[]){{"100644", name, blob}}, 1, tree);
    shop_commit(s, tree, text, commit);
}

TEST(repo_is_made_once_with_head_main_and_fsync)
{
    OWNED(arena_drop) arena *a = NULL;
    shop s;
    char path[512], commit[41];
    str text;
    shop_open(&s);
    CHECK(arena_open(&a, 1 << 20).code == OK);
    shop_path(path, s.repository, "HEAD");
    CHECK(file_read(a, path, 100, &text).code == OK && str_is(text, STR("ref: refs/heads/main\n")));
    shop_path(path, s.repository, "config");
    CHECK(file_read(a, path, 4096, &text).code == OK);
    CHECK(str_find(text, STR("fsync = all")) < text.len && str_find(text, STR("gc]")) < text.len);
    shop_simple(&s, "f", "one", commit);
    shop_ref(&s, "refs/heads/main", commit);
    CHECK(repo_make(s.repository).code == OK); // changes nothing
    char head[41];
    CHECK(repo_head(s.repository, STR("main"), head).code == OK && strcmp(head, commit) == 0);
    CHECK(repo_head(s.repository, STR("other"), head).code == ERR_ABSENT);
    CHECK(repo_head(s.repository, STR("../../x"), head).code == ERR_ABSENT);
    CHECK(repo_head("/tmp/ctau-no-such.git", STR("main"), head).code == ERR_ABSENT);
    CHECK(repo_make("/proc/ctau/x.git").code != OK);
    shop_close(&s);
}

TEST(repo_of_another_owner_is_read)
{
    shop s;
    char commit[41], head[41], path[512];
    shop_open(&s);
    shop_simple(&s, "f", "one", commit);
    shop_ref(&s, "refs/heads/main", commit);
    if (geteuid() == 0) {
        CHECK(chown(s.repository, 12345, 12345) == 0);
        shop_path(path, s.repository, "config");
        CHECK(chown(path, 12345, 12345) == 0);
    }
    CHECK(repo_head(s.repository, STR("main"), head).code == OK);
    shop_close(&s);
}

TEST(repo_commit_is_read_with_its_first_line)
{
    OWNED(arena_drop) arena *a = NULL;
    shop s;
    repo_commit c;
    char tree[41], commit[41], message[700] = "first line \x1b[31m\n\nrest";
    shop_open(&s);
    CHECK(arena_open(&a, 1 << 20).code == OK);
    shop_tree(&s, NULL, 0, tree);
    shop_commit(&s, tree, message, commit);
    CHECK(repo_commit_read(a, s.repository, str_of(commit), &c).code == OK);
    CHECK(str_is(c.subject, STR("first line \\x1b[31m")));
    CHECK(str_is(c.author, STR("Alice")) && c.real_ms == 1700000001000);
    for (size_t i = 0; i < 300; i++)
        memcpy(message + i * 2, "\xc3\xa9", 3); // é
    shop_commit(&s, tree, message, commit);
    CHECK(repo_commit_read(a, s.repository, str_of(commit), &c).code == OK);
    CHECK(c.subject.len == 200 && str_is_utf8(c.subject));
    CHECK(repo_commit_read(a, s.repository, str_of(zeros), &c).code == ERR_ABSENT);
    CHECK(repo_commit_read(a, s.repository, str_of(tree), &c).code == ERR_ABSENT);
    CHECK(repo_commit_read(a, s.repository, STR("main"), &c).code == ERR_ABSENT);
    shop_close(&s);
}

TEST(repo_export_writes_files_links_and_folders)
{
    shop s;
    char blob[41], link[41], sub[41], tree[41], commit[41], id[41], path[512];
    shop_open(&s);
    shop_blob(&s, STR("text"), blob);
    shop_blob(&s, STR("../run.sh"), link);
    shop_tree(&s, (shop_entry[]){{"100644", "a", blob}, {"120000", "l", link}}, 2, sub);
    shop_tree(&s, (shop_entry[]){{"40000", "d", sub}, {"100755", "run.sh", blob}}, 2, tree);
    shop_commit(&s, tree, "all", commit);
    mode_t before = umask(077);
    CHECK(repo_export(s.repository, str_of(commit), STR(""), s.out, 1000).code == OK);
    umask(before);
    CHECK(shop_holds(&s, "d/a", "text", 0644) && shop_holds(&s, "run.sh", "text", 0755));
    CHECK(shop_holds(&s, "d/l", "text", 0755));
    // Again: a name is there already.
    CHECK(repo_export(s.repository, str_of(commit), STR(""), s.out, 1000).code == ERR_SYNTAX);
    shop_path(path, s.folder, "out2");
    CHECK(mkdir(path, 0755) == 0);
    CHECK(repo_export(s.repository, str_of(commit), STR(""), path, 10).code == ERR_LIMIT);
    // Seen from the folder alone the link leaves it.
    CHECK(file_remove_tree(path).code == OK && mkdir(path, 0755) == 0);
    CHECK(repo_export(s.repository, str_of(commit), STR("d"), path, 1000).code == ERR_SYNTAX);
    CHECK(repo_export(s.repository, str_of(commit), STR("nothing"), path, 1000).code == ERR_ABSENT);
    CHECK(repo_export(s.repository, str_of(commit), STR("run.sh"), path, 1000).code == ERR_ABSENT);
    CHECK(repo_export(s.repository, str_of(commit), STR("../d"), path, 1000).code == ERR_ABSENT);
    CHECK(repo_export(s.repository, str_of(zeros), STR(""), path, 1000).code == ERR_ABSENT);
    CHECK(repo_tree_id(s.repository, str_of(commit), STR("/d/"), id).code == OK &&
          strcmp(id, sub) == 0);
    CHECK(repo_tree_id(s.repository, str_of(commit), STR(""), id).code == OK &&
          strcmp(id, tree) == 0);
    CHECK(repo_tree_id(s.repository, str_of(commit), STR("d/a"), id).code == ERR_ABSENT);
    shop_close(&s);
}

// Exports a commit of this tree; whatever happens, the canary beside the folder stays as it is.
static err_code shop_try(const shop_entry *entries, size_t count, shop *s)
{
    OWNED(arena_drop) arena *a = NULL;
    char tree[41], commit[41], canary[512];
    str text;
    shop_tree(s, entries, count, tree);
    shop_commit(s, tree, "x", commit);
    shop_path(canary, s->folder, "canary");
    CHECK(file_write_durable(canary, STR("alive"), 0644).code == OK);
    CHECK(file_remove_tree(s->out).code == OK && mkdir(s->out, 0755) == 0);
    err_code code = repo_export(s->repository, str_of(commit), STR(""), s->out, 1 << 20).code;
    CHECK(arena_open(&a, 1 << 20).code == OK);
    CHECK(file_read(a, canary, 100, &text).code == OK && str_is(text, STR("alive")));
    return code;
}

TEST(repo_export_refuses_names_that_are_no_names)
{
    static const char *const names[] = {
        "..",   ".",     "../canary", "/tmp/ctau-canary", "a/b",   ".git",
        ".GIT", ".git ", ".git.",     ".git::$INDEX",     "git~1", "GIT~1x",
        "a\nb", "a\x7f"};
    shop s;
    char blob[41], sub[41];
    shop_open(&s);
    shop_blob(&s, STR("dead"), blob);
    for (size_t i = 0; i < COUNT(names); i++) {
        CHECK(shop_try((shop_entry[]){{"100644", names[i], blob}}, 1, &s) == ERR_SYNTAX);
        CHECK(shop_try((shop_entry[]){{"120000", names[i], blob}}, 1, &s) == ERR_SYNTAX);
    }
    shop_tree(&s, (shop_entry[]){{"100644", "canary", blob}}, 1, sub);
    CHECK(shop_try((shop_entry[]){{"40000", "..", sub}}, 1, &s) == ERR_SYNTAX);
    CHECK(shop_try((shop_entry[]){{"160000", "m", blob}}, 1, &s) == ERR_SYNTAX);
    CHECK(shop_try((shop_entry[]){{"100644", "m", sub}}, 1, &s) == ERR_SYNTAX);
    CHECK(shop_try((shop_entry[]){{"100644", ".gitignore", blob}, {"100644", ".github", blob}}, 2,
                   &s) == OK);
    shop_close(&s);
}

TEST(repo_export_never_follows_links)
{
    static const struct {
        const char *target;
        err_code code;
    } links[] = {
        {"/etc", ERR_SYNTAX},
        {"..", ERR_SYNTAX},
        {"../canary", ERR_SYNTAX},
        {"a/../..", ERR_SYNTAX},
        {"./../x", ERR_SYNTAX},
        {"", ERR_SYNTAX},
        {"a/../b", ERR_SYNTAX},
        {"a", OK},
        {"./a//b", OK},
    };
    shop s;
    char link[41], sub[41], blob[41];
    shop_open(&s);
    for (size_t i = 0; i < COUNT(links); i++) {
        shop_blob(&s, str_of(links[i].target), link);
        CHECK(shop_try((shop_entry[]){{"120000", "l", link}}, 1, &s) == links[i].code);
    }
    // A link and a folder of one name: the folder must not be written through the link.
    shop_blob(&s, STR("b"), link);
    shop_blob(&s, STR("dead"), blob);
    shop_tree(&s, (shop_entry[]){{"100644", "canary", blob}}, 1, sub);
    CHECK(shop_try((shop_entry[]){{"40000", "b", sub}, {"120000", "l", link}, {"40000", "l", sub}},
                   3, &s) == ERR_SYNTAX);
    CHECK(shop_try((shop_entry[]){{"120000", "l", link}, {"100644", "l", blob}}, 2, &s) ==
          ERR_SYNTAX);
    CHECK(!shop_holds(&s, "b/canary", "dead", 0644));
    shop_close(&s);
}

TEST(repo_export_stops_at_its_limits)
{
    shop s;
    char blob[41], tree[41], next[41];
    shop_open(&s);
    shop_blob(&s, STR("x"), blob);
    shop_tree(&s, (shop_entry[]){{"100644", "f", blob}}, 1, tree);
    for (size_t i = 0; i < 100; i++) { // deep
        shop_tree(&s, (shop_entry[]){{"40000", "d", tree}}, 1, next);
        memcpy(tree, next, sizeof(tree));
    }
    CHECK(shop_try((shop_entry[]){{"40000", "d", tree}}, 1, &s) == ERR_LIMIT);
    shop_tree(&s, NULL, 0, tree);
    for (size_t i = 0; i < 6; i++) { // ten to the sixth folders of a few objects
        char names[10][2];
        shop_entry ten[10];
        for (size_t j = 0; j < 10; j++) {
            names[j][0] = (char)('0' + j);
            names[j][1] = '\0';
            ten[j] = (shop_entry){"40000", names[j], tree};
        }
        shop_tree(&s, ten, 10, next);
        memcpy(tree, next, sizeof(tree));
    }
    CHECK(shop_try((shop_entry[]){{"40000", "d", tree}}, 1, &s) == ERR_LIMIT);
    shop_close(&s);
}

TEST(repo_push_holds_blocks_in_reserve_until_they_are_released)
{
    shop s;
    char path[1024];
    struct stat info;
    shop_open(&s);
    snprintf(path, sizeof(path), "%s/push-pending", s.repository);
    CHECK(repo_push_begin(s.repository).code == OK);
    CHECK(stat(path, &info) == 0 && info.st_blocks >= 2 * 4096 / 512);
    repo_push_release(s.repository);
    CHECK(stat(path, &info) == 0 && info.st_blocks == 0);
    repo_push_end(s.repository);
    CHECK(stat(path, &info) != 0);
    shop_close(&s);
}

TEST(repo_changes_of_a_push_are_found_and_put_back)
{
    OWNED(arena_drop) arena *a = NULL;
    shop s;
    char one[41], two[41], head[41];
    repo_ref *before, *after;
    repo_change *changes;
    size_t before_count, after_count, count;
    bool cut;
    shop_open(&s);
    CHECK(arena_open(&a, 1 << 20).code == OK);
    shop_simple(&s, "f", "one", one);
    shop_simple(&s, "f", "two", two);
    shop_ref(&s, "refs/heads/main", one);
    shop_ref(&s, "refs/heads/kept", one);
    CHECK(repo_refs(a, s.repository, &before, &before_count).code == OK && before_count == 2);
    CHECK(repo_push_begin(s.repository).code == OK);
    shop_ref(&s, "refs/heads/main", two);
    shop_ref(&s, "refs/heads/a/new", two);
    CHECK(repo_refs(a, s.repository, &after, &after_count).code == OK && after_count == 3);
    CHECK(str_is(after[0].name, STR("refs/heads/a/new")) && str_is(after[0].commit, str_of(two)));
    CHECK(repo_changes(a, before, before_count, after, after_count, &changes, &count).code == OK &&
          count == 2);
    CHECK(str_is(changes[0].before, str_of(zeros)) && str_is(changes[1].before, str_of(one)));
    CHECK(repo_push_sync(s.repository, changes, count).code == OK);
    CHECK(repo_put_back(s.repository, &changes[0]).code == OK);
    CHECK(repo_put_back(s.repository, &changes[1]).code == OK);
    CHECK(repo_head(s.repository, STR("main"), head).code == OK && strcmp(head, one) == 0);
    CHECK(repo_head(s.repository, STR("a/new"), head).code == ERR_ABSENT);
    // It moved on meanwhile: nothing is put back.
    shop_ref(&s, "refs/heads/main", two);
    repo_change stale = {STR("refs/heads/main"), str_of(two), str_of(one)};
    CHECK(repo_put_back(s.repository, &stale).code == ERR_CONFLICT);
    // A deleted branch comes back.
    repo_change deleted = {STR("refs/heads/gone"), str_of(one), str_of(zeros)};
    CHECK(repo_put_back(s.repository, &deleted).code == OK);
    CHECK(repo_head(s.repository, STR("gone"), head).code == OK);
    repo_push_end(s.repository);
    CHECK(repo_push_recover(s.repository, &cut).code == OK && !cut);
    shop_close(&s);
}

TEST(repo_recovers_from_a_push_that_was_cut)
{
    static const char *const left[] = {"refs/heads/main.lock", "packed-refs.lock",
                                       "objects/pack/tmp_pack_x", "objects/tmp_objdir-incoming-x"};
    shop s;
    char path[512];
    bool cut;
    shop_open(&s);
    CHECK(repo_push_begin(s.repository).code == OK);
    for (size_t i = 0; i < COUNT(left); i++) {
        shop_path(path, s.repository, left[i]);
        CHECK(i == 3 ? mkdir(path, 0755) == 0 : file_write_durable(path, STR(""), 0644).code == OK);
    }
    CHECK(repo_push_recover(s.repository, &cut).code == OK && cut);
    for (size_t i = 0; i < COUNT(left); i++) {
        shop_path(path, s.repository, left[i]);
        CHECK(!file_exists(path));
    }
    CHECK(repo_push_recover(s.repository, &cut).code == OK &&
          cut); // until whoever asked has done its part
    repo_push_end(s.repository);
    CHECK(repo_push_recover(s.repository, &cut).code == OK && !cut);
    shop_close(&s);
}
