// Repositories: each has a webhook secret and a deploy key, sealed, and a name that is taken once.
#include "base/clock.h"
#include "base/str.h"
#include "mesh/deploy_key.h"
#include "protocol/auth/auth_inner.h"

#include <string.h>

enum { REPOSITORIES_LISTED_MAX = 1000, SECRET_RANDOM_BYTES = 32 };
static const char *const kinds[] = {"config", "code", "website", "library"};

static bool repository_kind_is_known(str kind)
{
    for (size_t i = 0; i < COUNT(kinds); i++)
        if (str_is(kind, str_of(kinds[i])))
            return true;
    return false;
}

static str repository_name_key(arena *memory, str owner, str name)
{
    return str_join(memory, (str[]){str_lower(memory, owner), str_lower(memory, name)}, 2,
                    STR("/"));
}

// Makes the two secrets and seals them for exactly this repository.
static err repository_secrets(struct auth *a, arena *memory, repository_record *r, str sealed[2])
{
    unsigned char random[SECRET_RANDOM_BYTES];
    random_bytes(random, sizeof(random));
    str secret = base58_of(memory, (str){(char *)random, sizeof(random)});
    str private_pem;
    TRY(deploy_key_new(memory, &private_pem, &r->deploy_public));
    TRY(seal(memory, a->key, r->hook, secret, &sealed[0]));
    return seal(memory, a->key, r->id, private_pem, &sealed[1]);
}

static void auth_on_repository_create(void *data,
                                      mesh_incoming *in,
                                      const message_header *header,
                                      const void *fields)
{
    (void)header;
    struct auth *a = data;
    const auth_repository_create_request *request = fields;
    arena *memory = mesh_incoming_arena(in);
    if (!auth_owner_is_valid(request->owner) || !auth_name_is_valid(request->name) ||
        str_ends(request->name, STR(".git"))) {
        mesh_answer_err(in,
                        fail(ERR_SYNTAX, 0,
                             "a repository's name is 1 to 100 letters, digits, '.', '-' or '_'"));
        return;
    }
    if (!repository_kind_is_known(request->kind)) {
        mesh_answer_err(
            in, fail(ERR_SYNTAX, 0, "a repository's kind is config, code, website or library"));
        return;
    }
    auth_repository_create_reply *reply = arena_take(memory, sizeof(*reply));
    repository_record *r = arena_take(memory, sizeof(*r));
    if (reply == NULL || r == NULL) {
        mesh_answer_err(in, fail(ERR_MEMORY, 0, "create repository"));
        return;
    }
    *r = (repository_record){.id = id_new(memory),
                             .owner = request->owner,
                             .name = request->name,
                             .kind = request->kind,
                             .branch = STR("main"),
                             .hook = id_new(memory),
                             .created_real_ms = clock_real_ms()};
    reply->repositories.at = r;
    reply->repositories.count = 1;
    str sealed[2];
    err e = repository_secrets(a, memory, r, sealed);
    if (e.code != OK) {
        mesh_answer_err(in, e);
        return;
    }
    store_change changes[] = {
        record_put(STR("auth.repository.name"), repository_name_key(memory, r->owner, r->name),
                   r->id, 0),
        record_put(STR("auth.repository"), r->id, record_write(memory, &shape_repository, r), 0),
        record_put(STR("auth.hook"), r->hook, r->id, 0),
        record_put(STR("auth.hook.secret"), r->hook, sealed[0], 0),
        record_put(STR("auth.deploy.key"), r->id, sealed[1], 0),
    };
    record_commit(a->context.mesh, in, changes, COUNT(changes), reply);
}

static err repository_find(struct auth *a,
                           arena *memory,
                           const auth_repository_get_request *request,
                           repository_record *out)
{
    str id = request->id;
    if (id.len == 0) {
        store_entry named;
        TRY(mesh_get(a->context.mesh, STR("auth.repository.name"),
                     repository_name_key(memory, request->owner, request->name), memory, &named));
        id = named.value;
    }
    return record_get(a->context.mesh, memory, STR("auth.repository"), id, &shape_repository, out,
                      NULL);
}

static void auth_on_repository_get(void *data,
                                   mesh_incoming *in,
                                   const message_header *header,
                                   const void *fields)
{
    (void)header;
    repository_record found;
    err e = repository_find(data, mesh_incoming_arena(in), fields, &found);
    auth_repository_get_reply reply = {.repositories = {&found, 1}};
    if (e.code == ERR_ABSENT)
        e.what = "there is no such repository";
    if (e.code != OK)
        mesh_answer_err(in, e);
    else
        mesh_answer(in, &reply);
}

static void auth_on_repository_list(void *data,
                                    mesh_incoming *in,
                                    const message_header *header,
                                    const void *fields)
{
    (void)header;
    struct auth *a = data;
    const auth_repository_list_request *request = fields;
    arena *memory = mesh_incoming_arena(in);
    store_entry *entries;
    size_t count;
    err e = mesh_list(a->context.mesh, STR("auth.repository"), STR(""), STR(""),
                      REPOSITORIES_LISTED_MAX, false, memory, &entries, &count);
    repository_record *found =
        e.code == OK ? arena_take(memory, (count + 1) * sizeof(*found)) : NULL;
    if (e.code == OK && found == NULL)
        e = fail(ERR_MEMORY, 0, "list repositories");
    auth_repository_list_reply reply = {.repositories = {found, 0}};
    for (size_t i = 0; e.code == OK && i < count; i++) {
        repository_record *r = &found[reply.repositories.count];
        e = record_read(memory, entries[i].value, &shape_repository, r);
        if (e.code == OK && (request->owner.len == 0 || str_is_nocase(r->owner, request->owner)))
            reply.repositories.count++;
    }
    if (e.code != OK)
        mesh_answer_err(in, e);
    else
        mesh_answer(in, &reply);
}

static void auth_on_repository_delete(void *data,
                                      mesh_incoming *in,
                                      const message_header *header,
                                      const void *fields)
{
    (void)header;
    struct auth *a = data;
    const auth_repository_delete_request *request = fields;
    arena *memory = mesh_incoming_arena(in);
    repository_record r;
    err e = record_get(a->context.mesh, memory, STR("auth.repository"), request->id,
                       &shape_repository, &r, NULL);
    auth_repository_delete_reply *reply = arena_take(memory, sizeof(*reply));
    if (e.code == ERR_ABSENT && reply != NULL) {
        mesh_answer(in, reply);
        return;
    }
    if (e.code == OK && reply == NULL)
        e = fail(ERR_MEMORY, 0, "delete repository");
    if (e.code == OK && r.project.len > 0)
        e = fail(ERR_CONFLICT, 0, "the repository belongs to a project: delete the project first");
    if (e.code != OK) {
        mesh_answer_err(in, e);
        return;
    }
    reply->existed = true;
    store_change changes[] = {
        record_delete(STR("auth.repository.name"), repository_name_key(memory, r.owner, r.name)),
        record_delete(STR("auth.repository"), r.id),
        record_delete(STR("auth.hook"), r.hook),
        record_delete(STR("auth.hook.secret"), r.hook),
        record_delete(STR("auth.deploy.key"), r.id),
    };
    record_commit(a->context.mesh, in, changes, COUNT(changes), reply);
}

static void
auth_on_hook_secret(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)header;
    struct auth *a = data;
    const auth_hook_secret_request *request = fields;
    arena *memory = mesh_incoming_arena(in);
    store_entry id, sealed;
    auth_hook_secret_reply reply = {0};
    err e = mesh_get(a->context.mesh, STR("auth.hook"), request->hook, memory, &id);
    if (e.code == OK)
        e = mesh_get(a->context.mesh, STR("auth.hook.secret"), request->hook, memory, &sealed);
    if (e.code == OK)
        e = unseal(memory, a->key, request->hook, sealed.value, &reply.secret);
    if (e.code != OK) {
        mesh_answer_err(in, e);
        return;
    }
    reply.repository = id.value;
    mesh_answer(in, &reply);
}

static void
auth_on_deploy_key(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)header;
    struct auth *a = data;
    const auth_deploy_key_request *request = fields;
    arena *memory = mesh_incoming_arena(in);
    store_entry sealed;
    auth_deploy_key_reply reply = {0};
    err e = mesh_get(a->context.mesh, STR("auth.deploy.key"), request->repository, memory, &sealed);
    if (e.code == OK)
        e = unseal(memory, a->key, request->repository, sealed.value, &reply.private_pem);
    if (e.code != OK)
        mesh_answer_err(in, e);
    else
        mesh_answer(in, &reply);
}

static void auth_on_repository_hook(void *data,
                                    mesh_incoming *in,
                                    const message_header *header,
                                    const void *fields)
{
    (void)header;
    struct auth *a = data;
    const auth_repository_hook_request *request = fields;
    arena *memory = mesh_incoming_arena(in);
    repository_record r;
    store_entry sealed;
    auth_repository_hook_reply reply = {0};
    err e = record_get(a->context.mesh, memory, STR("auth.repository"), request->id,
                       &shape_repository, &r, NULL);
    if (e.code == OK)
        e = mesh_get(a->context.mesh, STR("auth.hook.secret"), r.hook, memory, &sealed);
    if (e.code == OK)
        e = unseal(memory, a->key, r.hook, sealed.value, &reply.secret);
    if (e.code != OK) {
        mesh_answer_err(in, e);
        return;
    }
    reply.hook = r.hook;
    mesh_answer(in, &reply);
}

err auth_repository_serve(struct auth *a)
{
    mesh *m = a->context.mesh;
    TRY(mesh_serve(m, MSG_auth_repository_create, auth_on_repository_create, a));
    TRY(mesh_serve(m, MSG_auth_repository_get, auth_on_repository_get, a));
    TRY(mesh_serve(m, MSG_auth_repository_list, auth_on_repository_list, a));
    TRY(mesh_serve(m, MSG_auth_repository_delete, auth_on_repository_delete, a));
    TRY(mesh_serve(m, MSG_auth_repository_hook, auth_on_repository_hook, a));
    TRY(mesh_serve(m, MSG_auth_hook_secret, auth_on_hook_secret, a));
    return mesh_serve(m, MSG_auth_deploy_key, auth_on_deploy_key, a);
}
