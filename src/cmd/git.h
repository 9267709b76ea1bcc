// Runs git for tau in a checkout: output caught, never a prompt, credentials by the environment.
#pragma once
#include "base/base.h"

// Where git works and with which token. Everything is the caller's and outlives the calls.
typedef struct checkout {
    arena *memory;
    const char *folder;
    // "http://127.0.0.1:1421/" and "alice:TOKEN": sent to addresses below it and to no other. May
    // be NULL. They travel in git's environment, never in an argument that `ps` shows.
    const char *base;
    const char *credentials;
} checkout;
typedef struct checkout_end {
    int status; // git's exit code; 128 + n when signal n ended it
    str out;    // what it printed, at most 16 MiB, in the arena
    str errors;
} checkout_end;
// Runs `git ARGUMENT... ` (ended by NULL); blocks. OK whenever git ran, whatever it said.
// ERR_ABSENT: no git here. ERR_LIMIT: it printed too much.
err checkout_run(const checkout *k, checkout_end *end, ...) __attribute__((sentinel)) MUST_USE;
// The same, and a status other than 0 is ERR_SYSTEM with the last line that git said.
err checkout_do(const checkout *k, str *out, ...) __attribute__((sentinel)) MUST_USE;
// The commit that a name means, 40 hex digits; empty when there is none (yet).
str checkout_commit(const checkout *k, const char *name);
