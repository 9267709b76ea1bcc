// Connections echo, press back, end cleanly, break visibly, and never call a closed owner.
#include "io/conn_side_inner.h"

static void check_echo(loop *l, struct side *server, struct side *client)
{
    server->echo = true;
    UNTIL(l, client->connected);
    CHECK(client->connect.code == OK);
    str hello[] = {STR("hel"), STR("lo")};
    CHECK(conn_write(client->c, hello, COUNT(hello)).code == OK);
    UNTIL(l, client->got.len == 6);
    CHECK(memcmp(client->got.at, "hello!", 6) == 0);
    CHECK(conn_write_queued(client->c) == 0 && !conn_write_full(client->c));
    CHECK(conn_peer(server->c) == NULL);
}

TEST(conn_echoes_over_tcp)
{
    loop *l = NULL;
    struct side server, client;
    CHECK(loop_open(&l).code == OK);
    uint16_t port = side_listen(&server, l);
    side_open(&client, l);
    CHECK(conn_connect(&client.c, l, "127.0.0.1", port, NULL, &side_settings, side_on_connect,
                       &client)
              .code == OK);
    CHECK(!client.connected);
    check_echo(l, &server, &client);
    CHECK(strncmp(conn_address(server.c), "127.0.0.1:", 10) == 0);
    CHECK(strtoul(strrchr(conn_address(client.c), ':') + 1, NULL, 10) == port);
    side_close(&client);
    UNTIL(l, server.ended);
    CHECK(server.end.code == OK);
    side_close(&server);
    loop_close(l);
}

TEST(conn_echoes_over_a_unix_socket_with_its_mode)
{
    loop *l = NULL;
    struct side server, client;
    char folder[] = "/tmp/conn_test_XXXXXX";
    char path[64];
    int fd = -1;
    struct stat st;
    CHECK(mkdtemp(folder) != NULL);
    (void)snprintf(path, sizeof(path), "%s/s", folder);
    CHECK(loop_open(&l).code == OK);
    side_open(&server, l);
    side_open(&client, l);
    CHECK(socket_listen_unix(path, 0600, &fd).code == OK);
    CHECK(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600);
    int other = -1;
    CHECK(socket_listen_unix(path, 0600, &other).code == ERR_CONFLICT);
    CHECK(listener_open(&server.listener, l, fd, &side_settings, side_on_accept, &server).code ==
          OK);
    CHECK(conn_connect_unix(&client.c, l, path, &side_settings, side_on_connect, &client).code ==
          OK);
    check_echo(l, &server, &client);
    CHECK(strcmp(conn_address(server.c), "unix") == 0);
    side_close(&client);
    side_close(&server);
    side_open(&client, l);
    CHECK(unlink(path) == 0);
    CHECK(conn_connect_unix(&client.c, l, path, &side_settings, side_on_connect, &client).code ==
          OK);
    UNTIL(l, client.connected);
    CHECK(client.connect.code == ERR_ABSENT);
    side_close(&client);
    loop_close(l);
    CHECK(rmdir(folder) == 0);
}

TEST(conn_write_within_on_read_goes_out_in_the_same_turn)
{
    loop *l = NULL;
    struct side server;
    char got[8] = "";
    CHECK(loop_open(&l).code == OK);
    uint16_t port = side_listen(&server, l);
    server.echo = true;
    int f = raw_connect(port);
    UNTIL(l, server.c != NULL);
    CHECK(write(f, "abc", 3) == 3);
    while (server.reads == 0)
        loop_turn(l, 100);
    CHECK(recv(f, got, sizeof(got), MSG_DONTWAIT) == 4);
    CHECK(memcmp(got, "abc!", 4) == 0);
    (void)close(f);
    side_close(&server);
    loop_close(l);
}

static void read_rest(loop *l, int f, buf *into, size_t len)
{
    char bytes[65536];
    for (unsigned idle = 0; into->len < len && idle < 1000;) {
        ssize_t n = recv(f, bytes, sizeof(bytes), MSG_DONTWAIT);
        if (n > 0)
            buf_add(into, piece(bytes, (size_t)n));
        else
            idle++;
        if (n == 0)
            break;
        loop_turn(l, n > 0 ? 0 : 5);
    }
}

TEST(conn_large_write_waits_for_a_slow_reader_within_its_limit)
{
    enum { LEN = 12 * 1024 * 1024 };
    loop *l = NULL;
    struct side server;
    buf got;
    char *sent = pattern(LEN);
    buf_open(&got, LEN + 1);
    CHECK(loop_open(&l).code == OK);
    uint16_t port = side_listen(&server, l);
    int f = raw_connect(port);
    UNTIL(l, server.c != NULL);
    str parts[] = {piece(sent, LEN / 2), piece(sent + LEN / 2, LEN / 4)};
    CHECK(conn_write(server.c, parts, COUNT(parts)).code == OK);
    CHECK(conn_write_full(server.c));
    size_t queued = conn_write_queued(server.c);
    CHECK(queued > 1024 * 1024 && queued < LEN);
    str rest = piece(sent + LEN / 4 * 3, LEN / 4);
    CHECK(conn_write(server.c, &rest, 1).code == OK);
    str much = piece(sent, LEN);
    CHECK(conn_write(server.c, &much, 1).code == ERR_LIMIT);
    loop_turn(l, 10);
    CHECK(server.drains == 0);
    read_rest(l, f, &got, LEN);
    CHECK(got.len == LEN && memcmp(got.at, sent, LEN) == 0);
    UNTIL(l, server.drains > 0);
    CHECK(server.drains == 1 && conn_write_queued(server.c) == 0);
    (void)close(f);
    side_close(&server);
    loop_close(l);
    buf_close(&got);
    free(sent);
}

TEST(conn_close_after_writes_delivers_all_and_ends_cleanly)
{
    enum { LEN = 4 * 1024 * 1024 };
    loop *l = NULL;
    struct side server;
    buf got;
    char *sent = pattern(LEN);
    char byte;
    buf_open(&got, LEN + 1);
    CHECK(loop_open(&l).code == OK);
    uint16_t port = side_listen(&server, l);
    int f = raw_connect(port);
    UNTIL(l, server.c != NULL);
    str all = piece(sent, LEN);
    CHECK(conn_write(server.c, &all, 1).code == OK);
    conn *c = server.c;
    server.c = NULL; // any callback fails the test from here on
    conn_close_after_writes(c);
    conn_close_after_writes(c);
    // Bytes that nobody reads any more must not turn the end into a reset.
    CHECK(send(f, "late", 4, MSG_NOSIGNAL) == 4);
    read_rest(l, f, &got, LEN);
    CHECK(got.len == LEN && memcmp(got.at, sent, LEN) == 0);
    for (unsigned i = 0; i < 5; i++)
        loop_turn(l, 5);
    CHECK(recv(f, &byte, 1, MSG_DONTWAIT) == 0);
    (void)close(f);
    side_close(&server);
    loop_turn(l, 10);
    loop_close(l);
    buf_close(&got);
    free(sent);
}

TEST(conn_close_after_writes_gives_up_on_who_reads_nothing)
{
    enum { LEN = 12 * 1024 * 1024 };
    loop *l = NULL;
    struct side server;
    char *sent = pattern(LEN);
    CHECK(loop_open(&l).code == OK);
    uint16_t port = side_listen(&server, l);
    int f = raw_connect(port);
    UNTIL(l, server.c != NULL);
    str all = piece(sent, LEN);
    CHECK(conn_write(server.c, &all, 1).code == OK);
    conn *c = server.c;
    server.c = NULL;
    conn_close_after_writes(c);
    uint64_t before_ms = loop_now_ms(l);
    while (loop_now_ms(l) - before_ms < 5200)
        loop_turn(l, 100);
    int error = 0;
    socklen_t error_len = sizeof(error);
    CHECK(getsockopt(f, SOL_SOCKET, SO_ERROR, &error, &error_len) == 0);
    CHECK(error == ECONNRESET);
    (void)close(f);
    side_close(&server);
    loop_close(l);
    free(sent);
}

TEST(conn_half_close_leaves_the_other_way_open)
{
    loop *l = NULL;
    struct side server;
    char got[8] = "";
    CHECK(loop_open(&l).code == OK);
    uint16_t port = side_listen(&server, l);
    int f = raw_connect(port);
    CHECK(write(f, "ask", 3) == 3 && shutdown(f, SHUT_WR) == 0);
    UNTIL(l, server.ended);
    CHECK(server.end.code == OK && server.got.len == 3);
    str answer = STR("answer");
    CHECK(conn_write(server.c, &answer, 1).code == OK);
    CHECK(recv(f, got, sizeof(got), 0) == 6);
    conn_close_after_writes(server.c);
    server.c = NULL;
    CHECK(recv(f, got, sizeof(got), 0) == 0);
    (void)close(f);
    side_close(&server);
    loop_close(l);
}

TEST(conn_abort_is_seen_as_a_reset)
{
    loop *l = NULL;
    struct side server;
    char got[8];
    CHECK(loop_open(&l).code == OK);
    uint16_t port = side_listen(&server, l);
    int f = raw_connect(port);
    UNTIL(l, server.c != NULL);
    str some = STR("half an answer");
    CHECK(conn_write(server.c, &some, 1).code == OK);
    conn_abort(server.c);
    server.c = NULL;
    ssize_t n = 0;
    while ((n = recv(f, got, sizeof(got), 0)) > 0)
        ;
    CHECK(n < 0 && errno == ECONNRESET);
    (void)close(f);
    side_close(&server);
    loop_close(l);
}

TEST(conn_peer_that_resets_is_an_error_and_further_writes_fail)
{
    loop *l = NULL;
    struct side server;
    struct linger at_once = {.l_onoff = 1};
    CHECK(loop_open(&l).code == OK);
    uint16_t port = side_listen(&server, l);
    int f = raw_connect(port);
    UNTIL(l, server.c != NULL);
    CHECK(setsockopt(f, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)) == 0);
    (void)close(f);
    UNTIL(l, server.ended);
    CHECK(server.end.code == ERR_CLOSED && server.end.sys == ECONNRESET);
    str some = STR("x");
    CHECK(conn_write(server.c, &some, 1).code == ERR_CLOSED);
    side_close(&server);
    loop_close(l);
}

TEST(conn_pause_holds_bytes_until_resume)
{
    loop *l = NULL;
    struct side server;
    CHECK(loop_open(&l).code == OK);
    uint16_t port = side_listen(&server, l);
    server.pause_on_accept = true;
    int f = raw_connect(port);
    CHECK(write(f, "abc", 3) == 3);
    UNTIL(l, server.c != NULL);
    for (unsigned i = 0; i < 5; i++)
        loop_turn(l, 5);
    CHECK(server.reads == 0);
    conn_resume(server.c);
    CHECK(server.reads == 0);
    UNTIL(l, server.reads == 1);
    conn_pause(server.c);
    (void)close(f);
    for (unsigned i = 0; i < 5; i++)
        loop_turn(l, 5);
    CHECK(!server.ended);
    conn_resume(server.c);
    UNTIL(l, server.ended);
    side_close(&server);
    loop_close(l);
}

TEST(conn_connect_says_refused_and_nothing_after_close)
{
    loop *l = NULL;
    struct side client;
    int fd = -1;
    CHECK(loop_open(&l).code == OK);
    CHECK(socket_listen("127.0.0.1", 0, false, &fd).code == OK);
    uint16_t port = socket_port(fd);
    int taken = -1;
    CHECK(socket_listen("127.0.0.1", port, false, &taken).code == ERR_CONFLICT);
    (void)close(fd);
    side_open(&client, l);
    CHECK(conn_connect(&client.c, l, "127.0.0.1", port, NULL, &side_settings, side_on_connect,
                       &client)
              .code == OK);
    CHECK(!client.connected);
    UNTIL(l, client.connected);
    CHECK(client.connect.code == ERR_CLOSED && client.connect.sys == ECONNREFUSED);
    CHECK(conn_connect(&client.c, l, "localhost", port, NULL, &side_settings, side_on_connect,
                       &client)
              .code == ERR_SYNTAX);
    client.connected = false;
    CHECK(conn_connect(&client.c, l, "127.0.0.1", port, NULL, &side_settings, side_on_connect,
                       &client)
              .code == OK);
    str early = STR("x");
    CHECK(conn_write(client.c, &early, 1).code == ERR_BUSY);
    side_close(&client);
    for (unsigned i = 0; i < 5; i++)
        loop_turn(l, 5);
    CHECK(!client.connected);
    loop_close(l);
}

TEST(conn_closed_while_it_reads_hears_nothing_more)
{
    loop *l = NULL;
    struct side server;
    char *much = pattern(1024 * 1024);
    CHECK(loop_open(&l).code == OK);
    uint16_t port = side_listen(&server, l);
    server.close_on_read = true;
    int f = raw_connect(port);
    CHECK(send(f, much, 1024 * 1024, MSG_DONTWAIT | MSG_NOSIGNAL) > 65536);
    UNTIL(l, server.reads > 0);
    for (unsigned i = 0; i < 5; i++)
        loop_turn(l, 5);
    CHECK(server.reads == 1 && !server.ended);
    (void)close(f);
    side_close(&server);
    loop_close(l);
    free(much);
}

TEST(conn_listeners_share_one_port)
{
    loop *l = NULL;
    struct side one, two;
    int fds[2] = {-1, -1};
    CHECK(loop_open(&l).code == OK);
    side_open(&one, l);
    side_open(&two, l);
    one.abort_on_accept = two.abort_on_accept = true;
    CHECK(socket_listen("127.0.0.1", 0, true, &fds[0]).code == OK);
    uint16_t port = socket_port(fds[0]);
    CHECK(socket_listen("127.0.0.1", port, true, &fds[1]).code == OK);
    CHECK(listener_open(&one.listener, l, fds[0], &side_settings, side_on_accept, &one).code == OK);
    CHECK(listener_open(&two.listener, l, fds[1], &side_settings, side_on_accept, &two).code == OK);
    for (unsigned i = 0; i < 64; i++)
        (void)close(raw_connect(port));
    UNTIL(l, one.accepts + two.accepts == 64);
    CHECK(one.accepts > 0 && two.accepts > 0);
    side_close(&one);
    side_close(&two);
    loop_close(l);
}

static const conn_events no_events = {.on_read = side_on_read, .on_end = side_on_end};

static void crowd_on_accept(void *data, conn *c)
{
    conn ***next = data;
    *(*next)++ = c;
    conn_set_owner(c, NULL);
}

TEST(conn_many_are_closed_at_once)
{
    enum { MANY = 400 };
    loop *l = NULL;
    conn *accepted[MANY];
    conn **next = accepted;
    int fds[MANY], fd = -1;
    listener *door = NULL;
    const conn_settings settings = {.events = &no_events};
    CHECK(loop_open(&l).code == OK);
    CHECK(socket_listen("127.0.0.1", 0, false, &fd).code == OK);
    uint16_t port = socket_port(fd);
    CHECK(listener_open(&door, l, fd, &settings, crowd_on_accept, &next).code == OK);
    for (unsigned round = 0; round < 2; round++) {
        next = accepted;
        for (unsigned i = 0; i < MANY; i++)
            fds[i] = raw_connect(port);
        UNTIL(l, next == accepted + MANY);
        for (unsigned i = 0; i < MANY; i++)
            i % 3 == 0 ? conn_abort(accepted[i]) : conn_close(accepted[i]);
        for (unsigned i = 0; i < MANY; i++)
            (void)close(fds[i]);
        loop_turn(l, 0);
    }
    listener_close(door);
    loop_close(l);
}

TEST(conn_that_breaks_with_bytes_queued_says_so_once)
{
    enum { LEN = 12 * 1024 * 1024 };
    loop *l = NULL;
    struct side server;
    struct linger at_once = {.l_onoff = 1};
    char *sent = pattern(LEN);
    CHECK(loop_open(&l).code == OK);
    uint16_t port = side_listen(&server, l);
    server.pause_on_accept = true; // so that only writing can notice
    int f = raw_connect(port);
    UNTIL(l, server.c != NULL);
    str all = piece(sent, LEN);
    CHECK(conn_write(server.c, &all, 1).code == OK);
    CHECK(setsockopt(f, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)) == 0);
    (void)close(f);
    UNTIL(l, server.ended);
    CHECK(server.end.code == ERR_CLOSED && server.drains == 0);
    CHECK(conn_write(server.c, &all, 1).code == ERR_CLOSED);
    conn_resume(server.c); // the read side has its own error and keeps it to itself
    for (unsigned i = 0; i < 3; i++)
        loop_turn(l, 5);
    side_close(&server);
    loop_close(l);
    free(sent);
}

TEST(conn_paused_listener_leaves_connections_in_the_backlog)
{
    loop *l = NULL;
    struct side server;
    CHECK(loop_open(&l).code == OK);
    uint16_t port = side_listen(&server, l);
    server.abort_on_accept = true;
    listener_pause(server.listener, true);
    int fds[3];
    for (size_t i = 0; i < COUNT(fds); i++)
        fds[i] = raw_connect(port);
    for (unsigned i = 0; i < 5; i++)
        loop_turn(l, 5);
    CHECK(server.accepts == 0);
    listener_pause(server.listener, false);
    CHECK(server.accepts == 0);
    UNTIL(l, server.accepts == 3);
    for (size_t i = 0; i < COUNT(fds); i++)
        (void)close(fds[i]);
    side_close(&server);
    loop_close(l);
}

TEST(conn_close_when_written_delivers_all_without_waiting_for_the_peer)
{
    enum { LEN = 4 * 1024 * 1024 };
    loop *l = NULL;
    struct side server;
    char *sent = pattern(LEN);
    CHECK(loop_open(&l).code == OK);
    uint16_t port = side_listen(&server, l);
    const size_t lens[] = {5, LEN};
    for (size_t i = 0; i < COUNT(lens); i++) {
        buf got;
        char byte;
        buf_open(&got, LEN + 1);
        int f = raw_connect(port);
        UNTIL(l, server.c != NULL);
        str all = piece(sent, lens[i]);
        CHECK(conn_write(server.c, &all, 1).code == OK);
        conn_close_when_written(server.c);
        server.c = NULL;
        read_rest(l, f, &got, lens[i]);
        CHECK(got.len == lens[i] && memcmp(got.at, sent, lens[i]) == 0);
        for (unsigned t = 0; t < 3; t++)
            loop_turn(l, 5);
        CHECK(recv(f, &byte, 1, MSG_DONTWAIT) == 0);
        CHECK(send(f, "x", 1, MSG_NOSIGNAL) == 1); // it is closed already: this is answered
        CHECK(recv(f, &byte, 1, 0) <= 0);
        CHECK(send(f, "x", 1, MSG_NOSIGNAL) < 0);
        (void)close(f);
        buf_close(&got);
    }
    side_close(&server);
    loop_close(l);
    free(sent);
}
