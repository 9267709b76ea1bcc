// One node of a universe: its identity, its two doors, its protocol, its heartbeat.
#include "node/node.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"
#include "http/server.h"
#include "io/conn.h"
#include "mesh/blob.h"
#include "node/door.h"
#include "worker/workers.h"

#include <stdlib.h>
#include <string.h>

enum {
    NODE_MEMORY_BYTES = 64 * 1024,
    HEARTBEAT_MS = 2000,
    HEARTBEAT_FIRST_MS = 50,
    CERTIFICATE_DAYS = 30,
    DRAIN_MS_MAX = 25 * 1000, // then it is said that something is still under way
    DRAIN_GRACE_MS = 1500,    // until others have heard, and what they had sent has ended
    RENEW_MS = CERTIFICATE_DAYS * 12 * 60 * 60 * 1000ULL, // at half of its life
};

struct node {
    node_settings settings;
    arena *memory; // names, paths
    str full_name; // tns@blackhole
    log_sink *log;
    mesh *mesh;
    void *state;      // of the protocol
    workers *workers; // that accept on this node's p2p door; NULL: we do, or they are gone
    bool opened;      // the protocol
    p2p_door *p2p;
    http_server *http;
    timer *beat, *renew, *drain;
    uint64_t beat_ms; // until the next one
    bool draining, idle;
    mesh_incoming *drain_in; // who asked for it waits
    protocol_doors doors;
    uint64_t started_real_ms;
    void (*closed)(void *data);
    void *closed_data;
};

static void
node_on_ping(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)header;
    (void)fields;
    struct node *n = data;
    node_ping_reply reply = {
        .node = n->full_name,
        .universe = n->settings.universe,
        .protocols = str_of(node_protocol(n)),
        .version = STR(VERSION),
        .started_real_ms = n->started_real_ms,
    };
    mesh_answer(in, &reply);
}

static void node_tell(struct node *n, bool leaving)
{
    door_record doors[3];
    seer_heartbeat beat = {
        .name = n->full_name,
        .protocol = str_of(node_protocol(n)),
        .address = str_of(n->doors.address),
        .copies = n->settings.copies,
        .started_real_ms = n->started_real_ms,
        .leaving = leaving || n->draining,
        .version = STR(VERSION),
        .draining = n->draining && !leaving,
    };
    if (n->settings.identity.until_real_ms != NULL)
        beat.certificate_real_ms = n->settings.identity.until_real_ms(n->settings.identity.data);
    beat.doors.at = doors;
    if (n->doors.dns != 0)
        doors[beat.doors.count++] = (door_record){STR("dns"), n->doors.dns};
    if (n->doors.http != 0)
        doors[beat.doors.count++] = (door_record){STR("http"), n->doors.http};
    if (n->doors.p2p != 0)
        doors[beat.doors.count++] = (door_record){STR("p2p"), n->doors.p2p};
    mesh_tell(n->mesh, MSG_seer_heartbeat, &beat);
}

// The first ones come soon after each other: who starts at the same time hears one of them.
static void node_on_beat(void *data)
{
    struct node *n = data;
    node_tell(n, false);
    n->beat_ms = 2 * n->beat_ms < HEARTBEAT_MS ? 2 * n->beat_ms : HEARTBEAT_MS;
    timer_start(n->beat, n->beat_ms, 0);
}

// ---- draining

static void node_on_drained(void *data)
{
    struct node *n = data;
    mesh_incoming *in = n->drain_in;
    n->drain_in = NULL;
    node_drain_reply reply = {.node = n->full_name, .idle = n->idle};
    if (in != NULL)
        mesh_answer(in, &reply);
}

static void node_on_idle(void *data)
{
    struct node *n = data;
    n->idle = true;
    if (n->drain_in != NULL)
        timer_start(n->drain, DRAIN_GRACE_MS, 0);
}

static void
node_on_drain(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)header;
    struct node *n = data;
    const node_drain_request *request = fields;
    const protocol *p = n->settings.protocol;
    if (!str_is(request->node, n->settings.name)) { // whoever serves this message was asked
        mesh_answer_err(in, fail(ERR_SYNTAX, 0, "name the node that is to be drained"));
        return;
    }
    if (n->settings.elder || n->drain_in != NULL) {
        mesh_answer_err(in, n->settings.elder
                                ? fail(ERR_UNSUPPORTED, 0, "an elder keeps the records: it stays")
                                : fail(ERR_BUSY, 0, "it is being drained already"));
        return;
    }
    bool first = !n->draining;
    n->draining = true;
    n->drain_in = in;
    node_tell(n, false);
    timer_start(n->drain, DRAIN_MS_MAX, 0);
    if (first)
        log_line(n->log, LOG_INFO, "draining", NULL);
    if (first && p != NULL && p->drain != NULL)
        p->drain(n->state, node_on_idle, n);
    else if (n->idle || p == NULL || p->drain == NULL)
        node_on_idle(n);
}

static err
node_issue(void *data, arena *a, str name, str protocols, str *certificate_pem, str *key_pem)
{
    return authority_issue(data, a, name, protocols, CERTIFICATE_DAYS, certificate_pem, key_pem);
}

node_identity node_identity_of(authority *issuer)
{
    return (node_identity){.issue = node_issue,
                           .data = issuer,
                           .ca_pem = authority_certificate(issuer),
                           .renew_ms = RENEW_MS};
}

static err node_certificate(struct node *n, arena *a, str *certificate, str *key)
{
    const node_identity *i = &n->settings.identity;
    str protocols = n->settings.elder ? STR("elder") : str_of(node_protocol(n));
    return i->issue(i->data, a, n->settings.name, protocols, certificate, key);
}

// What it shows the peers it fetches blobs from.
static err node_show(struct node *n, str certificate, str key)
{
    return mesh_peer_identity(n->mesh, n->settings.universe, certificate, key,
                              n->settings.identity.ca_pem);
}

static bool node_is_gateway(const struct node *n)
{
    return str_is(str_of(node_protocol(n)), STR("gateway"));
}

// Substrate's and gateway's p2p doors are accepted by workers, which relay what is not a call.
static bool node_is_with_workers(const struct node *n)
{
    return node_is_gateway(n) || str_is(str_of(node_protocol(n)), STR("substrate"));
}

void node_renew(node *n)
{
    arena *a;
    str certificate, key;
    err e = arena_open(&a, NODE_MEMORY_BYTES);
    if (e.code == OK) {
        e = node_certificate(n, a, &certificate, &key);
        if (e.code == OK && n->p2p != NULL)
            e = p2p_door_renew(n->p2p, certificate, key);
        if (e.code == OK && n->workers != NULL)
            workers_identity(n->workers, node_is_gateway(n), certificate, key);
        if (e.code == OK)
            e = node_show(n, certificate, key);
        arena_close(a);
    }
    if (e.code != OK)
        log_fail(n->log, "certificate not renewed", e, NULL);
}

static void node_on_renew(void *data)
{
    node_renew(data);
}

static void node_on_http(void *data, http_exchange *x)
{
    struct node *n = data;
    n->settings.protocol->http(n->state, x);
}

static err node_open_p2p(struct node *n)
{
    arena *a;
    TRY(arena_open(&a, NODE_MEMORY_BYTES));
    p2p_door_settings settings = {
        .loop = n->settings.loop,
        .mesh = n->mesh,
        .log = n->log,
        .universe = n->settings.universe,
        .node = n->full_name,
        .address = n->settings.doors.address,
        .port = n->settings.doors.p2p,
        .ca_pem = n->settings.identity.ca_pem,
        .blobs = n->settings.blobs,
        .deny = n->settings.deny,
    };
    err e = node_certificate(n, a, &settings.certificate_pem, &settings.key_pem);
    if (e.code == OK)
        e = node_show(n, settings.certificate_pem, settings.key_pem);
    if (e.code == OK)
        e = p2p_door_open(&n->p2p, &settings);
    arena_close(a);
    return e;
}

// ---- what workers relay

struct node_relay {
    struct node *node;
    uint64_t ticket;
};

static void node_on_relay_reply(void *data, str reply)
{
    struct node_relay *r = data;
    if (r->node->workers != NULL)
        workers_relayed(r->node->workers, r->ticket, reply);
    free(r);
}

static void node_on_relay(void *data, uint64_t ticket, str peer_uri, str request)
{
    struct node *n = data;
    struct node_relay *r = calloc(1, sizeof(*r));
    if (r == NULL)
        return; // the peer's own deadline ends it
    *r = (struct node_relay){n, ticket};
    p2p_relay(n->mesh, n->settings.universe, n->full_name, peer_uri, request, node_on_relay_reply,
              r);
}

static void node_on_workers_gone(void *data)
{
    ((struct node *)data)->workers = NULL;
}

// Before the protocol opens its sockets: they need the certificate.
static err node_open_workers(struct node *n)
{
    if (n->settings.workers == NULL)
        return fail(ERR_UNSUPPORTED, 0, "this node needs workers");
    OWNED(arena_drop) arena *a = NULL;
    str certificate, key;
    TRY(arena_open(&a, NODE_MEMORY_BYTES));
    TRY(node_certificate(n, a, &certificate, &key));
    TRY(node_show(n, certificate, key));
    n->workers = n->settings.workers;
    workers_identity(n->workers, node_is_gateway(n), certificate, key);
    workers_on_relay(n->workers, node_is_gateway(n), node_on_relay, n);
    workers_on_gone(n->workers, node_is_gateway(n), node_on_workers_gone, n);
    return ok();
}

static err node_open_http(struct node *n)
{
    OWNED(fd_drop) int fd = -1;
    TRY(socket_listen(n->settings.doors.address, n->settings.doors.http, false, &fd));
    OWNED(fd_drop) int also = -1;
    if (n->doors.also != NULL)
        TRY(socket_listen(n->doors.also, n->settings.doors.http, false, &also));
    http_server_settings settings = {
        .loop = n->settings.loop, .handler = node_on_http, .data = n, .server_name = "ctau"};
    TRY(http_server_open(&n->http, &settings));
    TRY(http_server_listen(n->http, fd_move(&fd), NULL, n));
    return also < 0 ? ok() : http_server_listen(n->http, fd_move(&also), NULL, n);
}

static err node_open_protocol(struct node *n)
{
    const node_settings *s = &n->settings;
    protocol_context context = {
        .loop = s->loop,
        .mesh = n->mesh,
        .blobs = s->blobs,
        .log = n->log,
        .folder = s->folder,
        .repositories = s->repositories,
        .program = s->program,
        .engine = s->engine,
        .workers = s->workers,
        .universe = s->universe,
        .node = n->full_name,
        .secrets_key = s->secrets_key,
        .copies = s->copies,
        .doors = &n->settings.doors,
    };
    TRY(s->protocol->open(&n->state, &context));
    n->opened = true;
    return ok();
}

static err node_start(struct node *n)
{
    const node_settings *s = &n->settings;
    const protocol *p = s->protocol;
    TRY(file_make_folders(s->folder, 0700));
    TRY(mesh_join(&n->mesh, s->mesh, n->full_name, str_of(node_protocol(n))));
    TRY(mesh_serve(n->mesh, MSG_node_ping, node_on_ping, n));
    TRY(timer_open(&n->drain, s->loop, node_on_drained, n));
    TRY(mesh_serve(n->mesh, MSG_node_drain, node_on_drain, n));
    n->doors.address = s->doors.address;
    n->doors.also = s->doors.also;
    bool own = p != NULL && p->own_http;
    if (node_is_with_workers(n))
        TRY(node_open_workers(n));
    else
        TRY(node_open_p2p(n));
    n->doors.p2p = s->doors.p2p;
    if (p != NULL)
        TRY(node_open_protocol(n));
    if (p != NULL && p->http != NULL && !own && s->doors.http != 0)
        TRY(node_open_http(n));
    n->doors.http = n->http != NULL || own ? s->doors.http : 0;
    n->doors.dns = s->doors.dns;
    TRY(timer_open(&n->beat, s->loop, node_on_beat, n));
    TRY(timer_open(&n->renew, s->loop, node_on_renew, n));
    n->beat_ms = HEARTBEAT_FIRST_MS;
    timer_start(n->beat, n->beat_ms, 0);
    if (s->identity.renew_ms != 0)
        timer_start(n->renew, s->identity.renew_ms, s->identity.renew_ms);
    node_tell(n, false);
    return ok();
}

static void node_free(struct node *n)
{
    timer_close(n->beat);
    timer_close(n->renew);
    timer_close(n->drain);
    if (n->workers != NULL)
        workers_leave(n->workers, node_is_gateway(n));
    if (n->http != NULL)
        http_server_close(n->http);
    p2p_door_close(n->p2p);
    if (n->mesh != NULL)
        mesh_leave(n->mesh);
    log_close(n->log);
    arena_close(n->memory);
    free(n);
}

static void node_on_closed(void *data)
{
    struct node *n = data;
    void (*closed)(void *data) = n->closed;
    void *closed_data = n->closed_data;
    node_free(n);
    if (closed != NULL)
        closed(closed_data);
}

void node_close(node *n, void (*closed)(void *data), void *data)
{
    n->closed = closed;
    n->closed_data = data;
    timer_stop(n->drain);
    node_tell(n, true);
    if (n->http != NULL)
        http_server_close(n->http);
    n->http = NULL;
    p2p_door_close(n->p2p);
    n->p2p = NULL;
    if (n->opened)
        n->settings.protocol->close(n->state, node_on_closed, n);
    else
        node_on_closed(n);
}

static err node_prepare(struct node *n, const node_settings *settings)
{
    n->settings = *settings;
    n->started_real_ms = clock_real_ms();
    TRY(arena_open(&n->memory, NODE_MEMORY_BYTES));
    n->settings.universe = str_copy(n->memory, settings->universe);
    n->settings.name = str_copy(n->memory, settings->name);
    n->settings.folder = str_c(n->memory, str_of(settings->folder));
    n->full_name =
        str_format(n->memory, "%.*s@%.*s", STR_ARG(settings->name), STR_ARG(settings->universe));
    if (n->settings.folder == NULL || n->full_name.at == NULL)
        return fail(ERR_MEMORY, 0, "open node");
    return log_scope(&n->log, settings->log, "node", n->full_name);
}

err node_open(node **out, const node_settings *settings)
{
    node *n = calloc(1, sizeof(*n));
    if (n == NULL)
        return fail(ERR_MEMORY, 0, "open node");
    err e = node_prepare(n, settings);
    if (e.code == OK)
        e = node_start(n);
    if (e.code != OK) {
        log_fail(settings->log, "node did not start", e, "node", settings->name, NULL);
        if (n->opened)
            node_close(n, NULL, NULL);
        else
            node_free(n);
        return e;
    }
    *out = n;
    return ok();
}

str node_name(const node *n)
{
    return n->settings.name;
}
const char *node_protocol(const node *n)
{
    return n->settings.protocol == NULL ? "" : n->settings.protocol->name;
}
size_t node_copies(const node *n)
{
    return n->settings.copies;
}
const protocol_doors *node_doors(const node *n)
{
    return &n->doors;
}
mesh *node_mesh(node *n)
{
    return n->mesh;
}
