// hoarder: knows every blob of the universe, says where it is, and collects what nobody names any
// more.
#include "base/clock.h"
#include "base/map.h"
#include "base/str.h"
#include "protocol/protocol.h"
#include "protocol/record.h"

#include <stdlib.h>
#include <unistd.h>

enum {
    READ_BYTES_MAX = 512 * 1024,
    COLLECT_EVERY_MS = 60 * 60 * 1000,
    COLLECT_YOUNGER_MS = 60 * 60 * 1000, // an upload younger than an hour stays, named or not
    COLLECT_ASK_MS = 60 * 1000,
    COLLECT_REVISIONS = 20,
    COLLECT_NAMES_MAX = 10 * 1000 * 1000,
};

struct hoarder {
    protocol_context context;
    timer *collect_timer;
    uint64_t collected;
    struct collection *collection; // the one that runs
};

static bool hoarder_hash(str text, sha256 *out)
{
    return sha256_from_hex(text, out).code == OK;
}

static void
hoarder_on_stash(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)header;
    struct hoarder *h = data;
    const hoarder_stash_request *request = fields;
    arena *a = mesh_incoming_arena(in);
    sha256 hash;
    uint64_t size;
    hoarder_stash_reply *reply = arena_take(a, sizeof(*reply));
    if (reply == NULL || !hoarder_hash(request->hash, &hash)) {
        mesh_answer_err(in,
                        fail(ERR_SYNTAX, 0, "a blob is named by the 64 hex digits of its sha256"));
        return;
    }
    if (!blobs_has(h->context.blobs, &hash, &size)) {
        mesh_answer_err(in, fail(ERR_ABSENT, 0, "the blob is not in this universe's store"));
        return;
    }
    reply->copies = 1;
    store_change change = record_put(
        STR("hoarder.blob"), request->hash,
        str_format(a, "%llu %.*s", (unsigned long long)size, STR_ARG(request->owner)), STORE_ANY);
    record_commit(h->context.mesh, in, &change, 1, reply);
}

static void
hoarder_on_locate(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)header;
    struct hoarder *h = data;
    const hoarder_locate_request *request = fields;
    hoarder_locate_reply reply = {0};
    sha256 hash;
    if (!hoarder_hash(request->hash, &hash)) {
        mesh_answer_err(in,
                        fail(ERR_SYNTAX, 0, "a blob is named by the 64 hex digits of its sha256"));
        return;
    }
    reply.present = blobs_has(h->context.blobs, &hash, &reply.bytes);
    mesh_answer(in, &reply);
}

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

static void
hoarder_on_read(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)header;
    hoarder_read_reply reply = {0};
    err e = hoarder_read(data, mesh_incoming_arena(in), fields, &reply);
    if (e.code != OK)
        mesh_answer_err(in, e);
    else
        mesh_answer(in, &reply);
}

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

// ---- collection: mark every hash named by a kept revision, then remove what is old and unmarked

struct collection {
    struct hoarder *hoarder; // NULL once hoarder has closed: what is under way ends
    mesh_incoming *in;       // NULL when the timer asked
    arena *memory;
    map *named;
    bool dry;
    str *projects; // then, for each project, its revisions
    size_t projects_count, project_at;
    uint64_t revisions[COLLECT_REVISIONS];
    size_t revisions_count, revision_at;
    hoarder_collect_reply reply;
    err error;
};

static void collection_end(struct collection *c, err e)
{
    if (c->in != NULL && e.code != OK)
        mesh_answer_err(c->in, e);
    else if (c->in != NULL)
        mesh_answer(c->in, &c->reply);
    if (c->hoarder != NULL && e.code != OK)
        log_fail(c->hoarder->context.log, "collection stopped", e, NULL);
    if (c->hoarder != NULL)
        c->hoarder->collection = NULL;
    map_close(c->named);
    arena_close(c->memory);
}

// Every run of 64 hex digits in a document names a blob: artefacts of all kinds, today's and
// tomorrow's.
static err collection_mark(struct collection *c, str document)
{
    size_t run = 0;
    for (size_t i = 0; i <= document.len; i++) {
        char d = i < document.len ? document.at[i] : '"';
        bool hex = (d >= '0' && d <= '9') || (d >= 'a' && d <= 'f');
        if (!hex && run == SHA256_HEX)
            TRY(map_put(c->named, (str){document.at + i - SHA256_HEX, SHA256_HEX}, c, NULL));
        run = hex ? run + 1 : 0;
    }
    return ok();
}

static bool
collection_sweep(void *data, const sha256 *hash, uint64_t size, uint64_t written_real_ms)
{
    struct collection *c = data;
    char hex[SHA256_HEX + 1];
    sha256_hex(*hash, hex);
    if (map_get(c->named, str_of(hex)) != NULL ||
        written_real_ms + COLLECT_YOUNGER_MS > clock_real_ms())
        return true;
    c->reply.blobs++;
    c->reply.bytes += size;
    if (c->dry)
        return true;
    // An upload that came back to it meanwhile keeps it.
    err e =
        blobs_remove_before(c->hoarder->context.blobs, hash, clock_real_ms() - COLLECT_YOUNGER_MS);
    c->error = e.code == ERR_CONFLICT || e.code == ERR_ABSENT ? ok() : e;
    return c->error.code == OK;
}

static void collection_next(struct collection *c);

static void collection_on_document(void *data, err e, const void *fields)
{
    struct collection *c = data;
    const tns_get_reply *reply = fields;
    if (e.code == OK)
        e = collection_mark(c, reply->document);
    if (e.code != OK && e.code != ERR_ABSENT)
        collection_end(c, e);
    else
        collection_next(c);
}

static void collection_on_revisions(void *data, err e, const void *fields)
{
    struct collection *c = data;
    const tns_list_reply *reply = fields;
    if (e.code != OK) {
        collection_end(c, e);
        return;
    }
    c->revisions_count = c->revision_at = 0;
    for (size_t i = 0; i < reply->revisions.count && i < COLLECT_REVISIONS; i++)
        c->revisions[c->revisions_count++] = reply->revisions.at[i].number;
    collection_next(c);
}

static void collection_next(struct collection *c)
{
    if (c->hoarder == NULL) {
        collection_end(c, fail(ERR_CLOSED, 0, "hoarder stops"));
        return;
    }
    mesh *m = c->hoarder->context.mesh;
    if (c->revision_at < c->revisions_count) {
        tns_get_request ask = {.project = c->projects[c->project_at - 1],
                               .revision = c->revisions[c->revision_at++]};
        mesh_ask(m, STR(""), MSG_tns_get, NULL, &ask, COLLECT_ASK_MS, collection_on_document, c);
        return;
    }
    if (c->project_at < c->projects_count) {
        tns_list_request ask = {.project = c->projects[c->project_at++],
                                .limit = COLLECT_REVISIONS};
        mesh_ask(m, STR(""), MSG_tns_list, NULL, &ask, COLLECT_ASK_MS, collection_on_revisions, c);
        return;
    }
    err e = blobs_each(c->hoarder->context.blobs, collection_sweep, c);
    c->hoarder->collected += c->dry ? 0 : c->reply.blobs;
    collection_end(c, e.code != OK ? e : c->error);
}

static void collection_on_projects(void *data, err e, const void *fields)
{
    struct collection *c = data;
    const tns_projects_reply *reply = fields;
    if (e.code == OK)
        c->projects = arena_take(c->memory, (reply->revisions.count + 1) * sizeof(str));
    if (e.code == OK && c->projects == NULL)
        e = fail(ERR_MEMORY, 0, "collect");
    if (e.code != OK) {
        collection_end(c, e);
        return;
    }
    for (size_t i = 0; i < reply->revisions.count; i++)
        c->projects[c->projects_count++] = str_copy(c->memory, reply->revisions.at[i].project);
    collection_next(c);
}

static err collection_start(struct hoarder *h, mesh_incoming *in, bool dry)
{
    enum { COLLECTION_BYTES = 64 << 20 };
    arena *a;
    if (h->collection != NULL)
        return fail(ERR_BUSY, 0, "a collection is under way");
    TRY(arena_open(&a, COLLECTION_BYTES));
    struct collection *c = arena_take(a, sizeof(*c));
    map *named = NULL;
    err e = c == NULL ? fail(ERR_MEMORY, 0, "collect") : map_open(&named, COLLECT_NAMES_MAX);
    if (e.code != OK) {
        arena_close(a);
        return e;
    }
    *c = (struct collection){.hoarder = h, .in = in, .memory = a, .named = named, .dry = dry};
    h->collection = c;
    tns_projects_request ask = {.limit = 0};
    mesh_ask(h->context.mesh, STR(""), MSG_tns_projects, NULL, &ask, COLLECT_ASK_MS,
             collection_on_projects, c);
    return ok();
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

static err hoarder_serve(struct hoarder *h)
{
    mesh *m = h->context.mesh;
    TRY(mesh_serve(m, MSG_hoarder_stash, hoarder_on_stash, h));
    TRY(mesh_serve(m, MSG_hoarder_locate, hoarder_on_locate, h));
    TRY(mesh_serve(m, MSG_hoarder_read, hoarder_on_read, h));
    TRY(mesh_serve(m, MSG_hoarder_status, hoarder_on_status, h));
    TRY(mesh_serve(m, MSG_hoarder_collect, hoarder_on_collect, h));
    TRY(timer_open(&h->collect_timer, h->context.loop, hoarder_on_timer, h));
    timer_start(h->collect_timer, COLLECT_EVERY_MS, COLLECT_EVERY_MS);
    return ok();
}

static err hoarder_open(void **state, const protocol_context *context)
{
    struct hoarder *h = calloc(1, sizeof(*h));
    if (h == NULL)
        return fail(ERR_MEMORY, 0, "open hoarder");
    h->context = *context;
    err e = hoarder_serve(h);
    if (e.code != OK) {
        timer_close(h->collect_timer);
        free(h);
        return e;
    }
    *state = h;
    return ok();
}

static void hoarder_close(void *state, void (*closed)(void *data), void *data)
{
    struct hoarder *h = state;
    timer_close(h->collect_timer);
    if (h->collection != NULL) {
        h->collection->hoarder = NULL;
        h->collection->in = NULL; // answered by the mesh when the node leaves it
    }
    free(h);
    closed(data);
}

const protocol protocol_hoarder = {.name = "hoarder", .open = hoarder_open, .close = hoarder_close};
