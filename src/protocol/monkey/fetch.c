// Exports a job's two trees and reads the configuration, on a helper thread.
#include "base/file.h"
#include "base/str.h"
#include "protocol/monkey/monkey_inner.h"
#include "repo/repo.h"

// An application's code stands in either place (upstream's two tools disagree); ours is the first.
static const char *const application_places[] = {"applications/%.*s/functions/%.*s",
                                                 "%.*s/functions/%.*s"};

str fetch_path(struct monkey_job *j, const struct monkey_build *b, size_t place)
{
    const resource *r = b->function->of;
    if (r->application.len == 0)
        return place == 0 ? str_format(j->memory, "functions/%.*s", STR_ARG(r->name)) : STR("");
    if (place >= COUNT(application_places))
        return STR("");
    return str_format(j->memory, application_places[place], STR_ARG(r->application),
                      STR_ARG(r->name));
}

void fetch_missing(struct monkey_job *j, const struct monkey_build *b)
{
    const resource *r = b->function->of;
    diagnosis *d = diagnoses_add(&j->found, r->file, 0, 0, "JOB001");
    d->text = str_format(j->memory, "the code repository has no folder functions/%.*s at %.*s",
                         STR_ARG(r->name), STR_ARG(str_first(j->job.code_commit, 10)));
    d->help = STR("push the function's code, or delete its configuration");
}

const char *fetch_folder(struct monkey_job *j, size_t number)
{
    const char *folder = str_format(j->memory, "%s/code/%zu", j->folder, number).at;
    return folder != NULL && file_make_folders(folder, 0700).code == OK ? folder : NULL;
}

static err fetch_function(struct monkey_job *j, struct monkey_build *b, size_t number)
{
    err e = fail(ERR_ABSENT, 0, "no code");
    for (size_t i = 0; e.code == ERR_ABSENT; i++) {
        str path = fetch_path(j, b, i);
        if (path.len == 0)
            break;
        b->path = path;
        e = repo_tree_id(j->code_repository, j->job.code_commit, b->path, b->tree);
    }
    if (e.code == ERR_ABSENT) {
        fetch_missing(j, b);
        return ok();
    }
    TRY(e);
    b->folder = fetch_folder(j, number);
    if (b->folder == NULL)
        return fail(ERR_MEMORY, 0, "fetch");
    return repo_export(j->code_repository, j->job.code_commit, b->path, b->folder,
                       SOURCE_BYTES_MAX);
}

err fetch_builds(struct monkey_job *j)
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
        j->builds[j->builds_count++] =
            (struct monkey_build){.job = j, .function = &m->functions[i]};
    }
    return ok();
}

err fetch_model(struct monkey_job *j)
{
    const char *folder = str_format(j->memory, "%s/config", j->folder).at;
    if (folder == NULL)
        return fail(ERR_MEMORY, 0, "fetch");
    diagnoses_init(&j->found, j->memory, MODEL_DIAGNOSES_MAX);
    TRY(model_load(j->memory, folder, &j->found, &j->model));
    // Of a deployment, the last repository to arrive builds: the others' code may not be there yet.
    if (j->found.count > 0 || j->job.code_commit.len == 0 || !j->job.publish)
        return ok();
    return fetch_builds(j);
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
    TRY(fetch_model(j));
    for (size_t i = 0; i < j->builds_count; i++)
        TRY(fetch_function(j, &j->builds[i], i));
    return ok();
}

bool monkey_job_is_remote(const struct monkey_job *j)
{
    return j->monkey->context.repositories == NULL;
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
    if (monkey_job_is_remote(j)) {
        monkey_job_fetch_remote(j);
        return;
    }
    j->fetching = true;
    err e = loop_work(j->monkey->context.loop, fetch_work, fetch_done, j);
    if (e.code != OK) {
        j->fetching = false;
        monkey_job_fail(j, e, true);
    }
}
