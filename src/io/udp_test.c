// Datagrams come whole with their sender, and answers reach it.
#include "base/test.h"
#include "io/udp.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void echo_datagram(void *data, udp *u, str bytes, const udp_from *from)
{
    ++*(unsigned *)data;
    CHECK(udp_send(u, bytes, from).code == OK);
}

TEST(udp_answers_the_sender)
{
    loop *l = NULL;
    udp *u = NULL, *other = NULL;
    unsigned seen = 0;
    char got[1400];
    CHECK(loop_open(&l).code == OK);
    CHECK(udp_open(&u, l, "nowhere", 0, echo_datagram, &seen).code == ERR_SYNTAX);
    CHECK(udp_open(&u, l, "127.0.0.1", 0, echo_datagram, &seen).code == OK);
    uint16_t port = udp_port(u);
    CHECK(port != 0);
    CHECK(udp_open(&other, l, "127.0.0.1", port, echo_datagram, &seen).code == ERR_CONFLICT);
    int f = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(connect(f, (struct sockaddr *)&to, sizeof(to)) == 0);
    memset(got, 'x', sizeof(got));
    CHECK(send(f, got, 1300, 0) == 1300 && send(f, "", 0, 0) == 0 && send(f, "ab", 2, 0) == 2);
    for (unsigned i = 0; i < 100 && seen < 3; i++)
        loop_turn(l, 20);
    CHECK(seen == 3);
    CHECK(recv(f, got, sizeof(got), 0) == 1300);
    CHECK(recv(f, got, sizeof(got), 0) == 0);
    CHECK(recv(f, got, sizeof(got), 0) == 2 && memcmp(got, "ab", 2) == 0);
    (void)close(f);
    udp_close(u);
    udp_close(u);
    loop_close(l);
}
