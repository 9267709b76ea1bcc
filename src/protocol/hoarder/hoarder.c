// hoarder: knows every blob of the universe, keeps copies on several disks, says where they are,
// and collects what nobody names any more.
#include "base/str.h"
#include "protocol/hoarder/hoarder_inner.h"

#include <stdlib.h>
#include <unistd.h>

enum { READ_BYTES_MAX = 512 * 1024, COLLECT_EVERY_MS = 60 * 60 * 1000 };

static bool hoarder_hash(str text, sha256 *out)
{
    return sha256_from_hex(text, out).code == OK;
}

// ---- locate

static void locate_add(struct hoarder *h, hoarder_locate_reply *reply, str name)
{
    const protocol_doors *doors = h->context.doors;
    mesh_peer peer;
    holder_record *to = &reply->holders.at[reply->holders.count++];
    *to = (holder_record){.name = name};
    if (str_is(name, h->self)) {
        to->address = doors != NULL ? str_of(doors->address) : STR("");
        to->port = doors != NULL ? doors->p2p : 0;
    } else if (mesh_peer_find(h->context.mesh, name, &peer)) {
        to->address = peer.address;
        to->port = peer.port;
    }
}

static err locate(struct hoarder *h, arena *a, str hash, hoarder_locate_reply *reply)
{
    sha256 name;
    placement now;
    keepers known;
    if (!hoarder_hash(hash, &name))
        return fail(ERR_SYNTAX, 0, "a blob is named by the 64 hex digits of its sha256");
    TRY(placement_get(h, a, hash, &now));
    bool here = blobs_has(h->context.blobs, &name, &reply->bytes);
    if (!here)
        reply->bytes = now.size;
    keepers_know(h, a, &known);
    keepers_order(&known, hash);
    reply->holders.at = arena_take(a, (known.count + 1) * sizeof *reply->holders.at);
    if (reply->holders.at == NULL)
        return fail(ERR_MEMORY, 0, "locate blob");
    for (size_t pass = 0; pass < 2; pass++) // those that answer come first
        for (size_t i = 0; i < known.count; i++) {
            const keeper *p = &known.at[i];
            bool holds = str_is(p->name, h->self) ? here : placement_has(&now, p->name);
            if (holds && p->healthy == (pass == 0))
                locate_add(h, reply, p->name);
        }
    reply->present = reply->holders.count > 0;
    return ok();
}

static void
hoarder_on_locate(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)header;
    const hoarder_locate_request *request = fields;
    hoarder_locate_reply reply = {0};
    err e = locate(data, mesh_incoming_arena(in), request->hash, &reply);
    if (e.code != OK)
        mesh_answer_err(in, e);
    else
        mesh_answer(in, &reply);
}

// ---- read

static err hoarder_read(struct hoarder *h,
                        arena *a,
                        const hoarder_read_request *request,
                        hoarder_read_reply *reply)
{
    sha256 hash;
    if (!hoarder_hash(request->hash, &hash))
        return fail(ERR_SYNTAX, 0, "a blob is named by the 64 hex digits of its sha256");
    if (!blobs_has(h->context.blobs, &hash, &reply->size))
        return fail(ERR_ABSENT, 0, "there is no such blob");
    OWNED(fd_drop) int f = -1;
    TRY(blobs_open_fd(h->context.blobs, &hash, &f));
    size_t size = request->bytes_max == 0 || request->bytes_max > READ_BYTES_MAX
                      ? READ_BYTES_MAX
                      : (size_t)request->bytes_max;
    char *bytes = arena_take(a, size);
    if (bytes == NULL)
        return fail(ERR_MEMORY, 0, "read blob");
    ssize_t n = pread(f, bytes, size, (off_t)request->offset);
    if (n < 0)
        return fail(ERR_SYSTEM, 0, "read blob");
    reply->bytes = (str){bytes, (size_t)n};
    return ok();
}

static void read_answer(struct hoarder *h, mesh_incoming *in, const hoarder_read_request *request)
{
    hoarder_read_reply reply = {0};
    err e = hoarder_read(h, mesh_incoming_arena(in), request, &reply);
    if (e.code != OK)
        mesh_answer_err(in, e);
    else
        mesh_answer(in, &reply);
}

struct read_fetch {
    errand errand;
    const hoarder_read_request *request; // of the incoming
};

static void read_on_here(void *data, err e, uint64_t bytes)
{
    (void)bytes;
    struct read_fetch *r = data;
    errand *x = &r->errand;
    if (x->in != NULL && e.code == OK)
        read_answer(x->hoarder, x->in, r->request);
    else if (x->in != NULL)
        mesh_answer_err(x->in, e);
    errand_close(x);
}

// What only other hoarders have is fetched first: its bytes are checked on the way.
static void
hoarder_on_read(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)header;
    struct hoarder *h = data;
    const hoarder_read_request *request = fields;
    arena *a = mesh_incoming_arena(in);
    sha256 hash;
    placement now = {0};
    errand *x;
    if (!hoarder_hash(request->hash, &hash) || blobs_has(h->context.blobs, &hash, NULL) ||
        placement_get(h, a, request->hash, &now).code != OK || now.count == 0) {
        read_answer(h, in, request);
        return;
    }
    err e = errand_open(h, sizeof(struct read_fetch), request->hash, in, &x);
    if (e.code != OK) {
        mesh_answer_err(in, e);
        return;
    }
    ((struct read_fetch *)x)->request = request;
    mesh_blob_request fetch = {.into = h->context.blobs,
                               .hash = hash,
                               .bytes_max = MESH_BLOB_BYTES_MAX,
                               .done = read_on_here,
                               .data = x};
    e = mesh_blob_fetch(h->context.mesh, &fetch);
    if (e.code != OK)
        read_on_here(x, e, 0);
}

// ---- status, collect

static bool hoarder_count(void *data, const sha256 *hash, uint64_t size, uint64_t written_real_ms)
{
    (void)hash;
    (void)written_real_ms;
    hoarder_status_reply *reply = data;
    reply->blobs++;
    reply->bytes += size;
    return true;
}

static void
hoarder_on_status(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)header;
    (void)fields;
    struct hoarder *h = data;
    hoarder_status_reply reply = {.collected = h->collected};
    err e = blobs_each(h->context.blobs, hoarder_count, &reply);
    if (e.code != OK)
        mesh_answer_err(in, e);
    else
        mesh_answer(in, &reply);
}

static void
hoarder_on_collect(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)header;
    const hoarder_collect_request *request = fields;
    err e = collection_start(data, in, request->dry);
    if (e.code != OK)
        mesh_answer_err(in, e);
}

static void hoarder_on_timer(void *data)
{
    struct hoarder *h = data;
    err e = collection_start(h, NULL, false);
    if (e.code != OK)
        log_fail(h->context.log, "collection not started", e, NULL);
}

// ---- life

static void hoarder_on_tick(void *data)
{
    struct hoarder *h = data;
    keepers_tick(h);
    repair_tick(h);
    repair_check_idle(h);
}

// Its blobs get other places as if it were gone, except that it is still there to be read from.
static void hoarder_drain(void *state, void (*idle)(void *data), void *data)
{
    struct hoarder *h = state;
    h->draining = true;
    h->idle = idle;
    h->idle_data = data;
    h->walk_next_ms = 0;
    hoarder_on_tick(h);
}

static err hoarder_serve(struct hoarder *h)
{
    mesh *m = h->context.mesh;
    TRY(mesh_peers_listen(m));
    TRY(stash_serve(h));
    TRY(mesh_serve(m, MSG_hoarder_locate, hoarder_on_locate, h));
    TRY(mesh_serve(m, MSG_hoarder_read, hoarder_on_read, h));
    TRY(mesh_serve(m, MSG_hoarder_status, hoarder_on_status, h));
    TRY(mesh_serve(m, MSG_hoarder_collect, hoarder_on_collect, h));
    TRY(timer_open(&h->collect_timer, h->context.loop, hoarder_on_timer, h));
    TRY(timer_open(&h->walk, h->context.loop, repair_walk, h));
    TRY(timer_open(&h->tick, h->context.loop, hoarder_on_tick, h));
    timer_start(h->collect_timer, COLLECT_EVERY_MS, COLLECT_EVERY_MS);
    timer_start(h->tick, TICK_MS, TICK_MS);
    keepers_tick(h);
    return ok();
}

static void hoarder_free(struct hoarder *h)
{
    timer_close(h->collect_timer);
    timer_close(h->walk);
    timer_close(h->tick);
    free(h);
}

static err hoarder_open(void **state, const protocol_context *context)
{
    struct hoarder *h = calloc(1, sizeof(*h));
    if (h == NULL)
        return fail(ERR_MEMORY, 0, "open hoarder");
    h->context = *context;
    str rest = context->node;
    h->self = str_cut(&rest, '@');
    h->healthy_ms = HEALTHY_MS;
    h->gone_ms = GONE_MS;
    h->repair_ms = REPAIR_EVERY_MS;
    h->opened_ms = loop_now_ms(context->loop);
    err e = hoarder_serve(h);
    if (e.code != OK) {
        hoarder_free(h);
        return e;
    }
    *state = h;
    return ok();
}

// What is under way ends when the node leaves the mesh, and finds nobody.
static void hoarder_close(void *state, void (*closed)(void *data), void *data)
{
    struct hoarder *h = state;
    collection_leave(h);
    for (errand *x = h->errands; x != NULL; x = x->next) {
        x->hoarder = NULL;
        x->in = NULL;
    }
    hoarder_free(h);
    closed(data);
}

const protocol protocol_hoarder = {
    .name = "hoarder", .open = hoarder_open, .close = hoarder_close, .drain = hoarder_drain};
