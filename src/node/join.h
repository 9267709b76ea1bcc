// How a machine's node joins a universe elsewhere: a token becomes a key, a certificate and a shape
// file. See mesh/invite.h for what is said.
#pragma once
#include "base/base.h"

enum { JOIN_SHIFT_MIN = 1024, JOIN_SHIFT_MAX = 60000 };
typedef struct join_settings {
    str token;
    const char *root;    // made (0700) when absent; config/, keys/ and nodes/ go there
    const char *address; // of this machine, that others can dial; NULL: the one that the way to the
                         // inviter starts at
    uint16_t shift;      // first port of its block; 0: as the universe's
} join_settings;
typedef struct join_result { // in the arena
    str universe, node, protocols, address;
    const char *shape_path;
    uint64_t certificate_until_real_ms;
} join_result;
// Blocks, for 15 s at most. After OK everything is durable: `tau start --shape NODE --root ROOT`.
// The error's text is for people, in the arena. ERR_SYNTAX: no token; ERR_DENIED: late, foreign or
// unknown, or the one who answers is not of the token's universe; ERR_CONFLICT: used, or the folder
// belongs to another universe; ERR_ABSENT: nobody answers; the inviter's own otherwise.
err join_run(arena *a, const join_settings *settings, join_result *out) MUST_USE;
