// One universe on this machine: its folder, its authority, its mesh, its nodes, its workers, its
// forge.
//
// The happy path is: 1. folder, key, authority, records; 2. a free block of ports; 3. workers'
// sockets and nodes;
// 4. the workers start. What can fail: ports in use, a full disk, damaged files; then nothing stays
// behind but files.
#include "dream/universe.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/str.h"
#include "dream/ports.h"
#include "io/conn.h"
#include "worker/workers.h"

#include <stdlib.h>
#include <string.h>

enum { UNIVERSE_MEMORY_BYTES = 1 << 20, UNIVERSE_NAME_MAX = 32, UNIVERSE_FILE_BYTES = 16 * 1024 };
static const char address[] = "127.0.0.1";

struct universe {
    universe_settings settings;
    arena *memory;
    log_sink *log;
    const char *folder;
    uint16_t shift, gateway_port;
    bool shift_moved;
    unsigned char key[SEAL_KEY_BYTES];
    authority *authority;
    mesh_engine *engine;
    blobs *blobs;
    workers *workers;
    node *nodes[NODES_COUNT];
    forge *forge;
    const char *repositories;
    uint64_t started_real_ms;
    size_t parting; // what was stopped alone and is not gone yet: nodes, the forge
    size_t closing; // of the whole universe, once workers are gone: what is not gone yet
    void (*closed)(void *data);
    void *closed_data;
};

static const char *universe_path(universe *u, const char *below)
{
    return str_format(u->memory, "%s/%s", u->folder, below).at;
}

static bool universe_name_is_valid(str name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.at[i];
        bool word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                    (i > 0 && c == '-' && i + 1 < name.len);
        if (!word)
            return false;
    }
    return name.len > 0 && name.len <= UNIVERSE_NAME_MAX;
}

// ---- what a universe remembers of itself: its block of ports

static void universe_remembered(universe *u, uint16_t *shift, uint16_t *gateway)
{
    str text;
    const json *value;
    if (file_read(u->memory, universe_path(u, "universe.json"), UNIVERSE_FILE_BYTES, &text).code !=
            OK ||
        json_read(u->memory, text, &value, NULL).code != OK)
        return;
    *shift = (uint16_t)json_whole(value, "shift", 0);
    *gateway = (uint16_t)json_whole(value, "gateway_port", 0);
}

static err universe_remember(universe *u)
{
    OWNED(buf_close) buf out;
    buf_open(&out, UNIVERSE_FILE_BYTES);
    json_writer w = {.out = &out};
    json_open_object(&w, NULL);
    json_put_text(&w, "name", u->settings.name);
    json_put_whole(&w, "shift", u->shift);
    json_put_whole(&w, "gateway_port", u->gateway_port);
    json_close_object(&w);
    TRY(out.error);
    return file_write_durable(universe_path(u, "universe.json"), buf_str(&out), 0600);
}

static bool universe_port_is_free(uint16_t port)
{
    OWNED(fd_drop) int fd = -1;
    return socket_listen(address, port, false, &fd).code == OK;
}

static err universe_choose_ports(universe *u)
{
    uint16_t shift = u->settings.shift, gateway = u->settings.gateway_port;
    uint16_t had_shift = 0, had_gateway = 0;
    universe_remembered(u, &had_shift, &had_gateway);
    shift = shift != 0 ? shift : had_shift != 0 ? had_shift : PORTS_SHIFT;
    gateway = gateway != 0 ? gateway : had_gateway != 0 ? had_gateway : PORTS_GATEWAY;
    u->shift = shift;
    for (int i = 0; !ports_block_is_free(address, u->shift); i++) {
        if (i == PORTS_BLOCKS || u->shift > 65535 - 2 * PORTS_STEP)
            return fail(ERR_CONFLICT, 0, "no free block of ports: name one with --shift");
        u->shift = (uint16_t)(u->shift + PORTS_STEP);
        u->shift_moved = true;
    }
    u->gateway_port = gateway;
    for (int i = 0; !universe_port_is_free(u->gateway_port); i++) {
        if (i == PORTS_BLOCKS)
            return fail(ERR_CONFLICT, 0,
                        "no free port for the gateway: name one with --gateway-port");
        u->gateway_port++;
    }
    // A full disk is no reason not to start with what is known.
    if (u->shift == had_shift && u->gateway_port == had_gateway)
        return ok();
    return universe_remember(u);
}

// ---- keys and stores

static err universe_key(universe *u)
{
    const char *path = universe_path(u, "secrets.key");
    str bytes;
    err e = file_read(u->memory, path, sizeof(u->key) + 1, &bytes);
    if (e.code == OK && bytes.len != sizeof(u->key))
        return fail(ERR_SYNTAX, 0,
                    "secrets.key is damaged: put it back from a backup, or start with --clean");
    if (e.code == OK) {
        memcpy(u->key, bytes.at, sizeof(u->key));
        return ok();
    }
    if (e.code != ERR_ABSENT)
        return e;
    random_bytes(u->key, sizeof(u->key));
    return file_write_durable(path, (str){(const char *)u->key, sizeof(u->key)}, 0600);
}

static err universe_stores(universe *u)
{
    const char *ca = universe_path(u, "ca"), *blobs_folder = universe_path(u, "blobs");
    u->repositories = universe_path(u, "repositories");
    if (ca == NULL || blobs_folder == NULL || u->repositories == NULL)
        return fail(ERR_LIMIT, 0, "path too long");
    TRY(file_make_folders(ca, 0700));
    TRY(file_make_folders(blobs_folder, 0700));
    TRY(file_make_folders(u->repositories, 0700));
    TRY(universe_key(u));
    TRY(authority_open(&u->authority, ca, u->settings.name));
    TRY(mesh_embedded_open(&u->engine, u->settings.loop, u->folder));
    return blobs_open(&u->blobs, blobs_folder);
}

// ---- nodes

static err universe_open_node(universe *u, size_t i)
{
    const node_plan *plan = &node_plans[i];
    bool monkey = plan->protocol == &protocol_monkey;
    node_settings settings = {
        .loop = u->settings.loop,
        .mesh = u->engine,
        .authority = u->authority,
        .blobs = u->blobs,
        .log = u->log,
        .protocol = plan->protocol,
        .universe = u->settings.name,
        .name = str_of(plan->name),
        .folder = str_format(u->memory, "%s/nodes/%s", u->folder, plan->name).at,
        .repositories = u->repositories,
        .program = u->settings.program,
        .engine = u->settings.engine,
        .workers = u->workers,
        .secrets_key = plan->protocol == &protocol_auth ? (const char *)u->key : NULL,
        .copies = monkey ? u->settings.monkeys : 1,
        .doors = {.address = address,
                  .p2p = (uint16_t)(u->shift + plan->p2p),
                  .http = plan->http == 0 ? 0 : (uint16_t)(u->shift + plan->http),
                  .dns = plan->dns == 0 ? 0 : (uint16_t)(u->shift + plan->dns)},
    };
    if (settings.folder == NULL)
        return fail(ERR_LIMIT, 0, "path too long");
    return node_open(&u->nodes[i], &settings);
}

static err universe_workers(universe *u)
{
    workers_settings settings = {
        .loop = u->settings.loop,
        .log = u->log,
        .program = u->settings.program,
        .universe = u->settings.name,
        .ca_pem = authority_certificate(u->authority),
        .slots = u->settings.workers,
        .request_log = u->settings.request_log,
    };
    TRY(workers_open(&u->workers, &settings));
    return workers_listen(u->workers, WORKER_GATEWAY_HTTP, address, u->gateway_port);
}

static err universe_forge_open(universe *u)
{
    size_t client = (size_t)(node_plan_find(STR("client")) - node_plans);
    forge_settings settings = {
        .loop = u->settings.loop,
        .mesh = node_mesh(u->nodes[client]),
        .folder = u->repositories,
        .log = u->log,
    };
    return forge_open(&u->forge, &settings);
}

static err universe_start(universe *u)
{
    if (u->settings.clean && file_exists(u->folder))
        TRY(file_remove_tree(u->folder));
    TRY(file_make_folders(u->folder, 0700));
    TRY(universe_choose_ports(u));
    TRY(universe_stores(u));
    TRY(universe_workers(u));
    for (size_t i = 0; i < NODES_COUNT; i++)
        TRY(universe_open_node(u, i));
    TRY(universe_forge_open(u));
    return workers_start(u->workers);
}

err universe_open(universe **out, const universe_settings *settings)
{
    *out = NULL;
    if (!universe_name_is_valid(settings->name))
        return fail(ERR_SYNTAX, 0,
                    "a universe's name is 1 to 32 lower-case letters, digits or '-'");
    universe *u = calloc(1, sizeof(*u));
    if (u == NULL)
        return fail(ERR_MEMORY, 0, "open universe");
    *out = u;
    u->settings = *settings;
    u->started_real_ms = clock_real_ms();
    err e = arena_open(&u->memory, UNIVERSE_MEMORY_BYTES);
    if (e.code == OK) {
        u->settings.name = str_copy(u->memory, settings->name);
        u->folder =
            str_format(u->memory, "%s/universes/%.*s", settings->home, STR_ARG(settings->name)).at;
        e = u->folder == NULL ? fail(ERR_MEMORY, 0, "open universe")
                              : log_scope(&u->log, settings->log, "universe", u->settings.name);
    }
    return e.code == OK ? universe_start(u) : e;
}

// ---- the end

static void universe_free(void *data)
{
    universe *u = data;
    if (u->engine != NULL)
        mesh_engine_close(u->engine);
    if (u->blobs != NULL)
        blobs_close(u->blobs);
    if (u->authority != NULL)
        authority_close(u->authority);
    explicit_bzero(u->key, sizeof(u->key));
    log_close(u->log);
    arena_close(u->memory);
    void (*closed)(void *data) = u->closed;
    void *closed_data = u->closed_data;
    free(u);
    if (closed != NULL)
        closed(closed_data);
}

static void universe_on_part_closed(void *data)
{
    universe *u = data;
    // The last part may end inside a letter of the mesh, which has to outlive that.
    if (--u->closing == 0 && loop_defer(u->settings.loop, universe_free, u).code != OK)
        universe_free(u);
}

static void universe_on_parted(universe *u)
{
    u->parting--;
    if (u->closing > 0)
        universe_on_part_closed(u);
}

// Workers first, so that no request sees half a universe; then the forge with its children and the
// nodes, from the roof down.
static void universe_on_workers_closed(void *data)
{
    universe *u = data;
    u->workers = NULL;
    u->closing = 1 + u->parting;
    if (u->forge != NULL) {
        forge *f = u->forge;
        u->forge = NULL;
        u->closing++;
        forge_close_then(f, universe_on_part_closed, u);
    }
    for (size_t i = NODES_COUNT; i-- > 0;)
        if (u->nodes[i] != NULL) {
            node *n = u->nodes[i];
            u->nodes[i] = NULL;
            u->closing++;
            node_close(n, universe_on_part_closed, u);
        }
    universe_on_part_closed(u);
}

void universe_close(universe *u, void (*closed)(void *data), void *data)
{
    u->closed = closed;
    u->closed_data = data;
    if (u->workers != NULL)
        workers_close(u->workers, universe_on_workers_closed, u);
    else
        universe_on_workers_closed(u);
}

// ---- one node at a time

static size_t universe_plan(str name)
{
    const node_plan *plan = node_plan_find(name);
    return plan == NULL ? NODES_COUNT : (size_t)(plan - node_plans);
}

err universe_node_start(universe *u, str name)
{
    size_t i = universe_plan(name);
    if (i == NODES_COUNT)
        return fail(ERR_ABSENT, 0, "there is no such node");
    if (u->nodes[i] != NULL)
        return fail(ERR_CONFLICT, 0, "the node runs already");
    TRY(universe_open_node(u, i));
    if (i == universe_plan(STR("gateway"))) // its friendly door was closed with it
        TRY(workers_listen(u->workers, WORKER_GATEWAY_HTTP, address, u->gateway_port));
    return u->forge == NULL && i == universe_plan(STR("client")) ? universe_forge_open(u) : ok();
}

// Of one node that stops alone.
struct universe_part {
    universe *universe;
    void (*stopped)(void *data);
    void *data;
};

static void universe_on_node_stopped(void *data)
{
    struct universe_part part = *(struct universe_part *)data;
    free(data);
    if (part.stopped != NULL)
        part.stopped(part.data);
    universe_on_parted(part.universe);
}

static void universe_on_forge_stopped(void *data)
{
    universe_on_parted(data);
}

err universe_node_stop(universe *u, str name, void (*stopped)(void *data), void *data)
{
    size_t i = universe_plan(name);
    if (i == NODES_COUNT)
        return fail(ERR_ABSENT, 0, "there is no such node");
    if (u->nodes[i] == NULL)
        return fail(ERR_CONFLICT, 0, "the node does not run");
    struct universe_part *part = malloc(sizeof(*part));
    if (part == NULL)
        return fail(ERR_MEMORY, 0, "stop node");
    *part = (struct universe_part){u, stopped, data};
    if (i == universe_plan(STR("client")) && u->forge != NULL) {
        forge *f = u->forge; // it asks through this node
        u->forge = NULL;
        u->parting++;
        forge_close_then(f, universe_on_forge_stopped, u);
    }
    node *n = u->nodes[i];
    u->nodes[i] = NULL;
    u->parting++;
    node_close(n, universe_on_node_stopped, part);
    return ok();
}

// ---- what others may know

str universe_name(const universe *u)
{
    return u->settings.name;
}
str universe_id(const universe *u)
{
    return authority_universe_id(u->authority);
}
uint16_t universe_shift(const universe *u)
{
    return u->shift;
}
bool universe_shift_moved(const universe *u)
{
    return u->shift_moved;
}
uint16_t universe_gateway_port(const universe *u)
{
    return u->gateway_port;
}
node *universe_node(const universe *u, size_t plan)
{
    return plan < NODES_COUNT ? u->nodes[plan] : NULL;
}
mesh *universe_mesh(const universe *u)
{
    node *client = u->nodes[universe_plan(STR("client"))];
    return client == NULL ? NULL : node_mesh(client);
}
forge *universe_forge(const universe *u)
{
    return u->forge;
}
uint64_t universe_started_real_ms(const universe *u)
{
    return u->started_real_ms;
}
