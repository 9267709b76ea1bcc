// A push becomes a job.
//
// The happy path is: 1. auth names the repository and its project; 2. the other repository's last
// pushed commit makes the pair; 3. row, indexes, head and queue item are one commit; 4. then the
// pusher is answered. What can fail: an unknown repository (ERR_ABSENT), the disk (ERR_FULL;
// nothing was recorded).
#include "base/clock.h"
#include "base/hash.h"
#include "base/str.h"
#include "protocol/patrick/patrick_inner.h"

#include <string.h>

enum { ASK_MS = 10 * 1000 };

// One push on its way, in the incoming's arena. They are recorded one after the other: each pairs
// with what the one before it wrote, so that of two pushes of one moment the later has both.
struct push {
    struct push *next;
    struct patrick *patrick; // NULL: closed meanwhile
    mesh_incoming *in;
    const patrick_push_request *request;
    repository_record repository;
    const project_record *project; // NULL: of none yet
    patrick_push_reply *reply;
};

static void push_record_next(struct patrick *patrick);

static bool push_is_commit(str text)
{
    if (text.len != 40 && text.len != 64)
        return false;
    for (size_t i = 0; i < text.len; i++)
        if (!((text.at[i] >= '0' && text.at[i] <= '9') || (text.at[i] >= 'a' && text.at[i] <= 'f')))
            return false;
    return true;
}

static bool push_is_zero(str commit)
{
    for (size_t i = 0; i < commit.len; i++)
        if (commit.at[i] != '0')
            return false;
    return true;
}

static bool push_branch_is_live(struct patrick *p, arena *a, str branch)
{
    store_entry set;
    if (mesh_get(p->context.mesh, STR("patrick.setting"), STR("branch"), a, &set).code == OK)
        return str_is(branch, set.value);
    return str_is(branch, STR("main")) || str_is(branch, STR("master"));
}

static void push_answer(struct push *p, const job_record *job)
{
    patrick_push_reply reply = {.jobs = {(job_record *)job, job == NULL ? 0 : 1}};
    mesh_answer(p->in, &reply);
}

// The commit last pushed to a repository's live branch, empty when there is none yet.
static str push_head(struct push *p, str repository)
{
    store_entry head;
    if (mesh_get(p->patrick->context.mesh, STR("patrick.head"), repository,
                 mesh_incoming_arena(p->in), &head)
            .code != OK)
        return STR("");
    return head.value;
}

// Notes that one more of a deployment's repositories arrived; true when it was the last.
static bool push_completes(struct push *p, str project, store_change *changes, size_t *count)
{
    arena *a = mesh_incoming_arena(p->in);
    str key = str_format(a, "%.*s/%.*s", STR_ARG(project), STR_ARG(p->request->deployment));
    store_entry seen = {.value = STR("")};
    err e = mesh_get(p->patrick->context.mesh, STR("patrick.deployment"), key, a, &seen);
    uint64_t arrived = 1;
    for (str rest = seen.value; e.code == OK && rest.len > 0;)
        if (!str_is(str_cut(&rest, ' '), p->repository.id))
            arrived++;
    if (arrived >= p->request->deployment_size) {
        if (e.code == OK)
            changes[(*count)++] = record_delete(STR("patrick.deployment"), key);
        return true;
    }
    str next = str_format(a, "%.*s%.*s ", STR_ARG(seen.value), STR_ARG(p->repository.id));
    changes[(*count)++] =
        record_put(STR("patrick.deployment"), key, next, e.code == OK ? seen.revision : 0);
    return false;
}

static job_record push_job(struct push *p, const project_record *project, str branch)
{
    arena *a = mesh_incoming_arena(p->in);
    uint64_t sequence = patrick_sequence(p->patrick);
    bool is_configuration = str_is(project->configuration, p->repository.id);
    bool is_code = str_is(project->code, p->repository.id);
    return (job_record){
        .id = id_new(a),
        .sequence = sequence,
        .project = project->id,
        .repository = p->repository.id,
        .repository_name = p->repository.name,
        .kind = p->repository.kind,
        .branch = branch,
        .commit = p->request->after,
        .configuration_commit =
            is_configuration ? p->request->after : push_head(p, project->configuration),
        .code_commit = is_code ? p->request->after : push_head(p, project->code),
        .deployment = p->request->deployment,
        .publish = true,
        .state = STR("queued"),
        .created_real_ms = clock_real_ms(),
        .subject = p->request->subject,
        .author = p->request->author,
    };
}

static bool push_is_lonely(struct push *p, const project_record *project)
{
    bool is_code = str_is(project->code, p->repository.id);
    bool is_configuration = str_is(project->configuration, p->repository.id);
    return (is_code || is_configuration) &&
           push_head(p, is_code ? project->configuration : project->code).len == 0;
}

static void push_on_recorded(void *data, err e, uint64_t revision)
{
    (void)revision;
    struct push *p = data;
    struct patrick *patrick = p->patrick;
    if (patrick != NULL)
        patrick->recording = NULL;
    if (e.code != OK)
        mesh_answer_err(p->in, e);
    else
        mesh_answer(p->in, p->reply);
    if (patrick != NULL && e.code != ERR_CLOSED)
        push_record_next(patrick);
}

static void push_commit(struct push *p, const store_change *changes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (changes[i].verb == STORE_PUT && changes[i].value.at == NULL) {
            mesh_answer_err(p->in, fail(ERR_MEMORY, 0, "record push"));
            return;
        }
    p->patrick->recording = p;
    mesh_commit(p->patrick->context.mesh, changes, count, push_on_recorded, p);
}

static void push_record(struct push *p)
{
    const project_record *project = p->project;
    arena *a = mesh_incoming_arena(p->in);
    mesh *m = p->patrick->context.mesh;
    str ref = p->request->ref;
    str branch = str_from(ref, STR("refs/heads/").len);
    str unique = str_format(a, "%.*s %.*s %.*s", STR_ARG(p->repository.id), STR_ARG(ref),
                            STR_ARG(p->request->after));
    store_entry known;
    if (!p->request->again && mesh_get(m, STR("patrick.push"), unique, a, &known).code == OK) {
        job_record job;
        err e = patrick_job_get(p->patrick, a, known.value, &job, NULL);
        if (e.code == OK)
            push_answer(p, &job);
        else
            mesh_answer_err(p->in, e);
        return;
    }
    store_change changes[8];
    size_t count = 0;
    changes[count++] =
        record_put(STR("patrick.head"), p->repository.id, p->request->after, STORE_ANY);
    p->reply = arena_take(a, sizeof(*p->reply));
    job_record *job = arena_take(a, sizeof(*job));
    if (p->reply == NULL || job == NULL) {
        mesh_answer_err(p->in, fail(ERR_MEMORY, 0, "record push"));
        return;
    }
    // Half a project has nothing to deploy: the other half's first push makes the pair.
    bool alone = p->request->deployment_size <= 1 && project != NULL && push_is_lonely(p, project);
    if (project != NULL && !alone) {
        *job = push_job(p, project, branch);
        if (p->request->deployment.len > 0 && p->request->deployment_size > 1)
            job->publish = push_completes(p, project->id, changes, &count);
        patrick_job_changes(a, job, changes, &count);
        changes[count++] = record_put(STR("patrick.push"), unique, job->id, STORE_ANY);
        p->reply->jobs.at = job;
        p->reply->jobs.count = 1;
    }
    push_commit(p, changes, count);
}

static void push_record_next(struct patrick *patrick)
{
    while (patrick->recording == NULL && patrick->first != NULL) {
        struct push *p = patrick->first;
        patrick->first = p->next;
        push_record(p);
    }
}

static void push_record_add(struct push *p, const project_record *project)
{
    struct patrick *patrick = p->patrick;
    p->project = project;
    *(patrick->first != NULL ? &patrick->last->next : &patrick->first) = p;
    patrick->last = p;
    push_record_next(patrick);
}

void patrick_push_close(struct patrick *patrick)
{
    if (patrick->recording != NULL)
        patrick->recording->patrick = NULL;
}

static void push_on_project(void *data, err e, const void *fields)
{
    struct push *p = data;
    const auth_project_get_reply *reply = fields;
    if (e.code != OK || reply->projects.count == 0) {
        mesh_answer_err(p->in,
                        e.code != OK ? e : fail(ERR_ABSENT, 0, "the repository's project is gone"));
        return;
    }
    // The reply's memory ends with this call: keep what is needed.
    arena *a = mesh_incoming_arena(p->in);
    const project_record *from = &reply->projects.at[0];
    project_record *kept = arena_take(a, sizeof(*kept));
    if (kept == NULL) {
        mesh_answer_err(p->in, fail(ERR_MEMORY, 0, "push"));
        return;
    }
    kept->id = str_copy(a, from->id);
    kept->configuration = str_copy(a, from->configuration);
    kept->code = str_copy(a, from->code);
    push_record_add(p, kept);
}

static void push_on_repository(void *data, err e, const void *fields)
{
    struct push *p = data;
    const auth_repository_get_reply *reply = fields;
    if (e.code != OK || reply->repositories.count == 0) {
        mesh_answer_err(p->in,
                        e.code != OK ? e : fail(ERR_ABSENT, 0, "there is no such repository"));
        return;
    }
    arena *a = mesh_incoming_arena(p->in);
    const repository_record *r = &reply->repositories.at[0];
    p->repository = (repository_record){.id = str_copy(a, r->id),
                                        .name = str_copy(a, r->name),
                                        .kind = str_copy(a, r->kind),
                                        .project = str_copy(a, r->project)};
    if (p->repository.project.len == 0) {
        // Known, but of no project yet: remember the head, there is nothing to build.
        push_record_add(p, NULL);
        return;
    }
    auth_project_get_request ask = {.id = p->repository.project};
    mesh_ask(p->patrick->context.mesh, STR(""), MSG_auth_project_get, NULL, &ask, ASK_MS,
             push_on_project, p);
}

static void
patrick_on_push(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)header;
    struct patrick *patrick = data;
    const patrick_push_request *request = fields;
    arena *a = mesh_incoming_arena(in);
    struct push *p = arena_take(a, sizeof(*p));
    if (p == NULL || request->deployment_size > DEPLOYMENT_SIZE_MAX) {
        mesh_answer_err(in, p == NULL
                                ? fail(ERR_MEMORY, 0, "push")
                                : fail(ERR_LIMIT, 0, "a deployment has at most 16 repositories"));
        return;
    }
    *p = (struct push){.patrick = patrick, .in = in, .request = request};
    if (!str_starts(request->ref, STR("refs/heads/")) || push_is_zero(request->after) ||
        !push_branch_is_live(patrick, a, str_from(request->ref, STR("refs/heads/").len))) {
        push_answer(p, NULL); // tags, deletions and other branches build nothing
        return;
    }
    if (!push_is_commit(request->after)) {
        mesh_answer_err(in, fail(ERR_SYNTAX, 0, "a push names a commit by its full hash"));
        return;
    }
    auth_repository_get_request ask = {.id = request->repository};
    mesh_ask(patrick->context.mesh, STR(""), MSG_auth_repository_get, NULL, &ask, ASK_MS,
             push_on_repository, p);
}

// What git refuses as a branch: nothing would ever go live from it.
static bool branch_is_a_name(str branch)
{
    static const char *const refused[] = {"..", "//", "@{", "/.", "./"};
    if (branch.len == 0 || branch.len > 200 || branch.at[0] == '.' || branch.at[0] == '/' ||
        branch.at[0] == '-' || str_ends(branch, STR("/")) || str_ends(branch, STR(".")) ||
        str_ends(branch, STR(".lock")))
        return false;
    for (size_t i = 0; i < branch.len; i++) {
        unsigned char c = (unsigned char)branch.at[i];
        if (c <= ' ' || c == 0x7f || strchr("~^:?*[\\", c) != NULL)
            return false;
        for (size_t k = 0; k < COUNT(refused); k++)
            if (str_starts(str_from(branch, i), str_of(refused[k])))
                return false;
    }
    return true;
}

static void patrick_on_branch_set(void *data,
                                  mesh_incoming *in,
                                  const message_header *header,
                                  const void *fields)
{
    (void)header;
    struct patrick *p = data;
    const patrick_branch_set_request *request = fields;
    arena *a = mesh_incoming_arena(in);
    patrick_branch_set_reply *reply = arena_take(a, sizeof(*reply));
    if (reply == NULL || !branch_is_a_name(request->branch)) {
        mesh_answer_err(
            in, fail(ERR_SYNTAX, 0, "a branch's name is 1 to 200 characters, as git allows them"));
        return;
    }
    store_entry former;
    reply->former =
        mesh_get(p->context.mesh, STR("patrick.setting"), STR("branch"), a, &former).code == OK
            ? former.value
            : STR("main");
    store_change change =
        record_put(STR("patrick.setting"), STR("branch"), request->branch, STORE_ANY);
    record_commit(p->context.mesh, in, &change, 1, reply);
}

err patrick_push_serve(struct patrick *p)
{
    TRY(mesh_serve(p->context.mesh, MSG_patrick_push, patrick_on_push, p));
    return mesh_serve(p->context.mesh, MSG_patrick_branch_set, patrick_on_branch_set, p);
}
