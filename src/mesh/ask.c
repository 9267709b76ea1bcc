// Asks, answers and tells, as every engine has them.
//
// The happy path of an ask is: encode, the driver finds who answers, decode, handler, answer
// encoded, the driver brings it back, decode, on_reply. What can fail: nobody serves it, the
// deadline, a node that leaves, memory.
#include "base/clock.h"
#include "base/fault.h"
#include "base/str.h"
#include "mesh/mesh_inner.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

ask *ask_find(mesh_engine *e, uint64_t number)
{
    chain *slot = &e->asks[number % MESH_ASK_SLOTS];
    for (chain *c = slot->next; c != slot; c = c->next)
        if (((ask *)c)->number == number)
            return (ask *)c;
    return NULL;
}

static void ask_free(ask *a)
{
    chain_remove(&a->link);
    buf_close(&a->request);
    free(a->to);
    free(a);
}

// An error for someone who asked with bytes. Without memory for it: ERR_MEMORY, no text.
static void ask_fail_raw(ask *a, err e)
{
    OWNED(buf_close) buf out;
    buf_open(&out, MESSAGE_BYTES_MAX);
    message_write_error(&out, e);
    a->on_raw(a->data, out.error.code == OK ? buf_str(&out) : STR("\1\2\1\0\0\0\0\0\0\0\0\0\0\0"));
}

// The callback runs when the ask is no longer to be found: it may ask again, or leave.
static void ask_fail(ask *a, err e)
{
    chain_remove(&a->link);
    if (a->on_raw != NULL)
        ask_fail_raw(a, e);
    else
        a->on_reply(a->data, e, NULL);
    ask_free(a);
}

static err reply_read(ask *a, arena *memory, str bytes, const void **fields)
{
    err told;
    TRY(message_read_error(memory, bytes, &told));
    TRY(told);
    const message_shape *shape = message_infos[a->kind].reply;
    void *at = arena_take(memory, shape->bytes);
    if (at == NULL)
        return fail(ERR_MEMORY, 0, "read reply");
    message_header header;
    TRY(message_read(memory, bytes, &header, shape, at));
    if (header.kind != a->kind)
        return fail(ERR_SYNTAX, 0, "reply to another question");
    *fields = at;
    return ok();
}

void asks_on_failure(mesh_engine *e, uint64_t number, err error)
{
    ask *a = ask_find(e, number);
    if (a != NULL)
        ask_fail(a, error);
}

void asks_on_reply(mesh_engine *e, uint64_t number, str bytes)
{
    ask *a = ask_find(e, number);
    if (a == NULL)
        return;
    chain_remove(&a->link);
    if (a->on_raw != NULL) {
        a->on_raw(a->data, bytes);
    } else {
        OWNED(arena_drop) arena *memory = NULL;
        const void *fields = NULL;
        err read = arena_open(&memory, MESH_ARENA_BYTES);
        if (read.code == OK)
            read = reply_read(a, memory, bytes, &fields);
        a->on_reply(a->data, read, read.code == OK ? fields : NULL);
    }
    ask_free(a);
}

static void incoming_free(mesh_incoming *in)
{
    chain_remove(&in->link);
    buf_close(&in->request);
    arena_close(in->memory);
    free(in->reply);
    free(in);
}

static void incoming_answer(mesh_incoming *in, buf *bytes, err error)
{
    mesh_engine *e = in->node->engine;
    e->driver->answer(e, in, bytes, error);
    buf_close(bytes);
    incoming_free(in);
}

// `what` may live in the incoming's arena: it is written before that goes.
void mesh_answer_err(mesh_incoming *in, err e)
{
    buf bytes;
    buf_open(&bytes, MESSAGE_BYTES_MAX);
    if (e.code == OK)
        e = fail(ERR_SYSTEM, 0, "answered with an error that is none");
    message_write_error(&bytes, e);
    incoming_answer(in, &bytes, bytes.error.code != OK ? fail(e.code, e.sys, "error reply") : ok());
}

void mesh_answer(mesh_incoming *in, const void *reply_fields)
{
    buf bytes;
    buf_open(&bytes, MESSAGE_BYTES_MAX);
    message_header header = {.kind = in->kind};
    message_write(&bytes, &header, message_infos[in->kind].reply, reply_fields);
    incoming_answer(in, &bytes, bytes.error);
}

arena *mesh_incoming_arena(mesh_incoming *in)
{
    return in->memory;
}

str mesh_incoming_from(const mesh_incoming *in)
{
    return in->from;
}

static err incoming_read(mesh_incoming *in, str from, message_header *header, void **fields)
{
    TRY(arena_open(&in->memory, MESH_ARENA_BYTES));
    in->from = str_copy(in->memory, from);
    const message_shape *shape = message_infos[in->kind].request;
    *fields = arena_take(in->memory, shape->bytes);
    if (in->from.at == NULL || *fields == NULL)
        return fail(ERR_MEMORY, 0, "read request");
    return message_read(in->memory, buf_str(&in->request), header, shape, *fields);
}

// NOLINTNEXTLINE(readability-function-size): all that there is to know of a request
void incoming_open(mesh *node, message_kind kind, str from, buf *bytes, uint64_t number, str reply)
{
    mesh_incoming *in = mesh_must_take(sizeof *in);
    *in = (mesh_incoming){.node = node, .ask = number, .kind = kind, .request = *bytes};
    in->reply = mesh_must_copy(reply);
    buf_open(bytes, 0); // given away
    chain_add(&node->incoming, &in->link);
    message_header header;
    void *fields = NULL;
    err e = incoming_read(in, from, &header, &fields);
    if (e.code == OK && header.kind != kind)
        e = fail(ERR_SYNTAX, 0, "another message than its address says");
    if (e.code != OK)
        mesh_answer_err(in, e);
    else
        node->served[in->kind].handler(node->served[in->kind].data, in, &header, fields);
}

err ask_nobody(message_kind kind, char what[static 128])
{
    (void)snprintf(what, 128, "no node that runs serves %s", message_infos[kind].subject);
    return fail(ERR_BUSY, 0, what);
}

static void letter_fail(mesh_engine *e, letter *l)
{
    ask *a = ask_find(e, l->number);
    if (a != NULL)
        ask_fail(a, a->error);
}

static void ask_go(ask *a)
{
    mesh_engine *e = a->from->engine;
    if (a->error.code != OK)
        (void)mesh_letter(e, letter_fail, a->number);
    else
        e->driver->ask(e, a);
}

static ask *ask_open(mesh *m, str node, uint64_t deadline_ms, void *data)
{
    mesh_engine *e = m->engine;
    ask *a = mesh_must_take(sizeof *a);
    a->from = m;
    a->number = ++e->numbers;
    a->to = mesh_must_copy(node);
    a->data = data;
    uint64_t now = clock_now_ms(); // the loop's own may be old: a handler may have run long
    if (__builtin_add_overflow(now, deadline_ms, &a->until_ms) || a->until_ms > UINT64_MAX / 2)
        a->until_ms = UINT64_MAX / 2;
    buf_open(&a->request, MESSAGE_BYTES_MAX);
    chain_add(&e->asks[a->number % MESH_ASK_SLOTS], &a->link);
    mesh_due(e, a->until_ms);
    return a;
}

// NOLINTNEXTLINE(readability-function-size): eight parameters read better than a struct at each ask
void mesh_ask(mesh *m,
              str node,
              message_kind kind,
              const message_header *header,
              const void *request_fields,
              uint64_t deadline_ms,
              mesh_replied *on_reply,
              void *data)
{
    assert(message_infos[kind].reply != NULL);
    ask *a = ask_open(m, node, deadline_ms, data);
    a->kind = kind;
    a->on_reply = on_reply;
    message_header h = header != NULL ? *header : (message_header){.kind = kind};
    h.kind = kind;
    h.deadline_ms = deadline_ms;
    message_write(&a->request, &h, message_infos[kind].request, request_fields);
    a->error = a->request.error;
    ask_go(a);
}

static err ask_take_raw(ask *a, str request)
{
    message_header h;
    TRY(message_read_header(request, &h));
    a->kind = (message_kind)h.kind;
    if (message_infos[a->kind].reply == NULL)
        return fail(ERR_UNSUPPORTED, 0, "this is told, not asked");
    buf_add(&a->request, request);
    return a->request.error;
}

void mesh_ask_raw(
    mesh *m, str node, str request, uint64_t deadline_ms, mesh_replied_raw *on_reply, void *data)
{
    ask *a = ask_open(m, node, deadline_ms, data);
    a->on_raw = on_reply;
    a->error = ask_take_raw(a, request);
    ask_go(a);
}

// The first ask that is over; *next gets the soonest deadline of those before it.
static ask *ask_late(mesh_engine *e, uint64_t now_ms, uint64_t *next)
{
    *next = UINT64_MAX;
    for (size_t i = 0; i < MESH_ASK_SLOTS; i++) {
        chain *slot = &e->asks[i];
        for (chain *c = slot->next; c != slot; c = c->next) {
            ask *a = (ask *)c;
            // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): what is freed left its ring before
            if (a->until_ms <= now_ms)
                return a;
            if (a->until_ms < *next)
                *next = a->until_ms;
        }
    }
    return NULL;
}

static ask *ask_before(mesh_engine *e, uint64_t number)
{
    for (size_t i = 0; i < MESH_ASK_SLOTS; i++) {
        chain *slot = &e->asks[i];
        for (chain *c = slot->next; c != slot; c = c->next)
            // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): what is freed left its ring before
            if (((ask *)c)->number <= number)
                return (ask *)c;
    }
    return NULL;
}

void asks_fail(mesh_engine *e, err error)
{
    uint64_t last = e->numbers; // what their callbacks ask comes later
    ask *a;
    while ((a = ask_before(e, last)) != NULL)
        ask_fail(a, error);
}

void asks_tick(mesh_engine *e, uint64_t now_ms)
{
    uint64_t next;
    ask *a;
    while ((a = ask_late(e, now_ms, &next)) != NULL)
        ask_fail(a, fail(ERR_TIMEOUT, 0, "no answer in time"));
    if (next != UINT64_MAX)
        mesh_due(e, next);
}

// One at a time from the start: a callback may end others.
static ask *ask_of(mesh *m)
{
    for (size_t i = 0; i < MESH_ASK_SLOTS; i++) {
        chain *slot = &m->engine->asks[i];
        for (chain *c = slot->next; c != slot; c = c->next)
            // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): what is freed left its ring before
            if (((ask *)c)->from == m)
                return (ask *)c;
    }
    return NULL;
}

bool asks_leave(mesh *m)
{
    bool some = false;
    ask *a;
    while ((a = ask_of(m)) != NULL) {
        ask_fail(a, fail(ERR_CLOSED, 0, "this node left"));
        some = true;
    }
    return some;
}

void incoming_leave(mesh *m)
{
    memset(m->served, 0, sizeof m->served);
    mesh_incoming *in;
    while ((in = chain_first(&m->incoming)) != NULL)
        mesh_answer_err(in, fail(ERR_CLOSED, 0, "the node that was asked left"));
}

err mesh_serve(mesh *m, message_kind kind, mesh_handler *handler, void *data)
{
    if (message_infos[kind].reply == NULL)
        return fail(ERR_UNSUPPORTED, 0, "this is told, not asked");
    if (m->served[kind].handler != NULL)
        return fail(ERR_CONFLICT, 0, "this node serves it already");
    if (m->engine->driver->serve != NULL)
        TRY(m->engine->driver->serve(m, kind));
    m->served[kind] = (served){handler, data};
    return ok();
}

// ---- tell
typedef struct listener {
    chain link;
    mesh *node;
    uint64_t number; // grows along the list
    message_kind kind;
    void (*on)(void *data, const void *fields);
    void *data;
} listener;

err mesh_listen(mesh *m, message_kind kind, void (*on)(void *data, const void *fields), void *data)
{
    if (message_infos[kind].reply != NULL)
        return fail(ERR_UNSUPPORTED, 0, "this is asked, not told");
    listener *x = fault_hits(FAULT_MEMORY) ? NULL : calloc(1, sizeof *x);
    if (x == NULL)
        return fail(ERR_MEMORY, 0, "listen");
    err listens = m->engine->driver->listen != NULL ? m->engine->driver->listen(m, kind) : ok();
    if (listens.code != OK) {
        free(x);
        return listens;
    }
    *x =
        (listener){.node = m, .number = ++m->engine->numbers, .kind = kind, .on = on, .data = data};
    chain_add(&m->engine->listeners, &x->link);
    return ok();
}

void listeners_leave(mesh *m)
{
    chain *head = &m->engine->listeners;
    for (chain *c = head->next, *next; c != head; c = next) {
        next = c->next;
        if (((listener *)c)->node == m) {
            chain_remove(c);
            free(c);
        }
    }
}

static void listener_tell(listener *x, str bytes)
{
    OWNED(arena_drop) arena *memory = NULL;
    const message_shape *shape = message_infos[x->kind].request;
    message_header header;
    if (fault_hits(FAULT_MESSAGE) || arena_open(&memory, MESH_ARENA_BYTES).code != OK)
        return;
    void *fields = arena_take(memory, shape->bytes);
    if (fields != NULL && message_read(memory, bytes, &header, shape, fields).code == OK)
        x->on(x->data, fields);
}

// Looked up anew after each call, which may have ended any of them.
static listener *listener_after(mesh_engine *e, uint64_t number, message_kind kind)
{
    for (chain *c = e->listeners.next; c != &e->listeners; c = c->next)
        if (((listener *)c)->number > number && ((listener *)c)->kind == kind)
            return (listener *)c;
    return NULL;
}

void listeners_tell(mesh_engine *e, message_kind kind, str bytes)
{
    listener *x;
    uint64_t last = 0;
    while ((x = listener_after(e, last, kind)) != NULL) {
        last = x->number;
        listener_tell(x, bytes);
    }
}

void mesh_tell(mesh *m, message_kind kind, const void *fields)
{
    assert(message_infos[kind].reply == NULL);
    OWNED(buf_close) buf bytes;
    buf_open(&bytes, MESSAGE_BYTES_MAX);
    message_header header = {.kind = kind};
    message_write(&bytes, &header, message_infos[kind].request, fields);
    m->engine->driver->tell(m, kind, &bytes);
}
