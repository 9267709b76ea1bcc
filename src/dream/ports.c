// Which port each node and door of a universe has: a block's start plus a fixed offset.
#include "dream/ports.h"

#include "base/str.h"
#include "io/conn.h"

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

static bool port_is_free(const char *address, uint16_t port)
{
    OWNED(fd_drop) int fd = -1;
    return port == 0 || socket_listen(address, port, false, &fd).code == OK;
}

bool ports_block_is_free(const char *address, uint16_t shift)
{
    for (size_t i = 0; i < NODES_COUNT; i++) {
        const uint16_t offsets[] = {node_plans[i].p2p, node_plans[i].http, node_plans[i].dns};
        for (size_t k = 0; k < COUNT(offsets); k++)
            if (offsets[k] != 0 && !port_is_free(address, (uint16_t)(shift + offsets[k])))
                return false;
    }
    return true;
}
