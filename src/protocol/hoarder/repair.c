// Repair: walks over the records and copies what lost a place, one blob at a time.
//
// The happy path is: 1. who is there has changed (or five minutes are over), 2. records are looked
// at a page a turn, 3. of a blob with too few places the first healthy holder in the blob's order
// asks another hoarder to keep it, 4. the record is changed. Two that repair the same blob meet in
// the record; the copy too much stays. What can fail: all of it; another walk comes.
#include "base/str.h"
#include "protocol/hoarder/hoarder_inner.h"

#include <stdio.h>

struct repair {
    errand errand;
    placement_change change;
};

static void repair_go_on(struct hoarder *h, err e)
{
    h->repairing = false;
    if (e.code == OK)
        h->repaired++;
    else if (loop_now_ms(h->context.loop) + REPAIR_RETRY_MS < h->walk_next_ms)
        h->walk_next_ms = loop_now_ms(h->context.loop) + REPAIR_RETRY_MS;
    timer_start(h->walk, REPAIR_PAUSE_MS, 0);
}

static void repair_end(struct repair *r, err e)
{
    struct hoarder *h = r->errand.hoarder;
    if (h != NULL && e.code != OK)
        log_fail(h->context.log, "blob not repaired", e, "blob", r->errand.hash, NULL);
    errand_close(&r->errand);
    if (h != NULL)
        repair_go_on(h, e);
}

static void repair_on_noted(void *data, err e)
{
    struct repair *r = data;
    repair_end(r, e);
}

static void repair_note(struct repair *r)
{
    err e = placement_update(r->errand.hoarder, &r->change, repair_on_noted, r);
    if (e.code != OK)
        repair_end(r, e);
}

static void repair_on_kept(void *data, err e, const void *fields)
{
    (void)fields;
    struct repair *r = data;
    if (e.code != OK || r->errand.hoarder == NULL)
        repair_end(r, e);
    else
        repair_note(r);
}

// Our own copy is back, or is not to be had: then the record must not name us.
static void repair_on_here(void *data, err e, uint64_t bytes)
{
    (void)bytes;
    struct repair *r = data;
    if (r->errand.hoarder == NULL || (e.code != OK && e.code != ERR_ABSENT))
        repair_end(r, e);
    else if (e.code == OK)
        repair_end(r, ok());
    else
        repair_note(r);
}

// What is to be done for this blob by this hoarder.
typedef enum {
    REPAIR_NOTHING,
    REPAIR_NOTE, // names of hoarders that are gone leave the record
    REPAIR_CLAIM,
    REPAIR_FETCH,
    REPAIR_COPY
} repair_kind;

// Who is not known at all by now has left hoarder.node: it was gone for good.
static bool repair_is_gone(struct hoarder *h, keepers *known, str name)
{
    const keeper *at = keepers_find(known, name);
    return at != NULL ? at->gone : loop_now_ms(h->context.loop) - h->opened_ms > h->gone_ms;
}

static repair_kind
repair_find(struct hoarder *h, keepers *known, const placement *p, str hash, str *target)
{
    sha256 name;
    if (sha256_from_hex(hash, &name).code != OK)
        return REPAIR_NOTHING;
    bool here = blobs_has(h->context.blobs, &name, NULL);
    if (p->count == 0) // of a universe without places
        return here ? REPAIR_CLAIM : REPAIR_NOTHING;
    if (!here && placement_has(p, h->self))
        return REPAIR_FETCH;
    size_t there = 0;
    for (size_t i = 0; i < p->count; i++)
        there += !repair_is_gone(h, known, p->nodes[i]);
    bool lacks = there < keepers_copies(known);
    if (!here || (!lacks && there == p->count))
        return REPAIR_NOTHING;
    keepers_order(known, hash);
    *target = (str){NULL, 0};
    bool first = false, found = false;
    for (size_t i = 0; i < known->count; i++) {
        const keeper *at = &known->at[i];
        if (!at->healthy)
            continue;
        if (!placement_has(p, at->name)) {
            if (target->at == NULL)
                *target = at->name;
        } else if (!found) {
            found = true;
            first = str_is(at->name, h->self);
        }
    }
    if (!first)
        return REPAIR_NOTHING;
    if (lacks && target->at != NULL)
        return REPAIR_COPY;
    // The last one that has it keeps it, draining or not.
    return there > 0 && there < p->count ? REPAIR_NOTE : REPAIR_NOTHING;
}

static err repair_begin(
    struct hoarder *h, keepers *known, const placement *p, str hash, repair_kind kind, str target)
{
    errand *x;
    TRY(errand_open(h, sizeof(struct repair), hash, NULL, &x));
    struct repair *r = (struct repair *)x;
    r->change.hash = x->hash;
    h->repairing = true;
    if (kind == REPAIR_FETCH) {
        mesh_blob_request request = {.into = h->context.blobs,
                                     .hash = x->name,
                                     .bytes_max = MESH_BLOB_BYTES_MAX,
                                     .done = repair_on_here,
                                     .data = r};
        r->change.drop[r->change.drop_count++] = h->self;
        err e = mesh_blob_fetch(h->context.mesh, &request);
        if (e.code != OK)
            repair_end(r, e);
        return ok();
    }
    if (kind != REPAIR_NOTE)
        r->change.add[r->change.add_count++] =
            kind == REPAIR_CLAIM ? h->self : str_copy(x->memory, target);
    for (size_t i = 0; i < p->count; i++)
        if (repair_is_gone(h, known, p->nodes[i]))
            r->change.drop[r->change.drop_count++] = str_copy(x->memory, p->nodes[i]);
    if (kind != REPAIR_COPY) {
        repair_note(r);
        return ok();
    }
    hoarder_keep_request ask = {.hash = x->hash, .bytes = p->size, .from = h->self};
    mesh_ask(h->context.mesh, target, MSG_hoarder_keep, NULL, &ask, KEEP_ASK_MS, repair_on_kept, r);
    return ok();
}

static void repair_page(struct hoarder *h, arena *a)
{
    store_entry *entries;
    size_t count;
    keepers known;
    err e = mesh_list(h->context.mesh, STR("hoarder.blob"), STR(""), str_of(h->walk_after),
                      REPAIR_PAGE, false, a, &entries, &count);
    if (e.code != OK) {
        log_fail(h->context.log, "repair stopped", e, NULL);
        h->walking = false;
        return;
    }
    keepers_know(h, a, &known);
    for (size_t i = 0; i < count && !h->repairing; i++) {
        str hash = entries[i].key, target = {0};
        placement p;
        if (hash.len != SHA256_HEX)
            continue;
        *(char *)__builtin_mempcpy(h->walk_after, hash.at, SHA256_HEX) = '\0';
        placement_read(a, entries[i].value, &p);
        repair_kind kind = repair_find(h, &known, &p, hash, &target);
        if (kind != REPAIR_NOTHING)
            e = repair_begin(h, &known, &p, hash, kind, target);
        if (e.code != OK)
            log_fail(h->context.log, "blob not repaired", e, "blob", hash, NULL);
        e = ok();
    }
    if (h->repairing)
        return; // repair_go_on
    h->walking = count == REPAIR_PAGE;
    if (h->walking)
        timer_start(h->walk, 1, 0);
}

void repair_walk(void *data)
{
    struct hoarder *h = data;
    OWNED(arena_drop) arena *a = NULL;
    if (h->repairing)
        return;
    if (!h->walking && !h->walk_again)
        return;
    if (!h->walking) {
        h->walking = true;
        h->walk_again = false;
        h->walk_after[0] = '\0';
        h->walk_next_ms = loop_now_ms(h->context.loop) + h->repair_ms;
    }
    enum { PAGE_BYTES = 4 << 20 };
    if (arena_open(&a, PAGE_BYTES).code == OK)
        repair_page(h, a);
    else
        h->walking = false;
    if (!h->walking && h->walk_again)
        timer_start(h->walk, 1, 0);
}

// Without another hoarder there is nobody to hand anything to: what is here stays here.
void repair_check_idle(struct hoarder *h)
{
    OWNED(arena_drop) arena *a = NULL;
    char after[SHA256_HEX + 1] = "";
    keepers known;
    bool others = false;
    size_t count = 0;
    if (h->idle == NULL || arena_open(&a, (size_t)4 << 20).code != OK)
        return;
    keepers_know(h, a, &known);
    for (size_t i = 0; i < known.count; i++)
        others = others || (known.at[i].healthy && !known.at[i].gone);
    do {
        store_entry *entries;
        arena_reset(a);
        if (mesh_list(h->context.mesh, STR("hoarder.blob"), STR(""), str_of(after), REPAIR_PAGE,
                      false, a, &entries, &count)
                .code != OK)
            return;
        for (size_t i = 0; i < count && others; i++) {
            placement p;
            placement_read(a, entries[i].value, &p);
            if (placement_has(&p, h->self))
                return;
        }
        if (count > 0)
            (void)snprintf(after, sizeof(after), "%.*s", STR_ARG(entries[count - 1].key));
    } while (count == REPAIR_PAGE && others);
    void (*idle)(void *data) = h->idle;
    h->idle = NULL;
    idle(h->idle_data);
}

// What is known of the hoarders, in one number.
static uint64_t repair_members(const keepers *known)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < known->count; i++) {
        char state[3] = {known->at[i].healthy ? 'h' : '-', known->at[i].gone ? 'g' : '-', 0};
        sha256 one = hmac_sha256(known->at[i].name, str_of(state));
        uint64_t number;
        __builtin_memcpy(&number, one.bytes, sizeof number);
        sum += number;
    }
    return sum;
}

void repair_tick(struct hoarder *h)
{
    OWNED(arena_drop) arena *a = NULL;
    keepers known;
    if (arena_open(&a, PLACE_BYTES_MAX).code != OK)
        return;
    keepers_know(h, a, &known);
    uint64_t members = repair_members(&known);
    bool due = loop_now_ms(h->context.loop) >= h->walk_next_ms;
    if (members == h->members && !due)
        return;
    h->members = members;
    h->walk_again = true;
    if (!h->walking)
        timer_start(h->walk, 1, 0);
}
