// The event loop of one thread: turns, hooks around the wait, the delay histogram.
//
// The happy path is: open, run, stop from a callback, close. libuv runs the callbacks of
// descriptors inside its wait, so the end of the wait is noticed by whichever callback comes first
// (loop_wake).
#include "io/loop_inner.h"

#include <assert.h>
#include <signal.h>
#include <string.h>

enum { INNER_HANDLES = 7 };

struct loop_spare {
    struct loop_spare *next;
};

err io_fail(int uv_number, const char *what)
{
    int number = -uv_number;
    switch (uv_number) {
    case UV_EADDRINUSE:
    case UV_EEXIST:
        return fail(ERR_CONFLICT, number, what);
    case UV_ECONNREFUSED:
    case UV_ECONNRESET:
    case UV_ECONNABORTED:
    case UV_EPIPE:
    case UV_ENOTCONN:
    case UV_EHOSTUNREACH:
    case UV_ENETUNREACH:
    case UV_ECANCELED:
        return fail(ERR_CLOSED, number, what);
    case UV_ETIMEDOUT:
        return fail(ERR_TIMEOUT, number, what);
    case UV_EACCES:
    case UV_EPERM:
        return fail(ERR_DENIED, number, what);
    case UV_ENOENT:
        return fail(ERR_ABSENT, number, what);
    case UV_ENOMEM:
        return fail(ERR_MEMORY, number, what);
    case UV_EMFILE:
    case UV_ENFILE:
        return fail(ERR_LIMIT, number, what);
    default:
        return fail(ERR_SYSTEM, number, what);
    }
}

err io_address_read(const char *text, uint16_t port, io_address *out)
{
    io_address read = {0};
    if (uv_ip4_addr(text, port, &read.four) != 0 && uv_ip6_addr(text, port, &read.six) != 0)
        return fail(ERR_SYNTAX, 0, "not an IP address");
    *out = read;
    return ok();
}

uint16_t io_address_port(const io_address *a)
{
    if (a->any.sa_family == AF_INET)
        return ntohs(a->four.sin_port);
    return a->any.sa_family == AF_INET6 ? ntohs(a->six.sin6_port) : 0;
}

void loop_woke(loop *l)
{
    l->awake = true;
    l->woke_ns = uv_hrtime();
    if (l->after_wait != NULL)
        l->after_wait(l->hook_data);
}

static void loop_on_check(uv_check_t *c)
{
    loop_wake(c->data);
}

static void loop_on_prepare(uv_prepare_t *p)
{
    loop *l = p->data;
    if (l->awake) {
        uint64_t us = (uv_hrtime() - l->woke_ns) / 1000;
        size_t power = us == 0 ? 0 : 64 - (size_t)__builtin_clzll(us);
        l->delays.count[power < COUNT(l->delays.count) ? power : COUNT(l->delays.count) - 1]++;
        l->awake = false;
    }
    if (l->before_wait != NULL)
        l->before_wait(l->hook_data);
}

static void loop_on_turn(uv_timer_t *t)
{
    (void)t; // it only bounds the wait
}

// A peer that goes away must be an error of one write, not the end of the process.
static void loop_ignore_broken_pipes(void)
{
    struct sigaction now;
    if (sigaction(SIGPIPE, NULL, &now) == 0 && now.sa_handler == SIG_DFL) {
        now.sa_handler = SIG_IGN;
        (void)sigaction(SIGPIPE, &now, NULL);
    }
}

err loop_open(loop **out)
{
    loop *l = io_take(sizeof(*l));
    if (l == NULL)
        return fail(ERR_MEMORY, 0, "open loop");
    l->read_bytes = io_take(LOOP_READ_BYTES);
    if (l->read_bytes == NULL || uv_mutex_init(&l->lock) != 0) {
        free(l->read_bytes);
        free(l);
        return fail(ERR_MEMORY, 0, "open loop");
    }
    int rc = uv_loop_init(&l->uv);
    if (rc == 0 && (rc = uv_async_init(&l->uv, &l->async, loop_on_posted)) != 0)
        (void)uv_loop_close(&l->uv);
    if (rc != 0) {
        uv_mutex_destroy(&l->lock);
        free(l->read_bytes);
        free(l);
        return io_fail(rc, "open loop");
    }
    loop_ignore_broken_pipes();
    loop_queue_init(&l->posted);
    loop_queue_init(&l->deferred);
    // These cannot fail. The async handle keeps the loop alive while nothing else does.
    (void)uv_prepare_init(&l->uv, &l->prepare);
    (void)uv_check_init(&l->uv, &l->defer_check);
    (void)uv_check_init(&l->uv, &l->check);
    (void)uv_idle_init(&l->uv, &l->defer_idle);
    (void)uv_timer_init(&l->uv, &l->tick);
    (void)uv_timer_init(&l->uv, &l->turn);
    l->async.data = l->prepare.data = l->check.data = l->defer_check.data = l->defer_idle.data = l;
    l->tick.data = l->turn.data = l;
    (void)uv_prepare_start(&l->prepare, loop_on_prepare);
    (void)uv_check_start(&l->check, loop_on_check);
    l->delays.since_ms = uv_now(&l->uv);
    *out = l;
    return ok();
}

void loop_run(loop *l)
{
    l->stopped = false;
    while (!l->stopped)
        (void)uv_run(&l->uv, UV_RUN_DEFAULT);
}

void loop_turn(loop *l, uint64_t wait_ms_max)
{
    if (wait_ms_max == 0) {
        (void)uv_run(&l->uv, UV_RUN_NOWAIT);
        return;
    }
    uv_update_time(&l->uv);
    (void)uv_timer_start(&l->turn, loop_on_turn, wait_ms_max, 0);
    (void)uv_run(&l->uv, UV_RUN_ONCE);
    (void)uv_timer_stop(&l->turn);
}

void loop_stop(loop *l)
{
    l->stopped = true;
    uv_stop(&l->uv);
}

static void loop_check_closed(uv_handle_t *h, void *data)
{
    (void)data;
    // Whoever opened it has forgotten it: waiting for it would last for ever.
    assert(uv_is_closing(h));
}

static bool loop_has_posts(loop *l)
{
    uv_mutex_lock(&l->lock);
    bool some = l->posted.first != NULL;
    uv_mutex_unlock(&l->lock);
    return some;
}

void loop_close(loop *l)
{
    if (l == NULL)
        return;
    while (l->works > 0 || l->deferred.first != NULL || loop_has_posts(l))
        (void)uv_run(&l->uv, UV_RUN_ONCE);
    // Connections that their owners have left to flush and linger have no more time.
    while (l->deadlines != NULL) {
        loop_deadline *d = l->deadlines;
        loop_deadline_clear(d);
        d->on(d);
    }
    uv_handle_t *inner[INNER_HANDLES] = {
        (uv_handle_t *)&l->async,       (uv_handle_t *)&l->prepare,    (uv_handle_t *)&l->check,
        (uv_handle_t *)&l->defer_check, (uv_handle_t *)&l->defer_idle, (uv_handle_t *)&l->tick,
        (uv_handle_t *)&l->turn,
    };
    for (size_t i = 0; i < INNER_HANDLES; i++)
        uv_close(inner[i], NULL);
    uv_walk(&l->uv, loop_check_closed, NULL);
    while (uv_run(&l->uv, UV_RUN_DEFAULT) != 0)
        ;
    int rc = uv_loop_close(&l->uv);
    assert(rc == 0);
    (void)rc;
    while (l->spare != NULL) {
        struct loop_spare *next = l->spare->next;
        free(l->spare);
        l->spare = next;
    }
    uv_mutex_destroy(&l->lock);
    free(l->read_bytes);
    free(l->plain_bytes);
    free(l->cipher_bytes);
    free(l->record_bytes);
    free(l);
}

uv_loop_t *loop_uv(loop *l)
{
    return &l->uv;
}

uint64_t loop_now_ms(loop *l)
{
    return uv_now(&l->uv);
}

void loop_delays_read(loop *l, loop_delays *out)
{
    *out = l->delays;
}

void loop_set_hooks(loop *l,
                    void (*before_wait)(void *data),
                    void (*after_wait)(void *data),
                    void *data)
{
    l->before_wait = before_wait;
    l->after_wait = after_wait;
    l->hook_data = data;
}

void *loop_spare_take(loop *l, size_t size)
{
    struct loop_spare *s = l->spare;
    if (s == NULL)
        return io_take(size);
    l->spare = s->next;
    l->spare_count--;
    memset(s, 0, size);
    return s;
}

void loop_spare_give(loop *l, void *at)
{
#ifndef __SANITIZE_ADDRESS__ // the sanitizer is to see uses after the end
    if (l->spare_count < LOOP_SPARE_MAX) {
        struct loop_spare *s = at;
        s->next = l->spare;
        l->spare = s;
        l->spare_count++;
        return;
    }
#endif
    (void)l;
    free(at);
}
