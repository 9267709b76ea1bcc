// dream status and dream list: nodes, doors and ports, as the article draws them.
#include "base/clock.h"
#include "base/json.h"
#include "base/str.h"
#include "cmd/dream_inner.h"

#include <time.h>

enum { CELLS_MAX = 512 };

// Cells of one table while it is put together.
struct table {
    arena *memory;
    str cells[CELLS_MAX];
    size_t count;
};

static void table_add(struct table *t, str cell)
{
    if (t->count < CELLS_MAX)
        t->cells[t->count++] = cell;
}

static str table_number(struct table *t, const json *value)
{
    return str_format(t->memory, "%llu", (unsigned long long)value->whole);
}

static str status_node_name(arena *a, const json *universe, const json *node)
{
    return str_format(a, "%.*s@%.*s", STR_ARG(json_text(node, "name")),
                      STR_ARG(json_text(universe, "universe")));
}

static const json *status_ports(const json *node)
{
    const json *ports = json_field(node, "ports");
    return ports == NULL ? NULL : ports->first;
}

static void status_row(struct table *t, str name, str what, str value)
{
    table_add(t, STR("Nodes"));
    table_add(t, name);
    table_add(t, what);
    table_add(t, value);
}

static bool status_is_up(const json *node)
{
    return str_is(json_text(node, "state"), STR("up"));
}

static void status_universe_table(cli *c, const json *universe)
{
    struct table t = {.memory = cli_arena(c)};
    const json *nodes = json_field(universe, "nodes");
    for (const json *n = nodes != NULL ? nodes->first : NULL; n != NULL; n = n->next) {
        str name = status_node_name(t.memory, universe, n);
        for (const json *p = status_ports(n); p != NULL; p = p->next)
            status_row(&t, name, p->name, table_number(&t, p));
        if (!status_is_up(n))
            status_row(&t, name, STR("state"), json_text(n, "state"));
        if (json_text(n, "protocol").len > 0) // simples are one each
            status_row(
                &t, name, STR("copies"),
                str_format(t.memory, "%llu", (unsigned long long)json_whole(n, "copies", 1)));
    }
    cli_box(c, t.cells, 4, t.count / 4);
}

static void status_node_table(cli *c, const json *universe, const json *node)
{
    struct table t = {.memory = cli_arena(c)};
    str name = status_node_name(t.memory, universe, node);
    table_add(&t, name);
    table_add(&t, STR("copies"));
    table_add(&t, str_format(t.memory, "%llu", (unsigned long long)json_whole(node, "copies", 1)));
    if (!status_is_up(node)) {
        table_add(&t, name);
        table_add(&t, STR("state"));
        table_add(&t, json_text(node, "state"));
    }
    for (const json *p = status_ports(node); p != NULL; p = p->next) {
        table_add(&t, name);
        table_add(&t, p->name);
        table_add(&t, table_number(&t, p));
    }
    cli_box(c, t.cells, 3, t.count / 3);
}

static const json *status_find_node(const json *universe, str name)
{
    const json *nodes = json_field(universe, "nodes");
    for (const json *n = nodes != NULL ? nodes->first : NULL; n != NULL; n = n->next)
        if (str_is(json_text(n, "name"), name))
            return n;
    return NULL;
}

// The same JSON for one node as for all: a list of one.
static void status_node_json(cli *c, const json *universe, const json *node)
{
    OWNED(buf_close) buf out;
    buf_open(&out, 64 * 1024);
    json_writer w = {.out = &out};
    json_open_object(&w, NULL);
    json_put_text(&w, "universe", json_text(universe, "universe"));
    json_open_list(&w, "nodes");
    json_open_object(&w, NULL);
    json_put_text(&w, "name", json_text(node, "name"));
    json_put_text(&w, "protocol", json_text(node, "protocol"));
    json_put_whole(&w, "copies", json_whole(node, "copies", 1));
    json_put_text(&w, "state", json_text(node, "state"));
    if (json_whole(node, "pid", 0) != 0)
        json_put_whole(&w, "pid", json_whole(node, "pid", 0));
    else
        json_put_null(&w, "pid");
    json_put_whole(&w, "restarts", json_whole(node, "restarts", 0));
    if (json_whole(node, "server_pid", 0) != 0)
        json_put_whole(&w, "server_pid", json_whole(node, "server_pid", 0));
    json_open_object(&w, "ports");
    for (const json *p = status_ports(node); p != NULL; p = p->next)
        json_put_whole(&w, str_c(cli_arena(c), p->name), p->whole);
    json_close_object(&w);
    json_close_object(&w);
    json_close_list(&w);
    json_close_object(&w);
    cli_json_out(c, buf_str(&out));
}

static int status_once(cli *c, dream_client *api, str what, str name)
{
    arena *a = cli_arena(c);
    const json *all;
    err e = dream_client_json(api, a, STR("GET"), STR("/v1/status"), STR(""), &all, NULL);
    if (e.code != OK)
        return dream_api_failed(c, e);
    const json *universes = json_field(all, "universes"), *universe = NULL;
    for (const json *u = universes != NULL ? universes->first : NULL; u != NULL && universe == NULL;
         u = u->next)
        if (name.len == 0 || str_is(json_text(u, "universe"), name))
            universe = u;
    if (universe == NULL)
        return cli_fail(c, EXIT_ABSENT, str_format(a, "no universe %.*s runs", STR_ARG(name)),
                        STR("dream list"));
    const json *value;
    str text;
    e = dream_client_json(
        api, a, STR("GET"),
        str_format(a, "/v1/universes/%.*s", STR_ARG(json_text(universe, "universe"))), STR(""),
        &value, &text);
    if (e.code != OK)
        return dream_api_failed(c, e);
    if (str_is(what, STR("id"))) {
        if (cli_json(c))
            cli_json_out(c, str_format(a, "{\"id\":\"%.*s\"}", STR_ARG(json_text(value, "id"))));
        else
            cli_print(c, "[SUCCESS] Universe id: %.*s\n", STR_ARG(json_text(value, "id")));
        return EXIT_OK;
    }
    if (what.len == 0 || str_is(what, STR("universe")) || str_is(what, STR("u"))) {
        if (cli_json(c))
            cli_json_out(c, text);
        else
            status_universe_table(c, value);
        return EXIT_OK;
    }
    const json *node = status_find_node(value, what);
    if (node == NULL)
        return cli_fail(c, EXIT_ABSENT,
                        str_format(a, "no node %.*s runs in %.*s", STR_ARG(what),
                                   STR_ARG(json_text(value, "universe"))),
                        STR("dream status universe   or start it: dream node start NODE"));
    if (cli_json(c))
        status_node_json(c, value, node);
    else
        status_node_table(c, value, node);
    return EXIT_OK;
}

int dream_status(cli *c)
{
    str what = cli_argument(c, 0),
        name = cli_argument(c, 1).len > 0 ? cli_argument(c, 1) : cli_value(c, "universe");
    int code;
    dream_client *api = dream_api(c, &code);
    if (api == NULL)
        return code;
    code = status_once(c, api, what, name);
    while (code == EXIT_OK && cli_switch(c, "watch")) {
        nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
        if (!cli_json(c))
            cli_print(c, "\n");
        code = status_once(c, api, what, name);
    }
    dream_client_close(api);
    return code;
}

int dream_list(cli *c)
{
    int code;
    dream_client *api = dream_api(c, &code);
    if (api == NULL)
        return code;
    arena *a = cli_arena(c);
    const json *all;
    str text;
    err e = dream_client_json(api, a, STR("GET"), STR("/v1/status"), STR(""), &all, &text);
    dream_client_close(api);
    if (e.code != OK)
        return dream_api_failed(c, e);
    if (cli_json(c)) {
        cli_json_out(c, text);
        return EXIT_OK;
    }
    struct table t = {.memory = a};
    static const char *const heading[] = {"UNIVERSE", "NODES", "PORTS", "GATEWAY", "STARTED"};
    for (size_t i = 0; i < COUNT(heading); i++)
        table_add(&t, str_of(heading[i]));
    const json *universes = json_field(all, "universes");
    for (const json *u = universes != NULL ? universes->first : NULL; u != NULL; u = u->next) {
        const json *nodes = json_field(u, "nodes");
        table_add(&t, json_text(u, "universe"));
        table_add(&t, str_format(a, "%zu", nodes != NULL ? nodes->count : 0));
        table_add(&t, str_format(a, "%llu…", (unsigned long long)json_whole(u, "shift", 0)));
        table_add(&t, str_format(a, "%llu", (unsigned long long)json_whole(u, "gateway_port", 0)));
        table_add(&t, cli_age(a, json_whole(u, "started_real_ms", 0), clock_real_ms()));
    }
    cli_columns(c, t.cells, COUNT(heading), t.count / COUNT(heading));
    return EXIT_OK;
}
