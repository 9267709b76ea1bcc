// The embedded kind of universe: all nodes in this process, guests in workers.
//
// The happy path is: 1. records and blobs; 2. workers' sockets; 3. nodes and the forge; 4. the
// workers start. It ends in the opposite order.
#include "base/file.h"
#include "base/str.h"
#include "dream/universe_inner.h"
#include "worker/workers.h"

#include <stdlib.h>
#include <unistd.h>

enum { MONKEY_JOBS = 2 };

struct embedded {
    mesh_engine *engine;
    blobs *blobs;
    deny *deny;
    workers *workers;
    node *nodes[NODES_COUNT];
    forge *forge;
    size_t parting; // what was stopped alone and is not gone yet: nodes, the forge
    size_t closing; // of the whole universe, once workers are gone: what is not gone yet
};

static err embedded_open_node(universe *u, size_t i)
{
    struct embedded *m = u->state;
    const node_plan *plan = &node_plans[i];
    bool monkey = plan->protocol == &protocol_monkey;
    size_t jobs = u->settings.copies.monkey > 0 ? u->settings.copies.monkey : MONKEY_JOBS;
    node_settings settings = {
        .loop = u->settings.loop,
        .mesh = m->engine,
        .identity = node_identity_of(u->authority),
        .deny = m->deny,
        .elder = str_is(str_of(plan->name), STR("elder")),
        .blobs = m->blobs,
        .log = u->log,
        .protocol = plan->protocol,
        .universe = u->settings.name,
        .name = str_of(plan->name),
        .folder = str_format(u->memory, "%s/nodes/%s", u->folder, plan->name).at,
        .repositories = u->repositories,
        .program = u->settings.program,
        .engine = u->settings.engine,
        .workers = m->workers,
        .secrets_key = plan->protocol == &protocol_auth ? (const char *)u->key : NULL,
        .copies = monkey ? jobs : 1,
        .doors = {.address = UNIVERSE_ADDRESS,
                  .p2p = (uint16_t)(u->shift + plan->p2p),
                  .http = plan->http == 0 ? 0 : (uint16_t)(u->shift + plan->http),
                  .dns = plan->dns == 0 ? 0 : (uint16_t)(u->shift + plan->dns)},
    };
    if (settings.folder == NULL)
        return fail(ERR_LIMIT, 0, "path too long");
    return node_open(&m->nodes[i], &settings);
}

static err embedded_workers(universe *u)
{
    struct embedded *m = u->state;
    workers_settings settings = {
        .loop = u->settings.loop,
        .log = u->log,
        .program = u->settings.program,
        .universe = u->settings.name,
        .ca_pem = authority_certificate(u->authority),
        .slots = u->settings.copies.substrate,
        .deny = m->deny,
        .request_log = u->settings.request_log,
    };
    TRY(workers_open(&m->workers, &settings));
    return workers_listen(m->workers, WORKER_GATEWAY_HTTP, UNIVERSE_ADDRESS, u->gateway_port);
}

static size_t embedded_plan(str name)
{
    const node_plan *plan = node_plan_find(name);
    return plan == NULL ? NODES_COUNT : (size_t)(plan - node_plans);
}

static err embedded_forge_open(universe *u)
{
    struct embedded *m = u->state;
    forge_settings settings = {
        .loop = u->settings.loop,
        .mesh = node_mesh(m->nodes[embedded_plan(STR("client"))]),
        .folder = u->repositories,
        .log = u->log,
    };
    return forge_open(&m->forge, &settings);
}

static err embedded_open(universe *u)
{
    struct embedded *m = u->state = calloc(1, sizeof(*m));
    const char *blobs_folder = universe_path(u, "blobs");
    if (m == NULL)
        return fail(ERR_MEMORY, 0, "open universe");
    if (blobs_folder == NULL)
        return fail(ERR_LIMIT, 0, "path too long");
    TRY(file_make_folders(blobs_folder, 0700));
    TRY(mesh_embedded_open(&m->engine, u->settings.loop, u->folder));
    TRY(blobs_open(&m->blobs, blobs_folder));
    TRY(universe_deny(u, &m->deny));
    TRY(embedded_workers(u));
    for (size_t i = 0; i < NODES_COUNT; i++)
        TRY(embedded_open_node(u, i));
    TRY(embedded_forge_open(u));
    return workers_start(m->workers);
}

// ---- the end

static void embedded_free(void *data)
{
    universe *u = data;
    struct embedded *m = u->state;
    if (m->engine != NULL)
        mesh_engine_close(m->engine);
    if (m->blobs != NULL)
        blobs_close(m->blobs);
    deny_close(m->deny);
    free(m);
    universe_free(u);
}

static void embedded_on_part_closed(void *data)
{
    universe *u = data;
    struct embedded *m = u->state;
    // The last part may end inside a letter of the mesh, which has to outlive that.
    if (--m->closing == 0 && loop_defer(u->settings.loop, embedded_free, u).code != OK)
        embedded_free(u);
}

static void embedded_on_parted(universe *u)
{
    struct embedded *m = u->state;
    m->parting--;
    if (m->closing > 0)
        embedded_on_part_closed(u);
}

// Workers first, so that no request sees half a universe; then the forge with its children and the
// nodes, from the roof down.
static void embedded_on_workers_closed(void *data)
{
    universe *u = data;
    struct embedded *m = u->state;
    m->workers = NULL;
    m->closing = 1 + m->parting;
    if (m->forge != NULL) {
        forge *f = m->forge;
        m->forge = NULL;
        m->closing++;
        forge_close_then(f, embedded_on_part_closed, u);
    }
    for (size_t i = NODES_COUNT; i-- > 0;)
        if (m->nodes[i] != NULL) {
            node *n = m->nodes[i];
            m->nodes[i] = NULL;
            m->closing++;
            node_close(n, embedded_on_part_closed, u);
        }
    embedded_on_part_closed(u);
}

static void embedded_close(universe *u)
{
    struct embedded *m = u->state;
    if (m == NULL) {
        if (loop_defer(u->settings.loop, universe_free, u).code != OK)
            universe_free(u);
        return;
    }
    if (m->workers != NULL)
        workers_close(m->workers, embedded_on_workers_closed, u);
    else
        embedded_on_workers_closed(u);
}

// ---- one node at a time

static err embedded_node_start(universe *u, str name, universe_node_started *started, void *data)
{
    struct embedded *m = u->state;
    size_t i = embedded_plan(name);
    if (i == NODES_COUNT)
        return fail(ERR_ABSENT, 0, "there is no such node");
    if (m->nodes[i] != NULL)
        return fail(ERR_CONFLICT, 0, "the node runs already");
    TRY(embedded_open_node(u, i));
    if (i == embedded_plan(STR("gateway"))) // its friendly door was closed with it
        TRY(workers_listen(m->workers, WORKER_GATEWAY_HTTP, UNIVERSE_ADDRESS, u->gateway_port));
    if (m->forge == NULL && i == embedded_plan(STR("client")))
        TRY(embedded_forge_open(u));
    if (started != NULL)
        started(data, ok());
    return ok();
}

// Of one node that stops alone.
struct embedded_part {
    universe *universe;
    void (*stopped)(void *data);
    void *data;
};

static void embedded_on_node_stopped(void *data)
{
    struct embedded_part part = *(struct embedded_part *)data;
    free(data);
    if (part.stopped != NULL)
        part.stopped(part.data);
    embedded_on_parted(part.universe);
}

static void embedded_on_forge_stopped(void *data)
{
    embedded_on_parted(data);
}

static err embedded_node_stop(universe *u, str name, void (*stopped)(void *data), void *data)
{
    struct embedded *m = u->state;
    size_t i = embedded_plan(name);
    if (i == NODES_COUNT)
        return fail(ERR_ABSENT, 0, "there is no such node");
    if (m->nodes[i] == NULL)
        return fail(ERR_CONFLICT, 0, "the node does not run");
    struct embedded_part *part = malloc(sizeof(*part));
    if (part == NULL)
        return fail(ERR_MEMORY, 0, "stop node");
    *part = (struct embedded_part){u, stopped, data};
    if (i == embedded_plan(STR("client")) && m->forge != NULL) {
        forge *f = m->forge; // it asks through this node
        m->forge = NULL;
        m->parting++;
        forge_close_then(f, embedded_on_forge_stopped, u);
    }
    node *n = m->nodes[i];
    m->nodes[i] = NULL;
    m->parting++;
    node_close(n, embedded_on_node_stopped, part);
    return ok();
}

// ---- what others may know

static size_t embedded_places(const universe *u)
{
    (void)u;
    return NODES_COUNT;
}

static bool embedded_node_at(const universe *u, size_t place, universe_node *out)
{
    const struct embedded *m = u->state;
    const node *n = m == NULL ? NULL : m->nodes[place];
    if (n == NULL)
        return false;
    *out = (universe_node){
        .name = node_name(n),
        .protocol = node_protocol(n),
        .copies = node_copies(n),
        .doors = *node_doors(n),
        .pid = getpid(),
        .state = "up",
    };
    return true;
}

static mesh *embedded_mesh(const universe *u)
{
    const struct embedded *m = u->state;
    node *client = m == NULL ? NULL : m->nodes[embedded_plan(STR("client"))];
    return client == NULL ? NULL : node_mesh(client);
}

static forge *embedded_forge(const universe *u)
{
    const struct embedded *m = u->state;
    return m == NULL ? NULL : m->forge;
}

static bool embedded_ports_are_free(universe *u, uint16_t shift)
{
    (void)u;
    return ports_block_is_free(UNIVERSE_ADDRESS, shift);
}

const universe_kind universe_embedded = {
    .name = "embedded",
    .ports_are_free = embedded_ports_are_free,
    .open = embedded_open,
    .close = embedded_close,
    .node_start = embedded_node_start,
    .node_stop = embedded_node_stop,
    .node_at = embedded_node_at,
    .places = embedded_places,
    .mesh = embedded_mesh,
    .forge = embedded_forge,
};
