// Maps against a plain list, in order, under failures.
#include "base/fault.h"
#include "base/map.h"
#include "base/str.h"
#include "base/test.h"

#include <stdio.h>
#include <string.h>

static void map_drop(map **m)
{
    map_close(*m);
}

TEST(map_puts_replaces_and_removes)
{
    OWNED(map_drop) map *m = NULL;
    CHECK(map_open(&m, 2).code == OK);
    int one = 1, two = 2;
    void *old = &two;
    CHECK(map_get(m, STR("a")) == NULL && map_remove(m, STR("a")) == NULL);
    CHECK(map_put(m, STR("a"), &one, &old).code == OK && old == NULL);
    CHECK(map_put(m, STR("a"), &two, &old).code == OK && old == &one);
    CHECK(map_put(m, (str){NULL, 0}, &one, NULL).code == OK);
    CHECK(map_get(m, STR("")) == &one && map_count(m) == 2);
    CHECK(map_put(m, STR("c"), &one, NULL).code == ERR_LIMIT);
    CHECK(map_put(m, STR("a"), &one, NULL).code == OK);
    CHECK(map_remove(m, STR("a")) == &one && map_get(m, STR("a")) == NULL);
    CHECK(map_put(m, STR("a\0b"), &two, NULL).code == OK && map_get(m, STR("a")) == NULL);
}

enum { KEYS = 64 };

// The model: values by key, and the order they came in.
struct model {
    int *values[KEYS];
    size_t born[KEYS];
};

static void map_agrees(const map *m, const struct model *expected)
{
    size_t at = 0, seen = 0, last = 0;
    str key;
    void *value;
    while (map_next(m, &at, &key, &value)) {
        uint64_t k = 0;
        CHECK(str_number(str_from(key, 1), &k).code == OK && k < KEYS);
        CHECK(expected->values[k] == value && expected->born[k] > last);
        last = expected->born[k];
        seen++;
    }
    CHECK(seen == map_count(m));
}

TEST(map_behaves_as_an_ordered_list_for_any_seed)
{
    static int numbers[7];
    for (uint64_t seed = 1; seed <= 60; seed++) {
        OWNED(map_drop) map *m = NULL;
        struct model expected = {0};
        uint64_t dice = seed;
        size_t count = 0;
        CHECK(map_open(&m, KEYS).code == OK);
        for (size_t step = 1; step <= 400; step++) {
            dice = dice * 6364136223846793005u + 1442695040888963407u;
            size_t k = (dice >> 33) % KEYS;
            int *value = &numbers[(dice >> 40) % 7];
            char name[8];
            str key = {name, (size_t)snprintf(name, sizeof(name), "k%zu", k)};
            if ((dice >> 50) % 5 < 3) {
                void *old = NULL;
                CHECK(map_put(m, key, value, &old).code == OK && old == expected.values[k]);
                if (old == NULL) {
                    expected.born[k] = step;
                    count++;
                }
                expected.values[k] = value;
            } else {
                CHECK(map_remove(m, key) == expected.values[k]);
                count -= expected.values[k] != NULL;
                expected.values[k] = NULL;
            }
            CHECK(map_count(m) == count);
            CHECK(map_get(m, key) == expected.values[k]);
        }
        map_agrees(m, &expected);
    }
}

TEST(map_may_lose_the_current_entry_while_walked)
{
    OWNED(map_drop) map *m = NULL;
    CHECK(map_open(&m, 1000).code == OK);
    for (size_t i = 0; i < 100; i++) {
        char name[8];
        str key = {name, (size_t)snprintf(name, sizeof(name), "%zu", i)};
        CHECK(map_put(m, key, &name, NULL).code == OK);
    }
    size_t at = 0, seen = 0;
    str key;
    while (map_next(m, &at, &key, NULL)) {
        uint64_t n = 0;
        CHECK(str_number(key, &n).code == OK && n == seen++);
        if (n % 3 != 0)
            CHECK(map_remove(m, key) != NULL);
    }
    CHECK(seen == 100 && map_count(m) == 34);
}

TEST(map_as_a_queue_stays_small)
{
    OWNED(map_drop) map *m = NULL;
    CHECK(map_open(&m, 4).code == OK);
    int x;
    for (size_t i = 0; i < 100000; i++) {
        str key = {(const char *)&i, sizeof(i)};
        CHECK(map_put(m, key, &x, NULL).code == OK);
        size_t at = 0;
        str first;
        if (map_count(m) == 4)
            CHECK(map_next(m, &at, &first, NULL) && at <= 8 && map_remove(m, first) == &x);
    }
}

TEST(map_survives_each_failed_allocation)
{
    bool done = false;
    for (uint64_t k = 0; !done; k++) {
        OWNED(map_drop) map *m = NULL;
        fault_now = (fault_plan){.what = FAULT_MEMORY, .after = k, .times = 1};
        err e = map_open(&m, 1000);
        size_t stored = 0;
        for (size_t i = 0; m != NULL && i < 40; i++) {
            str key = {(const char *)&i, sizeof(i)};
            err put = map_put(m, key, &stored, NULL);
            CHECK(put.code == OK || put.code == ERR_MEMORY);
            CHECK((map_get(m, key) != NULL) == (put.code == OK));
            stored += put.code == OK;
        }
        done = fault_now.seen <= k;
        fault_now = (fault_plan){0};
        CHECK(m == NULL ? e.code == ERR_MEMORY : stored == map_count(m) && stored >= 39);
        CHECK(!done || stored == 40);
    }
}
