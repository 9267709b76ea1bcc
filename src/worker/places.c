// Counts the calls of a function over all worker processes, so that its limit holds for them
// together.
#include "worker/places_inner.h"
#include "worker/snapshot_table_inner.h"

place *places_find(places *p, str id)
{
    uint64_t tag = snapshot_hash(1, id) | 1;
    for (uint64_t i = 0; i < PLACES_PROBES_MAX; i++) {
        place *at = &p->at[((tag >> 1) + i) % PLACES_MAX];
        uint64_t found = atomic_load_explicit(&at->tag, memory_order_acquire);
        if (found == 0 && atomic_compare_exchange_strong(&at->tag, &found, tag))
            return at;
        if (found == tag)
            return at;
    }
    return NULL;
}

// The process's own count goes up first and down last: a process that is lost in between leaves one
// place too many, never one too few for ever.
bool place_take(place *p, uint64_t slot, uint64_t limit)
{
    int32_t most = limit < INT32_MAX ? (int32_t)limit : INT32_MAX;
    atomic_fetch_add_explicit(&p->by_slot[slot], 1, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&p->taken, 1, memory_order_relaxed) < most)
        return true;
    place_give(p, slot);
    return false;
}

void place_give(place *p, uint64_t slot)
{
    atomic_fetch_sub_explicit(&p->taken, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&p->by_slot[slot], 1, memory_order_relaxed);
}

void places_forget(places *p, uint64_t slot)
{
    for (size_t i = 0; i < PLACES_MAX; i++) {
        uint16_t held = atomic_exchange_explicit(&p->at[i].by_slot[slot], 0, memory_order_relaxed);
        if (held > 0)
            atomic_fetch_sub_explicit(&p->at[i].taken, held, memory_order_relaxed);
    }
}
