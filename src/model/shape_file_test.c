// Tests of shape files: what is read, what is written back, what is refused and where.
#include "base/str.h"
#include "base/test.h"
#include "model/shape_file.h"

struct shape_case {
    arena *memory;
    diagnoses found;
    shape shape;
};

static err case_read(struct shape_case *k, const char *text)
{
    *k = (struct shape_case){0};
    CHECK(arena_open(&k->memory, 1 << 20).code == OK);
    diagnoses_init(&k->found, k->memory, 20);
    return shape_read(k->memory, STR("config/tns.yaml"), str_of(text), &k->found, &k->shape);
}

#define SHAPE_GOOD "universe: blackhole\nnode: tns\nservers: [127.0.0.1:14061]\n"

TEST(shape_file_is_read_with_defaults_and_the_seeds_fields)
{
    struct shape_case k;
    err e =
        case_read(&k, SHAPE_GOOD "services:\n  - tns\np2p-listen: [/ip4/127.0.0.1/tcp/14226]\n"
                                 "ports: {http: 14466, lite: 4247}\nlocation: {lat: 1, long: 2}\n"
                                 "domains:\n  aliases: [a, b]\nnetwork-fqdn: blackhole.localtau\n");
    CHECK(e.code == OK);
    CHECK(str_is(k.shape.universe, STR("blackhole")) && str_is(k.shape.services.at[0], STR("tns")));
    CHECK(k.shape.main == 14226 && k.shape.http == 14466 && k.shape.dns == 0);
    CHECK(k.shape.copies == 1 && k.shape.elder_election_ms == 300 && !shape_is_elder(&k.shape));
    CHECK(k.shape.servers.at[0].port == 14061);
    CHECK(str_is(k.shape.servers.at[0].host, STR("127.0.0.1")));
    arena_close(k.memory);
}

TEST(shape_file_errors_name_the_line_the_column_and_the_cure)
{
    static const struct {
        const char *text, *says;
        size_t line, column;
    } cases[] = {
        {SHAPE_GOOD "p2p-listen: [127.0.0.1:1]\nnods: x\n", "a shape file has no field nods", 5, 1},
        {SHAPE_GOOD "p2p-listen: [127.0.0.1:1]\nports:\n  htp: 1\n",
         "a shape file has no field ports/htp", 6, 3},
        {SHAPE_GOOD "p2p-listen: [127.0.0.1:99999]\n",
         "p2p-listen has an address that cannot be: 127.0.0.1:99999", 4, 14},
        {SHAPE_GOOD "p2p-listen: [localhost:1]\n",
         "p2p-listen has an address that cannot be: localhost:1", 4, 14},
        {SHAPE_GOOD "p2p-listen: [127.0.0.1:1]\nservices: [dns]\n", "there is no service dns", 5,
         12},
        {SHAPE_GOOD "p2p-listen: [127.0.0.1:1]\nservices: [tns, seer]\n",
         "a node has one service in this release", 5, 11},
        {SHAPE_GOOD "p2p-listen: [127.0.0.1:1]\nports: {http: 0}\n", "ports/http cannot be 0", 5,
         15},
        {SHAPE_GOOD "p2p-listen: [127.0.0.1:1]\nelder: {client: '127.0.0.1:2'}\n",
         "elder/route is missing", 5, 8},
        {SHAPE_GOOD "p2p-listen: [127.0.0.1:1]\nengine: embedded\n", "engine cannot be embedded", 5,
         9},
        {SHAPE_GOOD, "p2p-listen is missing", 0, 0},
        {"universe: Black Hole\n", "universe cannot be Black Hole", 1, 11},
        {"- a\n", "a shape file is a map", 1, 1},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct shape_case k;
        CHECK(case_read(&k, cases[i].text).code == ERR_SYNTAX);
        const diagnosis *d = k.found.first;
        CHECK(d != NULL && d->help.len > 0 && str_is(d->text, str_of(cases[i].says)));
        CHECK(d->line == cases[i].line && d->column == cases[i].column);
        arena_close(k.memory);
    }
}

TEST(shape_file_that_was_written_reads_as_the_same_shape)
{
    struct shape_case k;
    CHECK(case_read(&k,
                    "universe: u\nnode: elder-2\nservers: ['[::1]:14061', 10.0.0.2:2]\n"
                    "p2p-listen: [10.0.0.1:14053]\np2p-announce: [1.2.3.4:5]\nports: {dns: 53}\n"
                    "elder: {client: 10.0.0.1:14062, route: 10.0.0.1:14072, routes: [10.0.0.2:7],\n"
                    " election-ms: 500}\nfolder: nodes/it's\nworkers: 2\ncopies: 3\n"
                    "request-log: true\ngateway-port: 8080\n")
              .code == OK);
    OWNED(buf_close) buf once, twice;
    buf_open(&once, 64 * 1024);
    buf_open(&twice, 64 * 1024);
    shape_write(&once, &k.shape);
    buf_add_byte(&once, '\0');
    CHECK(once.error.code == OK);
    struct shape_case again;
    CHECK(case_read(&again, once.at).code == OK);
    shape_write(&twice, &again.shape);
    buf_add_byte(&twice, '\0');
    CHECK(str_is(buf_str(&once), buf_str(&twice)));
    CHECK(again.shape.elder_election_ms == 500 && again.shape.request_log);
    CHECK(str_is(again.shape.folder, STR("nodes/it's")) && again.shape.servers.count == 2);
    arena_close(again.memory);
    arena_close(k.memory);
}
