// A node's peer-to-peer door: messages of the mesh over HTTP and mutual TLS, refused by role.
#include "node/door.h"

#include "base/clock.h"
#include "base/str.h"
#include "http/server.h"
#include "mesh/blob.h"
#include "mesh/identity.h"

#include <stdlib.h>
#include <unistd.h>

enum { P2P_ASK_MS = 30 * 1000, P2P_BODY_BYTES_MAX = MESSAGE_BYTES_MAX };

struct p2p_door {
    p2p_door_settings settings;
    tls_context *tls;
    http_server *server;
    uint16_t port;
};

// One ask of a peer, until the mesh has answered.
struct p2p_ask {
    struct p2p_door *door;
    http_exchange *x;
    bool reading; // the mesh has not been asked yet
    bool broken;
};

struct p2p_refusal {
    mesh_replied_raw *on_reply;
    void *data;
    err error;
};

static void p2p_refuse_now(void *data)
{
    struct p2p_refusal *r = data;
    OWNED(buf_close) buf out;
    buf_open(&out, 4096);
    message_write_error(&out, r->error);
    r->on_reply(r->data, buf_str(&out));
    free(r);
}

static void p2p_refuse(mesh *m, err e, mesh_replied_raw *on_reply, void *data)
{
    struct p2p_refusal *r = malloc(sizeof(*r));
    if (r == NULL)
        abort(); // nothing else could tell the peer either
    *r = (struct p2p_refusal){on_reply, data, e};
    if (loop_defer(mesh_loop(m), p2p_refuse_now, r).code != OK)
        abort();
}

void p2p_relay(mesh *m,
               str universe,
               str node,
               str peer_uri,
               str request,
               mesh_replied_raw *on_reply,
               void *data)
{
    message_header header;
    identity who;
    err e = message_read_header(request, &header);
    if (e.code == OK)
        e = identity_read(peer_uri, &who);
    if (e.code == OK && !str_is(who.universe, universe))
        e = fail(ERR_DENIED, 0, "the peer belongs to another universe");
    if (e.code == OK && header.kind >= MESSAGE_KINDS)
        e = fail(ERR_UNSUPPORTED, 0, "this message is not known here");
    if (e.code == OK && message_infos[header.kind].reply == NULL)
        e = fail(ERR_UNSUPPORTED, 0, "this message is told, not asked");
    if (e.code == OK && !identity_may(&who, str_of(message_infos[header.kind].subject)))
        e = fail(ERR_DENIED, 0, "the peer's role may not send this message");
    if (e.code != OK)
        p2p_refuse(m, e, on_reply, data);
    else
        mesh_ask_raw(m, node, request, P2P_ASK_MS, on_reply, data);
}

static void p2p_on_broken(void *user, http_exchange *x)
{
    (void)x;
    struct p2p_ask *ask = user;
    if (ask->reading)
        free(ask);
    else
        ask->broken = true;
}

static void p2p_on_reply(void *data, str reply)
{
    struct p2p_ask *ask = data;
    if (!ask->broken)
        http_answer_text(ask->x, 200, "application/octet-stream", reply);
    free(ask);
}

static void p2p_on_body(void *user, http_exchange *x, str body)
{
    struct p2p_ask *ask = user;
    const tls_peer *peer = http_peer(x);
    ask->reading = false;
    p2p_relay(ask->door->settings.mesh, ask->door->settings.universe, ask->door->settings.node,
              peer == NULL ? STR("") : peer->uri, body, p2p_on_reply, ask);
}

// Whoever may read a blob by message may have it by this door.
static void p2p_blob(struct p2p_door *d, http_exchange *x, str hash)
{
    const tls_peer *peer = http_peer(x);
    identity who;
    err e = identity_read(peer == NULL ? STR("") : peer->uri, &who);
    if (e.code == OK && !identity_may(&who, STR("hoarder.read")))
        e = fail(ERR_DENIED, 0, "the peer's role may not read blobs");
    if (e.code != OK)
        http_answer_err(x, e);
    else
        mesh_blob_answer(d->settings.loop, d->settings.blobs, x, hash);
}

// The chain ends in this universe's authority already; the name must say so too.
static bool p2p_allow(void *data, str peer_uri, str serial_hex)
{
    struct p2p_door *d = data;
    deny *list = d->settings.deny;
    identity who;
    return identity_read(peer_uri, &who).code == OK && str_is(who.universe, d->settings.universe) &&
           (list == NULL || !deny_has(list, serial_hex, who.node, clock_now_ms()));
}

static void p2p_on_request(void *data, http_exchange *x)
{
    struct p2p_door *d = data;
    const http_request *r = http_request_of(x);
    const tls_peer *peer = http_peer(x);
    // The connection may be older than what denies its peer.
    if (peer != NULL && !p2p_allow(d, peer->uri, peer->serial_hex)) {
        http_answer_err(x, fail(ERR_DENIED, 0, "this node is on the universe's deny list"));
        return;
    }
    if (str_is(r->path, STR("/ping"))) {
        http_answer_text(x, 200, "text/plain", STR("pong"));
        return;
    }
    if (str_starts(r->path, STR("/blob/")) && str_is(r->method, STR("GET"))) {
        p2p_blob(d, x, str_from(r->path, sizeof "/blob/" - 1));
        return;
    }
    if (!str_is(r->path, STR("/ask")) || !str_is(r->method, STR("POST"))) {
        http_answer_err(x, fail(ERR_ABSENT, 0, "routes: POST /ask, GET /blob/HASH, GET /ping"));
        return;
    }
    struct p2p_ask *ask = calloc(1, sizeof(*ask));
    if (ask == NULL) {
        http_answer_err(x, fail(ERR_MEMORY, 0, "ask"));
        return;
    }
    *ask = (struct p2p_ask){.door = d, .x = x, .reading = true};
    http_set_user(x, ask);
    http_on_broken(x, p2p_on_broken);
    http_collect(x, P2P_BODY_BYTES_MAX, p2p_on_body);
}

static err p2p_tls(p2p_door *d, str certificate_pem, str key_pem, tls_context **out)
{
    tls_settings settings = {
        .certificate_pem = certificate_pem,
        .key_pem = key_pem,
        .ca_pem = d->settings.ca_pem,
        .server = true,
        .allow = p2p_allow,
        .data = d,
    };
    return tls_context_open(out, &settings);
}

static err p2p_listen(p2p_door *d)
{
    OWNED(fd_drop) int fd = -1;
    TRY(socket_listen(d->settings.address, d->settings.port, false, &fd));
    http_server_settings settings = {
        .loop = d->settings.loop, .handler = p2p_on_request, .data = d};
    TRY(http_server_open(&d->server, &settings));
    return http_server_listen(d->server, fd_move(&fd), d->tls, d);
}

err p2p_door_open(p2p_door **out, const p2p_door_settings *settings)
{
    p2p_door *d = calloc(1, sizeof(*d));
    if (d == NULL)
        return fail(ERR_MEMORY, 0, "open door");
    d->settings = *settings;
    err e = p2p_tls(d, settings->certificate_pem, settings->key_pem, &d->tls);
    if (e.code == OK)
        e = p2p_listen(d);
    if (e.code != OK) {
        p2p_door_close(d);
        return e;
    }
    *out = d;
    return ok();
}

err p2p_door_renew(p2p_door *d, str certificate_pem, str key_pem)
{
    // Open connections keep the former context alive (it is counted); the listener takes the new
    // one.
    http_server *former = d->server;
    tls_context *tls;
    TRY(p2p_tls(d, certificate_pem, key_pem, &tls));
    tls_context *old = d->tls;
    d->tls = tls;
    d->server = NULL;
    http_server_close(former);
    tls_context_close(old);
    return p2p_listen(d);
}

void p2p_door_close(p2p_door *d)
{
    if (d == NULL)
        return;
    if (d->server != NULL)
        http_server_close(d->server);
    if (d->tls != NULL)
        tls_context_close(d->tls);
    free(d);
}
