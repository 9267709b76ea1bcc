// What a worker tells the control process by itself: lines of guests, counts, requests.
#include "base/clock.h"
#include "base/str.h"
#include "worker/worker_inner.h"

#include <stdio.h>
#include <stdlib.h>

enum { COUNTS_PER_MESSAGE = 500 };

// A link that takes nothing ends soon, and we with it; until then what is lost is counted.
static void tell_sent(worker *w, err e)
{
    if (e.code != OK)
        w->output_dropped++;
}

void tell_flush(worker *w)
{
    w->flushing = false;
    timer_stop(w->flush);
    if (w->output_dropped > 0) {
        char text[96];
        int len =
            snprintf(text, sizeof(text), "%llu lines of output were dropped here: too many at once",
                     (unsigned long long)w->output_dropped);
        worker_output line = {
            .stream = STR("dropped"), .text = {text, (size_t)len}, .real_ms = clock_real_ms()};
        w->output_dropped = 0;
        link_add(&w->output, MSG_worker_output, &line);
    }
    if (w->output.len > 0)
        tell_sent(w, channel_send(w->link, buf_str(&w->output), NULL, 0));
    buf_clear(&w->output);
}

static void tell_on_flush(void *data)
{
    tell_flush(data);
}

static void output_add(worker *w, const worker_output *line)
{
    if (w->output.len + line->text.len > OUTPUT_BYTES_MAX) {
        w->output_dropped++;
        return;
    }
    link_add(&w->output, MSG_worker_output, line);
    if (w->flushing)
        return;
    w->flushing = true;
    timer_start(w->flush, OUTPUT_FLUSH_MS, 0);
}

void tell_output(worker *w, const function *f, str request, str stream, str text)
{
    if (text.len == 0 && str_is(stream, STR("error")))
        return;
    output_add(w, &(worker_output){
                      .project = f->project,
                      .function = f->id,
                      .request = request,
                      .stream = stream,
                      .text = text,
                      .real_ms = clock_real_ms(),
                  });
}

void tell_request(worker *w, http_exchange *x, unsigned status, uint64_t bytes, uint64_t us)
{
    const http_request *r = http_request_of(x);
    char text[1024];
    int len = snprintf(text, sizeof(text), "%.*s %.*s%.*s %u %llu bytes %llu us",
                       STR_ARG(str_first(r->method, 16)), STR_ARG(str_first(r->host_port, 255)),
                       STR_ARG(str_first(r->path, 512)), status, (unsigned long long)bytes,
                       (unsigned long long)us);
    output_add(w, &(worker_output){.stream = STR("request"),
                                   .text = {text, (size_t)len},
                                   .real_ms = clock_real_ms()});
}

// The loop's delays are counted in powers of two: the upper end of the one that holds p99.9.
static uint64_t kept_us_p999(worker *w)
{
    loop_delays d;
    loop_delays_read(w->loop, &d);
    uint64_t total = 0, seen = 0;
    for (size_t i = 0; i < COUNT(d.count); i++)
        total += d.count[i];
    for (size_t i = 0; i < COUNT(d.count); i++) {
        seen += d.count[i];
        if (seen * 1000 >= total * 999)
            return 1ULL << i;
    }
    return 0;
}

static void functions_tell(worker *w)
{
    call_count_record list[COUNTS_PER_MESSAGE];
    worker_counts counts = {
        .slot = w->slot, .functions = {.at = list}, .kept_us_p999 = kept_us_p999(w)};
    size_t at = 0;
    str key;
    void *value;
    bool more = true;
    while (more) {
        counts.functions.count = 0;
        while (counts.functions.count < COUNTS_PER_MESSAGE &&
               (more = map_next(w->functions, &at, &key, &value))) {
            function *f = value;
            if (f->calls == 0)
                continue;
            list[counts.functions.count++] =
                (call_count_record){f->id, f->calls, f->failures, f->time_us};
            f->calls = f->failures = f->time_us = 0;
        }
        if (counts.functions.count == 0 && !w->gateway_changed)
            return;
        counts.gateway_requests = w->gateway_requests;
        counts.gateway_failures = w->gateway_failures;
        w->gateway_requests = w->gateway_failures = 0;
        w->gateway_changed = false;
        tell_sent(w, link_send(w->link, MSG_worker_counts, &counts, NULL, 0));
    }
}

static void backends_tell(worker *w)
{
    call_count_record list[64];
    worker_backends counts = {.slot = w->slot, .backends = {.at = list}};
    size_t at = 0;
    str key;
    void *value;
    while (counts.backends.count < COUNT(list) && map_next(w->tallies, &at, &key, &value)) {
        tally *t = value;
        if (!t->changed)
            continue;
        list[counts.backends.count++] =
            (call_count_record){t->node, t->requests, t->failures, t->time_us};
        t->requests = t->failures = t->time_us = 0;
        t->changed = false;
    }
    if (counts.backends.count > 0)
        tell_sent(w, link_send(w->link, MSG_worker_backends, &counts, NULL, 0));
}

void tell_counts(worker *w)
{
    functions_tell(w);
    backends_tell(w);
}

static void tell_on_counts(void *data)
{
    worker *w = data;
    tell_counts(w);
    functions_sweep(w);
    doors_sweep(w);
}

static void tell_on_beat(void *data)
{
    worker *w = data;
    atomic_store_explicit(&w->page->beat_ms, clock_now_ms(), memory_order_release);
}

err tell_open(worker *w)
{
    buf_open(&w->output, CHANNEL_FRAME_BYTES_MAX);
    TRY(timer_open(&w->flush, w->loop, tell_on_flush, w));
    TRY(timer_open(&w->counts, w->loop, tell_on_counts, w));
    TRY(timer_open(&w->beat, w->loop, tell_on_beat, w));
    timer_start(w->counts, COUNTS_MS, COUNTS_MS);
    timer_start(w->beat, BEAT_MS, BEAT_MS);
    tell_on_beat(w);
    return ok();
}
