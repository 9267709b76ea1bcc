// patrick: git events become jobs, in order, exactly once, durable before anybody is told.
#include "base/clock.h"
#include "base/str.h"
#include "protocol/patrick/patrick_inner.h"

#include <stdlib.h>

uint64_t patrick_sequence(struct patrick *p)
{
    uint64_t now_us = clock_real_ms() * 1000;
    p->last_sequence = now_us > p->last_sequence ? now_us : p->last_sequence + 1;
    return p->last_sequence;
}

bool patrick_job_has_ended(str state)
{
    return str_is(state, STR("done")) || str_is(state, STR("failed")) ||
           str_is(state, STR("cancelled"));
}

err patrick_job_get(struct patrick *p, arena *a, str id, job_record *out, uint64_t *revision)
{
    err e = record_get(p->context.mesh, a, STR("patrick.job"), id, &shape_job, out, revision);
    if (e.code == ERR_ABSENT)
        e.what = "there is no such job";
    return e;
}

void patrick_job_changes(arena *a, const job_record *job, store_change *changes, size_t *count)
{
    str row = record_write(a, &shape_job, job);
    str order = str_format(a, "%020llu", (unsigned long long)job->sequence);
    str of_project = str_format(a, "%.*s/%.*s", STR_ARG(job->project), STR_ARG(order));
    changes[(*count)++] = record_put(STR("patrick.job"), job->id, row, 0);
    changes[(*count)++] = record_put(STR("patrick.order"), order, job->id, 0);
    changes[(*count)++] = record_put(STR("patrick.project"), of_project, job->id, 0);
    mesh_queue_change(a, &changes[(*count)++], STR("job"), job->id, job->id);
}

// The sequence goes on above the last job's, even when the clock was set back.
static err patrick_find_last(struct patrick *p)
{
    enum { FIND_BYTES = 64 * 1024 };
    OWNED(arena_drop) arena *a = NULL;
    TRY(arena_open(&a, FIND_BYTES));
    store_entry *entries;
    size_t count;
    TRY(mesh_list(p->context.mesh, STR("patrick.order"), STR(""), STR(""), 1, true, a, &entries,
                  &count));
    return count == 0 ? ok() : str_number(entries[0].key, &p->last_sequence);
}

static err patrick_open(void **state, const protocol_context *context)
{
    struct patrick *p = calloc(1, sizeof(*p));
    if (p == NULL)
        return fail(ERR_MEMORY, 0, "open patrick");
    p->context = *context;
    err e = patrick_find_last(p);
    if (e.code == OK)
        e = patrick_push_serve(p);
    if (e.code == OK)
        e = patrick_jobs_serve(p);
    if (e.code == OK)
        e = patrick_log_serve(p);
    if (e.code != OK) {
        free(p);
        return e;
    }
    *state = p;
    return ok();
}

static void patrick_close(void *state, void (*closed)(void *data), void *data)
{
    patrick_push_close(state);
    free(state);
    closed(data);
}

const protocol protocol_patrick = {
    .name = "patrick", .open = patrick_open, .close = patrick_close, .http = patrick_http};
