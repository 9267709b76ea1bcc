// Jobs as rows: listed, moved by the monkey that holds the claim, cancelled, run again.
#include "base/clock.h"
#include "base/hash.h"
#include "base/str.h"
#include "protocol/patrick/patrick_inner.h"

#include <string.h>

// The order of a job's life; a report never moves it backwards within one attempt.
static const char *const states[] = {"queued", "fetching", "building", "publishing",
                                     "done",   "failed",   "cancelled"};

static bool job_state_is_known(str state)
{
    for (size_t i = 0; i < COUNT(states); i++)
        if (str_is(state, str_of(states[i])))
            return true;
    return false;
}

static void jobs_answer(mesh_incoming *in, err e, job_record *at, size_t count)
{
    patrick_jobs_reply reply = {.jobs = {at, count}};
    if (e.code != OK)
        mesh_answer_err(in, e);
    else
        mesh_answer(in, &reply);
}

static void
patrick_on_jobs(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)header;
    struct patrick *p = data;
    const patrick_jobs_request *request = fields;
    arena *a = mesh_incoming_arena(in);
    size_t limit = request->limit == 0 || request->limit > JOBS_LISTED_MAX ? JOBS_LISTED_MAX
                                                                           : (size_t)request->limit;
    bool all = request->project.len == 0;
    str prefix = all ? STR("") : str_format(a, "%.*s/", STR_ARG(request->project));
    store_entry *entries;
    size_t count, kept = 0;
    err e = mesh_list(p->context.mesh, all ? STR("patrick.order") : STR("patrick.project"), prefix,
                      STR(""), limit, true, a, &entries, &count);
    job_record *jobs = e.code == OK ? arena_take(a, (count + 1) * sizeof(*jobs)) : NULL;
    if (e.code == OK && jobs == NULL)
        e = fail(ERR_MEMORY, 0, "list jobs");
    for (size_t i = 0; e.code == OK && i < count; i++) {
        e = patrick_job_get(p, a, entries[i].value, &jobs[kept], NULL);
        if (e.code == OK && jobs[kept].created_real_ms >= request->since_real_ms)
            kept++;
    }
    jobs_answer(in, e, jobs, kept);
}

static void
patrick_on_job(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)header;
    const patrick_job_request *request = fields;
    job_record job;
    err e = patrick_job_get(data, mesh_incoming_arena(in), request->id, &job, NULL);
    jobs_answer(in, e, &job, 1);
}

static err progress_apply(const patrick_progress_request *r, job_record *job)
{
    if (!job_state_is_known(r->state))
        return fail(ERR_SYNTAX, 0, "unknown job state");
    if (str_is(job->state, STR("cancelled")))
        return fail(ERR_CONFLICT, 0, "the job was cancelled");
    if (r->attempt < job->attempt ||
        (r->attempt == job->attempt && job->monkey.len > 0 && !str_is(job->monkey, r->monkey)))
        return fail(ERR_CONFLICT, 0, "a later attempt runs already");
    if (patrick_job_has_ended(job->state) && r->attempt == job->attempt)
        return fail(ERR_CONFLICT, 0, "the job has ended");
    uint64_t now = clock_real_ms();
    if (r->attempt > job->attempt || job->started_real_ms == 0)
        job->started_real_ms = now;
    job->attempt = r->attempt;
    job->monkey = r->monkey;
    job->state = r->state;
    job->error = r->error;
    if (r->revision > 0)
        job->revision = r->revision;
    if (r->assets.count > 0) {
        job->assets.at = r->assets.at;
        job->assets.count = r->assets.count;
    }
    if (patrick_job_has_ended(r->state))
        job->ended_real_ms = now;
    return ok();
}

static void
patrick_on_progress(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)header;
    struct patrick *p = data;
    const patrick_progress_request *request = fields;
    arena *a = mesh_incoming_arena(in);
    job_record *job = arena_take(a, sizeof(*job));
    patrick_progress_reply *reply = arena_take(a, sizeof(*reply));
    uint64_t revision = 0;
    err e = job == NULL || reply == NULL ? fail(ERR_MEMORY, 0, "progress")
                                         : patrick_job_get(p, a, request->id, job, &revision);
    if (e.code == OK)
        e = progress_apply(request, job);
    if (e.code != OK) {
        mesh_answer_err(in, e);
        return;
    }
    reply->state = job->state;
    store_change change =
        record_put(STR("patrick.job"), job->id, record_write(a, &shape_job, job), revision);
    record_commit(p->context.mesh, in, &change, 1, reply);
}

static void
patrick_on_cancel(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)header;
    struct patrick *p = data;
    const patrick_cancel_request *request = fields;
    arena *a = mesh_incoming_arena(in);
    job_record *job = arena_take(a, sizeof(*job));
    patrick_cancel_reply *reply = arena_take(a, sizeof(*reply));
    uint64_t revision = 0;
    err e = job == NULL || reply == NULL ? fail(ERR_MEMORY, 0, "cancel")
                                         : patrick_job_get(p, a, request->id, job, &revision);
    if (e.code == OK && patrick_job_has_ended(job->state))
        e = fail(ERR_CONFLICT, 0, "the job has ended already");
    if (e.code != OK) {
        mesh_answer_err(in, e);
        return;
    }
    job->state = STR("cancelled");
    job->ended_real_ms = clock_real_ms();
    reply->jobs.at = job;
    reply->jobs.count = 1;
    store_change changes[] = {
        record_put(STR("patrick.job"), job->id, record_write(a, &shape_job, job), revision),
        record_delete(STR("queue/job"), job->id),
    };
    mesh_tell(p->context.mesh, MSG_monkey_cancel, &(monkey_cancel){.job = job->id});
    record_commit(p->context.mesh, in, changes, COUNT(changes), reply);
}

// A copy of `job` that starts from the beginning.
static void job_again(struct patrick *p, arena *a, job_record *job)
{
    job->id = id_new(a);
    job->sequence = patrick_sequence(p);
    job->state = STR("queued");
    job->publish = true;
    job->attempt = job->started_real_ms = job->ended_real_ms = job->revision = 0;
    job->created_real_ms = clock_real_ms();
    job->monkey = job->error = job->deployment = STR("");
    job->assets.count = 0;
}

static void
patrick_on_retry(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)header;
    struct patrick *p = data;
    const patrick_retry_request *request = fields;
    arena *a = mesh_incoming_arena(in);
    job_record *job = arena_take(a, sizeof(*job));
    patrick_retry_reply *reply = arena_take(a, sizeof(*reply));
    err e = job == NULL || reply == NULL ? fail(ERR_MEMORY, 0, "retry")
                                         : patrick_job_get(p, a, request->id, job, NULL);
    if (e.code == OK && !patrick_job_has_ended(job->state))
        e = fail(ERR_CONFLICT, 0, "the job is still on its way");
    if (e.code != OK) {
        mesh_answer_err(in, e);
        return;
    }
    job_again(p, a, job);
    reply->jobs.at = job;
    reply->jobs.count = 1;
    store_change changes[4];
    size_t count = 0;
    patrick_job_changes(a, job, changes, &count);
    record_commit(p->context.mesh, in, changes, count, reply);
}

// The newest job of each repository, run again: what `dream inject push-all` asks for.
static err replay_changes(struct patrick *p,
                          mesh_incoming *in,
                          const patrick_replay_request *request,
                          patrick_replay_reply *reply,
                          store_change **changes,
                          size_t *count)
{
    arena *a = mesh_incoming_arena(in);
    store_entry *entries;
    size_t found;
    bool all = request->project.len == 0;
    TRY(mesh_list(p->context.mesh, all ? STR("patrick.order") : STR("patrick.project"),
                  all ? STR("") : str_format(a, "%.*s/", STR_ARG(request->project)), STR(""),
                  JOBS_LISTED_MAX, true, a, &entries, &found));
    reply->jobs.at = arena_take(a, (found + 1) * sizeof(*reply->jobs.at));
    *changes = arena_take(a, (found * 4 + 1) * sizeof(**changes));
    if (reply->jobs.at == NULL || *changes == NULL)
        return fail(ERR_MEMORY, 0, "replay");
    for (size_t i = 0; i < found; i++) {
        job_record *job = &reply->jobs.at[reply->jobs.count];
        TRY(patrick_job_get(p, a, entries[i].value, job, NULL));
        bool wanted = request->repository.len == 0 ||
                      str_is(job->repository, request->repository) ||
                      str_is(job->repository_name, request->repository);
        for (size_t k = 0; k < reply->jobs.count && wanted; k++)
            wanted = !str_is(reply->jobs.at[k].repository, job->repository);
        if (wanted)
            reply->jobs.count++;
    }
    // Oldest first, so that the sequence keeps the order in which they were pushed.
    for (size_t i = reply->jobs.count; i-- > 0;) {
        job_again(p, a, &reply->jobs.at[i]);
        patrick_job_changes(a, &reply->jobs.at[i], *changes, count);
    }
    return ok();
}

static void
patrick_on_replay(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)header;
    struct patrick *p = data;
    patrick_replay_reply *reply = arena_take(mesh_incoming_arena(in), sizeof(*reply));
    store_change *changes = NULL;
    size_t count = 0;
    err e = reply == NULL ? fail(ERR_MEMORY, 0, "replay")
                          : replay_changes(p, in, fields, reply, &changes, &count);
    if (e.code != OK)
        mesh_answer_err(in, e);
    else
        record_commit(p->context.mesh, in, changes, count, reply);
}

err patrick_jobs_serve(struct patrick *p)
{
    mesh *m = p->context.mesh;
    TRY(mesh_serve(m, MSG_patrick_jobs, patrick_on_jobs, p));
    TRY(mesh_serve(m, MSG_patrick_job, patrick_on_job, p));
    TRY(mesh_serve(m, MSG_patrick_progress, patrick_on_progress, p));
    TRY(mesh_serve(m, MSG_patrick_cancel, patrick_on_cancel, p));
    TRY(mesh_serve(m, MSG_patrick_retry, patrick_on_retry, p));
    return mesh_serve(m, MSG_patrick_replay, patrick_on_replay, p);
}
