// Work that comes to the loop from other threads, from itself and from its helpers.
// helpers.
#include "io/loop_inner.h"

void loop_queue_init(loop_queue *q)
{
    *q = (loop_queue){.last = &q->first};
}

static loop_task *loop_task_new(void (*run)(void *data), void *data)
{
    loop_task *t = io_take(sizeof(*t));
    if (t != NULL)
        *t = (loop_task){.run = run, .data = data};
    return t;
}

static void loop_queue_add(loop_queue *q, loop_task *t)
{
    *q->last = t;
    q->last = &t->next;
}

static bool loop_tasks_run(loop_task *t)
{
    bool some = t != NULL;
    while (t != NULL) {
        loop_task now = *t;
        free(t);
        now.run(now.data);
        t = now.next;
    }
    return some;
}

bool loop_queue_run(loop_queue *q)
{
    loop_task *first = q->first;
    loop_queue_init(q); // what is added meanwhile waits for the next turn
    return loop_tasks_run(first);
}

void loop_on_posted(uv_async_t *a)
{
    loop *l = a->data;
    loop_wake(l);
    uv_mutex_lock(&l->lock);
    loop_task *first = l->posted.first;
    loop_queue_init(&l->posted);
    uv_mutex_unlock(&l->lock);
    (void)loop_tasks_run(first);
}

err loop_post(loop *l, void (*run)(void *data), void *data)
{
    loop_task *t = loop_task_new(run, data);
    if (t == NULL)
        return fail(ERR_MEMORY, 0, "post to loop");
    uv_mutex_lock(&l->lock);
    loop_queue_add(&l->posted, t);
    // Within the lock: once the loop has run this task its owner may close the loop.
    (void)uv_async_send(&l->async);
    uv_mutex_unlock(&l->lock);
    return ok();
}

static void loop_on_defer_idle(uv_idle_t *i)
{
    (void)i; // its presence makes the wait end at once
}

void loop_on_deferred(uv_check_t *c)
{
    loop *l = c->data;
    loop_wake(l);
    (void)loop_queue_run(&l->deferred);
    if (l->deferred.first == NULL) {
        (void)uv_check_stop(&l->defer_check);
        (void)uv_idle_stop(&l->defer_idle);
    }
}

err loop_defer(loop *l, void (*run)(void *data), void *data)
{
    loop_task *t = loop_task_new(run, data);
    if (t == NULL)
        return fail(ERR_MEMORY, 0, "defer on loop");
    if (l->deferred.first == NULL) {
        (void)uv_check_start(&l->defer_check, loop_on_deferred);
        (void)uv_idle_start(&l->defer_idle, loop_on_defer_idle);
    }
    loop_queue_add(&l->deferred, t);
    return ok();
}

struct loop_job {
    uv_work_t request;
    loop *loop;
    void (*work)(void *data);
    void (*done)(void *data);
    void *data;
};

static void loop_job_work(uv_work_t *w)
{
    struct loop_job *j = w->data;
    j->work(j->data);
}

static void loop_job_done(uv_work_t *w, int status)
{
    (void)status; // nothing here cancels
    struct loop_job *j = w->data;
    loop_wake(j->loop);
    j->loop->works--;
    j->done(j->data);
    free(j);
}

err loop_work(loop *l, void (*work)(void *data), void (*done)(void *data), void *data)
{
    struct loop_job *j = io_take(sizeof(*j));
    if (j == NULL)
        return fail(ERR_MEMORY, 0, "start work");
    *j = (struct loop_job){.loop = l, .work = work, .done = done, .data = data};
    j->request.data = j;
    int rc = uv_queue_work(&l->uv, &j->request, loop_job_work, loop_job_done);
    if (rc != 0) {
        free(j);
        return io_fail(rc, "start work");
    }
    l->works++;
    return ok();
}
