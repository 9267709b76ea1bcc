// The client: its pools of keep-alive links, and the start and end of calls.
//
// The happy path is: 1. a call takes an idle link or connects, 2. call.c writes the request and
// reads the answer, 3. the link goes back to its pool. What can fail: connecting, a link that the
// server closed while it was idle (one more try), deadlines.
#include "base/clock.h"
#include "base/fault.h"
#include "base/str.h"
#include "http/client_inner.h"

#include <stdlib.h>
#include <string.h>

static void *client_take(size_t size)
{
    return fault_hits(FAULT_MEMORY) ? NULL : calloc(1, size);
}

static char *text_copy(const char *text)
{
    size_t len = strlen(text) + 1;
    char *copy = client_take(len);
    if (copy != NULL)
        memcpy(copy, text, len);
    return copy;
}

static bool text_is(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static client_pool **pool_bucket(http_client *c, const char *address, uint16_t port)
{
    uint32_t hash = 2166136261u ^ port;
    for (const char *p = address; *p != 0; p++)
        hash = (hash ^ (unsigned char)*p) * 16777619u;
    return &c->pools[(hash ^ hash >> 16) % CLIENT_POOL_BUCKETS];
}

static void pool_free(client_pool *p)
{
    free(p->address);
    free(p->server_name);
    free(p);
}

// Freed with the last link and the last call that still know it.
void client_pool_release(client_pool *p)
{
    if (--p->links > 0)
        return;
    client_pool **at = pool_bucket(p->client, p->address, p->port);
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    pool_free(p);
}

static client_pool *pool_take(http_client *c, const http_client_request *r)
{
    client_pool **bucket = pool_bucket(c, r->address, r->port);
    for (client_pool *p = *bucket; p != NULL; p = p->next) {
        if (p->port == r->port && p->tls == r->tls && text_is(p->address, r->address) &&
            text_is(p->server_name, r->server_name)) {
            p->links++;
            return p;
        }
    }
    client_pool *p = client_take(sizeof(*p));
    if (p == NULL)
        return NULL;
    p->client = c;
    p->address = text_copy(r->address);
    p->server_name = r->server_name != NULL ? text_copy(r->server_name) : NULL;
    p->port = r->port;
    if (p->address == NULL || (r->server_name != NULL && p->server_name == NULL)) {
        pool_free(p);
        return NULL;
    }
    p->tls = r->tls;
    p->links = 1;
    p->next = *bucket;
    *bucket = p;
    return p;
}

static void link_on_connect(void *owner, conn *c, err e)
{
    client_link *k = owner;
    (void)c;
    if (k == NULL)
        return;
    if (e.code == OK) {
        k->connected = true;
        client_call_connected(k->call);
        return;
    }
    http_call *call = k->call;
    k->c = NULL; // closed already
    client_call_broke(call, e);
}

err client_link_open(http_call *c)
{
    client_pool *p = c->pool;
    if (p->client->links >= CLIENT_LINKS_MAX)
        return fail(ERR_BUSY, 0, "too many connections of this client");
    client_link *k = client_take(sizeof(*k));
    if (k == NULL)
        return fail(ERR_MEMORY, 0, "open connection");
    k->pool = p;
    conn_settings settings = {.events = &client_link_events, .tls = p->tls};
    err e = p->address[0] == '/' ? conn_connect_unix(&k->c, p->client->loop, p->address, &settings,
                                                     link_on_connect, k)
                                 : conn_connect(&k->c, p->client->loop, p->address, p->port,
                                                p->server_name, &settings, link_on_connect, k);
    if (e.code != OK) {
        free(k);
        return e;
    }
    p->links++;
    p->client->links++;
    k->call = c;
    c->link = k;
    return ok();
}

static void link_leave_idle(client_link *k)
{
    client_link **at = &k->pool->idle;
    while (*at != k)
        at = &(*at)->next;
    *at = k->next;
    k->next = NULL;
    k->pool->idle_count--;
    k->pool->client->idle--;
}

void client_link_close(client_link *k)
{
    http_client *client = k->pool->client;
    if (k->call != NULL)
        k->call->link = NULL;
    else
        link_leave_idle(k);
    if (k->c != NULL) {
        conn_set_owner(k->c, NULL);
        conn_close(k->c);
    }
    client->links--;
    client_pool_release(k->pool);
    free(k);
}

void client_link_idle(client_link *k)
{
    client_pool *p = k->pool;
    k->call->link = NULL;
    k->call = NULL;
    k->idle_since_ms = loop_now_ms(p->client->loop);
    k->next = p->idle;
    p->idle = k;
    p->idle_count++;
    p->client->idle++;
    if (p->idle_count <= p->client->idle_per_address_max)
        return;
    client_link *oldest = k;
    while (oldest->next != NULL)
        oldest = oldest->next;
    client_link_close(oldest);
}

static void client_close_idle(client_pool *p, uint64_t now_ms)
{
    p->links++; // the pool must not go while we walk it
    for (client_link *k = p->idle, *next; k != NULL; k = next) {
        next = k->next;
        if (now_ms - k->idle_since_ms >= CLIENT_IDLE_MS)
            client_link_close(k);
    }
    client_pool_release(p);
}

static void client_on_tick(void *data)
{
    http_client *c = data;
    uint64_t now = loop_now_ms(c->loop);
    // on_done may end any call, send new ones or close the client: one at a time, marked, on later
    // turns.
    for (http_call *k = c->calls; k != NULL; k = k->next) {
        if (k->failed.code == OK && now >= k->deadline_ms)
            k->failed = fail(ERR_TIMEOUT, 0, "deadline of the request");
        if (k->failed.code != OK)
            client_call_schedule(k);
    }
    for (size_t i = 0; i < CLIENT_POOL_BUCKETS; i++)
        for (client_pool *p = c->pools[i], *next; p != NULL; p = next) {
            next = p->next;
            client_close_idle(p, now);
        }
    client_tick_update(c);
}

void client_tick_update(http_client *c)
{
    uint64_t tick_ms = c->calls != NULL ? CLIENT_TICK_MS : c->idle > 0 ? CLIENT_IDLE_TICK_MS : 0;
    if (tick_ms == c->tick_ms || c->closed)
        return;
    // A pause between calls does not stop the fast tick at once: it would start again and again.
    if (c->tick_ms == CLIENT_TICK_MS && tick_ms == CLIENT_IDLE_TICK_MS && c->idle_turns++ < 20)
        return;
    c->idle_turns = 0;
    c->tick_ms = tick_ms;
    if (tick_ms == 0)
        timer_stop(c->tick);
    else
        timer_start(c->tick, tick_ms, tick_ms);
}

err http_client_open(http_client **out, loop *l, size_t idle_per_address_max)
{
    http_client *c = client_take(sizeof(*c));
    if (c == NULL)
        return fail(ERR_MEMORY, 0, "open client");
    c->loop = l;
    c->idle_per_address_max = idle_per_address_max;
    err e = timer_open(&c->tick, l, client_on_tick, c);
    if (e.code != OK) {
        free(c);
        return e;
    }
    *out = c;
    return ok();
}

void http_client_close(http_client *c)
{
    if (c == NULL)
        return;
    c->closed = true;
    while (c->calls != NULL)
        client_call_done(c->calls, fail(ERR_CLOSED, 0, "client closed"));
    for (size_t i = 0; i < CLIENT_POOL_BUCKETS; i++)
        for (client_pool *p = c->pools[i], *next; p != NULL; p = next) {
            next = p->next;
            client_close_idle(p, UINT64_MAX);
        }
    timer_close(c->tick);
    free(c);
}

static bool repeatable(const http_client_request *r)
{
    static const char *const methods[] = {"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"};
    if (r->streamed || r->body.len > 0)
        return false;
    for (size_t i = 0; i < COUNT(methods); i++)
        if (str_is(r->method, str_of(methods[i])))
            return true;
    return false;
}

static http_call *call_make(http_client *client, const http_client_request *r)
{
    http_call *c = client_take(sizeof(*c));
    if (c == NULL)
        return NULL;
    c->client = client;
    c->on_head = r->on_head;
    c->on_piece = r->on_piece;
    c->on_done = r->on_done;
    c->on_drain = r->on_drain;
    c->data = r->data;
    c->streamed = r->streamed;
    c->upload_over = !r->streamed;
    c->reading = true;
    c->is_head = str_is(r->method, STR("HEAD"));
    c->repeatable = repeatable(r);
    uint64_t wait = r->deadline_ms != 0 ? r->deadline_ms : CLIENT_CALL_MS,
             now = clock_now_ms(); // the loop's own may be old: no deadline comes early
    c->deadline_ms = wait < UINT64_MAX - now ? now + wait : UINT64_MAX;
    buf_open(&c->out, CLIENT_UPLOAD_MAX + r->body.len + CLIENT_HEAD_MAX);
    buf_open(&c->head, CLIENT_HEAD_MAX);
    buf_open(&c->rest, CLIENT_REST_BYTES);
    uint64_t body_max = r->body_bytes_max != 0 ? r->body_bytes_max : CLIENT_BODY_MAX;
    buf_open(&c->body, body_max < SIZE_MAX ? (size_t)body_max : SIZE_MAX);
    return c;
}

void client_call_free(http_call *c)
{
    buf_close(&c->out);
    buf_close(&c->head);
    buf_close(&c->rest);
    buf_close(&c->body);
    free(c->headers);
    if (c->pool != NULL)
        client_pool_release(c->pool);
    free(c);
}

static err call_begin(http_call *c, const http_client_request *r)
{
    TRY(client_request_write(&c->out, r));
    c->pool = pool_take(c->client, r);
    if (c->pool == NULL)
        return fail(ERR_MEMORY, 0, "open connection");
    client_link *k = c->pool->idle;
    if (k == NULL)
        return client_link_open(c);
    link_leave_idle(k);
    k->call = c;
    k->reused = true;
    c->link = k;
    client_call_started(c);
    return ok();
}

err http_client_send(http_client *client, const http_client_request *request, http_call **out)
{
    if (client->closed)
        return fail(ERR_CLOSED, 0, "client closed");
    http_call *c = call_make(client, request);
    if (c == NULL)
        return fail(ERR_MEMORY, 0, "send request");
    err e = call_begin(c, request);
    if (e.code != OK) {
        client_call_free(c);
        return e;
    }
    c->next = client->calls;
    if (client->calls != NULL)
        client->calls->previous = c;
    client->calls = c;
    client_tick_update(client);
    if (out != NULL)
        *out = c;
    return ok();
}
