// One universe on this machine: its folder, its authority, its ports; its kind runs its nodes.
//
// The happy path is: 1. folder, and what it remembers of itself; 2. a free block of ports; 3. key
// and authority; 4. the kind (embedded.c, processes.c) starts the nodes. What can fail: ports in
// use, a full disk, damaged files; then nothing stays behind but files.
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "dream/join_door.h"
#include "dream/universe_inner.h"
#include "io/conn.h"

#include <stdlib.h>
#include <string.h>

enum { UNIVERSE_MEMORY_BYTES = 4 << 20, UNIVERSE_NAME_MAX = 32, UNIVERSE_FILE_BYTES = 16 * 1024 };
enum { OTHER_ENGINE = -1 }; // err.sys of that conflict

const char *universe_path(universe *u, const char *below)
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

// ---- what a universe remembers of itself: its block of ports, its engine

static size_t remembered_copies(const json *copies, const char *name)
{
    uint64_t n = json_whole(copies, name, 0);
    return n > COPIES_MAX ? COPIES_MAX : (size_t)n;
}

static void universe_remembered(universe *u)
{
    universe_memory *had = &u->had;
    str text;
    const json *value;
    const char *path = universe_path(u, "universe.json");
    if (path == NULL || file_read(u->memory, path, UNIVERSE_FILE_BYTES, &text).code != OK ||
        json_read(u->memory, text, &value, NULL).code != OK)
        return;
    had->shift = (uint16_t)json_whole(value, "shift", 0);
    had->gateway_port = (uint16_t)json_whole(value, "gateway_port", 0);
    bool processes = str_is(json_text(value, "engine"), str_of(universe_processes.name));
    had->kind = processes ? &universe_processes : &universe_embedded;
    if (!processes)
        return;
    had->elders = json_whole(value, "elders", 1) == ELDERS_MAX ? ELDERS_MAX : 1;
    const json *copies = json_field(value, "copies");
    had->copies.monkey = remembered_copies(copies, "monkey");
    had->copies.substrate = remembered_copies(copies, "substrate");
    had->copies.hoarder = remembered_copies(copies, "hoarder");
    had->address = json_text(value, "address");
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
    json_put_text(&w, "engine", str_of(u->kind->name));
    if (u->kind == &universe_processes) {
        json_put_whole(&w, "elders", u->elders);
        json_open_object(&w, "copies");
        json_put_whole(&w, "monkey", u->copies.monkey);
        json_put_whole(&w, "substrate", u->copies.substrate);
        json_put_whole(&w, "hoarder", u->copies.hoarder);
        json_close_object(&w);
        if (universe_is_reachable(u))
            json_put_text(&w, "address", str_of(u->address));
    }
    json_close_object(&w);
    TRY(out.error);
    return file_write_durable(universe_path(u, "universe.json"), buf_str(&out), 0600);
}

static err universe_choose_kind(universe *u)
{
    const universe_settings *s = &u->settings;
    const universe_kind *had = u->had.kind;
    u->kind = s->kind == ENGINE_PROCESSES                 ? &universe_processes
              : s->kind == ENGINE_EMBEDDED || had == NULL ? &universe_embedded
                                                          : had;
    if (had != NULL && had != u->kind)
        return fail(ERR_CONFLICT, OTHER_ENGINE,
                    had == &universe_embedded
                        ? "this universe keeps its records in one process, not in --processes"
                        : "this universe keeps its records in --processes, not in one process");
    if (u->kind != &universe_processes)
        return s->elders > 0 || s->copies.hoarder > 0 || s->address.len > 0
                   ? fail(ERR_UNSUPPORTED, 0,
                          "--elders, --address and --copies hoarder need --processes")
                   : ok();
    u->elders = s->elders > 0 ? s->elders : u->had.elders > 0 ? u->had.elders : 1;
    if (u->elders != 1 && u->elders != ELDERS_MAX)
        return fail(ERR_UNSUPPORTED, 0, "a universe has one elder or three");
    if (u->had.elders > 0 && u->had.elders != u->elders)
        return fail(ERR_CONFLICT, OTHER_ENGINE, "this universe was made with another --elders");
    return ok();
}

bool universe_is_reachable(const universe *u)
{
    return strcmp(u->address, UNIVERSE_ADDRESS) != 0;
}

// One of this machine's, because everybody else is told it.
static err universe_choose_address(universe *u)
{
    str address = u->settings.address.len > 0 ? u->settings.address : u->had.address;
    OWNED(fd_drop) int fd = -1;
    u->address = address.len > 0 ? str_c(u->memory, address) : UNIVERSE_ADDRESS;
    if (u->address == NULL)
        return fail(ERR_LIMIT, 0, "--address");
    if (str_is(address, STR("0.0.0.0")) || str_is(address, STR("::")))
        return fail(ERR_UNSUPPORTED, 0, "--address is one that others can dial, not every one");
    if (socket_listen(u->address, 0, false, &fd).code == OK)
        return ok();
    str text = str_format(u->memory, "this machine has no address %s (--address)", u->address);
    return fail(ERR_UNSUPPORTED, 0, text.at != NULL ? text.at : "--address");
}

static size_t copies_of(size_t asked, size_t had)
{
    size_t n = asked > 0 ? asked : had;
    return n == 0 ? 1 : n > COPIES_MAX ? COPIES_MAX : n;
}

static err universe_plan(universe *u)
{
    universe_remembered(u);
    TRY(universe_choose_kind(u));
    TRY(universe_choose_address(u));
    const universe_copies *asked = &u->settings.copies, *had = &u->had.copies;
    u->copies.monkey = copies_of(asked->monkey, had->monkey);
    u->copies.substrate = copies_of(asked->substrate, had->substrate);
    u->copies.hoarder = copies_of(asked->hoarder, had->hoarder);
    return u->kind->plan == NULL ? ok() : u->kind->plan(u);
}

static bool universe_is_as_it_was(const universe *u)
{
    const universe_memory *had = &u->had;
    return had->kind == u->kind && had->shift == u->shift && had->gateway_port == u->gateway_port &&
           (u->kind == &universe_embedded ||
            ((had->address.len > 0 ? str_is(had->address, str_of(u->address))
                                   : !universe_is_reachable(u)) &&
             had->copies.monkey == u->copies.monkey && had->copies.hoarder == u->copies.hoarder &&
             had->copies.substrate == u->copies.substrate));
}

static err universe_choose_ports(universe *u)
{
    uint16_t shift = u->settings.shift, gateway = u->settings.gateway_port;
    shift = shift != 0 ? shift : u->had.shift != 0 ? u->had.shift : PORTS_SHIFT;
    gateway = gateway != 0               ? gateway
              : u->had.gateway_port != 0 ? u->had.gateway_port
                                         : PORTS_GATEWAY;
    u->shift = shift;
    for (int i = 0; !u->kind->ports_are_free(u, u->shift); i++) {
        if (i == PORTS_BLOCKS || u->shift > 65535 - 2 * PORTS_STEP)
            return fail(ERR_CONFLICT, 0, "no free block of ports: name one with --shift");
        u->shift = (uint16_t)(u->shift + PORTS_STEP);
        u->shift_moved = true;
    }
    u->gateway_port = gateway;
    for (int i = 0; !ports_is_free(UNIVERSE_ADDRESS, u->gateway_port) ||
                    !ports_is_free(u->address, u->gateway_port);
         i++) {
        if (i == PORTS_BLOCKS)
            return fail(ERR_CONFLICT, 0,
                        "no free port for the gateway: name one with --gateway-port");
        u->gateway_port++;
    }
    // A full disk is no reason not to start with what is known.
    return universe_is_as_it_was(u) ? ok() : universe_remember(u);
}

// ---- keys

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

static err universe_keys(universe *u)
{
    const char *ca = universe_path(u, "ca");
    u->repositories = universe_path(u, "repositories");
    if (ca == NULL || u->repositories == NULL)
        return fail(ERR_LIMIT, 0, "path too long");
    TRY(file_make_folders(ca, 0700));
    TRY(file_make_folders(u->repositories, 0700));
    TRY(universe_key(u));
    return authority_open(&u->authority, ca, u->settings.name);
}

err universe_deny(universe *u, deny **out)
{
    str problem = {0};
    err e = deny_open(out, u->folder, u->memory, &problem);
    if (e.code != OK && problem.at != NULL)
        e.what = str_c(u->memory, problem);
    return e;
}

static err universe_start(universe *u)
{
    if (u->settings.clean && file_exists(u->folder))
        TRY(file_remove_tree(u->folder));
    TRY(file_make_folders(u->folder, 0700));
    TRY(universe_plan(u));
    TRY(universe_choose_ports(u));
    TRY(universe_keys(u));
    return u->kind->open(u);
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
    u->kind = &universe_embedded;
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

// ---- ready

static void universe_tell_ready(void *data)
{
    universe *u = data;
    universe_ready *ready = u->ready;
    u->ready = NULL;
    if (ready != NULL)
        ready(u->ready_data, u->start_error);
}

void universe_started(universe *u, err e)
{
    if (!u->starting)
        return;
    u->starting = false;
    u->start_error = e;
    if (u->ready != NULL && loop_defer(u->settings.loop, universe_tell_ready, u).code != OK)
        universe_tell_ready(u);
}

void universe_when_ready(universe *u, universe_ready *ready, void *data)
{
    u->ready = ready;
    u->ready_data = data;
    if (!u->starting && loop_defer(u->settings.loop, universe_tell_ready, u).code != OK)
        universe_tell_ready(u);
}

bool universe_is_starting(const universe *u, err *e)
{
    *e = u->start_error;
    return u->starting;
}

// ---- the end

void universe_free(void *data)
{
    universe *u = data;
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

void universe_close(universe *u, void (*closed)(void *data), void *data)
{
    u->closed = closed;
    u->closed_data = data;
    u->starting = false;
    if (u->ready != NULL) {
        u->start_error = fail(ERR_CLOSED, 0, "the universe is stopped");
        universe_tell_ready(u);
    }
    u->kind->close(u);
}

// ---- what others may know

err universe_node_start(universe *u, str name, universe_node_started *started, void *data)
{
    return u->kind->node_start(u, name, started, data);
}
err universe_node_stop(universe *u, str name, void (*stopped)(void *data), void *data)
{
    return u->kind->node_stop(u, name, stopped, data);
}
static err universe_joins(universe *u, join_door **out)
{
    *out = u->kind->joins == NULL ? NULL : u->kind->joins(u);
    return *out != NULL ? ok()
                        : fail(ERR_UNSUPPORTED, 0,
                               "no other machine reaches this universe: stop it, and start it with "
                               "dream new multiverse --processes --address IP");
}
err universe_invite(universe *u, const universe_invitation *i, universe_told *told, void *data)
{
    join_door *door;
    TRY(universe_joins(u, &door));
    return join_door_invite(door, i, told, data);
}
err universe_node_remove(universe *u, str name, universe_told *told, void *data)
{
    join_door *door;
    TRY(universe_joins(u, &door));
    return join_door_remove(door, name, told, data);
}
bool universe_node_at(const universe *u, size_t i, universe_node *out)
{
    size_t places = u->kind->places(u);
    for (size_t place = 0; place < places; place++)
        if (u->kind->node_at(u, place, out) && i-- == 0)
            return true;
    return false;
}
str universe_name(const universe *u)
{
    return u->settings.name;
}
str universe_id(const universe *u)
{
    return authority_universe_id(u->authority);
}
const char *universe_engine_name(const universe *u)
{
    return u->kind->name;
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
mesh *universe_mesh(const universe *u)
{
    return u->kind->mesh(u);
}
forge *universe_forge(const universe *u)
{
    return u->kind->forge(u);
}
const char *universe_address(const universe *u)
{
    return u->address;
}
uint64_t universe_started_real_ms(const universe *u)
{
    return u->started_real_ms;
}
