// Queries are read strictly, answers fit their limit and compress names against the question.
#include "base/str.h"
#include "base/test.h"
#include "dns/packet.h"
#include "dns/rate.h"

#include <string.h>

#define BYTES(literal) ((str){literal, sizeof(literal) - 1})
#define HEAD_QUERY     "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
#define HEAD_EDNS      "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01"
#define NAME           "\x02Ns\x04test\x00"
#define ASK_A          "\x00\x01\x00\x01"
#define OPT(version)   "\x00\x00\x29\x10\x00\x00" version "\x80\x00\x00\x00"

static const dns_soa test_soa = {
    .zone = {"test", 4},
    .server = {"ns.test", 7},
    .mailbox = {"me.test", 7},
    .serial = 7,
    .refresh_s = 1,
    .retry_s = 2,
    .expire_s = 3,
    .ttl_s = 5,
};

TEST(dns_query_is_read_with_its_case_and_its_limits)
{
    dns_query q;
    CHECK(dns_query_read(BYTES(HEAD_QUERY NAME ASK_A), &q));
    CHECK(q.rcode == DNS_NOERROR && q.id == 0x1234 && q.recursion_desired && q.has_question);
    CHECK(str_is(dns_question_text(&q.question), STR("ns.test")));
    CHECK(memcmp(q.question.name, NAME, q.question.name_bytes) == 0 && q.question.name_bytes == 9);
    CHECK(q.question.type == DNS_A && q.question.class == DNS_CLASS_IN);
    CHECK(!q.edns && q.datagram_bytes_max == 512);
    CHECK(dns_query_read(BYTES(HEAD_EDNS NAME ASK_A OPT("\x00")), &q));
    CHECK(q.rcode == DNS_NOERROR && q.edns && q.datagram_bytes_max == 4096 && q.dnssec_ok);
    CHECK(dns_query_read(BYTES(HEAD_EDNS NAME ASK_A OPT("\x01")), &q));
    CHECK(q.rcode == DNS_BADVERS && q.has_question);
    CHECK(dns_query_read(BYTES(HEAD_QUERY "\x05"
                                          "a.b\\\xff\x00" ASK_A),
                         &q));
    CHECK(str_is(dns_question_text(&q.question), STR("a\\046b\\092\\255")));
    CHECK(dns_query_read(BYTES(HEAD_QUERY "\x00" ASK_A), &q) && q.rcode == DNS_NOERROR);
    CHECK(q.question.text_bytes == 0 && q.question.name_bytes == 1);
}

TEST(dns_query_malformed_is_refused_or_ignored)
{
    static const struct {
        str bytes;
        dns_rcode rcode;
        bool question;
    } rows[] = {
        {BYTES("\x12\x34\x01\x00\x00\x02\x00\x00\x00\x00\x00\x00" NAME ASK_A NAME ASK_A),
         DNS_FORMERR, false},
        {BYTES("\x12\x34\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00"), DNS_FORMERR, false},
        {BYTES("\x12\x34\x01\x00\x00\x01\x00\x01\x00\x00\x00\x00" NAME ASK_A), DNS_FORMERR, true},
        {BYTES("\x12\x34\x28\x00\x00\x01\x00\x00\x00\x00\x00\x00" NAME ASK_A), DNS_NOTIMP, false},
        {BYTES(HEAD_QUERY NAME ASK_A "x"), DNS_FORMERR, true},       // trails
        {BYTES(HEAD_QUERY NAME "\x00\x01\x00"), DNS_FORMERR, false}, // cut
        {BYTES(HEAD_QUERY "\x02Ns\x04test"), DNS_FORMERR, false},    // no root
        {BYTES(HEAD_QUERY "\x40"
                          "aa\x00" ASK_A),
         DNS_FORMERR, false},                                     // reserved bits
        {BYTES(HEAD_QUERY "\xc0\x0c" ASK_A), DNS_FORMERR, false}, // points at itself
        {BYTES(HEAD_QUERY "\x01"
                          "a\xc0\x0c" ASK_A),
         DNS_FORMERR, false},                                     // a loop
        {BYTES(HEAD_QUERY "\xc0\x04" ASK_A), DNS_FORMERR, false}, // into the header
        {BYTES(HEAD_QUERY "\xc0"), DNS_FORMERR, false},
        {BYTES(HEAD_EDNS NAME ASK_A), DNS_FORMERR, true}, // no record there
        {BYTES(HEAD_EDNS NAME ASK_A "\xc0\x0c\x00\x29\x10\x00\x00\x00\x00\x00\x00\x00"),
         DNS_FORMERR, true},
        {BYTES(HEAD_EDNS NAME ASK_A "\x00\x00\x29\x10\x00\x00\x00\x00\x00\x00\x04\x00\x0a\x00\x01"),
         DNS_FORMERR, true},
        {BYTES("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x02" NAME ASK_A OPT("\x00")
                   OPT("\x00")),
         DNS_FORMERR, true},
    };
    dns_query q;
    for (size_t i = 0; i < COUNT(rows); i++) {
        CHECK(dns_query_read(rows[i].bytes, &q));
        assert_int_equal(q.rcode, rows[i].rcode);
        CHECK(q.has_question == rows[i].question);
    }
    CHECK(
        !dns_query_read(BYTES("\x12\x34\x81\x00\x00\x01\x00\x00\x00\x00\x00\x00" NAME ASK_A), &q));
    CHECK(!dns_query_read(BYTES("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00"), &q));
    CHECK(!dns_query_read(STR(""), &q));
}

TEST(dns_name_of_255_bytes_is_the_longest)
{
    char bytes[400] = HEAD_QUERY;
    dns_query q;
    size_t at = 12;
    for (int i = 0; i < 3; i++, at += 64) {
        bytes[at] = 63;
        memset(bytes + at + 1, '\001', 63);
    }
    bytes[at] = 61; // 3 * 64 + 62 + 1 = 255
    memset(bytes + at + 1, 'z', 61);
    memcpy(bytes + at + 62, "\0\0\001\0\001", 5);
    CHECK(dns_query_read((str){bytes, at + 67}, &q) && q.rcode == DNS_NOERROR);
    CHECK(q.question.name_bytes == 255 && q.question.text_bytes == 3 * (63 * 4 + 1) + 61);
    // What was read can be written again: escapes lead back to the same bytes.
    unsigned char room[DNS_DATAGRAM_BYTES_MAX];
    dns_answer a;
    dns_answer_open(&a, &q, room, sizeof(room));
    dns_answer_zone(&a, &test_soa, true);
    dns_put_name(&a, STR(""), 5, DNS_CNAME, dns_question_text(&q.question));
    str got = dns_answer_close(&a, false);
    CHECK(got.len == at + 67 + 12 + 2);
    CHECK(memcmp(got.at + got.len - 4, "\0\002\xc0\x0c", 4) == 0);
    bytes[at] = 62;
    bytes[at + 62] = 'z';
    memcpy(bytes + at + 63, "\0\0\001\0\001", 5);
    CHECK(dns_query_read((str){bytes, at + 68}, &q) && q.rcode == DNS_FORMERR);
}

static str answer_to(dns_answer *a, dns_query *q, str bytes, unsigned char *room)
{
    CHECK(dns_query_read(bytes, q));
    dns_answer_open(a, q, room, 512);
    return (str){NULL, 0};
}

TEST(dns_answer_compresses_names_and_counts_sections)
{
    unsigned char room[512];
    dns_query q;
    dns_answer a;
    (void)answer_to(&a, &q, BYTES(HEAD_QUERY NAME ASK_A), room);
    dns_answer_zone(&a, &test_soa, true);
    dns_put_address(&a, STR(""), 5, (const unsigned char *)"\x7f\x00\x00\x01", 4);
    dns_answer_section(&a, DNS_AUTHORITY);
    dns_put_name(&a, STR("TEST"), 5, DNS_NS, STR("b.Ns.test"));
    dns_answer_section(&a, DNS_ADDITIONAL);
    dns_put_text(&a, STR("other"), 5, STR("hi"));
    str want = BYTES("\x12\x34\x85\x00\x00\x01\x00\x01\x00\x01\x00\x01" NAME ASK_A
                     "\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x05\x00\x04\x7f\x00\x00\x01"
                     "\xc0\x0f\x00\x02\x00\x01\x00\x00\x00\x05\x00\x04\x01"
                     "b\xc0\x0c"
                     "\x05other\x00\x00\x10\x00\x01\x00\x00\x00\x05\x00\x03\x02hi");
    CHECK(str_is(dns_answer_close(&a, false), want));
}

TEST(dns_answer_without_records_carries_the_soa)
{
    unsigned char room[512];
    dns_query q;
    dns_answer a;
    (void)answer_to(&a, &q, BYTES(HEAD_QUERY NAME ASK_A), room);
    str got = dns_answer_close(&a, false);
    CHECK(got.len == 25 && (got.at[3] & 15) == DNS_REFUSED && (got.at[2] & 4) == 0);
    for (int exists = 0; exists < 2; exists++) {
        (void)answer_to(&a, &q, BYTES(HEAD_EDNS NAME ASK_A OPT("\x00")), room);
        dns_answer_zone(&a, &test_soa, exists);
        got = dns_answer_close(&a, false);
        CHECK((got.at[3] & 15) == (exists ? DNS_NOERROR : DNS_NXDOMAIN) && (got.at[2] & 4) != 0);
        CHECK(got.at[7] == 0 && got.at[9] == 1 && got.at[11] == 1);
        CHECK(str_ends(got, BYTES("\x00\x00\x29\x04\xd0\x00\x00\x80\x00\x00\x00")));
        CHECK(str_find(got, BYTES("\xc0\x0f\x00\x06\x00\x01\x00\x00\x00\x05\x00")) < got.len);
    }
    (void)answer_to(&a, &q, BYTES(HEAD_EDNS NAME ASK_A OPT("\x05")), room);
    got = dns_answer_close(&a, false);
    CHECK((got.at[3] & 15) == 0 && str_ends(got, BYTES("\x29\x04\xd0\x01\x00\x80\x00\x00\x00")));
}

TEST(dns_answer_that_does_not_fit_is_truncated_or_fails)
{
    unsigned char room[512];
    dns_query q;
    dns_answer a;
    for (int stream = 0; stream < 2; stream++) {
        (void)answer_to(&a, &q, BYTES(HEAD_EDNS NAME ASK_A OPT("\x00")), room);
        dns_answer_zone(&a, &test_soa, true);
        for (int i = 0; i < 100; i++)
            dns_put_address(&a, STR(""), 5, (const unsigned char *)"\x7f\x00\x00\x01", 4);
        str got = dns_answer_close(&a, stream);
        CHECK(got.len == 25 + 11 && got.at[7] == 0 && got.at[9] == 0 && got.at[11] == 1);
        CHECK((got.at[2] & 2) == (stream ? 0 : 2));
        CHECK((got.at[3] & 15) == (stream ? DNS_SERVFAIL : DNS_NOERROR));
    }
    // What is only a favour is left out without a word.
    char text[500];
    memset(text, 't', sizeof(text));
    (void)answer_to(&a, &q, BYTES(HEAD_QUERY NAME ASK_A), room);
    dns_answer_zone(&a, &test_soa, true);
    dns_put_text(&a, STR(""), 5, STR("kept"));
    dns_answer_section(&a, DNS_ADDITIONAL);
    dns_put_text(&a, STR(""), 5, (str){text, sizeof(text)});
    str got = dns_answer_close(&a, false);
    CHECK((got.at[2] & 2) == 0 && got.at[7] == 1 && got.at[11] == 0);
    // A name that is none fails the whole answer.
    (void)answer_to(&a, &q, BYTES(HEAD_QUERY NAME ASK_A), room);
    dns_answer_zone(&a, &test_soa, true);
    dns_put_name(&a, STR(""), 5, DNS_CNAME, STR("a..b"));
    got = dns_answer_close(&a, false);
    CHECK((got.at[3] & 15) == DNS_SERVFAIL && got.len == 25);
}

TEST(dns_rate_gives_a_second_of_answers_then_every_other_one_slips)
{
    dns_rate *r;
    unsigned pass = 0, slip = 0, drop = 0;
    CHECK(dns_rate_open(&r, 100).code == OK);
    for (int i = 0; i < 200; i++) {
        dns_rate_verdict v = dns_rate_step(r, STR("\x0a\x00\x00\x01"), 5000);
        pass += v == DNS_RATE_PASS;
        slip += v == DNS_RATE_SLIP;
        drop += v == DNS_RATE_DROP;
    }
    CHECK(pass == 100 && slip == 50 && drop == 50);
    CHECK(dns_rate_step(r, STR("\x0a\x00\x00\x01"), 5009) != DNS_RATE_PASS); // 0.9 of an answer
    CHECK(dns_rate_step(r, STR("\x0a\x00\x00\x01"), 5010) == DNS_RATE_PASS);
    CHECK(dns_rate_step(r, STR("\x0a\x00\x00\x01"), 5010) != DNS_RATE_PASS);
    pass = 0;
    for (int i = 0; i < 200; i++)
        pass += dns_rate_step(r, STR("\x0a\x00\x00\x01"), 99999) == DNS_RATE_PASS;
    CHECK(pass == 100);
    dns_rate_close(r);
}
