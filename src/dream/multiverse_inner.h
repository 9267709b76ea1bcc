// The multiverse's own rooms: universes by name, the API's server, who may do what.
#pragma once
#include "dream/multiverse.h"
#include "http/server.h"

enum { API_TOKEN_TEXT = 64 };
struct multiverse {
    multiverse_settings settings;
    arena *memory;
    int lock;
    universe *universes[UNIVERSES_MAX];
    size_t count;
    http_server *api;
    char token[API_TOKEN_TEXT]; // of api.json: its reader may do everything
    struct removal *removals;   // of universes that were removed and are not gone yet
    size_t leaving;             // universes removed or not started, and not gone yet
    size_t closing;
    void (*closed)(void *data);
    void *closed_data;
};

err api_open(multiverse *m) MUST_USE; // listens, writes api.json
void api_close(multiverse *m);
void api_on_request(void *data, http_exchange *x);
// One ask of a universe's mesh on behalf of a person: JSON in, JSON out; `account` empty: the
// machine's owner.
void api_ask(multiverse *m, http_exchange *x, universe *u, str subject, str account);
// {"name", "id", "nodes":[…]} of one universe.
void api_write_universe(buf *out, universe *u);
