// monkey: claims jobs and executes them, as many at once as it has slots.
#include "base/file.h"
#include "base/str.h"
#include "mesh/blob.h"
#include "protocol/monkey/monkey_inner.h"

#include <stdlib.h>

enum { DRAINING_PAUSE_MS = 500 };

static void monkey_on_item(void *data, const mesh_item *item)
{
    struct monkey *m = data;
    if (m->idle != NULL)
        mesh_claim_return(m->claims, item->id, item->claim, DRAINING_PAUSE_MS);
    else
        monkey_job_start(m, item);
}

static void monkey_check_idle(struct monkey *m)
{
    void (*idle)(void *data) = m->idle;
    if (m->jobs != NULL || idle == NULL || m->claims == NULL || m->closed != NULL)
        return;
    mesh_claims_close(m->claims);
    m->claims = NULL;
    idle(m->idle_data);
}

// What comes meanwhile goes back to the queue, for another monkey.
static void monkey_drain(void *state, void (*idle)(void *data), void *data)
{
    struct monkey *m = state;
    m->idle = idle;
    m->idle_data = data;
    monkey_check_idle(m);
}

static void monkey_on_beat(void *data)
{
    struct monkey *m = data;
    for (struct monkey_job *j = m->jobs; j != NULL; j = j->next)
        mesh_claim_beat(m->claims, j->id, j->claim);
}

static void monkey_on_cancel(void *data, const void *fields)
{
    struct monkey *m = data;
    const monkey_cancel *told = fields;
    for (struct monkey_job *j = m->jobs; j != NULL; j = j->next)
        if (str_is(j->id, told->job) && !j->ending) {
            j->cancelled = true;
            monkey_job_say(j, "cancelled\n");
            for (size_t i = 0; i < j->builds_count; i++)
                if (j->builds[i].running != NULL) {
                    build_cancel(j->builds[i].running);
                    j->builds[i].running = NULL;
                }
            if (!j->fetching)
                monkey_job_end(j, NULL, STR(""));
            else
                mesh_blob_cancel(m->context.mesh, j); // a helper thread's end is waited for
            return;
        }
}

static void
monkey_on_status(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)header;
    (void)fields;
    struct monkey *m = data;
    monkey_status_reply reply = {.slots = m->context.copies, .done = m->done, .failed = m->failed};
    for (struct monkey_job *j = m->jobs; j != NULL; j = j->next)
        reply.running++;
    mesh_answer(in, &reply);
}

static err monkey_start(struct monkey *m)
{
    enum { PATH_BYTES = 16 * 1024 };
    OWNED(arena_drop) arena *a = NULL;
    TRY(arena_open(&a, PATH_BYTES));
    const char *builds = str_format(a, "%s/builds", m->context.folder).at;
    const char *work = str_format(a, "%s/jobs", m->context.folder).at;
    if (builds == NULL || work == NULL)
        return fail(ERR_LIMIT, 0, "path too long");
    if (file_exists(work))
        TRY(file_remove_tree(work)); // of a crash
    TRY(file_make_folders(work, 0700));
    TRY(file_make_folders(builds, 0700));
    builder_settings settings = {.loop = m->context.loop,
                                 .blobs = m->context.blobs,
                                 .folder = builds,
                                 .program = m->context.program,
                                 .engine = m->context.engine,
                                 .log = m->context.log};
    TRY(builder_open(&m->builder, &settings));
    TRY(mesh_serve(m->context.mesh, MSG_monkey_status, monkey_on_status, m));
    TRY(mesh_listen(m->context.mesh, MSG_monkey_cancel, monkey_on_cancel, m));
    TRY(timer_open(&m->beat, m->context.loop, monkey_on_beat, m));
    TRY(mesh_claims_open(&m->claims, m->context.mesh, STR("job"), m->context.copies, JOB_LEASE_MS,
                         monkey_on_item, m));
    return ok();
}

static void monkey_free(struct monkey *m)
{
    timer_close(m->beat);
    if (m->claims != NULL)
        mesh_claims_close(m->claims);
    if (m->builder != NULL)
        builder_close(m->builder);
    free(m);
}

static err monkey_open(void **state, const protocol_context *context)
{
    struct monkey *m = calloc(1, sizeof(*m));
    if (m == NULL)
        return fail(ERR_MEMORY, 0, "open monkey");
    m->context = *context;
    if (m->context.copies == 0)
        m->context.copies = 1;
    err e = monkey_start(m);
    if (e.code != OK) {
        monkey_free(m);
        return e;
    }
    *state = m;
    return ok();
}

// Jobs under way are given back to the queue; those a helper thread works for end when it does.
static void monkey_close(void *state, void (*closed)(void *data), void *data)
{
    struct monkey *m = state;
    for (struct monkey_job *j = m->jobs, *after; j != NULL; j = after) {
        after = j->next;
        mesh_blob_cancel(m->context.mesh, j); // it goes back to the queue
    }
    m->closed = closed;
    m->closed_data = data;
    if (m->claims != NULL)
        mesh_claims_close(m->claims);
    m->claims = NULL;
    builder_close(m->builder);
    m->builder = NULL;
    if (m->jobs == NULL) {
        monkey_free(m);
        closed(data);
        return;
    }
    struct monkey_job *next;
    for (struct monkey_job *j = m->jobs; j != NULL; j = next) {
        next = j->next; // the last one to be released frees m: it is not touched after this loop
        j->cancelled = true;
        monkey_job_release(j, true);
    }
}

void monkey_job_free(struct monkey_job *j)
{
    struct monkey *m = j->monkey;
    for (struct monkey_job **at = &m->jobs; *at != NULL; at = &(*at)->next)
        if (*at == j) {
            *at = j->next;
            break;
        }
    if (m->jobs == NULL)
        timer_stop(m->beat);
    timer_close(j->flush);
    buf_close(&j->log);
    if (j->folder != NULL && file_exists(j->folder)) {
        err e = file_remove_tree(j->folder);
        if (e.code != OK)
            log_fail(m->context.log, "work folder stays", e, "job", j->id, NULL);
    }
    arena_close(j->memory);
    memory_give_back(); // a large project's job has used some hundred times what stays
    if (m->closed != NULL && m->jobs == NULL) {
        void (*closed)(void *data) = m->closed;
        void *data = m->closed_data;
        monkey_free(m);
        closed(data);
    } else {
        monkey_check_idle(m);
    }
}

const protocol protocol_monkey = {
    .name = "monkey", .open = monkey_open, .close = monkey_close, .drain = monkey_drain};
