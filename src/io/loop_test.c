// The loop keeps order, is fair, does not spin, and can be closed with work under way.
#include "base/fault.h"
#include "base/test.h"
#include "io/loop.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

enum { POSTS = 2000, POSTERS = 4 };

struct poster {
    loop *loop;
    unsigned number;
    struct tally *tally;
    pthread_t thread;
};
struct tally {
    loop *loop;
    unsigned next[POSTERS];
    unsigned total;
    bool in_order;
};
struct post {
    struct tally *tally;
    unsigned poster, number;
};

static void post_arrives(void *data)
{
    struct post *p = data;
    struct tally *t = p->tally;
    t->in_order = t->in_order && t->next[p->poster] == p->number;
    t->next[p->poster] = p->number + 1;
    free(p);
    if (++t->total == POSTS * POSTERS)
        loop_stop(t->loop);
}

static void *poster_run(void *data)
{
    struct poster *me = data;
    for (unsigned i = 0; i < POSTS; i++) {
        struct post *p = malloc(sizeof(*p));
        if (p == NULL)
            abort();
        *p = (struct post){me->tally, me->number, i};
        if (loop_post(me->loop, post_arrives, p).code != OK)
            abort();
    }
    return NULL;
}

TEST(loop_posts_from_threads_arrive_in_order)
{
    loop *l = NULL;
    CHECK(loop_open(&l).code == OK);
    struct tally tally = {.loop = l, .in_order = true};
    struct poster posters[POSTERS];
    for (unsigned i = 0; i < POSTERS; i++) {
        posters[i] = (struct poster){.loop = l, .number = i, .tally = &tally};
        CHECK(pthread_create(&posters[i].thread, NULL, poster_run, &posters[i]) == 0);
    }
    loop_run(l);
    for (unsigned i = 0; i < POSTERS; i++)
        (void)pthread_join(posters[i].thread, NULL);
    CHECK(tally.total == POSTS * POSTERS);
    CHECK(tally.in_order);
    loop_close(l);
}

struct ticker {
    loop *loop;
    timer *timer;
    unsigned count;
    unsigned stop_at;
};

static void ticker_on(void *data)
{
    struct ticker *t = data;
    if (++t->count == t->stop_at)
        loop_stop(t->loop);
}

TEST(loop_timers_repeat_are_replaced_and_stop)
{
    loop *l = NULL;
    CHECK(loop_open(&l).code == OK);
    struct ticker t = {.loop = l, .stop_at = 3};
    CHECK(timer_open(&t.timer, l, ticker_on, &t).code == OK);
    timer_start(t.timer, 100000, 0);
    uint64_t before_ms = loop_now_ms(l);
    timer_start(t.timer, 5, 5);
    loop_run(l);
    CHECK(t.count == 3);
    CHECK(loop_now_ms(l) - before_ms >= 15);
    CHECK(loop_now_ms(l) - before_ms < 2000);
    timer_stop(t.timer);
    loop_turn(l, 30);
    CHECK(t.count == 3);
    timer_start(t.timer, 1, 0);
    timer_close(t.timer);
    timer_close(NULL);
    loop_turn(l, 10);
    CHECK(t.count == 3);
    loop_close(l);
}

struct yielder {
    loop *loop;
    unsigned runs;
    unsigned posts_seen;
    unsigned posts_seen_at_100;
};

static void yielder_post(void *data)
{
    struct yielder *y = data;
    y->posts_seen++;
    if (y->runs < 100 && loop_post(y->loop, yielder_post, y).code != OK)
        abort();
}

static void yielder_run(void *data)
{
    struct yielder *y = data;
    if (++y->runs == 100) {
        y->posts_seen_at_100 = y->posts_seen;
        loop_stop(y->loop);
        return;
    }
    if (loop_defer(y->loop, yielder_run, y).code != OK)
        abort();
}

static void nothing(void *data)
{
    (void)data;
}

TEST(loop_defer_lets_io_run_between_and_does_not_spin)
{
    loop *l = NULL;
    CHECK(loop_open(&l).code == OK);
    struct yielder y = {.loop = l};
    // A post that posts itself again is io of every turn: it has to get its share.
    CHECK(loop_post(l, yielder_post, &y).code == OK);
    CHECK(loop_defer(l, yielder_run, &y).code == OK);
    CHECK(y.runs == 0);
    loop_run(l);
    CHECK(y.runs == 100);
    CHECK(y.posts_seen_at_100 >= 90);
    loop_close(l);
}

TEST(loop_waits_without_work_when_nothing_is_deferred)
{
    loop *l = NULL;
    CHECK(loop_open(&l).code == OK);
    CHECK(loop_defer(l, nothing, NULL).code == OK);
    loop_turn(l, 100);
    clock_t cpu_before = clock();
    uint64_t before_ms = loop_now_ms(l);
    loop_turn(l, 200);
    CHECK(loop_now_ms(l) - before_ms >= 190);
    CHECK(clock() - cpu_before < CLOCKS_PER_SEC / 20);
    loop_close(l);
}

struct job {
    unsigned worked, done;
    pthread_t worker;
};

static void job_work(void *data)
{
    struct job *j = data;
    const struct timespec while_closing = {.tv_nsec = 20 * 1000 * 1000};
    (void)nanosleep(&while_closing, NULL);
    j->worker = pthread_self();
    j->worked++;
}

static void job_done(void *data)
{
    struct job *j = data;
    j->done += j->worked;
}

TEST(loop_work_runs_elsewhere_and_close_waits_for_it)
{
    loop *l = NULL;
    CHECK(loop_open(&l).code == OK);
    struct job j = {0};
    CHECK(loop_work(l, job_work, job_done, &j).code == OK);
    loop_close(l);
    CHECK(j.worked == 1 && j.done == 1);
    CHECK(!pthread_equal(j.worker, pthread_self()));
}

static void signal_seen(void *data, int number)
{
    *(int *)data = number;
}

TEST(loop_signals_arrive_on_the_loop)
{
    loop *l = NULL;
    int seen = 0;
    signal_watch *s = NULL;
    CHECK(loop_open(&l).code == OK);
    CHECK(signal_watch_open(&s, l, SIGUSR1, signal_seen, &seen).code == OK);
    CHECK(raise(SIGUSR1) == 0);
    CHECK(seen == 0);
    for (unsigned i = 0; i < 10 && seen == 0; i++)
        loop_turn(l, 100);
    CHECK(seen == SIGUSR1);
    signal_watch_close(s);
    loop_close(l);
}

struct hooks {
    unsigned before, after;
    bool paired;
};

static void hook_before(void *data)
{
    struct hooks *h = data;
    h->paired = h->paired && h->before == h->after;
    h->before++;
}

static void hook_after(void *data)
{
    struct hooks *h = data;
    h->after++;
    h->paired = h->paired && h->before == h->after;
}

static void busy(void *data)
{
    (void)data;
    const struct timespec busy_for = {.tv_nsec = 20 * 1000 * 1000};
    (void)nanosleep(&busy_for, NULL);
}

TEST(loop_measures_what_keeps_it_from_its_next_event)
{
    loop *l = NULL;
    struct hooks h = {.paired = true};
    loop_delays d;
    CHECK(loop_open(&l).code == OK);
    loop_set_hooks(l, hook_before, hook_after, &h);
    CHECK(loop_post(l, busy, NULL).code == OK);
    loop_turn(l, 100);
    for (unsigned i = 0; i < 5; i++)
        loop_turn(l, 5);
    CHECK(h.paired && h.before >= 6);
    loop_delays_read(l, &d);
    uint64_t slow = 0, all = 0;
    for (size_t i = 0; i < COUNT(d.count); i++) {
        all += d.count[i];
        slow += i >= 15 ? d.count[i] : 0; // bucket 15 is 16.4 ms to 32.8 ms
    }
    CHECK(slow >= 1 && all >= 5 && slow < all);
    loop_close(l);
}

TEST(loop_survives_every_failed_allocation)
{
    for (uint64_t k = 0;; k++) {
        loop *l = NULL;
        timer *t = NULL;
        signal_watch *s = NULL;
        int seen = 0;
        struct job j = {0};
        fault_now = (fault_plan){.what = FAULT_MEMORY, .after = k, .times = 1};
        if (loop_open(&l).code == OK) {
            (void)!loop_post(l, nothing, NULL).code;
            (void)!loop_defer(l, nothing, NULL).code;
            (void)!loop_work(l, job_work, job_done, &j).code;
            if (timer_open(&t, l, nothing, NULL).code == OK)
                timer_start(t, 1, 0);
            (void)!signal_watch_open(&s, l, SIGUSR2, signal_seen, &seen).code;
            loop_turn(l, 5);
            timer_close(t);
            signal_watch_close(s);
            loop_close(l);
        }
        if (fault_now.seen <= k)
            break;
    }
    fault_now = (fault_plan){0};
}
