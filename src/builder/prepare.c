// The first part of a build: what is asked for, whether it was made before, folders for it.
#include "base/file.h"
#include "base/str.h"
#include "builder/builder_inner.h"

#include <unistd.h>

static void key_add(sha256_stream *s, str part)
{
    uint64_t len = part.len; // so that no two lists of parts look alike
    sha256_stream_add(s, (str){(const char *)&len, sizeof(len)});
    sha256_stream_add(s, part);
}

static err job_key(job *j)
{
    const builder *b = j->builder;
    sha256_stream *s;
    TRY(sha256_stream_open(&s));
    key_add(s, STR("build 1"));
    key_add(s, j->source_id);
    key_add(s, (str){(const char *)b->recipes.bytes, SHA256_BYTES});
    key_add(s, j->contract.language);
    key_add(s, str_of(str_is(j->contract.language, STR("c")) ? b->tools.clang_version
                                                             : b->tools.go_version));
    key_add(s, str_of(b->settings.engine));
    key_add(s, j->call);
    key_add(s, (str){(const char *)&j->memory_bytes, sizeof(j->memory_bytes)});
    j->key = sha256_stream_close(s);
    return ok();
}

static const char *job_tool_problem(job *j)
{
    const tools *t = &j->builder->tools;
    if (t->sandbox_problem != NULL)
        return t->sandbox_problem;
    if (str_is(j->contract.language, STR("go")))
        return t->go_problem;
    return str_is(j->contract.language, STR("c")) ? t->clang_problem : NULL;
}

static err job_make_folders(job *j)
{
    const builder *b = j->builder;
    const char *modules = str_format(j->memory, "%s/mod", b->tools.go_cache).at;
    const char *packages = str_format(j->memory, "%s/build", b->tools.go_cache).at;
    if (modules == NULL || packages == NULL || j->out == NULL || j->fetched_folder == NULL)
        return fail(ERR_MEMORY, 0, "prepare a build");
    TRY(file_make_folders(j->folder, 0755)); // bubblewrap binds it by path as the room's user
    TRY(file_make_folders(j->out, 0755));
    TRY(file_make_folders(j->fetched_folder, 0755));
    if (str_is(j->contract.language, STR("go"))) {
        TRY(file_make_folders(modules, 0755));
        TRY(file_make_folders(packages, 0755));
    }
    // A name that comes again: what a killed process left is used, and does not pile up.
    const char *name =
        str_format(j->memory, "ctau-build-%016llx-%u", (unsigned long long)b->place, j->slot).at;
    if (name != NULL && !atomic_load(&j->builder->no_groups) &&
        process_group_open(&j->group, name, BUILD_MEMORY_BYTES_MAX, BUILD_PROCESSES_MAX * 2, 0)
                .code != OK) {
        j->group = NULL; // the limits of each process still hold
        atomic_store(&j->builder->no_groups, true);
    }
    if (geteuid() != 0)
        return ok();
    TRY(tree_give(j->out, j->uid));
    return tree_give(j->source, j->uid);
}

void job_prepare(void *data)
{
    job *j = data;
    builder *b = j->builder;
    j->failed = contract_read(j->memory, j->source, j->path, &j->contract, &j->problem);
    if (j->failed.code != OK || j->problem.len > 0)
        return;
    j->failed = job_key(j);
    if (j->failed.code != OK)
        return;
    if (j->source_id.len > 0 &&
        cache_get(j->memory, b->settings.blobs, b->index, &j->key, &j->entry).code == OK) {
        j->cached = true;
        return;
    }
    const char *missing = job_tool_problem(j);
    if (missing != NULL)
        j->problem =
            str_format(j->memory, "%.*s: can not be built here: %s", STR_ARG(j->path), missing);
    else
        j->failed = job_make_folders(j);
}
