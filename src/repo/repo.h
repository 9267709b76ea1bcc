// Bare git repositories on this disk: made, read at a commit, compared before and after a push.
#pragma once
#include "base/base.h"

// All of these read or write the disk: on the loop's thread only where a few milliseconds do not
// matter. They may run on many threads at once and take repositories of any owner. ERR_ABSENT:
// there is no repository at `path`.

// A bare repository with HEAD main and settings that make pushes durable (core.fsync=all) and
// readable over HTTP. It is there whole or not at all, and survives a power cut. Nothing happens
// when it is there already.
err repo_make(const char *path) MUST_USE;
// The same for the repository that auth knows as `id` (1 to 64 letters and digits): one at `path`
// that was made for another id, which was deleted then, is moved aside to .was-ID-NUMBER. Not while
// anybody pushes to it.
err repo_claim(const char *path, str id) MUST_USE;
// The commit a branch points to, 40 hex digits. ERR_ABSENT: no such branch (or an empty
// repository).
err repo_head(const char *path, str branch, char commit[41]) MUST_USE;
typedef struct repo_commit {
    str subject; // first line, at most 200 bytes
    str author;  // the name alone, at most 200 bytes
    uint64_t real_ms;
} repo_commit;
// `commit`: 40 hex digits, of a commit or of a tag that names one. ERR_ABSENT: there is none.
err repo_commit_read(arena *a, const char *path, str commit, repo_commit *out) MUST_USE;
// Writes the commit's tree (or the sub-folder `below`, empty for all) into `folder`, which must
// exist and be empty. Files 0644 or 0755; symbolic links that leave the tree and submodules are
// refused (ERR_SYNTAX). ERR_ABSENT: no such commit or folder; ERR_LIMIT past bytes_max or 100,000
// files. Runs on a helper thread.
err repo_export(
    const char *path, str commit, str below, const char *folder, uint64_t bytes_max) MUST_USE;
// The tree's id of a sub-folder at a commit (40 hex): equal ids are equal bytes. ERR_ABSENT: there
// is no such folder.
err repo_tree_id(const char *path, str commit, str below, char id[41]) MUST_USE;
typedef struct repo_ref {
    str name;   // refs/heads/main
    str commit; // 40 hex
    str peeled; // of an annotated tag: the object it names, 40 hex; empty otherwise
} repo_ref;
// Sorted by name; ERR_LIMIT past 100,000.
err repo_refs(arena *a, const char *path, repo_ref **out, size_t *count) MUST_USE;

// ---- what a push changed
typedef struct repo_change {
    str ref;
    str before, after; // 40 hex; all zeros: there was or is no such ref
} repo_change;
// What differs between two results of repo_refs, sorted by name.
err repo_changes(arena *a,
                 const repo_ref *before,
                 size_t before_count,
                 const repo_ref *after,
                 size_t after_count,
                 repo_change **out,
                 size_t *count) MUST_USE;
// Notes durably enough (an ordered journal keeps it before anything that follows) that a push is
// under way, or that it is over. repo_push_recover says whether one was cut off by our own end,
// after removing what it left behind (lock files, half-received objects): call it only while nobody
// pushes.
// The note holds a few blocks of the disk in reserve; repo_push_release gives them up, so that refs
// can be put back on a full disk. ERR_FULL: no room even for these.
err repo_push_begin(const char *path) MUST_USE;
void repo_push_release(const char *path);
void repo_push_end(const char *path);
err repo_push_recover(const char *path, bool *cut) MUST_USE;
// Folders that git wrote since repo_push_begin are fsynced: git syncs its files, but not their
// names.
err repo_push_sync(const char *path, const repo_change *changes, size_t count) MUST_USE;
// Puts one ref back, if it is still as the push left it (ERR_CONFLICT otherwise); durable on OK.
err repo_put_back(const char *path, const repo_change *change) MUST_USE;
