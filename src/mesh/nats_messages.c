// Asks, answers, tells and beats of the nats engine: subjects, and positions that wait for a copy.
#include "base/clock.h"
#include "base/fault.h"
#include "base/str.h"
#include "mesh/nats_inner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SUBJECT_BYTES = 4 * NAME_BYTES_MAX,
    NOBODY_MS = 500,      // a node that just starts may be a moment late
    NOBODY_AGAIN_MS = 10, // then twice that, and so on
    HELD_MS_MAX = 10 * 1000,
    POSITIONS_VERSION = 0xC7,
    POSITION_BYTES = 9,
};

// ---- positions: before each request and reply stands how far its sender's logs are

typedef struct positions_text {
    char at[2 + SHARDS_MAX * POSITION_BYTES];
} positions_text;

static str positions_write(const nats_engine *n, positions_text *out)
{
    size_t count = 0;
    char *at = out->at + 2;
    for (size_t i = 0; i < n->shards->count; i++) {
        uint64_t applied = n->logs[i] != NULL ? nats_log_applied(n->logs[i]) : 0;
        uint64_t position = n->seen[i] > applied ? n->seen[i] : applied;
        if (position == 0)
            continue;
        *at++ = (char)i;
        for (size_t k = 0; k < 8; k++)
            *at++ = (char)(position >> (8 * k));
        count++;
    }
    out->at[0] = (char)POSITIONS_VERSION;
    out->at[1] = (char)count;
    return (str){out->at, (size_t)(at - out->at)};
}

typedef struct positions {
    uint64_t at[SHARDS_MAX];
} positions;

// Takes them off the front of `bytes`; false: malformed.
static bool positions_read(nats_engine *n, str *bytes, positions *out)
{
    *out = (positions){{0}};
    if (bytes->len < 2 || (unsigned char)bytes->at[0] != POSITIONS_VERSION)
        return false;
    size_t count = (unsigned char)bytes->at[1];
    if (bytes->len < 2 + count * POSITION_BYTES)
        return false;
    for (size_t i = 0; i < count; i++) {
        const char *at = bytes->at + 2 + i * POSITION_BYTES;
        size_t which = (unsigned char)at[0];
        uint64_t value = 0;
        for (size_t k = 0; k < 8; k++)
            value |= (uint64_t)(unsigned char)at[1 + k] << (8 * k);
        if (which < SHARDS_MAX) // a later version may have more of them
            out->at[which] = value;
        if (which < n->shards->count && value > n->seen[which] && n->logs[which] == NULL)
            n->seen[which] = value; // passed on to those who keep that log
    }
    *bytes = str_from(*bytes, 2 + count * POSITION_BYTES);
    return true;
}

static bool positions_reached(const nats_engine *n, const positions *p)
{
    for (size_t i = 0; i < n->shards->count; i++)
        if (n->logs[i] != NULL && nats_log_applied(n->logs[i]) < p->at[i])
            return false;
    return true;
}

// A message that came before the records that it speaks of.
typedef struct held {
    chain link;
    positions wanted;
    uint64_t until_ms;
    mesh *node; // of a request; NULL: a reply
    message_kind kind;
    uint64_t ask;
    char *from, *reply;
    buf bytes;
} held;

static void held_free(held *h)
{
    chain_remove(&h->link);
    buf_close(&h->bytes);
    free(h->from);
    free(h->reply);
    free(h);
}

static void held_deliver(nats_engine *n, held *h)
{
    chain_remove(&h->link);
    if (fault_hits(FAULT_MESSAGE)) {
        held_free(h);
        return;
    }
    if (h->node != NULL)
        incoming_open(h->node, h->kind, str_of(h->from), &h->bytes, 0, str_of(h->reply));
    else
        asks_on_reply(&n->engine, h->ask, buf_str(&h->bytes));
    held_free(h);
}

static void held_add(nats_engine *n, held *h, str bytes)
{
    buf_open(&h->bytes, MESSAGE_BYTES_MAX);
    buf_add(&h->bytes, bytes);
    chain_init(&h->link);
    if (h->bytes.error.code != OK) {
        held_free(h); // larger than any message: its ask ends by its deadline
        return;
    }
    h->until_ms = clock_now_ms() + HELD_MS_MAX;
    chain_add(&n->held, &h->link);
    if (positions_reached(n, &h->wanted))
        held_deliver(n, h);
}

void nats_reached(nats_engine *n)
{
    uint64_t now = clock_now_ms();
    bool again = true;
    while (again) { // from the start: a delivery may end others
        again = false;
        for (chain *c = n->held.next; c != &n->held && !again; c = c->next) {
            held *h = (held *)c;
            again = positions_reached(n, &h->wanted) || h->until_ms <= now;
            if (again && h->until_ms > now)
                held_deliver(n, h);
            else if (again)
                held_free(h);
        }
    }
    nats_check_ready(n);
}

// ---- asks

typedef struct asking {
    later again;
    nats_engine *n;
    uint64_t ask, since_ms, wait_ms;
    bool dead; // the engine closes
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
        if (!positions_read(n, &bytes, &h->wanted))
            bytes = STR(""); // read as malformed
        held_add(n, h, bytes);
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
    positions_text before;
    if (a == NULL) {
        free(k);
        return;
    }
    if (!ask_subject(n, a, subject)) {
        (void)mesh_letter(&n->engine, letter_nobody, a->number);
        free(k);
        return;
    }
    str pieces[] = {positions_write(n, &before), buf_str(&a->request)};
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
    asking *k = mesh_must_take(sizeof *k);
    *k = (asking){.n = (nats_engine *)e,
                  .ask = a->number,
                  .since_ms = clock_now_ms(),
                  .wait_ms = NOBODY_AGAIN_MS};
    k->again.run = asking_on_again;
    k->again.data = k;
    asking_send(k);
}

void nats_answer(mesh_engine *e, mesh_incoming *in, buf *bytes, err error)
{
    nats_engine *n = (nats_engine *)e;
    positions_text before;
    OWNED(buf_close) buf instead;
    buf_open(&instead, MESSAGE_BYTES_MAX);
    if (error.code != OK)
        message_write_error(&instead, error);
    // Without memory for its text: ERR_MEMORY, as ask.c writes it.
    str text = instead.error.code != OK ? STR("\1\2\1\0\0\0\0\0\0\0\0\0\0\0") : buf_str(&instead);
    str pieces[] = {positions_write(n, &before), error.code != OK ? text : buf_str(bytes)};
    err sent = nats_publish(n->link, &(nats_outgoing){.subject = str_of(in->reply),
                                                      .pieces = pieces,
                                                      .pieces_count = 2});
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

static size_t kind_find(str name)
{
    for (size_t i = 0; i < MESSAGE_KINDS; i++)
        if (str_is(name, str_of(message_infos[i].name)))
            return i;
    return MESSAGE_KINDS;
}

static void request_refuse(nats_engine *n, str reply, err e)
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
    str rest = m->subject, bytes = m->payload; // ask.KIND.TO.FROM
    (void)str_cut(&rest, '.');
    size_t kind = kind_find(str_cut(&rest, '.'));
    (void)str_cut(&rest, '.');
    // The server checks who publishes, not where answers shall go: only to who asked.
    str inbox = m->reply;
    bool own = str_is(str_cut(&inbox, '.'), STR("re")) && str_is(str_cut(&inbox, '.'), rest);
    if (!own)
        return;
    if (kind == MESSAGE_KINDS) {
        request_refuse(n, m->reply, fail(ERR_UNSUPPORTED, 0, "this message is not known here"));
        return;
    }
    if (s->node->served[kind].handler == NULL) {
        char what[128];
        request_refuse(n, m->reply, ask_nobody((message_kind)kind, what));
        return;
    }
    held *h = mesh_must_take(sizeof *h);
    *h = (held){.node = s->node, .kind = (message_kind)kind};
    if (!positions_read(n, &bytes, &h->wanted)) {
        free(h);
        request_refuse(n, m->reply, fail(ERR_SYNTAX, 0, "malformed request"));
        return;
    }
    h->reply = mesh_must_copy(m->reply);
    h->from = mesh_must_take(2 * NAME_BYTES_MAX);
    (void)snprintf(h->from, 2 * NAME_BYTES_MAX, "%.*s@%s", STR_ARG(str_first(rest, NAME_BYTES_MAX)),
                   n->universe);
    held_add(n, h, bytes);
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
    for (chain *c = n->held.next, *next; c != &n->held; c = next) {
        next = c->next;
        held *h = (held *)c;
        if (h->node != m)
            continue;
        request_refuse(n, str_of(h->reply), fail(ERR_CLOSED, 0, "the node that was asked left"));
        held_free(h);
    }
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
    size_t kind = kind_find(str_cut(&rest, '.'));
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
    uint64_t lease_ms = 0;
    for (size_t i = 0; i < 8; i++)
        lease_ms |= (uint64_t)(unsigned char)m->payload.at[i] << (8 * i);
    queues_on_beat(&n->engine, queue, str_from(m->payload, BEAT_BYTES),
                   str_first(str_from(m->payload, 8), BEAT_BYTES - 8),
                   lease_ms < UINT32_MAX ? lease_ms : UINT32_MAX);
}

err nats_messages_open(nats_engine *n)
{
    const shard_bucket *b = shards_bucket(n->shards, STR("queue/"));
    size_t which = b == NULL ? n->shards->count : shards_find(n->shards, str_of(b->shard));
    if (which == n->shards->count || n->logs[which] == NULL)
        return ok(); // no queue is known here
    return nats_subscribe(&n->beats, n->link, STR("beat.*.*"), STR(""), nats_on_beat, n);
}

void nats_messages_close(nats_engine *n)
{
    held *h;
    later *l;
    while ((h = chain_first(&n->held)) != NULL)
        held_free(h);
    while ((l = chain_first(&n->laters)) != NULL) { // only asks that try again are left
        asking *k = l->data;
        nats_later_cancel(l);
        free(k);
    }
}
