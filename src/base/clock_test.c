// Dates as text, clocks that go forward, diagnoses, the fault plan.
#include "base/clock.h"
#include "base/diagnosis.h"
#include "base/fault.h"
#include "base/str.h"
#include "base/test.h"

#include <string.h>

TEST(clock_writes_dates)
{
    char text[RFC3339_TEXT], date[HTTP_DATE_TEXT];
    clock_rfc3339(0, text);
    CHECK(strcmp(text, "1970-01-01T00:00:00.000Z") == 0);
    clock_rfc3339(951827696789, text);
    CHECK(strcmp(text, "2000-02-29T12:34:56.789Z") == 0);
    clock_rfc3339(UINT64_MAX, text);
    CHECK(strcmp(text, "9999-12-31T23:59:59.999Z") == 0);
    clock_http_date(784111777000, date);
    CHECK(strcmp(date, "Sun, 06 Nov 1994 08:49:37 GMT") == 0);
    clock_http_date(UINT64_MAX, date);
    CHECK(strcmp(date, "Fri, 31 Dec 9999 23:59:59 GMT") == 0);
}

TEST(clock_goes_forward_and_dice_differ)
{
    uint64_t before = clock_now_us();
    CHECK(clock_now_us() >= before && clock_now_ms() >= before / 1000);
    CHECK(clock_real_ms() > 1600000000000);
    CHECK(random_u64() != random_u64());
    unsigned char bytes[1000] = {0};
    size_t zeros = 0;
    random_bytes(bytes, sizeof(bytes));
    for (size_t i = 0; i < sizeof(bytes); i++)
        zeros += bytes[i] == 0;
    CHECK(zeros < 50);
}

TEST(diagnoses_keep_some_and_count_all)
{
    OWNED(arena_drop) arena *a = NULL;
    diagnoses d;
    CHECK(arena_open(&a, 1 << 16).code == OK);
    diagnoses_init(&d, a, 3);
    for (size_t i = 1; i <= 5; i++)
        diagnoses_add(&d, STR("f.yaml"), i, 2, "CFG001")->text = STR("wrong");
    size_t kept = 0;
    for (const diagnosis *one = d.first; one != NULL; one = one->next)
        CHECK(one->line == ++kept && one->width == 1 && one->text.len == 5 && one->help.len == 0);
    CHECK(kept == 3 && d.count == 5);
}

TEST(diagnoses_without_memory_are_counted)
{
    OWNED(arena_drop) arena *a = NULL;
    diagnoses d;
    CHECK(arena_open(&a, 16).code == OK);
    diagnoses_init(&d, a, 3);
    CHECK(diagnoses_add(&d, STR("f"), 1, 1, "CFG001") != NULL && d.first == NULL && d.count == 1);
}

TEST(fault_plan_fails_the_named_ones_only)
{
    fault_now = (fault_plan){.what = FAULT_MESSAGE, .after = 2, .times = 2};
    bool hits[6];
    for (size_t i = 0; i < COUNT(hits); i++)
        hits[i] = fault_hits(FAULT_MESSAGE);
    bool other = fault_hits(FAULT_MEMORY);
    uint64_t seen = fault_now.seen;
    fault_now = (fault_plan){0};
    CHECK(!hits[0] && !hits[1] && hits[2] && hits[3] && !hits[4] && !hits[5]);
    CHECK(!other && seen == 6 && !fault_hits(FAULT_NONE));
}
