// Connections whose allocations and writes fail: they may break, but not leak, hang or lie.
#include "io/conn_side_inner.h"

// A whole conversation with a queue, of which the k-th allocation fails: it may break, but not
// leak, hang or answer wrongly.
static void fault_round(void)
{
    enum { LEN = 6 * 1024 * 1024 };
    loop *l = NULL;
    struct side server = {0}, client = {0};
    char *sent = pattern(LEN);
    int fd = -1;
    if (loop_open(&l).code != OK) {
        free(sent);
        return;
    }
    side_open(&server, l);
    side_open(&client, l);
    CHECK(socket_listen("127.0.0.1", 0, false, &fd).code == OK);
    uint16_t port = socket_port(fd);
    if (listener_open(&server.listener, l, fd, &side_settings, side_on_accept, &server).code ==
            OK &&
        conn_connect(&client.c, l, "127.0.0.1", port, NULL, &side_settings, side_on_connect,
                     &client)
                .code == OK) {
        UNTIL(l, server.c != NULL && client.connected);
        str all = piece(sent, LEN);
        err e = conn_write(server.c, &all, 1);
        if (e.code == OK) {
            for (unsigned i = 0; i < 400 && client.got.len < LEN && client.got.error.code == OK;
                 i++)
                loop_turn(l, 5);
            CHECK(client.got.error.code != OK ||
                  (client.got.len == LEN && memcmp(client.got.at, sent, LEN) == 0));
        } else {
            CHECK(e.code == ERR_MEMORY);
            CHECK(conn_write(server.c, &all, 1).code == ERR_CLOSED);
        }
    }
    side_close(&server);
    side_close(&client);
    loop_close(l);
    free(sent);
}

TEST(conn_survives_every_failed_allocation)
{
    uint64_t k = 0;
    for (;; k++) {
        fault_now = (fault_plan){.what = FAULT_MEMORY, .after = k, .times = 1};
        fault_round();
        if (fault_now.seen <= k)
            break;
    }
    fault_now = (fault_plan){0};
    CHECK(k >= 5);
}

TEST(conn_write_that_fails_breaks_only_that_connection)
{
    loop *l = NULL;
    struct side server;
    CHECK(loop_open(&l).code == OK);
    uint16_t port = side_listen(&server, l);
    int f = raw_connect(port);
    UNTIL(l, server.c != NULL);
    str some = STR("x");
    fault_now = (fault_plan){.what = FAULT_WRITE, .times = 1};
    CHECK(conn_write(server.c, &some, 1).code == ERR_CLOSED);
    fault_now = (fault_plan){0};
    CHECK(conn_write(server.c, &some, 1).code == ERR_CLOSED);
    CHECK(!server.ended);
    conn_close_after_writes(server.c);
    server.c = NULL;
    CHECK(recv(f, (char[1]){0}, 1, 0) < 0 && errno == ECONNRESET);
    (void)close(f);
    side_close(&server);
    loop_close(l);
}
