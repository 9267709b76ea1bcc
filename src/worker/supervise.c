// Starts the worker processes, watches that they live and turn, and puts new ones in their place.
//
// The happy path is: 1. a slot's process starts with a channel; 2. it gets its start, the snapshot,
// its sockets;
// 3. it says ready. What can fail: it ends (its successor starts at once, later and later when it
// keeps ending within a second), or its loop stands still for HANG_MS (it is killed, then as
// before). Connections wait in the sockets' backlogs meanwhile, since we hold those too.
#include "base/clock.h"
#include "base/str.h"
#include "io/sandbox.h"
#include "worker/workers_inner.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { ENVIRONMENT_MAX = 16 };

// A worker needs nothing of our environment, and should not know it; sanitizers' settings aside.
static void environment_make(const char **out)
{
    static const char *const kept[] = {"ASAN_",   "UBSAN_",         "LSAN_", "TSAN_",
                                       "MALLOC_", "RUST_BACKTRACE", "LC_",   "TZ"};
    extern char **environ;
    size_t count = 0;
    out[count++] = "PATH=/usr/bin:/bin";
    for (char **at = environ; *at != NULL && count < ENVIRONMENT_MAX - 1; at++)
        for (size_t i = 0; i < COUNT(kept); i++)
            if (str_starts(str_of(*at), str_of(kept[i]))) {
                out[count++] = *at;
                break;
            }
    out[count] = NULL;
}

err slot_send(slot *s, message_kind kind, const void *fields, const int *fd)
{
    if (s->link == NULL)
        return fail(ERR_CLOSED, 0, "no worker");
    return link_send(s->link, kind, fields, fd, fd != NULL ? 1 : 0);
}

void slot_send_listen(slot *s, const listen_set *l)
{
    worker_listen m = {.role = l->role, .door = l->door};
    if (slot_send(s, MSG_worker_listen, &m, &l->fds[s->number]).code != OK)
        slot_end(s, "takes no messages");
}

void slot_end(slot *s, const char *why)
{
    if (s->proc == NULL || s->why != NULL)
        return;
    s->why = why;
    proc_kill(s->proc, SIGKILL);
}

static void slot_take(slot *s, str message)
{
    union {
        worker_ready ready;
        worker_module_want want;
        worker_relay relay;
        worker_output output;
        worker_counts counts;
        worker_backends backends;
    } m;
    workers *w = s->workers;
    message_header header;
    if (message_read_header(message, &header).code != OK || header.kind >= MESSAGE_KINDS ||
        message_infos[header.kind].request->bytes > sizeof(m) ||
        link_read(w->memory, message, (message_kind)header.kind, &m).code != OK) {
        slot_end(s, "sent what is no message");
        return;
    }
    switch (header.kind) {
    case MSG_worker_ready:
        s->ready = true;
        s->snapshot = m.ready.snapshot;
        break;
    case MSG_worker_module_want:
        wants_on_want(s, &m.want);
        break;
    case MSG_worker_relay:
        wants_on_relay(s, &m.relay);
        break;
    case MSG_worker_output:
        if (m.output.project.len == 0 && str_is(m.output.stream, STR("request")))
            log_line(w->settings.log, LOG_INFO, "request", "line", m.output.text, NULL);
        else if (w->events.on_output != NULL)
            w->events.on_output(w->events.data, &m.output);
        break;
    case MSG_worker_counts:
        w->gateway_requests += m.counts.gateway_requests;
        w->gateway_failures += m.counts.gateway_failures;
        if (w->events.on_counts != NULL)
            w->events.on_counts(w->events.data, &m.counts);
        break;
    case MSG_worker_backends:
        for (size_t i = 0; i < m.backends.backends.count; i++) {
            const call_count_record *from = &m.backends.backends.at[i];
            backend_count *to = map_get(w->backend_counts, from->function);
            if (to == NULL) {
                to = calloc(1, sizeof(*to));
                if (to == NULL || map_put(w->backend_counts, from->function, to, NULL).code != OK) {
                    free(to);
                    continue;
                }
            }
            to->requests += from->calls;
            to->failures += from->failures;
        }
        break;
    default:
        slot_end(s, "sent a message that is not a worker's");
    }
}

static void slot_on_frame(void *data, channel *c, str bytes, const int *fds, size_t fd_count)
{
    (void)c;
    slot *s = data;
    for (size_t i = 0; i < fd_count; i++)
        (void)close(fds[i]);
    str message;
    while (s->why == NULL && link_next(&bytes, &message)) {
        arena_reset(s->workers->memory);
        slot_take(s, message);
    }
}

static void slot_on_link_end(void *data, channel *c)
{
    slot *s = data;
    channel_close(c);
    s->link = NULL;
    s->ready = false; // its end mostly follows; if not, the watch makes one
}

static void slot_on_output(void *data, proc *p, int stream, str bytes)
{
    (void)p;
    (void)stream;
    slot *s = data;
    while (bytes.len > 0)
        log_line(s->workers->settings.log, LOG_WARN, "worker says", "text",
                 str_first(str_cut(&bytes, '\n'), 500), NULL);
}

static void slot_forget(slot *s)
{
    channel_close(s->link);
    s->link = NULL;
    s->proc = NULL;
    s->ready = false;
    if (s->page != NULL)
        (void)munmap(s->page, sizeof(*s->page));
    s->page = NULL;
    fd_drop(&s->page_fd);
    s->page_fd = -1;
}

// What ran when it ended, from the page it can not write any more. It may hold anything.
static void slot_tell_lost(slot *s, const char *why)
{
    workers *w = s->workers;
    worker_page page;
    memcpy(&page, s->page, sizeof(page));
    page.function[sizeof(page.function) - 1] = page.request[sizeof(page.request) - 1] = '\0';
    str function = page.running != 0 ? str_of(page.function) : STR("");
    str request = page.running != 0 ? str_of(page.request) : STR("");
    log_line(w->settings.log, LOG_WARN, "worker lost", "why", str_of(why), "function", function,
             "path", request, NULL);
    if (w->events.on_lost != NULL)
        w->events.on_lost(w->events.data, s->number, function, request, str_of(why));
}

static void slot_try(slot *s)
{
    err e = slot_start(s);
    if (e.code == OK)
        return;
    log_fail(s->workers->settings.log, "worker did not start", e, NULL);
    timer_start(s->restart, RESTART_WAIT_MS_MAX, 0);
}

static void slot_on_restart(void *data)
{
    slot *s = data;
    if (!s->workers->closing && s->proc == NULL)
        slot_try(s);
}

static void slot_on_end(void *data, proc *p, const proc_end *end)
{
    (void)p;
    slot *s = data;
    workers *w = s->workers;
    char why[128];
    if (s->why != NULL)
        (void)snprintf(why, sizeof(why), "ended by us: %s", s->why);
    else if (end->signal != 0)
        (void)snprintf(why, sizeof(why), "ended by signal %d", end->signal);
    else
        (void)snprintf(why, sizeof(why), "ended with status %d", end->status);
    if (!w->closing)
        slot_tell_lost(s, why);
    places_forget(w->places, s->number);
    slot_forget(s);
    if (w->closing) {
        workers_slot_gone(w);
        return;
    }
    w->restarts++;
    uint64_t lived = loop_now_ms(w->settings.loop) - s->started_ms;
    s->failures = lived < RESTART_FAST_MS ? s->failures + 1 : 0;
    if (s->failures <= 1) {
        slot_try(s);
        return;
    }
    uint64_t wait = s->failures > 8 ? RESTART_WAIT_MS_MAX : 50ULL << (s->failures - 2);
    timer_start(s->restart, wait < RESTART_WAIT_MS_MAX ? wait : RESTART_WAIT_MS_MAX, 0);
}

static err slot_greet(slot *s)
{
    workers *w = s->workers;
    worker_start m = {
        .slot = s->number,
        .slots = w->count,
        .universe = w->universe,
        .certificate_pem = w->identities[0].certificate,
        .key_pem = w->identities[0].key,
        .gateway_certificate_pem = w->identities[1].certificate,
        .gateway_key_pem = w->identities[1].key,
        .ca_pem = w->ca_pem,
        .ticket_key = {w->ticket_key, sizeof(w->ticket_key)},
        .request_log = w->settings.request_log,
        .module_idle_ms = w->settings.module_idle_ms,
    };
    for (size_t i = 0; i < LISTENS_MAX; i++)
        m.sockets += w->listens[i].fds != NULL;
    const int shared[] = {s->page_fd, w->places_fd};
    TRY(link_send(s->link, MSG_worker_start, &m, shared, COUNT(shared)));
    denied_tell(s); // before it gets a door
    worker_snapshot snapshot = {.number = w->snapshot_number, .bytes = w->snapshot_bytes};
    TRY(slot_send(s, MSG_worker_snapshot, &snapshot, &w->snapshot_fd));
    for (size_t i = 0; i < LISTENS_MAX; i++)
        if (w->listens[i].fds != NULL)
            slot_send_listen(s, &w->listens[i]);
    return ok();
}

static err slot_run(slot *s, int link)
{
    workers *w = s->workers;
    const char *environment[ENVIRONMENT_MAX];
    environment_make(environment);
    const char *const argv[] = {w->program, "worker", NULL};
    proc_settings settings = {
        .argv = argv,
        // What runs now, though its path may hold another one by now.
        .file = w->program_is_ours ? "/proc/self/exe" : NULL,
        .environment = environment,
        .pass_fds = &link,
        .pass_count = 1,
        .own_group = true,
        .merge_output = true,
        .on_output = slot_on_output,
        .on_end = slot_on_end,
        .data = s,
    };
    return proc_start(&s->proc, w->settings.loop, &settings);
}

err slot_start(slot *s)
{
    static const channel_events events = {.on_frame = slot_on_frame, .on_end = slot_on_link_end};
    workers *w = s->workers;
    int pair[2];
    void *page;
    TRY(memory_shared("ctau-worker", sizeof(worker_page), &s->page_fd, &page));
    s->page = page;
    TRY(channel_pair(pair));
    OWNED(fd_drop) int other = pair[1];
    err e = channel_open(&s->link, w->settings.loop, pair[0], &events, s);
    if (e.code == OK)
        e = slot_run(s, other);
    if (e.code != OK) {
        slot_forget(s);
        return e;
    }
    s->life++;
    s->why = NULL;
    s->started_ms = loop_now_ms(w->settings.loop);
    atomic_store(&s->page->beat_ms, clock_now_ms());
    e = slot_greet(s);
    if (e.code != OK)
        slot_end(s, "takes no messages"); // its end brings the next
    return ok();
}

static void watch_slot(slot *s, uint64_t now)
{
    if (s->proc == NULL || s->why != NULL)
        return;
    if (s->link == NULL) {
        slot_end(s, "closed its link");
        return;
    }
    uint64_t beat = atomic_load_explicit(&s->page->beat_ms, memory_order_acquire);
    if (s->ready ? now > beat + HANG_MS : now > s->started_ms + READY_MS)
        slot_end(s, s->ready ? "its loop stood still" : "it was not ready in time");
}

// When we were late ourselves (a stopped machine, a suspended laptop), nobody else is judged.
static void watch_on_tick(void *data)
{
    workers *w = data;
    uint64_t now = clock_now_ms();
    bool late = now > w->watched_ms + 2 * WATCH_MS;
    w->watched_ms = now;
    for (size_t i = 0; !late && !w->closing && i < w->count; i++)
        watch_slot(&w->slots[i], now);
    wants_sweep(w);
    denied_look(w);
}

err supervise_open(workers *w)
{
    for (size_t i = 0; i < w->count; i++) {
        w->slots[i] = (slot){.workers = w, .number = i, .page_fd = -1};
        TRY(timer_open(&w->slots[i].restart, w->settings.loop, slot_on_restart, &w->slots[i]));
    }
    TRY(timer_open(&w->watch, w->settings.loop, watch_on_tick, w));
    w->watched_ms = clock_now_ms();
    return ok();
}
