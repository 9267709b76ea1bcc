// Gives monkeys that have no repositories on their disk the files of a commit: packed into a blob
// of this node, which they fetch by its door.
#include "base/str.h"
#include "protocol/auth/auth_inner.h"
#include "repo/archive.h"
#include "repo/repo.h"

enum { SOURCE_MEMORY_BYTES = 64 << 10 };

struct source {
    struct source *next;
    struct auth *auth; // NULL: it has closed
    mesh_incoming *in; // NULL: answered by the mesh when the node left
    arena *memory;
    blobs *blobs;
    const char *path;
    str commit, below;
    char tree[41];
    sha256 hash;
    uint64_t bytes;
    err error;
};

static void source_work(void *data)
{
    struct source *s = data;
    s->error = repo_tree_id(s->path, s->commit, s->below, s->tree);
    if (s->error.code == OK)
        s->error = archive_pack(s->path, s->commit, s->below, s->blobs, &s->hash, &s->bytes);
}

static void source_close(struct source *s)
{
    if (s->auth != NULL)
        for (struct source **at = &s->auth->sources; *at != NULL; at = &(*at)->next)
            if (*at == s) {
                *at = s->next;
                break;
            }
    blobs_close(s->blobs);
    arena_close(s->memory);
}

static void source_done(void *data)
{
    struct source *s = data;
    char hex[SHA256_HEX + 1];
    sha256_hex(s->hash, hex);
    auth_source_reply reply = {.hash = str_of(hex), .bytes = s->bytes, .tree = str_of(s->tree)};
    if (s->in != NULL && s->error.code != OK)
        mesh_answer_err(s->in, s->error);
    else if (s->in != NULL) {
        reply.node = s->auth->context.node;
        mesh_answer(s->in, &reply);
    }
    source_close(s);
}

static err
source_open(struct auth *a, arena *memory, const auth_source_request *request, struct source **out)
{
    repository_record r;
    if (a->context.repositories == NULL)
        return fail(ERR_UNSUPPORTED, 0, "auth's node does not hold the repositories");
    err e = record_get(a->context.mesh, memory, STR("auth.repository"), request->repository,
                       &shape_repository, &r, NULL);
    if (e.code == ERR_ABSENT)
        e.what = "there is no such repository";
    TRY(e);
    struct source *s = arena_take(memory, sizeof *s);
    str path = str_format(memory, "%s/%.*s/%.*s.git", a->context.repositories, STR_ARG(r.owner),
                          STR_ARG(r.name));
    if (s == NULL || path.at == NULL)
        return fail(ERR_MEMORY, 0, "pack sources");
    *s = (struct source){.next = a->sources, .auth = a, .memory = memory, .path = path.at};
    s->commit = str_copy(memory, request->commit);
    s->below = str_copy(memory, request->path);
    s->blobs = blobs_share(a->context.blobs);
    a->sources = s;
    *out = s;
    return ok();
}

static void
auth_on_source(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)header;
    struct auth *a = data;
    struct source *s;
    arena *memory;
    err e = arena_open(&memory, SOURCE_MEMORY_BYTES);
    if (e.code == OK && (e = source_open(a, memory, fields, &s)).code != OK)
        arena_close(memory);
    if (e.code != OK) {
        mesh_answer_err(in, e);
        return;
    }
    s->in = in;
    if (loop_work(a->context.loop, source_work, source_done, s).code == OK)
        return;
    s->error = fail(ERR_MEMORY, 0, "pack sources");
    source_done(s);
}

err auth_source_serve(struct auth *a)
{
    return mesh_serve(a->context.mesh, MSG_auth_source, auth_on_source, a);
}

void auth_source_leave(struct auth *a)
{
    for (struct source *s = a->sources; s != NULL; s = s->next) {
        s->auth = NULL;
        s->in = NULL;
    }
}
