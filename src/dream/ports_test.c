// Tests of the blocks of ports.
#include "base/str.h"
#include "base/test.h"
#include "dream/ports.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

static int datagrams_at(uint16_t port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    CHECK(inet_pton(AF_INET, "127.0.0.1", &at.sin_addr) == 1);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    if (bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0)
        return fd;
    (void)close(fd);
    return -1;
}

TEST(ports_block_with_a_foreign_name_server_is_in_use)
{
    uint16_t dns = node_plan_find(STR("seer"))->dns;
    uint16_t shift = 41000;
    while (!ports_block_is_free("127.0.0.1", shift))
        shift = (uint16_t)(shift + 1000);
    int fd = datagrams_at((uint16_t)(shift + dns));
    CHECK(fd >= 0);
    CHECK(!ports_block_is_free("127.0.0.1", shift));
    (void)close(fd);
    CHECK(ports_block_is_free("127.0.0.1", shift));
}
