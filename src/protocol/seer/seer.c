// seer: who is there, which node serves what, and a DNS server that says so.
//
// The happy path is: 1. every node tells its heartbeat, 2. the table notes it, 3. names of routes
// and claims come by watches, 4. asks, the HTTP door and DNS answer out of memory. What can fail: a
// port that is in use, memory for one more node or name (logged; that name is unknown until then).
#include "base/clock.h"
#include "base/str.h"
#include "protocol/seer/seer_inner.h"

#include <stdlib.h>

enum { SEER_MEMORY_BYTES = 16 * 1024 };

static void seer_on_beat(void *data, const void *fields)
{
    struct seer *s = data;
    err e = seer_table_beat(&s->table, fields, loop_now_ms(s->context.loop), clock_real_ms());
    if (e.code != OK)
        log_fail(s->context.log, "heartbeat dropped", e, NULL);
}

// Both watches read what belongs to another protocol, by the mesh's own means: no message brings
// all routes or all claims, and asking for each name would let anybody who asks DNS ask tns.
static void seer_on_route(void *data, const store_entry *entry)
{
    struct seer *s = data;
    err e = seer_names_on_route(&s->names, entry);
    if (e.code != OK)
        log_fail(s->context.log, "route not kept", e, "route", entry->key, NULL);
}

static void seer_on_claim(void *data, const store_entry *entry)
{
    struct seer *s = data;
    err e = seer_names_on_claim(&s->names, entry);
    if (e.code != OK)
        log_fail(s->context.log, "claim not kept", e, "fqdn", entry->key, NULL);
}

static void seer_on_question(void *data, const dns_question *q, dns_answer *a)
{
    struct seer *s = data;
    seer_answer(s, loop_now_ms(s->context.loop), q, a);
}

// ---- messages

static str seer_detail(arena *a, const struct seer_node *n, uint64_t now_ms)
{
    if (n->draining)
        return STR("draining");
    if (n->leaving)
        return STR("left");
    if (n->healthy)
        return STR("");
    return str_format(a, "not seen for %llu s", (unsigned long long)(now_ms - n->seen_ms) / 1000);
}

static err seer_nodes(struct seer *s, arena *a, str kind, seer_nodes_reply *reply)
{
    uint64_t now_ms = loop_now_ms(s->context.loop);
    const struct seer_node **list;
    seer_table_step(&s->table, now_ms);
    TRY(seer_table_list(&s->table, a, kind, &list, &reply->nodes.count));
    reply->nodes.at = arena_take(a, (reply->nodes.count + 1) * sizeof(*reply->nodes.at));
    if (reply->nodes.at == NULL)
        return fail(ERR_MEMORY, 0, "list nodes");
    for (size_t i = 0; i < reply->nodes.count; i++) {
        const struct seer_node *n = list[i];
        reply->nodes.at[i] = (node_state_record){
            .name = n->name,
            .universe = s->context.universe,
            .protocol = n->protocol,
            .address = n->address,
            .copies = n->copies,
            .doors = {(door_record *)n->doors, n->doors_count},
            .healthy = n->healthy,
            .seen_real_ms = n->seen_real_ms,
            .started_real_ms = n->started_real_ms,
            .detail = seer_detail(a, n, now_ms),
            .version = n->version,
            .certificate_real_ms = n->certificate_real_ms,
            .draining = n->draining,
        };
    }
    return ok();
}

static void
seer_on_nodes(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)header;
    const seer_nodes_request *request = fields;
    seer_nodes_reply reply = {0};
    err e = seer_nodes(data, mesh_incoming_arena(in), request->protocol, &reply);
    if (e.code != OK)
        mesh_answer_err(in, e);
    else
        mesh_answer(in, &reply);
}

// Each target is a healthy node's address (as the door's name) and the port of its HTTP door.
static err seer_resolve(struct seer *s, arena *a, str fqdn, seer_resolve_reply *reply)
{
    const struct seer_node **list;
    size_t count;
    seer_table_step(&s->table, loop_now_ms(s->context.loop));
    reply->project = seer_names_project(&s->names, str_lower(a, fqdn));
    if (reply->project.at == NULL)
        return fail(ERR_ABSENT, 0, "no project serves this host");
    TRY(seer_table_list(&s->table, a, seer_table_web(&s->table), &list, &count));
    reply->targets.at = arena_take(a, (count + 1) * sizeof(*reply->targets.at));
    if (reply->targets.at == NULL)
        return fail(ERR_MEMORY, 0, "resolve");
    for (size_t i = 0; i < count; i++) {
        uint64_t port = seer_node_port(list[i], STR("http"));
        if (list[i]->healthy && port != 0)
            reply->targets.at[reply->targets.count++] = (door_record){list[i]->address, port};
    }
    return ok();
}

static void
seer_on_resolve(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)header;
    const seer_resolve_request *request = fields;
    seer_resolve_reply reply = {0};
    err e = seer_resolve(data, mesh_incoming_arena(in), request->fqdn, &reply);
    if (e.code != OK)
        mesh_answer_err(in, e);
    else
        mesh_answer(in, &reply);
}

// The public door: what a client must know of the network before it has an account.
static void seer_http(void *state, http_exchange *x)
{
    const struct seer *s = state;
    const http_request *r = http_request_of(x);
    bool reads = str_is(r->method, STR("GET")) || str_is(r->method, STR("HEAD"));
    if (!reads) {
        http_answer_text(x, 405, "text/plain", STR("this door only reads\n"));
    } else if (str_is(r->path, STR("/ping"))) {
        http_answer_text(x, 200, "text/plain", STR("pong"));
    } else if (str_is(r->path, STR("/network/config"))) {
        str suffix = str_format(http_arena(x), ".%.*s", STR_ARG(s->zone));
        http_answer_text(x, 200, "text/plain", suffix);
    } else {
        http_answer_err(x, fail(ERR_ABSENT, 0, "routes: /ping /network/config"));
    }
}

// ---- life

static err seer_texts(struct seer *s)
{
    TRY(arena_open(&s->memory, SEER_MEMORY_BYTES));
    str universe = str_lower(s->memory, s->context.universe);
    s->zone = str_format(s->memory, "%.*s.localtau", STR_ARG(universe));
    s->services = str_format(s->memory, "tau.%.*s", STR_ARG(s->zone));
    s->server = str_format(s->memory, "seer.%.*s", STR_ARG(s->services));
    s->mailbox = str_format(s->memory, "hostmaster.%.*s", STR_ARG(s->zone));
    return s->mailbox.at == NULL ? fail(ERR_MEMORY, 0, "open seer") : ok();
}

static err seer_start(struct seer *s)
{
    mesh *m = s->context.mesh;
    const protocol_doors *doors = s->context.doors;
    TRY(seer_texts(s));
    TRY(seer_table_open(&s->table));
    TRY(seer_names_open(&s->names));
    // Grows over restarts, as long as less than one change a second happens.
    s->serial_first = (uint32_t)(clock_real_ms() / 1000);
    TRY(mesh_serve(m, MSG_seer_nodes, seer_on_nodes, s));
    TRY(mesh_serve(m, MSG_seer_resolve, seer_on_resolve, s));
    TRY(mesh_listen(m, MSG_seer_heartbeat, seer_on_beat, s));
    TRY(mesh_watch_open(&s->routes, m, STR("tns.route"), STR(""), seer_on_route, s));
    TRY(mesh_watch_open(&s->claims, m, STR("auth.domain"), STR(""), seer_on_claim, s));
    if (doors == NULL || doors->dns == 0)
        return ok();
    dns_server_settings settings = {
        .loop = s->context.loop,
        .address = doors->address,
        .port = doors->dns,
        .answerer = seer_on_question,
        .data = s,
    };
    TRY(dns_server_open(&s->dns, &settings));
    settings.address = doors->also;
    return doors->also == NULL ? ok() : dns_server_open(&s->dns_also, &settings);
}

static void seer_free(struct seer *s)
{
    dns_server_close(s->dns);
    dns_server_close(s->dns_also);
    mesh_watch_close(s->routes);
    mesh_watch_close(s->claims);
    seer_names_close(&s->names);
    seer_table_close(&s->table);
    arena_close(s->memory);
    free(s);
}

static err seer_open(void **state, const protocol_context *context)
{
    struct seer *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return fail(ERR_MEMORY, 0, "open seer");
    s->context = *context;
    err e = seer_start(s);
    if (e.code != OK) {
        seer_free(s);
        return e;
    }
    *state = s;
    return ok();
}

static void seer_close(void *state, void (*closed)(void *data), void *data)
{
    seer_free(state);
    closed(data);
}

const protocol protocol_seer = {
    .name = "seer", .open = seer_open, .close = seer_close, .http = seer_http};
