// Tests of the machine of one process.
#include "base/test.h"
#include "node/member.h"

TEST(member_that_dies_starts_again_later_each_time)
{
    member m = {0};
    uint64_t now = 1000, waits[8];
    CHECK(member_step(&m, MEMBER_ON_START, now) == MEMBER_SPAWN);
    for (size_t i = 0; i < COUNT(waits); i++) {
        CHECK(m.state == MEMBER_STARTING);
        CHECK(member_step(&m, MEMBER_ON_ENDED, now) == MEMBER_NOTHING && m.state == MEMBER_DOWN);
        waits[i] = m.wake_ms - now;
        CHECK(member_step(&m, MEMBER_ON_TIME, m.wake_ms - 1) == MEMBER_NOTHING);
        now = m.wake_ms;
        CHECK(member_step(&m, MEMBER_ON_TIME, now) == MEMBER_SPAWN);
    }
    CHECK(waits[0] == 100 && waits[1] == 200 && waits[5] == 3200 && waits[6] == 5000);
    CHECK(waits[7] == 5000 && m.restarts == 8);
}

TEST(member_that_stays_up_is_forgiven)
{
    member m = {0};
    CHECK(member_step(&m, MEMBER_ON_START, 0) == MEMBER_SPAWN);
    for (int i = 0; i < 5; i++) {
        CHECK(member_step(&m, MEMBER_ON_ENDED, 0) == MEMBER_NOTHING);
        CHECK(member_step(&m, MEMBER_ON_TIME, m.wake_ms) == MEMBER_SPAWN);
    }
    CHECK(member_step(&m, MEMBER_ON_READY, 100) == MEMBER_NOTHING && m.state == MEMBER_UP);
    CHECK(member_step(&m, MEMBER_ON_TIME, 100 + MEMBER_STEADY_MS) == MEMBER_NOTHING);
    CHECK(member_step(&m, MEMBER_ON_ENDED, 20000) == MEMBER_NOTHING);
    CHECK(m.wake_ms == 20000 + MEMBER_BACKOFF_MS_MIN);
}

TEST(member_that_is_stopped_drains_and_stays_down)
{
    member m = {0};
    CHECK(member_step(&m, MEMBER_ON_START, 0) == MEMBER_SPAWN);
    CHECK(member_step(&m, MEMBER_ON_READY, 1) == MEMBER_NOTHING);
    CHECK(member_step(&m, MEMBER_ON_STOP, 2) == MEMBER_TERMINATE && m.state == MEMBER_DRAINING);
    CHECK(member_step(&m, MEMBER_ON_STOP, 2) == MEMBER_NOTHING);
    CHECK(member_step(&m, MEMBER_ON_TIME, 2 + MEMBER_DRAIN_MS_MAX) == MEMBER_KILL);
    CHECK(member_step(&m, MEMBER_ON_ENDED, 9000) == MEMBER_NOTHING && m.state == MEMBER_DOWN);
    CHECK(m.wake_ms == 0 && m.restarts == 0);
    CHECK(member_step(&m, MEMBER_ON_TIME, 99999) == MEMBER_NOTHING && m.state == MEMBER_DOWN);
}

TEST(member_that_waits_for_its_next_try_can_be_stopped_and_started)
{
    member m = {0};
    CHECK(member_step(&m, MEMBER_ON_START, 0) == MEMBER_SPAWN);
    CHECK(member_step(&m, MEMBER_ON_ENDED, 5) == MEMBER_NOTHING);
    CHECK(member_step(&m, MEMBER_ON_STOP, 6) == MEMBER_NOTHING && m.wake_ms == 0 && !m.wanted);
    CHECK(member_step(&m, MEMBER_ON_START, 7) == MEMBER_SPAWN);
    CHECK(member_step(&m, MEMBER_ON_STOP, 8) == MEMBER_TERMINATE);
    CHECK(member_step(&m, MEMBER_ON_START, 9) == MEMBER_NOTHING);
    CHECK(member_step(&m, MEMBER_ON_ENDED, 10) == MEMBER_SPAWN && m.state == MEMBER_STARTING);
}

TEST(member_that_never_gets_ready_is_killed)
{
    member m = {0};
    CHECK(member_step(&m, MEMBER_ON_START, 0) == MEMBER_SPAWN);
    CHECK(member_step(&m, MEMBER_ON_TIME, MEMBER_START_MS_MAX) == MEMBER_KILL);
    CHECK(member_step(&m, MEMBER_ON_READY, MEMBER_START_MS_MAX + 1) == MEMBER_NOTHING);
    CHECK(member_step(&m, MEMBER_ON_ENDED, MEMBER_START_MS_MAX + 2) == MEMBER_NOTHING);
    CHECK(m.wanted && m.wake_ms > 0);
}

// Whatever comes in whatever order: never two processes, and what is stopped ends down.
TEST(member_never_has_two_processes)
{
    for (uint64_t seed = 1; seed <= 2000; seed++) {
        member m = {0};
        uint64_t dice = seed * 2654435761U, now = 0;
        int processes = 0;
        for (int i = 0; i < 60; i++) {
            dice = dice * 6364136223846793005ULL + 1442695040888963407ULL;
            member_event event = (member_event)((dice >> 33) % 5);
            now += (dice >> 40) % 4000;
            if (i >= 55)
                event = i == 55 ? MEMBER_ON_STOP : MEMBER_ON_ENDED;
            if (processes == 0 && (event == MEMBER_ON_ENDED || event == MEMBER_ON_READY))
                continue;
            if (event == MEMBER_ON_ENDED)
                processes--;
            if (member_step(&m, event, now) == MEMBER_SPAWN)
                processes++;
            CHECK(processes == 0 || processes == 1);
            CHECK((processes == 1) == (m.state != MEMBER_DOWN));
        }
        CHECK(m.state == MEMBER_DOWN && processes == 0);
    }
}
