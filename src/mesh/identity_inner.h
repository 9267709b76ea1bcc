// Which nodes may send which message: one row for each.
#pragma once
#include "api/api.h"

enum {
    ROLE_AUTH = 1 << 0,
    ROLE_TNS = 1 << 1,
    ROLE_SEER = 1 << 2,
    ROLE_PATRICK = 1 << 3,
    ROLE_MONKEY = 1 << 4,
    ROLE_HOARDER = 1 << 5,
    ROLE_SUBSTRATE = 1 << 6,
    ROLE_GATEWAY = 1 << 7,
    ROLE_CLIENT = 1 << 8, // also a node without any protocol
    ROLE_ELDER = 1 << 9,
    ROLE_NOBODY = 1 << 10, // present in every row: what has none is denied, and a test says so
};
extern const unsigned identity_senders[MESSAGE_KINDS];

typedef struct identity_role {
    const char *name; // as in certificates
    unsigned role;
} identity_role;
// Each role once; the last row is the end, its name NULL.
extern const identity_role identity_roles[];
unsigned identity_role_of(str protocol); // "-": a client; 0: none that is known
