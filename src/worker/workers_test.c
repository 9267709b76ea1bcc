// Worker processes with real guests: every outcome, loss and replacement, snapshots under load.
#include "base/clock.h"
#include "base/str.h"
#include "worker/farm_test.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

TEST(worker_answers_pong_through_a_process)
{
    farm f;
    reply r;
    farm_open(&f, 1);
    farm_publish(&f, &(route_function){.timeout_ms = 1000});
    farm_start(&f);
    for (int i = 0; i < 100; i++) {
        farm_get(&f, &r, "/pong");
        CHECK(r.error.code == OK && r.status == 200);
        assert_string_equal(r.body, "PONG");
    }
    CHECK(f.wants == 1);
    farm_close(&f);
}
