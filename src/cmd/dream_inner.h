// dream's groups of verbs.
#pragma once
#include "cli/cli.h"
#include "dream/client.h"

int dream_new_multiverse(cli *c); // dream_serve.c
int dream_new_universe(cli *c);   // dream_verbs.c
int dream_kill(cli *c);
int dream_node(cli *c);
int dream_inject_push_all(cli *c);
int dream_inject_push_specific(cli *c);
int dream_inject_set_branch(cli *c);
int dream_status(cli *c); // dream_status.c
int dream_list(cli *c);
int dream_logs(cli *c); // dream_doctor.c
int dream_doctor(cli *c);
int dream_version(cli *c);

// The API of this DREAM_HOME, or NULL after it was said why not (*code is the exit code then).
dream_client *dream_api(cli *c, int *code);
// Says what an error of the API means for the user and gives the exit code.
int dream_api_failed(cli *c, err e);
// Our own executable, in the arena; NULL when /proc does not say.
const char *dream_program(arena *a);
// Raises what may be raised. Anything but EXIT_OK: it was said what is too little here.
int process_limits(cli *c);
