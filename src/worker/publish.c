// Makes snapshots from the parts that substrate and gateway publish, at most one per turn of the
// loop.
#include "base/str.h"
#include "io/sandbox.h"
#include "worker/snapshot_inner.h"
#include "worker/workers_inner.h"

#include <stdlib.h>
#include <unistd.h>

enum { PART_BYTES_MAX = 512 << 20 };

struct publication {
    workers *workers; // NULL: not any more
};

err publish_now(workers *w)
{
    OWNED(buf_close) buf bytes;
    buf_open(&bytes, SNAPSHOT_BYTES_MAX);
    TRY(snapshot_write(&bytes, w->snapshot_number + 1, &w->routes, &w->backends));
    OWNED(fd_drop) int fd = -1;
    TRY(memory_file("ctau-snapshot", buf_str(&bytes), &fd));
    if (w->snapshot_fd >= 0)
        (void)close(w->snapshot_fd);
    w->snapshot_fd = fd_move(&fd);
    w->snapshot_number++;
    w->snapshot_bytes = bytes.len;
    worker_snapshot m = {.number = w->snapshot_number, .bytes = w->snapshot_bytes};
    for (size_t i = 0; i < w->count; i++)
        if (w->slots[i].link != NULL &&
            slot_send(&w->slots[i], MSG_worker_snapshot, &m, &w->snapshot_fd).code != OK)
            slot_end(&w->slots[i], "takes no messages");
    return ok();
}

static void publish_on_turn(void *data)
{
    struct publication *p = data;
    workers *w = p->workers;
    free(p);
    if (w == NULL)
        return;
    w->publication = NULL;
    err e = publish_now(w);
    if (e.code != OK)
        log_fail(w->settings.log, "routes not published", e, NULL);
}

void publish_soon(workers *w)
{
    if (!w->started || w->publication != NULL)
        return;
    struct publication *p = calloc(1, sizeof(*p));
    err e = p == NULL ? fail(ERR_MEMORY, 0, "publish")
                      : loop_defer(w->settings.loop, publish_on_turn, p);
    if (e.code != OK) {
        free(p);
        log_fail(w->settings.log, "routes not published", e, NULL);
        return;
    }
    p->workers = w;
    w->publication = p;
}

bool workers_current(const workers *w)
{
    for (size_t i = 0; i < w->count; i++)
        if (w->slots[i].ready && w->slots[i].snapshot != w->snapshot_number)
            return false;
    return w->publication == NULL;
}

void publish_cancel(workers *w)
{
    if (w->publication != NULL)
        w->publication->workers = NULL;
    w->publication = NULL;
}

static err routes_copy(arena *a, const route_table *from, route_table *to)
{
    route_function *functions = arena_take(a, (from->functions_count + 1) * sizeof(*functions));
    route *routes = arena_take(a, (from->routes_count + 1) * sizeof(*routes));
    if (functions == NULL || routes == NULL)
        return fail(ERR_MEMORY, 0, "keep routes");
    for (size_t i = 0; i < from->functions_count; i++) {
        functions[i] = from->functions[i];
        str *texts[] = {&functions[i].id,      &functions[i].name,   &functions[i].application,
                        &functions[i].project, &functions[i].branch, &functions[i].commit,
                        &functions[i].call,    &functions[i].module};
        for (size_t k = 0; k < COUNT(texts); k++)
            *texts[k] = str_copy(a, *texts[k]);
    }
    for (size_t i = 0; i < from->routes_count; i++) {
        const route *r = &from->routes[i];
        routes[i] = (route){str_copy(a, r->host), str_copy(a, r->method), str_copy(a, r->path),
                            r->function};
        if (routes[i].host.at == NULL || routes[i].method.at == NULL || routes[i].path.at == NULL)
            return fail(ERR_MEMORY, 0, "keep routes");
    }
    *to = (route_table){functions, from->functions_count, routes, from->routes_count};
    return ok();
}

void workers_publish_routes(workers *w, const route_table *routes)
{
    arena *a = NULL;
    route_table copy;
    err e = arena_open(&a, PART_BYTES_MAX);
    if (e.code == OK)
        e = routes_copy(a, routes, &copy);
    if (e.code != OK) {
        arena_close(a);
        log_fail(w->settings.log, "routes not published", e, NULL);
        return;
    }
    arena_close(w->routes_memory);
    w->routes_memory = a;
    w->routes = copy;
    publish_soon(w);
}

static err backends_copy(arena *a, const backend_table *from, backend_table *to)
{
    backend *backends = arena_take(a, (from->count + 1) * sizeof(*backends));
    str *hosts = arena_take(a, (from->hosts_count + 1) * sizeof(*hosts));
    if (backends == NULL || hosts == NULL)
        return fail(ERR_MEMORY, 0, "keep backends");
    for (size_t i = 0; i < from->count; i++) {
        const backend *b = &from->at[i];
        backends[i] = (backend){str_copy(a, b->node), str_copy(a, b->address), b->port};
    }
    for (size_t i = 0; i < from->hosts_count; i++) {
        hosts[i] = str_copy(a, from->hosts[i]);
        if (hosts[i].at == NULL)
            return fail(ERR_MEMORY, 0, "keep backends");
    }
    *to = (backend_table){backends, from->count, hosts, from->hosts_count};
    return ok();
}

void workers_publish_backends(workers *w, const backend_table *backends)
{
    arena *a = NULL;
    backend_table copy;
    err e = arena_open(&a, PART_BYTES_MAX);
    if (e.code == OK)
        e = backends_copy(a, backends, &copy);
    if (e.code != OK) {
        arena_close(a);
        log_fail(w->settings.log, "backends not published", e, NULL);
        return;
    }
    arena_close(w->backends_memory);
    w->backends_memory = a;
    w->backends = copy;
    publish_soon(w);
}

bool workers_published(const workers *w, bool gateway)
{
    return (gateway ? w->backends_memory : w->routes_memory) != NULL;
}
