// The nats engine passes the contract of the mesh, through real servers.
#include "base/file.h"
#include "base/str.h"
#include "base/test.h"
#include "mesh/contract.h"
#include "mesh/meshd_fixture_test.h"
#include "mesh/shards.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// One log that a client keeps and writes; names are checked by the contract itself, not by roles.
static const shard contract_shards_all[] = {{"contract", "client"}};
static const shard_bucket contract_buckets[] = {{"", "contract", "client"}};
static const shards contract_shards = {contract_shards_all, 1, contract_buckets, 1};
static const char contract_streams[] =
    "[{\"name\":\"contract\",\"subjects\":[\"log.contract.>\",\"snap.contract.>\"]}]";
static const char contract_roles[] = "{\"client\":{\"publish\":[\">\"],\"subscribe\":[\">\"]},"
                                     "\"elder\":{\"publish\":[],\"subscribe\":[]}}";
enum { READY_TURNS_MAX = 2000 };

static meshd_set *servers_of(const char *folder)
{
    // Of the world that is open: contract tests run one after the other.
    static meshd_set *servers;
    static char last[128];
    if (folder != NULL && strcmp(last, folder) == 0)
        return servers;
    meshd_stop(servers);
    servers = NULL;
    (void)snprintf(last, sizeof last, "%s", folder != NULL ? folder : "");
    if (folder == NULL)
        return NULL;
    static const meshd_plan plan = {.count = 1,
                                    .universe = {"u", 1},
                                    .streams = {contract_streams, sizeof contract_streams - 1},
                                    .roles = {contract_roles, sizeof contract_roles - 1}};
    meshd_plan here = plan;
    here.folder = folder;
    CHECK(meshd_start(&servers, &here).code == OK);
    return servers;
}

static void on_ready(void *data)
{
    *(bool *)data = true;
}

static err nats_world_open(mesh_engine **out, loop *l, const char *folder)
{
    meshd_set *servers = servers_of(folder);
    OWNED(arena_drop) arena *a = NULL;
    TRY(arena_open(&a, 1 << 20));
    char path[256];
    bool ready = false;
    (void)snprintf(path, sizeof path, "%s/copies", folder);
    static log_sink *log;
    if (getenv("MESH_LOG") && !log)
        CHECK(log_open(&log, 2, false, LOG_DEBUG).code == OK);
    mesh_nats_settings s = {.loop = l,
                            .log = log,
                            .folder = path,
                            .universe = STR("u"),
                            .node = STR("contract"),
                            .servers = servers->servers,
                            .servers_count = servers->count,
                            .ca_pem = authority_certificate(servers->authority),
                            .shards = &contract_shards,
                            .ready = on_ready,
                            .data = &ready};
    TRY(meshd_issue(servers, a, s.node, STR(""), &s.certificate_pem, &s.key_pem));
    TRY(mesh_nats_open(out, &s));
    for (int i = 0; i < READY_TURNS_MAX && !ready; i++)
        loop_turn(l, 10);
    CHECK(ready);
    return ok();
}

static const mesh_factory nats = {nats_world_open, true};

#define X(name)                 \
    TEST(mesh_nats_##name)      \
    {                           \
        contract_##name(&nats); \
        (void)servers_of(NULL); \
    }
MESH_CONTRACT(X)
#undef X
