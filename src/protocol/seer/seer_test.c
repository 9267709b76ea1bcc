// seer over an embedded mesh: told heartbeats, time that passes, names that come and go, and dig.
#include "base/clock.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/str.h"
#include "base/test.h"
#include "io/proc.h"
#include "protocol/seer/seer_inner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WAIT_MS = 5000, CHILD_MS_MAX = 15 * 1000, CHILD_WORDS = 24, TEXT_BYTES_MAX = 1 << 20 };

// ---- the table, with a time of our own

static err table_tell(struct seer_table *t, const char *name, const char *kind, uint64_t now_ms)
{
    door_record doors[] = {{STR("http"), 8080}, {STR("p2p"), 9090}};
    seer_heartbeat beat = {.name = str_of(name),
                           .protocol = str_of(kind),
                           .address = STR("127.0.0.1"),
                           .copies = 1,
                           .doors = {doors, 2},
                           .started_real_ms = 5};
    return seer_table_beat(t, &beat, now_ms, 1000000 + now_ms);
}

static const struct seer_node *table_get(const struct seer_table *t, const char *name)
{
    return map_get(t->nodes, str_of(name));
}

TEST(seer_table_node_is_healthy_for_three_heartbeats_and_forgotten_after_an_hour)
{
    struct seer_table t;
    CHECK(seer_table_open(&t).code == OK);
    CHECK(table_get(&t, "tns@u") == NULL && str_is(seer_table_web(&t), STR("substrate")));
    CHECK(table_tell(&t, "tns@u", "tns", 1000).code == OK && t.version == 1);
    CHECK(table_tell(&t, "tns@u", "tns", 3000).code == OK && t.version == 1); // nothing new
    seer_table_step(&t, 8999);
    CHECK(table_get(&t, "tns@u")->healthy && t.version == 1);
    seer_table_step(&t, 9000);
    CHECK(!table_get(&t, "tns@u")->healthy && t.version == 2);
    seer_table_step(&t, 20000);
    CHECK(t.version == 2);
    CHECK(table_tell(&t, "tns@u", "tns", 21000).code == OK);
    CHECK(table_get(&t, "tns@u")->healthy && t.version == 3);
    CHECK(table_get(&t, "tns@u")->seen_real_ms == 1021000);
    seer_table_step(&t, 21000 + SEER_FORGET_MS - 1);
    CHECK(table_get(&t, "tns@u") != NULL);
    seer_table_step(&t, 21000 + SEER_FORGET_MS);
    CHECK(table_get(&t, "tns@u") == NULL && t.next_ms == UINT64_MAX);
    seer_table_close(&t);
}

TEST(seer_table_gateway_that_leaves_gives_way_to_substrates)
{
    struct seer_table t;
    CHECK(seer_table_open(&t).code == OK);
    CHECK(table_tell(&t, "substrate@u", "substrate", 1000).code == OK);
    CHECK(table_tell(&t, "gateway@u", "gateway", 1000).code == OK);
    CHECK(str_is(seer_table_web(&t), STR("gateway")));
    seer_heartbeat bye = {.name = STR("gateway@u"), .protocol = STR("gateway"), .leaving = true};
    bye.started_real_ms = 4; // of the process before: too late to matter
    CHECK(seer_table_beat(&t, &bye, 2000, 2000).code == OK && table_get(&t, "gateway@u")->healthy);
    bye.started_real_ms = 5;
    CHECK(seer_table_beat(&t, &bye, 2000, 2000).code == OK);
    CHECK(!table_get(&t, "gateway@u")->healthy && table_get(&t, "gateway@u")->leaving);
    CHECK(str_is(seer_table_web(&t), STR("substrate")));
    CHECK(table_tell(&t, "gateway@u", "gateway", 3000).code == OK);
    CHECK(str_is(seer_table_web(&t), STR("gateway")) && !table_get(&t, "gateway@u")->leaving);
    seer_table_close(&t);
}

TEST(seer_table_lists_by_name_and_refuses_nonsense)
{
    struct seer_table t;
    OWNED(arena_drop) arena *a = NULL;
    const struct seer_node **list;
    size_t count;
    CHECK(arena_open(&a, 1 << 20).code == OK && seer_table_open(&t).code == OK);
    CHECK(table_tell(&t, "z@u", "tns", 1).code == OK &&
          table_tell(&t, "b@u", "auth", 1).code == OK);
    CHECK(table_tell(&t, "a@u", "tns", 1).code == OK &&
          table_tell(&t, "", "tns", 1).code == ERR_SYNTAX);
    door_record doors[SEER_DOORS_MAX + 1] = {{STR("http"), 65536}};
    seer_heartbeat beat = {.name = STR("x@u"), .doors = {doors, 1}};
    CHECK(seer_table_beat(&t, &beat, 1, 1).code == ERR_SYNTAX);
    doors[0].port = 1;
    beat.doors.count = COUNT(doors);
    CHECK(seer_table_beat(&t, &beat, 1, 1).code == ERR_SYNTAX);
    CHECK(seer_table_list(&t, a, STR(""), &list, &count).code == OK && count == 3);
    CHECK(str_is(list[0]->name, STR("a@u")) && str_is(list[1]->name, STR("b@u")));
    CHECK(seer_table_list(&t, a, STR("tns"), &list, &count).code == OK && count == 2);
    CHECK(str_is(list[0]->name, STR("a@u")) && str_is(list[1]->name, STR("z@u")));
    CHECK(seer_node_port(list[0], STR("p2p")) == 9090 && seer_node_port(list[0], STR("dns")) == 0);
    char name[32];
    for (int i = 0; i < SEER_NODES_MAX - 3; i++) {
        (void)snprintf(name, sizeof(name), "n%d@u", i);
        CHECK(table_tell(&t, name, "tns", 1).code == OK);
    }
    CHECK(table_tell(&t, "more@u", "tns", 1).code == ERR_LIMIT);
    CHECK(table_tell(&t, "a@u", "tns", 2).code == OK);
    seer_table_close(&t);
}

// ---- names, as watches bring them

static void names_route(struct seer_names *n, const char *key, const char *project)
{
    store_entry e = {.key = str_of(key), .value = str_of(project)};
    CHECK(seer_names_on_route(n, &e).code == OK);
}

TEST(seer_names_host_lives_as_long_as_its_last_route)
{
    struct seer_names n;
    CHECK(seer_names_open(&n).code == OK);
    names_route(&n, "Shop.example GET /b", "two");
    names_route(&n, "shop.example GET /a", "one");
    names_route(&n, "shop.example POST /c", "three");
    CHECK(str_is(seer_names_project(&n, STR("shop.example")), STR("two"))); // by key, 'S' first
    names_route(&n, "Shop.example GET /b", NULL);
    CHECK(str_is(seer_names_project(&n, STR("shop.example")), STR("one")));
    names_route(&n, "shop.example GET /a", "four"); // handed over
    CHECK(str_is(seer_names_project(&n, STR("shop.example")), STR("four")));
    names_route(&n, "shop.example GET /a", NULL);
    names_route(&n, "shop.example GET /a", NULL);
    CHECK(str_is(seer_names_project(&n, STR("shop.example")), STR("three")));
    names_route(&n, "shop.example POST /c", NULL);
    CHECK(seer_names_project(&n, STR("shop.example")).at == NULL && map_count(n.hosts) == 0);
    CHECK(n.version == 2);
    names_route(&n, " GET /", "x");
    CHECK(map_count(n.routes) == 0);
    seer_names_close(&n);
}

TEST(seer_names_second_copy_drops_what_it_does_not_hold)
{
    struct seer_names n;
    CHECK(seer_names_open(&n).code == OK);
    names_route(&n, "a.example GET /", "p");
    names_route(&n, "b.example GET /", "p");
    store_entry claim = {.key = STR("a.example"),
                         .value = STR("{\"entry\":\"P1234567.a.example\",\"token\":\"T\"}")};
    CHECK(seer_names_on_claim(&n, &claim).code == OK);
    CHECK(str_is(seer_names_claim(&n, STR("a.example"))->entry, STR("p1234567.a.example")));
    CHECK(seer_names_on_route(&n, NULL).code == OK && seer_names_on_claim(&n, NULL).code == OK);
    CHECK(map_count(n.hosts) == 2 && map_count(n.claims) == 1);
    names_route(&n, "b.example GET /", "p"); // the copy after a gap
    CHECK(seer_names_on_route(&n, NULL).code == OK && seer_names_on_claim(&n, NULL).code == OK);
    CHECK(map_count(n.hosts) == 1 && map_get(n.hosts, STR("b.example")) != NULL);
    CHECK(map_count(n.claims) == 0);
    CHECK(seer_names_on_claim(&n, &claim).code == OK);
    claim.value = STR("{");
    CHECK(seer_names_on_claim(&n, &claim).code == ERR_SYNTAX);
    claim.value = (str){NULL, 0};
    CHECK(seer_names_on_claim(&n, &claim).code == OK && map_count(n.claims) == 0);
    seer_names_close(&n);
}

// ---- the whole protocol

struct sky {
    char folder[64];
    loop *loop;
    mesh_engine *engine;
    mesh *seer, *client;
    void *state;
    protocol_doors doors;
    unsigned replies;
    err error;
    char text[1024]; // of the last reply
    bool done;
    buf said; // by the last child
};

static uint16_t port_free(void)
{
    int fd = -1;
    CHECK(socket_listen("127.0.0.1", 0, false, &fd).code == OK);
    uint16_t port = socket_port(fd);
    fd_drop(&fd);
    return port;
}

static void sky_open(struct sky *s)
{
    *s = (struct sky){.replies = 0};
    (void)snprintf(s->folder, sizeof(s->folder), "/tmp/seer-test-XXXXXX");
    CHECK(mkdtemp(s->folder) != NULL && loop_open(&s->loop).code == OK);
    CHECK(mesh_embedded_open(&s->engine, s->loop, s->folder).code == OK);
    CHECK(mesh_join(&s->seer, s->engine, STR("seer@Black"), STR("seer")).code == OK);
    CHECK(mesh_join(&s->client, s->engine, STR("client@Black"), STR("")).code == OK);
    s->doors = (protocol_doors){.address = "127.0.0.1", .dns = port_free()};
    protocol_context context = {.loop = s->loop,
                                .mesh = s->seer,
                                .folder = s->folder,
                                .universe = STR("Black"),
                                .node = STR("seer@Black"),
                                .doors = &s->doors};
    CHECK(protocol_seer.open(&s->state, &context).code == OK);
    buf_open(&s->said, TEXT_BYTES_MAX);
}

static void sky_on_closed(void *data)
{
    *(bool *)data = true;
}

static void sky_close(struct sky *s)
{
    bool closed = false;
    protocol_seer.close(s->state, sky_on_closed, &closed);
    CHECK(closed);
    mesh_leave(s->seer);
    mesh_leave(s->client);
    mesh_engine_close(s->engine);
    loop_close(s->loop);
    buf_close(&s->said);
    CHECK(file_remove_tree(s->folder).code == OK);
}

static void sky_until(struct sky *s, const bool *done)
{
    for (uint64_t until = clock_now_ms() + WAIT_MS; !*done && clock_now_ms() < until;)
        loop_turn(s->loop, 20);
    CHECK(*done);
}

static void sky_tell(struct sky *s, const char *name, const char *address, bool leaving)
{
    const struct seer *seer = s->state;
    door_record doors[] = {{STR("http"), 8081}, {STR("p2p"), 9091}};
    seer_heartbeat beat = {.name = str_of(name),
                           .protocol = str_first(str_of(name), str_find_byte(str_of(name), '@')),
                           .address = str_of(address),
                           .copies = 2,
                           .doors = {doors, 2},
                           .leaving = leaving};
    mesh_tell(s->client, MSG_seer_heartbeat, &beat);
    for (uint64_t until = clock_now_ms() + WAIT_MS; clock_now_ms() < until;) {
        const struct seer_node *n = table_get(&seer->table, name);
        if (n != NULL && n->leaving == leaving && str_is(n->address, str_of(address)))
            return;
        loop_turn(s->loop, 20);
    }
    CHECK(false);
}

static void sky_on_commit(void *data, err e, uint64_t revision)
{
    (void)revision;
    struct sky *s = data;
    CHECK(e.code == OK);
    s->done = true;
}

static void sky_write(struct sky *s, str bucket, str key, str value)
{
    store_change change = {value.at == NULL ? STORE_DELETE : STORE_PUT, bucket, key, value,
                           STORE_ANY};
    s->done = false;
    mesh_commit(s->client, &change, 1, sky_on_commit, s);
    sky_until(s, &s->done);
}

static void sky_on_reply(void *data, err e, const void *fields)
{
    struct sky *s = data;
    s->error = e;
    s->done = true;
    buf_clear(&s->said);
    json_writer w = {.out = &s->said};
    if (e.code == OK)
        message_json_write(&w, NULL, message_infos[s->replies].reply, fields);
}

// Asks and leaves the reply as JSON in `said`.
static err_code sky_ask(struct sky *s, message_kind kind, const void *fields)
{
    s->done = false;
    s->replies = kind;
    mesh_ask(s->client, STR("seer@Black"), kind, NULL, fields, WAIT_MS, sky_on_reply, s);
    sky_until(s, &s->done);
    return s->error.code;
}

static void child_on_output(void *data, proc *p, int stream, str bytes)
{
    (void)p;
    (void)stream;
    buf_add(&((struct sky *)data)->said, bytes);
}

static void child_on_end(void *data, proc *p, const proc_end *end)
{
    (void)p;
    (void)end;
    ((struct sky *)data)->done = true;
}

// Runs a program (words parted by blanks) against us; what it says lands in `said`.
static void sky_run(struct sky *s, const char *line)
{
    char kept[512];
    const char *argv[CHILD_WORDS + 1] = {NULL};
    size_t count = 0;
    (void)snprintf(kept, sizeof(kept), "%s", line);
    for (char *word = kept; word != NULL && count < CHILD_WORDS;) {
        char *next = strchr(word, ' ');
        if (next != NULL)
            *next++ = '\0';
        argv[count++] = word;
        word = next;
    }
    proc_settings settings = {.argv = argv,
                              .wall_ms_max = CHILD_MS_MAX,
                              .on_output = child_on_output,
                              .on_end = child_on_end,
                              .data = s};
    proc *p;
    buf_clear(&s->said);
    s->done = false;
    CHECK(proc_start(&p, s->loop, &settings).code == OK);
    sky_until(s, &s->done);
}

static bool sky_said(struct sky *s, const char *part)
{
    bool said = str_find(buf_str(&s->said), str_of(part)) < s->said.len;
    if (!said)
        (void)fprintf(stderr, "wanted `%s` in:\n%.*s\n", part, STR_ARG(buf_str(&s->said)));
    return said;
}

static bool sky_dig(struct sky *s, const char *words, const char *part)
{
    char line[512];
    (void)snprintf(line, sizeof(line), "dig @127.0.0.1 -p %u +tries=1 +time=3 %s", s->doors.dns,
                   words);
    sky_run(s, line);
    return sky_said(s, part);
}

TEST(seer_tells_who_is_there_and_who_serves_a_host)
{
    struct sky s;
    sky_open(&s);
    seer_nodes_request all = {.protocol = STR("")}, substrates = {.protocol = STR("substrate")};
    seer_resolve_request shop = {.fqdn = STR("SHOP.example.com")};
    CHECK(sky_ask(&s, MSG_seer_nodes, &all) == OK && sky_said(&s, "{\"nodes\":[]}"));
    CHECK(sky_ask(&s, MSG_seer_resolve, &shop) == ERR_ABSENT);
    sky_tell(&s, "tns@Black", "127.0.0.1", false);
    sky_tell(&s, "substrate@Black", "127.0.0.1", false);
    CHECK(sky_ask(&s, MSG_seer_nodes, &all) == OK);
    CHECK(sky_said(&s, "{\"nodes\":[{\"name\":\"substrate@Black\",\"universe\":\"Black\","
                       "\"protocol\":\"substrate\",\"address\":\"127.0.0.1\",\"copies\":2,"
                       "\"doors\":[{\"name\":\"http\",\"port\":8081},{\"name\":\"p2p\","
                       "\"port\":9091}],\"healthy\":true,"));
    CHECK(sky_said(&s, "{\"name\":\"tns@Black\","));
    CHECK(sky_ask(&s, MSG_seer_nodes, &substrates) == OK);
    CHECK(str_find(buf_str(&s.said), STR("tns@Black")) == s.said.len);
    sky_write(&s, STR("tns.route"), STR("shop.example.com GET /"), STR("project1"));
    CHECK(sky_ask(&s, MSG_seer_resolve, &shop) == OK);
    CHECK(sky_said(
        &s, "{\"project\":\"project1\",\"targets\":[{\"name\":\"127.0.0.1\",\"port\":8081}]}"));
    sky_tell(&s, "gateway@Black", "127.0.0.9", false);
    CHECK(sky_ask(&s, MSG_seer_resolve, &shop) == OK);
    CHECK(sky_said(&s, "\"targets\":[{\"name\":\"127.0.0.9\",\"port\":8081}]}"));
    sky_tell(&s, "gateway@Black", "127.0.0.9", true);
    CHECK(sky_ask(&s, MSG_seer_resolve, &shop) == OK && sky_said(&s, "\"name\":\"127.0.0.1\""));
    CHECK(sky_ask(&s, MSG_seer_nodes, &all) == OK && sky_said(&s, "\"detail\":\"left\""));
    sky_write(&s, STR("tns.route"), STR("shop.example.com GET /"), (str){NULL, 0});
    CHECK(sky_ask(&s, MSG_seer_resolve, &shop) == ERR_ABSENT);
    sky_close(&s);
}

#define DIG(words, part) CHECK(sky_dig(&s, words, part))

TEST(seer_answers_dig_out_of_its_table)
{
    struct sky s;
    sky_open(&s);
    // Nobody is there yet: names exist, addresses do not.
    DIG("gftxhd6h0.black.localtau", "status: NOERROR");
    DIG("gftxhd6h0.black.localtau", "ANSWER: 0, AUTHORITY: 1");
    sky_tell(&s, "substrate@Black", "127.0.0.5", false);
    sky_tell(&s, "seer@Black", "127.0.0.1", false);
    DIG("gftxhd6h0.black.localtau", "gftxhd6h0.black.localtau. 5\tIN\tA\t127.0.0.5");
    sky_tell(&s, "gateway@Black", "127.0.0.7", false);
    sky_tell(&s, "gateway2@Black", "127.0.0.6", false); // a protocol of its own: no gateway
    DIG("+short GFTXHD6H12.BLACK.localTAU", "127.0.0.7\n");
    DIG("+tcp +short gftxhd6h12.black.localtau", "127.0.0.7\n");
    DIG("gftxhd6h0.black.localtau AAAA", "status: NOERROR");
    DIG("gftxhd6h0.black.localtau AAAA", "ANSWER: 0, AUTHORITY: 1");
    DIG("gftxhd6h.black.localtau", "status: NXDOMAIN");
    DIG("gftxhd6hx.black.localtau", "status: NXDOMAIN");
    DIG("a.gftxhd6h0.black.localtau", "status: NXDOMAIN");
    // Zones.
    DIG("black.localtau SOA",
        "black.localtau.\t\t5\tIN\tSOA\tseer.tau.black.localtau. hostmaster.black.localtau. ");
    DIG("black.localtau NS", "black.localtau.\t\t5\tIN\tNS\tseer.tau.black.localtau.");
    DIG("black.localtau NS", "seer.tau.black.localtau. 5\tIN\tA\t127.0.0.1");
    DIG("localtau SOA", "localtau.\t\t5\tIN\tSOA\tseer.tau.black.localtau.");
    DIG("localtau NS", "IN\tNS\tseer.tau.black.localtau.");
    DIG("other.localtau", "status: NXDOMAIN");
    DIG("other.localtau", "\nlocaltau.\t\t5\tIN\tSOA");
    DIG("nothing.black.localtau", "status: NXDOMAIN");
    DIG("nothing.black.localtau", "flags: qr aa rd;");
    DIG("xblack.localtau", "status: NXDOMAIN");
    DIG("example.com", "status: REFUSED");
    DIG("xlocaltau", "status: REFUSED");
    // Services.
    DIG("+short seer.tau.black.localtau", "127.0.0.1\n");
    DIG("+short substrate.tau.black.localtau", "127.0.0.5\n");
    DIG("+short substrate.tau.black.localtau TXT", "\"node=substrate@Black p2p=127.0.0.5:9091\"\n");
    DIG("+short gateway2.tau.black.localtau", "127.0.0.6\n");
    DIG("tns.tau.black.localtau", "status: NOERROR"); // known, and nobody is there
    DIG("tau.black.localtau", "status: NOERROR");
    DIG("none.tau.black.localtau", "status: NXDOMAIN");
    DIG("a.substrate.tau.black.localtau", "status: NXDOMAIN");
    sky_close(&s);
}

TEST(seer_answers_dig_for_routes_and_proofs_of_domains)
{
    struct sky s;
    sky_open(&s);
    sky_tell(&s, "gateway@Black", "127.0.0.7", false);
    sky_write(&s, STR("tns.route"), STR("shop.black.localtau GET /"), STR("project1"));
    sky_write(&s, STR("tns.route"), STR("www.example.com GET /"), STR("project1"));
    sky_write(&s, STR("auth.domain"), STR("example.com"),
              STR("{\"fqdn\":\"example.com\",\"project\":\"QmAbCdEfGh\",\"token\":\"ToKen1\","
                  "\"entry\":\"QmAbCdEf.example.com\"}"));
    DIG("+short shop.black.localtau", "127.0.0.7\n");
    DIG("+short www.example.com", "127.0.0.7\n");
    DIG("+short QmAbCdEf.example.com TXT", "\"ToKen1\"\n");
    DIG("+short qmabcdef.EXAMPLE.com TXT", "\"ToKen1\"\n");
    DIG("qmabcdef.example.com A", "status: NOERROR");
    DIG("qmxxxxxx.example.com TXT", "status: NXDOMAIN");
    DIG("qmxxxxxx.example.com TXT", "\nexample.com.\t\t5\tIN\tSOA");
    DIG("example.com A", "status: NOERROR");
    DIG("example.com SOA", "ANSWER: 1");
    DIG("example.org A", "status: REFUSED");
    DIG("com SOA", "status: REFUSED");
    sky_write(&s, STR("tns.route"), STR("shop.black.localtau GET /"), (str){NULL, 0});
    sky_write(&s, STR("auth.domain"), STR("example.com"), (str){NULL, 0});
    DIG("shop.black.localtau", "status: NXDOMAIN");
    DIG("qmabcdef.example.com TXT", "status: REFUSED");
    DIG("+short www.example.com", "127.0.0.7\n");
    // The serial moves with what is seen.
    DIG("+short black.localtau SOA", "seer.tau");
    OWNED(buf_close) buf before;
    buf_open(&before, TEXT_BYTES_MAX);
    buf_add(&before, buf_str(&s.said));
    DIG("+short black.localtau SOA", "seer.tau");
    CHECK(str_is(buf_str(&before), buf_str(&s.said)));
    sky_tell(&s, "gateway@Black", "127.0.0.8", false);
    DIG("+short black.localtau SOA", "seer.tau");
    CHECK(!str_is(buf_str(&before), buf_str(&s.said)));
    sky_close(&s);
}

static void sky_on_http(void *data, http_exchange *x)
{
    protocol_seer.http(data, x);
}

TEST(seer_door_tells_the_suffix_of_generated_domains)
{
    struct sky s;
    char line[256];
    http_server *server;
    int fd = -1;
    sky_open(&s);
    CHECK(socket_listen("127.0.0.1", 0, false, &fd).code == OK);
    uint16_t port = socket_port(fd);
    http_server_settings settings = {.loop = s.loop, .handler = sky_on_http, .data = s.state};
    CHECK(http_server_open(&server, &settings).code == OK);
    CHECK(http_server_listen(server, fd, NULL, NULL).code == OK);
    static const struct {
        const char *options, *path, *wants;
    } rows[] = {
        {"-s", "/ping", "pong"},
        {"-s", "/network/config", ".black.localtau"},
        {"-si", "/geo/all", "HTTP/1.1 404"},
        {"-siXPOST", "/ping", "HTTP/1.1 405"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        (void)snprintf(line, sizeof(line), "curl %s http://127.0.0.1:%u%s", rows[i].options, port,
                       rows[i].path);
        sky_run(&s, line);
        CHECK(sky_said(&s, rows[i].wants));
        CHECK(i > 1 || s.said.len == strlen(rows[i].wants));
    }
    http_server_close(server);
    sky_close(&s);
}

TEST(seer_survives_each_failed_allocation)
{
    struct sky s;
    sky_open(&s);
    protocol_context context = {
        .loop = s.loop, .folder = s.folder, .universe = STR("u"), .node = STR("seer2@Black")};
    uint64_t opened = 0, refused = 0;
    for (uint64_t after = 0;; after++) {
        void *opened_state = NULL;
        protocol_doors doors = {.address = "127.0.0.1", .dns = port_free()};
        context.doors = &doors;
        CHECK(mesh_join(&context.mesh, s.engine, STR("seer2@Black"), STR("")).code == OK);
        fault_now = (fault_plan){.what = FAULT_MEMORY, .after = after, .times = 1};
        err e = protocol_seer.open(&opened_state, &context);
        if (e.code == OK) {
            struct seer *seer = opened_state;
            store_entry route = {.key = STR("a.example GET /"), .value = STR("p")};
            store_entry claim = {.key = STR("a.example"),
                                 .value = STR("{\"entry\":\"p.a.example\",\"token\":\"T\"}")};
            // Either kept or not; what is asked next must not meet a half-made one.
            err kept = seer_names_on_route(&seer->names, &route);
            CHECK((seer_names_project(&seer->names, STR("a.example")).at != NULL) ==
                  (kept.code == OK));
            kept = seer_names_on_claim(&seer->names, &claim);
            CHECK((seer_names_claim(&seer->names, STR("a.example")) != NULL) == (kept.code == OK));
            kept = table_tell(&seer->table, "tns@u", "tns", 1);
            CHECK((table_get(&seer->table, "tns@u") != NULL) == (kept.code == OK));
        }
        bool over = fault_now.seen <= after;
        fault_now = (fault_plan){.what = FAULT_NONE};
        opened += e.code == OK;
        refused += e.code == ERR_MEMORY;
        bool closed = false;
        if (e.code == OK)
            protocol_seer.close(opened_state, sky_on_closed, &closed);
        CHECK(e.code != OK || closed);
        mesh_leave(context.mesh);
        loop_turn(s.loop, 1);
        if (over)
            break;
    }
    CHECK(opened > 1 && refused > 5 && fault_now.seen == 0);
    sky_close(&s);
}
