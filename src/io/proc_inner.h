// What proc.c hands to the code that runs between clone and exec.
#pragma once
#include "io/proc.h"

enum { PROC_PASS_MAX = 64 };
typedef struct proc_birth {
    const proc_settings *settings;
    const char *program; // has a slash
    int stdio[3];        // become 0, 1, 2
} proc_birth;
// Searches PATH as a shell would; `out` has PATH_MAX bytes. ERR_ABSENT, ERR_LIMIT.
err proc_find_program(const char *name, char *out) MUST_USE;
// Starts the child and returns when it runs the program. On failure nothing is left behind.
// ERR_ABSENT: no such program or folder. The pid is ours to reap; pidfd is close-on-exec.
err proc_fork(const proc_birth *birth, int *pid, int *pidfd) MUST_USE;
