// Stash and keep: a blob is fetched from whoever made it and copied to other hoarders' disks before
// anybody is told that it is safe.
//
// The happy path is: 1. fetch it from the asker, unless it is here, 2. ask K - 1 further hoarders
// to keep it, 3. commit the record of its places, 4. answer. What can fail: the asker's door, a
// disk, hoarders (the next one in the blob's order is asked; with fewer than two disks, where there
// are two hoarders, nothing is acknowledged).
#include "base/str.h"
#include "protocol/hoarder/hoarder_inner.h"

struct stash {
    errand errand;
    str owner;
    uint64_t size;
    str candidates[HOARDERS_MAX]; // healthy ones, best first
    size_t candidates_count, next;
    size_t asked; // keeps on their way
    size_t wanted, least;
    str kept[NODES_MAX];
    size_t kept_count;
};
struct stash_keep {
    struct stash *stash;
    str name;
};

static void errand_answer(errand *x, const void *reply)
{
    if (x->in != NULL)
        mesh_answer(x->in, reply);
    errand_close(x);
}

static void errand_fail(errand *x, err e)
{
    if (x->hoarder != NULL)
        log_fail(x->hoarder->context.log, "blob not kept", e, "blob", x->hash, NULL);
    if (x->in != NULL)
        mesh_answer_err(x->in, e);
    errand_close(x);
}

static void errand_fetch(errand *x, str node, mesh_blob_done *done)
{
    struct hoarder *h = x->hoarder;
    mesh_blob_request request = {.into = h->context.blobs,
                                 .hash = x->name,
                                 .node = node,
                                 .bytes_max = MESH_BLOB_BYTES_MAX,
                                 .done = done,
                                 .data = x};
    err e = mesh_blob_fetch(h->context.mesh, &request);
    if (e.code != OK)
        errand_fail(x, e);
}

// ---- stash

static void stash_on_noted(void *data, err e)
{
    struct stash *s = data;
    hoarder_stash_reply reply = {.copies = s->kept_count};
    if (e.code != OK)
        errand_fail(&s->errand, e);
    else
        errand_answer(&s->errand, &reply);
}

static void stash_note(struct stash *s)
{
    if (s->kept_count < s->least) {
        errand_fail(&s->errand, fail(ERR_BUSY, 0, "fewer than two hoarders can keep a blob now"));
        return;
    }
    placement_change change = {
        .hash = s->errand.hash, .size = s->size, .owner = s->owner, .add_count = s->kept_count};
    for (size_t i = 0; i < s->kept_count; i++)
        change.add[i] = s->kept[i];
    err e = placement_update(s->errand.hoarder, &change, stash_on_noted, s);
    if (e.code != OK)
        errand_fail(&s->errand, e);
}

static void stash_ask(struct stash *s);

static void stash_on_kept(void *data, err e, const void *fields)
{
    (void)fields;
    struct stash_keep *k = data;
    struct stash *s = k->stash;
    s->asked--;
    if (s->errand.hoarder == NULL) {
        if (s->asked == 0)
            errand_close(&s->errand);
        return;
    }
    if (e.code == OK)
        s->kept[s->kept_count++] = k->name;
    else
        log_fail(s->errand.hoarder->context.log, "another hoarder does not keep a blob", e,
                 "hoarder", k->name, "blob", s->errand.hash, NULL);
    stash_ask(s);
}

static void stash_ask(struct stash *s)
{
    hoarder_keep_request request = {
        .hash = s->errand.hash, .bytes = s->size, .from = s->errand.hoarder->self};
    while (s->kept_count + s->asked < s->wanted && s->next < s->candidates_count) {
        struct stash_keep *k = arena_take(s->errand.memory, sizeof *k);
        if (k == NULL)
            break;
        *k = (struct stash_keep){s, s->candidates[s->next++]};
        s->asked++;
        mesh_ask(s->errand.hoarder->context.mesh, k->name, MSG_hoarder_keep, NULL, &request,
                 KEEP_ASK_MS, stash_on_kept, k);
    }
    if (s->asked == 0)
        stash_note(s);
}

static void stash_spread(struct stash *s)
{
    struct hoarder *h = s->errand.hoarder;
    OWNED(arena_drop) arena *a = NULL;
    keepers known;
    placement now;
    err e = arena_open(&a, PLACE_BYTES_MAX);
    if (e.code == OK)
        e = placement_get(h, a, s->errand.hash, &now);
    if (e.code != OK) {
        errand_fail(&s->errand, e);
        return;
    }
    keepers_know(h, a, &known);
    keepers_order(&known, s->errand.hash);
    s->wanted = keepers_copies(&known);
    s->least = s->wanted < COPIES_LEAST ? s->wanted : COPIES_LEAST;
    s->kept[s->kept_count++] = h->self;
    // Who has it already comes first: nothing is copied then.
    for (size_t pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < known.count; i++) {
            str name = known.at[i].name;
            if (known.at[i].healthy && !str_is(name, h->self) &&
                placement_has(&now, name) == (pass == 0))
                s->candidates[s->candidates_count++] = str_copy(s->errand.memory, name);
        }
    stash_ask(s);
}

static void stash_on_here(void *data, err e, uint64_t bytes)
{
    struct stash *s = data;
    s->size = bytes;
    if (e.code != OK || s->errand.hoarder == NULL)
        errand_fail(&s->errand, e.code != OK ? e : fail(ERR_CLOSED, 0, "hoarder stops"));
    else
        stash_spread(s);
}

static void
hoarder_on_stash(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)header;
    struct hoarder *h = data;
    const hoarder_stash_request *request = fields;
    errand *x;
    err e = errand_open(h, sizeof(struct stash), request->hash, in, &x);
    if (e.code != OK) {
        mesh_answer_err(in, e);
        return;
    }
    struct stash *s = (struct stash *)x;
    s->owner = str_copy(x->memory, request->owner);
    if (blobs_touch(h->context.blobs, &x->name) && blobs_has(h->context.blobs, &x->name, &s->size))
        stash_spread(s);
    else
        errand_fetch(x, mesh_incoming_from(in), stash_on_here);
}

// ---- keep

static void keep_on_here(void *data, err e, uint64_t bytes)
{
    errand *x = data;
    hoarder_keep_reply reply = {.bytes = bytes};
    if (e.code != OK)
        errand_fail(x, e);
    else
        errand_answer(x, &reply);
}

static void
hoarder_on_keep(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)header;
    struct hoarder *h = data;
    const hoarder_keep_request *request = fields;
    errand *x;
    uint64_t size;
    err e = errand_open(h, sizeof *x, request->hash, in, &x);
    if (e.code != OK)
        mesh_answer_err(in, e);
    else if (blobs_touch(h->context.blobs, &x->name) &&
             blobs_has(h->context.blobs, &x->name, &size))
        keep_on_here(x, ok(), size);
    else
        errand_fetch(x, request->from, keep_on_here);
}

err stash_serve(struct hoarder *h)
{
    TRY(mesh_serve(h->context.mesh, MSG_hoarder_stash, hoarder_on_stash, h));
    return mesh_serve(h->context.mesh, MSG_hoarder_keep, hoarder_on_keep, h);
}
