// One event loop per thread: timers, work posted from other threads, helper threads, signals.
#pragma once
#include "base/base.h"

typedef struct loop loop;
// The loop belongs to the thread that runs it; only loop_post() may be called from another.
err loop_open(loop **out) MUST_USE;
void loop_run(loop *l); // until loop_stop(); runs again afterwards if called again
void loop_turn(loop *l, uint64_t wait_ms_max); // one turn, for tests and for closing
void loop_stop(loop *l);                       // from the loop's own thread
// Runs what is posted, deferred and at work, ends connections left by conn_close_after_writes,
// turns until every handle's close callback has run, then frees. What an owner has left open is a
// bug: it aborts. NULL is fine.
void loop_close(loop *l);
uint64_t loop_now_ms(loop *l); // monotonic, as of this turn

// Any thread: `run(data)` is called once on the loop's thread, never before this returns. Order is
// kept.
err loop_post(loop *l, void (*run)(void *data), void *data) MUST_USE;
// Loop's thread: once on the next turn, after pending io was served (fair re-queueing).
err loop_defer(loop *l, void (*run)(void *data), void *data) MUST_USE;
// A helper thread calls work(data), then the loop calls done(data). Work owns what it reads.
err loop_work(loop *l, void (*work)(void *data), void (*done)(void *data), void *data) MUST_USE;

typedef struct timer timer;
err timer_open(timer **out, loop *l, void (*on)(void *data), void *data) MUST_USE;
void timer_start(timer *t,
                 uint64_t after_ms,
                 uint64_t repeat_ms); // again: replaces; repeat 0 = once
void timer_stop(timer *t);
void timer_close(timer *t); // NULL is fine; no callback follows

typedef struct signal_watch signal_watch;
err signal_watch_open(signal_watch **out,
                      loop *l,
                      int number,
                      void (*on)(void *data, int number),
                      void *data) MUST_USE;
void signal_watch_close(signal_watch *s);

// How long callbacks kept the loop from its next event: a histogram of powers of two.
// count[i] is of turns that took at least 2^(i-1) and less than 2^i microseconds.
typedef struct loop_delays {
    uint64_t count[32];
    uint64_t since_ms;
} loop_delays;
void loop_delays_read(loop *l, loop_delays *out);
// A pair of hooks around the wait for events (watch-dogs, ticks): `before` when the loop goes idle,
// `after` when it wakes.
void loop_set_hooks(loop *l,
                    void (*before_wait)(void *data),
                    void (*after_wait)(void *data),
                    void *data);
