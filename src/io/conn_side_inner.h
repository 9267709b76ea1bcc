// What the connections' tests share: a side that notes what it hears, and raw peers.
#pragma once
#include "base/buf.h"
#include "base/fault.h"
#include "base/test.h"
#include "io/conn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

struct side {
    loop *loop;
    conn *c; // NULL after close
    listener *listener;
    buf got;
    bool echo;
    bool close_on_read;
    bool pause_on_accept;
    bool abort_on_accept;
    bool connected, ended;
    err connect, end;
    unsigned accepts, reads, drains;
};

static inline void side_on_read(void *owner, conn *c, str bytes)
{
    struct side *s = owner;
    CHECK(s->c == c); // never after close
    s->reads++;
    buf_add(&s->got, bytes);
    if (s->echo) {
        str twice[] = {bytes, {NULL, 0}, STR("!")};
        (void)!conn_write(c, twice, COUNT(twice)).code;
    }
    if (s->close_on_read) {
        s->c = NULL;
        conn_close(c);
    }
}

static inline void side_on_end(void *owner, conn *c, err e)
{
    struct side *s = owner;
    CHECK(s->c == c && !s->ended);
    s->ended = true;
    s->end = e;
}

static inline void side_on_drain(void *owner, conn *c)
{
    struct side *s = owner;
    CHECK(s->c == c && !conn_write_full(c));
    s->drains++;
}

static const conn_events side_events = {
    .on_read = side_on_read,
    .on_end = side_on_end,
    .on_drain = side_on_drain,
};

static inline void side_on_accept(void *data, conn *c)
{
    struct side *s = data;
    s->accepts++;
    if (s->c != NULL || s->abort_on_accept) { // one at a time
        conn_abort(c);
        return;
    }
    s->c = c;
    conn_set_owner(c, s);
    CHECK(conn_owner(c) == s);
    if (s->pause_on_accept)
        conn_pause(c);
}

static inline void side_on_connect(void *owner, conn *c, err e)
{
    struct side *s = owner;
    CHECK(s->c == c && !s->connected);
    s->connected = true;
    s->connect = e;
    if (e.code != OK)
        s->c = NULL;
}

static inline void side_close(struct side *s)
{
    conn *c = s->c;
    s->c = NULL;
    conn_close(c);
    conn_close(c);
    listener_close(s->listener);
    s->listener = NULL;
    buf_close(&s->got);
}

static const conn_settings side_settings = {
    .events = &side_events,
    .queue_bytes_max = 16 * 1024 * 1024,
};

static inline void side_open(struct side *s, loop *l)
{
    *s = (struct side){.loop = l};
    buf_open(&s->got, 64 * 1024 * 1024);
}

static inline uint16_t side_listen(struct side *s, loop *l)
{
    int fd = -1;
    side_open(s, l);
    CHECK(socket_listen("127.0.0.1", 0, false, &fd).code == OK);
    uint16_t port = socket_port(fd);
    CHECK(port != 0);
    CHECK(listener_open(&s->listener, l, fd, &side_settings, side_on_accept, s).code == OK);
    return port;
}

#define UNTIL(l, condition)                           \
    for (unsigned turns = 0; !(condition); turns++) { \
        CHECK(turns < 400);                           \
        loop_turn(l, 20);                             \
    }

// A peer with plain blocking calls, so that what we see is what the kernel says.
static inline int raw_connect(uint16_t port)
{
    int f = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(connect(f, (struct sockaddr *)&to, sizeof(to)) == 0);
    return f;
}

static inline str piece(const char *at, size_t len)
{
    return (str){at, len};
}

static inline char *pattern(size_t len)
{
    char *at = malloc(len);
    if (at == NULL)
        abort();
    for (size_t i = 0; i < len; i++)
        at[i] = (char)(i * 7 + i / 251);
    return at;
}
