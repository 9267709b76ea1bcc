// Doors speak and refuse: every message of the protocols through real doors, strangers at each of
// them.
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "base/test.h"
#include "http/client.h"
#include "node/node.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DOORS = 7, DOOR_CLIENT = 6, DOOR_TURNS_MAX = 4000, DOOR_MEMORY = 4 << 20 };
static const protocol *const door_protocols[DOORS] = {
    &protocol_auth, &protocol_tns, &protocol_patrick, &protocol_hoarder, &protocol_monkey,
    &protocol_seer, NULL};
static const char *const door_names[DOORS] = {"auth",   "tns",  "patrick", "hoarder",
                                              "monkey", "seer", "client"};

struct doors {
    char folder[64];
    arena *memory;
    loop *loop;
    mesh_engine *engine;
    authority *authority;
    blobs *blobs;
    node *nodes[DOORS];
    uint16_t ports[DOORS];
    http_client *http;
    char key[32];
    char paths[DOORS][128];
};

static uint16_t doors_free_port(void)
{
    OWNED(fd_drop) int fd = -1;
    CHECK(socket_listen("127.0.0.1", 0, false, &fd).code == OK);
    return socket_port(fd);
}

static void doors_open(struct doors *d)
{
    memset(d, 0, sizeof(*d));
    snprintf(d->folder, sizeof(d->folder), "/tmp/ctau-doors-XXXXXX");
    assert_non_null(mkdtemp(d->folder));
    char path[128];
    CHECK(arena_open(&d->memory, DOOR_MEMORY).code == OK);
    CHECK(loop_open(&d->loop).code == OK);
    CHECK(mesh_embedded_open(&d->engine, d->loop, d->folder).code == OK);
    snprintf(path, sizeof(path), "%s/ca", d->folder);
    CHECK(file_make_folders(path, 0700).code == OK);
    CHECK(authority_open(&d->authority, path, STR("test")).code == OK);
    snprintf(path, sizeof(path), "%s/blobs", d->folder);
    CHECK(file_make_folders(path, 0700).code == OK);
    CHECK(blobs_open(&d->blobs, path).code == OK);
    CHECK(http_client_open(&d->http, d->loop, 4).code == OK);
    for (size_t i = 0; i < DOORS; i++) {
        snprintf(d->paths[i], sizeof(d->paths[i]), "%s/%s", d->folder, door_names[i]);
        d->ports[i] = doors_free_port();
        node_settings settings = {
            .loop = d->loop,
            .mesh = d->engine,
            .identity = node_identity_of(d->authority),
            .blobs = d->blobs,
            .protocol = door_protocols[i],
            .universe = STR("test"),
            .name = str_of(door_names[i]),
            .folder = d->paths[i],
            .secrets_key = d->key,
            .repositories = d->folder,
            .program = "/bin/false",
            .engine = "test",
            .copies = 1,
            .doors = {.address = "127.0.0.1", .p2p = d->ports[i], .dns = doors_free_port()},
        };
        CHECK(node_open(&d->nodes[i], &settings).code == OK);
    }
}

static void doors_close(struct doors *d)
{
    http_client_close(d->http);
    for (size_t i = 0; i < DOORS; i++)
        node_close(d->nodes[i], NULL, NULL);
    mesh_engine_close(d->engine);
    blobs_close(d->blobs);
    authority_close(d->authority);
    loop_close(d->loop);
    arena_close(d->memory);
    CHECK(file_remove_tree(d->folder).code == OK);
}

// A client's certificate by an authority; NULL: none.
static tls_context *doors_tls(struct doors *d, authority *issuer, const char *whose, unsigned days)
{
    tls_settings settings = {.ca_pem = authority_certificate(d->authority)};
    if (issuer != NULL)
        CHECK(authority_issue(issuer, d->memory, str_of(whose), str_of(""), days,
                              &settings.certificate_pem, &settings.key_pem)
                  .code == OK);
    tls_context *tls = NULL;
    CHECK(tls_context_open(&tls, &settings).code == OK);
    return tls;
}

struct doors_wait {
    struct doors *doors;
    bool done;
    err error;
    unsigned status;
    str body;
};

static void doors_on_done(void *data, http_call *c, err e, const http_answer_head *head, str body)
{
    (void)c;
    struct doors_wait *w = data;
    w->done = true;
    w->error = e;
    if (e.code == OK) {
        w->status = head->status;
        w->body = str_copy(w->doors->memory, body);
    }
}

static struct doors_wait doors_ask(
    struct doors *d, size_t door, tls_context *tls, const char *method, const char *path, str body)
{
    struct doors_wait w = {.doors = d};
    http_client_request request = {
        .address = "127.0.0.1",
        .port = d->ports[door],
        .tls = tls,
        .method = str_of(method),
        .target = str_of(path),
        .host = STR("node"),
        .body = body,
        .deadline_ms = 5000,
        .on_done = doors_on_done,
        .data = &w,
    };
    http_call *call;
    CHECK(http_client_send(d->http, &request, &call).code == OK);
    for (int i = 0; i < DOOR_TURNS_MAX && !w.done; i++)
        loop_turn(d->loop, 5);
    CHECK(w.done);
    return w;
}

// Zeroed fields are a message too: handlers answer it with a result or a precise error.
static str doors_message(struct doors *d, message_kind kind)
{
    OWNED(buf_close) buf out;
    buf_open(&out, MESSAGE_BYTES_MAX);
    void *fields = arena_take(d->memory, message_infos[kind].request->bytes + 8);
    assert_non_null(fields);
    message_header header = {.kind = kind, .deadline_ms = 5000};
    message_write(&out, &header, message_infos[kind].request, fields);
    return str_copy(d->memory, buf_str(&out));
}

static bool doors_serves(size_t door, message_kind kind)
{
    str subject = str_of(message_infos[kind].subject);
    str first = str_cut(&subject, '.');
    return str_is(first, str_of(door_names[door])) || kind == MSG_node_ping;
}

TEST(doors_speak_every_message_to_the_client_node_and_refuse_what_its_role_may_not_send)
{
    struct doors d;
    doors_open(&d);
    tls_context *tls = doors_tls(&d, d.authority, "client", 1);
    size_t spoken = 0, denied = 0;
    for (size_t door = 0; door < DOORS; door++)
        for (message_kind kind = 0; kind < MESSAGE_KINDS; kind++) {
            if (message_infos[kind].reply == NULL || !doors_serves(door, kind))
                continue;
            struct doors_wait w = doors_ask(&d, door, tls, "POST", "/ask", doors_message(&d, kind));
            CHECK(w.error.code == OK && w.status == 200);
            err e;
            CHECK(message_read_error(d.memory, w.body, &e).code == OK);
            identity client = {
                .universe = STR("test"), .node = STR("client"), .protocols = STR("-")};
            bool may = identity_may(&client, str_of(message_infos[kind].subject));
            CHECK(may || e.code == ERR_DENIED);
            CHECK(!may || e.code != ERR_DENIED || kind == MSG_auth_token_check);
            CHECK(e.code != ERR_TIMEOUT && e.code != ERR_UNSUPPORTED);
            spoken++;
            denied += !may;
        }
    CHECK(spoken > 30 && denied >= 4);
    tls_context_close(tls);
    doors_close(&d);
}

TEST(doors_answer_a_real_question)
{
    struct doors d;
    doors_open(&d);
    tls_context *tls = doors_tls(&d, d.authority, "client", 1);
    struct doors_wait ping =
        doors_ask(&d, DOOR_CLIENT, tls, "POST", "/ask", doors_message(&d, MSG_node_ping));
    node_ping_reply reply;
    message_header header;
    CHECK(message_read(d.memory, ping.body, &header, message_infos[MSG_node_ping].reply, &reply)
              .code == OK);
    CHECK(str_is(reply.node, STR("client@test")) && str_is(reply.universe, STR("test")));
    struct doors_wait plain = doors_ask(&d, 0, tls, "GET", "/ping", STR(""));
    CHECK(plain.status == 200 && str_is(plain.body, STR("pong")));
    struct doors_wait garbage = doors_ask(&d, 0, tls, "POST", "/ask", STR("\x01garbage"));
    err e;
    CHECK(garbage.status == 200 && message_read_error(d.memory, garbage.body, &e).code == OK &&
          e.code == ERR_SYNTAX);
    tls_context_close(tls);
    doors_close(&d);
}

// The sanitizer's eye: what was made for the message goes although its body never comes whole.
TEST(doors_keep_nothing_of_a_message_that_is_too_long)
{
    struct doors d;
    doors_open(&d);
    tls_context *tls = doors_tls(&d, d.authority, "client", 1);
    size_t size = 2 * MESSAGE_BYTES_MAX;
    char *bytes = calloc(1, size);
    assert_non_null(bytes);
    CHECK(doors_ask(&d, 0, tls, "POST", "/ask", (str){bytes, size}).status == 413);
    free(bytes);
    tls_context_close(tls);
    doors_close(&d);
}

TEST(doors_refuse_strangers_each)
{
    struct doors d;
    doors_open(&d);
    char path[128];
    snprintf(path, sizeof(path), "%s/other", d.folder);
    CHECK(file_make_folders(path, 0700).code == OK);
    authority *other;
    CHECK(authority_open(&other, path, STR("test")).code == OK);
    tls_context *foreign = doors_tls(&d, other, "client", 1);
    tls_context *none = doors_tls(&d, NULL, NULL, 0);
    tls_context *expired = doors_tls(&d, d.authority, "client", 0);
    loop_turn(d.loop, 1500); // a certificate of no days ends within a second
    usleep(1100 * 1000);
    for (size_t door = 0; door < DOORS; door++) {
        CHECK(doors_ask(&d, door, foreign, "GET", "/ping", STR("")).error.code != OK);
        CHECK(doors_ask(&d, door, none, "GET", "/ping", STR("")).error.code != OK);
        CHECK(doors_ask(&d, door, expired, "GET", "/ping", STR("")).error.code != OK);
        CHECK(doors_ask(&d, door, NULL, "GET", "/ping", STR("")).error.code != OK);
    }
    tls_context_close(foreign);
    tls_context_close(none);
    tls_context_close(expired);
    authority_close(other);
    doors_close(&d);
}

TEST(node_whose_port_is_taken_says_so_and_leaves_nothing)
{
    struct doors d;
    doors_open(&d);
    node_settings settings = {
        .loop = d.loop,
        .mesh = d.engine,
        .identity = node_identity_of(d.authority),
        .blobs = d.blobs,
        .universe = STR("test"),
        .name = STR("late"),
        .folder = d.paths[DOOR_CLIENT],
        .copies = 1,
        .doors = {.address = "127.0.0.1", .p2p = d.ports[0]},
    };
    node *late = NULL;
    CHECK(node_open(&late, &settings).code == ERR_CONFLICT);
    doors_close(&d);
}
