// A world for the contract suite: an engine in a folder of its own, turned until something holds.
#pragma once
#include "base/str.h"
#include "base/test.h"
#include "mesh/contract.h"

typedef struct world {
    const mesh_factory *factory;
    char folder[64];
    loop *loop;
    mesh_engine *engine;
    arena *memory;
} world;
void world_open(world *w, const mesh_factory *factory);
void world_close(world *w);
mesh *world_join(world *w, const char *name, const char *protocols);
void world_wait(world *w,
                const size_t *counter,
                size_t value);          // until it is that; fails after five seconds
void world_rest(world *w, uint64_t ms); // turns for that long
