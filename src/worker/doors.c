// A worker's listening sockets: one HTTP server each, and the certificates of those for peers.
#include "base/str.h"
#include "mesh/deny.h"
#include "mesh/identity.h"
#include "worker/worker_inner.h"

#include <stdlib.h>
#include <unistd.h>

static bool role_is_p2p(worker_role role)
{
    return role == WORKER_SUBSTRATE_P2P || role == WORKER_GATEWAY_P2P;
}

static bool role_is_gateway(worker_role role)
{
    return role == WORKER_GATEWAY_HTTP || role == WORKER_GATEWAY_P2P;
}

static bool peer_is_ours(void *data, str peer_uri, str serial_hex)
{
    worker *w = data;
    identity who;
    return identity_read(peer_uri, &who).code == OK && str_is(who.universe, str_of(w->universe)) &&
           (w->denied == NULL || !deny_has(w->denied, serial_hex, who.node, 0));
}

// Of a connection that was open before the peer was denied.
static bool peer_is_denied(worker *w, const http_exchange *x)
{
    const tls_peer *peer = http_peer(x);
    return w->denied != NULL && peer != NULL && !peer_is_ours(w, peer->uri, peer->serial_hex);
}

// Calls go to substrates only, whoever else listens at that port.
static bool peer_is_substrate(void *data, str peer_uri, str serial_hex)
{
    identity who;
    return peer_is_ours(data, peer_uri, serial_hex) && identity_read(peer_uri, &who).code == OK &&
           identity_has(&who, STR("substrate"));
}

bool peer_has(const http_exchange *x, str protocol)
{
    const tls_peer *peer = http_peer(x);
    identity who;
    return peer != NULL && identity_read(peer->uri, &who).code == OK &&
           identity_has(&who, protocol);
}

static void door_on_request(void *data, http_exchange *x)
{
    worker_door *d = data;
    worker *w = d->worker;
    if (role_is_p2p(d->role) && peer_is_denied(w, x)) {
        http_answer_err(x, fail(ERR_DENIED, 0, "this node is on the universe's deny list"));
        return;
    }
    switch (d->role) {
    case WORKER_SUBSTRATE_HTTP:
        serve_request(w, x);
        break;
    case WORKER_SUBSTRATE_P2P:
        if (http_header_find(&http_request_of(x)->headers, STR("x-ctau-forwarded")).len > 0 &&
            peer_has(x, STR("gateway")))
            serve_request(w, x);
        else
            relay_request(w, x, false);
        break;
    case WORKER_GATEWAY_HTTP:
        proxy_request(w, x);
        break;
    case WORKER_GATEWAY_P2P:
        relay_request(w, x, true);
        break;
    }
}

static void
door_on_finished(void *data, http_exchange *x, unsigned status, uint64_t body_bytes, uint64_t us)
{
    tell_request(((worker_door *)data)->worker, x, status, body_bytes, us);
}

static tls_context *door_tls(worker *w, worker_role role)
{
    return role_is_p2p(role) ? w->tls[role_is_gateway(role)] : NULL;
}

static err door_listen(worker_door *d, int fd)
{
    worker *w = d->worker;
    http_server_settings settings = {
        .loop = w->loop,
        .handler = door_on_request,
        .data = d,
        .on_finished = w->request_log ? door_on_finished : NULL,
    };
    // A server for each door, so that a renewed certificate leaves open connections alone.
    err e = http_server_open(&d->server, &settings);
    if (e.code != OK) {
        (void)close(fd);
        return e;
    }
    return http_server_listen(d->server, fd, door_tls(w, d->role), d);
}

static void door_free(worker *w, size_t at)
{
    if (w->doors[at] == NULL)
        return;
    if (w->doors[at]->server != NULL)
        http_server_close(w->doors[at]->server);
    free(w->doors[at]);
    w->doors[at] = NULL;
}

err door_open(worker *w, worker_role role, uint64_t number, int fd)
{
    OWNED(fd_drop) int owned = fd;
    size_t at = 0;
    while (at < WORKER_DOORS_MAX && w->doors[at] != NULL)
        at++;
    if (at == WORKER_DOORS_MAX || (unsigned)role >= WORKER_ROLES)
        return fail(ERR_LIMIT, 0, "open door");
    if (role_is_p2p(role) && door_tls(w, role) == NULL)
        return fail(ERR_DENIED, 0, "a p2p door needs a certificate");
    worker_door *d = calloc(1, sizeof(*d));
    if (d == NULL)
        return fail(ERR_MEMORY, 0, "open door");
    *d = (worker_door){.worker = w, .role = role, .number = number};
    w->doors[at] = d;
    err e = door_listen(d, fd_move(&owned));
    if (e.code != OK)
        door_free(w, at);
    return e;
}

void door_shut(worker *w, uint64_t number)
{
    for (size_t i = 0; i < WORKER_DOORS_MAX; i++)
        if (w->doors[i] != NULL && w->doors[i]->number == number) {
            http_server_drain(w->doors[i]->server);
            w->doors[i]->number = 0;
            w->doors[i]->end_ms = loop_now_ms(w->loop) + DOOR_END_MS;
        }
}

void doors_sweep(worker *w)
{
    for (size_t i = 0; i < WORKER_DOORS_MAX; i++) {
        worker_door *d = w->doors[i];
        if (d != NULL && d->end_ms != 0 &&
            (http_server_connections(d->server) == 0 || loop_now_ms(w->loop) >= d->end_ms))
            door_free(w, i);
    }
}

void doors_drain(worker *w)
{
    for (size_t i = 0; i < WORKER_DOORS_MAX; i++)
        if (w->doors[i] != NULL && w->doors[i]->server != NULL)
            http_server_drain(w->doors[i]->server);
}

void doors_close(worker *w)
{
    for (size_t i = 0; i < WORKER_DOORS_MAX; i++)
        door_free(w, i);
}

size_t doors_connections(const worker *w)
{
    size_t count = 0;
    for (size_t i = 0; i < WORKER_DOORS_MAX; i++)
        if (w->doors[i] != NULL && w->doors[i]->server != NULL)
            count += http_server_connections(w->doors[i]->server);
    return count;
}

static err identity_tls(worker *w, bool server, str certificate_pem, str key_pem, tls_context **out)
{
    tls_settings settings = {
        .certificate_pem = certificate_pem,
        .key_pem = key_pem,
        .ca_pem = w->ca_pem,
        .server = server,
        .ticket_key = server ? w->ticket_key : STR(""),
        .allow = server ? peer_is_ours : peer_is_substrate,
        .data = w,
    };
    return tls_context_open(out, &settings);
}

// Takes the new context; connections under way keep the former one alive.
static void context_replace(tls_context **at, tls_context *made)
{
    if (*at != NULL)
        tls_context_close(*at);
    *at = made;
}

err doors_identity(worker *w, bool gateway, str certificate_pem, str key_pem)
{
    tls_context *server, *client = NULL;
    if (w->ca_pem.len == 0)
        return fail(ERR_DENIED, 0, "without an authority every peer would be let in");
    TRY(identity_tls(w, true, certificate_pem, key_pem, &server));
    if (gateway) {
        err e = identity_tls(w, false, certificate_pem, key_pem, &client);
        if (e.code != OK) {
            tls_context_close(server);
            return e;
        }
        context_replace(&w->tls_client, client);
    }
    context_replace(&w->tls[gateway], server);
    return ok();
}
