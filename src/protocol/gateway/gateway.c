// gateway: tells the workers which substrates are healthy and which hosts are served, and counts
// what they forward.
#include "base/map.h"
#include "base/str.h"
#include "protocol/protocol.h"
#include "worker/workers.h"

#include <stdlib.h>
#include <string.h>

enum {
    HOSTS_MAX = 1000 * 1000,
    VIEW_FIRST_MS = 1000, // at most, for the first substrate to be known
    VIEW_MS = 1000,       // how often seer is asked
    VIEW_ASK_MS = 3000,
    PUBLISH_WAIT_MS = 5,
};

typedef struct gateway gateway;
typedef struct view_ask {
    gateway *gateway; // NULL: it is closing
} view_ask;

// A substrate as seer last knew it.
typedef struct substrate_view {
    char *node, *address;
    uint16_t port;
    bool healthy;
} substrate_view;

struct gateway {
    protocol_context context;
    workers *workers; // NULL once they are gone
    mesh_watch *watch;
    map *routes; // keys that are there
    map *hosts;  // fqdn -> number of its routes
    substrate_view *views;
    size_t views_count;
    timer *look, *publish;
    view_ask *ask;  // on its way
    bool complete;  // the watch has given all there was
    bool published; // the first table
    uint64_t opened_ms;
};

// ---- what the workers get

static void gateway_on_publish(void *data)
{
    gateway *g = data;
    size_t hosts_count = 0, at = 0;
    str key;
    void *value;
    if (g->workers == NULL)
        return;
    g->published = true;
    str *hosts = calloc(map_count(g->hosts) + 1, sizeof(*hosts));
    backend *backends = calloc(g->views_count + 1, sizeof(*backends));
    backend_table table = {.at = backends, .hosts = hosts};
    if (hosts != NULL && backends != NULL) {
        while (map_next(g->hosts, &at, &key, &value))
            hosts[hosts_count++] = key;
        table.hosts_count = hosts_count;
        for (size_t i = 0; i < g->views_count; i++) {
            const substrate_view *v = &g->views[i];
            if (v->healthy)
                backends[table.count++] = (backend){str_of(v->node), str_of(v->address), v->port};
        }
        workers_publish_backends(g->workers, &table);
    }
    free(hosts);
    free(backends);
}

// The first table has somebody to forward to, if anybody is there: a gateway that has just started
// refuses no request for want of a view.
static void gateway_changed(gateway *g)
{
    uint64_t age = loop_now_ms(g->context.loop) - g->opened_ms;
    if (!g->complete)
        return;
    bool wait = !g->published && g->views_count == 0 && age < VIEW_FIRST_MS;
    timer_start(g->publish, wait ? VIEW_FIRST_MS - age : PUBLISH_WAIT_MS, 0);
}

// ---- hosts: keys of tns.route are "fqdn METHOD path"

static void gateway_on_route(void *data, const store_entry *entry)
{
    gateway *g = data;
    if (entry == NULL) {
        g->complete = true;
        gateway_changed(g);
        return;
    }
    str rest = entry->key;
    str host = str_cut(&rest, ' ');
    uintptr_t routes = (uintptr_t)map_get(g->hosts, host);
    bool had = map_get(g->routes, entry->key) != NULL, has = entry->value.at != NULL;
    if (had == has)
        return;
    err e = ok();
    if (has) {
        e = map_put(g->routes, entry->key, g, NULL);
        if (e.code == OK)
            e = map_put(g->hosts, host, (void *)(routes + 1), NULL);
    } else {
        (void)map_remove(g->routes, entry->key);
        if (routes <= 1)
            (void)map_remove(g->hosts, host);
        else
            e = map_put(g->hosts, host, (void *)(routes - 1), NULL);
    }
    if (e.code != OK)
        log_fail(g->context.log, "host not known to the gateway", e, "host", host, NULL);
    if (routes == 0 || !has)
        gateway_changed(g);
}

// ---- substrates

static void views_drop(substrate_view *views, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(views[i].node);
        free(views[i].address);
    }
    free(views);
}

static bool views_are(const gateway *g, const substrate_view *views, size_t count)
{
    if (count != g->views_count)
        return false;
    for (size_t i = 0; i < count; i++)
        if (strcmp(views[i].node, g->views[i].node) != 0 ||
            strcmp(views[i].address, g->views[i].address) != 0 ||
            views[i].port != g->views[i].port || views[i].healthy != g->views[i].healthy)
            return false;
    return true;
}

static uint16_t view_port(const node_state_record *n)
{
    for (size_t i = 0; i < n->doors.count; i++)
        if (str_is(n->doors.at[i].name, STR("p2p")) && n->doors.at[i].port <= UINT16_MAX)
            return (uint16_t)n->doors.at[i].port;
    return 0;
}

static void view_take(gateway *g, const seer_nodes_reply *reply)
{
    if (reply->nodes.count == 0)
        return; // seer has just started and heard nobody yet: one that left is listed as such
    substrate_view *views = calloc(reply->nodes.count + 1, sizeof(*views));
    size_t count = 0;
    for (size_t i = 0; views != NULL && i < reply->nodes.count; i++) {
        const node_state_record *n = &reply->nodes.at[i];
        uint16_t port = view_port(n);
        if (port == 0 || !str_is(n->protocol, STR("substrate")))
            continue;
        views[count] = (substrate_view){strndup(n->name.at, n->name.len),
                                        strndup(n->address.at, n->address.len), port, n->healthy};
        if (views[count].node != NULL && views[count].address != NULL)
            count++;
    }
    if (views == NULL || views_are(g, views, count)) {
        views_drop(views, count);
        return;
    }
    views_drop(g->views, g->views_count);
    g->views = views;
    g->views_count = count;
    gateway_changed(g);
}

static void gateway_on_view(void *data, err e, const void *fields)
{
    view_ask *ask = data;
    gateway *g = ask->gateway;
    free(ask);
    if (g == NULL)
        return;
    g->ask = NULL;
    if (e.code == OK) // else: what was known stays
        view_take(g, fields);
    timer_start(g->look, g->views_count == 0 ? VIEW_MS / 10 : VIEW_MS, 0);
}

static void gateway_look(void *data)
{
    gateway *g = data;
    view_ask *ask = g->ask == NULL ? calloc(1, sizeof(*ask)) : NULL;
    if (ask == NULL) {
        timer_start(g->look, VIEW_MS, 0);
        return;
    }
    ask->gateway = g;
    g->ask = ask;
    seer_nodes_request request = {.protocol = STR("substrate")};
    mesh_ask(g->context.mesh, STR(""), MSG_seer_nodes, NULL, &request, VIEW_ASK_MS, gateway_on_view,
             ask);
}

// A substrate that comes or goes: seer is asked at once. Seer hears the same heartbeat, before it
// is asked.
static void gateway_on_beat(void *data, const void *fields)
{
    gateway *g = data;
    const seer_heartbeat *beat = fields;
    if (!str_is(beat->protocol, STR("substrate")))
        return;
    for (size_t i = 0; i < g->views_count; i++)
        if (str_is(str_of(g->views[i].node), beat->name) && g->views[i].healthy == !beat->leaving)
            return;
    timer_start(g->look, 1, 0);
}

static void
gateway_on_status(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)header;
    (void)fields;
    gateway *g = data;
    gateway_status_reply reply = {.requests = 0};
    reply.backends.at =
        arena_take(mesh_incoming_arena(in), (g->views_count + 1) * sizeof(*reply.backends.at));
    if (g->workers != NULL)
        workers_gateway_counts(g->workers, &reply.requests, &reply.failures);
    for (size_t i = 0; reply.backends.at != NULL && i < g->views_count; i++) {
        const substrate_view *v = &g->views[i];
        backend_state_record *to = &reply.backends.at[reply.backends.count++];
        *to = (backend_state_record){.node = str_of(v->node),
                                     .address = str_of(v->address),
                                     .port = v->port,
                                     .healthy = v->healthy};
        if (g->workers != NULL)
            (void)workers_backend_counts(g->workers, to->node, &to->requests, &to->failures);
    }
    mesh_answer(in, &reply);
}

// ---- start and end

static void gateway_free(gateway *g)
{
    if (g->ask != NULL)
        g->ask->gateway = NULL;
    views_drop(g->views, g->views_count);
    map_close(g->hosts);
    map_close(g->routes);
    timer_close(g->look);
    timer_close(g->publish);
    free(g);
}

static void gateway_on_gone(void *data)
{
    ((gateway *)data)->workers = NULL;
}

static err gateway_start(gateway *g)
{
    const protocol_doors *d = g->context.doors;
    if (g->workers == NULL)
        return fail(ERR_UNSUPPORTED, 0, "gateway needs workers");
    TRY(map_open(&g->hosts, HOSTS_MAX));
    TRY(map_open(&g->routes, HOSTS_MAX));
    TRY(timer_open(&g->look, g->context.loop, gateway_look, g));
    TRY(timer_open(&g->publish, g->context.loop, gateway_on_publish, g));
    TRY(mesh_serve(g->context.mesh, MSG_gateway_status, gateway_on_status, g));
    TRY(mesh_listen(g->context.mesh, MSG_seer_heartbeat, gateway_on_beat, g));
    if (d->http != 0)
        TRY(workers_listen(g->workers, WORKER_GATEWAY_HTTP, d->address, d->http));
    if (d->http != 0 && d->also != NULL)
        TRY(workers_listen(g->workers, WORKER_GATEWAY_HTTP, d->also, d->http));
    if (d->p2p != 0)
        TRY(workers_listen(g->workers, WORKER_GATEWAY_P2P, d->address, d->p2p));
    workers_on_gone(g->workers, true, gateway_on_gone, g);
    timer_start(g->look, 1, 0);
    return mesh_watch_open(&g->watch, g->context.mesh, STR("tns.route"), STR(""), gateway_on_route,
                           g);
}

static err gateway_open(void **state, const protocol_context *context)
{
    gateway *g = calloc(1, sizeof(*g));
    if (g == NULL)
        return fail(ERR_MEMORY, 0, "open gateway");
    g->context = *context;
    g->workers = context->workers;
    g->opened_ms = loop_now_ms(context->loop);
    err e = gateway_start(g);
    if (e.code != OK) {
        if (g->workers != NULL)
            workers_leave(g->workers, true);
        gateway_free(g);
        return e;
    }
    *state = g;
    return ok();
}

static void gateway_close(void *state, void (*closed)(void *data), void *data)
{
    gateway *g = state;
    mesh_watch_close(g->watch);
    if (g->workers != NULL)
        workers_leave(g->workers, true);
    gateway_free(g);
    closed(data);
}

const protocol protocol_gateway = {
    .name = "gateway", .open = gateway_open, .close = gateway_close, .own_http = true};
