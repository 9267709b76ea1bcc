// The door where invitations are redeemed.
//
// The happy path is: 1. POST /join with a token and a request; 2. a helper thread looks the token
// up, takes a name, signs, spends the token durably; 3. the answer has all that the node's files
// need. What can fail: a token that is late, used, foreign or misspelt (nothing is spent), a
// request that is none, a full disk (the token may be spent then: another is made).
#include "dream/join_door.h"

#include "base/clock.h"
#include "base/str.h"
#include "dream/join_inner.h"
#include "dream/ports.h"
#include "io/conn.h"
#include "mesh/deny.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CONNECTIONS_MAX = 64,
    HEAD_BYTES_MAX = 4096,
    ANSWER_BYTES_MAX = 64 * 1024,
    VALID_MS_MAX = 7 * 24 * 3600 * 1000,
    MONKEY_JOBS = 2,
    GONE_AGAIN_MS = 1000,
};

// ---- tasks

void join_task_drop(join_task *t)
{
    join_door *d = t->door;
    arena_close(t->memory);
    free(t);
    d->tasks--;
    if (d->closing && d->tasks == 0) {
        void (*closed)(void *data) = d->closed;
        void *data = d->closed_data;
        closed(data);
    }
}

static void task_work(void *data)
{
    join_task *t = data;
    t->work(t);
}

static void task_done(void *data)
{
    join_task *t = data;
    if (!t->door->closing)
        t->done(t);
    else if (t->lost != NULL)
        t->lost(t);
    join_task_drop(t);
}

err join_task_open(join_door *d, size_t bytes, join_task **out)
{
    if (d->closing)
        return fail(ERR_CLOSED, 0, "the universe is stopped");
    if (d->tasks >= JOIN_TASKS_MAX)
        return fail(ERR_BUSY, 0, "too many join at once: try again");
    join_task *t = calloc(1, bytes);
    if (t == NULL)
        return fail(ERR_MEMORY, 0, "join");
    err e = arena_open(&t->memory, JOIN_MEMORY_BYTES);
    if (e.code != OK) {
        free(t);
        return e;
    }
    t->door = d;
    d->tasks++;
    *out = t;
    return ok();
}

err join_task_start(join_task *t)
{
    err e = loop_work(t->door->settings.loop, task_work, task_done, t);
    if (e.code != OK)
        join_task_drop(t);
    return e;
}

// ---- POST /join

struct joining {
    join_task task;
    http_exchange *x; // NULL: it broke
    str body;
    buf answer;
};

static void joining_write(struct joining *j,
                          const invite_grant *g,
                          const join_record *r,
                          str certificate,
                          unsigned number,
                          uint64_t shift)
{
    const join_door *d = j->task.door;
    const node_plan *plan = node_plan_find(g->shape);
    json_writer w = {.out = &j->answer};
    json_open_object(&w, NULL);
    json_put_whole(&w, "version", 1);
    json_put_text(&w, "certificate", certificate);
    json_put_text(&w, "authority", authority_certificate(d->settings.authority));
    json_put_text(&w, "authority_node", STR("dream"));
    json_put_text(&w, "universe", d->settings.universe);
    json_put_text(&w, "node", r->node);
    json_put_text(&w, "protocols", r->protocols);
    json_put_text(&w, "shape", g->shape);
    json_open_list(&w, "servers");
    for (size_t i = 0; i < d->settings.servers_count; i++) {
        json_open_object(&w, NULL);
        json_put_text(&w, "address", d->servers[i].address);
        json_put_whole(&w, "port", d->servers[i].port);
        json_close_object(&w);
    }
    json_close_list(&w);
    json_open_object(&w, "doors");
    if (plan != NULL) {
        json_put_whole(&w, "p2p", shift + plan->p2p + number - 1);
        if (plan->http != 0)
            json_put_whole(&w, "http", shift + plan->http + number - 1);
        if (plan->dns != 0)
            json_put_whole(&w, "dns", shift + plan->dns + number - 1);
        if (plan->protocol == &protocol_gateway)
            json_put_whole(&w, "gateway", PORTS_GATEWAY);
    }
    json_close_object(&w);
    json_put_whole(&w, "copies", str_is(g->shape, STR("monkey")) ? MONKEY_JOBS : 1);
    json_close_object(&w);
}

static bool address_is(arena *a, str text)
{
    unsigned char bytes[16];
    const char *c = str_c(a, text);
    return c != NULL && strlen(c) == text.len && text.len > 0 &&
           (inet_pton(AF_INET, c, bytes) == 1 || inet_pton(AF_INET6, c, bytes) == 1);
}

static err joining_try(struct joining *j)
{
    join_door *d = j->task.door;
    arena *a = j->task.memory;
    const json *value;
    invite token;
    invite_grant g;
    unsigned number = 0;
    uint64_t now = clock_real_ms();
    if (json_read(a, j->body, &value, NULL).code != OK)
        return fail(ERR_SYNTAX, 0, "not JSON");
    TRY(invite_read(a, json_text(value, "token"), &token));
    if (!str_is(token.universe_id, authority_universe_id(d->settings.authority)))
        return fail(ERR_DENIED, 0, "this invitation is of another universe");
    TRY(invite_look(a, d->settings.folder, token.secret, now, &g));
    uint64_t shift = json_whole(value, "shift", 0);
    shift = shift == 0 ? d->settings.shift : shift;
    join_record r = {.protocols = g.protocols,
                     .address = json_text(value, "address"),
                     .certificate_seconds = g.certificate_seconds > 0 ? g.certificate_seconds
                                                                      : NODE_CERTIFICATE_SECONDS};
    if (!address_is(a, r.address))
        return fail(ERR_SYNTAX, 0, "the address of a node is an IP address");
    if (shift < 1024 || shift > 60000)
        return fail(ERR_SYNTAX, 0, "the shift of a node's ports is 1024 to 60000");
    TRY(join_record_make(d, a, g.shape, &r, &number));
    authority_grant grant = {r.node, r.protocols, r.certificate_seconds};
    str certificate;
    err e =
        authority_sign(d->settings.authority, a, json_text(value, "request"), &grant, &certificate);
    if (e.code == OK)
        e = invite_spend(a, d->settings.folder, token.secret, now, &g);
    if (e.code == OK)
        joining_write(j, &g, &r, certificate, number, shift);
    else
        join_record_forget(d->settings.folder, r.node);
    if (e.code == OK)
        log_line(d->settings.log, LOG_INFO, "node joined", "node", r.node, "address", r.address,
                 NULL);
    return e.code == OK ? j->answer.error : e;
}

static void joining_work(join_task *t)
{
    struct joining *j = (struct joining *)t;
    t->error = joining_try(j);
}

static void joining_done(join_task *t)
{
    struct joining *j = (struct joining *)t;
    if (t->error.code != OK)
        log_fail(t->door->settings.log, "join refused", t->error, NULL);
    if (j->x != NULL)
        http_on_broken(j->x, NULL);
    if (j->x != NULL && t->error.code == OK)
        http_answer_json(j->x, 200, buf_str(&j->answer));
    else if (j->x != NULL)
        http_answer_err(j->x, t->error);
    buf_close(&j->answer);
}

static void joining_lost(join_task *t)
{
    buf_close(&((struct joining *)t)->answer);
}

static void joining_on_broken(void *user, http_exchange *x)
{
    (void)x;
    ((struct joining *)user)->x = NULL;
}

static void join_on_body(void *user, http_exchange *x, str body)
{
    join_door *d = user;
    join_task *t;
    err e = join_task_open(d, sizeof(struct joining), &t);
    if (e.code != OK) {
        http_answer_err(x, e);
        return;
    }
    struct joining *j = (struct joining *)t;
    buf_open(&j->answer, ANSWER_BYTES_MAX);
    j->x = x;
    j->body = str_copy(t->memory, body);
    t->work = joining_work;
    t->done = joining_done;
    t->lost = joining_lost;
    http_set_user(x, j);
    http_on_broken(x, joining_on_broken);
    e = join_task_start(t);
    if (e.code != OK) {
        http_on_broken(x, NULL);
        http_answer_err(x, e);
    }
}

static void remove_tell(const join_door *d)
{
    char name[2 * JOIN_TEXT];
    (void)snprintf(name, sizeof(name), "%s@%.*s", d->gone_node, STR_ARG(d->settings.universe));
    seer_heartbeat gone = {
        .name = str_of(name),
        .protocol = str_of(d->gone_protocols),
        .address = str_of(d->gone_address),
        .started_real_ms = clock_real_ms(),
        .leaving = true,
    };
    node_denied_changed changed = {.version = STR("")};
    mesh_tell(d->settings.mesh, MSG_node_denied_changed, &changed);
    mesh_tell(d->settings.mesh, MSG_seer_heartbeat, &gone);
}

static void remove_on_again(void *data)
{
    join_door *d = data;
    remove_tell(d);
    d->gone_node[0] = '\0';
}

// ---- the door

static bool join_is_too_fast(join_door *d)
{
    uint64_t second = clock_now_ms() / 1000;
    if (second != d->second) {
        d->second = second;
        d->asked = 0;
    }
    return ++d->asked > JOIN_RATE_MAX;
}

static void join_on_request(void *data, http_exchange *x)
{
    join_door *d = data;
    const http_request *r = http_request_of(x);
    if (join_is_too_fast(d)) {
        http_answer_text(x, 429, "text/plain", STR("too many requests: try again in a second\n"));
    } else if (str_is(r->path, STR("/authority")) && str_is(r->method, STR("GET"))) {
        OWNED(buf_close) buf out;
        buf_open(&out, ANSWER_BYTES_MAX);
        json_writer w = {.out = &out};
        json_open_object(&w, NULL);
        json_put_text(&w, "authority", authority_certificate(d->settings.authority));
        json_close_object(&w);
        http_answer_json(x, 200, buf_str(&out));
    } else if (str_is(r->path, STR("/join")) && str_is(r->method, STR("POST"))) {
        http_set_user(x, d);
        http_collect(x, JOIN_BODY_BYTES_MAX, join_on_body);
    } else {
        http_answer_err(x, fail(ERR_ABSENT, 0, "routes: GET /authority, POST /join"));
    }
}

static err join_tls(str certificate_pem, str key_pem, tls_context **out)
{
    tls_settings settings = {
        .certificate_pem = certificate_pem, .key_pem = key_pem, .server = true};
    return tls_context_open(out, &settings);
}

static err join_listen(join_door *d)
{
    OWNED(fd_drop) int fd = -1;
    TRY(socket_listen(d->settings.address, d->settings.port, false, &fd));
    http_server_settings settings = {
        .loop = d->settings.loop,
        .limits = {.head_bytes = HEAD_BYTES_MAX,
                   .body_bytes = JOIN_BODY_BYTES_MAX,
                   .head_ms = JOIN_MS_MAX,
                   .idle_ms = JOIN_MS_MAX,
                   .body_idle_ms = JOIN_MS_MAX,
                   .write_idle_ms = JOIN_MS_MAX,
                   .connections = CONNECTIONS_MAX},
        .handler = join_on_request,
        .data = d,
    };
    TRY(http_server_open(&d->server, &settings));
    return http_server_listen(d->server, fd_move(&fd), d->tls, d);
}

err join_door_open(join_door **out, const join_door_settings *settings)
{
    join_door *d = calloc(1, sizeof(*d));
    if (d == NULL)
        return fail(ERR_MEMORY, 0, "open join door");
    d->settings = *settings;
    for (size_t i = 0; i < settings->servers_count && i < JOIN_SERVERS_MAX; i++)
        d->servers[i] = settings->servers[i];
    err e = join_tls(settings->certificate_pem, settings->key_pem, &d->tls);
    if (e.code == OK)
        e = timer_open(&d->again, settings->loop, remove_on_again, d);
    if (e.code == OK)
        e = join_listen(d);
    if (e.code == OK)
        e = join_mesh_serve(d);
    if (e.code == OK)
        *out = d;
    else
        join_door_free(d);
    return e;
}

void join_door_free(join_door *d)
{
    if (d == NULL)
        return;
    if (d->server != NULL)
        http_server_close(d->server);
    timer_close(d->again);
    tls_context_close(d->tls);
    free(d);
}

err join_door_renew(join_door *d, str certificate_pem, str key_pem)
{
    tls_context *tls, *former = d->tls;
    TRY(join_tls(certificate_pem, key_pem, &tls));
    http_server_close(d->server);
    d->server = NULL;
    d->tls = tls;
    tls_context_close(former);
    return join_listen(d);
}

static void join_closed(void *data)
{
    join_task_drop(data);
}

void join_door_close(join_door *d, void (*closed)(void *data), void *data)
{
    d->closing = true;
    d->closed = closed;
    d->closed_data = data;
    if (d->server != NULL)
        http_server_close(d->server);
    d->server = NULL;
    timer_stop(d->again);
    // A task of nothing: the last one to go says so, on a later turn.
    join_task *t = calloc(1, sizeof(*t));
    if (t == NULL)
        abort();
    t->door = d;
    d->tasks++;
    if (loop_defer(d->settings.loop, join_closed, t).code != OK)
        abort();
}

// ---- what the machine's owner asks

struct owner_task {
    join_task task;
    universe_invitation wanted;
    str node, text;
    join_record record;
    universe_told *told;
    void *data;
};

static void owner_done(join_task *t)
{
    struct owner_task *o = (struct owner_task *)t;
    o->told(o->data, t->error, o->text);
}

static void owner_lost(join_task *t)
{
    struct owner_task *o = (struct owner_task *)t;
    o->told(o->data, fail(ERR_CLOSED, 0, "the universe is stopped"), STR(""));
}

static err owner_open(join_door *d, universe_told *told, void *data, struct owner_task **out)
{
    join_task *t;
    TRY(join_task_open(d, sizeof(struct owner_task), &t));
    *out = (struct owner_task *)t;
    (*out)->told = told;
    (*out)->data = data;
    t->done = owner_done;
    t->lost = owner_lost;
    return ok();
}

static void invite_work(join_task *t)
{
    struct owner_task *o = (struct owner_task *)t;
    const join_door_settings *s = &t->door->settings;
    invite i = {.universe_id = authority_universe_id(s->authority), .addresses_count = 1};
    i.addresses[0] = (invite_address){str_of(s->address), s->port};
    invite_grant g = {.protocols = o->wanted.shape,
                      .shape = o->wanted.shape,
                      .certificate_seconds = o->wanted.certificate_seconds};
    t->error =
        invite_make(t->memory, s->folder, &g, clock_real_ms() + o->wanted.valid_ms, &i, &o->text);
}

static err invite_check(const universe_invitation *i)
{
    static const char *const may[] = {"substrate", "gateway", "hoarder", "monkey", "seer"};
    if (str_is(i->shape, STR("elder")))
        return fail(ERR_UNSUPPORTED, 0,
                    "an elder cannot join later: the logs of a running universe do not grow from "
                    "one elder to three in this release (dream new multiverse --elders 3 starts "
                    "with three)");
    if (i->valid_ms < 1000 || i->valid_ms > VALID_MS_MAX)
        return fail(ERR_SYNTAX, 0, "an invitation is valid for one second to seven days");
    for (size_t k = 0; k < COUNT(may); k++)
        if (str_is(i->shape, str_of(may[k])))
            return ok();
    bool known = node_plan_find(i->shape) != NULL;
    return fail(known ? ERR_UNSUPPORTED : ERR_ABSENT, 0,
                known ? "auth, tns, patrick and client stay on the machine of the authority in "
                        "this release: substrate, gateway, hoarder, monkey and seer may join"
                      : "there is no such shape: substrate, gateway, hoarder, monkey, seer");
}

err join_door_invite(join_door *d, const universe_invitation *i, universe_told *told, void *data)
{
    struct owner_task *o;
    TRY(invite_check(i));
    TRY(owner_open(d, told, data, &o));
    o->wanted = *i;
    o->wanted.shape = str_copy(o->task.memory, i->shape);
    o->task.work = invite_work;
    return join_task_start(&o->task);
}

// ---- removing

static void remove_work(join_task *t)
{
    struct owner_task *o = (struct owner_task *)t;
    const char *folder = t->door->settings.folder;
    str problem = {0};
    deny *list = NULL;
    err e = join_record_read(t->memory, folder, o->node, &o->record);
    if (e.code == ERR_ABSENT)
        e = fail(ERR_ABSENT, 0, "no node of this name has joined from another machine");
    if (e.code == OK)
        e = deny_open(&list, folder, t->memory, &problem);
    if (e.code == OK)
        e = deny_add(list, STR(""), o->node, STR("tau node remove"));
    else if (problem.at != NULL)
        e.what = problem.at;
    deny_close(list);
    t->error = e;
}

// The others are told at once; and once more when meshd has surely let it go, because until then
// its own heartbeat may have said that it is well.
static void remove_done(join_task *t)
{
    struct owner_task *o = (struct owner_task *)t;
    join_door *d = t->door;
    if (t->error.code == OK) {
        log_line(d->settings.log, LOG_WARN, "node removed", "node", o->node, NULL);
        if (d->gone_node[0] != '\0')
            remove_tell(d);
        (void)snprintf(d->gone_node, JOIN_TEXT, "%.*s", STR_ARG(o->node));
        (void)snprintf(d->gone_protocols, JOIN_TEXT, "%.*s", STR_ARG(o->record.protocols));
        (void)snprintf(d->gone_address, JOIN_TEXT, "%.*s", STR_ARG(o->record.address));
        remove_tell(d);
        timer_start(d->again, GONE_AGAIN_MS, 0);
    }
    owner_done(t);
}

err join_door_remove(join_door *d, str name, universe_told *told, void *data)
{
    struct owner_task *o;
    if (d->settings.is_ours(d->settings.data, name))
        return fail(ERR_CONFLICT, 0,
                    "this node is one of this machine: dream kill NODE stops it, and fewer "
                    "--copies leave it out");
    TRY(owner_open(d, told, data, &o));
    o->node = str_copy(o->task.memory, name);
    o->task.work = remove_work;
    o->task.done = remove_done;
    return join_task_start(&o->task);
}
