// Places of a universe of processes: their names, their ports, their shape files.
#include "base/file.h"
#include "base/str.h"
#include "dream/processes_inner.h"
#include "model/shape_file.h"

#include <stdlib.h>

enum { SERVER_CLIENT = 61, SERVER_ROUTE = 71, JOIN_DOOR = 81, MONKEY_JOBS = 2 };
static const uint16_t elder_doors[ELDERS_MAX] = {51, 53, 54}; // 52 is the client's

bool place_is_elder(const place *k)
{
    return k->plan == &node_plans[0];
}

static size_t places_of(const universe *u, const node_plan *plan)
{
    return plan == &node_plans[0]                  ? u->elders
           : plan->protocol == &protocol_monkey    ? u->copies.monkey
           : plan->protocol == &protocol_substrate ? u->copies.substrate
           : plan->protocol == &protocol_hoarder   ? u->copies.hoarder
                                                   : 1;
}

err places_plan(universe *u)
{
    processes *m = u->state = calloc(1, sizeof(*m));
    if (m == NULL)
        return fail(ERR_MEMORY, 0, "open universe");
    for (size_t i = 0; i < NODES_COUNT; i++)
        for (size_t n = 0; n < places_of(u, &node_plans[i]); n++) {
            place *k = &m->places[m->count];
            const char *name = node_plans[i].name;
            *k = (place){.universe = u, .index = m->count++, .plan = &node_plans[i], .number = n};
            k->name = n == 0 ? str_of(name) : str_format(u->memory, "%s-%zu", name, n + 1);
            if (k->name.at == NULL)
                return fail(ERR_MEMORY, 0, "open universe");
        }
    return ok();
}

static protocol_doors place_doors_at(const place *k, uint16_t shift)
{
    const node_plan *p = k->plan;
    size_t n = k->number;
    uint16_t p2p = place_is_elder(k) ? elder_doors[n] : (uint16_t)(p->p2p + n);
    return (protocol_doors){.address = k->universe->address,
                            .p2p = (uint16_t)(shift + p2p),
                            .http = p->http == 0 ? 0 : (uint16_t)(shift + p->http + n),
                            .dns = p->dns == 0 ? 0 : (uint16_t)(shift + p->dns + n)};
}

protocol_doors place_doors(const place *k)
{
    return place_doors_at(k, k->universe->shift);
}

size_t place_copies(const place *k)
{
    return k->plan->protocol == &protocol_monkey ? MONKEY_JOBS : 1;
}

bool places_ports_are_free(universe *u, uint16_t shift)
{
    const processes *m = u->state;
    bool all =
        ports_block_is_free(u->address, shift) &&
        (!universe_is_reachable(u) || (ports_block_is_free(UNIVERSE_ADDRESS, shift) &&
                                       ports_is_free(u->address, (uint16_t)(shift + JOIN_DOOR))));
    for (size_t i = 0; i < m->count && all; i++) {
        const place *k = &m->places[i];
        protocol_doors doors = place_doors_at(k, shift);
        if (k->number > 0)
            all = ports_is_free(u->address, doors.p2p) && ports_is_free(u->address, doors.http);
        if (all && place_is_elder(k))
            all = ports_is_free(u->address, (uint16_t)(shift + SERVER_CLIENT + k->number)) &&
                  ports_is_free(u->address, (uint16_t)(shift + SERVER_ROUTE + k->number));
    }
    return all;
}

uint16_t places_join_port(const universe *u)
{
    return (uint16_t)(u->shift + JOIN_DOOR);
}

size_t places_servers(universe *u, mesh_server out[ELDERS_MAX])
{
    for (size_t i = 0; i < u->elders; i++)
        out[i] = (mesh_server){str_of(u->address), (uint16_t)(u->shift + SERVER_CLIENT + i)};
    return u->elders;
}

static void place_shape(const place *k, shape *s)
{
    universe *u = k->universe;
    protocol_doors doors = place_doors(k);
    const protocol *p = k->plan->protocol;
    *s = (shape){.universe = u->settings.name,
                 .node = k->name,
                 .main = doors.p2p,
                 .http = doors.http,
                 .dns = doors.dns,
                 .elder_election_ms = 300,
                 .copies = place_copies(k),
                 .request_log = u->settings.request_log};
    s->network_fqdn = str_format(u->memory, "%.*s.localtau", STR_ARG(u->settings.name));
    s->listen.at[s->listen.count++] = (shape_address){str_of(u->address), doors.p2p};
    for (size_t i = 0; i < u->elders; i++) {
        uint16_t client = (uint16_t)(u->shift + SERVER_CLIENT + i),
                 route = (uint16_t)(u->shift + SERVER_ROUTE + i);
        s->servers.at[s->servers.count++] = (shape_address){str_of(u->address), client};
        if (!place_is_elder(k))
            continue;
        if (i == k->number) {
            s->elder_client = (shape_address){str_of(u->address), client};
            s->elder_route = (shape_address){str_of(u->address), route};
        } else {
            s->elder_routes.at[s->elder_routes.count++] =
                (shape_address){str_of(u->address), route};
        }
    }
    if (p != NULL)
        s->services.at[s->services.count++] = str_of(p->name);
    if (p == &protocol_auth)
        s->secrets = STR("secrets.key");
    if (p == &protocol_monkey || p == &protocol_auth)
        s->repositories = STR("repositories");
    if (p == &protocol_gateway)
        s->gateway_port = u->gateway_port;
}

err place_write_shape(place *k)
{
    universe *u = k->universe;
    OWNED(arena_drop) arena *a = NULL;
    OWNED(buf_close) buf out;
    TRY(arena_open(&a, (size_t)2 * SHAPE_FILE_BYTES_MAX));
    const char *path = str_format(a, "%s/config/%.*s.yaml", u->folder, STR_ARG(k->name)).at;
    if (path == NULL)
        return fail(ERR_LIMIT, 0, "path too long");
    shape s;
    place_shape(k, &s);
    buf_open(&out, SHAPE_FILE_BYTES_MAX);
    buf_add_format(&out, "# %.*s of universe %.*s: written by dream, read by `tau start`.\n",
                   STR_ARG(k->name), STR_ARG(u->settings.name));
    shape_write(&out, &s);
    TRY(out.error);
    str there;
    if (file_read(a, path, SHAPE_FILE_BYTES_MAX, &there).code == OK && str_is(there, buf_str(&out)))
        return ok();
    return file_write_durable(path, buf_str(&out), 0600);
}
