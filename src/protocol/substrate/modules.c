// Gives workers the compiled modules that live documents name: from the blobs, by hash, sealed. One
// that is not here is fetched from the hoarders first.
#include "base/hash.h"
#include "base/str.h"
#include "io/sandbox.h"
#include "mesh/blob.h"
#include "protocol/substrate/substrate_inner.h"

#include <stdlib.h>
#include <unistd.h>

struct module_work {
    substrate *substrate;
    blobs *blobs;
    uint64_t ticket;
    sha256 hash;
    int fd;
    err error;
};

// A blob whose bytes are not what its name says does not leave blobs_get().
static void module_on_thread(void *data)
{
    struct module_work *m = data;
    OWNED(arena_drop) arena *a = NULL;
    str bytes;
    m->error = arena_open(&a, MODULE_BYTES_MAX);
    if (m->error.code == OK)
        m->error = blobs_get(m->blobs, &m->hash, MODULE_BYTES_MAX / 2, a, &bytes);
    if (m->error.code == OK)
        m->error = memory_file("ctau-module", bytes, &m->fd);
}

static void module_done(void *data)
{
    struct module_work *m = data;
    substrate *s = m->substrate;
    if (m->error.code != OK)
        log_fail(s->context.log, "module not loaded", m->error, NULL);
    if (s->workers != NULL)
        workers_module(s->workers, m->ticket, m->fd, m->error);
    if (m->fd >= 0)
        (void)close(m->fd);
    free(m);
    s->works--;
    substrate_end(s);
}

static void module_load(struct module_work *m, uint64_t size)
{
    substrate *s = m->substrate;
    s->works++;
    if (size <= MODULE_INLINE_BYTES ||
        loop_work(s->context.loop, module_on_thread, module_done, m).code != OK) {
        module_on_thread(m);
        module_done(m);
    }
}

static void module_refuse(struct module_work *m, err e)
{
    substrate *s = m->substrate;
    char hex[SHA256_HEX + 1];
    sha256_hex(m->hash, hex);
    log_fail(s->context.log, "module not loaded", e, "hash", str_of(hex), NULL);
    if (s->workers != NULL)
        workers_module(s->workers, m->ticket, -1, e);
    free(m);
}

static void module_on_fetched(void *data, err e, uint64_t bytes)
{
    struct module_work *m = data;
    if (e.code == OK && !m->substrate->closing)
        module_load(m, bytes);
    else
        module_refuse(m, e.code != OK ? e : fail(ERR_CLOSED, 0, "substrate stops"));
}

static err module_fetch(struct module_work *m)
{
    substrate *s = m->substrate;
    mesh_blob_request request = {.into = s->context.blobs,
                                 .hash = m->hash,
                                 .bytes_max = MODULE_BYTES_MAX / 2,
                                 .done = module_on_fetched,
                                 .data = m,
                                 .owner = s};
    return mesh_blob_fetch(s->context.mesh, &request);
}

// Workers run guests: what they ask for is what a live document names, or nothing.
void modules_on_want(void *data, uint64_t ticket, str hash)
{
    substrate *s = data;
    uint64_t size = 0;
    struct module_work *m = calloc(1, sizeof(*m));
    err e = m == NULL ? fail(ERR_MEMORY, 0, "load module") : ok();
    if (e.code == OK && map_get(s->modules, hash) == NULL)
        e = fail(ERR_DENIED, 0, "no live function has this module");
    if (e.code == OK)
        e = sha256_from_hex(hash, &m->hash);
    if (e.code != OK) {
        log_fail(s->context.log, "module not loaded", e, "hash", hash, NULL);
        workers_module(s->workers, ticket, -1, e);
        free(m);
        return;
    }
    m->substrate = s;
    m->blobs = s->context.blobs;
    m->ticket = ticket;
    m->fd = -1;
    if (blobs_has(s->context.blobs, &m->hash, &size)) {
        module_load(m, size);
        return;
    }
    e = module_fetch(m);
    if (e.code != OK)
        module_refuse(m, e);
}

// Before the substrate goes: what it waits for ends now.
void modules_close(substrate *s)
{
    mesh_blob_cancel(s->context.mesh, s);
}
