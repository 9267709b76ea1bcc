// Collection: marks every hash named by a kept revision, then each hoarder sweeps its own folder of
// what is old and unmarked, and takes itself out of those blobs' records.
#include "base/clock.h"
#include "base/map.h"
#include "base/str.h"
#include "protocol/hoarder/hoarder_inner.h"

enum {
    COLLECT_YOUNGER_MS = 60 * 60 * 1000, // an upload younger than an hour stays, named or not
    COLLECT_ASK_MS = 60 * 1000,
    COLLECT_REVISIONS = 20,
    COLLECT_NAMES_MAX = 10 * 1000 * 1000,
};

// A blob that was swept, and whose record still names this hoarder.
struct swept {
    struct swept *next;
    sha256 hash;
};

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
    struct swept *swept;
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
    struct swept *one = e.code == OK ? arena_take(c->memory, sizeof *one) : NULL;
    if (one != NULL) { // repair finds those we can not keep in mind
        *one = (struct swept){c->swept, *hash};
        c->swept = one;
    }
    return c->error.code == OK;
}

static void collection_forget(struct collection *c);

static void collection_on_forgotten(void *data, err e)
{
    struct collection *c = data;
    if (e.code != OK && c->error.code == OK)
        c->error = e;
    collection_forget(c);
}

// The records, one after the other. A blob that came back meanwhile stays in its record.
static void collection_forget(struct collection *c)
{
    while (c->hoarder != NULL && c->swept != NULL) {
        struct hoarder *h = c->hoarder;
        char hex[SHA256_HEX + 1];
        struct swept *one = c->swept;
        c->swept = one->next;
        sha256_hex(one->hash, hex);
        placement_change change = {.hash = str_of(hex), .drop = {h->self}, .drop_count = 1};
        if (!blobs_has(h->context.blobs, &one->hash, NULL) &&
            placement_update(h, &change, collection_on_forgotten, c).code == OK)
            return;
    }
    collection_end(c, c->hoarder == NULL ? fail(ERR_CLOSED, 0, "hoarder stops") : c->error);
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
    if (c->error.code == OK)
        c->error = e;
    collection_forget(c);
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

err collection_start(struct hoarder *h, mesh_incoming *in, bool dry)
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

void collection_leave(struct hoarder *h)
{
    if (h->collection == NULL)
        return;
    h->collection->hoarder = NULL;
    h->collection->in = NULL; // answered by the mesh when the node leaves it
}
