// What every engine of the mesh has: the nodes of this process, letters to a later turn, one tick.
#include "base/clock.h"
#include "base/fault.h"
#include "base/str.h"
#include "mesh/mesh_inner.h"

#include <stdlib.h>
#include <string.h>

void *mesh_must_take(size_t size)
{
    void *at = calloc(1, size);
    if (at == NULL)
        abort(); // even the failure could not be told
    return at;
}

char *mesh_must_copy(str s)
{
    char *at = mesh_must_take(s.len + 1);
    if (s.len > 0)
        memcpy(at, s.at, s.len);
    return at;
}

static void letter_free(letter *l)
{
    chain_remove(&l->link);
    buf_close(&l->bytes);
    free(l);
}

static void mesh_mail_call(mesh_engine *e);

// What is written while these are delivered waits for the next turn.
static void mesh_mail_run(mesh_engine *e)
{
    chain now;
    chain_init(&now);
    letter *l;
    while ((l = chain_first(&e->letters)) != NULL) {
        chain_remove(&l->link);
        chain_add(&now, &l->link);
    }
    while ((l = chain_first(&now)) != NULL) {
        l->run(e, l);
        letter_free(l);
    }
    if (chain_first(&e->letters) != NULL)
        mesh_mail_call(e);
}

static void mesh_on_postman(void *data)
{
    postman *p = data;
    mesh_engine *e = p->engine;
    free(p);
    if (e == NULL)
        return;
    e->postman = NULL;
    mesh_mail_run(e);
}

static void mesh_on_mail_timer(void *data)
{
    mesh_mail_run(data);
}

static void mesh_mail_call(mesh_engine *e)
{
    if (e->postman != NULL)
        return;
    postman *p = mesh_must_take(sizeof *p);
    p->engine = e;
    if (loop_defer(e->loop, mesh_on_postman, p).code == OK) {
        e->postman = p;
        return;
    }
    free(p);
    timer_start(e->mail_timer, 1, 0); // needs no memory
}

letter *mesh_letter(mesh_engine *e, void (*run)(mesh_engine *e, letter *l), uint64_t number)
{
    letter *l = mesh_must_take(sizeof *l);
    l->run = run;
    l->number = number;
    buf_open(&l->bytes, MESSAGE_BYTES_MAX);
    chain_add(&e->letters, &l->link);
    mesh_mail_call(e);
    return l;
}

void mesh_due(mesh_engine *e, uint64_t at_ms)
{
    at_ms = (at_ms + MESH_TICK_MS - 1) / MESH_TICK_MS * MESH_TICK_MS;
    if (e->due_ms != 0 && e->due_ms <= at_ms)
        return;
    uint64_t now = loop_now_ms(e->loop);
    e->due_ms = at_ms;
    timer_start(e->timer, at_ms > now ? at_ms - now : 1, 0);
}

static void mesh_on_tick(void *data)
{
    mesh_engine *e = data;
    e->due_ms = 0;
    uint64_t now = loop_now_ms(e->loop);
    asks_tick(e, now);
    watches_tick(e, now);
    queues_tick(e, now);
}

void mesh_on_commit(void *data, const store_change *changes, size_t count, uint64_t revision)
{
    watches_on_commit(data, changes, count, revision);
    queues_on_commit(data, changes, count, revision);
}

err mesh_engine_start(mesh_engine *e, const mesh_driver *driver, loop *l)
{
    e->driver = driver;
    e->loop = l;
    random_bytes(e->origin, sizeof e->origin);
    chain *all[] = {&e->nodes, &e->letters, &e->listeners, &e->watches, &e->queues, &e->refused};
    for (size_t i = 0; i < COUNT(all); i++)
        chain_init(all[i]);
    for (size_t i = 0; i < MESH_ASK_SLOTS; i++)
        chain_init(&e->asks[i]);
    TRY(timer_open(&e->timer, l, mesh_on_tick, e));
    return timer_open(&e->mail_timer, l, mesh_on_mail_timer, e);
}

void mesh_engine_end(mesh_engine *e)
{
    timer_close(e->timer);
    timer_close(e->mail_timer);
    if (e->postman != NULL)
        e->postman->engine = NULL; // it frees itself when the loop comes to it
    letter *l;
    while ((l = chain_first(&e->letters)) != NULL)
        letter_free(l);
}

void mesh_engine_close(mesh_engine *e)
{
    if (e == NULL)
        return;
    e->closing = true;
    mesh *m;
    while ((m = chain_first(&e->nodes)) != NULL)
        mesh_leave(m);
    e->driver->close(e);
}

static void mesh_free(mesh *m)
{
    free(m->name);
    free(m->protocols);
    free(m);
}

err mesh_join(mesh **out, mesh_engine *e, str name, str protocols)
{
    for (chain *c = e->nodes.next; c != &e->nodes; c = c->next)
        if (str_is(str_of(((mesh *)c)->name), name))
            return fail(ERR_CONFLICT, 0, "a node of this name is there already");
    mesh *m = fault_hits(FAULT_MEMORY) ? NULL : calloc(1, sizeof *m);
    if (m == NULL)
        return fail(ERR_MEMORY, 0, "join mesh");
    m->engine = e;
    m->name = strndup(name.at != NULL ? name.at : "", name.len);
    m->protocols = strndup(protocols.at != NULL ? protocols.at : "", protocols.len);
    if (m->name == NULL || m->protocols == NULL) {
        mesh_free(m);
        return fail(ERR_MEMORY, 0, "join mesh");
    }
    chain_init(&m->incoming);
    chain_init(&m->commits);
    err joined = e->driver->join != NULL ? e->driver->join(m) : ok();
    if (joined.code != OK) {
        mesh_free(m);
        return joined;
    }
    chain_add(&e->nodes, &m->link);
    *out = m;
    return ok();
}

// Own asks and commits end first: what they were made for may answer what this node was asked.
void mesh_leave(mesh *m)
{
    if (m == NULL)
        return;
    // What these callbacks begin ends here as well.
    while (commits_leave(m) || asks_leave(m) || blobs_leave(m))
        continue;
    watches_leave(m);
    listeners_leave(m);
    blobs_left(m);
    claims_leave(m);
    incoming_leave(m);
    if (m->engine->driver->leave != NULL)
        m->engine->driver->leave(m);
    chain_remove(&m->link);
    mesh_free(m);
}

loop *mesh_loop(mesh *m)
{
    return m->engine->loop;
}

str mesh_node_name(const mesh *m)
{
    return str_of(m->name);
}

str mesh_node_short(const mesh *m)
{
    str rest = str_of(m->name);
    return str_cut(&rest, '@');
}

bool mesh_node_is(const mesh *m, str to)
{
    return str_is(str_of(m->name), to) || str_is(mesh_node_short(m), to);
}

mesh *mesh_node_serving(mesh_engine *e, message_kind kind, str to)
{
    size_t count = 0, chosen = 0;
    for (size_t pass = 0; pass < 2; pass++) {
        for (chain *c = e->nodes.next; c != &e->nodes; c = c->next) {
            mesh *m = (mesh *)c;
            if (m->served[kind].handler == NULL || (to.len > 0 && !mesh_node_is(m, to)))
                continue;
            if (pass == 0)
                count++;
            else if (chosen-- == 0)
                return m;
        }
        if (count == 0)
            return NULL;
        chosen = count > 1 ? e->turns[kind]++ % count : 0;
    }
    return NULL;
}
