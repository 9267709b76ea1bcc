// auth's own rooms: who may enter, what is registered, which names are taken.
#pragma once
#include "base/hash.h"
#include "protocol/protocol.h"
#include "protocol/record.h"

struct auth {
    protocol_context context;
    unsigned char key[SEAL_KEY_BYTES]; // seals webhook secrets and deploy keys
    struct source *sources;            // helper threads pack them
};

err auth_account_serve(struct auth *a) MUST_USE;
err auth_repository_serve(struct auth *a) MUST_USE;
err auth_project_serve(struct auth *a) MUST_USE;
err auth_source_serve(struct auth *a) MUST_USE;
void auth_source_leave(struct auth *a);
void auth_http(void *state, http_exchange *x);
// Who a token belongs to. ERR_DENIED when it is not known.
err auth_token_owner(struct auth *a,
                     arena *memory,
                     str token,
                     auth_token_check_reply *out) MUST_USE;
// Accounts and owners: letters, digits, '-', '_', 1 to 39 characters, first a letter or digit.
bool auth_owner_is_valid(str name);
// Repositories and projects: letters, digits, '.', '-', '_', 1 to 100 characters, no leading '.' or
// '-'.
bool auth_name_is_valid(str name);
