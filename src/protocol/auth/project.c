// Projects pair a configuration repository with a code repository; domains are claimed by one
// project.
#include "base/clock.h"
#include "base/str.h"
#include "protocol/auth/auth_inner.h"

enum { PROJECTS_LISTED_MAX = 1000 };

static str project_name_key(arena *memory, str owner, str name)
{
    return str_join(memory, (str[]){str_lower(memory, owner), str_lower(memory, name)}, 2,
                    STR("/"));
}

// The repository, if `owner` has it and no project uses it yet.
static err project_repository(
    struct auth *a, arena *memory, str id, str owner, repository_record *out, uint64_t *revision)
{
    err e = record_get(a->context.mesh, memory, STR("auth.repository"), id, &shape_repository, out,
                       revision);
    if (e.code == ERR_ABSENT)
        return fail(ERR_ABSENT, 0, "a repository of the project is not registered");
    if (e.code != OK)
        return e;
    if (!str_is_nocase(out->owner, owner))
        return fail(ERR_DENIED, 0, "a repository of the project belongs to somebody else");
    if (out->project.len > 0)
        return fail(ERR_CONFLICT, 0, "a repository belongs to another project already");
    return ok();
}

static err
project_create(struct auth *a, mesh_incoming *in, const auth_project_create_request *request)
{
    arena *memory = mesh_incoming_arena(in);
    if (!auth_name_is_valid(request->name))
        return fail(ERR_SYNTAX, 0, "a project's name is 1 to 100 letters, digits, '.', '-' or '_'");
    if (str_is(request->configuration, request->code))
        return fail(ERR_SYNTAX, 0, "configuration and code are two repositories");
    repository_record configuration, code;
    uint64_t revisions[2];
    TRY(project_repository(a, memory, request->configuration, request->owner, &configuration,
                           &revisions[0]));
    TRY(project_repository(a, memory, request->code, request->owner, &code, &revisions[1]));
    auth_project_create_reply *reply = arena_take(memory, sizeof(*reply));
    project_record *p = arena_take(memory, sizeof(*p));
    if (reply == NULL || p == NULL)
        return fail(ERR_MEMORY, 0, "create project");
    *p = (project_record){.id = id_new(memory),
                          .name = request->name,
                          .owner = request->owner,
                          .description = request->description,
                          .configuration = configuration.id,
                          .code = code.id,
                          .created_real_ms = clock_real_ms()};
    configuration.project = code.project = p->id;
    reply->projects.at = p;
    reply->projects.count = 1;
    store_change changes[] = {
        record_put(STR("auth.project.name"), project_name_key(memory, p->owner, p->name), p->id, 0),
        record_put(STR("auth.project"), p->id, record_write(memory, &shape_project, p), 0),
        record_put(STR("auth.repository"), configuration.id,
                   record_write(memory, &shape_repository, &configuration), revisions[0]),
        record_put(STR("auth.repository"), code.id, record_write(memory, &shape_repository, &code),
                   revisions[1]),
    };
    record_commit(a->context.mesh, in, changes, COUNT(changes), reply);
    return ok();
}

static void auth_on_project_create(void *data,
                                   mesh_incoming *in,
                                   const message_header *header,
                                   const void *fields)
{
    (void)header;
    err e = project_create(data, in, fields);
    if (e.code != OK)
        mesh_answer_err(in, e);
}

static void
auth_on_project_get(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)header;
    struct auth *a = data;
    const auth_project_get_request *request = fields;
    arena *memory = mesh_incoming_arena(in);
    str id = request->id;
    err e = ok();
    if (id.len == 0) {
        store_entry named;
        e = mesh_get(a->context.mesh, STR("auth.project.name"),
                     project_name_key(memory, request->owner, request->name), memory, &named);
        id = e.code == OK ? named.value : id;
    }
    project_record found;
    if (e.code == OK)
        e = record_get(a->context.mesh, memory, STR("auth.project"), id, &shape_project, &found,
                       NULL);
    auth_project_get_reply reply = {.projects = {&found, 1}};
    if (e.code == ERR_ABSENT)
        e.what = "there is no such project";
    if (e.code != OK)
        mesh_answer_err(in, e);
    else
        mesh_answer(in, &reply);
}

static void auth_on_project_list(void *data,
                                 mesh_incoming *in,
                                 const message_header *header,
                                 const void *fields)
{
    (void)header;
    struct auth *a = data;
    const auth_project_list_request *request = fields;
    arena *memory = mesh_incoming_arena(in);
    store_entry *entries;
    size_t count;
    err e = mesh_list(a->context.mesh, STR("auth.project"), STR(""), STR(""), PROJECTS_LISTED_MAX,
                      false, memory, &entries, &count);
    project_record *found = e.code == OK ? arena_take(memory, (count + 1) * sizeof(*found)) : NULL;
    if (e.code == OK && found == NULL)
        e = fail(ERR_MEMORY, 0, "list projects");
    auth_project_list_reply reply = {.projects = {found, 0}};
    for (size_t i = 0; e.code == OK && i < count; i++) {
        project_record *p = &found[reply.projects.count];
        e = record_read(memory, entries[i].value, &shape_project, p);
        if (e.code == OK && (request->owner.len == 0 || str_is_nocase(p->owner, request->owner)))
            reply.projects.count++;
    }
    if (e.code != OK)
        mesh_answer_err(in, e);
    else
        mesh_answer(in, &reply);
}

// The project goes; its repositories stay, free for another one.
static err
project_delete(struct auth *a, mesh_incoming *in, const auth_project_delete_request *request)
{
    arena *memory = mesh_incoming_arena(in);
    auth_project_delete_reply *reply = arena_take(memory, sizeof(*reply));
    if (reply == NULL)
        return fail(ERR_MEMORY, 0, "delete project");
    project_record p;
    err e = record_get(a->context.mesh, memory, STR("auth.project"), request->id, &shape_project,
                       &p, NULL);
    if (e.code == ERR_ABSENT) {
        mesh_answer(in, reply);
        return ok();
    }
    if (e.code != OK)
        return e;
    reply->existed = true;
    store_change changes[4] = {
        record_delete(STR("auth.project"), p.id),
        record_delete(STR("auth.project.name"), project_name_key(memory, p.owner, p.name)),
    };
    size_t count = 2;
    const str ids[] = {p.configuration, p.code};
    for (size_t i = 0; i < COUNT(ids); i++) {
        repository_record r;
        uint64_t revision;
        if (record_get(a->context.mesh, memory, STR("auth.repository"), ids[i], &shape_repository,
                       &r, &revision)
                .code != OK)
            continue;
        r.project = STR("");
        changes[count++] = record_put(STR("auth.repository"), r.id,
                                      record_write(memory, &shape_repository, &r), revision);
    }
    record_commit(a->context.mesh, in, changes, count, reply);
    return ok();
}

// One deletion on its way: first nothing is served any more, then the project goes.
struct project_deletion {
    struct auth *auth;
    mesh_incoming *in;
    const auth_project_delete_request *request;
};

static void project_on_unserved(void *data, err e, const void *fields)
{
    (void)fields;
    struct project_deletion *d = data;
    if (e.code == OK)
        e = project_delete(d->auth, d->in, d->request);
    if (e.code != OK)
        mesh_answer_err(d->in, e);
}

static void auth_on_project_delete(void *data,
                                   mesh_incoming *in,
                                   const message_header *header,
                                   const void *fields)
{
    (void)header;
    enum { DELETE_ASK_MS = 10 * 1000 };
    struct auth *a = data;
    struct project_deletion *d = arena_take(mesh_incoming_arena(in), sizeof(*d));
    if (d == NULL) {
        mesh_answer_err(in, fail(ERR_MEMORY, 0, "delete project"));
        return;
    }
    *d = (struct project_deletion){a, in, fields};
    if (d->request->id.len == 0) {
        mesh_answer_err(in, fail(ERR_SYNTAX, 0, "which project?"));
        return;
    }
    tns_remove_request ask = {.project = d->request->id};
    mesh_ask(a->context.mesh, STR(""), MSG_tns_remove, NULL, &ask, DELETE_ASK_MS,
             project_on_unserved, d);
}

static err domain_claim(struct auth *a, mesh_incoming *in, const auth_domain_claim_request *request)
{
    arena *memory = mesh_incoming_arena(in);
    str fqdn = str_lower(memory, request->fqdn);
    if (fqdn.len == 0 || fqdn.len > 253 || request->project.len < 8)
        return fail(ERR_SYNTAX, 0, "a domain is 1 to 253 characters and is claimed for a project");
    auth_domain_claim_reply *reply = arena_take(memory, sizeof(*reply));
    domain_claim_record *claim = arena_take(memory, sizeof(*claim));
    if (reply == NULL || claim == NULL)
        return fail(ERR_MEMORY, 0, "claim domain");
    reply->claims.at = claim;
    reply->claims.count = 1;
    uint64_t revision = 0;
    err e = record_get(a->context.mesh, memory, STR("auth.domain"), fqdn, &shape_domain_claim,
                       claim, &revision);
    if (e.code == OK && str_is(claim->project, request->project)) {
        mesh_answer(in, reply);
        return ok();
    }
    if (e.code == OK)
        return fail(ERR_CONFLICT, 0, "the domain is claimed by another project");
    if (e.code != ERR_ABSENT)
        return e;
    *claim = (domain_claim_record){
        .fqdn = fqdn,
        .project = request->project,
        .token = id_new(memory),
        .entry = str_format(memory, "%.*s.%.*s", 8, request->project.at, STR_ARG(fqdn)),
    };
    store_change change =
        record_put(STR("auth.domain"), fqdn, record_write(memory, &shape_domain_claim, claim), 0);
    record_commit(a->context.mesh, in, &change, 1, reply);
    return ok();
}

static void auth_on_domain_claim(void *data,
                                 mesh_incoming *in,
                                 const message_header *header,
                                 const void *fields)
{
    (void)header;
    err e = domain_claim(data, in, fields);
    if (e.code != OK)
        mesh_answer_err(in, e);
}

static void
auth_on_domain_list(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)header;
    struct auth *a = data;
    const auth_domain_list_request *request = fields;
    arena *memory = mesh_incoming_arena(in);
    store_entry *entries;
    size_t count;
    err e = mesh_list(a->context.mesh, STR("auth.domain"), STR(""), STR(""), PROJECTS_LISTED_MAX,
                      false, memory, &entries, &count);
    domain_claim_record *found =
        e.code == OK ? arena_take(memory, (count + 1) * sizeof(*found)) : NULL;
    if (e.code == OK && found == NULL)
        e = fail(ERR_MEMORY, 0, "list domains");
    auth_domain_list_reply reply = {.claims = {found, 0}};
    for (size_t i = 0; e.code == OK && i < count; i++) {
        domain_claim_record *c = &found[reply.claims.count];
        e = record_read(memory, entries[i].value, &shape_domain_claim, c);
        if (e.code == OK && str_is(c->project, request->project))
            reply.claims.count++;
    }
    if (e.code != OK)
        mesh_answer_err(in, e);
    else
        mesh_answer(in, &reply);
}

err auth_project_serve(struct auth *a)
{
    mesh *m = a->context.mesh;
    TRY(mesh_serve(m, MSG_auth_project_create, auth_on_project_create, a));
    TRY(mesh_serve(m, MSG_auth_project_get, auth_on_project_get, a));
    TRY(mesh_serve(m, MSG_auth_project_list, auth_on_project_list, a));
    TRY(mesh_serve(m, MSG_auth_project_delete, auth_on_project_delete, a));
    TRY(mesh_serve(m, MSG_auth_domain_claim, auth_on_domain_claim, a));
    return mesh_serve(m, MSG_auth_domain_list, auth_on_domain_list, a);
}
