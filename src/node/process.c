// A node as a process of its own.
//
// The happy path is: 1. lock and keyring; 2. an elder starts its server; 3. the mesh is joined and
// its copies catch up; 4. workers' sockets, the node, the workers. What can fail: a foreign or
// expired identity, a second process of this node, a port in use; each names the node.
#include "node/process.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/str.h"
#include "io/conn.h"
#include "mesh/deny.h"
#include "mesh/keyring.h"
#include "mesh/mesh.h"
#include "node/elder.h"
#include "node/node.h"
#include "node/remote.h"
#include "worker/workers.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

enum { PROCESS_MEMORY_BYTES = 256 * 1024, PROCESS_RENEW_MS = 10 * 1000 };
enum { PROCESS_TABLE_STEP_MS = 5, PROCESS_TABLE_MS_MAX = 5000 }; // of the first routes or backends

#define LOOPBACK "127.0.0.1"

struct process {
    process_settings settings;
    arena *memory;
    char problem[PROCESS_PROBLEM_TEXT];
    const char *folder, *keys, *blobs_folder, *repositories, *deny_path;
    const char *host, *also; // what its doors listen at; NULL: nowhere else
    unsigned char secret[SEAL_KEY_BYTES];
    const protocol *protocol; // NULL: a simple
    int lock;
    keyring *keyring;
    str authority; // PEM; outlives renewed keyrings
    elder_server *elder;
    mesh_engine *mesh;
    blobs *blobs;
    deny *deny;
    workers *workers;
    node *node;
    remote *remote; // NULL: the authority is on this machine
    timer *renew, *table;
    uint64_t table_from_ms;
    struct renewal *renewing;
    bool starting, closing;
    void (*closed)(void *data);
    void *closed_data;
};

// The same error, with the node's name before its words.
__attribute__((format(printf, 3, 4))) static err
process_fail(struct process *p, err e, const char *format, ...)
{
    va_list list;
    int n = snprintf(p->problem, sizeof(p->problem), "%.*s: ", STR_ARG(p->settings.shape->node));
    va_start(list, format);
    (void)vsnprintf(p->problem + n, sizeof(p->problem) - (size_t)n, format, list);
    va_end(list);
    size_t len = strlen(p->problem);
    if (e.sys > 0 && e.code != ERR_CONFLICT) // the supervisor is given words alone
        (void)snprintf(p->problem + len, sizeof(p->problem) - len, ": %s", strerror(e.sys));
    e.what = p->problem;
    return e;
}

// ---- files

static const char *process_path(struct process *p, str given, const char *otherwise)
{
    str name = p->settings.shape->node;
    if (given.len > 0 && given.at[0] == '/')
        return str_c(p->memory, given);
    if (given.len > 0)
        return str_format(p->memory, "%s/%.*s", p->settings.root, STR_ARG(given)).at;
    return str_format(p->memory, "%s/%s/%.*s", p->settings.root, otherwise, STR_ARG(name)).at;
}

static err process_paths(struct process *p)
{
    const shape *s = p->settings.shape;
    p->folder = process_path(p, s->folder, "nodes");
    p->keys = process_path(p, STR(""), "keys");
    p->deny_path = process_path(p, STR("deny"), "");
    p->host = str_c(p->memory, s->listen.at[0].host);
    // People of this machine find what is public by names that end in .localhost.
    if (p->host != NULL && strcmp(p->host, LOOPBACK) != 0 && strcmp(p->host, "0.0.0.0") != 0)
        p->also = LOOPBACK;
    if (p->folder == NULL || p->keys == NULL || p->deny_path == NULL || p->host == NULL)
        return fail(ERR_LIMIT, 0, "path too long");
    p->blobs_folder = s->blobs.len > 0 ? process_path(p, s->blobs, "")
                                       : str_format(p->memory, "%s/blobs", p->folder).at;
    if (s->repositories.len > 0)
        p->repositories = process_path(p, s->repositories, "");
    return p->blobs_folder == NULL ? fail(ERR_LIMIT, 0, "path too long") : ok();
}

static err process_lock(struct process *p)
{
    const char *path = str_format(p->memory, "%s/lock", p->folder).at;
    if (path == NULL)
        return fail(ERR_LIMIT, 0, "path too long");
    TRY(file_make_folders(p->folder, 0700));
    p->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (p->lock < 0)
        return process_fail(p, fail_errno(errno, ""), "%s cannot be opened", path);
    if (flock(p->lock, LOCK_EX | LOCK_NB) != 0)
        return process_fail(p, fail(ERR_BUSY, 0, ""), "another process is this node already (%s)",
                            path);
    return ok();
}

static str process_protocols(const struct process *p)
{
    const shape *s = p->settings.shape;
    return shape_is_elder(s) ? STR("elder") : s->services.count > 0 ? s->services.at[0] : STR("-");
}

static keyring_settings process_keyring(const struct process *p)
{
    return (keyring_settings){
        .folder = p->keys,
        .universe = p->settings.shape->universe,
        .node = p->settings.shape->node,
        .protocols = process_protocols(p),
    };
}

static err process_identity(struct process *p)
{
    keyring_settings settings = process_keyring(p);
    err e = keyring_load(&p->keyring, &settings, clock_real_ms());
    if (e.code != OK)
        return process_fail(p, e, "%s (%s)", e.what, p->keys);
    p->authority = str_copy(p->memory, keyring_authority(p->keyring));
    return p->authority.at != NULL ? ok() : fail(ERR_MEMORY, 0, "authority");
}

static err process_secret(struct process *p)
{
    const shape *s = p->settings.shape;
    if (s->secrets.len == 0)
        return ok();
    const char *path = process_path(p, s->secrets, "");
    str bytes;
    if (path == NULL)
        return fail(ERR_LIMIT, 0, "path too long");
    err e = file_read(p->memory, path, sizeof(p->secret) + 1, &bytes);
    if (e.code != OK || bytes.len != sizeof(p->secret))
        return process_fail(p, fail(e.code != OK ? e.code : ERR_SYNTAX, e.sys, ""),
                            "%s is missing or damaged: put it back from a backup", path);
    memcpy(p->secret, bytes.at, sizeof(p->secret));
    explicit_bzero((char *)bytes.at, bytes.len);
    return ok();
}

// ---- the identity, as the node and the mesh see it

static err process_issue(void *data, arena *a, str name, str protocols, str *certificate, str *key)
{
    (void)name;
    (void)protocols;
    struct process *p = data;
    *certificate = str_copy(a, keyring_certificate(p->keyring));
    *key = str_copy(a, keyring_key(p->keyring));
    return certificate->at == NULL || key->at == NULL ? fail(ERR_MEMORY, 0, "certificate") : ok();
}

static uint64_t process_until(void *data)
{
    const struct process *p = data;
    return keyring_not_after_real_ms(p->keyring);
}

// Reads the keyring again on a helper thread.
struct renewal {
    struct process *process;
    keyring_settings settings;
    keyring *found;
};

static void process_on_closed_part(struct process *p);

static void renewal_work(void *data)
{
    struct renewal *r = data;
    if (keyring_load(&r->found, &r->settings, clock_real_ms()).code != OK)
        r->found = NULL; // it is being written, or nobody renewed it: the old one holds
}

static void renewal_done(void *data)
{
    struct renewal *r = data;
    struct process *p = r->process;
    p->renewing = NULL;
    if (r->found != NULL && !p->closing &&
        !str_is(keyring_serial(r->found), keyring_serial(p->keyring))) {
        keyring *former = p->keyring;
        p->keyring = r->found;
        r->found = former;
        if (p->mesh != NULL)
            (void)!mesh_nats_identity(p->mesh, keyring_certificate(p->keyring),
                                      keyring_key(p->keyring))
                .code;
        if (p->node != NULL)
            node_renew(p->node);
        log_line(p->settings.log, LOG_INFO, "certificate renewed", "serial",
                 keyring_serial(p->keyring), NULL);
    }
    keyring_close(r->found);
    free(r);
    if (p->closing)
        process_on_closed_part(p);
}

static void process_on_renew(void *data)
{
    struct process *p = data;
    struct renewal *r = p->renewing == NULL ? calloc(1, sizeof(*r)) : NULL;
    if (r == NULL)
        return;
    *r = (struct renewal){.process = p, .settings = process_keyring(p)};
    p->renewing = r;
    if (loop_work(p->settings.loop, renewal_work, renewal_done, r).code != OK) {
        p->renewing = NULL;
        free(r);
    }
}

// ---- the node

static bool process_has_workers(const struct process *p)
{
    return p->protocol == &protocol_substrate || p->protocol == &protocol_gateway;
}

static err process_workers(struct process *p)
{
    const shape *s = p->settings.shape;
    workers_settings settings = {
        .loop = p->settings.loop,
        .log = p->settings.log,
        .program = p->settings.program,
        .universe = s->universe,
        .ca_pem = p->authority,
        .slots = s->workers,
        .deny = p->deny,
        .request_log = s->request_log,
    };
    TRY(workers_open(&p->workers, &settings));
    if (s->gateway_port == 0)
        return ok();
    TRY(workers_listen(p->workers, WORKER_GATEWAY_HTTP, p->host, (uint16_t)s->gateway_port));
    return p->also == NULL ? ok()
                           : workers_listen(p->workers, WORKER_GATEWAY_HTTP, p->also,
                                            (uint16_t)s->gateway_port);
}

// Which of our ports somebody else has.
static err process_port_in_use(struct process *p, err e)
{
    const shape *s = p->settings.shape;
    const struct {
        uint64_t port;
        const char *what;
    } doors[] = {
        {s->main, "p2p"}, {s->http, "http"}, {s->dns, "dns"}, {s->gateway_port, "gateway"}};
    for (size_t i = 0; i < COUNT(doors); i++) {
        OWNED(fd_drop) int fd = -1;
        if (doors[i].port != 0 &&
            socket_listen(p->host, (uint16_t)doors[i].port, false, &fd).code == ERR_CONFLICT)
            return process_fail(p, e, "another program has its %s port %u", doors[i].what,
                                (unsigned)doors[i].port);
    }
    return process_fail(p, e, "%s", e.what);
}

static err process_node(struct process *p)
{
    const shape *s = p->settings.shape;
    node_settings settings = {
        .loop = p->settings.loop,
        .mesh = p->mesh,
        .deny = p->deny,
        .identity = {.issue = process_issue,
                     .data = p,
                     .ca_pem = p->authority,
                     .until_real_ms = process_until},
        .blobs = p->blobs,
        .log = p->settings.log,
        .protocol = p->protocol,
        .elder = shape_is_elder(s),
        .universe = s->universe,
        .name = s->node,
        .folder = p->folder,
        .repositories = p->repositories,
        .program = p->settings.program,
        .engine = p->settings.engine,
        .workers = p->workers,
        .secrets_key = s->secrets.len > 0 ? (const char *)p->secret : NULL,
        .copies = s->copies,
        .doors = {.address = p->host,
                  .also = p->also,
                  .p2p = (uint16_t)s->main,
                  .http = (uint16_t)s->http,
                  .dns = (uint16_t)s->dns},
    };
    return node_open(&p->node, &settings);
}

static err process_remote(struct process *p)
{
    remote_settings settings = {
        .loop = p->settings.loop,
        .log = p->settings.log,
        .mesh = node_mesh(p->node),
        .authority = p->settings.shape->authority,
        .deny_path = p->deny_path,
        .keyring = process_keyring(p),
        .renewed = process_on_renew,
        .data = p,
    };
    return settings.authority.len == 0 ? ok() : remote_open(&p->remote, &settings);
}

static err process_named(struct process *p, err e)
{
    return e.code == ERR_CONFLICT ? process_port_in_use(p, e)
           : e.code == OK         ? e
                                  : process_fail(p, e, "%s", e.what);
}

// Workers start with the first table there is: what comes before it waits in the backlog, instead
// of being refused by an empty one.
static void process_on_table(void *data)
{
    struct process *p = data;
    uint64_t waited = loop_now_ms(p->settings.loop) - p->table_from_ms;
    bool gateway = p->protocol == &protocol_gateway;
    if (!workers_published(p->workers, gateway) && waited < PROCESS_TABLE_MS_MAX) {
        timer_start(p->table, PROCESS_TABLE_STEP_MS, 0);
        return;
    }
    p->settings.ready(p->settings.data, process_named(p, workers_start(p->workers)));
}

static err process_serve(struct process *p)
{
    err e = ok();
    if (process_has_workers(p))
        e = process_workers(p);
    if (e.code == OK)
        e = process_node(p);
    if (e.code == OK)
        e = process_remote(p);
    if (e.code == OK && p->workers != NULL) {
        p->table_from_ms = loop_now_ms(p->settings.loop);
        e = timer_open(&p->table, p->settings.loop, process_on_table, p);
        if (e.code == OK)
            timer_start(p->table, 0, 0);
    }
    return process_named(p, e);
}

static void process_on_mesh(void *data)
{
    struct process *p = data;
    if (p->closing || !p->starting)
        return;
    p->starting = false;
    err e = process_serve(p);
    if (e.code != OK || p->table == NULL)
        p->settings.ready(p->settings.data, e);
}

static void process_on_lost(void *data, err e)
{
    struct process *p = data;
    log_fail(p->settings.log, "the mesh's records are lost here, starting anew", e, NULL);
    if (!p->closing)
        p->settings.lost(p->settings.data, e);
}

static err process_mesh(struct process *p)
{
    const shape *s = p->settings.shape;
    mesh_server servers[SHAPE_LIST_MAX];
    for (size_t i = 0; i < s->servers.count; i++)
        servers[i] = (mesh_server){s->servers.at[i].host, s->servers.at[i].port};
    mesh_nats_settings settings = {
        .loop = p->settings.loop,
        .log = p->settings.log,
        .folder = p->folder,
        .universe = s->universe,
        .node = s->node,
        .protocols = process_protocols(p),
        .certificate_pem = keyring_certificate(p->keyring),
        .key_pem = keyring_key(p->keyring),
        .ca_pem = p->authority,
        .servers = servers,
        .servers_count = s->servers.count,
        .ready = process_on_mesh,
        .lost = process_on_lost,
        .data = p,
    };
    if (str_is(settings.protocols, STR("-")))
        settings.protocols = STR("");
    return mesh_nats_open(&p->mesh, &settings);
}

static void process_on_server(void *data, int pid, bool up)
{
    struct process *p = data;
    if (!p->closing)
        p->settings.on_server(p->settings.data, pid, up);
}

static err process_elder(struct process *p)
{
    elder_settings settings = {
        .loop = p->settings.loop,
        .log = p->settings.log,
        .shape = p->settings.shape,
        .program = p->settings.program,
        .folder = p->folder,
        .keys = p->keys,
        .deny = p->deny_path,
        .on_state = process_on_server,
        .data = p,
    };
    return elder_open(&p->elder, &settings);
}

static const protocol *process_find_protocol(str name)
{
    static const protocol *const all[] = {&protocol_auth,      &protocol_tns,    &protocol_seer,
                                          &protocol_patrick,   &protocol_monkey, &protocol_hoarder,
                                          &protocol_substrate, &protocol_gateway};
    for (size_t i = 0; i < COUNT(all); i++)
        if (str_is(str_of(all[i]->name), name))
            return all[i];
    return NULL;
}

static err process_deny(struct process *p)
{
    str problem = {0};
    err e = deny_open(&p->deny, p->settings.root, p->memory, &problem);
    return e.code == OK || problem.len == 0 ? e : process_fail(p, e, "%s", problem.at);
}

static err process_start(struct process *p)
{
    const shape *s = p->settings.shape;
    if (s->services.count > 0)
        p->protocol = process_find_protocol(s->services.at[0]);
    TRY(process_paths(p));
    TRY(process_lock(p));
    TRY(process_identity(p));
    TRY(process_secret(p));
    TRY(process_deny(p));
    TRY(file_make_folders(p->blobs_folder, 0700));
    TRY(blobs_open(&p->blobs, p->blobs_folder));
    if (shape_is_elder(s)) {
        err e = process_elder(p);
        if (e.code == ERR_CONFLICT)
            return process_fail(p, e, "%s (%u, %u)", e.what, s->elder_client.port,
                                s->elder_route.port);
        if (e.code != OK)
            return process_fail(p, e, "%s", e.what);
    }
    TRY(timer_open(&p->renew, p->settings.loop, process_on_renew, p));
    timer_start(p->renew, PROCESS_RENEW_MS, PROCESS_RENEW_MS);
    p->starting = true;
    return process_mesh(p);
}

err process_open(process **out, const process_settings *settings)
{
    struct process *p = *out = calloc(1, sizeof(*p));
    if (p == NULL)
        return fail(ERR_MEMORY, 0, "open node");
    p->settings = *settings;
    p->lock = -1;
    TRY(arena_open(&p->memory, PROCESS_MEMORY_BYTES));
    err e = process_start(p);
    return e.code == OK || e.what == p->problem ? e : process_fail(p, e, "%s", e.what);
}

// ---- the end: workers, the node, the mesh, the elder's server

static void process_free(void *data)
{
    struct process *p = data;
    remote_free(p->remote);
    if (p->blobs != NULL)
        blobs_close(p->blobs);
    deny_close(p->deny);
    keyring_close(p->keyring);
    explicit_bzero(p->secret, sizeof(p->secret));
    fd_drop(&p->lock);
    arena_close(p->memory);
    void (*closed)(void *data) = p->closed;
    void *closed_data = p->closed_data;
    free(p);
    closed(closed_data);
}

static void process_on_elder_closed(void *data)
{
    struct process *p = data;
    p->elder = NULL;
    process_on_closed_part(p);
}

// The last letter of the mesh is behind us here.
static void process_leave(void *data)
{
    struct process *p = data;
    if (p->mesh != NULL)
        mesh_engine_close(p->mesh);
    p->mesh = NULL;
    if (p->elder != NULL)
        elder_close(p->elder, process_on_elder_closed, p);
    else
        process_on_closed_part(p);
}

static void process_on_node_closed(void *data)
{
    struct process *p = data;
    p->node = NULL;
    if (loop_defer(p->settings.loop, process_leave, p).code != OK)
        process_leave(p);
}

static void process_on_remote_closed(void *data)
{
    struct process *p = data;
    if (p->node != NULL)
        node_close(p->node, process_on_node_closed, p);
    else
        process_on_node_closed(p);
}

static void process_on_workers_closed(void *data)
{
    struct process *p = data;
    p->workers = NULL;
    if (p->remote != NULL)
        remote_close(p->remote, process_on_remote_closed, p);
    else
        process_on_remote_closed(p);
}

static void process_on_closed_part(struct process *p)
{
    if (p->renewing == NULL && p->elder == NULL && p->mesh == NULL && p->node == NULL &&
        p->workers == NULL && loop_defer(p->settings.loop, process_free, p).code != OK)
        process_free(p);
}

void process_close(process *p, void (*closed)(void *data), void *data)
{
    if (p->closing)
        return;
    p->closing = true;
    p->closed = closed;
    p->closed_data = data;
    timer_close(p->renew);
    timer_close(p->table);
    p->renew = p->table = NULL;
    if (p->workers != NULL)
        workers_close(p->workers, process_on_workers_closed, p);
    else
        process_on_workers_closed(p);
}
