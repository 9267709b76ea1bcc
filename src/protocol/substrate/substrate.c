// substrate: serves functions: follows what is live in tns, feeds the workers, keeps counts and
// logs.
//
// The happy path is: 1. a live pointer moves; 2. tns gives the revision's document; 3. all
// projects' routes become one table for the workers; 4. they ask for modules as calls come. What
// can fail: tns does not answer (asked again; what is live stays), a damaged document (said, and
// what was live stays), a module that is not there.
#include "base/clock.h"
#include "base/str.h"
#include "protocol/substrate/substrate_inner.h"

#include <stdlib.h>
#include <string.h>

// One ask for a document.
struct document_ask {
    document_ask *next;
    substrate *substrate; // NULL: it is closing
    project *project;
    uint64_t number;
};

project *substrate_project(substrate *s, str id)
{
    return map_get(s->projects, id);
}

static void project_free(project *p)
{
    ring_close(p->log);
    arena_close(p->memory);
    free(p->id);
    free(p);
}

static project *project_make(substrate *s, str id)
{
    project *p = map_get(s->projects, id);
    if (p != NULL)
        return p;
    // It names a folder too.
    if (id.len == 0 || id.at[0] == '.' || str_find_byte(id, '/') < id.len)
        return NULL;
    p = calloc(1, sizeof(*p));
    if (p == NULL)
        return NULL;
    p->substrate = s;
    p->id = strndup(id.at, id.len);
    if (p->id == NULL || map_put(s->projects, id, p, NULL).code != OK) {
        project_free(p);
        return NULL;
    }
    return p;
}

static void project_clear(project *p)
{
    arena_close(p->memory);
    p->memory = NULL;
    p->functions_count = p->routes_count = 0;
    p->revision = p->published = 0;
}

static bool substrate_lacks_documents(substrate *s)
{
    size_t at = 0;
    str key;
    void *value;
    while (map_next(s->projects, &at, &key, &value)) {
        const project *p = value;
        if (p->memory == NULL && !p->removed)
            return true;
    }
    return false;
}

static uint64_t document_retry_ms(const substrate *s)
{
    return s->published ? DOCUMENT_RETRY_MS : DOCUMENT_FIRST_RETRY_MS;
}

// At once when no document is on its way; a slow one does not hold the others up for long. The
// first routes are those of all documents, so that no request of theirs is refused after a start.
static void substrate_changed(substrate *s)
{
    if (s->closing || !s->complete)
        return;
    uint64_t age = loop_now_ms(s->context.loop) - s->opened_ms;
    if (!s->published && age < PUBLISH_FIRST_MS && substrate_lacks_documents(s)) {
        timer_start(s->publish, PUBLISH_FIRST_MS - age, 0);
        return;
    }
    timer_start(s->publish, s->asks == 0 ? 0 : PUBLISH_WAIT_MS, 0);
}

static void substrate_on_publish(void *data)
{
    ((substrate *)data)->published = true;
    routes_publish(data);
}

static err document_take(project *p, const tns_get_reply *reply)
{
    arena *a;
    TRY(arena_open(&a, PROJECT_BYTES_MAX));
    project fresh = *p;
    str copy = str_copy(a, reply->document);
    err e = copy.at == NULL ? fail(ERR_MEMORY, 0, "keep the project's document")
                            : routes_read(&fresh, a, copy);
    if (e.code != OK) {
        arena_close(a);
        return e;
    }
    arena_close(p->memory);
    *p = fresh;
    p->memory = a;
    p->revision = reply->revisions.count > 0 ? reply->revisions.at[0].number : 0;
    return ok();
}

static void document_want(project *p);

static void substrate_on_retry(void *data)
{
    substrate *s = data;
    size_t at = 0;
    str key;
    void *value;
    while (map_next(s->projects, &at, &key, &value)) {
        project *p = value;
        if (p->memory == NULL && !p->removed)
            document_want(p);
    }
}

static void document_on_reply(void *data, err e, const void *fields)
{
    document_ask *ask = data;
    substrate *s = ask->substrate;
    if (s == NULL) {
        free(ask);
        return;
    }
    project *p = ask->project;
    bool current = ask->number == p->asked && !p->removed;
    document_ask **at = &s->asked;
    while (*at != ask)
        at = &(*at)->next;
    *at = ask->next;
    free(ask);
    s->asks--;
    const tns_get_reply *reply = fields;
    if (e.code == OK && current)
        e = document_take(p, reply);
    if (e.code != OK && current) {
        log_fail(s->context.log, "document not read", e, "project", str_of(p->id), NULL);
        timer_start(s->retry, document_retry_ms(s), 0);
    }
    substrate_changed(s);
}

static void document_want(project *p)
{
    substrate *s = p->substrate;
    document_ask *ask = calloc(1, sizeof(*ask));
    if (ask == NULL) {
        timer_start(s->retry, document_retry_ms(s), 0);
        return;
    }
    *ask = (document_ask){s->asked, s, p, p->asked = ++s->numbers};
    s->asked = ask;
    s->asks++;
    tns_get_request request = {.project = str_of(p->id)};
    mesh_ask(s->context.mesh, STR(""), MSG_tns_get, NULL, &request, DOCUMENT_ASK_MS,
             document_on_reply, ask);
}

static void substrate_on_live(void *data, const store_entry *entry)
{
    substrate *s = data;
    if (entry == NULL) {
        s->complete = true;
        substrate_changed(s);
        return;
    }
    project *p = project_make(s, entry->key);
    if (p == NULL) {
        log_fail(s->context.log, "project not served",
                 fail(ERR_LIMIT, 0, "too many, or no id of a project"), NULL);
        return;
    }
    p->removed = entry->value.at == NULL;
    if (!p->removed) {
        document_want(p);
        return;
    }
    project_clear(p);
    substrate_changed(s);
}

// ---- counts

static void substrate_on_counts(void *data, const worker_counts *counts)
{
    substrate *s = data;
    s->kept_us_p999 = counts->kept_us_p999; // of the worker that told last: they serve alike
    for (size_t i = 0; i < counts->functions.count; i++) {
        const call_count_record *from = &counts->functions.at[i];
        function_count *to = map_get(s->counts, from->function);
        if (to == NULL)
            continue;
        to->calls += from->calls;
        to->failures += from->failures;
        to->time_us += from->time_us;
        to->last_real_ms = clock_real_ms();
    }
}

static void
substrate_on_status(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)header;
    substrate *s = data;
    const substrate_status_request *request = fields;
    arena *a = mesh_incoming_arena(in);
    substrate_status_reply reply = {
        .workers = s->workers != NULL ? workers_serving(s->workers) : 0,
        .restarts = s->workers != NULL ? workers_restarts(s->workers) : 0,
        .kept_us_p999 = s->kept_us_p999,
    };
    size_t room = 0, at = 0;
    str key;
    void *value;
    project *one = request->project.len > 0 ? substrate_project(s, request->project) : NULL;
    if (one != NULL)
        room = one->functions_count;
    reply.functions.at = arena_take(a, (room + 1) * sizeof(*reply.functions.at));
    for (size_t i = 0; reply.functions.at != NULL && i < room; i++) {
        const route_function *f = &one->functions[i];
        const function_count *c = map_get(s->counts, f->id);
        function_state_record *to = &reply.functions.at[reply.functions.count++];
        *to = (function_state_record){
            .project = f->project, .application = f->application, .name = f->name, .id = f->id};
        if (c == NULL)
            continue;
        to->calls = c->calls;
        to->failures = c->failures;
        to->time_us = c->time_us;
        to->loaded = c->last_real_ms > 0 && clock_real_ms() - c->last_real_ms < RECENT_MS;
    }
    while (map_next(s->counts, &at, &key, &value)) {
        const function_count *c = value;
        if (request->project.len > 0 &&
            (c->project == NULL || !str_is(str_of(c->project), request->project)))
            continue;
        reply.calls += c->calls;
        reply.failures += c->failures;
    }
    mesh_answer(in, &reply);
}

// ---- start and end

static void substrate_free(substrate *s)
{
    size_t at = 0;
    str key;
    void *value;
    while (s->projects != NULL && map_next(s->projects, &at, &key, &value))
        project_free(value);
    at = 0;
    while (s->counts != NULL && map_next(s->counts, &at, &key, &value)) {
        function_count *c = value;
        free(c->project);
        free(c->name);
        free(c);
    }
    map_close(s->projects);
    map_close(s->counts);
    map_close(s->modules);
    timer_close(s->publish);
    timer_close(s->retry);
    timer_close(s->serving_timer);
    free(s);
}

void substrate_end(substrate *s)
{
    if (!s->closing || s->works > 0)
        return;
    void (*closed)(void *data) = s->closed;
    void *data = s->closed_data;
    substrate_free(s);
    closed(data);
}

static void substrate_on_gone(void *data)
{
    ((substrate *)data)->workers = NULL;
}

static err substrate_doors(substrate *s)
{
    const protocol_doors *d = s->context.doors;
    if (s->workers == NULL)
        return fail(ERR_UNSUPPORTED, 0, "substrate needs workers");
    if (d->http != 0)
        TRY(workers_listen(s->workers, WORKER_SUBSTRATE_HTTP, d->address, d->http));
    if (d->http != 0 && d->also != NULL)
        TRY(workers_listen(s->workers, WORKER_SUBSTRATE_HTTP, d->also, d->http));
    if (d->p2p != 0)
        TRY(workers_listen(s->workers, WORKER_SUBSTRATE_P2P, d->address, d->p2p));
    workers_events events = {
        .on_module_want = modules_on_want,
        .on_output = lines_on_output,
        .on_counts = substrate_on_counts,
        .on_lost = lines_on_lost,
        .data = s,
    };
    workers_on(s->workers, &events);
    workers_on_gone(s->workers, false, substrate_on_gone, s);
    return ok();
}

static err substrate_start(substrate *s)
{
    mesh *m = s->context.mesh;
    TRY(map_open(&s->projects, PROJECTS_MAX));
    TRY(map_open(&s->counts, FUNCTIONS_MAX));
    TRY(map_open(&s->modules, FUNCTIONS_MAX));
    TRY(timer_open(&s->publish, s->context.loop, substrate_on_publish, s));
    TRY(timer_open(&s->retry, s->context.loop, substrate_on_retry, s));
    TRY(lines_serve(s));
    TRY(mesh_serve(m, MSG_substrate_status, substrate_on_status, s));
    TRY(serving_open(s));
    TRY(substrate_doors(s));
    return mesh_watch_open(&s->watch, m, STR("tns.live"), STR(""), substrate_on_live, s);
}

static err substrate_open(void **state, const protocol_context *context)
{
    substrate *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return fail(ERR_MEMORY, 0, "open substrate");
    s->context = *context;
    s->workers = context->workers;
    s->opened_ms = loop_now_ms(context->loop);
    err e = substrate_start(s);
    if (e.code != OK) {
        if (s->workers != NULL)
            workers_leave(s->workers, false);
        substrate_free(s);
        return e;
    }
    *state = s;
    return ok();
}

static void substrate_close(void *state, void (*closed)(void *data), void *data)
{
    substrate *s = state;
    s->closing = true;
    s->closed = closed;
    s->closed_data = data;
    mesh_watch_close(s->watch);
    for (document_ask *ask = s->asked; ask != NULL; ask = ask->next)
        ask->substrate = NULL; // its answer finds nobody
    modules_close(s);
    serving_close(s);
    timer_stop(s->publish);
    timer_stop(s->retry);
    if (s->workers != NULL) {
        // What is served stops with the node: its sockets close and nothing is routed any more.
        route_table none = {.functions_count = 0};
        workers_publish_routes(s->workers, &none);
        workers_leave(s->workers, false);
    }
    substrate_end(s);
}

const protocol protocol_substrate = {
    .name = "substrate", .open = substrate_open, .close = substrate_close, .own_http = true};
