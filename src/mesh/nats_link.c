// The connection of a link: connects, greets, pings, and starts again when it breaks.
//
// The happy path is: TCP, TLS 1.3 with both certificates, INFO comes, CONNECT, subscriptions and
// PING go, PONG comes; then what waits is written. What can fail: any of it, and a server that no
// longer answers; the next server is tried at once, then later and later.
#include "mesh/nats_link.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/str.h"
#include "mesh/identity.h"
#include "mesh/nats_link_inner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    GREET_MS = 2000,
    PING_MS = 2000,
    PINGS_MAX = 2, // unanswered
    RETRY_MS_FIRST = 20,
    RETRY_MS_MAX = 500,
    REFUSED_MS_MAX = 5000,
    HELD_MS = 1000, // a connection that lived so long was a good one
    OUT_BYTES_MAX = 4 * NATS_WAITING_BYTES_MAX,
    LINK_HEADERS_BYTES_MAX = 64 << 10, // which a server may add to what was published
    INFO_ARENA_BYTES = 1 << 20,
    INCARNATION_BYTES = 6,
};

static void link_tick(nats_link *n, uint64_t now_ms);

// ---- calls from the loop: the link's memory lives until the outermost has returned
static void link_enter(nats_link *n)
{
    n->depth++;
}

static void link_flush(nats_link *n);

static void link_free(nats_link *n)
{
    free(n->servers);
    free(n->node);
    free(n->universe);
    free((char *)n->ca_pem.at);
    tls_context_close(n->tls);
    nats_line_close(&n->line);
    buf_close(&n->out);
    free(n);
}

static void link_leave(nats_link *n)
{
    if (n->depth == 1 && !n->closing)
        link_flush(n);
    if (--n->depth == 0 && n->closing)
        link_free(n);
}

static void link_on_timer(void *data)
{
    nats_link *n = data;
    n->due_ms = 0;
    link_enter(n);
    link_tick(n, clock_now_ms());
    link_leave(n);
}

void link_due(nats_link *n, uint64_t at_ms)
{
    if (n->closing || (n->due_ms != 0 && n->due_ms <= at_ms))
        return;
    uint64_t now = clock_now_ms();
    n->due_ms = at_ms > now ? at_ms : now;
    timer_start(n->timer, n->due_ms - now, 0);
}

// ---- the end of a connection
static uint64_t retry_ms(const nats_link *n)
{
    if (n->failures == 0)
        return 0;
    uint64_t most = n->refused ? REFUSED_MS_MAX : RETRY_MS_MAX;
    uint64_t wait = (uint64_t)RETRY_MS_FIRST << (n->failures < 12 ? n->failures - 1 : 12);
    wait = wait < most ? wait : most;
    return wait / 2 + random_u64() % (wait / 2 + 1);
}

static void link_lose(nats_link *n, err e)
{
    conn *c = n->conn;
    bool was_ready = n->state == LINK_READY;
    uint64_t now = clock_now_ms();
    n->conn = NULL;
    n->state = LINK_IDLE;
    buf_close(&n->out);
    buf_open(&n->out, OUT_BYTES_MAX);
    n->failures = was_ready && now - n->ready_ms >= HELD_MS ? 0 : n->failures + 1;
    n->retry_ms = now + retry_ms(n);
    conn_abort(c);
    const mesh_server *s = &n->servers[n->server];
    if (was_ready || n->failures == 1)
        log_fail(n->log, "no connection to the mesh's server", e, "server", s->address, NULL);
    n->server = (n->server + 1) % n->servers_count;
    link_due(n, n->retry_ms);
    if (was_ready && n->on_state != NULL)
        n->on_state(n->data, false);
}

// ---- writing
static void link_flush(nats_link *n)
{
    if (n->conn == NULL || n->out.len == 0)
        return;
    err e = n->out.error;
    str all = buf_str(&n->out);
    if (e.code == OK)
        e = conn_write(n->conn, &all, 1);
    if (e.code != OK) {
        link_lose(n, e);
        return;
    }
    if (n->out.room > LINK_OUT_BYTES_IDLE) {
        buf_close(&n->out);
        buf_open(&n->out, OUT_BYTES_MAX);
    }
    buf_clear(&n->out);
}

static void link_on_flusher(void *data)
{
    link_flusher *f = data;
    nats_link *n = f->owner;
    free(f);
    if (n == NULL)
        return;
    n->flusher = NULL;
    link_enter(n);
    link_leave(n); // flushes
}

void link_flush_soon(nats_link *n)
{
    if (n->depth > 0 || n->flusher != NULL || n->closing || n->out.len == 0)
        return;
    link_flusher *f = fault_hits(FAULT_MEMORY) ? NULL : calloc(1, sizeof *f);
    if (f != NULL && loop_defer(n->loop, link_on_flusher, f).code == OK) {
        f->owner = n;
        n->flusher = f;
        return;
    }
    free(f);
    link_due(n, clock_now_ms()); // needs no memory
}

// ---- what the server says
static void link_become_ready(nats_link *n)
{
    n->state = LINK_READY;
    n->ready_ms = clock_now_ms();
    n->refused = false;
    link_send_waiting(n);
    link_due(n, n->ready_ms + PING_MS);
    log_line(n->log, LOG_INFO, "connected to the mesh", "server", n->servers[n->server].address,
             NULL);
    if (n->on_state != NULL)
        n->on_state(n->data, true);
}

static err link_on_info(nats_link *n, str text)
{
    OWNED(arena_drop) arena *a = NULL;
    const json *info = NULL;
    TRY(arena_open(&a, INFO_ARENA_BYTES));
    TRY(json_read(a, text, &info, NULL));
    uint64_t most = json_whole(info, "max_payload", LINK_PAYLOAD_BYTES_FIRST);
    n->payload_max = most < LINK_PAYLOAD_BYTES_MAX ? (size_t)most : LINK_PAYLOAD_BYTES_MAX;
    nats_line_limit(&n->line, n->payload_max + LINK_HEADERS_BYTES_MAX);
    if (n->greeted)
        return ok();
    n->greeted = true;
    if (!json_flag(info, "headers"))
        return fail(ERR_UNSUPPORTED, 0, "the mesh's server knows no headers");
    json_writer w = {.out = &n->out};
    buf_add(&n->out, STR("CONNECT "));
    json_open_object(&w, NULL);
    json_put_flag(&w, "verbose", false);
    json_put_flag(&w, "pedantic", false);
    json_put_flag(&w, "tls_required", true);
    json_put_text(&w, "name", str_of(n->node));
    json_put_text(&w, "lang", STR("ctau"));
    json_put_text(&w, "version", STR("1"));
    json_put_whole(&w, "protocol", 1);
    json_put_flag(&w, "headers", true);
    json_put_flag(&w, "no_responders", true);
    json_put_flag(&w, "echo", true);
    json_close_object(&w);
    buf_add(&n->out, STR("\r\n"));
    link_subscribe_all(n); // they stand when PONG comes: who sees us connected may ask us
    buf_add(&n->out, STR("PING\r\n"));
    return n->out.error;
}

static err link_on_event(nats_link *n, const nats_event *event)
{
    switch (event->kind) {
    case NATS_INFO:
        return link_on_info(n, event->text);
    case NATS_MESSAGE:
        if (n->state == LINK_READY)
            link_on_message(n, event);
        return ok();
    case NATS_PING:
        buf_add(&n->out, STR("PONG\r\n"));
        return n->closing ? ok() : n->out.error;
    case NATS_PONG:
        if (n->state == LINK_GREETING && n->greeted)
            link_become_ready(n);
        return ok();
    case NATS_ERROR:
        link_on_error(n, event->text);
        return ok();
    case NATS_OK:
    case NATS_NOTHING:
        break;
    }
    return ok();
}

static void link_on_read(void *owner, conn *c, str bytes)
{
    nats_link *n = owner;
    link_enter(n);
    n->read_ms = clock_now_ms();
    n->pings = 0;
    while (!n->closing && n->conn == c && bytes.len > 0) {
        nats_event event;
        err e = nats_line_next(&n->line, &bytes, &event);
        if (e.code == OK)
            e = link_on_event(n, &event);
        if (e.code != OK && !n->closing && n->conn == c)
            link_lose(n, e);
    }
    link_leave(n);
}

static void link_on_end(void *owner, conn *c, err e)
{
    nats_link *n = owner;
    link_enter(n);
    if (n->conn == c)
        link_lose(n, e.code != OK ? e : fail(ERR_CLOSED, 0, "the mesh's server hung up"));
    link_leave(n);
}

// ---- connecting
static bool link_allow(void *data, str peer_uri, str serial_hex)
{
    const nats_link *n = data;
    identity who;
    (void)serial_hex;
    return identity_read(peer_uri, &who).code == OK && str_is(who.universe, str_of(n->universe)) &&
           str_is(who.protocols, STR("elder"));
}

static void link_on_connect(void *owner, conn *c, err e)
{
    nats_link *n = owner;
    link_enter(n);
    if (n->conn != c) {
        link_leave(n);
        return;
    }
    if (e.code != OK) {
        link_lose(n, e);
    } else {
        n->state = LINK_GREETING;
        n->read_ms = clock_now_ms();
    }
    link_leave(n);
}

static const conn_events link_events = {.on_read = link_on_read, .on_end = link_on_end};

static void link_connect(nats_link *n, uint64_t now_ms)
{
    const mesh_server *s = &n->servers[n->server];
    conn_settings settings = {
        .events = &link_events,
        .tls = n->tls,
        .queue_bytes_max = OUT_BYTES_MAX,
        .handshake_ms = GREET_MS,
    };
    nats_line_close(&n->line);
    nats_line_open(&n->line, n->payload_max + LINK_HEADERS_BYTES_MAX);
    n->greeted = false;
    n->pings = 0;
    n->read_ms = now_ms;
    n->greet_ms = now_ms + GREET_MS;
    n->state = LINK_CONNECTING;
    err e = conn_connect(&n->conn, n->loop, s->address.at, s->port, NULL, &settings,
                         link_on_connect, n);
    if (e.code != OK)
        link_lose(n, e);
    else
        link_due(n, n->greet_ms);
}

static void link_ping(nats_link *n, uint64_t now_ms)
{
    uint64_t since = n->pings > 0 ? n->pinged_ms : n->read_ms;
    if (now_ms - since >= PING_MS) {
        if (n->pings >= PINGS_MAX) {
            link_lose(n, fail(ERR_TIMEOUT, 0, "the mesh's server does not answer"));
            return;
        }
        n->pings++;
        n->pinged_ms = since = now_ms;
        buf_add(&n->out, STR("PING\r\n"));
    }
    link_due(n, since + PING_MS);
}

static void link_tick(nats_link *n, uint64_t now_ms)
{
    link_requests_tick(n, now_ms);
    if (n->closing)
        return;
    switch (n->state) {
    case LINK_IDLE:
        if (n->retry_ms <= now_ms)
            link_connect(n, now_ms);
        else
            link_due(n, n->retry_ms);
        break;
    case LINK_CONNECTING:
    case LINK_GREETING:
        if (n->greet_ms <= now_ms)
            link_lose(n, fail(ERR_TIMEOUT, 0, "the mesh's server does not greet"));
        else
            link_due(n, n->greet_ms);
        break;
    case LINK_READY:
        if (n->waiting_bytes > 0)
            link_send_waiting(n);
        link_ping(n, now_ms);
        break;
    }
}

// ---- opening and closing
static char *link_copy(str s)
{
    char *at = fault_hits(FAULT_MEMORY) ? NULL : strndup(s.at == NULL ? "" : s.at, s.len);
    return at;
}

static err link_context(const nats_link *n, str certificate, str key, tls_context **out)
{
    return tls_context_open(out, &(tls_settings){.certificate_pem = certificate,
                                                 .key_pem = key,
                                                 .ca_pem = n->ca_pem,
                                                 .allow = link_allow,
                                                 .data = (void *)n});
}

// The servers and the texts of their addresses, NUL behind each, are one allocation.
static err link_copy_servers(nats_link *n, const nats_link_settings *settings)
{
    if (settings->servers_count == 0)
        return fail(ERR_ABSENT, 0, "open link: no servers");
    size_t size = settings->servers_count * sizeof(mesh_server);
    for (size_t i = 0; i < settings->servers_count; i++)
        size += settings->servers[i].address.len + 1;
    n->servers = fault_hits(FAULT_MEMORY) ? NULL : calloc(1, size);
    if (n->servers == NULL)
        return fail(ERR_MEMORY, 0, "open link");
    char *text = (char *)(n->servers + settings->servers_count);
    for (size_t i = 0; i < settings->servers_count; i++) {
        str address = settings->servers[i].address;
        n->servers[i] = (mesh_server){{text, address.len}, settings->servers[i].port};
        for (size_t j = 0; j < address.len; j++)
            *text++ = address.at[j];
        text++;
    }
    n->servers_count = settings->servers_count;
    n->server = (size_t)(random_u64() % settings->servers_count);
    return ok();
}

static err link_fill(nats_link *n, const nats_link_settings *settings)
{
    unsigned char dice[INCARNATION_BYTES];
    OWNED(arena_drop) arena *a = NULL;
    TRY(arena_open(&a, 4096));
    random_bytes(dice, sizeof dice);
    str incarnation = hex_of(a, (str){(const char *)dice, sizeof dice});
    int len = snprintf(n->inbox, sizeof n->inbox, "re.%.*s.%.*s.", STR_ARG(settings->node),
                       STR_ARG(incarnation));
    if (incarnation.at == NULL)
        return fail(ERR_MEMORY, 0, "open link");
    if (len < 0 || (size_t)len >= sizeof n->inbox || !nats_subject_is(settings->node, false))
        return fail(ERR_SYNTAX, 0, "open link: not a node's name");
    n->inbox_len = (size_t)len;
    n->node = link_copy(settings->node);
    n->universe = link_copy(settings->universe);
    n->ca_pem = (str){link_copy(settings->ca_pem), settings->ca_pem.len};
    if (n->node == NULL || n->universe == NULL || n->ca_pem.at == NULL)
        return fail(ERR_MEMORY, 0, "open link");
    TRY(link_copy_servers(n, settings));
    TRY(link_context(n, settings->certificate_pem, settings->key_pem, &n->tls));
    return timer_open(&n->timer, n->loop, link_on_timer, n);
}

err nats_link_open(nats_link **out, const nats_link_settings *settings)
{
    nats_link *n = fault_hits(FAULT_MEMORY) ? NULL : calloc(1, sizeof *n);
    if (n == NULL)
        return fail(ERR_MEMORY, 0, "open link");
    *n = (nats_link){
        .loop = settings->loop,
        .log = settings->log,
        .on_state = settings->on_state,
        .data = settings->data,
        .payload_max = LINK_PAYLOAD_BYTES_FIRST,
    };
    buf_open(&n->out, OUT_BYTES_MAX);
    nats_line_open(&n->line, n->payload_max);
    chain_init(&n->waiting);
    chain_init(&n->subscriptions);
    for (size_t i = 0; i < LINK_SLOTS; i++) {
        chain_init(&n->subscription_slots[i]);
        chain_init(&n->request_slots[i]);
    }
    err e = link_fill(n, settings);
    if (e.code != OK) {
        link_free(n);
        return e;
    }
    link_due(n, clock_now_ms());
    *out = n;
    return ok();
}

void nats_link_close(nats_link *n)
{
    if (n == NULL || n->closing)
        return;
    link_enter(n);
    link_flush(n); // what was said last
    n->closing = true;
    if (n->state == LINK_READY)
        conn_close_when_written(n->conn);
    else
        conn_close(n->conn);
    n->conn = NULL;
    n->state = LINK_IDLE;
    timer_close(n->timer);
    if (n->flusher != NULL)
        n->flusher->owner = NULL;
    n->flusher = NULL;
    link_requests_close(n);
    link_subscriptions_close(n);
    link_leave(n);
}

err nats_link_identity(nats_link *n, str certificate_pem, str key_pem)
{
    tls_context *fresh = NULL;
    TRY(link_context(n, certificate_pem, key_pem, &fresh));
    tls_context_close(n->tls);
    n->tls = fresh;
    return ok();
}

bool nats_link_connected(const nats_link *n)
{
    return n->state == LINK_READY;
}

size_t nats_link_payload_max(const nats_link *n)
{
    return n->payload_max;
}
