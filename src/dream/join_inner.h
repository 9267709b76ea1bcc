// The join door's own rooms: a task on a helper thread, and the records of who has joined.
#pragma once
#include "base/json.h"
#include "dream/join_door.h"
#include "http/server.h"
#include "mesh/invite.h"

enum {
    JOIN_TASKS_MAX = 16, // at once; past it: busy
    JOIN_MEMORY_BYTES = 4 << 20,
    JOIN_SERVERS_MAX = 3,
    JOIN_TEXT = 256,
};
typedef struct join_task join_task;
struct join_door {
    join_door_settings settings;
    mesh_server servers[JOIN_SERVERS_MAX];
    http_server *server;
    tls_context *tls;
    size_t tasks;
    uint64_t second; // of the rate
    unsigned asked;  // in it
    timer *again;    // what was removed is told once more
    char gone_node[JOIN_TEXT], gone_protocols[JOIN_TEXT], gone_address[JOIN_TEXT];
    bool closing;
    void (*closed)(void *data);
    void *closed_data;
};
// One thing that waits for the disk: `work` on a helper thread, then `done` on the loop, unless the
// door closes meanwhile. The first member of what a kind of task keeps.
struct join_task {
    join_door *door;
    arena *memory;
    err error; // its text lives in `memory`, or always
    void (*work)(join_task *t);
    void (*done)(join_task *t); // not when the door closes
    void (*lost)(join_task *t); // then; may be NULL
};
err join_task_open(join_door *d, size_t bytes, join_task **out) MUST_USE; // ERR_BUSY
err join_task_start(join_task *t) MUST_USE; // after an error it is gone
void join_task_drop(join_task *t);          // one that is over, or was not started

// ---- who has joined: folder/joined/NAME.json, kept for good (a name is never given again)
typedef struct join_record {
    str node, protocols, address;
    uint64_t certificate_seconds, joined_real_ms;
} join_record;
// These wait for the disk. ERR_ABSENT: no such node has joined.
err join_record_read(arena *a, const char *folder, str name, join_record *out) MUST_USE;
// Chooses a name ("substrate-2") that nobody has or had and writes its record; *number from 2 on.
err join_record_make(
    join_door *d, arena *a, str shape, join_record *record, unsigned *number) MUST_USE;
void join_record_forget(const char *folder, str name); // it did not come to joining after all
err join_is_denied(const char *folder, arena *a, str name, bool *out) MUST_USE;

// join_mesh.c: node.renew, node.denied.
err join_mesh_serve(join_door *d) MUST_USE;
