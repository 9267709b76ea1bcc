// Bare git repositories on this disk: made, read at a commit, compared before and after a push.
#pragma once
#include "base/base.h"

// A bare repository with HEAD main and settings that make pushes durable (core.fsync=all) and readable over HTTP.
// Nothing happens when it is there already.
err repo_make(const char *path) MUST_USE;
// The commit a branch points to, 40 hex digits. ERR_ABSENT: no such branch (or an empty repository).
err repo_head(const char *path, str branch, char commit[41]) MUST_USE;
typedef struct repo_commit {
    str subject; // first line, at most 200 bytes
    str author;
    uint64_t real_ms;
} repo_commit;
err repo_commit_read(arena *a, const char *path, str commit, repo_commit *out) MUST_USE;
// Writes the commit's tree (or the sub-folder `below`, empty for all) into `folder`, which must exist and be empty.
// Files 0644 or 0755; symbolic links that leave the tree and submodules are refused (ERR_SYNTAX). ERR_ABSENT: no such
// commit or folder; ERR_LIMIT past bytes_max or 100,000 files. Runs on a helper thread.
err repo_export(const char *path, str commit, str below, const char *folder, uint64_t bytes_max) MUST_USE;
// The tree's id of a sub-folder at a commit (40 hex): equal ids are equal bytes. ERR_ABSENT: there is no such folder.
err repo_tree_id(const char *path, str commit, str below, char id[41]) MUST_USE;
typedef struct repo_ref {
    str name;   // refs/heads/main
    str commit; // 40 hex
} repo_ref;
err repo_refs(arena *a, const char *path, repo_ref **out, size_t *count) MUST_USE; // sorted by name
