// From a published revision to answers: tns, seer, substrate and gateway with real worker
// processes.
#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/str.h"
#include "base/test.h"
#include "http/client.h"
#include "io/conn.h"
#include "mesh/blob_test.h"
#include "mesh/identity.h"
#include "protocol/protocol.h"
#include "vm/vm.h"
#include "worker/guest_test.h"
#include "worker/workers.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TOWN_WAIT_MS = 20 * 1000, TOWN_NODES = 4 };

int test_command(const char *name)
{
    return strcmp(name, "worker") == 0 ? worker_main() : -1;
}

struct town {
    loop *loop;
    mesh_engine *engine;
    mesh *nodes[TOWN_NODES], *client;
    void *states[TOWN_NODES];
    protocol_doors doors[TOWN_NODES];
    blobs *blobs;
    workers *workers;
    authority *authority;
    http_client *http;
    log_sink *log;
    arena *memory;
    char folder[64], paths[TOWN_NODES][128], module[SHA256_HEX + 1];
    uint64_t sequence;
};
static const protocol *const town_protocols[TOWN_NODES] = {&protocol_tns, &protocol_seer,
                                                           &protocol_substrate, &protocol_gateway};
enum { TOWN_SUBSTRATE = 2, TOWN_GATEWAY = 3 };

static uint16_t port_free(void)
{
    OWNED(fd_drop) int fd = -1;
    CHECK(socket_listen("127.0.0.1", 0, false, &fd).code == OK);
    return socket_port(fd);
}

static void town_module(struct town *t)
{
    vm *v;
    buf code;
    str problem;
    sha256 hash;
    buf_open(&code, 16 << 20);
    CHECK(vm_open(&v, &(vm_settings){.calls_max = 4}).code == OK);
    CHECK(vm_compile(v, t->memory, (str){(const char *)guest_wasm, sizeof(guest_wasm)}, &code,
                     &problem)
              .code == OK);
    vm_close(v);
    CHECK(blobs_put(t->blobs, buf_str(&code), &hash).code == OK);
    sha256_hex(hash, t->module);
    buf_close(&code);
}

static void town_workers(struct town *t)
{
    static char program[4096];
    ssize_t len = readlink("/proc/self/exe", program, sizeof(program) - 1);
    CHECK(len > 0);
    program[len] = '\0';
    workers_settings settings = {
        .loop = t->loop,
        .log = t->log,
        .program = program,
        .universe = STR("test"),
        .ca_pem = authority_certificate(t->authority),
        .slots = 2,
    };
    CHECK(workers_open(&t->workers, &settings).code == OK);
    for (int gateway = 0; gateway < 2; gateway++) {
        str certificate, key, name = gateway ? STR("gateway") : STR("substrate");
        CHECK(authority_issue(t->authority, t->memory, name, name, 1, &certificate, &key).code ==
              OK);
        workers_identity(t->workers, gateway, certificate, key);
    }
}

static void town_node(struct town *t, size_t i)
{
    str name = str_of(town_protocols[i]->name);
    snprintf(t->paths[i], sizeof(t->paths[i]), "%s/%s", t->folder, town_protocols[i]->name);
    CHECK(file_make_folders(t->paths[i], 0700).code == OK);
    str full = str_format(t->memory, "%.*s@test", STR_ARG(name));
    CHECK(mesh_join(&t->nodes[i], t->engine, full, name).code == OK);
    t->doors[i] = (protocol_doors){.address = "127.0.0.1"};
    if (i >= TOWN_SUBSTRATE)
        t->doors[i] =
            (protocol_doors){.address = "127.0.0.1", .http = port_free(), .p2p = port_free()};
    protocol_context context = {
        .loop = t->loop,
        .mesh = t->nodes[i],
        .blobs = t->blobs,
        .log = t->log,
        .folder = t->paths[i],
        .workers = t->workers,
        .universe = STR("test"),
        .node = full,
        .doors = &t->doors[i],
    };
    CHECK(town_protocols[i]->open(&t->states[i], &context).code == OK);
}

static void town_heartbeat(struct town *t, bool leaving)
{
    door_record doors[] = {{STR("p2p"), t->doors[TOWN_SUBSTRATE].p2p}};
    seer_heartbeat beat = {.name = STR("substrate@test"),
                           .protocol = STR("substrate"),
                           .address = STR("127.0.0.1"),
                           .copies = 1,
                           .leaving = leaving};
    beat.doors.at = doors;
    beat.doors.count = 1;
    mesh_tell(t->nodes[TOWN_SUBSTRATE], MSG_seer_heartbeat, &beat);
}

static void town_open(struct town *t)
{
    memset(t, 0, sizeof(*t));
    snprintf(t->folder, sizeof(t->folder), "/tmp/ctau-town-XXXXXX");
    CHECK(mkdtemp(t->folder) != NULL);
    CHECK(arena_open(&t->memory, 16 << 20).code == OK);
    CHECK(loop_open(&t->loop).code == OK);
    CHECK(log_open(&t->log, 2, false, LOG_ERROR).code == OK);
    char *blob_folder = (char *)str_format(t->memory, "%s/blobs", t->folder).at;
    char *ca_folder = (char *)str_format(t->memory, "%s/ca", t->folder).at;
    CHECK(file_make_folders(blob_folder, 0700).code == OK &&
          file_make_folders(ca_folder, 0700).code == OK);
    CHECK(mesh_embedded_open(&t->engine, t->loop, t->folder).code == OK);
    CHECK(authority_open(&t->authority, ca_folder, STR("test")).code == OK);
    CHECK(blobs_open(&t->blobs, blob_folder).code == OK);
    CHECK(http_client_open(&t->http, t->loop, 8).code == OK);
    town_module(t);
    town_workers(t);
    for (size_t i = 0; i < TOWN_NODES; i++)
        town_node(t, i);
    CHECK(mesh_join(&t->client, t->engine, STR("client@test"), STR("")).code == OK);
    town_heartbeat(t, false);
    CHECK(workers_start(t->workers).code == OK);
}

static void town_on_closed(void *data)
{
    *(bool *)data = true;
}

static void town_until(struct town *t, const bool *done)
{
    for (uint64_t end = clock_now_ms() + TOWN_WAIT_MS; !*done; loop_turn(t->loop, 10))
        CHECK(clock_now_ms() < end);
}

static void town_close(struct town *t)
{
    bool closed = false;
    http_client_close(t->http);
    workers_close(t->workers, town_on_closed, &closed);
    town_until(t, &closed);
    for (size_t i = TOWN_NODES; i-- > 0;) {
        closed = false;
        town_protocols[i]->close(t->states[i], town_on_closed, &closed);
        town_until(t, &closed);
        mesh_leave(t->nodes[i]);
    }
    mesh_leave(t->client);
    mesh_engine_close(t->engine);
    authority_close(t->authority);
    blobs_close(t->blobs);
    loop_close(t->loop);
    log_close(t->log);
    arena_close(t->memory);
    CHECK(file_remove_tree(t->folder).code == OK);
}

struct town_reply {
    struct town *town;
    const message_shape *shape;
    void *fields;
    err error;
    bool done;
};

static void town_on_reply(void *data, err e, const void *fields)
{
    struct town_reply *r = data;
    r->done = true;
    r->error = e;
    if (e.code != OK)
        return;
    OWNED(buf_close) buf text;
    buf_open(&text, 4 << 20);
    json_writer w = {.out = &text};
    message_json_write(&w, NULL, r->shape, fields);
    const json *value;
    r->error = json_read(r->town->memory, str_copy(r->town->memory, buf_str(&text)), &value, NULL);
    if (r->error.code == OK)
        r->error = message_json_read(r->town->memory, value, r->shape, r->fields);
}

static err town_ask(struct town *t, message_kind kind, const void *request, void *reply)
{
    struct town_reply r = {.town = t, .shape = message_infos[kind].reply, .fields = reply};
    mesh_ask(t->client, STR(""), kind, NULL, request, 5000, town_on_reply, &r);
    town_until(t, &r.done);
    return r.error;
}

// A project with one function: the export `call` under http://NAME.test.localtau/it.
static void town_publish(struct town *t, const char *project, const char *call)
{
    tns_publish_request request = {
        .project = str_of(project),
        .sequence = ++t->sequence,
        .job = str_format(t->memory, "j%llu", (unsigned long long)t->sequence),
        .document = str_format(
            t->memory,
            "{\"configuration\":{\"functions\":[{\"id\":\"id%s\",\"name\":\"fn_%s\","
            "\"application\":\"\","
            "\"methods\":[\"GET\",\"POST\"],\"paths\":[\"/it\"],\"domains\":[\"%s.test.localtau\"],"
            "\"call\":\"%s\",\"timeout_ms\":2000,\"memory\":1048576,\"concurrency\":10,"
            "\"response\":100000}]},\"branch\":\"main\",\"code_commit\":\"c\","
            "\"artefacts\":{\"id%s\":{\"wasm\":\"w\",\"module\":\"%s\"}}}",
            project, project, project, call, project, t->module),
    };
    tns_publish_reply reply;
    CHECK(town_ask(t, MSG_tns_publish, &request, &reply).code == OK && reply.live);
}

struct town_answer {
    unsigned status;
    char body[512];
    bool done;
};

static void town_on_answer(void *data, http_call *c, err e, const http_answer_head *head, str body)
{
    (void)c;
    struct town_answer *a = data;
    a->done = true;
    a->status = e.code == OK ? head->status : 0;
    snprintf(a->body, sizeof(a->body), "%.*s", STR_ARG(str_first(body, 500)));
}

static void town_get(struct town *t, size_t node, const char *host, struct town_answer *a)
{
    *a = (struct town_answer){.status = 0};
    http_client_request request = {
        .address = "127.0.0.1",
        .port = t->doors[node].http,
        .method = STR("GET"),
        .target = STR("/it"),
        .host = str_of(host),
        .on_done = town_on_answer,
        .data = a,
    };
    http_call *c;
    CHECK(http_client_send(t->http, &request, &c).code == OK);
    town_until(t, &a->done);
}

// Until the door answers so; what was published takes a moment to arrive.
static void
town_get_until(struct town *t, size_t node, const char *host, unsigned status, const char *body)
{
    struct town_answer a;
    uint64_t end = clock_now_ms() + 5000;
    do {
        town_get(t, node, host, &a);
        if (a.status == status && strstr(a.body, body) != NULL)
            return;
        loop_turn(t->loop, 10);
    } while (clock_now_ms() < end);
    print_error("%s: %u %s\n", host, a.status, a.body);
    CHECK(false);
}

TEST(substrate_serves_what_is_live_and_follows_it)
{
    struct town t;
    town_open(&t);
    uint64_t from = clock_now_us();
    town_publish(&t, "one", "pong");
    town_get_until(&t, TOWN_SUBSTRATE, "one.test.localtau", 200, "PONG");
    print_message("published and answered after %llu us\n",
                  (unsigned long long)(clock_now_us() - from));
    town_get_until(&t, TOWN_GATEWAY, "one.test.localhost:8080", 200, "PONG");
    town_publish(&t, "two", "path");
    town_get_until(&t, TOWN_GATEWAY, "two.test.localtau", 200, "/it");
    town_publish(&t, "one", "teapot");
    town_get_until(&t, TOWN_SUBSTRATE, "one.test.localtau", 418, "PONG");
    tns_remove_request remove = {.project = STR("one")};
    tns_remove_reply removed;
    CHECK(town_ask(&t, MSG_tns_remove, &remove, &removed).code == OK);
    town_get_until(&t, TOWN_SUBSTRATE, "one.test.localtau", 404, "host");
    town_get_until(&t, TOWN_GATEWAY, "one.test.localtau", 404, "host");
    town_get_until(&t, TOWN_GATEWAY, "two.test.localtau", 200, "/it");
    town_heartbeat(&t, true);
    town_get_until(&t, TOWN_GATEWAY, "two.test.localtau", 503, "backend");
    town_close(&t);
}

static void
town_on_locate(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    const struct house_node *n = data;
    (void)header;
    (void)fields;
    holder_record holder = {str_of(n->name), STR("127.0.0.1"), n->port};
    mesh_answer(in, &(hoarder_locate_reply){.present = true, .holders = {&holder, 1}});
}

TEST(substrate_fetches_a_module_that_only_hoarders_have)
{
    struct town t;
    str bytes, certificate, key;
    sha256 hash;
    char hex[SHA256_HEX + 1];
    town_open(&t);
    struct house h = {
        .loop = t.loop, .memory = t.memory, .engine = t.engine, .authority = t.authority};
    memcpy(h.folder, t.folder, sizeof(h.folder));
    struct house_node *n = house_node_open(&h, "hoarder", "hoarder");
    CHECK(mesh_serve(n->mesh, MSG_hoarder_locate, town_on_locate, n).code == OK);
    CHECK(authority_issue(t.authority, t.memory, STR("substrate"), STR("substrate"), 1,
                          &certificate, &key)
              .code == OK);
    CHECK(mesh_peer_identity(t.nodes[TOWN_SUBSTRATE], STR("test"), certificate, key,
                             authority_certificate(t.authority))
              .code == OK);
    CHECK(sha256_from_hex(str_of(t.module), &hash).code == OK);
    CHECK(blobs_get(t.blobs, &hash, 8 << 20, t.memory, &bytes).code == OK);
    (void)house_put(n, bytes, hex);
    CHECK(blobs_remove(t.blobs, &hash).code == OK);
    town_publish(&t, "one", "pong");
    town_get_until(&t, TOWN_SUBSTRATE, "one.test.localtau", 200, "PONG");
    CHECK(n->served == 1 && blobs_has(t.blobs, &hash, NULL));
    house_node_close(n);
    town_close(&t);
}

TEST(substrate_keeps_logs_and_counts_by_function)
{
    struct town t;
    town_open(&t);
    town_publish(&t, "one", "trap");
    town_publish(&t, "two", "pong");
    town_get_until(&t, TOWN_SUBSTRATE, "one.test.localtau", 500, "trap");
    town_get_until(&t, TOWN_SUBSTRATE, "two.test.localtau", 200, "PONG");
    substrate_logs_request logs = {.project = STR("one"), .function = STR("fn_one")};
    substrate_logs_reply found = {.last = 0};
    for (uint64_t end = clock_now_ms() + 5000; found.lines.count < 2 && clock_now_ms() < end;
         loop_turn(t.loop, 10))
        CHECK(town_ask(&t, MSG_substrate_logs, &logs, &found).code == OK);
    CHECK(found.lines.count >= 3 && found.last >= found.lines.count);
    CHECK(str_is(found.lines.at[0].text, STR("a line")) &&
          str_is(found.lines.at[0].stream, STR("stdout")));
    CHECK(str_starts(found.lines.at[1].text, STR("trap: unreachable")) &&
          found.lines.at[1].request.len > 10);
    logs.after = found.lines.at[0].number;
    logs.limit = 1;
    CHECK(town_ask(&t, MSG_substrate_logs, &logs, &found).code == OK);
    CHECK(found.lines.count == 1 && found.lines.at[0].number == logs.after + 1);
    logs.after = 0;
    CHECK(town_ask(&t, MSG_substrate_logs, &logs, &found).code == OK);
    CHECK(found.lines.count == 1 && found.lines.at[0].number == found.last);
    logs.function = STR("other");
    CHECK(town_ask(&t, MSG_substrate_logs, &logs, &found).code == OK && found.lines.count == 0);
    logs.project = STR("nobody");
    CHECK(town_ask(&t, MSG_substrate_logs, &logs, &found).code == ERR_ABSENT);
    substrate_status_request ask = {.project = STR("one")};
    substrate_status_reply status = {.workers = 0};
    for (uint64_t end = clock_now_ms() + 5000; status.failures == 0 && clock_now_ms() < end;
         loop_turn(t.loop, 10))
        CHECK(town_ask(&t, MSG_substrate_status, &ask, &status).code == OK);
    CHECK(status.workers == 2 && status.functions.count == 1 && status.functions.at[0].loaded);
    CHECK(status.functions.at[0].failures == status.failures && status.failures > 0);
    town_close(&t);
}

TEST(substrate_logs_the_function_that_took_its_worker_along)
{
    struct town t;
    town_open(&t);
    town_publish(&t, "one", "spin");
    struct town_answer a = {.status = 1};
    town_get_until(&t, TOWN_SUBSTRATE, "one.test.localtau", 504, "timeout");
    http_client_request request = {.address = "127.0.0.1",
                                   .port = t.doors[TOWN_SUBSTRATE].http,
                                   .method = STR("POST"),
                                   .target = STR("/it"),
                                   .host = STR("one.test.localtau"),
                                   .on_done = town_on_answer,
                                   .data = &a};
    http_call *c;
    CHECK(http_client_send(t.http, &request, &c).code == OK);
    for (uint64_t end = clock_now_ms() + 300; clock_now_ms() < end;)
        loop_turn(t.loop, 10);
    for (size_t i = 0; i < 2; i++)
        (void)kill(workers_process(t.workers, i), SIGKILL);
    town_until(&t, &a.done);
    CHECK(a.status == 0);
    substrate_logs_request logs = {.project = STR("one")};
    substrate_logs_reply found = {.last = 0};
    bool said = false;
    for (uint64_t end = clock_now_ms() + 5000; !said && clock_now_ms() < end;
         loop_turn(t.loop, 10)) {
        CHECK(town_ask(&t, MSG_substrate_logs, &logs, &found).code == OK);
        for (size_t i = 0; i < found.lines.count; i++)
            said |= str_find(found.lines.at[i].text, STR("was lost")) < found.lines.at[i].text.len;
    }
    CHECK(said);
    gateway_status_request ask = {.node = STR("")};
    gateway_status_reply status;
    CHECK(town_ask(&t, MSG_gateway_status, &ask, &status).code == OK);
    CHECK(status.backends.count == 1 && status.backends.at[0].healthy);
    town_close(&t);
}
