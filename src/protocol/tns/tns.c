// tns: the registry of a universe: immutable revisions per project, one live pointer each, one
// owner per host.
#include "base/clock.h"
#include "base/json.h"
#include "base/map.h"
#include "base/str.h"
#include "protocol/door.h"
#include "protocol/protocol.h"
#include "protocol/record.h"

#include <stdlib.h>

enum {
    REVISIONS_LISTED_MAX = 1000,
    ROUTES_PER_PROJECT_MAX = 10 * 1000,
    REVISIONS_KEPT = 20, // older ones go with the next publication
};

struct tns_change;
// A change that waits for its turn, in its request's arena. One commit at a time: each reads what
// the one before it wrote, so that two publications of a project never lose against each other.
struct tns_write {
    struct tns_write *next;
    struct tns *tns; // NULL: closed meanwhile
    mesh_incoming *in;
    str project;
    err (*prepare)(struct tns_change *c, const void *request, void *reply);
    const void *request;
    void *reply;
};

struct tns {
    protocol_context context;
    struct tns_write *writing; // its commit is on its way
    struct tns_write *first, *last;
};

static str tns_key(arena *a, str project, uint64_t number)
{
    return str_format(a, "%.*s/%020llu", STR_ARG(project), (unsigned long long)number);
}

// What one publication or roll-back needs while it is prepared.
struct tns_change {
    struct tns *tns;
    arena *memory;
    str project;
    store_change *changes;
    size_t count;
    size_t room;
};

static err tns_add(struct tns_change *c, store_change change)
{
    if (c->count == c->room)
        return fail(ERR_LIMIT, 0, "the project has too many routes");
    if (change.key.at == NULL || (change.verb == STORE_PUT && change.value.at == NULL))
        return fail(ERR_MEMORY, 0, "publish");
    c->changes[c->count++] = change;
    return ok();
}

// Every "fqdn METHOD path" of a document, as keys of `routes` (value: the key's bytes).
static err tns_routes(arena *a, const json *document, map *routes)
{
    const json *functions = json_field(json_field(document, "configuration"), "functions");
    for (const json *f = functions != NULL ? functions->first : NULL; f != NULL; f = f->next) {
        const json *domains = json_field(f, "domains"), *methods = json_field(f, "methods"),
                   *paths = json_field(f, "paths");
        if (domains == NULL || methods == NULL || paths == NULL)
            continue;
        for (const json *d = domains->first; d != NULL; d = d->next)
            for (const json *m = methods->first; m != NULL; m = m->next)
                for (const json *p = paths->first; p != NULL; p = p->next) {
                    str key = str_format(a, "%.*s %.*s %.*s", STR_ARG(d->text), STR_ARG(m->text),
                                         STR_ARG(p->text));
                    if (key.at == NULL)
                        return fail(ERR_MEMORY, 0, "read routes");
                    TRY(map_put(routes, key, (void *)key.at, NULL));
                }
    }
    return ok();
}

static void tns_map_drop(map **m)
{
    map_close(*m);
}

// A host belongs to one project with all of its paths: its pages trust each other.
static err tns_host_check(struct tns_change *c, str route)
{
    store_entry *found;
    size_t count;
    str host = str_first(route, str_find_byte(route, ' ') + 1);
    TRY(mesh_list(c->tns->context.mesh, STR("tns.route"), host, STR(""), 1, false, c->memory,
                  &found, &count));
    return count == 0 || str_is(found[0].value, c->project)
               ? ok()
               : fail(ERR_CONFLICT, 0, "another project serves one of these hosts already");
}

// Takes the routes of `next`, gives back those only `former` had. A host of another project is a
// conflict.
static err tns_exchange_routes(struct tns_change *c, const json *former, const json *next)
{
    mesh *m = c->tns->context.mesh;
    OWNED(tns_map_drop) map *had = NULL;
    OWNED(tns_map_drop) map *wants = NULL;
    TRY(map_open(&had, ROUTES_PER_PROJECT_MAX));
    TRY(map_open(&wants, ROUTES_PER_PROJECT_MAX));
    if (former != NULL)
        TRY(tns_routes(c->memory, former, had));
    TRY(tns_routes(c->memory, next, wants));
    size_t at = 0;
    str key;
    void *value;
    while (map_next(wants, &at, &key, &value)) {
        store_entry entry = {.revision = 0};
        err e = mesh_get(m, STR("tns.route"), key, c->memory, &entry);
        if (e.code == OK && !str_is(entry.value, c->project))
            return fail(ERR_CONFLICT, 0, "another project serves one of these hosts already");
        if (e.code != OK && e.code != ERR_ABSENT)
            return e;
        if (e.code != ERR_ABSENT)
            continue;
        TRY(tns_host_check(c, key));
        TRY(tns_add(c, record_put(STR("tns.route"), str_copy(c->memory, key), c->project, 0)));
    }
    at = 0;
    while (map_next(had, &at, &key, &value))
        if (map_get(wants, key) == NULL)
            TRY(tns_add(c, record_delete(STR("tns.route"), str_copy(c->memory, key))));
    return ok();
}

static err tns_document(struct tns *t, arena *a, str project, uint64_t number, const json **out)
{
    store_entry entry;
    TRY(mesh_get(t->context.mesh, STR("tns.document"), tns_key(a, project, number), a, &entry));
    return json_read(a, entry.value, out, NULL);
}

// Points `live` at `number`: routes and pointer move in one commit.
static err tns_point(struct tns_change *c,
                     const revision_record *live,
                     uint64_t live_revision,
                     revision_record *next,
                     const json *document)
{
    const json *former = NULL;
    if (live != NULL)
        TRY(tns_document(c->tns, c->memory, c->project, live->number, &former));
    TRY(tns_exchange_routes(c, former, document));
    next->live = true;
    return tns_add(c, record_put(STR("tns.live"), c->project,
                                 record_write(c->memory, &shape_revision, next), live_revision));
}

static err tns_publish_change(struct tns_change *c, const void *fields, void *answer)
{
    const tns_publish_request *request = fields;
    tns_publish_reply *reply = answer;
    mesh *m = c->tns->context.mesh;
    const json *document;
    TRY(json_read(c->memory, request->document, &document, NULL));
    revision_record live;
    uint64_t live_revision = 0;
    err e = record_get(m, c->memory, STR("tns.live"), c->project, &shape_revision, &live,
                       &live_revision);
    if (e.code != OK && e.code != ERR_ABSENT)
        return e;
    bool first = e.code == ERR_ABSENT;
    store_entry *newest;
    size_t found;
    str prefix = str_format(c->memory, "%.*s/", STR_ARG(c->project));
    TRY(mesh_list(m, STR("tns.revision"), prefix, STR(""), REVISIONS_KEPT, true, c->memory, &newest,
                  &found));
    revision_record last = {0};
    for (size_t i = found; i-- > 0;) { // the newest comes last
        TRY(record_read(c->memory, newest[i].value, &shape_revision, &last));
        if (request->job.len == 0 || !str_is(last.job, request->job))
            continue;
        // Its monkey, or our answer to it, was lost after the commit: published is published.
        *reply = (tns_publish_reply){.revision = last.number,
                                     .live = !first && live.number == last.number};
        return ok();
    }
    revision_record next = {
        .project = c->project,
        .number = last.number + 1,
        .sequence = request->sequence,
        .configuration_commit = request->configuration_commit,
        .code_commit = request->code_commit,
        .job = request->job,
        .published_real_ms = clock_real_ms(),
    };
    str key = tns_key(c->memory, c->project, next.number);
    TRY(tns_add(c, record_put(STR("tns.revision"), key,
                              record_write(c->memory, &shape_revision, &next), 0)));
    TRY(tns_add(c, record_put(STR("tns.document"), key, request->document, 0)));
    if (found == REVISIONS_KEPT &&
        (first || tns_key(c->memory, c->project, live.number).at == NULL ||
         !str_is(newest[found - 1].key, tns_key(c->memory, c->project, live.number)))) {
        TRY(tns_add(c, record_delete(STR("tns.revision"), newest[found - 1].key)));
        TRY(tns_add(c, record_delete(STR("tns.document"), newest[found - 1].key)));
    }
    *reply = (tns_publish_reply){.revision = next.number,
                                 .live = first || request->sequence >= live.sequence};
    if (!reply->live)
        return ok();
    return tns_point(c, first ? NULL : &live, first ? 0 : live_revision, &next, document);
}

static err tns_change_open(struct tns_change *c, struct tns *t, mesh_incoming *in, str project)
{
    *c = (struct tns_change){.tns = t,
                             .memory = mesh_incoming_arena(in),
                             .project = project,
                             .room = ROUTES_PER_PROJECT_MAX};
    c->changes = arena_take(c->memory, c->room * sizeof(*c->changes));
    if (project.len == 0)
        return fail(ERR_SYNTAX, 0, "a project is needed");
    return c->changes == NULL ? fail(ERR_MEMORY, 0, "publish") : ok();
}

static void tns_write_next(struct tns *t);

static void tns_on_written(void *data, err e, uint64_t revision)
{
    (void)revision;
    struct tns_write *w = data;
    struct tns *t = w->tns;
    if (t != NULL)
        t->writing = NULL;
    if (e.code != OK)
        mesh_answer_err(w->in, e);
    else
        mesh_answer(w->in, w->reply);
    if (t != NULL && e.code != ERR_CLOSED)
        tns_write_next(t);
}

static void tns_write_next(struct tns *t)
{
    while (t->writing == NULL && t->first != NULL) {
        struct tns_write *w = t->first;
        t->first = w->next;
        struct tns_change c;
        err e = tns_change_open(&c, t, w->in, w->project);
        if (e.code == OK)
            e = w->prepare(&c, w->request, w->reply);
        if (e.code != OK) {
            mesh_answer_err(w->in, e);
        } else if (c.count == 0) {
            mesh_answer(w->in, w->reply);
        } else {
            t->writing = w;
            mesh_commit(t->context.mesh, c.changes, c.count, tns_on_written, w);
        }
    }
}

// `like` is copied.
static void tns_write_add(struct tns *t, const struct tns_write *like, size_t reply_bytes)
{
    arena *a = mesh_incoming_arena(like->in);
    struct tns_write *w = arena_take(a, sizeof(*w));
    void *reply = arena_take(a, reply_bytes);
    if (w == NULL || reply == NULL) {
        mesh_answer_err(like->in, fail(ERR_MEMORY, 0, "publish"));
        return;
    }
    *w = *like;
    w->tns = t;
    w->reply = reply;
    *(t->first != NULL ? &t->last->next : &t->first) = w;
    t->last = w;
    tns_write_next(t);
}

static void
tns_on_publish(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)header;
    const tns_publish_request *request = fields;
    struct tns_write w = {
        .in = in, .project = request->project, .prepare = tns_publish_change, .request = request};
    tns_write_add(data, &w, sizeof(tns_publish_reply));
}

static err tns_live_set_change(struct tns_change *c, const void *fields, void *answer)
{
    const tns_live_set_request *request = fields;
    tns_live_set_reply *reply = answer;
    mesh *m = c->tns->context.mesh;
    revision_record live, next;
    uint64_t live_revision;
    TRY(record_get(m, c->memory, STR("tns.live"), c->project, &shape_revision, &live,
                   &live_revision));
    if (request->expected != 0 && live.number != request->expected)
        return fail(ERR_CONFLICT, 0, "another revision is live by now");
    err e =
        record_get(m, c->memory, STR("tns.revision"),
                   tns_key(c->memory, c->project, request->revision), &shape_revision, &next, NULL);
    if (e.code == ERR_ABSENT)
        return fail(ERR_ABSENT, 0, "there is no such revision (the last 20 are kept)");
    if (e.code != OK)
        return e;
    const json *document;
    TRY(tns_document(c->tns, c->memory, c->project, next.number, &document));
    next.sequence = live.sequence; // what is pushed later wins over a roll-back, what was pushed
                                   // earlier does not
    reply->revision = next.number;
    return tns_point(c, &live, live_revision, &next, document);
}

static void
tns_on_live_set(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)header;
    const tns_live_set_request *request = fields;
    struct tns_write w = {
        .in = in, .project = request->project, .prepare = tns_live_set_change, .request = request};
    tns_write_add(data, &w, sizeof(tns_live_set_reply));
}

static void
tns_on_get(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)header;
    struct tns *t = data;
    const tns_get_request *request = fields;
    arena *a = mesh_incoming_arena(in);
    revision_record live = {0}, found;
    err e = record_get(t->context.mesh, a, STR("tns.live"), request->project, &shape_revision,
                       &live, NULL);
    found = live;
    if (request->revision != 0 && (e.code == OK || e.code == ERR_ABSENT)) {
        e = record_get(t->context.mesh, a, STR("tns.revision"),
                       tns_key(a, request->project, request->revision), &shape_revision, &found,
                       NULL);
        found.live = found.number == live.number;
    }
    store_entry document = {0};
    if (e.code == OK)
        e = mesh_get(t->context.mesh, STR("tns.document"),
                     tns_key(a, request->project, found.number), a, &document);
    tns_get_reply reply = {.revisions = {&found, 1}, .document = document.value};
    if (e.code == ERR_ABSENT)
        e.what = "nothing was deployed under this project and revision";
    if (e.code != OK)
        mesh_answer_err(in, e);
    else
        mesh_answer(in, &reply);
}

static size_t tns_limit(uint64_t asked)
{
    return asked == 0 || asked > REVISIONS_LISTED_MAX ? REVISIONS_LISTED_MAX : (size_t)asked;
}

// Reads up to `limit` revision records; those of one bucket and prefix.
static err tns_read_list(struct tns *t,
                         arena *a,
                         str bucket,
                         str prefix,
                         str after,
                         uint64_t limit,
                         bool reverse,
                         revision_record **out,
                         size_t *count)
{
    store_entry *entries;
    TRY(mesh_list(t->context.mesh, bucket, prefix, after, tns_limit(limit), reverse, a, &entries,
                  count));
    *out = arena_take(a, (*count + 1) * sizeof(**out));
    if (*out == NULL)
        return fail(ERR_MEMORY, 0, "list revisions");
    for (size_t i = 0; i < *count; i++)
        TRY(record_read(a, entries[i].value, &shape_revision, &(*out)[i]));
    return ok();
}

static void
tns_on_list(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)header;
    struct tns *t = data;
    const tns_list_request *request = fields;
    arena *a = mesh_incoming_arena(in);
    tns_list_reply reply = {0};
    revision_record live = {0};
    err e =
        tns_read_list(t, a, STR("tns.revision"), str_format(a, "%.*s/", STR_ARG(request->project)),
                      STR(""), request->limit, true, &reply.revisions.at, &reply.revisions.count);
    if (record_get(t->context.mesh, a, STR("tns.live"), request->project, &shape_revision, &live,
                   NULL)
            .code == OK)
        for (size_t i = 0; i < reply.revisions.count; i++)
            reply.revisions.at[i].live = reply.revisions.at[i].number == live.number;
    if (e.code != OK)
        mesh_answer_err(in, e);
    else
        mesh_answer(in, &reply);
}

static void
tns_on_projects(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)header;
    const tns_projects_request *request = fields;
    tns_projects_reply reply = {0};
    err e = tns_read_list(data, mesh_incoming_arena(in), STR("tns.live"), STR(""), request->after,
                          request->limit, false, &reply.revisions.at, &reply.revisions.count);
    if (e.code != OK)
        mesh_answer_err(in, e);
    else
        mesh_answer(in, &reply);
}

static void
tns_on_lookup(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)header;
    struct tns *t = data;
    const tns_lookup_request *request = fields;
    arena *a = mesh_incoming_arena(in);
    store_entry *entries;
    size_t count = 0;
    str prefix = str_format(a, "%.*s ", STR_ARG(str_lower(a, request->fqdn)));
    err e = mesh_list(t->context.mesh, STR("tns.route"), prefix, STR(""), 1, false, a, &entries,
                      &count);
    if (e.code == OK && count == 0)
        e = fail(ERR_ABSENT, 0, "no project serves this host");
    if (e.code != OK) {
        mesh_answer_err(in, e);
        return;
    }
    revision_record live = {0};
    e = record_get(t->context.mesh, a, STR("tns.live"), entries[0].value, &shape_revision, &live,
                   NULL);
    if (e.code != OK)
        mesh_answer_err(in, e);
    else
        mesh_answer(in, &(tns_lookup_reply){.project = entries[0].value, .revision = live.number});
}

// The project's pointer and routes go; its revisions stay until their project's name is used no
// more.
static err tns_remove_change(struct tns_change *c, const void *fields, void *answer)
{
    (void)fields;
    tns_remove_reply *reply = answer;
    revision_record live;
    const json *former, *nothing;
    err e = record_get(c->tns->context.mesh, c->memory, STR("tns.live"), c->project,
                       &shape_revision, &live, NULL);
    if (e.code != OK)
        return e.code == ERR_ABSENT ? ok() : e;
    TRY(tns_document(c->tns, c->memory, c->project, live.number, &former));
    TRY(json_read(c->memory, STR("{}"), &nothing, NULL));
    TRY(tns_exchange_routes(c, former, nothing));
    reply->existed = true;
    return tns_add(c, record_delete(STR("tns.live"), c->project));
}

static void
tns_on_remove(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)header;
    const tns_remove_request *request = fields;
    struct tns_write w = {
        .in = in, .project = request->project, .prepare = tns_remove_change, .request = request};
    tns_write_add(data, &w, sizeof(tns_remove_reply));
}

static err tns_open(void **state, const protocol_context *context)
{
    struct tns *t = calloc(1, sizeof(*t));
    if (t == NULL)
        return fail(ERR_MEMORY, 0, "open tns");
    t->context = *context;
    static const struct {
        message_kind kind;
        mesh_handler *handler;
    } served[] = {
        {MSG_tns_publish, tns_on_publish},   {MSG_tns_get, tns_on_get},
        {MSG_tns_list, tns_on_list},         {MSG_tns_projects, tns_on_projects},
        {MSG_tns_live_set, tns_on_live_set}, {MSG_tns_lookup, tns_on_lookup},
        {MSG_tns_remove, tns_on_remove},
    };
    for (size_t i = 0; i < COUNT(served); i++) {
        err e = mesh_serve(context->mesh, served[i].kind, served[i].handler, t);
        if (e.code != OK) {
            free(t);
            return e;
        }
    }
    *state = t;
    return ok();
}

static void tns_close(void *state, void (*closed)(void *data), void *data)
{
    struct tns *t = state;
    if (t->writing != NULL)
        t->writing->tns = NULL;
    free(t);
    closed(data);
}

// Which revision serves a host is what DNS tells everybody anyway; documents go to nodes only, over
// the mesh.
static void tns_http(void *state, http_exchange *x)
{
    struct tns *t = state;
    const http_request *r = http_request_of(x);
    if (str_is(r->path, STR("/ping"))) {
        http_answer_text(x, 200, "text/plain", STR("pong"));
    } else if (str_is(r->path, STR("/lookup"))) {
        tns_lookup_request request = {.fqdn =
                                          http_query_value(http_arena(x), r->query, STR("fqdn"))};
        door_ask(t->context.mesh, x, MSG_tns_lookup, &request);
    } else {
        http_answer_err(x, fail(ERR_ABSENT, 0, "routes: /ping /lookup?fqdn=NAME"));
    }
}

const protocol protocol_tns = {
    .name = "tns", .open = tns_open, .close = tns_close, .http = tns_http};
