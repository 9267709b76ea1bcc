// A node as a process of its own: its shape, its identity on disk, its connection to the mesh.
#pragma once
#include "base/log.h"
#include "io/loop.h"
#include "model/shape_file.h"

typedef struct process process;
enum { PROCESS_PROBLEM_TEXT = 256 };
// Borrowed; outlive it.
typedef struct process_settings {
    loop *loop;
    log_sink *log;
    const shape *shape;
    const char *root;    // the universe's folder: paths of the shape are below it
    const char *program; // our own executable
    const char *engine;  // vm_flags()
    // Once, later: the node is up, or why it will not be (e.what lives with the process).
    void (*ready)(void *data, err e);
    // It cannot go on and is to be started anew.
    void (*lost)(void *data, err e);
    void (*on_server)(void *data, int pid, bool up); // an elder's meshd
    void *data;
} process_settings;
// Takes the node's lock and identity, starts what it needs. After an error *out is NULL, or what
// stands of it (e.what lives with it): the caller closes that. ERR_BUSY: this node runs already.
err process_open(process **out, const process_settings *settings) MUST_USE;
// Everything stops, nothing is lost; then `closed(data)`. Not within the call.
void process_close(process *p, void (*closed)(void *data), void *data);
