// Tests only: real meshd servers as children, with certificates of an authority of their own.
#pragma once
#include "base/base.h"
#include "mesh/identity.h"
#include "mesh/mesh.h"

#include <sys/types.h>

enum { MESHD_MAX = 3 };
typedef struct meshd_plan {
    const char *folder; // exists; what it holds of former servers is taken up again
    size_t count;       // elders: 1 or 3
    str universe;       // empty: "blackhole"
    str streams, roles; // JSON: a list and an object
} meshd_plan;
typedef struct meshd_set {
    authority *authority; // folder/ca
    size_t count;         // elders
    mesh_server servers[MESHD_MAX];
    pid_t children[MESHD_MAX]; // 0: does not run
    int inputs[MESHD_MAX];     // its standard input: it ends when that does
    char folder[256], program[256], universe[64];
} meshd_set;
// ERR_ABSENT: there is no meshd (CTAU_MESHD, the cache, out/) and the test can not run. Each
// elder's standard output is in folder/NAME.out. Waits for all to be ready (20 s at most).
err meshd_start(meshd_set **out, const meshd_plan *plan) MUST_USE;
void meshd_stop(meshd_set *m); // kills them; NULL is fine
// SIGKILL and SIGTERM: waits for its end as well. SIGSTOP, SIGCONT.
void meshd_signal(meshd_set *m, size_t elder, int number);
err meshd_restart(meshd_set *m, size_t elder) MUST_USE; // after a kill; waits until it is ready
// A node's certificate; texts in the arena.
err meshd_issue(
    meshd_set *m, arena *a, str node, str protocols, str *certificate, str *key) MUST_USE;
