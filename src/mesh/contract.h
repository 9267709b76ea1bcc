// What every engine of the mesh must pass: each function is one test of a factory's engine.
#pragma once
#include "mesh/mesh.h"

typedef struct mesh_factory {
    err (*open)(mesh_engine **out, loop *l, const char *folder); // closed by mesh_engine_close()
    bool survives; // records outlive closing and opening again in the same folder
} mesh_factory;

#define MESH_CONTRACT(X)        \
    X(ask_is_answered_once)     \
    X(ask_errors)               \
    X(ask_nobody)               \
    X(ask_deadline)             \
    X(ask_chooses)              \
    X(ask_many)                 \
    X(ask_keeps_order)          \
    X(ask_sizes)                \
    X(ask_raw)                  \
    X(leave_ends_asks)          \
    X(tell_reaches_listeners)   \
    X(commit_order_and_compare) \
    X(commit_sizes)             \
    X(watch_copy_then_changes)  \
    X(watch_meets_writes)       \
    X(queue_delivers_and_ends)  \
    X(queue_redelivers)         \
    X(queue_takes_turns)        \
    X(queue_restart)            \
    X(faults_of_messages)       \
    X(faults_of_memory)
#define X(name) void contract_##name(const mesh_factory *factory);
MESH_CONTRACT(X)
#undef X
