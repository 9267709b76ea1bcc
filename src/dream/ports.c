// Which port each node and door of a universe has: a block's start plus a fixed offset.
#include "dream/ports.h"

#include "base/str.h"
#include "io/conn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

const node_plan node_plans[NODES_COUNT] = {
    {"elder", NULL, 51, 0, 0},
    {"tns", &protocol_tns, 226, 466, 0},
    {"client", NULL, 52, 0, 0},
    {"auth", &protocol_auth, 121, 445, 0},
    {"patrick", &protocol_patrick, 184, 424, 0},
    {"seer", &protocol_seer, 205, 403, 304},
    {"monkey", &protocol_monkey, 163, 0, 0},
    {"hoarder", &protocol_hoarder, 142, 0, 0},
    {"substrate", &protocol_substrate, 282, 529, 0},
    {"gateway", &protocol_gateway, 247, 487, 0},
};

const node_plan *node_plan_find(str name)
{
    for (size_t i = 0; i < NODES_COUNT; i++)
        if (str_is(name, str_of(node_plans[i].name)))
            return &node_plans[i];
    return NULL;
}

bool ports_is_free(const char *address, uint16_t port)
{
    OWNED(fd_drop) int fd = -1;
    return port == 0 || socket_listen(address, port, false, &fd).code == OK;
}

static bool datagram_port_is_free(const char *address, uint16_t port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    OWNED(fd_drop) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return fd < 0 || inet_pton(AF_INET, address, &at.sin_addr) != 1 ||
           bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0 || errno != EADDRINUSE;
}

bool ports_block_is_free(const char *address, uint16_t shift)
{
    for (size_t i = 0; i < NODES_COUNT; i++) {
        const uint16_t offsets[] = {node_plans[i].p2p, node_plans[i].http, node_plans[i].dns};
        for (size_t k = 0; k < COUNT(offsets); k++)
            if (offsets[k] != 0 && !ports_is_free(address, (uint16_t)(shift + offsets[k])))
                return false;
        if (node_plans[i].dns != 0 &&
            !datagram_port_is_free(address, (uint16_t)(shift + node_plans[i].dns)))
            return false;
    }
    return true;
}
