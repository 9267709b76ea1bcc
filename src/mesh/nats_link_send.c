// What a link says and hears: publishing, what waits for a connection, subscriptions.
//
// The happy path is: lines are added to `out`, which goes to the connection in one write at the end
// of the turn; messages that come find their subscription by number. What can fail: limits, memory,
// a message whose subject is not what was subscribed.
#include "base/clock.h"
#include "base/fault.h"
#include "base/str.h"
#include "mesh/nats_link_inner.h"

#include <stdlib.h>

enum { HEADERS_BYTES = 12 }; // "NATS/1.0", CR LF, CR LF

static err outgoing_check(const nats_link *n, const nats_outgoing *out, size_t *payload)
{
    // JetStream's API takes a consumer's filter, wildcards and all, as part of a subject.
    bool api = str_starts(out->subject, STR("$JS.API."));
    if (!nats_subject_is(out->subject, api) || out->subject.len > LINK_SUBJECT_BYTES_MAX ||
        (out->reply.len > 0 && !nats_subject_is(out->reply, false)) ||
        out->reply.len > LINK_SUBJECT_BYTES_MAX)
        return fail(ERR_SYNTAX, 0, "publish: not a subject");
    if (out->headers.len > 0 && !str_ends(out->headers, STR("\r\n")))
        return fail(ERR_SYNTAX, 0, "publish: headers do not end with CR LF");
    *payload = 0;
    for (size_t i = 0; i < out->pieces_count; i++)
        if (__builtin_add_overflow(*payload, out->pieces[i].len, payload))
            return fail(ERR_LIMIT, 0, "publish: payload");
    size_t headers = out->headers.len > 0 ? out->headers.len + HEADERS_BYTES : 0;
    if (headers > n->payload_max || *payload > n->payload_max - headers)
        return fail(ERR_LIMIT, 0, "publish: larger than the mesh's server takes");
    return ok();
}

static void outgoing_write(buf *b, const nats_outgoing *out, size_t payload)
{
    size_t headers = out->headers.len > 0 ? out->headers.len + HEADERS_BYTES : 0;
    buf_add(b, headers > 0 ? STR("HPUB ") : STR("PUB "));
    buf_add(b, out->subject);
    buf_add_byte(b, ' ');
    buf_add(b, out->reply);
    if (headers > 0)
        buf_add_format(b, " %zu %zu\r\nNATS/1.0\r\n%.*s\r\n", headers, headers + payload,
                       STR_ARG(out->headers));
    else
        buf_add_format(b, " %zu\r\n", payload);
    for (size_t i = 0; i < out->pieces_count; i++)
        buf_add(b, out->pieces[i]);
    buf_add(b, STR("\r\n"));
}

static err outgoing_wait(nats_link *n, const nats_outgoing *out, size_t payload, uint64_t request)
{
    size_t size = out->subject.len + out->reply.len + out->headers.len + payload;
    if (size > NATS_WAITING_BYTES_MAX - n->waiting_bytes)
        return fail(ERR_LIMIT, 0, "publish: too much waits for the mesh");
    link_waiting *w = fault_hits(FAULT_MEMORY) ? NULL : calloc(1, sizeof *w);
    if (w == NULL)
        return fail(ERR_MEMORY, 0, "publish");
    w->request = request;
    w->payload_bytes = payload;
    buf_open(&w->bytes, 2 * NATS_WAITING_BYTES_MAX);
    outgoing_write(&w->bytes, out, payload);
    err e = w->bytes.error;
    if (e.code != OK) {
        buf_close(&w->bytes);
        free(w);
        return e;
    }
    n->waiting_bytes += w->bytes.len;
    chain_add(&n->waiting, &w->link);
    return ok();
}

// On a failure nothing was added.
err link_publish(nats_link *n, const nats_outgoing *out, uint64_t request)
{
    size_t payload;
    if (n->closing)
        return fail(ERR_CLOSED, 0, "publish");
    TRY(outgoing_check(n, out, &payload));
    if (n->state != LINK_READY)
        return outgoing_wait(n, out, payload, request);
    size_t before = n->out.len;
    if (before + conn_write_queued(n->conn) + payload > NATS_WAITING_BYTES_MAX)
        return fail(ERR_LIMIT, 0, "publish: too much waits for the mesh");
    outgoing_write(&n->out, out, payload);
    err e = n->out.error;
    if (e.code != OK) {
        n->out.len = before;
        n->out.error = ok();
        return e;
    }
    link_flush_soon(n);
    return ok();
}

err nats_publish(nats_link *n, const nats_outgoing *out)
{
    return link_publish(n, out, 0);
}

static void waiting_free(nats_link *n, link_waiting *w)
{
    chain_remove(&w->link);
    n->waiting_bytes -= w->bytes.len < n->waiting_bytes ? w->bytes.len : n->waiting_bytes;
    buf_close(&w->bytes);
    free(w);
}

// A request whose deadline has passed is not to be found, and not sent. What finds no memory stays.
void link_send_waiting(nats_link *n)
{
    for (link_waiting *w; (w = chain_first(&n->waiting)) != NULL;) {
        size_t before = n->out.len;
        bool wanted = w->request == 0 || link_request_find(n, w->request) != NULL;
        if (wanted && w->payload_bytes <= n->payload_max)
            buf_add(&n->out, buf_str(&w->bytes));
        if (n->out.error.code != OK) {
            n->out.len = before;
            n->out.error = ok();
            link_due(n, clock_now_ms() + MESH_TICK_MS);
            break;
        }
        waiting_free(n, w);
    }
    link_flush_soon(n);
}

// ---- subscriptions
static void subscription_write(nats_link *n, const nats_subscription *s)
{
    buf_add_format(&n->out, "SUB %s %s %llu\r\n", s->subject, s->queue,
                   (unsigned long long)s->number);
}

void link_subscribe_all(nats_link *n)
{
    buf_add_format(&n->out, "SUB %s> %u\r\n", n->inbox, LINK_INBOX_NUMBER);
    for (chain *c = n->subscriptions.next; c != &n->subscriptions; c = c->next)
        subscription_write(n, (nats_subscription *)c);
}

static nats_subscription *subscription_of_slot(chain *c)
{
    return (nats_subscription *)((char *)c - offsetof(nats_subscription, slot));
}

static nats_subscription *subscription_find(nats_link *n, uint64_t number)
{
    chain *slot = &n->subscription_slots[number % LINK_SLOTS];
    for (chain *c = slot->next; c != slot; c = c->next)
        if (subscription_of_slot(c)->number == number)
            return subscription_of_slot(c);
    return NULL;
}

static char *text_copy(str s)
{
    char *at = fault_hits(FAULT_MEMORY) ? NULL : malloc(s.len + 1);
    if (at == NULL)
        return NULL;
    for (size_t i = 0; i < s.len; i++)
        at[i] = s.at[i];
    at[s.len] = 0;
    return at;
}

static void subscription_free(nats_subscription *s)
{
    free(s->subject);
    free(s->queue);
    free(s);
}

// NOLINTNEXTLINE(readability-function-size): nats_subscribe's own and how it delivers
static err subscription_open(nats_subscription **out,
                             nats_link *n,
                             str subject,
                             str queue,
                             nats_received *on,
                             void *data,
                             bool delivery)
{
    if (n->closing)
        return fail(ERR_CLOSED, 0, "subscribe");
    if (!nats_subject_is(subject, true) || subject.len > LINK_SUBJECT_BYTES_MAX ||
        (queue.len > 0 && !nats_subject_is(queue, false)) || queue.len > LINK_SUBJECT_BYTES_MAX)
        return fail(ERR_SYNTAX, 0, "subscribe: not a subject");
    nats_subscription *s = fault_hits(FAULT_MEMORY) ? NULL : calloc(1, sizeof *s);
    if (s == NULL)
        return fail(ERR_MEMORY, 0, "subscribe");
    *s = (nats_subscription){.owner = n, .delivery = delivery, .on = on, .data = data};
    s->subject = text_copy(subject);
    s->queue = text_copy(queue);
    size_t before = n->out.len;
    s->number = LINK_INBOX_NUMBER + ++n->numbers;
    if (s->subject != NULL && s->queue != NULL && link_greeted(n))
        subscription_write(n, s);
    if (s->subject == NULL || s->queue == NULL || n->out.error.code != OK) {
        n->out.len = before;
        n->out.error = ok();
        subscription_free(s);
        return fail(ERR_MEMORY, 0, "subscribe");
    }
    chain_add(&n->subscriptions, &s->link);
    chain_add(&n->subscription_slots[s->number % LINK_SLOTS], &s->slot);
    link_flush_soon(n);
    *out = s;
    return ok();
}

err nats_subscribe(
    nats_subscription **out, nats_link *n, str subject, str queue, nats_received *on, void *data)
{
    return subscription_open(out, n, subject, queue, on, data, false);
}

err nats_subscribe_delivery(
    nats_subscription **out, nats_link *n, str subject, str queue, nats_received *on, void *data)
{
    return subscription_open(out, n, subject, queue, on, data, true);
}

void nats_unsubscribe(nats_subscription *s)
{
    if (s == NULL)
        return;
    nats_link *n = s->owner;
    if (link_greeted(n) && !n->closing) {
        size_t before = n->out.len;
        buf_add_format(&n->out, "UNSUB %llu\r\n", (unsigned long long)s->number);
        if (n->out.error.code != OK) { // its messages are dropped here then
            n->out.len = before;
            n->out.error = ok();
        }
        link_flush_soon(n);
    }
    chain_remove(&s->link);
    chain_remove(&s->slot);
    subscription_free(s);
}

void link_subscriptions_close(nats_link *n)
{
    for (nats_subscription *s; (s = chain_first(&n->subscriptions)) != NULL;)
        nats_unsubscribe(s);
    for (link_waiting *w; (w = chain_first(&n->waiting)) != NULL;)
        waiting_free(n, w);
}

uint64_t nats_link_strays(const nats_link *n)
{
    return n->strays;
}

void link_on_message(nats_link *n, const nats_event *event)
{
    nats_message m = {
        .subject = event->subject,
        .reply = event->reply,
        .headers = event->headers,
        .status = event->status,
        .payload = event->payload,
    };
    if (event->subscription == LINK_INBOX_NUMBER) {
        if (!link_on_reply(n, &m))
            n->strays++;
        return;
    }
    nats_subscription *s = subscription_find(n, event->subscription);
    if (s == NULL)
        return; // unsubscribed, and the server did not know yet
    if (s->delivery || nats_subject_match(str_of(s->subject), m.subject))
        s->on(s->data, &m);
    else
        n->strays++;
}
