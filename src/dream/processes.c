// The kind of universe whose nodes are processes: made, started, watched and started again.
//
// The happy path is: 1. keyrings and shape files; 2. all processes at once, `tau start` each; 3.
// this process joins the mesh as node `dream` and opens the forge; 4. every node has said that it
// is ready. What can fail: a node that cannot be what its shape says ends the start with its words;
// one that dies is started again with back-off (member.h). It ends from the roof down: the forge,
// the nodes, our own place in the mesh, the elders.
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "dream/processes_inner.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PLACE_LINE_BYTES = 128 * 1024,
    PLACE_MEMORY_BYTES = 512 * 1024,
    PLACE_FAILURES_MAX = 3, // of a node that has never been up while the universe starts
    PROCESSES_START_MS_MAX = 30 * 1000,
    PROCESSES_RENEW_MS = 60 * 60 * 1000,
};

static void place_do(place *k, member_event event);

// ---- the start

static void processes_check_started(universe *u)
{
    processes *m = u->state;
    bool all = m->caught_up && m->forge != NULL;
    for (size_t i = 0; i < m->count && all; i++)
        all = !m->places[i].member.wanted || m->places[i].member.state == MEMBER_UP;
    if (all && u->starting) {
        timer_stop(m->deadline);
        universe_started(u, ok());
    }
}

static void place_tell_started(place *k, err e)
{
    universe_node_started *started = k->started;
    k->started = NULL;
    if (started != NULL)
        started(k->started_data, e);
}

// It cannot be what its shape says, in its own words or ours.
static void place_failed(place *k, err e)
{
    processes *m = k->universe->state;
    log_fail(k->universe->log, "node failed", e, "node", k->name, NULL);
    if (m->closing)
        return;
    if (k->universe->starting)
        universe_started(k->universe, e);
    place_tell_started(k, e);
}

static void processes_on_deadline(void *data)
{
    universe *u = data;
    processes *m = u->state;
    for (size_t i = 0; i < m->count; i++) {
        place *k = &m->places[i];
        if (!k->member.wanted || k->member.state == MEMBER_UP)
            continue;
        (void)snprintf(k->problem, sizeof(k->problem),
                       "%.*s did not come up within %d s: dream logs", STR_ARG(k->name),
                       PROCESSES_START_MS_MAX / 1000);
        universe_started(u, fail(ERR_TIMEOUT, 0, k->problem));
        return;
    }
    universe_started(u, fail(ERR_TIMEOUT, 0, "the mesh does not answer: dream logs"));
}

// ---- what a process says

static err_code place_error_code(str name)
{
    for (int code = ERR_MEMORY; code <= ERR_UNSUPPORTED; code++)
        if (str_is(name, str_of(err_name((err_code)code))))
            return (err_code)code;
    return ERR_SYSTEM;
}

static void place_on_event(place *k, str line)
{
    OWNED(arena_drop) arena *a = NULL;
    const json *value;
    if (arena_open(&a, PLACE_MEMORY_BYTES).code != OK ||
        json_read(a, line, &value, NULL).code != OK)
        return;
    str event = json_text(value, "event");
    if (str_is(event, STR("ready"))) {
        k->failures = 0;
        place_do(k, MEMBER_ON_READY);
        place_tell_started(k, ok());
        processes_check_started(k->universe);
    } else if (str_is(event, STR("server"))) {
        k->server_pid = (int)json_whole(value, "pid", 0);
    } else if (str_is(event, STR("failed"))) {
        str text = json_text(value, "text");
        (void)snprintf(k->problem, sizeof(k->problem), "%.*s", STR_ARG(text));
        k->problem_code = place_error_code(json_text(value, "err"));
        if (k->member.state == MEMBER_STARTING)
            place_failed(k, fail(k->problem_code, 0, k->problem));
    }
}

static void place_lines(place *k, buf *part, str bytes, void (*on_line)(place *k, str line))
{
    buf_add(part, bytes);
    if (part->error.code != OK) { // a line longer than any of ours
        buf_clear(part);
        return;
    }
    size_t from = 0;
    for (;;) {
        str rest = str_from(buf_str(part), from);
        size_t end = str_find_byte(rest, '\n');
        if (end == rest.len)
            break;
        on_line(k, str_first(rest, end));
        from += end + 1;
    }
    buf_drop_front(part, from);
}

static void place_on_journal(place *k, str line)
{
    journal_add(k->universe->settings.journal, k->universe->settings.name, k->name, k->index, line);
}

static void place_on_output(void *data, proc *p, int stream, str bytes)
{
    (void)p;
    place *k = data;
    if (stream == 1)
        place_lines(k, &k->output, bytes, place_on_event);
    else
        place_lines(k, &k->journal, bytes, place_on_journal);
}

// ---- its process

static void place_on_down(place *k)
{
    void (*stopped)(void *data) = k->stopped;
    k->stopped = NULL;
    if (stopped != NULL)
        stopped(k->stopped_data);
}

static void place_on_end(void *data, proc *p, const proc_end *end)
{
    (void)p;
    place *k = data;
    processes *m = k->universe->state;
    char how[64];
    (void)snprintf(how, sizeof(how), end->signal != 0 ? "signal %d" : "status %d",
                   end->signal != 0 ? end->signal : end->status);
    k->proc = NULL;
    k->server_pid = 0;
    buf_clear(&k->output);
    buf_clear(&k->journal);
    if (k->member.state != MEMBER_DRAINING)
        log_line(k->universe->log, LOG_ERROR, "node ended", "node", k->name, "how", str_of(how),
                 NULL);
    bool starting = k->member.state == MEMBER_STARTING;
    place_do(k, MEMBER_ON_ENDED);
    if (starting && (++k->failures >= PLACE_FAILURES_MAX || k->started != NULL)) {
        if (k->problem[0] == '\0')
            (void)snprintf(k->problem, sizeof(k->problem),
                           "%.*s ended (%s) before it was ready: dream logs", STR_ARG(k->name),
                           how);
        place_failed(k, fail(k->problem_code != OK ? k->problem_code : ERR_SYSTEM, 0, k->problem));
    }
    if (k->member.state == MEMBER_DOWN && !k->member.wanted)
        place_on_down(k);
    if (m->closing)
        processes_on_part_closed(k->universe);
}

static err place_spawn(place *k)
{
    universe *u = k->universe;
    OWNED(arena_drop) arena *a = NULL;
    TRY(arena_open(&a, 16 * 1024));
    const char *name = str_c(a, k->name);
    const char *argv[] = {
        "tau", "start", "--shape", name, "--root", u->folder, u->settings.debug ? "--debug" : NULL,
        NULL};
    proc_settings settings = {
        .argv = argv,
        .file = u->settings.program,
        .on_output = place_on_output,
        .on_end = place_on_end,
        .data = k,
    };
    k->problem[0] = '\0';
    k->problem_code = OK;
    return name == NULL ? fail(ERR_MEMORY, 0, "start node")
                        : proc_start(&k->proc, u->settings.loop, &settings);
}

static void place_do(place *k, member_event event)
{
    universe *u = k->universe;
    switch (member_step(&k->member, event, loop_now_ms(u->settings.loop))) {
    case MEMBER_SPAWN: {
        err e = place_spawn(k);
        if (e.code != OK) {
            log_fail(u->log, "node did not start", e, "node", k->name, NULL);
            place_do(k, MEMBER_ON_ENDED); // back-off, no recursion: it is DOWN then
        }
        break;
    }
    case MEMBER_TERMINATE:
        proc_kill(k->proc, SIGTERM);
        break;
    case MEMBER_KILL:
        proc_kill(k->proc, SIGKILL);
        break;
    case MEMBER_NOTHING:
        break;
    }
    uint64_t now = loop_now_ms(u->settings.loop), wake = k->member.wake_ms;
    if (wake == 0)
        timer_stop(k->wake);
    else
        timer_start(k->wake, wake > now ? wake - now : 1, 0);
}

static void place_on_wake(void *data)
{
    place_do(data, MEMBER_ON_TIME);
}

// ---- our own place in the mesh

static void processes_on_mesh(void *data)
{
    universe *u = data;
    processes *m = u->state;
    if (m->closing)
        return;
    m->caught_up = true;
    processes_check_started(u);
}

static void processes_on_lost(void *data, err e)
{
    universe *u = data;
    log_fail(u->log, "the mesh lost this process: start it again", e, NULL);
}

// Of this machine, or reserved for one that runs the universe with more --copies.
static bool processes_is_ours(void *data, str name)
{
    const universe *u = data;
    const processes *m = u->state;
    for (size_t i = 0; i < m->count; i++)
        if (str_is(m->places[i].name, name))
            return true;
    return str_is(name, STR("dream"));
}

static err processes_open_door(universe *u, const mesh_server *servers, size_t count)
{
    processes *m = u->state;
    join_door_settings settings = {
        .loop = u->settings.loop,
        .log = u->log,
        .authority = u->authority,
        .folder = u->folder,
        .universe = u->settings.name,
        .address = u->address,
        .port = places_join_port(u),
        .shift = u->shift,
        .servers = servers,
        .servers_count = count,
        .mesh = m->mesh,
        .certificate_pem = keyring_certificate(m->keyring),
        .key_pem = keyring_key(m->keyring),
        .is_ours = processes_is_ours,
        .data = u,
    };
    return join_door_open(&m->door, &settings);
}

static err processes_join(universe *u)
{
    processes *m = u->state;
    mesh_server servers[ELDERS_MAX];
    mesh_nats_settings settings = {
        .loop = u->settings.loop,
        .log = u->log,
        .folder = universe_path(u, "nodes/dream"),
        .universe = u->settings.name,
        .node = STR("dream"),
        .certificate_pem = keyring_certificate(m->keyring),
        .key_pem = keyring_key(m->keyring),
        .ca_pem = keyring_authority(m->keyring),
        .servers = servers,
        .servers_count = places_servers(u, servers),
        .ready = processes_on_mesh,
        .lost = processes_on_lost,
        .data = u,
    };
    if (settings.folder == NULL)
        return fail(ERR_LIMIT, 0, "path too long");
    TRY(file_make_folders(settings.folder, 0700));
    TRY(mesh_nats_open(&m->engine, &settings));
    str name = str_format(u->memory, "dream@%.*s", STR_ARG(u->settings.name));
    TRY(mesh_join(&m->mesh, m->engine, name, STR("")));
    forge_settings git = {
        .loop = u->settings.loop, .mesh = m->mesh, .folder = u->repositories, .log = u->log};
    TRY(forge_open(&m->forge, &git));
    return universe_is_reachable(u) ? processes_open_door(u, servers, settings.servers_count)
                                    : ok();
}

static void processes_on_renew(void *data)
{
    processes_renew(data);
}

static err processes_open(universe *u)
{
    processes *m = u->state;
    loop *l = u->settings.loop;
    const char *config = universe_path(u, "config");
    if (config == NULL)
        return fail(ERR_LIMIT, 0, "path too long");
    TRY(file_make_folders(config, 0700));
    TRY(processes_keys(u));
    TRY(timer_open(&m->deadline, l, processes_on_deadline, u));
    TRY(timer_open(&m->renew, l, processes_on_renew, u));
    for (size_t i = 0; i < m->count; i++) {
        buf_open(&m->places[i].output, PLACE_LINE_BYTES);
        buf_open(&m->places[i].journal, PLACE_LINE_BYTES);
        TRY(timer_open(&m->places[i].wake, l, place_on_wake, &m->places[i]));
        TRY(place_write_shape(&m->places[i]));
    }
    u->starting = true;
    for (size_t i = 0; i < m->count; i++)
        place_do(&m->places[i], MEMBER_ON_START);
    timer_start(m->deadline, PROCESSES_START_MS_MAX, 0);
    timer_start(m->renew, PROCESSES_RENEW_MS, PROCESSES_RENEW_MS);
    return processes_join(u);
}

// ---- the end

static void processes_free(void *data)
{
    universe *u = data;
    processes *m = u->state;
    for (size_t i = 0; i < m->count; i++) {
        timer_close(m->places[i].wake);
        buf_close(&m->places[i].output);
        buf_close(&m->places[i].journal);
    }
    timer_close(m->deadline);
    timer_close(m->renew);
    join_door_free(m->door);
    keyring_close(m->keyring);
    free(m);
    universe_free(u);
}

static bool places_are_down(const processes *m, bool elders)
{
    for (size_t i = 0; i < m->count; i++)
        if (place_is_elder(&m->places[i]) == elders && m->places[i].member.state != MEMBER_DOWN)
            return false;
    return true;
}

static void places_stop(processes *m, bool elders)
{
    for (size_t i = m->count; i-- > 0;)
        if (place_is_elder(&m->places[i]) == elders && m->places[i].wake != NULL)
            place_do(&m->places[i], MEMBER_ON_STOP);
}

// The last letter of the mesh is behind us here.
static void processes_leave(void *data)
{
    universe *u = data;
    processes *m = u->state;
    if (m->engine != NULL)
        mesh_engine_close(m->engine);
    m->engine = NULL;
    m->mesh = NULL;
    places_stop(m, true);
    processes_on_part_closed(u);
}

void processes_on_part_closed(universe *u)
{
    processes *m = u->state;
    if (m->forge_closing || m->door_closing || !places_are_down(m, false))
        return;
    if (!m->left) {
        m->left = true;
        if (loop_defer(u->settings.loop, processes_leave, u).code != OK)
            processes_leave(u);
        return;
    }
    if (m->engine == NULL && m->renewing == NULL && places_are_down(m, true) &&
        loop_defer(u->settings.loop, processes_free, u).code != OK)
        processes_free(u);
}

static void processes_on_forge_closed(void *data)
{
    universe *u = data;
    processes *m = u->state;
    m->forge_closing = false;
    processes_on_part_closed(u);
}

static void processes_on_door_closed(void *data)
{
    universe *u = data;
    processes *m = u->state;
    m->door_closing = false;
    processes_on_part_closed(u);
}

static void processes_close(universe *u)
{
    processes *m = u->state;
    if (m == NULL) {
        if (loop_defer(u->settings.loop, universe_free, u).code != OK)
            universe_free(u);
        return;
    }
    m->closing = true;
    m->door_closing = m->door != NULL;
    if (m->door != NULL)
        join_door_close(m->door, processes_on_door_closed, u);
    for (size_t i = 0; i < m->count; i++)
        place_tell_started(&m->places[i], fail(ERR_CLOSED, 0, "the universe is stopped"));
    if (m->forge != NULL) {
        forge *f = m->forge;
        m->forge = NULL;
        m->forge_closing = true;
        forge_close_then(f, processes_on_forge_closed, u);
    }
    places_stop(m, false);
    processes_on_part_closed(u);
}

// ---- one node at a time

static place *processes_find(universe *u, str name)
{
    processes *m = u->state;
    for (size_t i = 0; i < m->count; i++)
        if (str_is(m->places[i].name, name))
            return &m->places[i];
    return NULL;
}

static err processes_node_start(universe *u, str name, universe_node_started *started, void *data)
{
    place *k = processes_find(u, name);
    if (k == NULL)
        return fail(ERR_ABSENT, 0, "there is no such node");
    if (k->member.wanted || k->started != NULL)
        return fail(ERR_CONFLICT, 0, "the node runs already");
    k->started = started;
    k->started_data = data;
    place_do(k, MEMBER_ON_START);
    return ok();
}

static err processes_node_stop(universe *u, str name, void (*stopped)(void *data), void *data)
{
    place *k = processes_find(u, name);
    if (k == NULL)
        return fail(ERR_ABSENT, 0, "there is no such node");
    if (!k->member.wanted)
        return fail(ERR_CONFLICT, 0, "the node does not run");
    place_tell_started(k, fail(ERR_CLOSED, 0, "the node was stopped"));
    k->stopped = stopped;
    k->stopped_data = data;
    place_do(k, MEMBER_ON_STOP);
    if (k->member.state == MEMBER_DOWN)
        place_on_down(k);
    return ok();
}

// ---- what others may know

static size_t processes_places(const universe *u)
{
    const processes *m = u->state;
    return m == NULL ? 0 : m->count;
}

static bool processes_node_at(const universe *u, size_t number, universe_node *out)
{
    const processes *m = u->state;
    const place *k = &m->places[number];
    if (!k->member.wanted && k->member.state == MEMBER_DOWN)
        return false;
    const protocol *p = k->plan->protocol;
    *out = (universe_node){
        .name = k->name,
        .protocol = p == NULL ? "" : p->name,
        .copies = place_copies(k),
        .doors = place_doors(k),
        .pid = k->proc == NULL ? 0 : proc_id(k->proc),
        .state = member_state_name(k->member.state),
        .restarts = k->member.restarts,
        .server_pid = k->server_pid,
    };
    return true;
}

// As in the embedded kind: without the client node nobody asks for people.
static bool processes_client_is_there(const universe *u)
{
    const processes *m = u->state;
    for (size_t i = 0; m != NULL && i < m->count; i++)
        if (str_is(m->places[i].name, STR("client")))
            return m->places[i].member.wanted;
    return false;
}

static mesh *processes_mesh(const universe *u)
{
    const processes *m = u->state;
    return processes_client_is_there(u) ? m->mesh : NULL;
}

static forge *processes_forge(const universe *u)
{
    const processes *m = u->state;
    return processes_client_is_there(u) ? m->forge : NULL;
}

static join_door *processes_joins(const universe *u)
{
    const processes *m = u->state;
    return m == NULL || m->closing ? NULL : m->door;
}

const universe_kind universe_processes = {
    .name = "processes",
    .plan = places_plan,
    .ports_are_free = places_ports_are_free,
    .open = processes_open,
    .close = processes_close,
    .node_start = processes_node_start,
    .node_stop = processes_node_stop,
    .node_at = processes_node_at,
    .places = processes_places,
    .mesh = processes_mesh,
    .forge = processes_forge,
    .joins = processes_joins,
};
