// For tests: a loop with a server whose paths show what handlers can do, and raw sockets.
#pragma once
#include "base/base.h"
#include "base/buf.h"
#include "http/server.h"

typedef struct fixture {
    loop *l;
    http_server *s;
    uint16_t port;
    unsigned requests, broken, finished, drained;
    unsigned last_status;
    uint64_t piece_count, piece_bytes;
    http_exchange *kept; // of /wait
    conn *taken;
} fixture;

// Routes: /pong, /echo (collect), /stream (stream and send back), /late (answers a turn later),
// /wait (kept), /big?N (N bytes at once), /flood?N (N bytes with back-pressure), /chunks, /length,
// /short, /ignore, /204, /304, /bad-headers, /err, /limit (collect at most 10 bytes), /take,
// /slow-read (pauses), /host.
err http_fixture_open(fixture *f, http_limits limits) MUST_USE;
void http_fixture_close(fixture *f);

int http_fixture_connect(fixture *f);
void http_fixture_write(fixture *f, int fd, str bytes); // all of them, turning the loop meanwhile
// Turns the loop and reads until `out` holds `until` (after `from`), the peer closes, or 3 s have
// passed.
bool http_fixture_read(fixture *f, int fd, buf *out, const char *until);
bool http_fixture_read_end(fixture *f, int fd, buf *out); // until the peer closes
bool http_fixture_read_len(fixture *f, int fd, buf *out, size_t len);
void http_fixture_turn(fixture *f, uint64_t ms); // turns for about that long
// One request on a connection of its own, until the peer closes.
void http_fixture_ask(fixture *f, const char *request, buf *out);
size_t http_text_count(str text, const char *part);
bool http_text_has(const buf *b, const char *part);
