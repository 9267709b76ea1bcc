// Repositories read by libgit2, opened anew for every question so that nothing stale is told.
#include "base/str.h"
#include "repo/repo_inner.h"

#include <git2/sys/repository.h>

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_BYTES_MAX = 200 };

err repo_fail(int code, const char *what)
{
    switch (code) {
    case GIT_ENOTFOUND:
    case GIT_EUNBORNBRANCH:
        return fail(ERR_ABSENT, code, what);
    case GIT_EEXISTS:
    case GIT_EMODIFIED:
    case GIT_ELOCKED:
        return fail(ERR_CONFLICT, code, what);
    case GIT_EINVALIDSPEC:
    case GIT_EINVALID:
        return fail(ERR_SYNTAX, code, what);
    default:
        return fail(ERR_SYSTEM, code, what);
    }
}

// The library counts its users and is safe to start from many threads. The first one never leaves,
// so that it is not taken down and set up again with every question.
static err repo_library(void)
{
    int users = git_libgit2_init();
    if (users < 0)
        return fail(ERR_SYSTEM, users, "start libgit2");
    // Whose files these are does not matter to us, and our own writes are fsynced.
    git_libgit2_opts(GIT_OPT_SET_OWNER_VALIDATION, 0);
    git_libgit2_opts(GIT_OPT_ENABLE_FSYNC_GITDIR, 1);
    if (users > 1)
        git_libgit2_shutdown();
    return ok();
}

err repo_open(git_repository **out, const char *path)
{
    TRY(repo_library());
    git_repository *opened = NULL;
    int code = git_repository_open_bare(&opened, path);
    if (code != 0)
        return repo_fail(code, "there is no such repository");
    // The repository's own configuration alone: neither the system's nor a user's.
    char file[PATH_MAX];
    git_config *own = NULL;
    if (snprintf(file, sizeof(file), "%s/config", path) >= (int)sizeof(file))
        code = GIT_EINVALID;
    if (code == 0)
        code = git_config_open_ondisk(&own, file);
    if (code == 0)
        code = git_repository_set_config(opened, own);
    git_config_free(own);
    if (code != 0) {
        git_repository_free(opened);
        return repo_fail(code, "read a repository's settings");
    }
    *out = opened;
    return ok();
}

static err repo_oid(str hex, git_oid *out)
{
    if (hex.len != REPO_HEX || git_oid_fromstrn(out, hex.at, hex.len) != 0)
        return fail(ERR_ABSENT, 0, "a commit is named by 40 hexadecimal digits");
    return ok();
}

err repo_commit_find(git_commit **out, git_repository *r, str commit)
{
    git_oid id;
    TRY(repo_oid(commit, &id));
    OWNED(repo_object_drop) git_object *named = NULL;
    int code = git_object_lookup(&named, r, &id, GIT_OBJECT_ANY);
    if (code == 0)
        code = git_object_peel((git_object **)out, named, GIT_OBJECT_COMMIT);
    if (code == GIT_EINVALIDSPEC || code == GIT_EPEEL)
        code = GIT_ENOTFOUND;
    return code == 0 ? ok() : repo_fail(code, "there is no such commit");
}

err repo_tree_find(git_tree **out, git_repository *r, str commit, str below)
{
    OWNED(repo_commit_drop) git_commit *c = NULL;
    TRY(repo_commit_find(&c, r, commit));
    OWNED(repo_tree_drop) git_tree *tree = NULL;
    int code = git_commit_tree(&tree, c);
    if (code != 0)
        return repo_fail(code, "read a commit's tree");
    while (below.len > 0) {
        str name = str_cut(&below, '/');
        char text[256];
        if (name.len == 0)
            continue;
        if (name.len >= sizeof(text))
            return fail(ERR_ABSENT, 0, "there is no such folder in the commit");
        memcpy(text, name.at, name.len);
        text[name.len] = '\0';
        const git_tree_entry *entry = git_tree_entry_byname(tree, text);
        if (entry == NULL || git_tree_entry_type(entry) != GIT_OBJECT_TREE)
            return fail(ERR_ABSENT, 0, "there is no such folder in the commit");
        git_tree *next = NULL;
        code = git_tree_lookup(&next, r, git_tree_entry_id(entry));
        if (code != 0)
            return repo_fail(code, "read a folder of a commit");
        git_tree_free(tree);
        tree = next;
    }
    *out = tree;
    tree = NULL;
    return ok();
}

err repo_tree_id(const char *path, str commit, str below, char id[41])
{
    OWNED(repo_drop) git_repository *r = NULL;
    OWNED(repo_tree_drop) git_tree *tree = NULL;
    TRY(repo_open(&r, path));
    TRY(repo_tree_find(&tree, r, commit, below));
    git_oid_tostr(id, REPO_HEX + 1, git_tree_id(tree));
    return ok();
}

err repo_head(const char *path, str branch, char commit[41])
{
    char name[512];
    if (branch.len == 0 ||
        snprintf(name, sizeof(name), "refs/heads/%.*s", STR_ARG(branch)) >= (int)sizeof(name))
        return fail(ERR_ABSENT, 0, "there is no such branch");
    OWNED(repo_drop) git_repository *r = NULL;
    TRY(repo_open(&r, path));
    git_oid id;
    int code = git_reference_name_to_id(&id, r, name);
    if (code == GIT_EINVALIDSPEC)
        code = GIT_ENOTFOUND;
    if (code != 0)
        return repo_fail(code, "there is no such branch");
    git_oid_tostr(commit, REPO_HEX + 1, &id);
    return ok();
}

// The first line of a text that anybody may have written: valid UTF-8, cut at a character.
static str repo_line(arena *a, const char *text)
{
    str all = str_of(text);
    str line = str_trim(str_cut(&all, '\n'));
    line = str_printable(a, line);
    if (line.len > TEXT_BYTES_MAX) {
        size_t len = TEXT_BYTES_MAX;
        while (len > 0 && ((unsigned char)line.at[len] & 0xc0) == 0x80)
            len--;
        line = str_copy(a, str_first(line, len));
    }
    return line;
}

err repo_commit_read(arena *a, const char *path, str commit, repo_commit *out)
{
    OWNED(repo_drop) git_repository *r = NULL;
    OWNED(repo_commit_drop) git_commit *c = NULL;
    TRY(repo_open(&r, path));
    TRY(repo_commit_find(&c, r, commit));
    const git_signature *author = git_commit_author(c);
    git_time_t seconds = git_commit_time(c);
    repo_commit read = {
        .subject = repo_line(a, git_commit_message(c)),
        .author = repo_line(a, author != NULL ? author->name : ""),
        .real_ms = seconds > 0 ? (uint64_t)seconds * 1000 : 0,
    };
    if (read.subject.at == NULL || read.author.at == NULL)
        return fail(ERR_MEMORY, 0, "read commit");
    *out = read;
    return ok();
}

static str repo_hex(arena *a, const git_oid *id)
{
    char hex[REPO_HEX + 1];
    git_oid_tostr(hex, sizeof(hex), id);
    return str_copy(a, (str){hex, REPO_HEX});
}

static int repo_ref_order(const void *a, const void *b)
{
    return str_order(((const repo_ref *)a)->name, ((const repo_ref *)b)->name);
}

// Adds one ref; those that point nowhere are left out.
static err repo_ref_read(arena *a, git_repository *r, const git_reference *at, repo_ref *out)
{
    git_reference *direct = NULL;
    if (git_reference_resolve(&direct, at) != 0)
        return fail(ERR_ABSENT, 0, "a ref that points nowhere");
    OWNED(repo_reference_drop) git_reference *owned = direct;
    const git_oid *id = git_reference_target(owned);
    *out =
        (repo_ref){.name = str_copy(a, str_of(git_reference_name(at))), .commit = repo_hex(a, id)};
    if (str_starts(out->name, STR("refs/tags/"))) {
        OWNED(repo_object_drop) git_object *tag = NULL;
        OWNED(repo_object_drop) git_object *peeled = NULL;
        if (git_object_lookup(&tag, r, id, GIT_OBJECT_TAG) == 0 &&
            git_object_peel(&peeled, tag, GIT_OBJECT_ANY) == 0)
            out->peeled = repo_hex(a, git_object_id(peeled));
    }
    return out->name.at != NULL && out->commit.at != NULL ? ok() : fail(ERR_MEMORY, 0, "list refs");
}

static void repo_iterator_drop(git_reference_iterator **i)
{
    git_reference_iterator_free(*i);
}

static void repo_memory_drop(repo_ref **refs)
{
    free(*refs);
}

err repo_refs(arena *a, const char *path, repo_ref **out, size_t *count)
{
    OWNED(repo_drop) git_repository *r = NULL;
    OWNED(repo_iterator_drop) git_reference_iterator *all = NULL;
    OWNED(repo_memory_drop) repo_ref *refs = NULL;
    TRY(repo_open(&r, path));
    int code = git_reference_iterator_new(&all, r);
    if (code != 0)
        return repo_fail(code, "list refs");
    size_t len = 0, room = 0;
    git_reference *next = NULL;
    while ((code = git_reference_next(&next, all)) == 0) {
        OWNED(repo_reference_drop) git_reference *owned = next;
        if (len == room) {
            room = room == 0 ? 64 : room * 2;
            repo_ref *grown = reallocarray(refs, room, sizeof(*refs));
            if (grown == NULL)
                return fail(ERR_MEMORY, 0, "list refs");
            refs = grown;
        }
        err e = repo_ref_read(a, r, owned, &refs[len]);
        if (e.code == OK)
            len++;
        else if (e.code != ERR_ABSENT)
            return e;
        if (len > REPO_REFS_MAX)
            return fail(ERR_LIMIT, 0, "too many refs");
    }
    if (code != GIT_ITEROVER)
        return repo_fail(code, "list refs");
    repo_ref *kept = arena_take(a, (len + 1) * sizeof(*kept));
    if (kept == NULL)
        return fail(ERR_MEMORY, 0, "list refs");
    if (len > 0) {
        memcpy(kept, refs, len * sizeof(*kept));
        qsort(kept, len, sizeof(*kept), repo_ref_order);
    }
    *out = kept;
    *count = len;
    return ok();
}

err repo_changes(arena *a,
                 const repo_ref *before,
                 size_t before_count,
                 const repo_ref *after,
                 size_t after_count,
                 repo_change **out,
                 size_t *count)
{
    static const char zeros[] = "0000000000000000000000000000000000000000";
    const str none = {zeros, REPO_HEX};
    repo_change *changes = arena_take(a, (before_count + after_count + 1) * sizeof(*changes));
    if (changes == NULL)
        return fail(ERR_MEMORY, 0, "compare refs");
    size_t len = 0;
    for (size_t i = 0, j = 0; i < before_count || j < after_count;) {
        int order = i == before_count  ? 1
                    : j == after_count ? -1
                                       : str_order(before[i].name, after[j].name);
        if (order < 0) {
            changes[len++] = (repo_change){before[i].name, before[i].commit, none};
            i++;
        } else if (order > 0) {
            changes[len++] = (repo_change){after[j].name, none, after[j].commit};
            j++;
        } else {
            if (!str_is(before[i].commit, after[j].commit))
                changes[len++] = (repo_change){after[j].name, before[i].commit, after[j].commit};
            i++;
            j++;
        }
    }
    *out = changes;
    *count = len;
    return ok();
}

static bool repo_is_zero(str hex)
{
    for (size_t i = 0; i < hex.len; i++)
        if (hex.at[i] != '0')
            return false;
    return true;
}

err repo_put_back(const char *path, const repo_change *change)
{
    char name[1024];
    git_oid before, after, now;
    if (snprintf(name, sizeof(name), "%.*s", STR_ARG(change->ref)) >= (int)sizeof(name))
        return fail(ERR_LIMIT, 0, "a ref's name");
    TRY(repo_oid(change->before, &before));
    TRY(repo_oid(change->after, &after));
    OWNED(repo_drop) git_repository *r = NULL;
    OWNED(repo_reference_drop) git_reference *made = NULL;
    TRY(repo_open(&r, path));
    int code;
    if (repo_is_zero(change->after)) {
        code = git_reference_create(&made, r, name, &before, 0, NULL);
    } else if (repo_is_zero(change->before)) {
        code = git_reference_lookup(&made, r, name);
        if (code == 0 && git_reference_name_to_id(&now, r, name) == 0 &&
            !git_oid_equal(&now, &after))
            code = GIT_EMODIFIED;
        if (code == 0)
            code = git_reference_delete(made);
    } else {
        code = git_reference_create_matching(&made, r, name, &before, 1, &after, NULL);
    }
    if (code != 0)
        return repo_fail(code, "put a ref back");
    return repo_push_sync(path, change, 1);
}
