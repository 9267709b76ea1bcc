// How commands find and ask the control API: DREAM_API, DREAM_TOKEN, DREAM_HOME/api.json; one
// request at a time.
#pragma once
#include "api/api.h"
#include "base/base.h"
#include "base/json.h"

// What to do about ERR_BUSY: mostly a node that is stopped.
#define NODES_HELP STR("dream status universe shows which nodes run; dream node start NODE")

typedef struct dream_client dream_client;
// DREAM_HOME, or $XDG_DATA_HOME/ctau, or ~/.local/share/ctau. {NULL}: no home at all.
const char *dream_home(arena *a);
// Finds the API of `home`. ERR_ABSENT: nothing runs there. token empty: that of api.json (or
// DREAM_TOKEN).
err dream_client_open(dream_client **out, arena *a, str token) MUST_USE;
void dream_client_close(dream_client *c);
str dream_client_address(const dream_client *c); // "127.0.0.1:1421"
// One request; blocks. *status is the HTTP status and *body the answer (in the arena). ERR_ABSENT:
// nobody listens.
err dream_client_request(dream_client *c,
                         arena *a,
                         str method,
                         str path,
                         str body,
                         unsigned *status,
                         str *body_out) MUST_USE;
// The same for JSON: an answer past 299 becomes the error whose code and message the API gave.
err dream_client_json(dream_client *c,
                      arena *a,
                      str method,
                      str path,
                      str body,
                      const json **out,
                      str *text) MUST_USE;
// Asks a message of a universe (empty: the first): fields as structs. `reply` is zeroed and filled;
// texts in the arena.
err dream_client_ask(dream_client *c,
                     arena *a,
                     str universe,
                     message_kind kind,
                     const void *request,
                     void *reply) MUST_USE;
