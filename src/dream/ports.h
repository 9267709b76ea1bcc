// Which port each node and door of a universe has: a block's start plus a fixed offset.
#pragma once
#include "base/base.h"
#include "protocol/protocol.h"

enum {
    PORTS_SHIFT = 14000,  // of the first universe
    PORTS_STEP = 1000,    // further blocks
    PORTS_BLOCKS = 40,    // tried before giving up
    PORTS_GATEWAY = 8080, // the friendly door of the gateway
    PORTS_API = 1421,
};
typedef struct node_plan {
    const char *name;         // "tns"
    const protocol *protocol; // NULL: a simple
    uint16_t p2p, http, dns;  // offsets; 0: no such door
} node_plan;
enum { NODES_COUNT = 10 };
// In the order of status tables: elder and tns first.
extern const node_plan node_plans[NODES_COUNT];
const node_plan *node_plan_find(str name); // NULL when unknown
// True when every TCP and UDP port of the block can be bound on `address` now.
bool ports_block_is_free(const char *address, uint16_t shift);
bool ports_is_free(const char *address, uint16_t port); // of TCP; 0 is free
