// A node on another machine than its universe's authority: its certificate is renewed over the
// mesh, and the deny list comes the same way.
#pragma once
#include "base/log.h"
#include "io/loop.h"
#include "mesh/keyring.h"
#include "mesh/mesh.h"

enum { REMOTE_TICK_MS = 2000 };
typedef struct remote remote;
// Borrowed; outlive it.
typedef struct remote_settings {
    loop *loop;
    log_sink *log;
    mesh *mesh;
    str authority;         // short name of the node that is asked
    const char *deny_path; // the file that this machine's doors and meshd look at
    keyring_settings keyring;
    void (*renewed)(void *data); // there is a newer certificate in the keyring's folder
    void *data;
} remote_settings;
err remote_open(remote **out, const remote_settings *settings) MUST_USE;
// No callback follows; `closed(data)` when no helper thread works for it, never within the call.
// Before mesh_leave.
void remote_close(remote *r, void (*closed)(void *data), void *data);
void remote_free(remote *r); // behind mesh_leave; NULL is fine
