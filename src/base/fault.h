// One plan of failures per test run: the k-th allocation, write or message; absent in release.
#pragma once
#include "base/base.h"

typedef enum { FAULT_NONE, FAULT_MEMORY, FAULT_WRITE, FAULT_MESSAGE, FAULT_CONNECT } fault_kind;
typedef struct fault_plan {
    fault_kind what;
    uint64_t after; // how many succeed first
    uint64_t times; // how many fail then
    uint64_t seen;  // how many were asked: a sweep ends when seen <= after
} fault_plan;
#ifdef FAULTS
extern fault_plan fault_now; // the one mutable global that tests own
bool fault_hits(fault_kind what);
#else
#define fault_hits(what) false
#endif
