// tau node: machines come to a universe and go.
#include "base/clock.h"
#include "base/json.h"
#include "base/str.h"
#include "cmd/dream_inner.h"
#include "cmd/tau_inner.h"
#include "model/value.h"
#include "node/join.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { VALID_MS = 10 * 60 * 1000, NODE_JSON_BYTES = 1 << 20, NODE_CELLS = 6 };

// ---- what the machine with the authority is asked

static int node_universe(cli *c, dream_client *api, str *out)
{
    *out = cli_value(c, "universe");
    if (out->len == 0)
        *out = str_of(getenv("DREAM_UNIVERSE"));
    if (out->len > 0)
        return EXIT_OK;
    const json *status;
    err e =
        dream_client_json(api, cli_arena(c), STR("GET"), STR("/v1/status"), STR(""), &status, NULL);
    if (e.code != OK)
        return dream_api_failed(c, e);
    const json *universes = json_field(status, "universes");
    if (universes == NULL || universes->first == NULL)
        return cli_fail(c, EXIT_ABSENT, STR("no universe is running"),
                        STR("dream new multiverse --processes --address IP"));
    *out = json_text(universes->first, "universe");
    return EXIT_OK;
}

static int node_failed(cli *c, err e)
{
    if (e.code == ERR_UNSUPPORTED)
        return cli_fail(c, EXIT_FAILED, str_of(e.what), STR("docs/guide/cluster.md"));
    if (e.code == ERR_ABSENT && e.sys == 404)
        return cli_fail(c, EXIT_ABSENT, str_of(e.what), STR("tau node list"));
    if (e.code == ERR_SYNTAX)
        return cli_fail(c, EXIT_USAGE, str_of(e.what), STR("tau node --help"));
    return dream_api_failed(c, e);
}

// POST below the universe; the client is closed.
static int
node_post(cli *c, const char *below, str body, str *universe, const json **value, str *text)
{
    int code = EXIT_OK;
    dream_client *api = dream_api(c, &code);
    if (api == NULL)
        return code;
    code = node_universe(c, api, universe);
    if (code == EXIT_OK) {
        str path = str_format(cli_arena(c), "/v1/universes/%.*s/%s", STR_ARG(*universe), below);
        err e = dream_client_json(api, cli_arena(c), STR("POST"), path, body, value, text);
        if (e.code != OK)
            code = node_failed(c, e);
    }
    dream_client_close(api);
    return code;
}

static bool node_time(cli *c, const char *flag, uint64_t otherwise, uint64_t *out)
{
    str given = cli_value(c, flag);
    *out = otherwise;
    if (given.len == 0 || duration_read(given, out).code == OK)
        return true;
    (void)cli_fail(c, EXIT_USAGE,
                   str_format(cli_arena(c), "--%s cannot be %.*s", flag, STR_ARG(given)),
                   STR("write a time: 30s, 10m, 24h"));
    return false;
}

int tau_node_invite(cli *c)
{
    arena *a = cli_arena(c);
    uint64_t valid, certificates;
    str given = cli_value(c, "shape"), universe;
    const json *value;
    if (given.len == 0 && cli_switch(c, "elder"))
        given = STR("elder");
    if (given.len == 0)
        return cli_fail(c, EXIT_USAGE, STR("which shape is the node to be?"),
                        STR("tau node invite --shape substrate"));
    if (str_is(given, STR("elder")) && !cli_switch(c, "elder"))
        return cli_fail(c, EXIT_USAGE, STR("an elder keeps the universe's records"),
                        STR("if that is meant: tau node invite --shape elder --elder"));
    if (!node_time(c, "valid", VALID_MS, &valid) || !node_time(c, "certificates", 0, &certificates))
        return EXIT_USAGE;
    OWNED(buf_close) buf body;
    buf_open(&body, NODE_JSON_BYTES);
    json_writer w = {.out = &body};
    json_open_object(&w, NULL);
    json_put_text(&w, "shape", given);
    json_put_whole(&w, "valid_ms", valid);
    json_put_whole(&w, "certificate_seconds", certificates / 1000);
    json_close_object(&w);
    int code = node_post(c, "invite", buf_str(&body), &universe, &value, NULL);
    if (code != EXIT_OK)
        return code;
    str token = json_text(value, "token");
    str command = str_format(a, "tau node join %.*s --root ~/ctau-%.*s --start", STR_ARG(token),
                             STR_ARG(universe));
    if (cli_json(c)) {
        buf_clear(&body);
        w = (json_writer){.out = &body};
        json_open_object(&w, NULL);
        json_put_text(&w, "token", token);
        json_put_text(&w, "universe", universe);
        json_put_text(&w, "shape", given);
        json_put_whole(&w, "valid_ms", valid);
        json_put_text(&w, "command", command);
        json_close_object(&w);
        cli_json_out(c, buf_str(&body));
        return EXIT_OK;
    }
    cli_say(c, "A %.*s may join %.*s once, within %llu s. On the other machine:\n", STR_ARG(given),
            STR_ARG(universe), (unsigned long long)(valid / 1000));
    cli_print(c, "%.*s\n", STR_ARG(command));
    return EXIT_OK;
}

static int node_tell(cli *c, const char *verb, const char *done)
{
    arena *a = cli_arena(c);
    str name = cli_argument(c, 0), universe, text;
    const json *value;
    name = str_first(name, str_find_byte(name, '@'));
    if (name.len == 0 || str_find_byte(name, '/') < name.len)
        return cli_fail(c, EXIT_USAGE, STR("which node?"),
                        str_format(a, "tau node %s NODE   (tau node list)", verb));
    int code = node_post(c, str_format(a, "nodes/%.*s/%s", STR_ARG(name), verb).at, STR(""),
                         &universe, &value, &text);
    if (code != EXIT_OK)
        return code;
    bool waits = json_field(value, "idle") != NULL && !json_flag(value, "idle");
    if (cli_json(c))
        cli_json_out(c, text);
    else
        cli_print(c, "[SUCCESS] %.*s@%.*s %s%s\n", STR_ARG(name), STR_ARG(universe), done,
                  waits ? "; something is still under way there: ask again" : "");
    return EXIT_OK;
}

int tau_node_drain(cli *c)
{
    return node_tell(c, "drain", "takes no new work");
}

int tau_node_remove(cli *c)
{
    return node_tell(c, "remove", "is refused everywhere from now on");
}

int tau_node_init(cli *c)
{
    return cli_fail(c, EXIT_FAILED,
                    STR("a universe's authority is made where its records are kept, by dream"),
                    STR("dream new multiverse --processes --address IP   then tau node invite"));
}

// ---- the list

static const char *node_state(const node_state_record *n)
{
    return n->draining                      ? "draining"
           : n->healthy                     ? "up"
           : str_is(n->detail, STR("left")) ? "left"
                                            : "down";
}

static str node_until(arena *a, uint64_t real_ms)
{
    char text[RFC3339_TEXT];
    if (real_ms == 0)
        return STR("-");
    clock_rfc3339(real_ms, text);
    return str_format(a, "%.10s %.5s", text, text + 11);
}

static void node_list_json(cli *c, const seer_nodes_reply *reply)
{
    OWNED(buf_close) buf out;
    buf_open(&out, NODE_JSON_BYTES);
    json_writer w = {.out = &out};
    json_open_list(&w, NULL);
    for (size_t i = 0; i < reply->nodes.count; i++) {
        const node_state_record *n = &reply->nodes.at[i];
        json_open_object(&w, NULL);
        json_put_text(&w, "name", str_first(n->name, str_find_byte(n->name, '@')));
        json_put_text(&w, "universe", n->universe);
        json_put_text(&w, "address", n->address);
        json_put_text(&w, "protocol", n->protocol);
        json_put_text(&w, "state", str_of(node_state(n)));
        json_put_text(&w, "version", n->version);
        json_put_whole(&w, "certificate_until_real_ms", n->certificate_real_ms);
        json_put_whole(&w, "seen_real_ms", n->seen_real_ms);
        json_open_object(&w, "ports");
        for (size_t k = 0; k < n->doors.count; k++)
            json_put_whole(&w, str_c(cli_arena(c), n->doors.at[k].name), n->doors.at[k].port);
        json_close_object(&w);
        json_close_object(&w);
    }
    json_close_list(&w);
    cli_json_out(c, buf_str(&out));
}

int tau_node_list(cli *c)
{
    arena *a = cli_arena(c);
    int code = EXIT_OK;
    str universe;
    dream_client *api = dream_api(c, &code);
    if (api == NULL)
        return code;
    code = node_universe(c, api, &universe);
    seer_nodes_request ask = {.protocol = STR("")};
    seer_nodes_reply reply = {0};
    if (code == EXIT_OK) {
        err e = dream_client_ask(api, a, universe, MSG_seer_nodes, &ask, &reply);
        if (e.code != OK)
            code = dream_api_failed(c, e);
    }
    dream_client_close(api);
    if (code != EXIT_OK)
        return code;
    if (cli_json(c)) {
        node_list_json(c, &reply);
        return EXIT_OK;
    }
    size_t rows = reply.nodes.count + 1;
    str *cells = arena_take(a, rows * NODE_CELLS * sizeof(*cells));
    if (cells == NULL)
        return cli_fail(c, EXIT_FAILED, STR("out of memory"), STR(""));
    static const char *const head[NODE_CELLS] = {"NODE",  "ADDRESS", "PROTOCOL",
                                                 "STATE", "VERSION", "CERTIFICATE UNTIL (UTC)"};
    for (size_t i = 0; i < NODE_CELLS; i++)
        cells[i] = str_of(head[i]);
    for (size_t i = 0; i < reply.nodes.count; i++) {
        const node_state_record *n = &reply.nodes.at[i];
        str *row = cells + (i + 1) * NODE_CELLS;
        row[0] = str_first(n->name, str_find_byte(n->name, '@'));
        row[1] = n->address;
        row[2] = n->protocol.len > 0 ? n->protocol : STR("-");
        row[3] = str_of(node_state(n));
        row[4] = n->version.len > 0 ? n->version : STR("-");
        row[5] = node_until(a, n->certificate_real_ms);
    }
    cli_columns(c, cells, NODE_CELLS, rows);
    return EXIT_OK;
}

// ---- the other machine

static int join_failed(cli *c, err e)
{
    str what = str_of(e.what);
    switch (e.code) {
    case ERR_SYNTAX:
        return cli_fail(c, EXIT_USAGE, what, STR("tau node invite prints the whole command"));
    case ERR_DENIED:
        return cli_fail(c, EXIT_AUTH, what, STR("tau node invite makes another token"));
    case ERR_CONFLICT:
        return cli_fail(c, EXIT_CONFLICT, what, STR("tau node invite makes another token"));
    case ERR_ABSENT:
        return cli_fail(c, EXIT_ABSENT, what,
                        STR("is dream running there with --address, and no firewall between?"));
    default:
        return cli_fail(c, EXIT_FAILED, what, STR(""));
    }
}

static bool node_address_is(const char *text)
{
    unsigned char bytes[16];
    return inet_pton(AF_INET, text, bytes) == 1 || inet_pton(AF_INET6, text, bytes) == 1;
}

static int join_start(cli *c, const char *node, const char *root)
{
    const char *program = dream_program(cli_arena(c));
    char *argv[] = {"tau", "start", "--shape", (char *)node, "--root", (char *)root, NULL};
    if (program != NULL)
        (void)execv(program, argv);
    return cli_fail(c, EXIT_FAILED,
                    str_format(cli_arena(c), "the node does not start: %s", strerror(errno)),
                    str_format(cli_arena(c), "tau start --shape %s --root %s", node, root));
}

int tau_node_join(cli *c)
{
    arena *a = cli_arena(c);
    uint64_t shift;
    str root = cli_value(c, "root"), address = cli_value(c, "address");
    join_settings settings = {.token = cli_argument(c, 0)};
    join_result made;
    if (settings.token.len == 0 || root.len == 0)
        return cli_fail(c, EXIT_USAGE, STR("with which token, below which folder?"),
                        STR("tau node join TOKEN --root DIR   (tau node invite makes a token)"));
    if (!cli_number(c, "shift", JOIN_SHIFT_MIN, JOIN_SHIFT_MAX, 0, &shift))
        return EXIT_USAGE;
    settings.root = str_c(a, root);
    settings.shift = (uint16_t)shift;
    if (address.len > 0)
        settings.address = str_c(a, address);
    if (settings.address != NULL && !node_address_is(settings.address))
        return cli_fail(c, EXIT_USAGE, STR("--address is an IP address of this machine"),
                        STR("ip -brief address"));
    err e = join_run(a, &settings, &made);
    if (e.code != OK)
        return join_failed(c, e);
    const char *node = str_c(a, made.node);
    char full[PATH_MAX];
    if (realpath(settings.root, full) != NULL)
        settings.root = full;
    if (cli_json(c)) {
        OWNED(buf_close) buf out;
        buf_open(&out, NODE_JSON_BYTES);
        json_writer w = {.out = &out};
        json_open_object(&w, NULL);
        json_put_text(&w, "node", made.node);
        json_put_text(&w, "universe", made.universe);
        json_put_text(&w, "address", made.address);
        json_put_text(&w, "shape", str_of(made.shape_path));
        json_put_whole(&w, "certificate_until_real_ms", made.certificate_until_real_ms);
        json_close_object(&w);
        cli_json_out(c, buf_str(&out));
    } else {
        cli_print(c, "[SUCCESS] %s@%.*s joined\n", node, STR_ARG(made.universe));
        if (!cli_switch(c, "start"))
            cli_print(c, "tau start --shape %s --root %s\n", node, settings.root);
    }
    fflush(NULL);
    return cli_switch(c, "start") ? join_start(c, node, settings.root) : EXIT_OK;
}
