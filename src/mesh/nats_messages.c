// Asks, answers, tells and beats of the nats engine: their subjects.
#include "base/clock.h"
#include "base/fault.h"
#include "base/str.h"
#include "mesh/nats_held.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SUBJECT_BYTES = 4 * NAME_BYTES_MAX,
    DOWN_AGAIN_MS = 1000, // for what is asked while no server was there for long
    NOBODY_MS = 500,      // a node that just starts may be a moment late
    NOBODY_AGAIN_MS = 10, // then twice that, and so on
};

// ---- asks

typedef struct asking {
    later again;
    nats_engine *n;
    uint64_t ask, since_ms, wait_ms;
} asking;

static void asking_send(asking *k);

static void asking_on_reply(void *data, err e, const nats_message *m)
{
    asking *k = data;
    nats_engine *n = k->n;
    ask *a = ask_find(&n->engine, k->ask);
    if (a == NULL || e.code == ERR_CLOSED) {
        free(k);
        return;
    }
    uint64_t now = clock_now_ms();
    if (e.code == ERR_BUSY && now < k->since_ms + NOBODY_MS && now + k->wait_ms < a->until_ms) {
        nats_later(n, &k->again, k->wait_ms);
        k->wait_ms *= 2;
        return;
    }
    uint64_t number = k->ask;
    free(k);
    if (e.code == OK) {
        str bytes = m->payload;
        held *h = mesh_must_take(sizeof *h);
        h->ask = number;
        if (!positions_read(&bytes, &h->wanted))
            bytes = STR(""); // read as malformed
        nats_held_add(n, h, bytes);
    } else if (e.code == ERR_BUSY) {
        char what[128];
        asks_on_failure(&n->engine, number, ask_nobody(a->kind, what));
    } else if (e.code != ERR_TIMEOUT) { // that one is told by its own deadline
        asks_on_failure(&n->engine, number, e);
    }
}

static void asking_on_again(void *data)
{
    asking_send(data);
}

// Where it goes; false: no such node in this universe.
static bool ask_subject(nats_engine *n, const ask *a, char out[SUBJECT_BYTES])
{
    str to = str_of(a->to), universe = to, name = str_cut(&universe, '@');
    if (to.len > name.len && !str_is(universe, str_of(n->universe)))
        return false;
    mesh *here = to.len == 0 ? mesh_node_serving(&n->engine, a->kind, to) : NULL;
    if (to.len == 0)
        name = here != NULL ? mesh_node_short(here) : STR("any");
    return snprintf(out, SUBJECT_BYTES, "ask.%s.%.*s.%.*s", message_infos[a->kind].name,
                    STR_ARG(name), STR_ARG(mesh_node_short(a->from))) < SUBJECT_BYTES;
}

static void letter_nobody(mesh_engine *e, letter *l)
{
    ask *a = ask_find(e, l->number);
    char what[128];
    if (a != NULL)
        asks_on_failure(e, l->number, ask_nobody(a->kind, what));
}

static void asking_send(asking *k)
{
    nats_engine *n = k->n;
    ask *a = ask_find(&n->engine, k->ask);
    char subject[SUBJECT_BYTES];
    char before[POSITIONS_BYTES_MAX];
    if (a == NULL) {
        free(k);
        return;
    }
    if (!ask_subject(n, a, subject)) {
        (void)mesh_letter(&n->engine, letter_nobody, a->number);
        free(k);
        return;
    }
    str pieces[] = {nats_positions(n, before), buf_str(&a->request)};
    nats_outgoing out = {.subject = str_of(subject),
                         .as = mesh_node_short(a->from),
                         .pieces = pieces,
                         .pieces_count = 2};
    uint64_t now = clock_now_ms();
    uint64_t left = a->until_ms > now ? a->until_ms - now : 1;
    (void)nats_request(n->link, &out, left, asking_on_reply, k);
}

void nats_ask(mesh_engine *e, ask *a)
{
    nats_engine *n = (nats_engine *)e;
    if (n->down_long && n->down.at_ms == 0)
        nats_later(n, &n->down, DOWN_AGAIN_MS); // a server may be about to come back
    asking *k = mesh_must_take(sizeof *k);
    *k = (asking){.n = n, .ask = a->number, .since_ms = clock_now_ms(), .wait_ms = NOBODY_AGAIN_MS};
    k->again.run = asking_on_again;
    k->again.data = k;
    asking_send(k);
}

void nats_answer(mesh_engine *e, mesh_incoming *in, buf *bytes, err error)
{
    nats_engine *n = (nats_engine *)e;
    char before[POSITIONS_BYTES_MAX];
    OWNED(buf_close) buf instead;
    buf_open(&instead, MESSAGE_BYTES_MAX);
    if (error.code != OK)
        message_write_error(&instead, error);
    // Without memory for its text: ERR_MEMORY, as ask.c writes it.
    str text = instead.error.code != OK ? STR("\1\2\1\0\0\0\0\0\0\0\0\0\0\0") : buf_str(&instead);
    str pieces[] = {nats_positions(n, before), error.code != OK ? text : buf_str(bytes)};
    err sent = nats_publish(
        n->link,
        &(nats_outgoing){.subject = str_of(in->reply), .pieces = pieces, .pieces_count = 2});
    if (sent.code != OK)
        log_fail(n->log, "an answer was not sent", sent, NULL);
}

// ---- what is served

typedef struct served_subject {
    chain link;
    mesh *node;
    nats_subscription *subscription; // NULL: there was no memory for it yet
    later again;
    char *subject, *queue;
} served_subject;

void nats_refuse(nats_engine *n, str reply, err e)
{
    mesh_incoming in = {.reply = mesh_must_copy(reply)};
    buf none;
    buf_open(&none, 0);
    nats_answer(&n->engine, &in, &none, e);
    free(in.reply);
}

static void nats_on_request(void *data, const nats_message *m)
{
    served_subject *s = data;
    nats_engine *n = (nats_engine *)s->node->engine;
    str from, bytes = m->payload;
    size_t kind;
    if (!request_read(m->subject, m->reply, &kind, &from))
        return; // not where to answer: to nobody else
    if (kind == MESSAGE_KINDS) {
        nats_refuse(n, m->reply, fail(ERR_UNSUPPORTED, 0, "this message is not known here"));
        return;
    }
    if (s->node->served[kind].handler == NULL) {
        char what[128];
        nats_refuse(n, m->reply, ask_nobody((message_kind)kind, what));
        return;
    }
    held *h = mesh_must_take(sizeof *h);
    *h = (held){.node = s->node, .kind = (message_kind)kind};
    if (!positions_read(&bytes, &h->wanted)) {
        free(h);
        nats_refuse(n, m->reply, fail(ERR_SYNTAX, 0, "malformed request"));
        return;
    }
    h->reply = mesh_must_copy(m->reply);
    h->from = mesh_must_take(2 * NAME_BYTES_MAX);
    (void)snprintf(h->from, 2 * NAME_BYTES_MAX, "%.*s@%s", STR_ARG(str_first(from, NAME_BYTES_MAX)),
                   n->universe);
    nats_held_add(n, h, bytes);
}

static void served_on_again(void *data)
{
    served_subject *s = data;
    nats_engine *n = (nats_engine *)s->node->engine;
    err e = nats_subscribe(&s->subscription, n->link, str_of(s->subject), str_of(s->queue),
                           nats_on_request, s);
    if (e.code != OK)
        nats_later(n, &s->again, NOBODY_AGAIN_MS);
}

static err served_add(mesh *m, const char *subject, str queue)
{
    nats_engine *n = (nats_engine *)m->engine;
    served_subject *s = mesh_must_take(sizeof *s);
    *s = (served_subject){.node = m,
                          .subject = mesh_must_copy(str_of(subject)),
                          .queue = mesh_must_copy(queue),
                          .again = {.run = served_on_again}};
    s->again.data = s;
    chain_add(&n->subscriptions, &s->link);
    served_on_again(s);
    return ok();
}

err nats_serve(mesh *m, message_kind kind)
{
    char subject[SUBJECT_BYTES];
    (void)snprintf(subject, sizeof subject, "ask.%s.any.*", message_infos[kind].name);
    return served_add(m, subject, str_of(message_infos[kind].name));
}

err nats_join(mesh *m)
{
    char subject[SUBJECT_BYTES];
    nats_engine *n = (nats_engine *)m->engine;
    if (!str_is(mesh_node_short(m), str_of(n->node)))
        TRY(nats_link_name(n->link, mesh_node_short(m)));
    (void)snprintf(subject, sizeof subject, "ask.*.%.*s.*", STR_ARG(mesh_node_short(m)));
    return served_add(m, subject, STR(""));
}

void nats_leave(mesh *m)
{
    nats_engine *n = (nats_engine *)m->engine;
    for (chain *c = n->subscriptions.next, *next; c != &n->subscriptions; c = next) {
        next = c->next;
        served_subject *s = (served_subject *)c;
        if (s->node != m)
            continue;
        if (s->subscription != NULL)
            nats_unsubscribe(s->subscription);
        nats_later_cancel(&s->again);
        chain_remove(c);
        free(s->subject);
        free(s->queue);
        free(s);
    }
    nats_held_leave(m);
}

// ---- tells and beats

void nats_tell(mesh *m, message_kind kind, buf *bytes)
{
    nats_engine *n = (nats_engine *)m->engine;
    char subject[SUBJECT_BYTES];
    str payload = buf_str(bytes);
    (void)snprintf(subject, sizeof subject, "tell.%s.%.*s", message_infos[kind].name,
                   STR_ARG(mesh_node_short(m)));
    if (bytes->error.code == OK)
        nats_say(n, str_of(subject), payload);
}

static void nats_on_tell(void *data, const nats_message *m)
{
    nats_engine *n = data;
    str rest = m->subject; // tell.KIND.FROM
    (void)str_cut(&rest, '.');
    size_t kind = message_kind_find(str_cut(&rest, '.'));
    if (kind < MESSAGE_KINDS && message_infos[kind].reply == NULL)
        listeners_tell(&n->engine, (message_kind)kind, m->payload);
}

err nats_listen(mesh *m, message_kind kind)
{
    nats_engine *n = (nats_engine *)m->engine;
    char subject[SUBJECT_BYTES];
    nats_subscription *s;
    if (n->listening[kind])
        return ok();
    (void)snprintf(subject, sizeof subject, "tell.%s.*", message_infos[kind].name);
    TRY(nats_subscribe(&s, n->link, str_of(subject), STR(""), nats_on_tell, n));
    n->listening[kind] = true; // for as long as the link is there
    return ok();
}

enum { BEAT_BYTES = 8 + 32 };

void nats_beat(mesh_engine *e, str queue, str id, str claim, uint64_t lease_ms)
{
    nats_engine *n = (nats_engine *)e;
    char subject[SUBJECT_BYTES];
    OWNED(buf_close) buf bytes;
    buf_open(&bytes, BEAT_BYTES + STORE_KEY_BYTES_MAX);
    buf_add_u64(&bytes, lease_ms);
    buf_add(&bytes, claim);
    buf_add(&bytes, id);
    str payload = buf_str(&bytes);
    (void)snprintf(subject, sizeof subject, "beat.%.*s.%s", STR_ARG(queue), n->node);
    if (claim.len == BEAT_BYTES - 8 && bytes.error.code == OK)
        nats_say(n, str_of(subject), payload);
}

static void nats_on_beat(void *data, const nats_message *m)
{
    nats_engine *n = data;
    str rest = m->subject; // beat.QUEUE.FROM
    (void)str_cut(&rest, '.');
    str queue = str_cut(&rest, '.');
    if (m->payload.len < BEAT_BYTES)
        return;
    uint64_t lease_ms = little_endian(m->payload.at, 8);
    queues_on_beat(&n->engine, queue, str_from(m->payload, BEAT_BYTES),
                   str_first(str_from(m->payload, 8), BEAT_BYTES - 8),
                   lease_ms < UINT32_MAX ? lease_ms : UINT32_MAX);
}

static void nats_on_tip(void *data, const nats_message *m)
{
    nats_engine *n = data;
    uint64_t last;
    size_t which = shards_find(n->shards, str_from(m->subject, sizeof "tip." - 1));
    if (which < n->shards->count && n->logs[which] != NULL &&
        str_number(m->payload, &last).code == OK)
        nats_log_tip(n->logs[which], last);
}

err nats_messages_open(nats_engine *n)
{
    TRY(nats_subscribe(&n->tips, n->link, STR("tip.*"), STR(""), nats_on_tip, n));
    const shard_bucket *b = shards_bucket(n->shards, STR("queue/"));
    size_t which = b == NULL ? n->shards->count : shards_find(n->shards, str_of(b->shard));
    if (which == n->shards->count || n->logs[which] == NULL)
        return ok(); // no queue is known here
    return nats_subscribe(&n->beats, n->link, STR("beat.*.*"), STR(""), nats_on_beat, n);
}

void nats_messages_close(nats_engine *n)
{
    later *l;
    nats_held_close(n);
    while ((l = chain_first(&n->laters)) != NULL) { // only asks that try again are left
        asking *k = l->data;
        nats_later_cancel(l);
        free(k);
    }
}
