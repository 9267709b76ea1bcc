// Queues: items are records, and so are claims; beats are memory.
//
// The happy path of an item is: its record is committed, a free slot claims it (its record is
// written with the next attempt and who holds it), it is handed out, beats prolong the lease, done
// deletes the record. What can fail: another process claimed it first (its record says so), the
// lease ends or its node leaves (anybody gets it again), a full disk (tried again later).
#include "base/clock.h"
#include "base/fault.h"
#include "base/hash.h"
#include "base/str.h"
#include "mesh/queue_inner.h"

#include <stdlib.h>
#include <string.h>

enum { ITEMS_MAX = 1 << 20, OPERATION_BYTES = 4 << 20 };

static void queue_pump(queue *q);

item *item_find(const queue *q, str id)
{
    return map_get(q->items, id);
}

static void item_due(queue *q, item *i, item_state state, uint64_t after_ms)
{
    i->state = state;
    i->due_ms = clock_now_ms() + after_ms;
    mesh_due(q->engine, i->due_ms);
}

static void item_ready(queue *q, item *i)
{
    i->state = ITEM_READY;
    i->due_ms = 0;
    i->owner = NULL;
    chain_add(&q->ready, &i->link);
}

static void item_release(queue *q, item *i)
{
    if (i->owner != NULL)
        i->owner->used--;
    i->owner = NULL;
    item_ready(q, i);
}

static void item_forget(queue *q, item *i)
{
    if (i->owner != NULL)
        i->owner->used--;
    (void)map_remove(q->items, str_of(i->id));
    chain_remove(&i->link);
    free(i);
}

bool item_add(queue *q, str id)
{
    if (item_find(q, id) != NULL)
        return true;
    item *i = fault_hits(FAULT_MEMORY) ? NULL : calloc(1, sizeof *i + id.len + 1);
    if (i == NULL)
        return false;
    memcpy(i->id, id.at, id.len);
    chain_init(&i->link);
    if (map_put(q->items, id, i, NULL).code != OK) {
        free(i);
        return false;
    }
    item_ready(q, i);
    return true;
}

static mesh_claims *claims_find(const queue *q, uint64_t number)
{
    for (chain *c = q->claims.next; c != &q->claims; c = c->next)
        if (((mesh_claims *)c)->number == number)
            return (mesh_claims *)c;
    return NULL;
}

static void operation_free(operation *o)
{
    arena_close(o->memory);
    free(o);
}

// Whether other processes claim from this queue as well.
static bool queue_shared(const queue *q)
{
    return q->engine->driver->beat != NULL;
}

void item_see(queue *q, item *i, str value, uint64_t revision)
{
    queue_record r;
    queue_record_read(value, &r);
    i->revision = revision;
    bool own = memcmp(r.origin, q->engine->origin, ORIGIN_BYTES) == 0;
    if (r.lease_ms != 0 && own && (i->operation != NULL || i->owner != NULL))
        return;
    if (i->owner != NULL)
        i->owner->used--;
    i->owner = NULL;
    i->operation = NULL; // the claim of ours that is on its way comes too late
    chain_remove(&i->link);
    bool former = own || !queue_shared(q); // of a process that is gone
    for (chain *c = q->engine->nodes.next; c != &q->engine->nodes; c = c->next)
        former = former || str_is(str_of(((mesh *)c)->name), r.owner);
    if (r.lease_ms == 0 && r.delay_ms != 0) {
        item_due(q, i, ITEM_DELAYED, r.delay_ms);
    } else if (r.lease_ms == 0 || former) {
        item_ready(q, i);
    } else {
        memcpy(i->token, r.token, TOKEN_BYTES);
        item_due(q, i, ITEM_FOREIGN, r.lease_ms);
    }
}

// The record of an item, as the store here holds it.
static err item_record(queue *q, str id, arena *a, store_entry *out)
{
    store *s;
    TRY(q->engine->driver->store(q->engine, str_of(q->bucket), &s));
    return store_get(s, str_of(q->bucket), id, a, out);
}

// Tells the other processes that it is free, unless one of ours has it again already.
static void item_tell_free(queue *q, str id, uint64_t delay_ms)
{
    item *i = item_find(q, id);
    store_entry entry;
    queue_record r;
    if (i == NULL || (i->state != ITEM_READY && i->state != ITEM_DELAYED) || !queue_shared(q))
        return;
    OWNED(arena_drop) arena *a = NULL;
    if (arena_open(&a, OPERATION_BYTES).code != OK || item_record(q, id, a, &entry).code != OK)
        return; // the lease that they see ends by itself
    queue_record_read(entry.value, &r);
    queue_record free_now = {.attempt = r.attempt, .delay_ms = delay_ms, .payload = r.payload};
    store_change change = {STORE_PUT, str_of(q->bucket), id, queue_record_write(a, &free_now),
                           entry.revision};
    if (change.value.at != NULL)
        q->engine->driver->commit(q->engine, &change, 1, NULL, NULL);
}

static void item_hand_out(operation *o, item *i, mesh_claims *c, uint64_t revision)
{
    memcpy(i->token, o->token, TOKEN_BYTES);
    i->owner = c;
    i->revision = revision;
    item_due(o->queue, i, ITEM_CLAIMED, c->lease_ms);
    o->item.claim = (str){o->token, TOKEN_BYTES};
    c->on_item(c->data, &o->item);
}

static void claim_on_done(void *data, err e, uint64_t revision)
{
    operation *o = data;
    queue *q = o->queue;
    item *i = item_find(q, o->item.id);
    mesh_claims *c = claims_find(q, o->claims);
    if (i != NULL && i->operation != o)
        i = NULL; // deleted and added again meanwhile
    if (i != NULL)
        i->operation = NULL;
    if (i != NULL && c != NULL && e.code == OK) {
        item_hand_out(o, i, c, revision);
        operation_free(o);
        return;
    }
    if (c != NULL)
        c->used--;
    if (i != NULL && (e.code == OK || e.code == ERR_CONFLICT))
        item_ready(q, i);
    else if (i != NULL)
        item_due(q, i, ITEM_DELAYED, MESH_RETRY_MS);
    operation_free(o);
    queue_pump(q);
}

// Reads the record and makes the one with the next attempt.
static err claim_prepare(operation *o, item *i, const mesh_claims *c, store_change *out)
{
    queue *q = o->queue;
    store_entry entry;
    queue_record r;
    char token[TOKEN_BYTES + 1];
    str id = str_of(i->id);
    TRY(arena_open(&o->memory, OPERATION_BYTES));
    TRY(item_record(q, id, o->memory, &entry));
    if (entry.revision != i->revision) { // it is ahead of what was told: another's claim, maybe
        item_see(q, i, entry.value, entry.revision);
        return fail(ERR_CONFLICT, 0, "claim");
    }
    queue_record_read(entry.value, &r);
    hex_random(token, TOKEN_BYTES / 2);
    memcpy(o->token, token, TOKEN_BYTES);
    r.attempt++;
    r.lease_ms = c->lease_ms > 0 ? c->lease_ms : 1;
    r.delay_ms = 0;
    r.owner = str_of(c->node->name);
    memcpy(r.origin, q->engine->origin, ORIGIN_BYTES);
    memcpy(r.token, o->token, TOKEN_BYTES);
    o->item.id = str_copy(o->memory, id);
    o->item.attempt = r.attempt;
    o->item.payload = r.payload;
    str value = queue_record_write(o->memory, &r);
    if (value.at == NULL || o->item.id.at == NULL)
        return fail(ERR_MEMORY, 0, "claim");
    *out = (store_change){STORE_PUT, str_of(q->bucket), o->item.id, value, entry.revision};
    return ok();
}

static void claim_start(queue *q, item *i, mesh_claims *c)
{
    operation *o = mesh_must_take(sizeof *o);
    *o = (operation){.queue = q, .claims = c->number};
    chain_remove(&i->link);
    store_change change;
    err e = claim_prepare(o, i, c, &change);
    if (e.code != OK) {
        operation_free(o);
        if (e.code == ERR_ABSENT)
            item_forget(q, i);
        else if (e.code != ERR_CONFLICT)
            item_due(q, i, ITEM_DELAYED, MESH_RETRY_MS);
        return;
    }
    c->used++;
    i->state = ITEM_CLAIMING;
    i->operation = o;
    q->engine->driver->commit(q->engine, &change, 1, claim_on_done, o);
}

// The next with a free slot; it goes to the end, so that all take turns.
static mesh_claims *claims_choose(queue *q)
{
    for (chain *c = q->claims.next; c != &q->claims; c = c->next) {
        mesh_claims *chosen = (mesh_claims *)c;
        if (chosen->used >= chosen->slots)
            continue;
        chain_remove(c);
        chain_add(&q->claims, c);
        return chosen;
    }
    return NULL;
}

static void queue_pump(queue *q)
{
    item *i;
    mesh_claims *c;
    while ((i = chain_first(&q->ready)) != NULL && (c = claims_choose(q)) != NULL)
        claim_start(q, i, c);
}

// Somebody else has written its record meanwhile: what stands there counts.
static void item_reload(queue *q, item *i)
{
    store_entry entry = {0};
    OWNED(arena_drop) arena *a = NULL;
    err e = arena_open(&a, OPERATION_BYTES);
    if (e.code == OK)
        e = item_record(q, str_of(i->id), a, &entry);
    if (e.code == OK)
        item_see(q, i, entry.value, entry.revision);
    else if (e.code == ERR_ABSENT)
        item_forget(q, i);
    else
        item_due(q, i, ITEM_DELAYED, MESH_RETRY_MS);
}

static void remove_on_done(void *data, err e, uint64_t revision)
{
    (void)revision;
    operation *o = data;
    item *i = item_find(o->queue, o->item.id);
    if (i != NULL && i->operation == o) {
        i->operation = NULL;
        if (e.code == OK)
            item_forget(o->queue, i);
        else if (e.code == ERR_CONFLICT)
            item_reload(o->queue, i);
        else
            item_due(o->queue, i, ITEM_REMOVING, MESH_RETRY_MS);
    }
    operation_free(o);
}

static void remove_start(queue *q, item *i)
{
    i->state = ITEM_REMOVING;
    i->due_ms = 0;
    operation *o = mesh_must_take(sizeof *o);
    *o = (operation){.queue = q};
    err e = arena_open(&o->memory, OPERATION_BYTES);
    if (e.code == OK)
        o->item.id = str_copy(o->memory, str_of(i->id));
    if (o->item.id.at == NULL) {
        operation_free(o);
        item_due(q, i, ITEM_REMOVING, MESH_RETRY_MS);
        return;
    }
    i->operation = o;
    store_change change = {STORE_DELETE, str_of(q->bucket), o->item.id, {NULL, 0}, i->revision};
    q->engine->driver->commit(q->engine, &change, 1, remove_on_done, o);
}

static queue *queue_find(mesh_engine *e, str bucket)
{
    for (chain *c = e->queues.next; c != &e->queues; c = c->next)
        if (str_is(str_of(((queue *)c)->bucket), bucket))
            return (queue *)c;
    return NULL;
}

static void queue_free(queue *q)
{
    size_t at = 0;
    void *i;
    str id;
    while (q->items != NULL && map_next(q->items, &at, &id, &i))
        free(i);
    map_close(q->items);
    chain_remove(&q->link);
    free(q->bucket);
    free(q);
}

static err queue_open(mesh_engine *e, str name, queue **out)
{
    queue *q = fault_hits(FAULT_MEMORY) ? NULL : calloc(1, sizeof *q);
    if (q == NULL)
        return fail(ERR_MEMORY, 0, "queue");
    chain_init(&q->link);
    chain_init(&q->ready);
    chain_init(&q->claims);
    q->engine = e;
    q->bucket = mesh_must_take(sizeof "queue/" + name.len);
    *(char *)mempcpy(mempcpy(q->bucket, "queue/", 6), name.at, name.len) = '\0';
    err made = map_open(&q->items, ITEMS_MAX);
    if (made.code != OK) {
        queue_free(q);
        return made;
    }
    chain_add(&e->queues, &q->link);
    queue_load(q);
    *out = q;
    return ok();
}

static void queue_change(queue *q, const store_change *c, uint64_t revision)
{
    item *i = item_find(q, c->key);
    if (c->verb == STORE_DELETE && i != NULL)
        item_forget(q, i);
    if (c->verb == STORE_DELETE || (c->verb == STORE_ADD && c->expected == 0))
        return;
    if (i != NULL && revision <= i->revision)
        return; // it was read ahead (claim_prepare)
    if (item_add(q, c->key)) {
        item_see(q, item_find(q, c->key), c->value, revision);
    } else {
        q->reload_ms = loop_now_ms(q->engine->loop) + MESH_RETRY_MS;
        mesh_due(q->engine, q->reload_ms);
    }
}

void queues_on_commit(mesh_engine *e, const store_change *changes, size_t count, uint64_t revision)
{
    for (size_t n = 0; n < count; n++) {
        if (!str_starts(changes[n].bucket, STR("queue/")))
            continue;
        queue *q = queue_find(e, changes[n].bucket);
        if (q == NULL || revision <= q->revision)
            continue;
        queue_change(q, &changes[n], revision);
        queue_pump(q);
    }
}

static void queue_tick_item(queue *q, item *i, uint64_t now_ms)
{
    if (i->due_ms == 0)
        return;
    if (i->due_ms > now_ms)
        mesh_due(q->engine, i->due_ms);
    else if (i->state == ITEM_REMOVING)
        remove_start(q, i);
    else // where it is still claimed by its record, the next claim says otherwise
        item_release(q, i);
}

void queues_tick(mesh_engine *e, uint64_t now_ms)
{
    for (chain *c = e->queues.next; c != &e->queues; c = c->next) {
        queue *q = (queue *)c;
        size_t at = 0;
        void *i;
        str id;
        if (q->reload_ms != 0 && q->reload_ms <= now_ms)
            queue_load(q);
        else if (q->reload_ms != 0)
            mesh_due(e, q->reload_ms);
        while (map_next(q->items, &at, &id, &i))
            queue_tick_item(q, i, now_ms);
        queue_pump(q);
    }
}

void queues_close(mesh_engine *e)
{
    queue *q;
    while ((q = chain_first(&e->queues)) != NULL)
        queue_free(q);
}

// ---- the public face
// NOLINTNEXTLINE(readability-function-size): mesh.h's contract
err mesh_claims_open(mesh_claims **out,
                     mesh *m,
                     str queue_name,
                     size_t slots,
                     uint64_t lease_ms,
                     void (*on_item)(void *data, const mesh_item *item),
                     void *data)
{
    char bucket[STORE_KEY_BYTES_MAX];
    if (queue_name.len == 0 || queue_name.len + sizeof "queue/" > sizeof bucket)
        return fail(ERR_LIMIT, 0, "queue's name");
    memcpy(mempcpy(bucket, "queue/", 6), queue_name.at, queue_name.len);
    queue *q = queue_find(m->engine, (str){bucket, 6 + queue_name.len});
    if (q == NULL)
        TRY(queue_open(m->engine, queue_name, &q));
    mesh_claims *c = fault_hits(FAULT_MEMORY) ? NULL : calloc(1, sizeof *c);
    if (c == NULL)
        return fail(ERR_MEMORY, 0, "claims");
    *c = (mesh_claims){.node = m,
                       .queue = q,
                       .number = ++m->engine->numbers,
                       .slots = slots,
                       .lease_ms = lease_ms,
                       .on_item = on_item,
                       .data = data};
    chain_add(&q->claims, &c->link);
    queue_pump(q);
    *out = c;
    return ok();
}

static item *claimed_find(mesh_claims *c, str id, str claim)
{
    item *i = item_find(c->queue, id);
    bool current = i != NULL && i->state == ITEM_CLAIMED && i->owner == c &&
                   str_is((str){i->token, TOKEN_BYTES}, claim);
    return current ? i : NULL;
}

void mesh_claim_beat(mesh_claims *c, str id, str claim)
{
    item *i = claimed_find(c, id, claim);
    if (i == NULL)
        return;
    item_due(c->queue, i, ITEM_CLAIMED, c->lease_ms);
    mesh_engine *e = c->node->engine;
    if (queue_shared(c->queue))
        e->driver->beat(e, str_from(str_of(c->queue->bucket), 6), id, claim, c->lease_ms);
}

void queues_on_beat(mesh_engine *e, str name, str id, str claim, uint64_t lease_ms)
{
    for (chain *c = e->queues.next; c != &e->queues; c = c->next) {
        queue *q = (queue *)c;
        item *i = str_is(str_from(str_of(q->bucket), 6), name) ? item_find(q, id) : NULL;
        if (i != NULL && i->state == ITEM_FOREIGN && str_is((str){i->token, TOKEN_BYTES}, claim))
            item_due(q, i, ITEM_FOREIGN, lease_ms);
    }
}

void mesh_claim_done(mesh_claims *c, str id, str claim)
{
    item *i = claimed_find(c, id, claim);
    if (i == NULL)
        return;
    i->owner = NULL;
    c->used--;
    remove_start(c->queue, i);
    queue_pump(c->queue);
}

void mesh_claim_return(mesh_claims *c, str id, str claim, uint64_t delay_ms)
{
    item *i = claimed_find(c, id, claim);
    if (i == NULL)
        return;
    if (delay_ms == 0) {
        item_release(c->queue, i);
    } else {
        i->owner = NULL;
        c->used--;
        item_due(c->queue, i, ITEM_DELAYED, delay_ms);
    }
    queue *q = c->queue;
    queue_pump(q);
    item_tell_free(q, id, delay_ms);
}

void mesh_claims_close(mesh_claims *c)
{
    if (c == NULL)
        return;
    queue *q = c->queue;
    size_t at = 0;
    void *value;
    str id;
    while (map_next(q->items, &at, &id, &value))
        if (((item *)value)->owner == c)
            item_release(q, value);
    chain_remove(&c->link);
    free(c);
    queue_pump(q);
    at = 0;
    while (queue_shared(q) && map_next(q->items, &at, &id, &value))
        if (((item *)value)->state == ITEM_READY)
            item_tell_free(q, id, 0);
}

// One at a time from the start: closing one lets others claim, which reorders them.
static mesh_claims *claims_of(mesh *m)
{
    for (chain *x = m->engine->queues.next; x != &m->engine->queues; x = x->next) {
        queue *q = (queue *)x;
        for (chain *c = q->claims.next; c != &q->claims; c = c->next)
            // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): what is freed left its ring before
            if (((mesh_claims *)c)->node == m)
                return (mesh_claims *)c;
    }
    return NULL;
}

void claims_leave(mesh *m)
{
    mesh_claims *c;
    while ((c = claims_of(m)) != NULL)
        mesh_claims_close(c);
}
