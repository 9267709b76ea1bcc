// Fetches blobs from peers: over mutual TLS, into a draft that helper threads write, checked, kept.
//
// The happy path is: 1. hoarders say who holds it (or the caller knew), 2. heartbeats say where
// that node's door is, 3. GET /blob/HASH, 4. pieces go to the draft off the loop, 5. the hash is
// right, the file synced and placed, 6. whoever waits is told. What can fail: a holder (the next
// one is tried, all of them twice), our own disk (the fetch ends), time.
#include "mesh/blob.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/str.h"
#include "mesh/blob_inner.h"
#include "mesh/identity.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct waiter waiter;
struct waiter {
    waiter *next;
    mesh_blob_done *done;
    void *data;
    const void *owner;
};

typedef struct holder {
    char name[PEER_TEXT_MAX], address[PEER_TEXT_MAX];
    uint16_t port;
} holder;

struct transfer {
    transfer *next;
    blob_door *door; // NULL: the node has left; freed when nobody works for it any more
    loop *loop;
    blobs *into;
    sha256 hash;
    char target[sizeof "/blob/" + SHA256_HEX];
    uint64_t bytes_max, until_ms;
    waiter *waiters;
    timer *timer; // the first step, a pause, or a peer that stalls
    // who is tried
    holder holders[HOLDERS_MAX];
    size_t count, at;
    bool located, seen; // hoarders, seer were asked
    bool again;         // all were tried once more
    bool stumbled;      // over something that may be better next time
    bool asking;        // an ask of the mesh is on its way
    // the attempt
    char universe[PEER_TEXT_MAX], node[PEER_TEXT_MAX];
    tls_context *tls;
    http_call *call;
    err attempt;
    bool ended; // all bytes are in `filling`, or the attempt failed
    uint64_t got;
    buf filling, writing;
    blob_draft *draft;
    bool working, last, kept;
    err work_error;
    bool finishing; // its waiters are being told
};

static void transfer_step(transfer *t);
static void transfer_pump(transfer *t);

static void transfer_free(transfer *t)
{
    if (t->door != NULL)
        for (transfer **at = &t->door->transfers; *at != NULL; at = &(*at)->next)
            if (*at == t) {
                *at = t->next;
                break;
            }
    timer_close(t->timer);
    tls_context_close(t->tls);
    blob_draft_drop(t->draft);
    buf_close(&t->filling);
    buf_close(&t->writing);
    blobs_close(t->into);
    free(t);
}

static bool transfer_is_gone(transfer *t)
{
    if (t->door != NULL)
        return false;
    if (!t->working && !t->asking && !t->finishing)
        transfer_free(t);
    return true;
}

static void waiters_tell(transfer *t, const void *owner, err e)
{
    uint64_t size = 0;
    if (e.code == OK && !blobs_has(t->into, &t->hash, &size))
        e = fail(ERR_ABSENT, 0, "the blob was removed as it came");
    for (waiter **at = &t->waiters, *w; (w = *at) != NULL;) {
        if (owner != NULL && w->owner != owner) {
            at = &w->next;
            continue;
        }
        *at = w->next;
        w->done(w->data, e, size);
        free(w);
        at = &t->waiters; // `done` may have ended others
    }
}

static void transfer_finish(transfer *t, err e)
{
    t->finishing = true;
    waiters_tell(t, NULL, e);
    t->finishing = false;
    transfer_free(t);
}

// ---- the bytes

static void transfer_work(void *data)
{
    transfer *t = data;
    if (t->attempt.code != OK) {
        blob_draft_drop(t->draft);
        t->draft = NULL;
        return;
    }
    err e = t->draft == NULL ? blob_draft_open(&t->draft, t->into) : ok();
    if (e.code == OK)
        e = blob_draft_add(t->draft, buf_str(&t->writing));
    if (e.code == OK && t->last) {
        e = blob_draft_keep(t->draft, &t->hash);
        t->draft = NULL;
        t->kept = e.code == OK;
    }
    t->work_error = e;
}

static void transfer_fail(transfer *t, err e)
{
    if (t->attempt.code == OK)
        t->attempt = e;
    t->ended = true;
    if (t->call != NULL)
        http_call_cancel(t->call);
    t->call = NULL;
}

static void transfer_on_work(void *data)
{
    transfer *t = data;
    t->working = false;
    if (transfer_is_gone(t))
        return;
    if (t->work_error.code != OK)
        transfer_fail(t, t->work_error);
    transfer_pump(t);
}

static void transfer_start_work(transfer *t)
{
    t->working = true;
    if (loop_work(t->loop, transfer_work, transfer_on_work, t).code == OK)
        return;
    transfer_work(t);
    transfer_on_work(t);
}

// What comes of an attempt that failed: the next holder, unless the trouble is our own.
static void transfer_next(transfer *t)
{
    bool ours = t->work_error.code != OK && t->work_error.code != ERR_SYNTAX;
    if (ours || t->attempt.code == ERR_LIMIT) {
        transfer_finish(t, t->attempt);
        return;
    }
    t->stumbled = t->stumbled || t->attempt.code != ERR_ABSENT;
    t->at++;
    transfer_step(t);
}

static void transfer_pump(transfer *t)
{
    if (t->working)
        return;
    if (t->kept) {
        transfer_finish(t, ok());
    } else if (t->attempt.code != OK && t->draft != NULL) {
        transfer_start_work(t);
    } else if (t->attempt.code != OK) {
        transfer_next(t);
    } else if (t->ended || t->filling.len >= BLOB_CHUNK_BYTES) {
        buf now = t->writing;
        t->writing = t->filling;
        t->filling = now;
        buf_clear(&t->filling);
        t->last = t->ended;
        if (t->call != NULL) {
            http_call_read_pause(t->call, false);
            timer_start(t->timer, BLOB_STALL_MS, 0);
        }
        transfer_start_work(t);
    }
}

// ---- one holder

static void transfer_on_head(void *data, http_call *c, const http_answer_head *head)
{
    (void)c;
    transfer *t = data;
    timer_start(t->timer, BLOB_STALL_MS, 0);
    bool sized = head->content_length != UINT64_MAX;
    if (head->status == 404)
        t->attempt = fail(ERR_ABSENT, 0, "the peer does not have this blob");
    else if (head->status != 200)
        t->attempt = fail(ERR_DENIED, 0, "the peer does not give this blob");
    else if (sized && head->content_length > t->bytes_max)
        t->attempt = fail(ERR_LIMIT, 0, "the blob is too large");
}

static void transfer_on_piece(void *data, http_call *c, str piece)
{
    transfer *t = data;
    if (t->attempt.code != OK) { // of an answer that is no blob
        transfer_fail(t, t->attempt);
        transfer_pump(t);
        return;
    }
    timer_start(t->timer, BLOB_STALL_MS, 0);
    t->got += piece.len;
    buf_add(&t->filling, piece);
    if (t->got > t->bytes_max || t->filling.error.code != OK) {
        transfer_fail(t, fail(ERR_LIMIT, 0, "the blob is too large"));
        transfer_pump(t);
        return;
    }
    if (t->working && t->filling.len >= BLOB_CHUNK_BYTES)
        http_call_read_pause(c, true);
    transfer_pump(t);
}

static void
transfer_on_done(void *data, http_call *c, err e, const http_answer_head *head, str body)
{
    (void)c;
    (void)head;
    (void)body;
    transfer *t = data;
    t->call = NULL;
    t->ended = true;
    if (t->attempt.code == OK)
        t->attempt = e;
    timer_stop(t->timer);
    transfer_pump(t);
}

// The chain ends in this universe's authority; the name must be the one we wanted.
static bool transfer_allow(void *data, str peer_uri, str serial_hex)
{
    (void)serial_hex;
    const transfer *t = data;
    identity who;
    return identity_read(peer_uri, &who).code == OK && str_is(who.universe, str_of(t->universe)) &&
           str_is(who.node, str_of(t->node));
}

static err transfer_send(transfer *t, const holder *h)
{
    blob_door *d = t->door;
    if (d->certificate.len == 0)
        return fail(ERR_UNSUPPORTED, 0, "this node has no certificate to fetch blobs with");
    (void)snprintf(t->universe, sizeof t->universe, "%s", d->universe);
    (void)snprintf(t->node, sizeof t->node, "%s", h->name);
    tls_settings tls = {.certificate_pem = buf_str(&d->certificate),
                        .key_pem = buf_str(&d->key),
                        .ca_pem = buf_str(&d->ca),
                        .allow = transfer_allow,
                        .data = t};
    tls_context_close(t->tls);
    t->tls = NULL;
    TRY(tls_context_open(&t->tls, &tls));
    uint64_t now = loop_now_ms(t->loop);
    http_client_request request = {.address = h->address,
                                   .port = h->port,
                                   .tls = t->tls,
                                   .method = STR("GET"),
                                   .target = str_of(t->target),
                                   .host = STR("node"),
                                   .deadline_ms = t->until_ms > now ? t->until_ms - now : 1,
                                   .on_head = transfer_on_head,
                                   .on_piece = transfer_on_piece,
                                   .on_done = transfer_on_done,
                                   .data = t};
    TRY(http_client_send(d->http, &request, &t->call));
    timer_start(t->timer, BLOB_STALL_MS, 0);
    return ok();
}

static void transfer_try(transfer *t, const holder *h)
{
    t->attempt = t->work_error = ok();
    t->ended = t->last = false;
    t->got = 0;
    buf_clear(&t->filling);
    buf_clear(&t->writing);
    err e = transfer_send(t, h);
    if (e.code == OK)
        return;
    t->attempt = e;
    t->stumbled = true;
    t->at++;
    timer_start(t->timer, 1, 0); // the next one
}

// ---- who is tried

static void transfer_add_holder(transfer *t, str name, str address, uint64_t port)
{
    name = str_cut(&name, '@');
    str self = mesh_node_short(t->door->mesh);
    if (t->count == HOLDERS_MAX || str_is(name, self) || name.len == 0 ||
        name.len >= PEER_TEXT_MAX || address.len >= PEER_TEXT_MAX || port > UINT16_MAX)
        return;
    for (size_t i = 0; i < t->count; i++)
        if (str_is(str_of(t->holders[i].name), name))
            return;
    holder *h = &t->holders[t->count++];
    (void)snprintf(h->name, sizeof h->name, "%.*s", STR_ARG(name));
    (void)snprintf(h->address, sizeof h->address, "%.*s", STR_ARG(address));
    h->port = (uint16_t)port;
}

static void transfer_on_located(void *data, err e, const void *fields)
{
    transfer *t = data;
    const hoarder_locate_reply *reply = fields;
    t->asking = false;
    if (transfer_is_gone(t))
        return;
    t->located = true;
    t->stumbled = t->stumbled || e.code != OK;
    for (size_t i = 0; e.code == OK && i < reply->holders.count; i++)
        transfer_add_holder(t, reply->holders.at[i].name, reply->holders.at[i].address,
                            reply->holders.at[i].port);
    transfer_step(t);
}

static void transfer_on_nodes(void *data, err e, const void *fields)
{
    transfer *t = data;
    t->asking = false;
    if (transfer_is_gone(t))
        return;
    if (e.code == OK)
        peers_take(t->door, fields);
    transfer_step(t);
}

static void transfer_ask(transfer *t, message_kind kind, const void *fields, mesh_replied *then)
{
    t->asking = true;
    mesh_ask(t->door->mesh, STR(""), kind, NULL, fields, BLOB_ASK_MS, then, t);
}

// True when the holder's door is known now; false: asked, or passed over.
static bool transfer_knows(transfer *t, holder *h)
{
    const peer *p = peers_find(t->door, str_of(h->name));
    if (p != NULL && p->port != 0 && p->address[0] != '\0') { // heard by ourselves
        memcpy(h->address, p->address, sizeof h->address);
        h->port = p->port;
    }
    return h->port != 0 && h->address[0] != '\0';
}

static void transfer_step(transfer *t)
{
    if (blobs_has(t->into, &t->hash, NULL)) {
        transfer_finish(t, ok());
        return;
    }
    if (loop_now_ms(t->loop) >= t->until_ms) {
        transfer_finish(t, fail(ERR_TIMEOUT, 0, "the blob did not come in time"));
        return;
    }
    for (; t->at < t->count; t->at++) {
        holder *h = &t->holders[t->at];
        if (transfer_knows(t, h)) {
            transfer_try(t, h);
            return;
        }
        if (!t->seen) {
            t->seen = true;
            seer_nodes_request all = {.protocol = STR("")};
            transfer_ask(t, MSG_seer_nodes, &all, transfer_on_nodes);
            return;
        }
    }
    if (!t->located) {
        hoarder_locate_request where = {.hash = str_from(str_of(t->target), sizeof "/blob/" - 1)};
        transfer_ask(t, MSG_hoarder_locate, &where, transfer_on_located);
    } else if (t->stumbled && !t->again) {
        t->again = true;
        t->at = 0;
        t->located = t->seen = false;
        timer_start(t->timer, BLOB_PAUSE_MS, 0);
    } else {
        bool tried = t->attempt.code != OK && t->attempt.code != ERR_ABSENT;
        transfer_finish(t, tried ? t->attempt
                                 : fail(ERR_ABSENT, 0, "no node that answers has this blob"));
    }
}

static void transfer_on_timer(void *data)
{
    transfer *t = data;
    if (t->call == NULL) {
        if (!t->working && !t->asking)
            transfer_step(t);
        return;
    }
    if (t->working) { // our own disk is slow: no fault of the peer
        timer_start(t->timer, BLOB_STALL_MS, 0);
        return;
    }
    transfer_fail(t, fail(ERR_TIMEOUT, 0, "the peer sends no more"));
    transfer_pump(t);
}

// ---- from outside

static err transfer_open(blob_door *d, const mesh_blob_request *r, transfer **out)
{
    transfer *t = fault_hits(FAULT_MEMORY) ? NULL : calloc(1, sizeof *t);
    if (t == NULL)
        return fail(ERR_MEMORY, 0, "fetch blob");
    char hex[SHA256_HEX + 1];
    t->loop = d->mesh->engine->loop;
    err e = timer_open(&t->timer, t->loop, transfer_on_timer, t);
    if (e.code != OK) {
        free(t);
        return e;
    }
    sha256_hex(r->hash, hex);
    (void)snprintf(t->target, sizeof t->target, "/blob/%s", hex);
    t->door = d;
    t->into = blobs_share(r->into);
    t->hash = r->hash;
    t->until_ms = loop_now_ms(t->loop) + BLOB_FETCH_MS;
    buf_open(&t->filling, BLOB_QUEUE_BYTES_MAX);
    buf_open(&t->writing, BLOB_QUEUE_BYTES_MAX);
    t->next = d->transfers;
    d->transfers = t;
    timer_start(t->timer, 0, 0);
    *out = t;
    return ok();
}

err mesh_blob_fetch(mesh *m, const mesh_blob_request *r)
{
    blob_door *d;
    TRY(blob_door_of(m, &d));
    waiter *w = fault_hits(FAULT_MEMORY) ? NULL : calloc(1, sizeof *w);
    if (w == NULL)
        return fail(ERR_MEMORY, 0, "fetch blob");
    transfer *t = d->transfers;
    while (t != NULL && (t->finishing || t->into != r->into ||
                         memcmp(t->hash.bytes, r->hash.bytes, SHA256_BYTES) != 0))
        t = t->next;
    err e = t == NULL ? transfer_open(d, r, &t) : ok();
    if (e.code != OK) {
        free(w);
        return e;
    }
    *w = (waiter){.done = r->done, .data = r->data, .owner = r->owner};
    waiter **at = &t->waiters;
    while (*at != NULL)
        at = &(*at)->next;
    *at = w;
    t->bytes_max = r->bytes_max > t->bytes_max ? r->bytes_max : t->bytes_max;
    transfer_add_holder(t, r->node, STR(""), 0);
    return ok();
}

void mesh_blob_cancel(mesh *m, const void *owner)
{
    blob_door *d = m->blob_door;
    for (transfer *t = d != NULL ? d->transfers : NULL; t != NULL; t = t->next)
        if (owner != NULL)
            waiters_tell(t, owner, fail(ERR_CLOSED, 0, "cancelled"));
}

bool transfers_leave(blob_door *d)
{
    transfer *t = d->transfers;
    if (t == NULL)
        return false;
    d->transfers = t->next;
    if (t->call != NULL)
        http_call_cancel(t->call);
    t->call = NULL;
    t->door = NULL;
    timer_stop(t->timer);
    bool nested = t->finishing;
    t->finishing = true;
    waiters_tell(t, NULL, fail(ERR_CLOSED, 0, "this node left"));
    t->finishing = nested;
    (void)transfer_is_gone(t);
    return true;
}
