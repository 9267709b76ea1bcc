// The server and the raw client that the tests of this folder share.
#include "base/clock.h"
#include "base/str.h"
#include "base/test.h"
#include "http/fixture_inner.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void on_body(void *user, http_exchange *x, str body)
{
    (void)user;
    http_answer_text(x, 200, "text/plain", body);
}

static void on_stream(void *user, http_exchange *x, str piece, bool end)
{
    fixture *f = user;
    f->piece_count++;
    f->piece_bytes += piece.len;
    if (end)
        http_finish(x);
    else
        (void)!http_send(x, piece).code; // broken: we are not called again
}

// Of /slow-read: lives until its exchange has ended and its turn has come.
typedef struct slow {
    fixture *f;
    http_exchange *x; // NULL once it is gone
    bool turn_due;
} slow;

static void slow_end(slow *o)
{
    o->x = NULL;
    if (!o->turn_due)
        free(o);
}

static void on_slow_turn(void *data)
{
    slow *o = data;
    o->turn_due = false;
    if (o->x != NULL)
        http_read_pause(o->x, false);
    else
        free(o);
}

static void on_slow_broken(void *user, http_exchange *x)
{
    (void)x;
    slow_end(user);
}

static void on_slow(void *user, http_exchange *x, str piece, bool end)
{
    slow *o = user;
    o->f->piece_bytes += piece.len;
    o->f->piece_count++;
    if (end) {
        slow_end(o);
        http_answer_text(x, 200, "text/plain", STR("read slowly"));
    } else if (loop_defer(o->f->l, on_slow_turn, o).code == OK) {
        o->turn_due = true;
        http_read_pause(x, true);
    }
}

static void slow_start(fixture *f, http_exchange *x)
{
    slow *o = calloc(1, sizeof(*o));
    *o = (slow){f, x, false};
    http_set_user(x, o);
    http_on_broken(x, on_slow_broken);
    http_stream(x, UINT64_MAX, on_slow);
}

static void on_broken(void *user, http_exchange *x)
{
    fixture *f = user;
    f->broken++;
    if (f->kept == x)
        f->kept = NULL;
}

static void on_late(void *data)
{
    http_exchange *x = data; // without on_broken it is ours until we answer
    http_answer_text(x, 200, "text/plain", http_request_of(x)->path);
}

typedef struct flood {
    fixture *f;
    uint64_t left;
} flood;

static void on_flood(void *user, http_exchange *x)
{
    static const char block[16384] = "flood";
    flood *o = user;
    o->f->drained++;
    while (o->left > 0 && !http_send_full(x)) {
        size_t len = o->left < sizeof(block) ? (size_t)o->left : sizeof(block);
        if (http_send(x, (str){block, len}).code != OK) {
            http_break(x); // and `o` goes with it
            return;
        }
        o->left -= len;
    }
    if (o->left == 0)
        http_finish(x);
}

static void answer_piecewise(http_exchange *x, uint64_t length, bool all)
{
    http_header type = {STR("Content-Type"), STR("text/plain")};
    http_start(x, 200, &(http_headers){&type, 1}, length);
    err e = http_send(x, STR("one "));
    if (e.code == OK)
        e = http_send(x, STR(""));
    if (e.code == OK && all)
        e = http_send(x, STR("two"));
    http_finish(x); // after a failure it ends the connection
}

static void answer_bytes(http_exchange *x, uint64_t count)
{
    char *bytes = malloc(count + 1);
    memset(bytes, 'b', count);
    http_answer(x, 200, NULL, (str){bytes, count});
    free(bytes);
}

static void answer_bad_headers(http_exchange *x)
{
    http_header h[] = {{STR("X-Good"), STR("yes")},
                       {STR("X-Split"), STR("a\r\nSet-Cookie: evil=1")},
                       {STR("X Bad"), STR("b")},
                       {STR("Content-Length"), STR("999")},
                       {STR("Transfer-Encoding"), STR("chunked")},
                       {STR("Connection"), STR("close")}};
    http_answer(x, 200, &(http_headers){h, COUNT(h)}, STR("body"));
}

static void fixture_stream(fixture *f, http_exchange *x, str path)
{
    uint64_t count = 0;
    if (str_number(http_request_of(x)->query, &count).code != OK)
        count = 0;
    if (str_is(path, STR("/stream"))) {
        http_stream(x, UINT64_MAX, on_stream);
        http_start(x, 200, NULL, UINT64_MAX);
    } else if (str_is(path, STR("/slow-read"))) {
        slow_start(f, x);
    } else if (str_is(path, STR("/late"))) {
        if (loop_defer(f->l, on_late, x).code != OK)
            on_late(x);
    } else if (str_is(path, STR("/wait"))) {
        f->kept = x;
        http_on_broken(x, on_broken);
    } else if (str_is(path, STR("/big"))) {
        answer_bytes(x, count);
    } else if (str_is(path, STR("/flood"))) {
        flood *o = arena_take(http_arena(x), sizeof(*o));
        if (o == NULL) {
            http_answer_err(x, fail(ERR_MEMORY, 0, "flood"));
            return;
        }
        *o = (flood){f, count};
        http_set_user(x, o);
        http_on_drain(x, on_flood);
        http_start(x, 200, NULL, UINT64_MAX);
        on_flood(o, x);
    } else if (str_is(path, STR("/take"))) {
        f->taken = http_take_connection(x);
    } else {
        http_answer_err(x, fail(ERR_ABSENT, 0, "no such \"path\""));
    }
}

static void fixture_handle(void *data, http_exchange *x)
{
    fixture *f = data;
    str path = http_request_of(x)->path;
    f->requests++;
    http_set_user(x, f);
    if (str_is(path, STR("/pong")))
        http_answer_text(x, 200, "text/plain", STR("PONG"));
    else if (str_is(path, STR("/echo")))
        http_collect(x, 0, on_body);
    else if (str_is(path, STR("/limit")))
        http_collect(x, 10, on_body);
    else if (str_is(path, STR("/chunks")))
        answer_piecewise(x, UINT64_MAX, true);
    else if (str_is(path, STR("/length")))
        answer_piecewise(x, 7, true);
    else if (str_is(path, STR("/short")))
        answer_piecewise(x, 7, false);
    else if (str_is(path, STR("/ignore")))
        http_answer_text(x, 403, "text/plain", STR("no"));
    else if (str_is(path, STR("/204")))
        http_answer(x, 204, NULL, STR("dropped"));
    else if (str_is(path, STR("/304")))
        http_answer(x, 304, NULL, STR("dropped"));
    else if (str_is(path, STR("/host")))
        http_answer_text(x, 200, "text/plain", http_request_of(x)->host);
    else if (str_is(path, STR("/bad-headers")))
        answer_bad_headers(x);
    else
        fixture_stream(f, x, path);
}

static void
fixture_finished(void *data, http_exchange *x, unsigned status, uint64_t bytes, uint64_t us)
{
    fixture *f = data;
    (void)x;
    (void)bytes;
    (void)us;
    f->finished++;
    f->last_status = status;
}

err http_fixture_open(fixture *f, http_limits limits)
{
    int fd = -1;
    *f = (fixture){.l = NULL};
    TRY(loop_open(&f->l));
    http_server_settings settings = {.loop = f->l,
                                     .limits = limits,
                                     .handler = fixture_handle,
                                     .data = f,
                                     .server_name = "test",
                                     .on_finished = fixture_finished};
    err e = http_server_open(&f->s, &settings);
    if (e.code == OK)
        e = socket_listen("127.0.0.1", 0, false, &fd);
    if (e.code == OK) {
        f->port = socket_port(fd);
        e = http_server_listen(f->s, fd, NULL, f);
    }
    if (e.code != OK)
        http_fixture_close(f);
    return e;
}

void http_fixture_close(fixture *f)
{
    conn_close(f->taken);
    http_server_close(f->s);
    loop_close(f->l);
}

int http_fixture_connect(fixture *f)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(f->port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0 && connect(fd, (const struct sockaddr *)&to, sizeof(to)) == 0);
    CHECK(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
    return fd;
}

void http_fixture_write(fixture *f, int fd, str bytes)
{
    uint64_t until = clock_now_ms() + 10000;
    while (bytes.len > 0 && clock_now_ms() < until) {
        ssize_t sent = send(fd, bytes.at, bytes.len, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN)
            return; // the server has closed: what it said is still to be read
        bytes = str_from(bytes, sent > 0 ? (size_t)sent : 0);
        loop_turn(f->l, 0);
    }
}

// 1: more came, 0: the peer closed, -1: nothing now.
static int read_some(fixture *f, int fd, buf *out)
{
    char bytes[65536];
    loop_turn(f->l, 1);
    ssize_t got = recv(fd, bytes, sizeof(bytes), 0);
    if (got < 0)
        return errno == EAGAIN ? -1 : 0;
    buf_add(out, (str){bytes, (size_t)got});
    return got > 0;
}

bool http_fixture_read(fixture *f, int fd, buf *out, const char *until)
{
    uint64_t end = clock_now_ms() + 3000;
    while (!http_text_has(out, until) && clock_now_ms() < end)
        if (read_some(f, fd, out) == 0)
            break;
    return http_text_has(out, until);
}

bool http_fixture_read_len(fixture *f, int fd, buf *out, size_t len)
{
    uint64_t end = clock_now_ms() + 20000;
    while (out->len < len && clock_now_ms() < end)
        if (read_some(f, fd, out) == 0)
            break;
    return out->len >= len;
}

bool http_fixture_read_end(fixture *f, int fd, buf *out)
{
    uint64_t end = clock_now_ms() + 8000;
    int more = -1;
    while (more != 0 && clock_now_ms() < end)
        more = read_some(f, fd, out);
    close(fd);
    return more == 0;
}

void http_fixture_turn(fixture *f, uint64_t ms)
{
    uint64_t end = clock_now_ms() + ms;
    do
        loop_turn(f->l, 1);
    while (clock_now_ms() < end);
}

void http_fixture_ask(fixture *f, const char *request, buf *out)
{
    int fd = http_fixture_connect(f);
    buf_clear(out);
    http_fixture_write(f, fd, str_of(request));
    CHECK(http_fixture_read_end(f, fd, out));
}

size_t http_text_count(str text, const char *part)
{
    size_t count = 0;
    for (size_t at; (at = str_find(text, str_of(part))) < text.len; count++)
        text = str_from(text, at + strlen(part));
    return count;
}

bool http_text_has(const buf *b, const char *part)
{
    return b->len > 0 && str_find(buf_str(b), str_of(part)) < b->len;
}
