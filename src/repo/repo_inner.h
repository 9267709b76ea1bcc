// What the files that read repositories share: libgit2 handles that close themselves, its errors.
#pragma once
#include "repo/repo.h"

#include <git2.h>

enum { REPO_HEX = GIT_OID_HEXSZ, REPO_REFS_MAX = 100000 };

err repo_fail(int code, const char *what);
err repo_open(git_repository **out, const char *path) MUST_USE;
// ERR_ABSENT for what is not 40 hex digits or names no commit.
err repo_commit_find(git_commit **out, git_repository *r, str commit) MUST_USE;
// The tree of a folder at a commit; `below` is cleaned of slashes at its ends.
err repo_tree_find(git_tree **out, git_repository *r, str commit, str below) MUST_USE;

// Is this a file's name that may be made; may this link (so many folders deep) be made? See
// repo_export.c.
err repo_check_name(str name) MUST_USE;
err repo_check_link(str target, size_t depth) MUST_USE;

static inline void repo_drop(git_repository **r)
{
    git_repository_free(*r);
}
static inline void repo_commit_drop(git_commit **c)
{
    git_commit_free(*c);
}
static inline void repo_tree_drop(git_tree **t)
{
    git_tree_free(*t);
}
static inline void repo_object_drop(git_object **o)
{
    git_object_free(*o);
}
static inline void repo_reference_drop(git_reference **r)
{
    git_reference_free(*r);
}
static inline void repo_odb_drop(git_odb **o)
{
    git_odb_free(*o);
}
