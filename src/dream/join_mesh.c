// What the authority answers over the mesh: renewed certificates, the deny list.
//
// A node is known by its certificate at meshd, which lets it ask in its own name alone
// (ask.node_renew.dream.NAME); its protocols are those of its record, not what it says.
#include "base/file.h"
#include "base/hash.h"
#include "base/str.h"
#include "dream/join_inner.h"
#include "mesh/deny.h"

enum { LIST_BYTES_MAX = 512 * 1024, VERSION_HEX = 16 };

struct answer_task {
    join_task task;
    mesh_incoming *in;
    str node, request;
    str first, second; // of the reply
};

static void answer_failed(join_task *t)
{
    (void)t; // mesh_leave answers who waits
}

static void answer_on(join_door *d,
                      mesh_incoming *in,
                      str request,
                      void (*work)(join_task *t),
                      void (*done)(join_task *t))
{
    join_task *t;
    err e = join_task_open(d, sizeof(struct answer_task), &t);
    if (e.code != OK) {
        mesh_answer_err(in, e);
        return;
    }
    struct answer_task *x = (struct answer_task *)t;
    str from = mesh_incoming_from(in);
    x->in = in;
    x->node = str_copy(t->memory, str_first(from, str_find_byte(from, '@')));
    x->request = str_copy(t->memory, request);
    t->work = work;
    t->done = done;
    t->lost = answer_failed;
    e = join_task_start(t);
    if (e.code != OK)
        mesh_answer_err(in, e);
}

// ---- renewed certificates

static void renew_work(join_task *t)
{
    struct answer_task *x = (struct answer_task *)t;
    const join_door_settings *s = &t->door->settings;
    join_record r;
    bool denied = true;
    t->error = join_record_read(t->memory, s->folder, x->node, &r);
    if (t->error.code == ERR_ABSENT)
        t->error = fail(ERR_DENIED, 0, "this node has not joined from another machine");
    if (t->error.code == OK)
        t->error = join_is_denied(s->folder, t->memory, x->node, &denied);
    if (t->error.code == OK && denied)
        t->error = fail(ERR_DENIED, 0, "this node is on the universe's deny list");
    if (t->error.code != OK)
        return;
    authority_grant grant = {x->node, r.protocols, r.certificate_seconds};
    t->error = authority_sign(s->authority, t->memory, x->request, &grant, &x->first);
}

static void renew_done(join_task *t)
{
    struct answer_task *x = (struct answer_task *)t;
    node_renew_reply reply = {.certificate = x->first,
                              .authority = authority_certificate(t->door->settings.authority)};
    if (t->error.code == OK)
        mesh_answer(x->in, &reply);
    else
        mesh_answer_err(x->in, t->error);
}

static void
join_on_renew(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)header;
    const node_renew_request *request = fields;
    answer_on(data, in, request->request, renew_work, renew_done);
}

// ---- the deny list

static void denied_work(join_task *t)
{
    struct answer_task *x = (struct answer_task *)t;
    const char *path = str_format(t->memory, "%s/deny", t->door->settings.folder).at;
    char hex[SHA256_HEX + 1];
    size_t count, line;
    const char *reason;
    t->error = path == NULL ? fail(ERR_LIMIT, 0, "path too long")
                            : file_read(t->memory, path, LIST_BYTES_MAX, &x->second);
    // A list that is being mended by hand: the former one stays in force everywhere.
    if (t->error.code == OK)
        t->error = deny_check(x->second, &count, &line, &reason);
    if (t->error.code != OK)
        return;
    sha256_hex(sha256_of(x->second), hex);
    x->first = str_copy(t->memory, (str){hex, VERSION_HEX});
    if (str_is(x->first, x->request))
        x->second = STR("");
}

static void denied_done(join_task *t)
{
    struct answer_task *x = (struct answer_task *)t;
    node_denied_reply reply = {.version = x->first, .list = x->second};
    if (t->error.code == OK)
        mesh_answer(x->in, &reply);
    else
        mesh_answer_err(x->in, t->error);
}

static void
join_on_denied(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)header;
    const node_denied_request *request = fields;
    answer_on(data, in, request->known, denied_work, denied_done);
}

err join_mesh_serve(join_door *d)
{
    TRY(mesh_serve(d->settings.mesh, MSG_node_renew, join_on_renew, d));
    return mesh_serve(d->settings.mesh, MSG_node_denied, join_on_denied, d);
}
