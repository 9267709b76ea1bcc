// The built-in git host: repositories over smart HTTP, tokens by auth, every push a job by patrick.
#pragma once
#include "base/log.h"
#include "http/server.h"
#include "io/loop.h"
#include "mesh/mesh.h"

typedef struct forge forge;
typedef struct forge_settings {
    loop *loop;
    mesh *mesh;         // asks auth.repository.get, auth.token.check, patrick.push
    const char *folder; // bare repositories OWNER/NAME.git live here; made at their first use when
                        // auth knows them
    log_sink *log;
} forge_settings;
err forge_open(forge **out, const forge_settings *settings) MUST_USE;
// Breaks the exchanges that are open, ends git and asks the mesh nothing more; a push that was
// under way is told to patrick at the next start. Helper threads and children still come home on
// the loop: `closed` is called once, never before this returns, when nothing of the forge is left.
void forge_close_then(forge *f, void (*closed)(void *data), void *data);
void forge_close(forge *f); // the same for whoever runs the loop on until then; NULL is fine
// Does this path look like git's (/OWNER/NAME.git/info/refs, …)?
bool forge_is_path(str path);
// Answers one request whose path (after the universe's prefix was cut) is `path`:
// "/alice/tb_hello.git/info/refs". A push is answered after the objects and refs are fsynced and
// patrick's job rows are durable; when patrick cannot record it, the pushed refs are put back and
// git is told why.
void forge_handle(forge *f, http_exchange *x, str path);
