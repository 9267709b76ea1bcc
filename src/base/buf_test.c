// Buffers: growth, limits, the sticky error.
#include "base/buf.h"
#include "base/fault.h"
#include "base/str.h"
#include "base/test.h"

#include <string.h>

TEST(buf_holds_what_was_added_and_no_more_than_its_limit)
{
    OWNED(buf_close) buf b;
    buf_open(&b, 10);
    buf_add(&b, STR("01234"));
    buf_add(&b, (str){NULL, 0});
    buf_add(&b, STR("56789"));
    CHECK(b.error.code == OK && str_is(buf_str(&b), STR("0123456789")));
    buf_add_byte(&b, 'x');
    CHECK(b.error.code == ERR_LIMIT && b.len == 10);
    buf_drop_front(&b, 5);
    buf_add_byte(&b, 'x');
    CHECK(b.error.code == ERR_LIMIT && str_is(buf_str(&b), STR("56789")));
    buf_clear(&b);
    buf_add(&b, STR("again"));
    CHECK(b.error.code == OK && str_is(buf_str(&b), STR("again")));
    buf_close(&b);
    buf_close(&b);
    CHECK(b.len == 0);
}

TEST(buf_formats_right_up_to_the_limit)
{
    OWNED(buf_close) buf b;
    buf_open(&b, 303);
    buf_add_format(&b, "%s-%d", "ab", 1);
    CHECK(str_is(buf_str(&b), STR("ab-1")));
    buf_drop_front(&b, 1);
    buf_add_format(&b, "%0300d", 7);
    CHECK(b.error.code == OK && b.len == 303 && b.at[302] == '7');
    buf_add_format(&b, "%s", "");
    CHECK(b.error.code == OK);
    buf_add_format(&b, "%0400d", 7);
    CHECK(b.error.code == ERR_LIMIT && b.len == 303);
}

TEST(buf_numbers_are_little_endian)
{
    OWNED(buf_close) buf b;
    buf_open(&b, 100);
    buf_add_u32(&b, 0x01020304);
    buf_add_u64(&b, 0x1122334455667788);
    CHECK(b.len == 12 && memcmp(b.at, "\4\3\2\1\x88\x77\x66\x55\x44\x33\x22\x11", 12) == 0);
}

TEST(buf_reserve_and_commit_write_in_place)
{
    OWNED(buf_close) buf b;
    buf_open(&b, 1 << 20);
    CHECK(buf_reserve(&b, 0) != NULL);
    for (size_t i = 0; i < 1000; i++) {
        char *at = buf_reserve(&b, 500);
        CHECK(at != NULL && b.room - b.len >= 500);
        memset(at, (int)(i & 127), 500);
        buf_commit(&b, i % 7);
    }
    CHECK(b.error.code == OK && buf_reserve(&b, 1 << 20) == NULL && b.error.code == ERR_LIMIT);
    buf_drop_front(&b, SIZE_MAX);
    CHECK(b.len == 0);
}

TEST(buf_survives_each_failed_allocation)
{
    bool done = false;
    for (uint64_t k = 0; !done; k++) {
        OWNED(buf_close) buf b;
        fault_now = (fault_plan){.what = FAULT_MEMORY, .after = k, .times = 1};
        buf_open(&b, 1 << 16);
        for (int i = 0; i < 100; i++) {
            buf_add(&b, STR("0123456789012345678901234567890123456789"));
            buf_add_format(&b, "%0260d", i);
        }
        done = fault_now.seen <= k;
        fault_now = (fault_plan){0};
        CHECK(b.error.code == (done ? OK : ERR_MEMORY));
        CHECK(!done || b.len == 30000);
    }
}
