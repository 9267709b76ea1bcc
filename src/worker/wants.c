// What workers ask for: compiled modules (once per hash, however many ask) and answers to what they
// relay.
#include "base/str.h"
#include "worker/workers_inner.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static str number_key(const uint64_t *number)
{
    return (str){(const char *)number, sizeof(*number)};
}

static waiter *waiter_make(const slot *s, uint64_t ticket)
{
    waiter *made = calloc(1, sizeof(*made));
    if (made != NULL)
        *made = (waiter){.slot = s->number, .life = s->life, .ticket = ticket};
    return made;
}

// The process that asked, or NULL when it has ended.
static slot *waiter_slot(workers *w, const waiter *from)
{
    slot *s = &w->slots[from->slot];
    return s->link != NULL && s->life == from->life ? s : NULL;
}

static void module_send(slot *s, uint64_t ticket, const want *a, err e)
{
    worker_module m = {.ticket = ticket,
                       .hash = str_of(a->hash),
                       .error = e.code == OK ? STR("") : str_of(e.what)};
    if (slot_send(s, MSG_worker_module, &m, e.code == OK ? &a->fd : NULL).code != OK)
        slot_end(s, "takes no messages");
}

static void want_drop(workers *w, want *a)
{
    (void)map_remove(w->wants, str_of(a->hash));
    (void)map_remove(w->tickets, number_key(&a->ticket));
    for (waiter *at = a->waiters, *next; at != NULL; at = next) {
        next = at->next;
        free(at);
    }
    if (a->fd >= 0)
        (void)close(a->fd);
    free(a);
}

static want *want_make(workers *w, str hash)
{
    want *a = calloc(1, sizeof(*a));
    if (a == NULL || hash.len >= sizeof(a->hash)) {
        free(a);
        return NULL;
    }
    a->fd = -1;
    a->ticket = ++w->numbers;
    memcpy(a->hash, hash.at, hash.len);
    if (map_put(w->wants, hash, a, NULL).code != OK ||
        map_put(w->tickets, number_key(&a->ticket), a, NULL).code != OK) {
        want_drop(w, a);
        return NULL;
    }
    return a;
}

void wants_on_want(slot *s, const worker_module_want *m)
{
    workers *w = s->workers;
    want *a = map_get(w->wants, m->hash);
    if (a != NULL && a->fd >= 0) {
        module_send(s, m->ticket, a, ok());
        return;
    }
    bool first = a == NULL;
    waiter *from = waiter_make(s, m->ticket);
    if (a == NULL && from != NULL && w->events.on_module_want != NULL)
        a = want_make(w, m->hash);
    if (a == NULL || from == NULL) {
        free(from);
        want none = {.fd = -1};
        module_send(s, m->ticket, &none, fail(ERR_ABSENT, 0, "nobody has modules here"));
        return;
    }
    from->next = a->waiters;
    a->waiters = from;
    if (first)
        w->events.on_module_want(w->events.data, a->ticket, str_of(a->hash));
}

void workers_module(workers *w, uint64_t ticket, int fd, err e)
{
    want *a = map_get(w->tickets, number_key(&ticket));
    if (a == NULL || a->fd >= 0)
        return;
    a->fd = e.code == OK ? dup(fd) : -1;
    if (e.code == OK && a->fd < 0)
        e = fail(ERR_SYSTEM, 0, "no descriptor is left");
    a->answered_ms = loop_now_ms(w->settings.loop);
    for (waiter *at = a->waiters, *next; at != NULL; at = next) {
        next = at->next;
        slot *s = waiter_slot(w, at);
        if (s != NULL)
            module_send(s, at->ticket, a, e);
        free(at);
    }
    a->waiters = NULL;
    if (a->fd < 0)
        want_drop(w, a);
}

void wants_sweep(workers *w)
{
    uint64_t now = loop_now_ms(w->settings.loop);
    bool crowded = map_count(w->wants) > MODULES_CACHED_MAX;
    size_t at = 0;
    str key;
    void *value;
    while (map_next(w->wants, &at, &key, &value)) {
        want *a = value;
        if (a->fd >= 0 && (crowded || now - a->answered_ms > MODULES_CACHED_MS))
            want_drop(w, a);
    }
}

void wants_on_relay(slot *s, const worker_relay *m)
{
    workers *w = s->workers;
    bool gateway = str_is(m->subject, STR("gateway"));
    waiter *from = waiter_make(s, m->ticket);
    uint64_t ticket = ++w->numbers;
    if (from == NULL || w->relay[gateway].on == NULL ||
        map_put(w->relays, number_key(&ticket), from, NULL).code != OK) {
        free(from);
        OWNED(buf_close) buf reply;
        buf_open(&reply, 4096);
        message_write_error(&reply, fail(ERR_ABSENT, 0, "the node does not serve now"));
        worker_relayed answer = {.ticket = m->ticket, .body = buf_str(&reply)};
        if (slot_send(s, MSG_worker_relayed, &answer, NULL).code != OK)
            slot_end(s, "takes no messages");
        return;
    }
    w->relay[gateway].on(w->relay[gateway].data, ticket, m->peer, m->body);
}

void workers_relayed(workers *w, uint64_t ticket, str reply)
{
    waiter *from = map_remove(w->relays, number_key(&ticket));
    if (from == NULL)
        return;
    slot *s = waiter_slot(w, from);
    worker_relayed m = {.ticket = from->ticket, .body = reply};
    free(from);
    if (s == NULL)
        return;
    err e = slot_send(s, MSG_worker_relayed, &m, NULL);
    if (e.code != OK) {
        OWNED(buf_close) buf why;
        buf_open(&why, 4096);
        message_write_error(&why, fail(ERR_LIMIT, 0, "the reply is too large for this door"));
        m.body = buf_str(&why);
        if (slot_send(s, MSG_worker_relayed, &m, NULL).code != OK)
            slot_end(s, "takes no messages");
    }
}

void wants_close(workers *w)
{
    size_t at = 0;
    str key;
    void *value;
    while (w->wants != NULL && map_next(w->wants, &at, &key, &value))
        want_drop(w, value);
    at = 0;
    while (w->relays != NULL && map_next(w->relays, &at, &key, &value))
        free(value);
    map_close(w->wants);
    map_close(w->tickets);
    map_close(w->relays);
}
