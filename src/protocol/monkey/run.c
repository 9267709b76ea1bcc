// A job's steps on the control loop.
//
// The happy path is: 1. patrick gives the row; 2. auth names project and repositories; 3. a helper
// thread exports both trees and reads the configuration; 4. builds; 5. hoarder and tns get the
// result; 6. patrick is told. What can fail: the user's files (the job fails, the log says where),
// anything of ours (tried again, three times).
#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"
#include "protocol/monkey/monkey_inner.h"

#include <stdio.h>

// An ask of a job: the job outlives it, whatever happens meanwhile.
struct job_ask {
    struct monkey_job *job;
    mesh_replied *then;
};

// Frees the job once nobody works for it any more.
static void job_settle(struct monkey_job *j)
{
    if (j->released && j->asks == 0 && !j->fetching)
        monkey_job_free(j);
}

static void job_on_reply(void *data, err e, const void *fields)
{
    struct job_ask *ask = data;
    struct monkey_job *j = ask->job;
    j->asks--;
    if (!j->released)
        ask->then(j, e, fields);
    else
        job_settle(j);
}

void monkey_job_ask_node(struct monkey_job *j,
                         str node,
                         message_kind kind,
                         const void *fields,
                         uint64_t deadline_ms,
                         mesh_replied *then)
{
    struct job_ask *ask = arena_take(j->memory, sizeof(*ask));
    if (ask == NULL) {
        monkey_job_release(
            j, true); // the arena's budget is used up: another attempt starts with a new one
        return;
    }
    *ask = (struct job_ask){j, then};
    j->asks++;
    mesh_ask(j->monkey->context.mesh, node, kind, NULL, fields, deadline_ms, job_on_reply, ask);
}

void monkey_job_ask(struct monkey_job *j, message_kind kind, const void *fields, mesh_replied *then)
{
    monkey_job_ask_node(j, STR(""), kind, fields, JOB_ASK_MS, then);
}

static void job_flush(void *data);

static void job_on_log_added(void *data, err e, const void *fields)
{
    (void)fields;
    struct monkey_job *j = data;
    j->log_asked = false;
    if (e.code != OK)
        log_fail(j->monkey->context.log, "job log not kept", e, "job", j->id, NULL);
    if (j->log.len > 0)
        job_flush(j);
}

static void job_flush(void *data)
{
    struct monkey_job *j = data;
    if (j->log_asked || j->log.len == 0)
        return;
    size_t size = j->log.len < JOB_LOG_PIECE_BYTES ? j->log.len : JOB_LOG_PIECE_BYTES;
    patrick_log_add_request request = {
        .id = j->id, .attempt = j->attempt, .text = {j->log.at, size}};
    j->log_asked = true;
    monkey_job_ask(j, MSG_patrick_log_add, &request, job_on_log_added);
    buf_drop_front(&j->log, size);
}

void monkey_job_say(struct monkey_job *j, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    char line[1024];
    int n = vsnprintf(line, sizeof(line), format, list);
    va_end(list);
    if (n > 0)
        buf_add(&j->log, (str){line, (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1});
    if (j->log.len >= JOB_LOG_PIECE_BYTES)
        job_flush(j);
    else
        timer_start(j->flush, JOB_LOG_FLUSH_MS, 0);
}

void monkey_job_report(struct monkey_job *j, const char *state, str error, mesh_replied *then)
{
    patrick_progress_request request = {
        .id = j->id,
        .attempt = j->attempt,
        .monkey = j->monkey->context.node,
        .state = str_of(state),
        .error = error,
        .revision = j->revision,
    };
    asset_record *assets = arena_take(j->memory, (j->builds_count + 1) * sizeof(*assets));
    for (size_t i = 0; assets != NULL && i < j->builds_count; i++) {
        const struct monkey_build *b = &j->builds[i];
        if (!b->ended || !b->result.ok)
            continue;
        assets[request.assets.count++] = (asset_record){
            .resource = b->function->of->id,
            .name = b->function->of->name,
            .application = b->function->of->application,
            .kind = STR("function"),
            .hash = str_of(b->result.wasm),
            .bytes = b->result.wasm_bytes,
            .cached = b->result.cached,
        };
    }
    request.assets.at = assets;
    monkey_job_ask(j, MSG_patrick_progress, &request, then);
}

static uint64_t job_pause_s(const struct monkey_job *j)
{
    return j->attempt < JOB_PAUSE_S_MAX ? j->attempt : JOB_PAUSE_S_MAX;
}

// The claim is given up; the job's memory goes once nothing of it is on its way.
void monkey_job_release(struct monkey_job *j, bool again)
{
    struct monkey *m = j->monkey;
    if (j->released)
        return;
    if (m->claims != NULL && again)
        mesh_claim_return(m->claims, j->id, j->claim, 1000 * job_pause_s(j));
    else if (m->claims != NULL)
        mesh_claim_done(m->claims, j->id, j->claim);
    j->ending = j->released = true;
    timer_stop(j->flush);
    job_settle(j);
}

static void job_on_ended(void *data, err e, const void *fields)
{
    (void)fields;
    struct monkey_job *j = data;
    // A conflict: cancelled, or another attempt took over. Both mean that this one is over.
    bool again = e.code != OK && e.code != ERR_CONFLICT && e.code != ERR_ABSENT;
    if (e.code != OK)
        log_fail(j->monkey->context.log, "job's end not recorded", e, "job", j->id, NULL);
    monkey_job_release(j, again);
}

void monkey_job_end(struct monkey_job *j, const char *state, str error)
{
    if (j->ending)
        return;
    j->ending = true;
    if (state == NULL) { // cancelled: patrick knows
        monkey_job_release(j, false);
        return;
    }
    bool done = str_is(str_of(state), STR("done"));
    *(done ? &j->monkey->done : &j->monkey->failed) += 1;
    monkey_job_say(j, "%s in %llu ms\n", state,
                   (unsigned long long)(clock_now_ms() - j->started_ms));
    job_flush(
        j); // patrick serves asks of one node in order: the log is whole before the state says so
    log_line(j->monkey->context.log, done ? LOG_INFO : LOG_WARN, "job ended", "job", j->id, "state",
             str_of(state), "error", error, NULL);
    monkey_job_report(j, state, error, job_on_ended);
}

void monkey_job_fail(struct monkey_job *j, err e, bool again)
{
    log_fail(j->monkey->context.log, "job failed", e, "job", j->id, NULL);
    if (j->ending)
        return;
    if (e.code == ERR_CONFLICT) {
        monkey_job_release(j, false);
        return;
    }
    monkey_job_say(j, "error: %s\n", e.what);
    // A node that is stopped comes back: the job waits for it however long that takes.
    bool waits = e.code == ERR_BUSY || e.code == ERR_CLOSED;
    if (again && (waits || j->attempt < JOB_ATTEMPTS_MAX)) {
        monkey_job_say(j, "tried again in %llu s\n", (unsigned long long)job_pause_s(j));
        monkey_job_release(j, true);
        return;
    }
    monkey_job_end(j, "failed", str_of(e.what));
}

static repository_record job_repository_copy(arena *a, const repository_record *r)
{
    return (repository_record){.id = str_copy(a, r->id),
                               .owner = str_copy(a, r->owner),
                               .name = str_copy(a, r->name),
                               .kind = str_copy(a, r->kind)};
}

static const char *job_repository_path(struct monkey_job *j, const repository_record *r)
{
    if (monkey_job_is_remote(j))
        return NULL;
    return str_format(j->memory, "%s/%.*s/%.*s.git", j->monkey->context.repositories,
                      STR_ARG(r->owner), STR_ARG(r->name))
        .at;
}

static void job_on_fetching(void *data, err e, const void *fields)
{
    (void)fields;
    struct monkey_job *j = data;
    if (e.code != OK)
        monkey_job_fail(j, e, true);
    else
        monkey_job_fetch(j);
}

static void job_on_repository(void *data, err e, const void *fields)
{
    struct monkey_job *j = data;
    const auth_repository_get_reply *reply = fields;
    if (e.code != OK || reply->repositories.count == 0) {
        monkey_job_fail(
            j, e.code != OK ? e : fail(ERR_ABSENT, 0, "a repository of the project is gone"), true);
        return;
    }
    repository_record r = job_repository_copy(j->memory, &reply->repositories.at[0]);
    if (str_is(r.id, j->project.configuration)) {
        j->configuration = r;
        j->configuration_repository = job_repository_path(j, &r);
        auth_repository_get_request ask = {.id = j->project.code};
        monkey_job_ask(j, MSG_auth_repository_get, &ask, job_on_repository);
        return;
    }
    j->code = r;
    j->code_repository = job_repository_path(j, &r);
    monkey_job_report(j, "fetching", STR(""), job_on_fetching);
}

static void job_on_project(void *data, err e, const void *fields)
{
    struct monkey_job *j = data;
    const auth_project_get_reply *reply = fields;
    if (e.code != OK || reply->projects.count == 0) {
        monkey_job_fail(j, e.code != OK ? e : fail(ERR_ABSENT, 0, "the project is gone"),
                        e.code != ERR_ABSENT);
        return;
    }
    const project_record *p = &reply->projects.at[0];
    j->project = (project_record){.id = str_copy(j->memory, p->id),
                                  .name = str_copy(j->memory, p->name),
                                  .owner = str_copy(j->memory, p->owner),
                                  .configuration = str_copy(j->memory, p->configuration),
                                  .code = str_copy(j->memory, p->code)};
    auth_repository_get_request ask = {.id = j->project.configuration};
    monkey_job_ask(j, MSG_auth_repository_get, &ask, job_on_repository);
}

static void job_row_copy(arena *a, const job_record *from, job_record *to)
{
    *to = (job_record){
        .id = str_copy(a, from->id),
        .sequence = from->sequence,
        .project = str_copy(a, from->project),
        .repository = str_copy(a, from->repository),
        .repository_name = str_copy(a, from->repository_name),
        .kind = str_copy(a, from->kind),
        .branch = str_copy(a, from->branch),
        .commit = str_copy(a, from->commit),
        .configuration_commit = str_copy(a, from->configuration_commit),
        .code_commit = str_copy(a, from->code_commit),
        .deployment = str_copy(a, from->deployment),
        .publish = from->publish,
        .state = str_copy(a, from->state),
    };
}

static void job_on_row(void *data, err e, const void *fields)
{
    struct monkey_job *j = data;
    const patrick_job_reply *reply = fields;
    if (e.code != OK || reply->jobs.count == 0) {
        monkey_job_fail(j, e.code != OK ? e : fail(ERR_ABSENT, 0, "the job's row is gone"),
                        e.code != ERR_ABSENT);
        return;
    }
    job_row_copy(j->memory, &reply->jobs.at[0], &j->job);
    if (str_is(j->job.state, STR("done")) || str_is(j->job.state, STR("cancelled"))) {
        monkey_job_release(j, false); // delivered twice: at least once is what a queue promises
        return;
    }
    if (j->attempt > 1)
        monkey_job_say(j, "attempt %llu\n", (unsigned long long)j->attempt);
    monkey_job_say(j, "job %.*s: %.*s at %.*s (%.*s)\n", STR_ARG(j->job.id),
                   STR_ARG(j->job.repository_name), STR_ARG(str_first(j->job.commit, 10)),
                   STR_ARG(j->job.branch));
    auth_project_get_request ask = {.id = j->job.project};
    monkey_job_ask(j, MSG_auth_project_get, &ask, job_on_project);
}

static err job_open(struct monkey *m, const mesh_item *item, struct monkey_job **out)
{
    arena *a;
    TRY(arena_open(&a, JOB_MEMORY_BYTES));
    struct monkey_job *j = arena_take(a, sizeof(*j));
    if (j == NULL) {
        arena_close(a);
        return fail(ERR_MEMORY, 0, "start job");
    }
    *j = (struct monkey_job){
        .monkey = m, .memory = a, .attempt = item->attempt, .started_ms = clock_now_ms()};
    j->id = str_copy(a, item->id);
    j->claim = str_copy(a, item->claim);
    j->folder = str_format(a, "%s/jobs/%.*s", m->context.folder, STR_ARG(j->id)).at;
    buf_open(&j->log, 16 << 20);
    err e = timer_open(&j->flush, m->context.loop, job_flush, j);
    if (e.code != OK) {
        arena_close(a);
        return e;
    }
    *out = j;
    return ok();
}

void monkey_job_start(struct monkey *m, const mesh_item *item)
{
    struct monkey_job *j;
    err e = job_open(m, item, &j);
    if (e.code != OK) {
        log_fail(m->context.log, "job not started", e, "job", item->id, NULL);
        mesh_claim_return(m->claims, item->id, item->claim, 1000);
        return;
    }
    j->next = m->jobs;
    if (m->jobs == NULL)
        timer_start(m->beat, JOB_BEAT_MS, JOB_BEAT_MS);
    m->jobs = j;
    patrick_job_request ask = {.id = j->id};
    monkey_job_ask(j, MSG_patrick_job, &ask, job_on_row);
}
