// The gateway: forwards a public request to a substrate over mutual TLS, and its answer back, both
// as they come.
//
// The happy path is: 1. the host is one that substrates serve; 2. the backend with the highest
// score for host and path gets the request (so that warm modules stay warm); 3. head and pieces of
// the answer go out as they arrive, each side slowed by the other. What can fail: no backend (503),
// one that is gone (the next is tried as long as nothing can have run: 502 then), one too slow
// (504), and after the head has left, only breaking the connection is honest.
#include "base/clock.h"
#include "base/str.h"
#include "worker/proxy_inner.h"

#include <stdlib.h>
#include <string.h>

static tally *tally_of(worker *w, str node)
{
    tally *t = map_get(w->tallies, node);
    if (t != NULL)
        return t;
    t = calloc(1, sizeof(*t) + node.len + 1);
    if (t == NULL)
        return NULL;
    char *name = (char *)(t + 1);
    memcpy(name, node.at, node.len);
    t->node = (str){name, node.len};
    if (map_put(w->tallies, node, t, NULL).code != OK) {
        free(t);
        return NULL;
    }
    return t;
}

static void tally_add(proxied *p, bool failed)
{
    worker *w = p->worker;
    tally *t = tally_of(w, p->tried[p->tries - 1]);
    if (t == NULL)
        return;
    t->requests++;
    t->failures += failed;
    t->time_us += clock_now_us() - p->started_us;
    t->changed = true;
    if (failed)
        t->failed_ms = loop_now_ms(w->loop);
}

// Highest random weight: each request has an order of its own over all backends, the same in every
// gateway.
static uint64_t backend_score(const proxied *p, str node)
{
    return snapshot_hash(snapshot_hash(snapshot_hash(1, p->request->host), p->request->path), node);
}

static bool backend_is_tried(const proxied *p, str node)
{
    for (size_t i = 0; i < p->tries; i++)
        if (str_is(p->tried[i], node))
            return true;
    return false;
}

static const snapshot_backend *backend_choose(const proxied *p)
{
    worker *w = p->worker;
    const snapshot_backend *all = snapshot_backends(w->snapshot), *best = NULL;
    uint64_t best_score = 0, now = loop_now_ms(w->loop);
    bool best_well = false;
    for (uint32_t i = 0; i < w->snapshot->backends.count; i++) {
        str node = snapshot_str(w->snapshot, all[i].node);
        if (backend_is_tried(p, node))
            continue;
        const tally *t = map_get(w->tallies, node);
        bool well = t == NULL || t->failed_ms == 0 || now - t->failed_ms > BACKEND_FAILED_MS;
        uint64_t score = backend_score(p, node);
        if (best == NULL || (well && !best_well) || (well == best_well && score > best_score)) {
            best = &all[i];
            best_score = score;
            best_well = well;
        }
    }
    return best;
}

static void proxy_end(proxied *p, const refusal *r)
{
    http_exchange *x = p->x;
    worker *w = p->worker;
    http_on_broken(x, NULL);
    p->call = NULL;
    w->gateway_requests++;
    w->gateway_failures += r != NULL;
    w->gateway_changed = true;
    if (r == NULL)
        http_finish(x);
    else if (p->started)
        http_break(x);
    else
        refuse(x, r);
}

// ---- the answer

static void proxy_on_head(void *data, http_call *c, const http_answer_head *head)
{
    proxied *p = data;
    (void)c;
    http_headers headers;
    if (proxy_headers(http_arena(p->x), &head->headers, 0, &headers).code != OK)
        headers.count = 0;
    p->started = true;
    http_start(p->x, head->status, &headers, head->content_length);
}

static void proxy_on_drain(void *user, http_exchange *x)
{
    (void)x;
    proxied *p = user;
    if (p->call != NULL)
        http_call_read_pause(p->call, false);
}

static void proxy_on_piece(void *data, http_call *c, str piece)
{
    proxied *p = data;
    if (http_send(p->x, piece).code != OK)
        return; // the client is gone: on_broken comes
    if (http_send_full(p->x)) {
        http_call_read_pause(c, true);
        http_on_drain(p->x, proxy_on_drain);
    }
}

static bool method_is_idempotent(str m)
{
    return str_is(m, STR("GET")) || str_is(m, STR("HEAD")) || str_is(m, STR("OPTIONS")) ||
           str_is(m, STR("PUT")) || str_is(m, STR("DELETE"));
}

// Whether another backend may get the request: it can not have run, or running twice does no harm.
static bool proxy_may_repeat(const proxied *p, err e)
{
    if (p->started || p->streamed || p->tries == PROXY_TRIES_MAX || e.code == ERR_TIMEOUT)
        return false;
    return connect_was_refused(e) || method_is_idempotent(p->request->method);
}

static const refusal *refusal_of(err e)
{
    static const refusal gone = {502, "backend", "the substrate did not answer", {0}};
    static const refusal slow = {504, "timeout", "the substrate did not answer in time", {0}};
    return e.code == ERR_TIMEOUT ? &slow : &gone;
}

static void proxy_try(proxied *p);

static void proxy_on_done(void *data, http_call *c, err e, const http_answer_head *head, str body)
{
    (void)c;
    (void)head;
    (void)body;
    proxied *p = data;
    tally_add(p, e.code != OK);
    p->call = NULL;
    if (e.code == OK)
        proxy_end(p, NULL);
    else if (proxy_may_repeat(p, e))
        proxy_try(p);
    else
        proxy_end(p, refusal_of(e));
}

// ---- the request

static void proxy_on_upload_drain(void *data, http_call *c)
{
    (void)c;
    proxied *p = data;
    http_read_pause(p->x, false);
}

static void proxy_on_request_piece(void *user, http_exchange *x, str piece, bool end)
{
    proxied *p = user;
    if (p->call == NULL)
        return;
    if (end)
        http_call_send_end(p->call);
    else if (http_call_send(p->call, piece).code == OK && http_call_send_full(p->call))
        http_read_pause(x, true);
}

static void proxy_on_broken(void *user, http_exchange *x)
{
    (void)x;
    proxied *p = user;
    if (p->call != NULL)
        http_call_cancel(p->call);
    p->call = NULL;
    p->worker->gateway_requests++;
    p->worker->gateway_changed = true;
}

static err proxy_send(proxied *p, const snapshot_backend *b)
{
    worker *w = p->worker;
    arena *a = http_arena(p->x);
    str node = str_copy(a, snapshot_str(w->snapshot, b->node));
    if (node.at == NULL)
        return fail(ERR_MEMORY, 0, "forward");
    p->tried[p->tries++] = node;
    p->started_us = clock_now_us();
    http_client_request request = {
        .address = snapshot_str(w->snapshot, b->address).at,
        .port = (uint16_t)b->port,
        .tls = w->tls_client,
        .method = p->request->method,
        .target = p->target,
        .host = p->request->host_port,
        .headers = p->headers,
        .body = p->body,
        .streamed = p->streamed,
        .deadline_ms = PROXY_MS,
        .on_head = proxy_on_head,
        .on_piece = proxy_on_piece,
        .on_done = proxy_on_done,
        .on_drain = proxy_on_upload_drain,
        .data = p,
    };
    return http_client_send(w->client, &request, &p->call);
}

static void proxy_try(proxied *p)
{
    static const refusal none = {503, "backend", "no substrate is there to answer", {0}};
    static const refusal syntax = {400, "request", "the request can not be forwarded", {0}};
    static const refusal tls = {503, "backend", "the gateway has no certificate yet", {0}};
    const snapshot_backend *b = backend_choose(p);
    if (b == NULL) {
        proxy_end(p, p->tries > 0 ? refusal_of(fail(ERR_CLOSED, 0, "all tried")) : &none);
        return;
    }
    if (p->worker->tls_client == NULL) {
        proxy_end(p, &tls);
        return;
    }
    err e = proxy_send(p, b);
    if (e.code == OK)
        return;
    p->call = NULL;
    proxy_end(p, e.code == ERR_SYNTAX ? &syntax : &none);
}

static void proxy_on_body(void *user, http_exchange *x, str body)
{
    (void)x;
    proxied *p = user;
    p->body = body;
    proxy_try(p);
}

// A target that names the host as well (RFC 9112 3.2.2) becomes a path, as the Host header says the
// rest.
static str proxy_target(arena *a, const http_request *r)
{
    if (r->target.len > 0 && r->target.at[0] == '/')
        return r->target;
    return r->query.at == NULL ? r->path
                               : str_format(a, "%.*s?%.*s", STR_ARG(r->path), STR_ARG(r->query));
}

void proxy_request(worker *w, http_exchange *x)
{
    static const refusal memory = {503, "busy", "out of memory", {0}};
    const http_request *r = http_request_of(x);
    const snapshot_host *host = serve_find_host(w, r);
    if (host == NULL || !host->forwarded) {
        w->gateway_requests++;
        w->gateway_changed = true;
        serve_unknown(w, x, NULL);
        return;
    }
    arena *a = http_arena(x);
    proxied *p = a != NULL ? arena_take(a, sizeof(*p)) : NULL;
    if (p == NULL || proxy_headers(a, &r->headers, PROXY_ADDED, &p->headers).code != OK ||
        proxy_add_forwarded(x, &p->headers).code != OK) {
        refuse(x, &memory);
        return;
    }
    p->worker = w;
    p->x = x;
    p->request = r;
    p->target = proxy_target(a, r);
    http_set_user(x, p);
    http_on_broken(x, proxy_on_broken);
    if (!r->has_body) {
        proxy_try(p);
    } else if (r->content_length <= PROXY_WHOLE_BYTES) {
        http_collect(x, PROXY_WHOLE_BYTES, proxy_on_body);
    } else {
        p->streamed = true;
        http_stream(x, CALL_BODY_BYTES_MAX, proxy_on_request_piece);
        proxy_try(p);
    }
}
