// Writes routes, functions and backends as one block that is looked up in place.
#include "base/clock.h"
#include "base/hash.h"
#include "base/str.h"
#include "worker/snapshot_table_inner.h"

#include <stdlib.h>
#include <string.h>

// What grows while the routes are walked; each becomes one part of the block.
struct snapshot_parts {
    buf texts, functions, hosts, paths, methods, backends, host_slots, path_slots;
    uint64_t seed;
};

static snapshot_text text_put(struct snapshot_parts *p, str s)
{
    snapshot_text t = {(uint32_t)p->texts.len, (uint32_t)s.len};
    buf_add(&p->texts, s);
    return t;
}

static snapshot_text text_put_c(struct snapshot_parts *p, str s)
{
    snapshot_text t = text_put(p, s);
    buf_add_byte(&p->texts, '\0');
    return t;
}

static void put(buf *b, const void *at, size_t size)
{
    buf_add(b, (str){at, size});
}

static void function_put(struct snapshot_parts *p, const route_function *f)
{
    snapshot_function made = {
        .id = text_put(p, f->id),
        .name = text_put(p, f->name),
        .application = text_put(p, f->application),
        .project = text_put(p, f->project),
        .branch = text_put(p, f->branch),
        .commit = text_put(p, f->commit),
        .call = text_put(p, f->call),
        .module = text_put(p, f->module),
        .timeout_ms = f->timeout_ms,
        .memory_bytes = f->memory_bytes,
        .response_bytes = f->response_bytes,
        .concurrency = f->concurrency,
    };
    buf all;
    buf_open(&all, SNAPSHOT_BYTES_MAX);
    const str texts[] = {f->id,     f->name,   f->application, f->project,
                         f->branch, f->commit, f->call,        f->module};
    for (size_t i = 0; i < COUNT(texts); i++) {
        buf_add_u64(&all, texts[i].len);
        buf_add(&all, texts[i]);
    }
    const uint64_t numbers[] = {f->timeout_ms, f->memory_bytes, f->response_bytes, f->concurrency};
    for (size_t i = 0; i < COUNT(numbers); i++)
        buf_add_u64(&all, numbers[i]);
    if (all.error.code != OK)
        p->texts.error = all.error;
    sha256 digest = sha256_of(buf_str(&all));
    memcpy(made.key, digest.bytes, sizeof(made.key));
    buf_close(&all);
    put(&p->functions, &made, sizeof(made));
}

static int route_order(const void *a, const void *b)
{
    const route *l = *(const route *const *)a, *r = *(const route *const *)b;
    int order = str_order(l->host, r->host);
    if (order == 0)
        order = str_order(l->path, r->path);
    return order != 0 ? order : str_order(l->method, r->method);
}

static int text_order(const void *a, const void *b)
{
    return str_order(*(const str *)a, *(const str *)b);
}

// All routes of one host and path, from `at` on; returns where the next begins.
static size_t
path_put(struct snapshot_parts *p, const route *const *sorted, size_t count, size_t at)
{
    const route *first = sorted[at];
    snapshot_path path = {
        .path = text_put(p, first->path),
        .host = (uint32_t)(p->hosts.len / sizeof(snapshot_host)),
        .methods_first = (uint32_t)(p->methods.len / sizeof(snapshot_method)),
    };
    const route *former = NULL;
    for (; at < count && str_is(sorted[at]->host, first->host) &&
           str_is(sorted[at]->path, first->path);
         at++) {
        if (former != NULL && str_is(former->method, sorted[at]->method))
            continue;
        former = sorted[at];
        snapshot_method method = {.method = text_put(p, former->method),
                                  .function = (uint32_t)former->function};
        put(&p->methods, &method, sizeof(method));
        path.methods_count++;
    }
    put(&p->paths, &path, sizeof(path));
    return at;
}

// One walk over two sorted lists: the hosts of routes and those the gateway knows.
static void hosts_put(struct snapshot_parts *p,
                      const route *const *sorted,
                      size_t count,
                      const str *known,
                      size_t known_count)
{
    size_t at = 0, k = 0;
    while (at < count || k < known_count) {
        int order = at == count ? 1 : k == known_count ? -1 : str_order(sorted[at]->host, known[k]);
        str name = order <= 0 ? sorted[at]->host : known[k];
        snapshot_host host = {
            .name = text_put(p, name),
            .paths_first = (uint32_t)(p->paths.len / sizeof(snapshot_path)),
            .forwarded = order >= 0,
        };
        while (at < count && str_is(sorted[at]->host, name))
            at = path_put(p, sorted, count, at);
        while (k < known_count && str_is(known[k], name))
            k++;
        host.paths_count = (uint32_t)(p->paths.len / sizeof(snapshot_path)) - host.paths_first;
        put(&p->hosts, &host, sizeof(host));
    }
}

// An empty table of at least twice as many slots as entries.
static uint32_t *slots_make(buf *out, size_t entries, size_t *count)
{
    *count = 4;
    while (*count < entries * 2)
        *count *= 2;
    char *at = buf_reserve(out, *count * sizeof(uint32_t));
    if (at == NULL)
        return NULL;
    memset(at, 0, *count * sizeof(uint32_t));
    buf_commit(out, *count * sizeof(uint32_t));
    return (uint32_t *)(void *)at;
}

static void slot_put(uint32_t *slots, size_t count, uint64_t hash, size_t index)
{
    size_t at = hash & (count - 1);
    while (slots[at] != 0)
        at = (at + 1) & (count - 1);
    slots[at] = (uint32_t)index + 1;
}

static void slots_put(struct snapshot_parts *p)
{
    const snapshot_host *hosts = (const void *)p->hosts.at;
    const snapshot_path *paths = (const void *)p->paths.at;
    size_t hosts_count = p->hosts.len / sizeof(*hosts), paths_count = p->paths.len / sizeof(*paths),
           room;
    uint32_t *slots = slots_make(&p->host_slots, hosts_count, &room);
    for (size_t i = 0; slots != NULL && i < hosts_count; i++) {
        str name = {p->texts.at + hosts[i].name.at, hosts[i].name.len};
        slot_put(slots, room, snapshot_hash(p->seed, name), i);
    }
    slots = slots_make(&p->path_slots, paths_count, &room);
    for (size_t i = 0; slots != NULL && i < paths_count; i++) {
        str path = {p->texts.at + paths[i].path.at, paths[i].path.len};
        slot_put(slots, room, snapshot_hash(p->seed + paths[i].host, path), i);
    }
}

static void part_put(buf *out, snapshot_part *part, buf *from, size_t entry)
{
    while (out->len % 8 != 0 && out->error.code == OK)
        buf_add_byte(out, '\0');
    *part = (snapshot_part){(uint32_t)out->len, (uint32_t)(from->len / entry)};
    buf_add(out, buf_str(from));
    if (from->error.code != OK)
        out->error = from->error;
    buf_close(from);
}

static void parts_join(struct snapshot_parts *p, uint64_t number, buf *out)
{
    snapshot_head head = {.magic = SNAPSHOT_MAGIC, .number = number, .seed = p->seed};
    put(out, &head, sizeof(head));
    part_put(out, &head.texts, &p->texts, 1);
    part_put(out, &head.functions, &p->functions, sizeof(snapshot_function));
    part_put(out, &head.hosts, &p->hosts, sizeof(snapshot_host));
    part_put(out, &head.paths, &p->paths, sizeof(snapshot_path));
    part_put(out, &head.methods, &p->methods, sizeof(snapshot_method));
    part_put(out, &head.backends, &p->backends, sizeof(snapshot_backend));
    part_put(out, &head.host_slots, &p->host_slots, sizeof(uint32_t));
    part_put(out, &head.path_slots, &p->path_slots, sizeof(uint32_t));
    head.bytes = out->len;
    if (out->error.code == OK)
        memcpy(out->at, &head, sizeof(head));
}

static err
routes_put(struct snapshot_parts *p, const route_table *routes, const backend_table *backends)
{
    const route **sorted = calloc(routes->routes_count + 1, sizeof(route *));
    str *known = calloc(backends->hosts_count + 1, sizeof(*known));
    if (sorted == NULL || known == NULL) {
        free(sorted);
        free(known);
        return fail(ERR_MEMORY, 0, "write snapshot");
    }
    size_t count = 0;
    for (size_t i = 0; i < routes->routes_count; i++)
        if (routes->routes[i].function < routes->functions_count)
            sorted[count++] = &routes->routes[i];
    if (backends->hosts_count > 0)
        memcpy(known, backends->hosts, backends->hosts_count * sizeof(*known));
    qsort(sorted, count, sizeof(const route *), route_order);
    qsort(known, backends->hosts_count, sizeof(*known), text_order);
    hosts_put(p, sorted, count, known, backends->hosts_count);
    free(sorted);
    free(known);
    return ok();
}

err snapshot_write(buf *out,
                   uint64_t number,
                   const route_table *routes,
                   const backend_table *backends)
{
    struct snapshot_parts p = {.seed = random_u64()};
    buf *all[] = {&p.texts,   &p.functions, &p.hosts,      &p.paths,
                  &p.methods, &p.backends,  &p.host_slots, &p.path_slots};
    for (size_t i = 0; i < COUNT(all); i++)
        buf_open(all[i], SNAPSHOT_BYTES_MAX / 2);
    for (size_t i = 0; i < routes->functions_count; i++)
        function_put(&p, &routes->functions[i]);
    err e = routes_put(&p, routes, backends);
    for (size_t i = 0; i < backends->count; i++) {
        const backend *b = &backends->at[i];
        snapshot_backend made = {
            .node = text_put(&p, b->node), .address = text_put_c(&p, b->address), .port = b->port};
        put(&p.backends, &made, sizeof(made));
    }
    slots_put(&p);
    parts_join(&p, number, out);
    return e.code != OK ? e : out->error;
}
