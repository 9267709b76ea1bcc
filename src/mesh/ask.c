// Asks, answers and tells of the embedded engine.
//
// The happy path of an ask is: encode, a letter, choose who answers, decode, handler, answer
// encoded, a letter, decode, on_reply. What can fail: nobody serves it, the deadline, a node that
// leaves, memory.
#include "base/clock.h"
#include "base/fault.h"
#include "base/str.h"
#include "mesh/mesh_inner.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct ask {
    chain link;
    mesh *from;
    uint64_t number, until_ms;
    message_kind kind;
    char *to; // a node's name; empty: anybody
    buf request;
    err error; // the request could not be written
    mesh_replied *on_reply;
    mesh_replied_raw *on_raw; // either
    void *data;
} ask;

struct mesh_incoming {
    chain link;
    mesh *node;
    uint64_t ask;
    message_kind kind;
    buf request; // texts of the fields point into it
    arena *memory;
    str from;
};

static ask *ask_find(mesh_engine *e, uint64_t number)
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

static void letter_reply(mesh_engine *e, letter *l)
{
    ask *a = ask_find(e, l->number);
    if (a == NULL || fault_hits(FAULT_MESSAGE))
        return;
    if (l->error.code != OK) {
        ask_fail(a, l->error);
        return;
    }
    chain_remove(&a->link);
    if (a->on_raw != NULL) {
        a->on_raw(a->data, buf_str(&l->bytes));
    } else {
        OWNED(arena_drop) arena *memory = NULL;
        const void *fields = NULL;
        err read = arena_open(&memory, MESH_ARENA_BYTES);
        if (read.code == OK)
            read = reply_read(a, memory, buf_str(&l->bytes), &fields);
        a->on_reply(a->data, read, read.code == OK ? fields : NULL);
    }
    ask_free(a);
}

static void incoming_free(mesh_incoming *in)
{
    chain_remove(&in->link);
    buf_close(&in->request);
    arena_close(in->memory);
    free(in);
}

// `what` may live in the incoming's arena: it is copied into the letter.
void mesh_answer_err(mesh_incoming *in, err e)
{
    letter *l = mesh_letter(in->node->engine, letter_reply, in->ask);
    if (e.code == OK)
        e = fail(ERR_SYSTEM, 0, "answered with an error that is none");
    message_write_error(&l->bytes, e);
    if (l->bytes.error.code != OK)
        l->error = fail(e.code, e.sys, "error reply");
    incoming_free(in);
}

void mesh_answer(mesh_incoming *in, const void *reply_fields)
{
    letter *l = mesh_letter(in->node->engine, letter_reply, in->ask);
    message_header header = {.kind = in->kind};
    message_write(&l->bytes, &header, message_infos[in->kind].reply, reply_fields);
    l->error = l->bytes.error;
    incoming_free(in);
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

static void incoming_open(mesh *node, ask *a)
{
    mesh_incoming *in = mesh_must_take(sizeof *in);
    *in = (mesh_incoming){.node = node, .ask = a->number, .kind = a->kind, .request = a->request};
    buf_open(&a->request, 0); // given away
    chain_add(&node->incoming, &in->link);
    message_header header;
    void *fields = NULL;
    err e = incoming_read(in, str_of(a->from->name), &header, &fields);
    if (e.code != OK)
        mesh_answer_err(in, e);
    else
        node->served[in->kind].handler(node->served[in->kind].data, in, &header, fields);
}

// "tns@blackhole", or "tns" for short.
static bool node_is(const mesh *m, str to)
{
    str name = str_of(m->name), rest = name;
    return str_is(name, to) || str_is(str_cut(&rest, '@'), to);
}

static mesh *node_choose(mesh_engine *e, const ask *a)
{
    str to = str_of(a->to);
    size_t count = 0, chosen = 0;
    for (size_t pass = 0; pass < 2; pass++) {
        for (chain *c = e->nodes.next; c != &e->nodes; c = c->next) {
            mesh *m = (mesh *)c;
            if (m->served[a->kind].handler == NULL || (to.len > 0 && !node_is(m, to)))
                continue;
            if (pass == 0)
                count++;
            else if (chosen-- == 0)
                return m;
        }
        if (count == 0)
            return NULL;
        chosen = count > 1 ? e->turns[a->kind]++ % count : 0;
    }
    return NULL;
}

static void letter_request(mesh_engine *e, letter *l)
{
    ask *a = ask_find(e, l->number);
    if (a == NULL)
        return;
    if (a->error.code != OK) {
        ask_fail(a, a->error);
        return;
    }
    if (fault_hits(FAULT_MESSAGE))
        return;
    mesh *node = node_choose(e, a);
    if (node != NULL) {
        incoming_open(node, a);
        return;
    }
    char what[128];
    const char *subject = message_infos[a->kind].subject;
    (void)snprintf(what, sizeof(what), "no node that runs serves %s", subject);
    ask_fail(a, fail(ERR_BUSY, 0, what));
}

static ask *ask_open(mesh *m, str node, uint64_t deadline_ms, void *data)
{
    mesh_engine *e = m->engine;
    ask *a = mesh_must_take(sizeof *a);
    a->from = m;
    a->number = ++e->numbers;
    a->to = mesh_must_take(node.len + 1);
    if (node.len > 0)
        memcpy(a->to, node.at, node.len);
    a->data = data;
    uint64_t now = clock_now_ms(); // the loop's own may be old: a handler may have run long
    if (__builtin_add_overflow(now, deadline_ms, &a->until_ms) || a->until_ms > UINT64_MAX / 2)
        a->until_ms = UINT64_MAX / 2;
    buf_open(&a->request, MESSAGE_BYTES_MAX);
    chain_add(&e->asks[a->number % MESH_ASK_SLOTS], &a->link);
    (void)mesh_letter(e, letter_request, a->number);
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
}

void mesh_ask_raw(
    mesh *m, str node, str request, uint64_t deadline_ms, mesh_replied_raw *on_reply, void *data)
{
    ask *a = ask_open(m, node, deadline_ms, data);
    a->on_raw = on_reply;
    message_header h;
    a->error = message_read_header(request, &h);
    if (a->error.code != OK)
        return;
    a->kind = (message_kind)h.kind;
    if (message_infos[a->kind].reply == NULL) {
        a->error = fail(ERR_UNSUPPORTED, 0, "this is told, not asked");
        return;
    }
    buf_add(&a->request, request);
    a->error = a->request.error;
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

static void letter_tell(mesh_engine *e, letter *l)
{
    listener *x;
    uint64_t last = 0;
    while (l->bytes.error.code == OK &&
           (x = listener_after(e, last, (message_kind)l->number)) != NULL) {
        last = x->number;
        listener_tell(x, buf_str(&l->bytes));
    }
}

void mesh_tell(mesh *m, message_kind kind, const void *fields)
{
    assert(message_infos[kind].reply == NULL);
    letter *l = mesh_letter(m->engine, letter_tell, kind);
    message_header header = {.kind = kind};
    message_write(&l->bytes, &header, message_infos[kind].request, fields);
}
