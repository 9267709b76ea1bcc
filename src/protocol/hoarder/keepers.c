// Who the hoarders of this universe are, and which of them a blob belongs to.
#include "base/hash.h"
#include "base/str.h"
#include "protocol/hoarder/hoarder_inner.h"

#include <stdlib.h>
#include <string.h>

keeper *keepers_find(keepers *p, str name)
{
    for (size_t i = 0; i < p->count; i++)
        if (str_is(p->at[i].name, name))
            return &p->at[i];
    return NULL;
}

// Nobody is gone before we have listened for as long as that takes.
static keeper *keepers_add(struct hoarder *h, keepers *p, str name, uint64_t seen_ms, bool leaving)
{
    if (name.at == NULL || p->count == HOARDERS_MAX || keepers_find(p, name) != NULL)
        return NULL;
    uint64_t now = loop_now_ms(h->context.loop);
    uint64_t since = seen_ms > h->opened_ms ? seen_ms : h->opened_ms;
    p->at[p->count++] = (keeper){
        .name = name,
        .healthy = seen_ms != 0 && !leaving && now - seen_ms <= h->healthy_ms,
        .gone = now - since > h->gone_ms,
    };
    return &p->at[p->count - 1];
}

void keepers_know(struct hoarder *h, arena *a, keepers *out)
{
    size_t at = 0, count = 0;
    mesh_peer peer;
    store_entry *listed;
    *out = (keepers){.count = 1};
    // Who drains counts as gone, and is still there to be copied from.
    out->at[0] = (keeper){.name = h->self, .healthy = true, .gone = h->draining};
    while (mesh_peer_next(h->context.mesh, &at, &peer))
        if (str_is(peer.protocol, STR("hoarder"))) {
            keeper *k = keepers_add(h, out, str_copy(a, peer.name), peer.seen_ms, peer.leaving);
            if (k != NULL && peer.draining)
                k->gone = true;
        }
    err e = mesh_list(h->context.mesh, STR("hoarder.node"), STR(""), STR(""), HOARDERS_MAX, false,
                      a, &listed, &count);
    for (size_t i = 0; e.code == OK && i < count; i++)
        (void)keepers_add(h, out, listed[i].key, 0, false);
}

static int keepers_by_weight(const void *a, const void *b)
{
    const keeper *x = a, *y = b;
    if (x->weight != y->weight)
        return x->weight > y->weight ? -1 : 1;
    return str_order(x->name, y->name);
}

void keepers_order(keepers *p, str hash)
{
    for (size_t i = 0; i < p->count; i++) {
        sha256 mixed = hmac_sha256(p->at[i].name, hash);
        memcpy(&p->at[i].weight, mixed.bytes, sizeof p->at[i].weight);
    }
    qsort(p->at, p->count, sizeof p->at[0], keepers_by_weight);
}

size_t keepers_copies(const keepers *p)
{
    size_t there = 0;
    for (size_t i = 0; i < p->count; i++)
        there += !p->at[i].gone;
    return there < COPIES_MAX ? there : COPIES_MAX;
}

static void keepers_on_noted(void *data, err e, uint64_t revision)
{
    (void)data; // looked at again with the next tick
    (void)e;
    (void)revision;
}

void keepers_tick(struct hoarder *h)
{
    OWNED(arena_drop) arena *a = NULL;
    store_entry mine;
    keepers known;
    if (arena_open(&a, PLACE_BYTES_MAX).code != OK)
        return;
    if (!h->draining &&
        mesh_get(h->context.mesh, STR("hoarder.node"), h->self, a, &mine).code == ERR_ABSENT) {
        store_change note = record_put(STR("hoarder.node"), h->self, STR("{}"), 0);
        mesh_commit(h->context.mesh, &note, 1, keepers_on_noted, NULL);
    }
    keepers_know(h, a, &known);
    for (size_t i = 0; i < known.count; i++) {
        if (!known.at[i].gone ||
            mesh_get(h->context.mesh, STR("hoarder.node"), known.at[i].name, a, &mine).code != OK)
            continue;
        log_line(h->context.log, LOG_WARN, "hoarder is gone for good", "hoarder", known.at[i].name,
                 NULL);
        store_change note = record_delete(STR("hoarder.node"), known.at[i].name);
        note.expected = mine.revision;
        mesh_commit(h->context.mesh, &note, 1, keepers_on_noted, NULL);
    }
}
