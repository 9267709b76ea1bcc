// Timers, signals and the coarse deadlines that share one timer per loop.
#include "io/loop_inner.h"

struct timer {
    uv_timer_t handle;
    void (*on)(void *data);
    void *data;
    bool closing;
};

static void timer_on(uv_timer_t *h)
{
    timer *t = h->data;
    t->on(t->data);
}

static void timer_on_closed(uv_handle_t *h)
{
    free(h->data);
}

err timer_open(timer **out, loop *l, void (*on)(void *data), void *data)
{
    timer *t = io_take(sizeof(*t));
    if (t == NULL)
        return fail(ERR_MEMORY, 0, "open timer");
    (void)uv_timer_init(&l->uv, &t->handle); // cannot fail
    t->handle.data = t;
    t->on = on;
    t->data = data;
    *out = t;
    return ok();
}

void timer_start(timer *t, uint64_t after_ms, uint64_t repeat_ms)
{
    if (!t->closing)
        (void)uv_timer_start(&t->handle, timer_on, after_ms, repeat_ms);
}

void timer_stop(timer *t)
{
    if (!t->closing)
        (void)uv_timer_stop(&t->handle);
}

void timer_close(timer *t)
{
    if (t == NULL || t->closing)
        return;
    t->closing = true;
    uv_close((uv_handle_t *)&t->handle, timer_on_closed);
}

struct signal_watch {
    uv_signal_t handle;
    loop *loop;
    void (*on)(void *data, int number);
    void *data;
    bool closing;
};

static void signal_watch_on(uv_signal_t *h, int number)
{
    signal_watch *s = h->data;
    loop_wake(s->loop);
    s->on(s->data, number);
}

static void signal_watch_on_closed(uv_handle_t *h)
{
    free(h->data);
}

err signal_watch_open(
    signal_watch **out, loop *l, int number, void (*on)(void *data, int number), void *data)
{
    signal_watch *s = io_take(sizeof(*s));
    if (s == NULL)
        return fail(ERR_MEMORY, 0, "watch signal");
    int rc = uv_signal_init(&l->uv, &s->handle);
    if (rc != 0) {
        free(s);
        return io_fail(rc, "watch signal");
    }
    s->handle.data = s;
    s->loop = l;
    s->on = on;
    s->data = data;
    rc = uv_signal_start(&s->handle, signal_watch_on, number);
    if (rc != 0) {
        signal_watch_close(s);
        return io_fail(rc, "watch signal");
    }
    *out = s;
    return ok();
}

void signal_watch_close(signal_watch *s)
{
    if (s == NULL || s->closing)
        return;
    s->closing = true;
    uv_close((uv_handle_t *)&s->handle, signal_watch_on_closed);
}

static void loop_deadline_link(loop_deadline **head, loop_deadline *d)
{
    d->next = *head;
    d->link = head;
    if (d->next != NULL)
        d->next->link = &d->next;
    *head = d;
}

void loop_deadline_clear(loop_deadline *d)
{
    if (d->link == NULL)
        return;
    *d->link = d->next;
    if (d->next != NULL)
        d->next->link = d->link;
    d->link = NULL;
    d->next = NULL;
}

void loop_on_tick(uv_timer_t *t)
{
    loop *l = t->data;
    uint64_t now_ms = uv_now(&l->uv);
    loop_deadline *late = NULL; // a list of its own: what runs may clear any deadline
    for (loop_deadline *d = l->deadlines, *next; d != NULL; d = next) {
        next = d->next;
        if (d->at_ms > now_ms)
            continue;
        loop_deadline_clear(d);
        loop_deadline_link(&late, d);
    }
    while (late != NULL) {
        loop_deadline *d = late;
        loop_deadline_clear(d);
        d->on(d);
    }
    if (l->deadlines == NULL)
        (void)uv_timer_stop(&l->tick);
}

void loop_deadline_set(loop *l, loop_deadline *d, uint64_t after_ms, void (*on)(loop_deadline *d))
{
    loop_deadline_clear(d);
    d->at_ms = uv_now(&l->uv) + after_ms;
    d->on = on;
    loop_deadline_link(&l->deadlines, d);
    if (!uv_is_active((const uv_handle_t *)&l->tick))
        (void)uv_timer_start(&l->tick, loop_on_tick, LOOP_TICK_MS, LOOP_TICK_MS);
}
