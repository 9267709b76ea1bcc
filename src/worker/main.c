// A worker process from start to end: what the control process sends, in the order in which it
// comes.
//
// The happy path is: 1. worker.start with the shared page: certificates, sandbox, engine; 2. a
// snapshot; 3. sockets;
// 4. worker.ready, and serving until 5. worker.stop: open answers get END_MS. What can fail:
// anything before ready ends the process with a line on stderr, and the control process starts
// another; a link that ends ends us too.
#include "base/clock.h"
#include "base/str.h"
#include "io/sandbox.h"
#include "mesh/deny.h"
#include "worker/worker_inner.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINK_FD = 3, END_MS = 500, END_STEP_MS = 10 };

// Leaves at once: what the process holds goes with it.
__attribute__((noreturn)) static void worker_die(const char *what, err e)
{
    if (e.code != OK)
        dprintf(2, "worker: %s: %s: %s\n", what, err_name(e.code), e.what);
    _exit(e.code == OK ? 0 : 1);
}

static str text_keep(str s)
{
    char *copy = malloc(s.len + 1);
    if (copy == NULL)
        worker_die("start", fail(ERR_MEMORY, 0, "start worker"));
    memcpy(copy, s.at, s.len);
    copy[s.len] = '\0';
    return (str){copy, s.len};
}

static err worker_begin(worker *w, const worker_start *m, const int *fds)
{
    void *page, *shared;
    TRY(memory_map_shared(fds[0], sizeof(worker_page), &page));
    TRY(memory_map_shared(fds[1], sizeof(places), &shared));
    if (m->slot >= PLACES_SLOTS_MAX)
        return fail(ERR_LIMIT, 0, "too many workers");
    w->page = page;
    w->places = shared;
    w->slot = m->slot;
    w->slots = m->slots;
    w->universe = (char *)text_keep(m->universe).at;
    w->ca_pem = text_keep(m->ca_pem);
    w->ticket_key = text_keep(m->ticket_key);
    w->request_log = m->request_log;
    w->module_idle_ms = m->module_idle_ms != 0 ? m->module_idle_ms : MODULE_IDLE_MS;
    if (m->certificate_pem.len > 0)
        TRY(doors_identity(w, false, m->certificate_pem, m->key_pem));
    if (m->gateway_certificate_pem.len > 0)
        TRY(doors_identity(w, true, m->gateway_certificate_pem, m->gateway_key_pem));
    TRY(map_open(&w->functions, FUNCTIONS_MAX));
    TRY(map_open(&w->relays, 4096));
    TRY(map_open(&w->tallies, 1024));
    TRY(http_client_open(&w->client, w->loop, 64));
    TRY(sandbox_worker());
    vm_settings settings = {.calls_max = VM_CALLS_MAX, .warm_slots_max = WARM_SLOTS_MAX};
    TRY(vm_open(&w->vm, &settings));
    TRY(tell_open(w));
    w->started = true;
    return ok();
}

// No call holds anything of the former snapshot, so it can go at once.
static err worker_take_snapshot(worker *w, const worker_snapshot *m, int fd)
{
    snapshot *fresh;
    TRY(snapshot_map(fd, m->bytes, &fresh));
    function **by_index = calloc(fresh->functions.count + 1, sizeof(function *));
    if (by_index == NULL) {
        snapshot_unmap(fresh);
        return fail(ERR_MEMORY, 0, "take snapshot");
    }
    free(w->by_index);
    snapshot_unmap(w->snapshot);
    w->snapshot = fresh;
    w->by_index = by_index;
    functions_prefetch(w, fresh);
    worker_ready ready = {.slot = w->slot, .snapshot = fresh->number};
    return link_send(w->link, MSG_worker_ready, &ready, NULL, 0);
}

static void worker_on_end_step(void *data)
{
    worker *w = data;
    if (doors_connections(w) > 0 && loop_now_ms(w->loop) < w->end_ms)
        return;
    tell_counts(w);
    tell_flush(w);
    loop_stop(w->loop);
}

static err worker_end(worker *w)
{
    if (w->stopping)
        return ok();
    w->stopping = true;
    doors_drain(w);
    w->end_ms = loop_now_ms(w->loop) + END_MS;
    TRY(timer_open(&w->end, w->loop, worker_on_end_step, w));
    timer_start(w->end, 0, END_STEP_MS);
    return ok();
}

// One message from the control process. Its descriptors are closed by the caller unless taken.
static err worker_take(worker *w, str message, int *fds)
{
    union {
        worker_start start;
        worker_snapshot snapshot;
        worker_listen listen;
        worker_unlisten unlisten;
        worker_identity identity;
        worker_denied denied;
        worker_module module;
        worker_relayed relayed;
    } m;
    message_header header;
    TRY(message_read_header(message, &header));
    if (header.kind >= MESSAGE_KINDS || (!w->started && header.kind != MSG_worker_start))
        return fail(ERR_SYNTAX, 0, "unexpected message");
    if (header.kind == MSG_worker_stop)
        return worker_end(w);
    if (message_infos[header.kind].request->bytes > sizeof(m))
        return fail(ERR_SYNTAX, 0, "unexpected message");
    TRY(link_read(w->memory, message, (message_kind)header.kind, &m));
    switch (header.kind) {
    case MSG_worker_start:
        return w->started ? fail(ERR_SYNTAX, 0, "started twice") : worker_begin(w, &m.start, fds);
    case MSG_worker_snapshot:
        return worker_take_snapshot(w, &m.snapshot, fds[0]);
    case MSG_worker_listen:
        return door_open(w, (worker_role)m.listen.role, m.listen.door, fd_move(&fds[0]));
    case MSG_worker_unlisten:
        door_shut(w, m.unlisten.door);
        return ok();
    case MSG_worker_identity:
        return doors_identity(w, m.identity.gateway, m.identity.certificate_pem,
                              m.identity.key_pem);
    case MSG_worker_denied:
        deny_close(w->denied);
        w->denied = NULL;
        return deny_of(&w->denied, m.denied.list);
    case MSG_worker_module:
        functions_on_module(w, &m.module, fds[0]);
        return ok();
    case MSG_worker_relayed:
        relay_on_reply(w, &m.relayed);
        return ok();
    default:
        return fail(ERR_SYNTAX, 0, "unexpected message");
    }
}

static void worker_on_frame(void *data, channel *c, str bytes, const int *fds, size_t fd_count)
{
    (void)c;
    worker *w = data;
    int taken[2] = {-1, -1}; // no message has more
    for (size_t i = 0; i < fd_count; i++)
        if (i < COUNT(taken))
            taken[i] = fds[i];
        else
            (void)close(fds[i]);
    str message;
    while (link_next(&bytes, &message)) {
        arena_reset(w->memory);
        err e = worker_take(w, message, taken);
        if (e.code != OK)
            worker_die("message from the control process", e);
    }
    for (size_t i = 0; i < COUNT(taken); i++)
        fd_drop(&taken[i]);
}

static void worker_on_link_end(void *data, channel *c)
{
    (void)data;
    (void)c;
    worker_die("end", ok()); // nobody is there who could feed or watch us
}

static void worker_close(worker *w)
{
    doors_close(w);
    http_client_close(w->client);
    functions_close(w);
    map_close(w->relays);
    size_t at = 0;
    str key;
    void *value;
    while (map_next(w->tallies, &at, &key, &value))
        free(value);
    map_close(w->tallies);
    deny_close(w->denied);
    timer_close(w->beat);
    timer_close(w->flush);
    timer_close(w->counts);
    timer_close(w->end);
}

int worker_main(void)
{
    static const channel_events events = {.on_frame = worker_on_frame,
                                          .on_end = worker_on_link_end};
    worker w = {.started = false};
    (void)signal(SIGINT, SIG_IGN); // Ctrl-C is for the control process, which then stops us
    (void)signal(SIGTERM, SIG_IGN);
    (void)signal(SIGPIPE, SIG_IGN);
    err e = loop_open(&w.loop);
    if (e.code == OK)
        e = arena_open(&w.memory, LINK_ARENA_BYTES_MAX);
    if (e.code == OK)
        e = channel_open(&w.link, w.loop, LINK_FD, &events, &w);
    if (e.code != OK)
        worker_die("start", e);
    loop_run(w.loop);
    worker_close(&w);
    loop_turn(w.loop, 0); // what was sent last leaves, and handles close
    channel_close(w.link);
    worker_die("end", ok());
    return 0;
}
