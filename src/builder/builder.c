// Opens and closes the builder, and hands its builds to jobs.
#include "base/file.h"
#include "base/str.h"
#include "builder/builder_inner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BUILDER_MEMORY_BYTES = 1 << 20 };

static void builder_free(builder *b)
{
    fd_drop(&b->filter);
    arena_close(b->memory);
    free(b);
}

static err builder_set(builder *b, const builder_settings *s)
{
    arena *a = b->memory;
    b->settings = *s;
    b->settings.folder = str_c(a, str_of(s->folder));
    b->settings.program = str_c(a, str_of(s->program));
    b->settings.engine = str_c(a, str_of(s->engine));
    b->utils = str_format(a, "%s/utils", s->folder).at;
    b->work = str_format(a, "%s/work", s->folder).at;
    b->index = str_format(a, "%s/index", s->folder).at;
    sha256 name = sha256_of(str_of(s->folder));
    memcpy(&b->place, name.bytes, sizeof(b->place));
    return b->index == NULL ? fail(ERR_MEMORY, 0, "open builder") : ok();
}

static err builder_set_up(builder *b)
{
    tools_find(&b->tools);
    (void)snprintf(b->tools.host, sizeof(b->tools.host), "build-%016llx",
                   (unsigned long long)b->place);
    leftovers_end(b->tools.host);
    TRY(file_remove_tree(b->work)); // of a crash
    TRY(file_make_folders(b->work, 0755));
    TRY(file_make_folders(b->index, 0700));
    arena *scratch;
    TRY(arena_open(&scratch, BUILDER_MEMORY_BYTES));
    err e = tools_write_recipes(scratch, b->utils, &b->recipes);
    arena_close(scratch);
    TRY(e);
    return sandbox_build_filter(&b->filter);
}

err builder_open(builder **out, const builder_settings *settings)
{
    builder *b = calloc(1, sizeof(*b));
    if (b == NULL)
        return fail(ERR_MEMORY, 0, "open builder");
    b->filter = -1;
    err e = arena_open(&b->memory, BUILDER_MEMORY_BYTES);
    if (e.code != OK) {
        free(b);
        return e;
    }
    e = builder_set(b, settings);
    if (e.code == OK)
        e = builder_set_up(b);
    if (e.code != OK) {
        builder_free(b);
        return e;
    }
    *out = b;
    return ok();
}

void builder_close(builder *b)
{
    if (b == NULL)
        return;
    b->closing = true;
    if (b->jobs == NULL)
        return builder_free(b);
    // Leaving may free the job, and the last one the builder: neither before this loop is done.
    b->closing = false;
    for (job *j = b->jobs, *next; j != NULL; j = next) {
        next = j->next;
        while (j->builds != NULL && j->builds->next != NULL)
            job_leave(j, j->builds);
        if (j->builds != NULL)
            job_leave(j, j->builds);
    }
    b->closing = true;
    builder_job_gone(b);
}

void builder_job_gone(builder *b)
{
    if (b->closing && b->jobs == NULL)
        builder_free(b);
}

err build_start(build **out, builder *b, const build_request *request, const build_events *events)
{
    if (b->closing)
        return fail(ERR_CLOSED, 0, "the builder is closing");
    build *who = calloc(1, sizeof(*who));
    if (who == NULL)
        return fail(ERR_MEMORY, 0, "start build");
    who->events = *events;
    err e = job_start(b, request, who);
    if (e.code != OK) {
        free(who);
        return e;
    }
    *out = who;
    return ok();
}

void build_cancel(build *who)
{
    job_leave(who->job, who);
}

void builder_toolchains(builder *b, builder_toolchain *each, void *data)
{
    const tools *t = &b->tools;
    char version[PATH_MAX + 128];
    (void)snprintf(version, sizeof(version), "%s %s", t->go_version, t->go_root);
    each(data, "go", t->go_problem != NULL ? "" : version, t->go_problem);
    (void)snprintf(version, sizeof(version), "%.*s %s", (int)strcspn(t->clang_version, "."),
                   t->clang_version, t->clang);
    each(data, "c", t->clang_problem != NULL ? "" : version, t->clang_problem);
    each(data, "sandbox", t->sandbox_problem != NULL ? "" : t->bubblewrap, t->sandbox_problem);
    each(data, "rust", "", "not available in this release");
    each(data, "assemblyscript", "", "not available in this release");
}
