// The forge's repositories: made and recovered at their first use, one push at a time.
#include "base/str.h"
#include "repo/forge_inner.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

forge_repository *repository_find(forge *f, str owner, str name)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof(path), "%s/%.*s/%.*s.git", f->settings.folder, STR_ARG(owner),
                 STR_ARG(name)) >= (int)sizeof(path))
        return NULL;
    forge_repository *r = map_get(f->repositories, str_of(path));
    if (r != NULL)
        return r;
    r = calloc(1, sizeof(*r));
    if (r == NULL)
        return NULL;
    r->path = strdup(path);
    if (r->path == NULL || map_put(f->repositories, str_of(path), r, NULL).code != OK) {
        free(r->path);
        free(r);
        return NULL;
    }
    return r;
}

bool repository_is_ready(const forge_visit *c)
{
    const forge_repository *r = c->repository;
    return r->ready && str_is(str_of(r->id), c->id);
}

static void repository_grant(forge_visit *c)
{
    c->repository->busy = true;
    c->holding = true;
    c->state = VISIT_ASKING;
    c->granted(c);
}

void repository_take(forge_visit *c, void (*granted)(forge_visit *c))
{
    forge_repository *r = c->repository;
    c->granted = granted;
    if (!r->busy) {
        repository_grant(c);
        return;
    }
    if (r->waiting >= FORGE_WAITING_MAX) {
        visit_end(c, fail(ERR_BUSY, 0, "too many wait for this repository, try again"), "forge");
        return;
    }
    r->waiting++;
    c->state = VISIT_QUEUED;
    c->behind = NULL;
    *(r->last != NULL ? &r->last->behind : &r->first) = c;
    r->last = c;
}

void repository_leave(forge_visit *c)
{
    forge_repository *r = c->repository;
    forge_visit *before = NULL;
    for (forge_visit *at = r->first; at != NULL; before = at, at = at->behind) {
        if (at != c)
            continue;
        *(before != NULL ? &before->behind : &r->first) = c->behind;
        if (r->last == c)
            r->last = before;
        c->behind = NULL;
        r->waiting--;
        return;
    }
}

void repository_give(forge_visit *c)
{
    forge_repository *r = c->repository;
    c->holding = false;
    r->busy = false;
    forge_visit *next = r->first;
    if (next == NULL || c->forge->closing)
        return;
    repository_leave(next);
    repository_grant(next);
}

// ---- first use

static void prepare_work(void *data)
{
    forge_visit *c = data;
    bool cut = false;
    c->changes_count = 0;
    c->worked = repo_claim(c->repository->path, c->id);
    if (c->worked.code == OK)
        c->worked = repo_push_recover(c->repository->path, &cut);
    if (c->worked.code != OK || !cut)
        return;
    // What the push that was cut has changed is not known any more: every branch is told again, and
    // patrick knows which of them it has recorded.
    repo_ref *refs;
    size_t count;
    c->worked = repo_refs(c->memory, c->repository->path, &refs, &count);
    if (c->worked.code == OK)
        c->worked = repo_changes(c->memory, NULL, 0, refs, count, &c->changes, &c->changes_count);
    if (c->worked.code == OK)
        c->worked = repo_push_sync(c->repository->path, c->changes, c->changes_count);
    size_t kept = 0;
    for (size_t i = 0; c->worked.code == OK && i < c->changes_count && kept < FORGE_ANNOUNCED_MAX;
         i++)
        if (str_starts(c->changes[i].ref, STR("refs/heads/")))
            c->changes[kept++] = c->changes[i];
    c->changes_count = kept;
    if (c->worked.code == OK && kept == 0)
        repo_push_end(c->repository->path);
}

static void prepare_end(forge_visit *c)
{
    forge_repository *r = c->repository;
    if (!repository_is_ready(c)) { // or somebody else was first
        free(r->id);
        r->id = strndup(c->id.at, c->id.len);
        r->ready = r->id != NULL;
    }
    c->changes_count = 0;
    c->any_refused = false;
    repository_give(c);
    c->prepared(c);
}

static void prepare_on_ended(void *data)
{
    prepare_end(data);
}

static void prepare_end_work(void *data)
{
    forge_visit *c = data;
    repo_push_end(c->repository->path);
}

static void prepare_on_told(forge_visit *c)
{
    if (c->any_refused) {
        visit_end(c, fail(ERR_BUSY, 0, "an earlier push is not recorded yet, try again"), "forge");
        return;
    }
    buf_clear(&c->said);
    visit_work(c, prepare_end_work, prepare_on_ended);
}

static void prepare_on_worked(void *data)
{
    forge_visit *c = data;
    if (c->worked.code != OK || c->forge->closing) {
        visit_end(c, c->worked.code != OK ? c->worked : fail(ERR_BUSY, 0, "the forge is closing"),
                  "make repository");
        return;
    }
    if (c->changes_count == 0) {
        prepare_end(c);
        return;
    }
    log_line(c->forge->settings.log, LOG_WARN, "push was cut, told again", "owner", c->owner,
             "repository", c->name, NULL);
    push_announce(c, prepare_on_told);
}

static void prepare_on_granted(forge_visit *c)
{
    if (repository_is_ready(c))
        prepare_end(c);
    else
        visit_work(c, prepare_work, prepare_on_worked);
}

void repository_prepare(forge_visit *c, void (*granted)(forge_visit *c))
{
    c->prepared = granted;
    repository_take(c, prepare_on_granted);
}
