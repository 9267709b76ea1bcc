// What a NATS server says is read the same however it is cut, and refused where it is wrong.
#include "base/fault.h"
#include "base/str.h"
#include "base/test.h"
#include "mesh/nats_line.h"

#include <stdlib.h>
#include <string.h>

// The one thing that `text` says, given in pieces of `step` bytes.
typedef struct heard {
    nats_event event; // texts point into the reader
    nats_line line;
    size_t count;
} heard;

static err hear(heard *h, str text, size_t step)
{
    *h = (heard){.count = 0};
    nats_line_open(&h->line, 1 << 20);
    for (size_t at = 0; at < text.len; at += step) {
        str bytes = str_first(str_from(text, at), step);
        while (bytes.len > 0) {
            nats_event e;
            TRY(nats_line_next(&h->line, &bytes, &e));
            if (e.kind == NATS_NOTHING)
                continue;
            h->event = e;
            h->count++;
        }
    }
    return ok();
}

static void hear_end(heard *h)
{
    nats_line_close(&h->line);
}

TEST(nats_line_reads_a_message_however_it_is_cut)
{
    const str text = STR("MSG ask.auth_login.any.tns 17  re.tns.ab12.4 5\r\nhe\r\no\r\n");
    for (size_t step = 1; step <= text.len; step++) {
        heard h;
        CHECK(hear(&h, text, step).code == OK && h.count == 1);
        CHECK(h.event.kind == NATS_MESSAGE && h.event.subscription == 17 && h.event.status == 0);
        CHECK(str_is(h.event.subject, STR("ask.auth_login.any.tns")));
        CHECK(str_is(h.event.reply, STR("re.tns.ab12.4")));
        CHECK(str_is(h.event.payload, STR("he\r\no")) && h.event.headers.len == 0);
        hear_end(&h);
    }
}

TEST(nats_line_reads_headers_and_their_status)
{
    const str text = STR(
        "HMSG to.tns.a 3 $JS.ACK.x 36 39\r\nNATS/1.0 100 Idle\r\nLast: 7\r\nA: b\r\n\r\nabc\r\n");
    for (size_t step = 1; step <= text.len; step++) {
        heard h;
        CHECK(hear(&h, text, step).code == OK && h.count == 1);
        CHECK(h.event.status == 100 && str_is(h.event.headers, STR("Last: 7\r\nA: b\r\n")));
        CHECK(str_is(h.event.reply, STR("$JS.ACK.x")) && str_is(h.event.payload, STR("abc")));
        hear_end(&h);
    }
    heard h;
    CHECK(hear(&h, STR("HMSG re.a.1 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n"), 99).code == OK);
    CHECK(h.event.status == 503 && h.event.payload.len == 0 && h.event.headers.len == 0);
    hear_end(&h);
}

TEST(nats_line_reads_all_else_a_server_says)
{
    static const struct {
        const char *text;
        nats_line_kind kind;
        const char *told;
    } cases[] = {
        {"INFO {\"a\":1} \r\n", NATS_INFO, "{\"a\":1}"},
        {"PING\r\n", NATS_PING, ""},
        {"PONG \r\n", NATS_PONG, ""},
        {"+OK\r\n", NATS_OK, ""},
        {"-ERR 'Stale Connection'\r\n", NATS_ERROR, "Stale Connection"},
        {"MSG a 1 0\r\n\r\n", NATS_MESSAGE, ""},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        for (size_t step = 1; step < 20; step++) {
            heard h;
            CHECK(hear(&h, str_of(cases[i].text), step).code == OK && h.count == 1);
            CHECK(h.event.kind == cases[i].kind);
            CHECK(str_is(h.event.text, str_of(cases[i].told)));
            hear_end(&h);
        }
}

TEST(nats_line_gives_whole_things_where_they_lie)
{
    str bytes = STR("MSG a 1 2\r\nhi\r\nPING\r\nPI");
    const char *begin = bytes.at;
    nats_line l;
    nats_event e;
    nats_line_open(&l, 64);
    CHECK(nats_line_next(&l, &bytes, &e).code == OK && e.payload.at == begin + 11);
    CHECK(nats_line_next(&l, &bytes, &e).code == OK && e.kind == NATS_PING);
    CHECK(l.kept.at == NULL && bytes.len == 2); // nothing was copied yet
    CHECK(nats_line_next(&l, &bytes, &e).code == OK && e.kind == NATS_NOTHING && bytes.len == 0);
    nats_line_close(&l);
}

TEST(nats_line_refuses_what_is_wrong)
{
    static const struct {
        const char *text;
        err_code code;
        const char *what;
    } cases[] = {
        {"PING\n", ERR_SYNTAX, "NATS: a line that does not end with CR LF"},
        {"\r\n", ERR_SYNTAX, "NATS: a line that begins with no known word"},
        {"PING 1\r\n", ERR_SYNTAX, "NATS: words after PING or PONG"},
        {"INFO \r\n", ERR_SYNTAX, "NATS: INFO without its JSON"},
        {"MSG a 1\r\n", ERR_SYNTAX, "NATS: wrong count of words before a payload"},
        {"MSG a 1 b c d e 1\r\n", ERR_SYNTAX, "NATS: too many words before a payload"},
        {"MSG a..b 1 1\r\n", ERR_SYNTAX, "NATS: not a subject"},
        {"MSG a.> 1 1\r\n", ERR_SYNTAX, "NATS: not a subject"},
        {"MSG a x 1\r\n", ERR_SYNTAX, "NATS: not a subscription's number"},
        {"MSG a 1 -1\r\n", ERR_SYNTAX, "NATS: not a payload's size"},
        {"MSG a 1 1048577\r\n", ERR_LIMIT, "NATS: a payload larger than allowed"},
        {"MSG a 1 99999999999999999999\r\n", ERR_SYNTAX, "NATS: not a payload's size"},
        {"MSG a 1 1\r\nxyz", ERR_SYNTAX, "NATS: a payload is not followed by CR LF"},
        {"HMSG a 1 20 10\r\n", ERR_SYNTAX, "NATS: size of headers out of range"},
        {"HMSG a 1 12 12\r\nNATS/2.0\r\n\r\n\r\n", ERR_SYNTAX,
         "NATS: headers that are not NATS/1.0"},
        {"HMSG a 1 12 12\r\nNATS/1.0\r\nab\r\n", ERR_SYNTAX, "NATS: headers that are not NATS/1.0"},
        {"HMSG a 1 15 15\r\nNATS/1.0 50\r\n\r\n\r\n", ERR_SYNTAX,
         "NATS: a status that is not three digits"},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        for (size_t step = 1; step < 64; step += 7) {
            heard h;
            err e = hear(&h, str_of(cases[i].text), step);
            CHECK(e.code == cases[i].code && strcmp(e.what, cases[i].what) == 0 && h.count == 0);
            str more = STR("PING\r\n");
            CHECK(nats_line_next(&h.line, &more, &h.event).code == e.code); // and stays so
            hear_end(&h);
        }
}

TEST(nats_line_ends_lines_that_never_end)
{
    static char text[NATS_INFO_BYTES_MAX + 64];
    memset(text, 'x', sizeof text);
    heard h;
    CHECK(hear(&h, (str){text, NATS_LINE_BYTES_MAX - 1}, 100).code == OK);
    hear_end(&h);
    CHECK(hear(&h, (str){text, NATS_LINE_BYTES_MAX}, 100).code == ERR_LIMIT);
    hear_end(&h);
    memcpy(text, "INFO ", 5);
    CHECK(hear(&h, (str){text, NATS_INFO_BYTES_MAX - 1}, 3).code == OK);
    hear_end(&h);
    CHECK(hear(&h, (str){text, NATS_INFO_BYTES_MAX}, 3).code == ERR_LIMIT);
    hear_end(&h);
}

TEST(nats_line_tells_when_memory_is_short)
{
    nats_line l;
    nats_event e;
    str half = STR("MSG a 1 20\r\nhalf");
    nats_line_open(&l, 64);
    fault_now = (fault_plan){.what = FAULT_MEMORY, .times = 1};
    CHECK(nats_line_next(&l, &half, &e).code == ERR_MEMORY);
    fault_now = (fault_plan){.what = FAULT_NONE};
    nats_line_close(&l);
}

TEST(nats_subjects_match_by_tokens)
{
    static const struct {
        const char *pattern, *subject;
        bool is;
    } cases[] = {
        {"a.b", "a.b", true},      {"a.b", "a.c", false},   {"a.*", "a.b", true},
        {"a.*", "a.b.c", false},   {"a.>", "a.b.c", true},  {"a.>", "a", false},
        {">", "a.b", true},        {"*.b", "a.b", true},    {"a.*.c", "a.b.c", true},
        {"a.*.c", "a.b.d", false}, {"a.b", "a.b.c", false}, {"a.b.c", "a.b", false},
        {"ab", "a", false},        {"a", "ab", false},      {"*", "", false},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        CHECK(nats_subject_match(str_of(cases[i].pattern), str_of(cases[i].subject)) ==
              cases[i].is);
    CHECK(nats_subject_is(STR("a.b-c.$X"), false) && nats_subject_is(STR("a.*.>"), true));
    CHECK(!nats_subject_is(STR("a.*"), false) && !nats_subject_is(STR("a.>.b"), true));
    CHECK(!nats_subject_is(STR(""), true) && !nats_subject_is(STR(".a"), true));
    CHECK(!nats_subject_is(STR("a."), true) && !nats_subject_is(STR("a b"), true));
    CHECK(nats_subject_is(STR("a*b"), false)); // an asterisk within a token is none
}
