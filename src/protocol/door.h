// What the public HTTP doors of protocols share: tokens checked by auth, asks answered as JSON.
#pragma once
#include "http/server.h"
#include "mesh/mesh.h"

// Checks "Authorization: Bearer|token|github T" (or Basic with the token as password) with auth,
// then calls `then` with the account (in the exchange's arena). Otherwise the exchange is answered:
// 401, or auth's error.
typedef void door_entered(void *state, http_exchange *x, str account);
void door_enter(mesh *m, http_exchange *x, door_entered *then, void *state);
// The token in a request's Authorization header, in the arena; {NULL,0} when there is none.
str door_token(arena *a, const http_request *r);
// Asks and answers with the reply's JSON, or with the error's status.
void door_ask(mesh *m, http_exchange *x, message_kind kind, const void *fields);
// {"name":value} pairs, ended by NULL, as a 200 answer: door_answer(x, "account", account, NULL).
void door_answer(http_exchange *x, ...);
