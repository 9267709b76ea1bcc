// Holds a request or reply back until the copies here are as far as its sender's logs were.
//
// Any node may say any position. So one that does not come is waited for a moment only, as long as
// the log itself is followed: POSITION_MS. Then the message is delivered as it is, and for
// DISTRUST_MS no position of that log is waited for, whoever says it: what one liar can do is to
// hold what comes in the first POSITION_MS of each DISTRUST_MS back by that long; that a reader
// then sees what was true a moment ago is the price. A log that is not followed now (its server is
// gone) is waited for longer, and then the message is dropped: its ask ends by its deadline.
//
// What is said of a log that this node does not keep is passed on for SEEN_MS, and only if its
// sender said it of a log of its own: hearsay goes one step, so that a lie does not go round.
#include "mesh/nats_held.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/str.h"

#include <stdlib.h>

enum {
    POSITION_MS = 2000,
    DISTRUST_MS = 10 * 1000,
    SEEN_MS = 10 * 1000,
    HELD_MS_MAX = 10 * 1000,
    HELD_TICK_MS = 50,
};

str nats_positions(nats_engine *n, char out[static POSITIONS_BYTES_MAX])
{
    positions p = {.at = {0}};
    uint64_t now = clock_now_ms();
    for (size_t i = 0; i < n->shards->count; i++) {
        p.own[i] = n->logs[i] != NULL;
        if (p.own[i])
            p.at[i] = nats_log_visible(n->logs[i]);
        else if (now < n->seen[i].until_ms)
            p.at[i] = n->seen[i].position;
    }
    return positions_write(&p, out);
}

static void positions_note(nats_engine *n, const positions *p)
{
    uint64_t now = clock_now_ms();
    for (size_t i = 0; i < n->shards->count; i++) {
        bool old = now >= n->seen[i].until_ms;
        if (n->logs[i] == NULL && p->own[i] && (old || p->at[i] >= n->seen[i].position)) {
            n->seen[i].position = p->at[i];
            n->seen[i].until_ms = now + SEEN_MS;
        }
    }
}

static bool position_reached(const nats_engine *n, size_t i, const held *h, uint64_t now)
{
    return n->logs[i] == NULL || nats_log_applied(n->logs[i]) >= h->wanted.at[i] ||
           now < n->distrusted_ms[i];
}

static bool positions_reached(const nats_engine *n, const held *h, uint64_t now)
{
    for (size_t i = 0; i < n->shards->count; i++)
        if (!position_reached(n, i, h, now))
            return false;
    return true;
}

// What has waited long enough for logs that are followed well is told to go on.
static void positions_distrust(nats_engine *n, const held *h, uint64_t now)
{
    for (size_t i = 0; i < n->shards->count; i++) {
        if (position_reached(n, i, h, now) || !nats_log_follows(n->logs[i]))
            continue;
        n->distrusted_ms[i] = now + DISTRUST_MS;
        log_line(n->log, LOG_WARN, "a node spoke of records that did not come", "log",
                 str_of(n->shards->all[i].name), "from",
                 h->from != NULL ? str_of(h->from) : STR("an answer"), NULL);
    }
}

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

static void held_tick(void *data)
{
    nats_engine *n = data;
    if (chain_first(&n->held) != NULL)
        nats_later(n, &n->held_tick, HELD_TICK_MS);
    nats_reached(n);
}

void nats_held_add(nats_engine *n, held *h, str bytes)
{
    buf_open(&h->bytes, MESSAGE_BYTES_MAX);
    buf_add(&h->bytes, bytes);
    chain_init(&h->link);
    if (h->bytes.error.code != OK) {
        held_free(h); // larger than any message: its ask ends by its deadline
        return;
    }
    h->since_ms = clock_now_ms();
    positions_note(n, &h->wanted);
    chain_add(&n->held, &h->link);
    if (positions_reached(n, h, h->since_ms)) {
        held_deliver(n, h);
    } else if (n->held_tick.at_ms == 0) {
        n->held_tick.run = held_tick;
        n->held_tick.data = n;
        nats_later(n, &n->held_tick, HELD_TICK_MS);
    }
}

// The first that waits no more, from the start each time: a delivery may end others.
static held *held_due(nats_engine *n, uint64_t now, bool *reached)
{
    for (chain *c = n->held.next; c != &n->held; c = c->next) {
        held *h = (held *)c;
        // NOLINTNEXTLINE(clang-analyzer-*): what is freed left its ring before, a ring has no NULL
        if (now >= h->since_ms + POSITION_MS)
            positions_distrust(n, h, now);
        *reached = positions_reached(n, h, now);
        if (*reached || now >= h->since_ms + HELD_MS_MAX)
            return h;
    }
    return NULL;
}

void nats_reached(nats_engine *n)
{
    uint64_t now = clock_now_ms();
    bool reached = false;
    held *h;
    while ((h = held_due(n, now, &reached)) != NULL) {
        if (reached)
            held_deliver(n, h);
        else
            held_free(h);
    }
    nats_check_ready(n);
}

void nats_held_leave(mesh *m)
{
    nats_engine *n = (nats_engine *)m->engine;
    for (chain *c = n->held.next, *next; c != &n->held; c = next) {
        next = c->next;
        held *h = (held *)c;
        if (h->node != m)
            continue;
        nats_refuse(n, str_of(h->reply), fail(ERR_CLOSED, 0, "the node that was asked left"));
        held_free(h);
    }
}

void nats_held_close(nats_engine *n)
{
    held *h;
    nats_later_cancel(&n->held_tick);
    while ((h = chain_first(&n->held)) != NULL)
        held_free(h);
}
