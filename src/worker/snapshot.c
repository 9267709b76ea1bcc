// Maps snapshots, checks them once, and finds hosts, paths and methods in them.
#include "worker/snapshot.h"

#include "base/str.h"
#include "worker/snapshot_table_inner.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>

static bool part_fits(snapshot *s, snapshot_part p, size_t entry)
{
    uint64_t end = (uint64_t)p.at + (uint64_t)p.count * entry;
    return p.at % 8 == 0 && p.at >= sizeof(*s) && end <= s->bytes;
}

static bool text_fits(snapshot *s, snapshot_text t)
{
    return (uint64_t)t.at + t.len <= s->texts.count;
}

static bool range_fits(uint32_t first, uint32_t count, snapshot_part p)
{
    return (uint64_t)first + count <= p.count;
}

// A table with no empty slot would make a look-up run for ever.
static bool slots_fit(snapshot *s, snapshot_part slots, uint32_t entries)
{
    const uint32_t *at = (const void *)((const char *)s + slots.at);
    uint32_t used = 0;
    if (slots.count == 0 || (slots.count & (slots.count - 1)) != 0)
        return false;
    for (uint32_t i = 0; i < slots.count; i++) {
        if (at[i] > entries)
            return false;
        used += at[i] != 0;
    }
    return used < slots.count;
}

static bool entries_fit(snapshot *s)
{
    const snapshot_function *f = snapshot_functions(s);
    for (uint32_t i = 0; i < s->functions.count; i++, f++)
        if (!text_fits(s, f->id) || !text_fits(s, f->name) || !text_fits(s, f->application) ||
            !text_fits(s, f->project) || !text_fits(s, f->branch) || !text_fits(s, f->commit) ||
            !text_fits(s, f->call) || !text_fits(s, f->module))
            return false;
    const snapshot_host *h = snapshot_hosts(s);
    for (uint32_t i = 0; i < s->hosts.count; i++, h++)
        if (!text_fits(s, h->name) || !range_fits(h->paths_first, h->paths_count, s->paths))
            return false;
    const snapshot_path *p = snapshot_paths(s);
    for (uint32_t i = 0; i < s->paths.count; i++, p++)
        if (!text_fits(s, p->path) || p->host >= s->hosts.count ||
            !range_fits(p->methods_first, p->methods_count, s->methods))
            return false;
    const snapshot_method *m = snapshot_methods(s);
    for (uint32_t i = 0; i < s->methods.count; i++, m++)
        if (!text_fits(s, m->method) || m->function >= s->functions.count)
            return false;
    const snapshot_backend *b = snapshot_backends(s);
    for (uint32_t i = 0; i < s->backends.count; i++, b++)
        if (!text_fits(s, b->node) || (uint64_t)b->address.at + b->address.len >= s->texts.count ||
            snapshot_str(s, b->address).at[b->address.len] != '\0' || b->port > UINT16_MAX)
            return false;
    return true;
}

err snapshot_check(snapshot *s, uint64_t bytes)
{
    if (bytes < sizeof(*s) || s->magic != SNAPSHOT_MAGIC || s->bytes != bytes)
        return fail(ERR_SYNTAX, 0, "not a snapshot of this version");
    bool fits = part_fits(s, s->texts, 1) &&
                part_fits(s, s->functions, sizeof(snapshot_function)) &&
                part_fits(s, s->hosts, sizeof(snapshot_host)) &&
                part_fits(s, s->paths, sizeof(snapshot_path)) &&
                part_fits(s, s->methods, sizeof(snapshot_method)) &&
                part_fits(s, s->backends, sizeof(snapshot_backend)) &&
                part_fits(s, s->host_slots, sizeof(uint32_t)) &&
                part_fits(s, s->path_slots, sizeof(uint32_t));
    if (!fits || !slots_fit(s, s->host_slots, s->hosts.count) ||
        !slots_fit(s, s->path_slots, s->paths.count) || !entries_fit(s))
        return fail(ERR_SYNTAX, 0, "damaged snapshot");
    return ok();
}

err snapshot_map(int fd, uint64_t bytes, snapshot **out)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return fail_errno(errno, "look at snapshot");
    if (bytes < sizeof(snapshot_head) || bytes > SNAPSHOT_BYTES_MAX ||
        (uint64_t)info.st_size < bytes)
        return fail(ERR_SYNTAX, 0, "snapshot is cut short");
    void *at = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED)
        return fail_errno(errno, "map snapshot");
    err e = snapshot_check(at, bytes);
    if (e.code == OK)
        *out = at;
    else
        (void)munmap(at, bytes);
    return e;
}

void snapshot_unmap(snapshot *s)
{
    if (s != NULL)
        (void)munmap((void *)s, s->bytes);
}

const snapshot_host *snapshot_find_host(snapshot *s, str host)
{
    const uint32_t *slots = (const void *)((const char *)s + s->host_slots.at);
    uint32_t mask = s->host_slots.count - 1;
    for (uint64_t at = snapshot_hash(s->seed, host);; at++) {
        uint32_t found = slots[at & mask];
        if (found == 0)
            return NULL;
        const snapshot_host *h = &snapshot_hosts(s)[found - 1];
        if (str_is(snapshot_str(s, h->name), host))
            return h;
    }
}

const snapshot_path *snapshot_find_path(snapshot *s, const snapshot_host *host, str path)
{
    const uint32_t *slots = (const void *)((const char *)s + s->path_slots.at);
    uint32_t mask = s->path_slots.count - 1, number = (uint32_t)(host - snapshot_hosts(s));
    for (uint64_t at = snapshot_hash(s->seed + number, path);; at++) {
        uint32_t found = slots[at & mask];
        if (found == 0)
            return NULL;
        const snapshot_path *p = &snapshot_paths(s)[found - 1];
        if (p->host == number && str_is(snapshot_str(s, p->path), path))
            return p;
    }
}

const snapshot_method *snapshot_find_method(snapshot *s, const snapshot_path *path, str method)
{
    const snapshot_method *m = &snapshot_methods(s)[path->methods_first];
    for (uint32_t i = 0; i < path->methods_count; i++)
        if (str_is(snapshot_str(s, m[i].method), method))
            return &m[i];
    return NULL;
}
