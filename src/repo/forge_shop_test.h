// A forge on its own port, between a mesh whose auth and patrick the test plays, and a real git.
#pragma once
#include "base/buf.h"
#include "base/test.h"
#include "repo/forge.h"

#include <netinet/in.h>

enum { STAND_PUSHES = 64, STAND_TEXT = 128 };
typedef struct stand_push {
    char ref[STAND_TEXT], before[STAND_TEXT], after[STAND_TEXT], deployment[STAND_TEXT];
    char subject[STAND_TEXT], author[STAND_TEXT];
    uint64_t deployment_size;
} stand_push;
typedef struct stand {
    char folder[STAND_TEXT];
    char repository[2 * STAND_TEXT]; // of alice/tb
    loop *loop;
    mesh_engine *engine;
    mesh *auth, *patrick, *client;
    forge *forge;
    http_server *server;
    unsigned port;
    const char *id;                  // of the repository, as auth tells it
    stand_push pushes[STAND_PUSHES]; // what patrick was told
    size_t pushes_count;
    err refuse;       // patrick answers so, when it is not OK
    const char *only; // refuses this ref alone
    bool silent;      // patrick does not answer
    bool ended;       // of the script that runs
    int status;
    buf output;
} stand;
void stand_open(stand *s);
void stand_close(stand *s);
// Runs a shell script beside the loop; $U is the repository's address with a token, $A without, $W
// a work tree with one commit on main. Its output, stderr too, lies in s->output then.
int stand_run(stand *s, const char *script);
void stand_start(stand *s, const char *script); // and goes on
bool stand_said(const stand *s, const char *text);
