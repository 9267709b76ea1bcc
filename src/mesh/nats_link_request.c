// Requests of a link: each has a number, a reply subject in our inbox and a deadline.
//
// Any node may publish to any inbox (there is no other way to answer): the subject of each request
// ends with a secret of its own, so that only who was asked can answer it.
//
// The happy path is: published with its own reply subject, the reply comes, on_reply. What can
// fail: nobody listens (503), the server denies the subject, the deadline, memory.
#include "base/clock.h"
#include "base/fault.h"
#include "base/hash.h"
#include "base/str.h"
#include "mesh/nats_link_inner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- the heap: the first ends first
static void heap_put(nats_link *n, size_t at, link_request *r)
{
    n->heap[at] = r;
    r->place = at;
}

static void heap_settle(nats_link *n, size_t at)
{
    link_request *r = n->heap[at];
    while (at > 0 && n->heap[(at - 1) / 2]->until_ms > r->until_ms) {
        heap_put(n, at, n->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    for (size_t child; (child = 2 * at + 1) < n->heap_count; at = child) {
        if (child + 1 < n->heap_count && n->heap[child + 1]->until_ms < n->heap[child]->until_ms)
            child++;
        if (n->heap[child]->until_ms >= r->until_ms)
            break;
        heap_put(n, at, n->heap[child]);
    }
    heap_put(n, at, r);
}

static void heap_add(nats_link *n, link_request *r)
{
    if (n->heap_count == n->heap_room) {
        n->heap_room = n->heap_room == 0 ? 64 : n->heap_room * 2;
        // NOLINTNEXTLINE(bugprone-sizeof-expression): it holds pointers
        n->heap = reallocarray(n->heap, n->heap_room, sizeof *n->heap);
        if (n->heap == NULL)
            abort(); // even the failure could not be told
    }
    heap_put(n, n->heap_count++, r);
    heap_settle(n, r->place);
}

static void heap_remove(nats_link *n, link_request *r)
{
    link_request *last = n->heap[--n->heap_count];
    if (last == r)
        return;
    heap_put(n, r->place, last);
    heap_settle(n, last->place);
}

link_request *link_request_find(nats_link *n, uint64_t number)
{
    chain *slot = &n->request_slots[number % LINK_SLOTS];
    for (chain *c = slot->next; c != slot; c = c->next)
        if (((link_request *)c)->number == number)
            return (link_request *)c;
    return NULL;
}

static void request_free(nats_link *n, link_request *r)
{
    chain_remove(&r->link);
    heap_remove(n, r);
    free(r->subject);
    free(r);
}

// The callback runs when the request is no longer to be found: it may ask again, or close the link.
void link_request_end(nats_link *n, link_request *r, err e, const nats_message *m)
{
    nats_replied *on_reply = r->on_reply;
    void *data = r->data;
    request_free(n, r);
    on_reply(data, e, e.code == OK ? m : NULL);
}

static link_request *heap_first(nats_link *n)
{
    // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): what is freed left the heap before
    return n->heap_count > 0 ? n->heap[0] : NULL;
}

void link_requests_tick(nats_link *n, uint64_t now_ms)
{
    // Those with this deadline that a callback adds wait for the next tick.
    uint64_t newest = n->numbers;
    link_request *r = heap_first(n);
    while (r != NULL && r->until_ms <= now_ms && r->number <= newest) {
        link_request_end(n, r, r->error, NULL);
        r = heap_first(n);
    }
    if (r != NULL)
        link_due(n, r->until_ms);
}

void link_requests_close(nats_link *n)
{
    for (link_request *r; (r = heap_first(n)) != NULL;)
        link_request_end(n, r, fail(ERR_CLOSED, 0, "the link was closed"), NULL);
    free(n->heap);
    n->heap = NULL;
    n->heap_room = 0;
}

// re.NAME.INCARNATION.NUMBER.SECRET
bool link_number(nats_link *n, str subject, uint64_t *out, str *secret)
{
    str own = {n->inbox, n->inbox_len}, incarnation = own;
    (void)str_cut(&incarnation, '.');
    (void)str_cut(&incarnation, '.');
    bool inbox = str_is(str_cut(&subject, '.'), STR("re"));
    (void)str_cut(&subject, '.');
    if (!inbox || !str_starts(subject, incarnation))
        return false;
    *secret = str_from(subject, incarnation.len);
    return str_number(str_cut(secret, '.'), out).code == OK;
}

bool link_on_reply(nats_link *n, const nats_message *m)
{
    uint64_t number;
    str secret;
    if (!link_number(n, m->subject, &number, &secret))
        return false;
    link_request *r = link_request_find(n, number);
    if (r == NULL || !str_is(secret, str_of(r->secret)))
        return true; // late, twice, cancelled or forged
    if (m->status == 503)
        link_request_end(n, r, fail(ERR_BUSY, 0, "no node that runs serves this"), NULL);
    else
        link_request_end(n, r, ok(), m);
    return true;
}

static void link_on_named(void *data, const nats_message *m)
{
    (void)link_on_reply(data, m);
}

static void secret_make(char out[LINK_SECRET_BYTES + 1])
{
    hex_random(out, LINK_SECRET_BYTES / 2);
}

err nats_link_name(nats_link *n, str name)
{
    char subject[LINK_SUBJECT_BYTES_MAX];
    nats_subscription *s;
    str rest = {n->inbox, n->inbox_len};
    (void)str_cut(&rest, '.');
    (void)str_cut(&rest, '.');
    int len = snprintf(subject, sizeof subject, "re.%.*s.%.*s>", STR_ARG(name), STR_ARG(rest));
    if (len < 0 || (size_t)len >= sizeof subject)
        return fail(ERR_LIMIT, 0, "name on the mesh");
    return nats_subscribe(&s, n, str_of(subject), STR(""), link_on_named, n);
}

// ---- the two calls of the header
uint64_t nats_request(nats_link *n,
                      const nats_outgoing *out,
                      uint64_t deadline_ms,
                      nats_replied *on_reply,
                      void *data)
{
    if (n->closing)
        return 0;
    link_request *r = mesh_must_take(sizeof *r);
    *r = (link_request){.number = ++n->numbers, .on_reply = on_reply, .data = data};
    r->subject = mesh_must_copy(out->subject);
    secret_make(r->secret);
    r->error = fail(ERR_TIMEOUT, 0, "no answer in time");
    uint64_t now = clock_now_ms(); // the loop's own may be old: a callback may have run long
    if (__builtin_add_overflow(now, deadline_ms, &r->until_ms) || r->until_ms > UINT64_MAX / 2)
        r->until_ms = UINT64_MAX / 2;
    char reply[LINK_SUBJECT_BYTES_MAX];
    str rest = {n->inbox, n->inbox_len};
    (void)str_cut(&rest, '.');
    str as = str_cut(&rest, '.');
    int len = snprintf(reply, sizeof reply, "re.%.*s.%.*s%llu.%s",
                       STR_ARG(out->as.len > 0 ? out->as : as), STR_ARG(rest),
                       (unsigned long long)r->number, r->secret);
    nats_outgoing with = *out;
    with.reply = (str){reply, (size_t)len};
    err e = len > 0 && (size_t)len < sizeof reply ? link_publish(n, &with, r->number)
                                                  : fail(ERR_LIMIT, 0, "name on the mesh");
    if (e.code != OK) {
        r->error = e;
        r->until_ms = now;
    }
    chain_add(&n->request_slots[r->number % LINK_SLOTS], &r->link);
    heap_add(n, r);
    link_due(n, r->until_ms);
    return r->number;
}

void nats_request_cancel(nats_link *n, uint64_t number)
{
    link_request *r = link_request_find(n, number);
    if (r != NULL)
        request_free(n, r);
}

// ---- what the server denies
static bool denial_is_news(nats_link *n, str text)
{
    uint64_t digest = 14695981039346656037u, now = clock_now_ms();
    for (size_t i = 0; i < text.len; i++)
        digest = (digest ^ (unsigned char)text.at[i]) * 1099511628211u;
    size_t oldest = 0;
    for (size_t i = 0; i < LINK_DENIALS; i++) {
        if (n->denials[i].digest == digest && now - n->denials[i].at_ms < LINK_DENIAL_MS)
            return false;
        if (n->denials[i].at_ms < n->denials[oldest].at_ms)
            oldest = i;
    }
    n->denials[oldest].digest = digest;
    n->denials[oldest].at_ms = now;
    return true;
}

static bool request_is_denied(nats_link *n, const link_request *r, str subject)
{
    uint64_t number;
    str secret;
    if (link_number(n, subject, &number, &secret))
        return r->number == number;
    return str_is(str_of(r->subject), subject);
}

// Each end runs a callback, which may end others: look again from the start.
static void requests_deny(nats_link *n, str subject)
{
    uint64_t newest = n->numbers;
    for (size_t i = 0; !n->closing && i < n->heap_count; i++) {
        link_request *r = n->heap[i];
        if (r->number > newest || !request_is_denied(n, r, subject))
            continue;
        link_request_end(n, r, fail(ERR_DENIED, 0, "the mesh does not let this node ask that"),
                         NULL);
        i = SIZE_MAX;
    }
}

void link_on_error(nats_link *n, str text)
{
    size_t open = str_find_byte(text, '"');
    str subject = str_from(text, open + 1);
    subject = str_first(subject, str_find_byte(subject, '"'));
    if (denial_is_news(n, text))
        log_line(n->log, LOG_WARN, "the mesh's server refuses", "text", text, NULL);
    if (str_find(text, STR("Authorization Violation")) < text.len ||
        str_find(text, STR("Authentication")) < text.len)
        n->refused = true;
    if (str_starts(text, STR("Permissions Violation for Publish")) && subject.len > 0)
        requests_deny(n, subject);
}
