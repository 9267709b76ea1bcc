// The head of a push is read whole or not at all; its report is written again with what we refuse.
#include "base/str.h"
#include "base/test.h"
#include "repo/pkt_line.h"

#include <string.h>

#define ZERO "0000000000000000000000000000000000000000"
#define ONE  "1111111111111111111111111111111111111111"
#define TWO  "22222222222222222222222222222222222222aa"

static push_head_result head_try(arena *a, str bytes, push_head *h)
{
    const char *why = "";
    push_head_result r = push_head_read(a, bytes, h, &why);
    CHECK(r != PUSH_HEAD_BAD || strlen(why) > 0);
    return r;
}

TEST(push_head_is_read_with_commands_and_options)
{
    OWNED(arena_drop) arena *a = NULL;
    OWNED(buf_close) buf b;
    push_head h;
    CHECK(arena_open(&a, 1 << 20).code == OK);
    buf_open(&b, 1 << 20);
    str first = STR(
        ONE " " TWO
            " refs/heads/main\0 report-status side-band-64k atomic push-options agent=git/2.39.5");
    pkt_add(&b, STR("shallow " ONE));
    pkt_add(&b, first);
    pkt_add(&b, STR(ZERO " " ONE " refs/tags/v1\n"));
    pkt_add_flush(&b);
    pkt_add(&b, STR("other=1"));
    pkt_add(&b, STR("deployment=Ab3-x_/2\n"));
    pkt_add_flush(&b);
    size_t whole = b.len;
    buf_add(&b, STR("PACK whatever"));
    for (size_t i = 0; i < whole; i++)
        CHECK(head_try(a, (str){b.at, i}, &h) == PUSH_HEAD_MORE);
    for (size_t i = whole; i <= b.len; i++)
        CHECK(head_try(a, (str){b.at, i}, &h) == PUSH_HEAD_WHOLE);
    CHECK(h.count == 2 && h.report_status && h.side_band && h.atomic && h.push_options);
    CHECK(str_is(h.commands[0].after, STR(TWO)) && str_is(h.commands[1].ref, STR("refs/tags/v1")));
    CHECK(str_is(h.deployment, STR("Ab3-x_")) && h.deployment_size == 2);
    CHECK(head_try(a, STR("0000"), &h) == PUSH_HEAD_WHOLE && h.count == 0);
}

TEST(push_head_refuses_what_is_not_its_grammar)
{
    static const struct {
        const char *at;
        size_t len;
    } lines[] = {
#define LINE(text) {text, sizeof(text) - 1}
        LINE(ONE " " TWO),
        LINE(ONE " " TWO " "),
        LINE("x" ONE " " TWO " refs/heads/main"),
        LINE(ONE "  " TWO " refs/heads/main"),
        LINE(ONE " " TWO " refs/heads/a b"),
        LINE(ONE " " TWO " refs/heads/a\x1b"),
        LINE(ONE " AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA refs/heads/a"),
        LINE(ONE " " TWO " refs/heads/a\0object-format=sha256"),
        LINE("push-cert\0push-options"),
        LINE("shallow x"),
        LINE(""),
#undef LINE
    };
    OWNED(arena_drop) arena *a = NULL;
    push_head h;
    CHECK(arena_open(&a, 1 << 20).code == OK);
    for (size_t i = 0; i < COUNT(lines); i++) {
        OWNED(buf_close) buf b;
        buf_open(&b, 1 << 20);
        pkt_add(&b, (str){lines[i].at, lines[i].len});
        pkt_add_flush(&b);
        CHECK(head_try(a, buf_str(&b), &h) == PUSH_HEAD_BAD);
    }
    CHECK(head_try(a, STR("GET / HTTP"), &h) == PUSH_HEAD_BAD);
    CHECK(head_try(a, STR("0001"), &h) == PUSH_HEAD_BAD &&
          head_try(a, STR("0003"), &h) == PUSH_HEAD_BAD);
    CHECK(head_try(a, STR("ffff"), &h) == PUSH_HEAD_BAD);
}

TEST(push_head_refuses_a_deployment_that_is_none)
{
    static const char *const options[] = {"deployment=",      "deployment=x",   "deployment=x/0",
                                          "deployment=x/17",  "deployment=/2",  "deployment=a b/2",
                                          "deployment=x/2/3", "deployment=x/-1"};
    OWNED(arena_drop) arena *a = NULL;
    push_head h;
    CHECK(arena_open(&a, 1 << 20).code == OK);
    for (size_t i = 0; i < COUNT(options); i++) {
        OWNED(buf_close) buf b;
        buf_open(&b, 1 << 20);
        pkt_add(&b, STR(ONE " " TWO " refs/heads/main\0push-options"));
        pkt_add_flush(&b);
        pkt_add(&b, str_of(options[i]));
        pkt_add_flush(&b);
        CHECK(head_try(a, buf_str(&b), &h) == PUSH_HEAD_BAD);
    }
}

static const char *report_why(void *data, str ref)
{
    return str_is(ref, str_of(data)) ? "it was not recorded" : NULL;
}

TEST(push_report_is_rewritten_where_we_refuse)
{
    OWNED(buf_close) buf report, answer = {0}, shown = {0}, inner = {0}, out = {0};
    buf_open(&report, 1 << 20);
    buf_open(&answer, 1 << 20);
    buf_open(&shown, 1 << 20);
    buf_open(&inner, 1 << 20);
    buf_open(&out, 1 << 20);
    pkt_add(&report, STR("unpack ok\n"));
    pkt_add(&report, STR("ok refs/heads/main\n"));
    pkt_add(&report, STR("ok refs/heads/other\n"));
    pkt_add_flush(&report);
    pkt_add_band(&answer, 2, STR("hello\n"));
    pkt_add_band(&answer, 1, buf_str(&report));
    CHECK(!push_answer_split(buf_str(&answer), true, &shown, &inner));
    pkt_add_flush(&answer);
    buf_clear(&shown);
    buf_clear(&inner);
    CHECK(push_answer_split(buf_str(&answer), true, &shown, &inner));
    CHECK(str_is(buf_str(&shown), STR("000b\002hello\n")) &&
          str_is(buf_str(&inner), buf_str(&report)));
    push_report_rewrite(buf_str(&inner), report_why, "refs/heads/main", &out);
    CHECK(str_is(buf_str(&out), STR("000eunpack ok\n002bng refs/heads/main it was not recorded\n"
                                    "0018ok refs/heads/other\n0000")));
}
