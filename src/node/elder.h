// An elder's part of the mesh: its server (meshd), a child that is configured, watched and started
// again.
#pragma once
#include "base/log.h"
#include "io/loop.h"
#include "model/shape_file.h"

typedef struct elder_server elder_server;
// Copied, except loop, log and shape, which outlive it.
typedef struct elder_settings {
    loop *loop;
    log_sink *log;
    const shape *shape;
    const char *program; // our own executable: the server is looked for beside it
    const char *folder;  // of the node: settings (meshd.json) and logs (mesh/) go there
    const char *keys;    // keyring's folder
    const char *deny;    // the deny list's path
    // Its process: starting, up or gone (pid 0).
    void (*on_state)(void *data, int pid, bool up);
    void *data;
} elder_settings;
// The server's settings are written and it is started: its first `up` comes by on_state.
// ERR_ABSENT: there is no meshd; ERR_CONFLICT: one of its two ports is in use.
err elder_open(elder_server **out, const elder_settings *settings) MUST_USE;
// SIGTERM, and SIGKILL when it hangs; `closed(data)` when it is gone, never within the call.
void elder_close(elder_server *e, void (*closed)(void *data), void *data);
int elder_process(const elder_server *e); // 0: none now
// CTAU_MESHD, `meshd` beside the program, ../lib/ctau/meshd. NULL: nowhere.
const char *elder_find_server(arena *a, const char *program);
