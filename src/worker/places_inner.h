// How many calls of one function run now in all worker processes together: counters in memory that
// they share.
#pragma once
#include "base/base.h"

#include <stdatomic.h>

enum { PLACES_MAX = 4096, PLACES_SLOTS_MAX = 64, PLACES_PROBES_MAX = 64 };

// One function with a limit of its own. Belongs to its tag for good: an id keeps its place over
// deployments.
typedef struct place {
    _Atomic uint64_t tag; // 0: free
    _Atomic int32_t taken;
    _Atomic uint16_t by_slot[PLACES_SLOTS_MAX]; // each process counts its own, for when it is lost
} place;
typedef struct places {
    place at[PLACES_MAX];
} places;

// The function's place, claimed when it has none yet. NULL: all are claimed; it is counted per
// process then.
place *places_find(places *p, str id);
bool place_take(place *p, uint64_t slot, uint64_t limit) MUST_USE; // false: the limit is reached
void place_give(place *p, uint64_t slot);
// A process has ended: what it held is free again. Nobody may run in that slot meanwhile.
void places_forget(places *p, uint64_t slot);
