// Repositories for tests, written byte by byte: even what git would refuse to make.
#include "repo/repo_shop_test.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/str.h"
#include "repo/repo_inner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

void shop_open(shop *s)
{
    snprintf(s->folder, SHOP_PATH, "/tmp/ctau-repo-XXXXXX");
    CHECK(mkdtemp(s->folder) != NULL);
    snprintf(s->repository, SHOP_PATH, "%.100s/alice/tb.git", s->folder);
    snprintf(s->out, SHOP_PATH, "%.100s/out", s->folder);
    CHECK(mkdir(s->out, 0755) == 0);
    CHECK(repo_make(s->repository).code == OK);
}

void shop_close(shop *s)
{
    CHECK(file_remove_tree(s->folder).code == OK);
}

static void shop_object(shop *s, str bytes, git_object_t type, char id[41])
{
    OWNED(repo_drop) git_repository *r = NULL;
    OWNED(repo_odb_drop) git_odb *objects = NULL;
    git_oid oid;
    CHECK(repo_open(&r, s->repository).code == OK);
    CHECK(git_repository_odb(&objects, r) == 0);
    CHECK(git_odb_write(&oid, objects, bytes.at, bytes.len, type) == 0);
    git_oid_tostr(id, 41, &oid);
}

void shop_blob(shop *s, str bytes, char id[41])
{
    shop_object(s, bytes, GIT_OBJECT_BLOB, id);
}

void shop_tree(shop *s, const shop_entry *entries, size_t count, char id[41])
{
    OWNED(buf_close) buf b;
    buf_open(&b, 16 << 20);
    for (size_t i = 0; i < count; i++) {
        git_oid oid;
        CHECK(git_oid_fromstr(&oid, entries[i].id) == 0);
        buf_add_format(&b, "%s %s", entries[i].mode, entries[i].name);
        buf_add_byte(&b, '\0');
        buf_add(&b, (str){(const char *)oid.id, GIT_OID_RAWSZ});
    }
    CHECK(b.error.code == OK);
    shop_object(s, buf_str(&b), GIT_OBJECT_TREE, id);
}

void shop_commit(shop *s, const char *tree, const char *message, char id[41])
{
    OWNED(buf_close) buf b;
    buf_open(&b, 1 << 20);
    buf_add_format(&b,
                   "tree %s\nauthor Alice <a@example.com> 1700000000 +0000\n"
                   "committer Bob <b@example.com> 1700000001 +0000\n\n%s",
                   tree, message);
    shop_object(s, buf_str(&b), GIT_OBJECT_COMMIT, id);
}

void shop_ref(shop *s, const char *name, const char *id)
{
    OWNED(repo_drop) git_repository *r = NULL;
    OWNED(repo_reference_drop) git_reference *made = NULL;
    git_oid oid;
    CHECK(repo_open(&r, s->repository).code == OK);
    CHECK(git_oid_fromstr(&oid, id) == 0);
    CHECK(git_reference_create(&made, r, name, &oid, 1, NULL) == 0);
}
