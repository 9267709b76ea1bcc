// The plan of failures that tests set: asked by allocators, disk writers and senders.
#include "base/fault.h"

#ifdef FAULTS
fault_plan fault_now;

bool fault_hits(fault_kind what)
{
    if (fault_now.what != what || what == FAULT_NONE)
        return false;
    // Worker threads ask as well.
    uint64_t n = __atomic_fetch_add(&fault_now.seen, 1, __ATOMIC_RELAXED);
    return n >= fault_now.after && n - fault_now.after < fault_now.times;
}
#endif
