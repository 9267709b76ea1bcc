// All universes of one DREAM_HOME in this process, and the control API in front of them.
#pragma once
#include "base/base.h"
#include "base/log.h"
#include "dream/universe.h"
#include "io/loop.h"

typedef struct multiverse multiverse;
enum { UNIVERSES_MAX = 32 };
typedef struct multiverse_settings {
    loop *loop;
    log_sink *log;
    const char *home;        // DREAM_HOME, made if absent
    const char *api_address; // "127.0.0.1"
    uint16_t api_port;
    universe_settings
        defaults; // for universes: shift, gateway_port, clean, program, engine, monkeys, workers
    const str *universes; // to start; those that were there before start as well
    size_t universes_count;
    void (*on_stop)(void *data); // somebody asked over the API that all of it stops
    void *data;
} multiverse_settings;
// Takes HOME/lock (ERR_BUSY: another process has it), starts the universes, opens the API, writes
// HOME/api.json (0600). After an error *out is NULL, or what stands of it: the caller closes that
// and lets the loop run until it is closed.
err multiverse_open(multiverse **out, const multiverse_settings *settings) MUST_USE;
// Stops everything, removes api.json, gives the lock back, then `closed(data)`.
void multiverse_close(multiverse *m, void (*closed)(void *data), void *data);
universe *multiverse_find(multiverse *m, str name); // NULL; an empty name is the first universe
universe *multiverse_at(multiverse *m, size_t i);   // NULL past the end
err multiverse_add(multiverse *m,
                   str name,
                   const universe_settings *settings,
                   universe **out) MUST_USE;
err multiverse_remove(multiverse *m, str name, void (*removed)(void *data), void *data) MUST_USE;
