// The control API: who may enter, which route does what. Tokens, Host and Origin are checked before
// anything else.
#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/str.h"
#include "dream/multiverse_inner.h"
#include "protocol/door.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DRAIN_MS = 28 * 1000, API_TOLD_BYTES = 8192 };
enum { API_ANSWER_BYTES_MAX = 4 << 20, API_BODY_BYTES_MAX = 2 << 20, API_SEGMENTS_MAX = 8 };

// ---- opening

static err api_write_file(multiverse *m, uint16_t port)
{
    OWNED(buf_close) buf out;
    buf_open(&out, 4096);
    json_writer w = {.out = &out};
    json_open_object(&w, NULL);
    json_put_text(&w, "address", str_format(m->memory, "%s:%u", m->settings.api_address, port));
    json_put_whole(&w, "pid", (uint64_t)getpid());
    json_put_text(&w, "token", str_of(m->token));
    json_close_object(&w);
    const char *path = str_format(m->memory, "%s/api.json", m->settings.home).at;
    if (path == NULL || out.error.code != OK)
        return fail(ERR_LIMIT, 0, "DREAM_HOME is too long a path");
    return file_write_durable(path, buf_str(&out), 0600);
}

err api_open(multiverse *m)
{
    unsigned char random[24];
    random_bytes(random, sizeof(random));
    str token = base58_of(m->memory, (str){(char *)random, sizeof(random)});
    snprintf(m->token, sizeof(m->token), "dream_%.*s", STR_ARG(token));
    OWNED(fd_drop) int fd = -1;
    err e = socket_listen(m->settings.api_address, m->settings.api_port, false, &fd);
    if (e.code == ERR_CONFLICT)
        return fail(ERR_CONFLICT, e.sys, "another program listens at the control API's address");
    TRY(e);
    uint16_t port = socket_port(fd);
    m->settings.api_port = port;
    http_server_settings settings = {
        .loop = m->settings.loop, .handler = api_on_request, .data = m, .server_name = "ctau"};
    TRY(http_server_open(&m->api, &settings));
    TRY(http_server_listen(m->api, fd_move(&fd), NULL, m));
    return api_write_file(m, port);
}

void api_close(multiverse *m)
{
    if (m->api == NULL)
        return;
    http_server_close(m->api);
    m->api = NULL;
    const char *path = str_format(m->memory, "%s/api.json", m->settings.home).at;
    if (path != NULL)
        (void)unlink(path);
}

// ---- answers

// The universe's name server is seer's; people look for it where requests are served (as upstream
// shows it).
static uint16_t api_dns_port(universe *u, const universe_node *shown)
{
    universe_node n;
    if (strcmp(shown->protocol, "substrate") != 0)
        return 0;
    for (size_t i = 0; universe_node_at(u, i, &n); i++)
        if (strcmp(n.protocol, "seer") == 0)
            return n.doors.dns;
    return 0;
}

static void api_write_node(json_writer *w, universe *u, const universe_node *n)
{
    json_open_object(w, NULL);
    json_put_text(w, "name", n->name);
    json_put_text(w, "protocol", str_of(n->protocol));
    json_put_whole(w, "copies", n->copies);
    json_put_text(w, "state", str_of(n->state));
    if (n->pid != 0)
        json_put_whole(w, "pid", (uint64_t)n->pid);
    else
        json_put_null(w, "pid");
    json_put_whole(w, "restarts", n->restarts);
    if (n->server_pid != 0)
        json_put_whole(w, "server_pid", (uint64_t)n->server_pid);
    json_open_object(w, "ports");
    uint16_t dns = api_dns_port(u, n);
    if (dns != 0)
        json_put_whole(w, "dns", dns);
    if (n->doors.http != 0)
        json_put_whole(w, "http", n->doors.http);
    if (n->doors.p2p != 0)
        json_put_whole(w, "p2p", n->doors.p2p);
    json_close_object(w);
    json_close_object(w);
}

void api_write_universe(buf *out, universe *u)
{
    json_writer w = {.out = out};
    json_open_object(&w, NULL);
    json_put_text(&w, "universe", universe_name(u));
    json_put_text(&w, "id", universe_id(u));
    json_put_text(&w, "engine", str_of(universe_engine_name(u)));
    json_put_whole(&w, "shift", universe_shift(u));
    json_put_text(&w, "address", str_of(universe_address(u)));
    json_put_whole(&w, "gateway_port", universe_gateway_port(u));
    json_put_whole(&w, "started_real_ms", universe_started_real_ms(u));
    json_open_list(&w, "nodes");
    universe_node n;
    for (size_t i = 0; universe_node_at(u, i, &n); i++)
        api_write_node(&w, u, &n);
    json_close_list(&w);
    json_close_object(&w);
}

static void api_answer_buf(http_exchange *x, buf *out)
{
    if (out->error.code != OK)
        http_answer_err(x, out->error);
    else
        http_answer_json(x, 200, buf_str(out));
}

// ---- routes

typedef struct api_request {
    multiverse *multiverse;
    http_exchange *x;
    str segments[API_SEGMENTS_MAX];
    size_t count;
    universe *universe; // of the segment after "universes", when there is one of this name
    str account;        // empty: the machine's owner
} api_request;

static void api_on_status(api_request *r)
{
    OWNED(buf_close) buf out;
    buf_open(&out, API_ANSWER_BYTES_MAX);
    json_writer w = {.out = &out};
    json_open_object(&w, NULL);
    json_put_text(&w, "version", STR(VERSION));
    json_put_whole(&w, "pid", (uint64_t)getpid());
    json_put_text(&w, "home", str_of(r->multiverse->settings.home));
    json_open_list(&w, "universes");
    universe *u;
    for (size_t i = 0; (u = multiverse_at(r->multiverse, i)) != NULL; i++) {
        OWNED(buf_close) buf one;
        buf_open(&one, API_ANSWER_BYTES_MAX);
        api_write_universe(&one, u);
        json_put_raw(&w, NULL, buf_str(&one));
    }
    json_close_list(&w);
    json_close_object(&w);
    api_answer_buf(r->x, &out);
}

static void api_on_universe(api_request *r)
{
    OWNED(buf_close) buf out;
    buf_open(&out, API_ANSWER_BYTES_MAX);
    api_write_universe(&out, r->universe);
    api_answer_buf(r->x, &out);
}

// What waits for the end of something (a universe, a node) with an exchange that may break
// meanwhile.
struct api_wait {
    http_exchange *x;
    bool broken;
};

static void api_wait_on_broken(void *user, http_exchange *x)
{
    (void)x;
    ((struct api_wait *)user)->broken = true;
}

static struct api_wait *api_wait_open(http_exchange *x)
{
    struct api_wait *w = calloc(1, sizeof(*w));
    if (w == NULL) {
        http_answer_err(x, fail(ERR_MEMORY, 0, "wait"));
        return NULL;
    }
    w->x = x;
    http_set_user(x, w);
    http_on_broken(x, api_wait_on_broken);
    return w;
}

static void api_on_ended(void *data)
{
    struct api_wait *w = data;
    if (!w->broken)
        http_answer_json(w->x, 200, STR("{}"));
    free(w);
}

static void api_wait_failed(struct api_wait *w, err e)
{
    http_exchange *x = w->x;
    http_on_broken(x, NULL);
    free(w);
    http_answer_err(x, e);
}

static void api_on_universe_delete(api_request *r)
{
    struct api_wait *w = api_wait_open(r->x);
    if (w == NULL)
        return;
    err e = multiverse_remove(r->multiverse, r->segments[2], api_on_ended, w);
    if (e.code != OK)
        api_wait_failed(w, e);
}

// A universe that comes up, and who waits for it.
struct api_birth {
    struct api_wait *wait;
    multiverse *multiverse;
    universe *universe;
};

static void api_on_universe_ready(void *data, err e)
{
    struct api_birth b = *(struct api_birth *)data;
    free(data);
    http_exchange *x = b.wait->broken ? NULL : b.wait->x;
    if (x != NULL)
        http_on_broken(x, NULL);
    free(b.wait);
    if (x != NULL && e.code != OK) {
        http_answer_err(x, e);
    } else if (x != NULL) {
        OWNED(buf_close) buf out;
        buf_open(&out, API_ANSWER_BYTES_MAX);
        api_write_universe(&out, b.universe);
        api_answer_buf(x, &out);
    }
    if (e.code != OK && e.code != ERR_CLOSED) // it is closed already then
        (void)!multiverse_remove(b.multiverse, universe_name(b.universe), NULL, NULL).code;
}

static void api_on_universe_body(void *user, http_exchange *x, str body)
{
    multiverse *m = user;
    const json *value = NULL;
    err e = body.len == 0 ? ok() : json_read(http_arena(x), body, &value, NULL);
    universe_settings s = m->settings.defaults;
    s.shift = (uint16_t)json_whole(value, "shift", 0);
    s.gateway_port = (uint16_t)json_whole(value, "gateway_port", 0);
    s.clean = json_flag(value, "clean");
    s.kind = json_flag(value, "processes") ? ENGINE_PROCESSES : ENGINE_AS_IT_WAS;
    s.elders = (size_t)json_whole(value, "elders", 0);
    s.copies.hoarder = 0;
    str path = str_from(http_request_of(x)->path, STR("/v1/universes/").len);
    struct api_birth *b = calloc(1, sizeof(*b));
    if (e.code == OK && b == NULL)
        e = fail(ERR_MEMORY, 0, "new universe");
    if (e.code == OK)
        e = multiverse_add(m, path, &s, &b->universe);
    if (e.code != OK) {
        free(b);
        http_answer_err(x, e);
        return;
    }
    b->multiverse = m;
    b->wait = api_wait_open(x);
    if (b->wait == NULL)
        free(b);
    else
        universe_when_ready(b->universe, api_on_universe_ready, b);
}

static void api_on_universe_create(api_request *r)
{
    http_set_user(r->x, r->multiverse);
    http_collect(r->x, API_BODY_BYTES_MAX, api_on_universe_body);
}

static void api_on_node_started(void *data, err e)
{
    struct api_wait *w = data;
    if (w->broken)
        free(w);
    else if (e.code == OK)
        api_on_ended(w);
    else
        api_wait_failed(w, e);
}

static void api_on_drained(void *data, err e, const void *fields)
{
    struct api_wait *w = data;
    const node_drain_reply *reply = fields;
    if (w->broken)
        free(w);
    else if (e.code != OK)
        api_wait_failed(w, e);
    else {
        http_answer_json(w->x, 200, reply->idle ? STR("{\"idle\":true}") : STR("{\"idle\":false}"));
        free(w);
    }
}

static err api_drain(api_request *r, struct api_wait *w)
{
    mesh *m = universe_mesh(r->universe);
    if (m == NULL)
        return fail(ERR_BUSY, 0, "the client node, which asks for you, is stopped");
    node_drain_request ask = {.node = r->segments[4]};
    mesh_ask(m, r->segments[4], MSG_node_drain, NULL, &ask, DRAIN_MS, api_on_drained, w);
    return ok();
}

// {"KEY":"text"}, or the error.
static void api_wait_told(struct api_wait *w, err e, const char *key, str text)
{
    OWNED(buf_close) buf out;
    buf_open(&out, API_TOLD_BYTES);
    json_writer j = {.out = &out};
    json_open_object(&j, NULL);
    if (text.len > 0)
        json_put_text(&j, key, text);
    json_close_object(&j);
    if (w->broken)
        free(w);
    else if (e.code != OK)
        api_wait_failed(w, e);
    else {
        http_answer_json(w->x, 200, buf_str(&out));
        free(w);
    }
}

static void api_on_removed(void *data, err e, str text)
{
    api_wait_told(data, e, "node", text);
}

static void api_on_invited(void *data, err e, str token)
{
    api_wait_told(data, e, "token", token);
}

struct api_inviting {
    multiverse *multiverse;
    str universe;
};

static void api_on_invite_body(void *user, http_exchange *x, str body)
{
    struct api_inviting *i = user;
    const json *value = NULL;
    universe *u = multiverse_find(i->multiverse, i->universe);
    err e = u == NULL ? fail(ERR_ABSENT, 0, "no universe of this name runs")
                      : json_read(http_arena(x), body, &value, NULL);
    universe_invitation wanted = {
        .shape = json_text(value, "shape"),
        .valid_ms = json_whole(value, "valid_ms", 0),
        .certificate_seconds = json_whole(value, "certificate_seconds", 0),
    };
    if (e.code != OK) {
        http_answer_err(x, e);
        return;
    }
    struct api_wait *w = api_wait_open(x);
    if (w == NULL)
        return;
    e = universe_invite(u, &wanted, api_on_invited, w);
    if (e.code != OK)
        api_wait_failed(w, e);
}

static void api_on_invite(api_request *r)
{
    struct api_inviting *i = arena_take(http_arena(r->x), sizeof(*i));
    if (i == NULL) {
        http_answer_err(r->x, fail(ERR_MEMORY, 0, "invite"));
        return;
    }
    *i = (struct api_inviting){r->multiverse, universe_name(r->universe)};
    i->universe = str_copy(http_arena(r->x), i->universe);
    http_set_user(r->x, i);
    http_collect(r->x, API_BODY_BYTES_MAX, api_on_invite_body);
}

static void api_on_node(api_request *r)
{
    str name = r->segments[4], verb = r->segments[5];
    struct api_wait *w = api_wait_open(r->x);
    if (w == NULL)
        return;
    err e = fail(ERR_ABSENT, 0, "a node can be told to start, stop, drain or remove");
    if (str_is(verb, STR("start")))
        e = universe_node_start(r->universe, name, api_on_node_started, w);
    else if (str_is(verb, STR("stop")))
        e = universe_node_stop(r->universe, name, api_on_ended, w);
    else if (str_is(verb, STR("drain")))
        e = api_drain(r, w);
    else if (str_is(verb, STR("remove")))
        e = universe_node_remove(r->universe, name, api_on_removed, w);
    if (e.code != OK)
        api_wait_failed(w, e);
}

static void api_on_ask(api_request *r)
{
    api_ask(r->multiverse, r->x, r->universe, r->segments[4], r->account);
}

static void api_on_stop(api_request *r)
{
    http_answer_json(r->x, 200, STR("{}"));
    r->multiverse->settings.on_stop(r->multiverse->settings.data);
}

// `people`: an account's token is enough; otherwise the token of api.json is needed.
typedef struct api_route {
    const char *method, *path; // a segment "*" is any
    void (*handler)(api_request *r);
    bool people;
} api_route;
static const api_route routes[] = {
    {"GET", "v1/status", api_on_status, true},
    {"GET", "v1/universes/*", api_on_universe, true},
    {"POST", "v1/universes/*", api_on_universe_create, false},
    {"DELETE", "v1/universes/*", api_on_universe_delete, false},
    {"POST", "v1/universes/*/nodes/*/*", api_on_node, false},
    {"POST", "v1/universes/*/ask/*", api_on_ask, true},
    {"POST", "v1/universes/*/invite", api_on_invite, false},
    {"POST", "v1/stop", api_on_stop, false},
};

static bool api_route_fits(const api_route *route, const api_request *r)
{
    str rest = str_of(route->path);
    size_t i = 0;
    for (; rest.len > 0; i++) {
        str segment = str_cut(&rest, '/');
        if (i == r->count || (!str_is(segment, STR("*")) && !str_is(segment, r->segments[i])))
            return false;
    }
    return i == r->count;
}

static void api_enter(multiverse *m, http_exchange *x, str account)
{
    api_request r = {.multiverse = m, .x = x, .account = account};
    str rest = str_from(http_request_of(x)->path, 1);
    while (rest.len > 0 && r.count < API_SEGMENTS_MAX)
        r.segments[r.count++] = str_cut(&rest, '/');
    bool found = false;
    for (size_t i = 0; i < COUNT(routes); i++) {
        if (!api_route_fits(&routes[i], &r))
            continue;
        found = true;
        if (!str_is(http_request_of(x)->method, str_of(routes[i].method)))
            continue;
        if (account.len > 0 && !routes[i].people) {
            http_answer_err(x, fail(ERR_DENIED, 0, "this needs the token of DREAM_HOME/api.json"));
            return;
        }
        if (r.count > 2)
            r.universe = multiverse_find(m, r.segments[2]);
        if (r.count > 2 && r.universe == NULL && routes[i].handler != api_on_universe_create) {
            http_answer_err(x, fail(ERR_ABSENT, 0, "no universe of this name runs"));
            return;
        }
        routes[i].handler(&r);
        return;
    }
    if (found)
        http_answer_text(x, 405, "text/plain", STR("this route does not know that method\n"));
    else
        http_answer_err(x, fail(ERR_ABSENT, 0, "no such route"));
}

static void api_on_entered(void *state, http_exchange *x, str account)
{
    api_enter(state, x, account);
}

// ---- the door

// A page of another origin must not reach us, by name (DNS rebinding) or by fetch.
static bool api_origin_is_ours(multiverse *m, const http_request *r)
{
    char port[8];
    snprintf(port, sizeof(port), ":%u", m->settings.api_port);
    static const char *const names[] = {"127.0.0.1", "localhost", "[::1]"};
    bool host = false, origin = false;
    str given = http_header_find(&r->headers, STR("origin"));
    for (size_t i = 0; i < COUNT(names); i++) {
        char text[64];
        snprintf(text, sizeof(text), "http://%s%s", names[i], port);
        str url = str_of(text);
        host = host || str_is_nocase(r->host_port, str_from(url, 7));
        origin = origin || str_is_nocase(given, url);
    }
    // A Host without our port comes from a proxy that the owner has put in front: only loopback
    // names pass.
    for (size_t i = 0; i < COUNT(names); i++)
        host = host || str_is_nocase(r->host_port, str_of(names[i]));
    return host && (given.at == NULL || origin);
}

static const char client_stopped[] = "the client node, which asks for you, is stopped";

// /@UNIVERSE/OWNER/REPO.git/… or /OWNER/REPO.git/… of the first universe.
static bool api_git(multiverse *m, http_exchange *x)
{
    str path = http_request_of(x)->path;
    universe *u = multiverse_find(m, STR(""));
    if (str_starts(path, STR("/@"))) {
        str rest = str_from(path, 2);
        str name = str_cut(&rest, '/');
        u = multiverse_find(m, name);
        path = str_from(path, 2 + name.len);
    }
    if (!forge_is_path(path))
        return false;
    if (u == NULL)
        http_answer_err(x, fail(ERR_ABSENT, 0, "no universe of this name runs"));
    else if (universe_forge(u) == NULL)
        http_answer_err(x, fail(ERR_BUSY, 0, client_stopped));
    else
        forge_handle(universe_forge(u), x, path);
    return true;
}

void api_on_request(void *data, http_exchange *x)
{
    multiverse *m = data;
    const http_request *r = http_request_of(x);
    if (!api_origin_is_ours(m, r)) {
        http_answer_text(x, 403, "text/plain", STR("this Host or Origin is not allowed here\n"));
        return;
    }
    if (str_is(r->path, STR("/ping"))) {
        http_answer_text(x, 200, "text/plain", STR("pong"));
        return;
    }
    if (str_is(r->path, STR("/"))) {
        http_answer_text(x, 200, "text/plain",
                         STR("ctau control API. Use dream and tau; there is no web console in this "
                             "release yet.\n"));
        return;
    }
    if (api_git(m, x))
        return;
    str token = door_token(http_arena(x), r);
    if (secret_is(token, str_of(m->token))) {
        api_enter(m, x, STR(""));
        return;
    }
    universe *u = NULL;
    str rest = r->path;
    if (str_starts(rest, STR("/v1/universes/"))) {
        rest = str_from(rest, STR("/v1/universes/").len);
        u = multiverse_find(m, str_cut(&rest, '/'));
    }
    if (u == NULL)
        u = multiverse_find(m, STR(""));
    mesh *asker = u == NULL ? NULL : universe_mesh(u);
    if (asker != NULL)
        door_enter(asker, x, api_on_entered, m);
    else if (u != NULL && token.len > 0)
        http_answer_err(x, fail(ERR_BUSY, 0, client_stopped));
    else
        http_answer_text(x, 401, "text/plain", STR("the token of DREAM_HOME/api.json is needed\n"));
}
