// Exports a job's two trees and reads the configuration, on a helper thread.
#include "base/file.h"
#include "base/str.h"
#include "protocol/monkey/monkey_inner.h"
#include "repo/repo.h"

// An application's code stands in either place (upstream's two tools disagree); ours is the first.
static const char *const application_places[] = {"applications/%.*s/functions/%.*s",
                                                 "%.*s/functions/%.*s"};

static err fetch_function(struct monkey_job *j, struct monkey_build *b, size_t number)
{
    const resource *r = b->function->of;
    err e = fail(ERR_ABSENT, 0, "no code");
    for (size_t i = 0; e.code == ERR_ABSENT && i < COUNT(application_places); i++) {
        if (r->application.len == 0)
            b->path = str_format(j->memory, "functions/%.*s", STR_ARG(r->name));
        else
            b->path = str_format(j->memory, application_places[i], STR_ARG(r->application),
                                 STR_ARG(r->name));
        e = repo_tree_id(j->code_repository, j->job.code_commit, b->path, b->tree);
    }
    if (e.code == ERR_ABSENT) {
        diagnosis *d = diagnoses_add(&j->found, r->file, 0, 0, "JOB001");
        d->text = str_format(j->memory, "the code repository has no folder functions/%.*s at %.*s",
                             STR_ARG(r->name), STR_ARG(str_first(j->job.code_commit, 10)));
        d->help = STR("push the function's code, or delete its configuration");
        return ok();
    }
    TRY(e);
    b->folder = str_format(j->memory, "%s/code/%zu", j->folder, number).at;
    if (b->folder == NULL)
        return fail(ERR_MEMORY, 0, "fetch");
    TRY(file_make_folders(b->folder, 0700));
    return repo_export(j->code_repository, j->job.code_commit, b->path, b->folder,
                       SOURCE_BYTES_MAX);
}

static err fetch_code(struct monkey_job *j)
{
    const model *m = j->model;
    j->builds = arena_take(j->memory, (m->functions_count + 1) * sizeof(*j->builds));
    if (j->builds == NULL)
        return fail(ERR_MEMORY, 0, "fetch");
    for (size_t i = 0; i < m->functions_count; i++) {
        if (m->functions[i].library != NULL) {
            diagnosis *d = diagnoses_add(&j->found, m->functions[i].of->file, 0, 0, "JOB002");
            d->text = STR("functions from libraries are not built here yet");
            d->help = STR("set source: . and keep the code inline");
            continue;
        }
        struct monkey_build *b = &j->builds[j->builds_count];
        *b = (struct monkey_build){.job = j, .function = &m->functions[i]};
        TRY(fetch_function(j, b, j->builds_count));
        j->builds_count++;
    }
    return ok();
}

static err fetch_all(struct monkey_job *j)
{
    const char *folder = str_format(j->memory, "%s/config", j->folder).at;
    if (folder == NULL || j->folder == NULL || j->configuration_repository == NULL ||
        j->code_repository == NULL)
        return fail(ERR_MEMORY, 0, "fetch");
    TRY(file_make_folders(folder, 0700));
    TRY(repo_export(j->configuration_repository, j->job.configuration_commit, STR(""), folder,
                    SOURCE_BYTES_MAX));
    diagnoses_init(&j->found, j->memory, MODEL_DIAGNOSES_MAX);
    TRY(model_load(j->memory, folder, &j->found, &j->model));
    // Of a deployment, the last repository to arrive builds: the others' code may not be there yet.
    if (j->found.count > 0 || j->job.code_commit.len == 0 || !j->job.publish)
        return ok();
    return fetch_code(j);
}

static void fetch_work(void *data)
{
    struct monkey_job *j = data;
    j->fetch_error = fetch_all(j);
}

static void fetch_done(void *data)
{
    struct monkey_job *j = data;
    j->fetching = false;
    if (j->monkey->closed != NULL || j->released)
        monkey_job_release(j, true);
    else if (j->cancelled)
        monkey_job_end(j, NULL, STR(""));
    else
        monkey_job_fetched(j);
}

void monkey_job_fetch(struct monkey_job *j)
{
    if (j->cancelled || j->ending)
        return;
    if (j->job.configuration_commit.len == 0) {
        monkey_job_say(j, "nothing to deploy yet: the configuration repository was never pushed\n");
        monkey_job_end(j, "done", STR(""));
        return;
    }
    j->fetching = true;
    err e = loop_work(j->monkey->context.loop, fetch_work, fetch_done, j);
    if (e.code != OK) {
        j->fetching = false;
        monkey_job_fail(j, e, true);
    }
}
