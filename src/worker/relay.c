// What a p2p door gets that is no call goes to the control process, which answers it.
#include "base/str.h"
#include "worker/worker_inner.h"

#include <string.h>

struct relay {
    worker *worker;
    http_exchange *x;
    uint64_t ticket;
    bool gateway;
};

static str ticket_key(const uint64_t *ticket)
{
    return (str){(const char *)ticket, sizeof(*ticket)};
}

static void relay_on_broken(void *user, http_exchange *x)
{
    (void)x;
    struct relay *r = user;
    (void)map_remove(r->worker->relays, ticket_key(&r->ticket));
}

static void relay_on_body(void *user, http_exchange *x, str body)
{
    struct relay *r = user;
    worker *w = r->worker;
    const tls_peer *peer = http_peer(x);
    worker_relay message = {
        .ticket = r->ticket,
        .peer = peer != NULL ? peer->uri : STR(""),
        .subject = r->gateway ? STR("gateway") : STR("substrate"),
        .body = body,
    };
    err e = map_put(w->relays, ticket_key(&r->ticket), r, NULL);
    if (e.code == OK)
        e = link_send(w->link, MSG_worker_relay, &message, NULL, 0);
    if (e.code == OK)
        return;
    (void)map_remove(w->relays, ticket_key(&r->ticket));
    http_on_broken(x, NULL);
    http_answer_err(x, e);
}

void relay_request(worker *w, http_exchange *x, bool gateway)
{
    const http_request *r = http_request_of(x);
    if (str_is(r->path, STR("/ping"))) {
        http_answer_text(x, 200, "text/plain", STR("pong"));
        return;
    }
    if (!str_is(r->path, STR("/ask")) || !str_is(r->method, STR("POST"))) {
        http_answer_err(x,
                        fail(ERR_ABSENT, 0, "a peer-to-peer door knows POST /ask and GET /ping"));
        return;
    }
    arena *a = http_arena(x);
    struct relay *made = a != NULL ? arena_take(a, sizeof(*made)) : NULL;
    if (made == NULL) {
        http_answer_err(x, fail(ERR_MEMORY, 0, "ask"));
        return;
    }
    *made = (struct relay){.worker = w, .x = x, .ticket = ++w->numbers, .gateway = gateway};
    http_set_user(x, made);
    http_on_broken(x, relay_on_broken);
    http_collect(x, RELAY_BYTES_MAX, relay_on_body);
}

void relay_on_reply(worker *w, const worker_relayed *m)
{
    struct relay *r = map_remove(w->relays, ticket_key(&m->ticket));
    if (r == NULL)
        return; // the peer has gone
    http_on_broken(r->x, NULL);
    http_answer_text(r->x, 200, "application/octet-stream", m->body);
}
