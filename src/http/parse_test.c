// What the parser of heads accepts, and the smuggling cases that it refuses.
#include "base/str.h"
#include "base/test.h"
#include "http/chunked.h"
#include "http/parse.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Parses a copy that ends exactly behind the head, so that the sanitizer sees a read past it.
static http_refusal parse(const char *text, http_head *head, http_header room[100])
{
    http_head_room limits = {room, 100, 100, 8192};
    http_scan scan = {.seen = 0};
    size_t length = 0;
    str bytes = str_of(text);
    if (http_scan_head(&scan, bytes, &length) != HTTP_SCAN_WHOLE)
        return (http_refusal){400, "not whole"};
    str whole = {bytes.at + scan.start, length - scan.start};
    char *exact = malloc(whole.len);
    memcpy(exact, whole.at, whole.len);
    http_head first;
    http_refusal r = http_parse_request((str){exact, whole.len}, &limits, &first);
    free(exact);
    http_refusal again = http_parse_request(whole, &limits, head);
    CHECK(again.status == r.status);
    return again;
}

TEST(http_parse_reads_a_browsers_request)
{
    http_head h;
    http_header room[100];
    http_refusal r = parse("GET /a/b?x=1&y=%20 HTTP/1.1\r\nHost: Example.COM.:8080\r\n"
                           "Accept:  text/html, */*;q=0.8 \t\r\nX-Empty:\r\nX-Tab: a\tb\r\n"
                           "Cookie: a=b; c=d\r\n\r\n",
                           &h, room);
    CHECK(r.status == 0);
    CHECK(str_is(h.request.method, STR("GET")) && str_is(h.request.path, STR("/a/b")));
    CHECK(str_is(h.request.query, STR("x=1&y=%20")));
    CHECK(str_is(h.request.host, STR("example.com")));
    CHECK(str_is(h.request.host_port, STR("Example.COM.:8080")));
    CHECK(h.request.headers.count == 5 && h.keep_alive && !h.request.has_body);
    CHECK(str_is(http_header_find(&h.request.headers, STR("accept")), STR("text/html, */*;q=0.8")));
    str empty = http_header_find(&h.request.headers, STR("x-empty"));
    CHECK(empty.at != NULL && empty.len == 0);
    CHECK(http_header_find(&h.request.headers, STR("absent")).at == NULL);
}

TEST(http_parse_knows_the_target_forms)
{
    http_head h;
    http_header room[100];
    CHECK(parse("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", &h, room).status == 0);
    CHECK(str_is(h.request.path, STR("*")));
    CHECK(parse("GET http://Other.example:81/p?q HTTP/1.1\r\nHost: a\r\n\r\n", &h, room).status ==
          0);
    CHECK(str_is(h.request.host, STR("other.example")) && str_is(h.request.path, STR("/p")));
    CHECK(str_is(h.request.query, STR("q")));
    CHECK(parse("GET http://a?q HTTP/1.1\r\nHost: a\r\n\r\n", &h, room).status == 0);
    CHECK(str_is(h.request.path, STR("/")) && str_is(h.request.query, STR("q")));
    CHECK(parse("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", &h, room).status == 0);
    CHECK(str_is(h.request.host, STR("[::1]")));
    CHECK(parse("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", &h, room).status == 0);
    CHECK(parse("GET / HTTP/1.0\r\n\r\n", &h, room).status == 0);
    CHECK(h.request.minor_zero && !h.keep_alive && h.request.host.len == 0);
    CHECK(parse("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", &h, room).status == 0);
    CHECK(h.keep_alive);
}

TEST(http_parse_reads_framing_and_expectations)
{
    http_head h;
    http_header room[100];
    CHECK(parse("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\nExpect: 100-Continue\r\n"
                "Connection: foo, close\r\n\r\n",
                &h, room)
              .status == 0);
    CHECK(h.request.has_body && h.request.content_length == 12 && h.expects_continue &&
          !h.keep_alive);
    CHECK(parse("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n", &h, room)
              .status == 0);
    CHECK(h.chunked && h.request.has_body && h.request.content_length == UINT64_MAX);
    CHECK(parse("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", &h, room).status == 0);
    CHECK(!h.request.has_body);
}

static const struct {
    unsigned status;
    const char *text;
} smuggled[] = {
    {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3 4\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551615\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 3\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length\t: 3\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\n Content-Length: 3\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nX: y\r\n folded\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nX: y\r\n\tfolded\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\n Host: a\r\n\r\n"},
    {501, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"},
    {501, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n"},
    {501, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n"},
    {501, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n"},
    {501, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n"},
    {501, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n"},
    {501, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked,\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: "
          "chunked\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: "
          "gzip\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\x0b: chunked\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0b"
          "chunked\r\n\r\n"},
    {400, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n"},
    {400, "GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost:\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: user@a\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a,b\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: [::1]a\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: .\r\n\r\n"},
    {400, "GET http://user@b/ HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET http://b/ HTTP/1.1\r\n\r\n"},
    {400, "GET http://b/ HTTP/1.1\r\nHost: a b\r\n\r\n"},
    {400, "GET ftp://b/ HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET b HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET * HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "OPTIONS *x HTTP/1.1\r\nHost: a\r\n\r\n"},
    {501, "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET /  HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET / HTTP/1.1 \r\nHost: a\r\n\r\n"},
    {400, "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, " GET / HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET /#f HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET /\x80 HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "get / HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "G@T / HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET /\r\nHost: a\r\n\r\n"},
    {400, "GET / http/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET / HTTP/1.10\r\nHost: a\r\n\r\n"},
    {505, "GET / HTTP/1.2\r\nHost: a\r\n\r\n"},
    {505, "GET / HTTP/2.0\r\nHost: a\r\n\r\n"},
    {505, "PRI / HTTP/2.0\r\n\r\n"},
    {417, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: magic\r\n\r\n"},
    {400, "GET / HTTP/1.1\nHost: a\n\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n"},
    {400, "GET / HTTP/1.1\rHost: a\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\r\nX: y\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\nX: a\x01"
          "b\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\nX: a\x7f"
          "b\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\nX y: a\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\n: a\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\nX\xc3\xa4: a\r\n\r\n"},
    {400, "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"},
};

TEST(http_parse_refuses_what_could_be_smuggled)
{
    for (size_t i = 0; i < COUNT(smuggled); i++) {
        http_head h;
        http_header room[100];
        http_refusal r = parse(smuggled[i].text, &h, room);
        if (r.status != smuggled[i].status)
            printf("case %zu: %u %s for %s\n", i, r.status, r.what, smuggled[i].text);
        CHECK(r.status == smuggled[i].status);
    }
}

TEST(http_parse_refuses_a_nul_in_a_value)
{
    static const char text[] = "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n";
    http_head h;
    http_header room[8];
    http_head_room limits = {room, 8, 8, 100};
    CHECK(http_parse_request((str){text, sizeof(text) - 1}, &limits, &h).status == 400);
}

TEST(http_parse_counts_headers_and_target_bytes)
{
    http_head h;
    http_header room[2];
    http_head_room limits = {room, 2, 2, 4};
    str two = STR("GET /abc HTTP/1.1\r\nHost: a\r\nB: c\r\n\r\n");
    str three = STR("GET / HTTP/1.1\r\nHost: a\r\nB: c\r\nC: d\r\n\r\n");
    str lengthy = STR("GET /abcd HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK(http_parse_request(two, &limits, &h).status == 0);
    CHECK(http_parse_request(three, &limits, &h).status == 431);
    CHECK(http_parse_request(lengthy, &limits, &h).status == 414);
}

TEST(http_parse_reads_answers_as_strictly)
{
    static const struct {
        unsigned refused;
        const char *text;
    } cases[] = {
        {0, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"},
        {0, "HTTP/1.1 200 \r\n\r\n"},
        {0, "HTTP/1.1 204\r\n\r\n"},
        {0, "HTTP/1.0 404 Not Found\r\n\r\n"},
        {400, "HTTP/1.1 20 OK\r\n\r\n"},
        {400, "HTTP/1.1 2000 OK\r\n\r\n"},
        {400, "HTTP/1.1  200 OK\r\n\r\n"},
        {505, "HTTP/2.0 200 OK\r\n\r\n"},
        {400, "ICY 200 OK\r\nabcdef\r\n\r\n"},
        {400, "HTTP/1.1 200 O\x01K\r\n\r\n"},
        {400, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n"},
        {400, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"},
        {501, "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"},
        {400, "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        http_head h;
        http_header room[8];
        http_head_room limits = {room, 8, 8, 0};
        CHECK(http_parse_answer(str_of(cases[i].text), &limits, &h).status == cases[i].refused);
    }
}

// Feeds a body cut after each `step` bytes and compares with what it should be.
static http_chunk_result chunks_read(str text, size_t step, buf *out, size_t *left)
{
    http_chunked d = {.state = 0};
    str piece = {NULL, 0};
    buf_clear(out);
    while (text.len > 0) {
        str some = str_first(text, step);
        size_t before = some.len;
        http_chunk_result r;
        while ((r = http_chunked_step(&d, &some, &piece)) == HTTP_CHUNK_PIECE)
            buf_add(out, piece);
        text = str_from(text, before - some.len);
        *left = text.len;
        if (r != HTTP_CHUNK_MORE)
            return r;
    }
    return HTTP_CHUNK_MORE;
}

TEST(http_chunked_reads_the_same_for_every_split)
{
    str text = STR(
        "5\r\nhello\r\n00001;name=\"v\"\r\n \r\nA\r\n0123456789\r\n0\r\nX-Trailer: v\r\n\r\nNEXT");
    buf out;
    buf_open(&out, 1000);
    for (size_t step = 1; step <= text.len; step++) {
        size_t left = 0;
        CHECK(chunks_read(text, step, &out, &left) == HTTP_CHUNK_END);
        CHECK(str_is(buf_str(&out), STR("hello 0123456789")) && left == 4);
    }
    buf_close(&out);
}

TEST(http_chunked_refuses_loose_grammar)
{
    static const char *const bad[] = {
        "\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n",
        "0x5\r\nhello\r\n",
        "+5\r\nhello\r\n",
        "5\nhello\r\n",
        "5\r\nhello\n",
        "5\r\nhelloX\r\n",
        "5\r\nhello\r\n\r\n",
        "5\rhello",
        "5;a\x01\r\nhello\r\n",
        "5;a\nhello",
        "0\r\n\n",
        "0\r\nX y: z\r\n\r\n",
        "0\r\n folded\r\n\r\n",
        "0\r\nX: y\n\r\n",
        "0\r\nX\r\n\r\n",
        "1000000000000000\r\n",
        "g\r\n",
        "-1\r\n",
        "0\r\n: x\r\n\r\n",
        "0\r\n\r\r",
    };
    buf out;
    buf_open(&out, 1000);
    for (size_t i = 0; i < COUNT(bad); i++) {
        size_t left = 0;
        for (size_t step = 1; step <= strlen(bad[i]); step++)
            CHECK(chunks_read(str_of(bad[i]), step, &out, &left) == HTTP_CHUNK_BAD);
    }
    buf_close(&out);
}

TEST(http_chunked_bounds_extensions_and_trailers)
{
    buf text, out;
    buf_open(&text, 100000);
    buf_open(&out, 1000);
    size_t left = 0;
    buf_add(&text, STR("1;"));
    for (size_t i = 0; i < 300; i++)
        buf_add_byte(&text, 'e');
    CHECK(chunks_read(buf_str(&text), 4096, &out, &left) == HTTP_CHUNK_BAD);
    buf_clear(&text);
    for (size_t i = 0; i < 200; i++)
        buf_add(&text, STR("1;123456789012345678901234567890123456789012345678901234567890"
                           "123456789012345678901234567890\r\nx\r\n"));
    CHECK(chunks_read(buf_str(&text), 4096, &out, &left) == HTTP_CHUNK_BAD);
    buf_clear(&text);
    buf_add(&text, STR("0\r\n"));
    for (size_t i = 0; i < 1000; i++)
        buf_add(&text, STR("Trailer: 1234567890\r\n"));
    CHECK(chunks_read(buf_str(&text), 4096, &out, &left) == HTTP_CHUNK_BAD);
    buf_close(&text);
    buf_close(&out);
}
