// Queues of the embedded engine: items are records, claims are memory, attempts are durable.
//
// The happy path of an item is: its record is committed, a free slot claims it (its record is
// written with the next attempt), it is handed out, beats prolong the lease, done deletes the
// record. What can fail: the lease ends or its node leaves (anybody gets it again), a full disk
// (tried again later).
#include "base/clock.h"
#include "base/fault.h"
#include "base/str.h"
#include "mesh/mesh_inner.h"

#include <stdlib.h>
#include <string.h>

enum { ITEMS_MAX = 1 << 20, ATTEMPT_BYTES = 8, TOKEN_TEXT = 33, OPERATION_BYTES = 4 << 20 };

typedef enum {
    ITEM_READY,    // in its queue's ready list
    ITEM_CLAIMING, // the next attempt is being written
    ITEM_CLAIMED,  // until due_ms, by owner
    ITEM_DELAYED,  // until due_ms
    ITEM_REMOVING, // being deleted, or from due_ms on again
} item_state;

typedef struct operation operation;
typedef struct item {
    chain link;
    item_state state;
    uint64_t due_ms; // 0: none
    mesh_claims *owner;
    operation *operation; // that is in flight for it
    char token[TOKEN_TEXT];
    char id[];
} item;

typedef struct queue {
    chain link;
    mesh_engine *engine;
    char *bucket; // "queue/NAME"
    map *items;
    chain ready, claims;
    uint64_t revision; // what the last load held
    uint64_t
        reload_ms; // when it is loaded again, after memory or the disk failed; 0: it is complete
} queue;

struct mesh_claims {
    chain link;
    mesh *node;
    queue *queue;
    uint64_t number;
    size_t slots, used;
    uint64_t lease_ms;
    void (*on_item)(void *data, const mesh_item *item);
    void *data;
};

// A write for an item that is on its way to the disk.
struct operation {
    queue *queue;
    uint64_t claims; // number of who claims
    arena *memory;
    mesh_item item;
};

static void queue_pump(queue *q);

static item *item_find(const queue *q, str id)
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

// False without memory: the caller sees to it that the queue is loaded again.
static bool item_add(queue *q, str id)
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

static void item_hand_out(operation *o, item *i, mesh_claims *c)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char random[(TOKEN_TEXT - 1) / 2];
    random_bytes(random, sizeof random);
    for (size_t n = 0; n < sizeof random; n++) {
        i->token[2 * n] = digits[random[n] >> 4];
        i->token[2 * n + 1] = digits[random[n] & 15];
    }
    i->owner = c;
    item_due(o->queue, i, ITEM_CLAIMED, c->lease_ms);
    char token[TOKEN_TEXT];
    memcpy(token, i->token, sizeof token); // the item may be gone while the callback still reads
    o->item.claim = (str){token, TOKEN_TEXT - 1};
    c->on_item(c->data, &o->item);
}

static void claim_on_done(void *data, err e, uint64_t revision)
{
    (void)revision;
    operation *o = data;
    queue *q = o->queue;
    item *i = item_find(q, o->item.id);
    mesh_claims *c = claims_find(q, o->claims);
    if (i != NULL && i->operation != o)
        i = NULL; // deleted and added again meanwhile
    if (i != NULL)
        i->operation = NULL;
    if (i != NULL && c != NULL && e.code == OK) {
        item_hand_out(o, i, c);
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
static err claim_prepare(operation *o, str id, store_change *out)
{
    queue *q = o->queue;
    store_entry entry;
    TRY(arena_open(&o->memory, OPERATION_BYTES));
    TRY(store_get(q->engine->store, str_of(q->bucket), id, o->memory, &entry));
    char *value = arena_take(o->memory, entry.value.len + ATTEMPT_BYTES);
    o->item.id = str_copy(o->memory, id);
    if (value == NULL || o->item.id.at == NULL)
        return fail(ERR_MEMORY, 0, "claim");
    uint64_t attempt = 0;
    for (size_t n = 0; n < ATTEMPT_BYTES && n < entry.value.len; n++)
        attempt |= (uint64_t)(unsigned char)entry.value.at[n] << (8 * n);
    o->item.attempt = ++attempt;
    for (size_t n = 0; n < ATTEMPT_BYTES; n++)
        value[n] = (char)(attempt >> (8 * n));
    str payload = str_from(entry.value, ATTEMPT_BYTES);
    if (payload.len > 0)
        memcpy(value + ATTEMPT_BYTES, payload.at, payload.len);
    o->item.payload = (str){value + ATTEMPT_BYTES, payload.len};
    *out = (store_change){STORE_PUT,
                          str_of(q->bucket),
                          o->item.id,
                          {value, ATTEMPT_BYTES + payload.len},
                          entry.revision};
    return ok();
}

static void claim_start(queue *q, item *i, mesh_claims *c)
{
    operation *o = mesh_must_take(sizeof *o);
    *o = (operation){.queue = q, .claims = c->number};
    chain_remove(&i->link);
    store_change change;
    err e = claim_prepare(o, str_of(i->id), &change);
    if (e.code != OK) {
        operation_free(o);
        if (e.code == ERR_ABSENT)
            item_forget(q, i);
        else
            item_due(q, i, ITEM_DELAYED, MESH_RETRY_MS);
        return;
    }
    c->used++;
    i->state = ITEM_CLAIMING;
    i->operation = o;
    store_commit(q->engine->store, &change, 1, claim_on_done, o);
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

static void remove_on_done(void *data, err e, uint64_t revision)
{
    (void)revision;
    operation *o = data;
    item *i = item_find(o->queue, o->item.id);
    if (i != NULL && i->operation == o) {
        i->operation = NULL;
        if (e.code == OK)
            item_forget(o->queue, i);
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
    store_change change = {STORE_DELETE, str_of(q->bucket), o->item.id, {NULL, 0}, STORE_ANY};
    store_commit(q->engine->store, &change, 1, remove_on_done, o);
}

// ---- what the store holds
typedef struct loaded {
    uint64_t revision;
    char *id;
} loaded;
typedef struct loading {
    loaded *at;
    size_t count, room;
    bool failed;
} loading;

static bool queue_on_entry(void *data, const store_entry *entry)
{
    loading *l = data;
    if (l->count == l->room) {
        size_t room = l->room == 0 ? 64 : l->room * 2;
        loaded *grown = fault_hits(FAULT_MEMORY) ? NULL : realloc(l->at, room * sizeof *grown);
        if (grown == NULL) {
            l->failed = true;
            return false;
        }
        l->at = grown;
        l->room = room;
    }
    char *id = strndup(entry->key.at, entry->key.len);
    if (id == NULL) {
        l->failed = true;
        return false;
    }
    l->at[l->count++] = (loaded){entry->revision, id};
    return true;
}

static int loaded_order(const void *one, const void *two)
{
    const loaded *a = one, *b = two;
    return a->revision < b->revision ? -1 : a->revision > b->revision;
}

// Adds what is not known yet, oldest first.
static void queue_load(queue *q)
{
    loading l = {NULL, 0, 0, false};
    err e = store_each(q->engine->store, str_of(q->bucket), (str){"", 0}, queue_on_entry, &l,
                       &q->revision);
    if (l.count > 0)
        qsort(l.at, l.count, sizeof *l.at, loaded_order);
    for (size_t n = 0; n < l.count; n++) {
        if (!item_add(q, str_of(l.at[n].id)))
            l.failed = true;
        free(l.at[n].id);
    }
    free(l.at);
    q->reload_ms = 0;
    if (e.code != OK || l.failed) {
        q->reload_ms = loop_now_ms(q->engine->loop) + MESH_RETRY_MS;
        mesh_due(q->engine, q->reload_ms);
    }
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

static void queue_change(queue *q, const store_change *c)
{
    item *i = item_find(q, c->key);
    if (c->verb == STORE_DELETE && i != NULL)
        item_forget(q, i);
    if (c->verb != STORE_DELETE && !item_add(q, c->key)) {
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
        queue_change(q, &changes[n]);
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
    else
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
void mesh_queue_change(arena *a, store_change *out, str queue_name, str id, str payload)
{
    // Without memory the bucket is too long for any store: the commit is refused as a whole.
    *out = (store_change){.verb = STORE_ADD, .bucket = {"", SIZE_MAX}, .key = id};
    char *value = arena_take(a, ATTEMPT_BYTES + payload.len);
    str bucket = str_format(a, "queue/%.*s", STR_ARG(queue_name));
    if (value == NULL || bucket.at == NULL)
        return;
    if (payload.len > 0)
        memcpy(value + ATTEMPT_BYTES, payload.at, payload.len);
    out->bucket = bucket;
    out->value = (str){value, ATTEMPT_BYTES + payload.len};
}

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
    bool current =
        i != NULL && i->state == ITEM_CLAIMED && i->owner == c && str_is(str_of(i->token), claim);
    return current ? i : NULL;
}

void mesh_claim_beat(mesh_claims *c, str id, str claim)
{
    item *i = claimed_find(c, id, claim);
    if (i != NULL)
        item_due(c->queue, i, ITEM_CLAIMED, c->lease_ms);
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
    queue_pump(c->queue);
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
