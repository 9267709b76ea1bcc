// The machine of one process: started, up, drained, started again with back-off.
#include "node/member.h"

#include <assert.h>

#define TO(s) (1U << (s))
static const unsigned allowed[] = {
    [MEMBER_DOWN] = TO(MEMBER_STARTING),
    [MEMBER_STARTING] = TO(MEMBER_UP) | TO(MEMBER_DRAINING) | TO(MEMBER_DOWN),
    [MEMBER_UP] = TO(MEMBER_DRAINING) | TO(MEMBER_DOWN),
    [MEMBER_DRAINING] = TO(MEMBER_DOWN),
};

static void member_move(member *m, member_state next, uint64_t now_ms, uint64_t wake_ms)
{
    assert(allowed[m->state] & TO(next));
    m->state = next;
    m->since_ms = now_ms;
    m->wake_ms = wake_ms;
}

static member_effect member_spawn(member *m, uint64_t now_ms)
{
    member_move(m, MEMBER_STARTING, now_ms, now_ms + MEMBER_START_MS_MAX);
    return MEMBER_SPAWN;
}

static member_effect member_stop(member *m, uint64_t now_ms)
{
    m->wanted = false;
    if (m->state == MEMBER_DOWN)
        m->wake_ms = 0;
    if (m->state != MEMBER_STARTING && m->state != MEMBER_UP)
        return MEMBER_NOTHING;
    member_move(m, MEMBER_DRAINING, now_ms, now_ms + MEMBER_DRAIN_MS_MAX);
    return MEMBER_TERMINATE;
}

static member_effect member_ended(member *m, uint64_t now_ms)
{
    bool asked = m->state == MEMBER_DRAINING;
    if (m->state == MEMBER_DOWN)
        return MEMBER_NOTHING;
    member_move(m, MEMBER_DOWN, now_ms, 0);
    if (!m->wanted)
        return MEMBER_NOTHING;
    if (asked) // it was wanted again while it drained
        return member_spawn(m, now_ms);
    m->backoff_ms = m->backoff_ms == 0 ? MEMBER_BACKOFF_MS_MIN : m->backoff_ms * 2;
    if (m->backoff_ms > MEMBER_BACKOFF_MS_MAX)
        m->backoff_ms = MEMBER_BACKOFF_MS_MAX;
    m->wake_ms = now_ms + m->backoff_ms;
    m->restarts++;
    return MEMBER_NOTHING;
}

static member_effect member_time(member *m, uint64_t now_ms)
{
    if (m->wake_ms == 0 || now_ms < m->wake_ms)
        return MEMBER_NOTHING;
    m->wake_ms = 0;
    switch (m->state) {
    case MEMBER_DOWN:
        return m->wanted ? member_spawn(m, now_ms) : MEMBER_NOTHING;
    case MEMBER_UP:
        m->backoff_ms = 0;
        return MEMBER_NOTHING;
    default: // hangs
        return MEMBER_KILL;
    }
}

member_effect member_step(member *m, member_event event, uint64_t now_ms)
{
    switch (event) {
    case MEMBER_ON_START:
        if (m->state == MEMBER_DOWN && !m->wanted)
            m->backoff_ms = 0;
        m->wanted = true;
        return m->state == MEMBER_DOWN ? member_spawn(m, now_ms) : MEMBER_NOTHING;
    case MEMBER_ON_STOP:
        return member_stop(m, now_ms);
    case MEMBER_ON_READY:
        if (m->state == MEMBER_STARTING)
            member_move(m, MEMBER_UP, now_ms, now_ms + MEMBER_STEADY_MS);
        return MEMBER_NOTHING;
    case MEMBER_ON_ENDED:
        return member_ended(m, now_ms);
    case MEMBER_ON_TIME:
        return member_time(m, now_ms);
    }
    return MEMBER_NOTHING;
}

const char *member_state_name(member_state s)
{
    static const char *const names[] = {"down", "starting", "up", "draining"};
    return names[s];
}
