// One process that is kept running, as a pure machine: events go in, effects come out.
#pragma once
#include "base/base.h"

enum {
    MEMBER_BACKOFF_MS_MIN = 100,
    MEMBER_BACKOFF_MS_MAX = 5000,
    MEMBER_START_MS_MAX = 30 * 1000, // from its start until it says that it is ready
    MEMBER_DRAIN_MS_MAX = 3000,      // from SIGTERM until its end
    MEMBER_STEADY_MS = 10 * 1000,    // up for so long: the next back-off is short again
};
typedef enum { MEMBER_DOWN, MEMBER_STARTING, MEMBER_UP, MEMBER_DRAINING } member_state;
typedef enum {
    MEMBER_ON_START, // it is to run
    MEMBER_ON_STOP,  // it is not to run
    MEMBER_ON_READY, // its process says so
    MEMBER_ON_ENDED, // its process is gone, or could not be started
    MEMBER_ON_TIME,  // wake_ms has come
} member_event;
// What to do now: at most one.
typedef enum { MEMBER_NOTHING, MEMBER_SPAWN, MEMBER_TERMINATE, MEMBER_KILL } member_effect;
typedef struct member {
    member_state state;
    bool wanted; // DOWN and wanted: it is started again at wake_ms
    uint64_t since_ms;
    uint64_t wake_ms; // when MEMBER_ON_TIME is due; 0: never
    uint64_t backoff_ms;
    uint64_t restarts;
} member;

// A zeroed member is DOWN and not wanted.
member_effect member_step(member *m, member_event event, uint64_t now_ms) MUST_USE;
const char *member_state_name(member_state s); // "up"
