// The processes that run guests, as the control process handles them: opened, fed, closed.
#include "worker/workers.h"

#include "base/clock.h"
#include "base/str.h"
#include "io/conn.h"
#include "io/sandbox.h"
#include "worker/workers_inner.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static str text_keep(str s)
{
    char *copy = malloc(s.len + 1);
    if (copy == NULL)
        return (str){NULL, 0};
    if (s.len > 0)
        memcpy(copy, s.at, s.len);
    copy[s.len] = '\0';
    return (str){copy, s.len};
}

static void secret_drop(str *s)
{
    if (s->at != NULL)
        explicit_bzero((char *)s->at, s->len);
    free((char *)s->at);
    *s = (str){NULL, 0};
}

static void workers_free(workers *w)
{
    publish_cancel(w);
    for (size_t i = 0; i < w->count; i++)
        timer_close(w->slots[i].restart);
    timer_close(w->watch);
    timer_close(w->end);
    for (size_t i = 0; i < LISTENS_MAX; i++) {
        for (size_t k = 0; w->listens[i].fds != NULL && k < w->count; k++)
            fd_drop(&w->listens[i].fds[k]);
        free(w->listens[i].fds);
    }
    fd_drop(&w->snapshot_fd);
    fd_drop(&w->places_fd);
    if (w->places != NULL)
        (void)munmap(w->places, sizeof(*w->places));
    wants_close(w);
    size_t at = 0;
    str key;
    void *value;
    while (w->backend_counts != NULL && map_next(w->backend_counts, &at, &key, &value))
        free(value);
    map_close(w->backend_counts);
    for (size_t i = 0; i < COUNT(w->identities); i++) {
        secret_drop(&w->identities[i].certificate);
        secret_drop(&w->identities[i].key);
    }
    arena_close(w->routes_memory);
    arena_close(w->backends_memory);
    arena_close(w->memory);
    free((char *)w->universe.at);
    free((char *)w->ca_pem.at);
    free(w->program);
    explicit_bzero(w->ticket_key, sizeof(w->ticket_key));
    free(w);
}

static err workers_prepare(workers *w, const workers_settings *settings)
{
    w->settings = *settings;
    w->snapshot_fd = w->places_fd = -1;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    w->count = settings->slots != 0 ? settings->slots : cores > 0 ? (size_t)cores : 1;
    if (w->count > WORKERS_MAX)
        w->count = WORKERS_MAX;
    w->universe = text_keep(settings->universe);
    w->ca_pem = text_keep(settings->ca_pem);
    w->program = (char *)text_keep(str_of(settings->program)).at;
    struct stat named, ours;
    w->program_is_ours = stat(settings->program, &named) == 0 &&
                         stat("/proc/self/exe", &ours) == 0 && named.st_ino == ours.st_ino &&
                         named.st_dev == ours.st_dev;
    random_bytes(w->ticket_key, sizeof(w->ticket_key));
    if (w->universe.at == NULL || w->ca_pem.at == NULL || w->program == NULL)
        return fail(ERR_MEMORY, 0, "open workers");
    TRY(arena_open(&w->memory, LINK_ARENA_BYTES_MAX));
    TRY(map_open(&w->wants, WANTS_MAX));
    void *shared;
    TRY(memory_shared("ctau-places", sizeof(places), &w->places_fd, &shared));
    w->places = shared;
    TRY(map_open(&w->tickets, WANTS_MAX));
    TRY(map_open(&w->relays, RELAYS_MAX));
    TRY(map_open(&w->backend_counts, 1024));
    return supervise_open(w);
}

err workers_open(workers **out, const workers_settings *settings)
{
    workers *w = calloc(1, sizeof(*w));
    if (w == NULL)
        return fail(ERR_MEMORY, 0, "open workers");
    err e = workers_prepare(w, settings);
    if (e.code != OK) {
        workers_free(w);
        return e;
    }
    *out = w;
    return ok();
}

// ---- sockets

static void listen_close(workers *w, listen_set *l)
{
    for (size_t i = 0; i < w->count; i++)
        fd_drop(&l->fds[i]);
    free(l->fds);
    l->fds = NULL;
}

static err listen_fill(workers *w, listen_set *l, const char *address, uint16_t port)
{
    // A shared socket may join another program's: one that shares nothing tells whether the port is
    // free.
    if (port != 0) {
        OWNED(fd_drop) int probe = -1;
        TRY(socket_listen(address, port, false, &probe));
    }
    for (size_t i = 0; i < w->count; i++) {
        TRY(socket_listen(address, port, true, &l->fds[i]));
        if (port == 0)
            port = socket_port(l->fds[i]);
    }
    l->port = port;
    return ok();
}

err workers_listen(workers *w, worker_role role, const char *address, uint16_t port)
{
    listen_set *l = NULL;
    for (size_t i = 0; i < LISTENS_MAX && l == NULL; i++)
        if (w->listens[i].fds == NULL)
            l = &w->listens[i];
    if (l == NULL)
        return fail(ERR_LIMIT, 0, "too many doors");
    *l = (listen_set){.role = role, .door = ++w->doors, .fds = malloc(w->count * sizeof(int))};
    if (l->fds == NULL)
        return fail(ERR_MEMORY, 0, "listen");
    for (size_t i = 0; i < w->count; i++)
        l->fds[i] = -1;
    err e = listen_fill(w, l, address, port);
    if (e.code != OK) {
        listen_close(w, l);
        return e;
    }
    for (size_t i = 0; i < w->count; i++)
        if (w->slots[i].link != NULL)
            slot_send_listen(&w->slots[i], l);
    return ok();
}

static void listen_tell(workers *w, const listen_set *l, bool open)
{
    worker_unlisten m = {.door = l->door};
    for (size_t i = 0; i < w->count; i++) {
        slot *s = &w->slots[i];
        if (s->link == NULL)
            continue;
        if (open)
            slot_send_listen(s, l);
        else if (slot_send(s, MSG_worker_unlisten, &m, NULL).code != OK)
            slot_end(s, "takes no messages");
    }
}

uint16_t workers_port(const workers *w, worker_role role)
{
    uint16_t port = 0;
    uint64_t last = 0;
    for (size_t i = 0; i < LISTENS_MAX; i++)
        if (w->listens[i].fds != NULL && w->listens[i].role == role && w->listens[i].door > last) {
            last = w->listens[i].door;
            port = w->listens[i].port;
        }
    return port;
}

static bool role_is_gateway(worker_role role)
{
    return role == WORKER_GATEWAY_HTTP || role == WORKER_GATEWAY_P2P;
}

void workers_leave(workers *w, bool gateway)
{
    if (!gateway)
        w->events = (workers_events){.data = NULL};
    w->relay[gateway].on = NULL;
    for (size_t i = 0; i < COUNT(w->gone); i++)
        if (w->gone[i].gateway == gateway)
            w->gone[i].on = NULL;
    for (size_t i = 0; i < LISTENS_MAX; i++) {
        listen_set *l = &w->listens[i];
        if (l->fds == NULL || role_is_gateway(l->role) != gateway)
            continue;
        listen_tell(w, l, false);
        listen_close(w, l);
    }
}

// ---- what substrate and gateway set

void workers_identity(workers *w, bool gateway, str certificate_pem, str key_pem)
{
    identity_pems *p = &w->identities[gateway];
    secret_drop(&p->certificate);
    secret_drop(&p->key);
    p->certificate = text_keep(certificate_pem);
    p->key = text_keep(key_pem);
    if (p->certificate.at == NULL || p->key.at == NULL)
        log_fail(w->settings.log, "certificate not kept", fail(ERR_MEMORY, 0, "keep certificate"),
                 NULL);
    worker_identity m = {.gateway = gateway, .certificate_pem = p->certificate, .key_pem = p->key};
    worker_role role = gateway ? WORKER_GATEWAY_P2P : WORKER_SUBSTRATE_P2P;
    for (size_t i = 0; i < w->count; i++)
        if (w->slots[i].link != NULL &&
            slot_send(&w->slots[i], MSG_worker_identity, &m, NULL).code != OK)
            slot_end(&w->slots[i], "takes no messages");
    for (size_t i = 0; i < LISTENS_MAX; i++) {
        listen_set *l = &w->listens[i];
        if (l->fds == NULL || l->role != role)
            continue;
        listen_tell(w, l, false); // the door opens again under the new certificate
        l->door = ++w->doors;
        listen_tell(w, l, true);
    }
}

void workers_on(workers *w, const workers_events *events)
{
    w->events = *events;
}

void workers_on_relay(workers *w,
                      bool gateway,
                      void (*on_relay)(void *data, uint64_t ticket, str peer_uri, str request),
                      void *data)
{
    w->relay[gateway].on = on_relay;
    w->relay[gateway].data = data;
}

void workers_on_gone(workers *w, bool gateway, void (*gone)(void *data), void *data)
{
    size_t at = 0;
    while (at < COUNT(w->gone) && w->gone[at].on != NULL)
        at++;
    assert(at < COUNT(w->gone));
    w->gone[at].gateway = gateway;
    w->gone[at].on = gone;
    w->gone[at].data = data;
}

// ---- start and end

err workers_start(workers *w)
{
    w->started = true;
    TRY(publish_now(w));
    for (size_t i = 0; i < w->count; i++)
        TRY(slot_start(&w->slots[i]));
    timer_start(w->watch, WATCH_MS, WATCH_MS);
    return ok();
}

size_t workers_serving(const workers *w)
{
    size_t count = 0;
    for (size_t i = 0; i < w->count; i++)
        count += w->slots[i].ready;
    return count;
}

int workers_process(const workers *w, size_t number)
{
    return number < w->count && w->slots[number].proc != NULL ? proc_id(w->slots[number].proc) : 0;
}

uint64_t workers_restarts(const workers *w)
{
    return w->restarts;
}

void workers_gateway_counts(const workers *w, uint64_t *requests, uint64_t *failures)
{
    *requests = w->gateway_requests;
    *failures = w->gateway_failures;
}

bool workers_backend_counts(const workers *w, str node, uint64_t *requests, uint64_t *failures)
{
    const backend_count *found = map_get(w->backend_counts, node);
    if (found == NULL)
        return false;
    *requests = found->requests;
    *failures = found->failures;
    return true;
}

void workers_slot_gone(workers *w)
{
    for (size_t i = 0; i < w->count; i++)
        if (w->slots[i].proc != NULL)
            return;
    void (*closed)(void *data) = w->closed;
    void *data = w->closed_data;
    workers_free(w);
    if (closed != NULL)
        closed(data);
}

static void workers_on_end(void *data)
{
    workers *w = data;
    for (size_t i = 0; i < w->count; i++)
        slot_end(&w->slots[i], "did not stop in time");
}

void workers_close(workers *w, void (*closed)(void *data), void *data)
{
    if (w->closing)
        return;
    w->closing = true;
    w->closed = closed;
    w->closed_data = data;
    timer_stop(w->watch);
    for (size_t i = 0; i < COUNT(w->gone); i++)
        if (w->gone[i].on != NULL)
            w->gone[i].on(w->gone[i].data);
    w->events = (workers_events){.data = NULL};
    w->relay[0].on = w->relay[1].on = NULL;
    worker_stop m = {.why = STR("the universe stops")};
    for (size_t i = 0; i < w->count; i++)
        if (w->slots[i].proc != NULL &&
            slot_send(&w->slots[i], MSG_worker_stop, &m, NULL).code != OK)
            slot_end(&w->slots[i], "takes no messages");
    if (timer_open(&w->end, w->settings.loop, workers_on_end, w).code == OK)
        timer_start(w->end, STOP_MS, 0);
    else
        workers_on_end(w);
    workers_slot_gone(w); // when none was started
}
