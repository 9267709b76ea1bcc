// The embedded engine: nodes of one process on one loop, letters between them, records in SQLite.
//
// Every message is encoded and decoded, so nodes share no memory, and travels as a letter that is
// delivered on a later turn of the loop. What can fail: memory for a message (the error is told),
// a planned fault (the letter is lost, as any network may lose it).
#include "base/fault.h"
#include "base/file.h"
#include "base/str.h"
#include "mesh/mesh_inner.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct embedded {
    mesh_engine engine;
    store *store;
} embedded;

static void letter_request(mesh_engine *e, letter *l)
{
    ask *a = ask_find(e, l->number);
    if (a == NULL || fault_hits(FAULT_MESSAGE))
        return;
    mesh *node = mesh_node_serving(e, a->kind, str_of(a->to));
    if (node != NULL) {
        incoming_open(node, a->kind, str_of(a->from->name), &a->request, a->number, STR(""));
        return;
    }
    char what[128];
    asks_on_failure(e, l->number, ask_nobody(a->kind, what));
}

static void embedded_ask(mesh_engine *e, ask *a)
{
    (void)mesh_letter(e, letter_request, a->number);
}

static void letter_reply(mesh_engine *e, letter *l)
{
    if (ask_find(e, l->number) == NULL || fault_hits(FAULT_MESSAGE))
        return;
    if (l->error.code != OK)
        asks_on_failure(e, l->number, l->error);
    else
        asks_on_reply(e, l->number, buf_str(&l->bytes));
}

static void embedded_answer(mesh_engine *e, mesh_incoming *in, buf *bytes, err error)
{
    letter *l = mesh_letter(e, letter_reply, in->ask);
    l->error = error;
    l->bytes = *bytes;
    buf_open(bytes, 0);
}

static void letter_tell(mesh_engine *e, letter *l)
{
    if (l->bytes.error.code == OK)
        listeners_tell(e, (message_kind)l->number, buf_str(&l->bytes));
}

static void embedded_tell(mesh *m, message_kind kind, buf *bytes)
{
    letter *l = mesh_letter(m->engine, letter_tell, kind);
    l->bytes = *bytes;
    buf_open(bytes, 0);
}

static void embedded_commit(
    mesh_engine *e, const store_change *changes, size_t count, store_done *done, void *data)
{
    err checked = commit_check(changes, count);
    if (checked.code != OK)
        commit_refuse(e, checked, done, data);
    else
        store_commit(((embedded *)e)->store, changes, count, done, data);
}

static err embedded_store(mesh_engine *e, str bucket, store **out)
{
    (void)bucket;
    *out = ((embedded *)e)->store;
    return ok();
}

static void embedded_close(mesh_engine *e)
{
    embedded *m = (embedded *)e;
    commits_refused_tell(e);
    store_close(m->store); // the last claims and deletions of the queues come back here
    queues_close(e);
    mesh_engine_end(e);
    free(m);
}

static const mesh_driver embedded_driver = {
    .ask = embedded_ask,
    .answer = embedded_answer,
    .tell = embedded_tell,
    .commit = embedded_commit,
    .store = embedded_store,
    .close = embedded_close,
};

err mesh_embedded_open(mesh_engine **out, loop *l, const char *folder)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/mesh.db", folder) >= (int)sizeof path)
        return fail(ERR_LIMIT, 0, "path of the mesh");
    embedded *m = fault_hits(FAULT_MEMORY) ? NULL : calloc(1, sizeof *m);
    if (m == NULL)
        return fail(ERR_MEMORY, 0, "mesh");
    err made = mesh_engine_start(&m->engine, &embedded_driver, l);
    if (made.code == OK)
        made = store_open(&m->store, l, path);
    if (made.code != OK) {
        mesh_engine_end(&m->engine);
        free(m);
        return made;
    }
    store_on_commit(m->store, mesh_on_commit, &m->engine);
    *out = &m->engine;
    return ok();
}
