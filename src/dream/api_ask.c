// Asks of people: JSON becomes a message of the client node, limited to what is the asker's own.
//
// The happy path is: 1. the body is collected and read by the message's shape; 2. an account's
// request is bound to it: `owner` becomes the account, `project` and jobs must be its own; 3. the
// mesh is asked; 4. the reply is JSON again.
#include "base/json.h"
#include "base/str.h"
#include "dream/multiverse_inner.h"
#include "mesh/identity.h"

#include <stdlib.h>
#include <string.h>

enum { API_ASK_MS = 30 * 1000, API_ASK_MEMORY_BYTES = 4 << 20, API_REPLY_BYTES_MAX = 4 << 20 };

struct api_asking {
    multiverse *multiverse;
    http_exchange *x;
    bool reading; // the body comes, and nobody else has hold of this
    bool broken;
    arena *memory;
    str universe;
    const message_info *info;
    message_kind kind;
    str account;
    void *fields;
};

// What a person with an account may ask; the rest needs the machine's token.
static const char *const people_may[] = {
    "auth.token.check",
    "auth.token.revoke",
    "auth.repository.create",
    "auth.repository.get",
    "auth.repository.list",
    "auth.repository.delete",
    "auth.repository.hook",
    "auth.project.create",
    "auth.project.get",
    "auth.project.list",
    "auth.project.delete",
    "auth.domain.claim",
    "auth.domain.list",
    "tns.get",
    "tns.list",
    "tns.live.set",
    "tns.remove",
    "patrick.jobs",
    "patrick.job",
    "patrick.cancel",
    "patrick.retry",
    "patrick.replay",
    "patrick.log",
    "substrate.status",
    "substrate.logs",
    "seer.nodes",
    "seer.resolve",
    "node.ping",
};

static void asking_free(struct api_asking *a)
{
    arena_close(a->memory);
    free(a);
}

static void asking_end(struct api_asking *a, err e)
{
    if (!a->broken)
        http_answer_err(a->x, e);
    asking_free(a);
}

static void asking_on_broken(void *user, http_exchange *x)
{
    (void)x;
    struct api_asking *a = user;
    if (a->reading)
        asking_free(a);
    else
        a->broken = true;
}

static void asking_on_reply(void *data, err e, const void *fields)
{
    struct api_asking *a = data;
    if (e.code == ERR_CLOSED) // of the node: to our asker that would mean the whole cloud
        e = fail(ERR_BUSY, 0, "the node stopped while it was asked");
    if (e.code != OK || a->broken) {
        asking_end(a, e);
        return;
    }
    OWNED(buf_close) buf out;
    buf_open(&out, API_REPLY_BYTES_MAX);
    json_writer w = {.out = &out};
    message_json_write(&w, NULL, a->info->reply, fields);
    if (out.error.code != OK) {
        asking_end(a, out.error);
        return;
    }
    http_answer_json(a->x, 200, buf_str(&out));
    asking_free(a);
}

static mesh *asking_mesh(struct api_asking *a)
{
    universe *u = multiverse_find(a->multiverse, a->universe);
    return u == NULL ? NULL : universe_mesh(u);
}

static void asking_send(struct api_asking *a)
{
    mesh *m = asking_mesh(a);
    if (m == NULL) {
        asking_end(a, fail(ERR_BUSY, 0, "the client node, which asks for you, is stopped"));
        return;
    }
    message_header header = {.kind = a->kind, .account = a->account};
    mesh_ask(m, STR(""), a->kind, &header, a->fields, API_ASK_MS, asking_on_reply, a);
}

// The text field of this name in a request, or NULL.
static str *asking_field(struct api_asking *a, const char *name)
{
    char *at = a->fields;
    for (size_t i = 0; i < a->info->request->count; i++) {
        const message_field *f = &a->info->request->fields[i];
        if (f->kind == FIELD_TEXT && strcmp(f->name, name) == 0)
            return (str *)(void *)at;
        at += f->kind == FIELD_NUMBER || f->kind == FIELD_FLAG ? 8 : 16;
    }
    return NULL;
}

static void asking_on_project(void *data, err e, const void *fields)
{
    struct api_asking *a = data;
    const auth_project_get_reply *reply = fields;
    // Somebody else's project looks like none at all.
    if (e.code == OK &&
        (reply->projects.count == 0 || !str_is_nocase(reply->projects.at[0].owner, a->account)))
        e = fail(ERR_ABSENT, 0, "there is no such project");
    if (e.code != OK || a->broken)
        asking_end(a, e);
    else
        asking_send(a);
}

static void asking_check_project(struct api_asking *a, str project)
{
    mesh *m = asking_mesh(a);
    if (m == NULL || project.len == 0) {
        asking_end(a, fail(ERR_SYNTAX, 0, "this needs a project"));
        return;
    }
    auth_project_get_request ask = {.id = project};
    mesh_ask(m, STR(""), MSG_auth_project_get, NULL, &ask, API_ASK_MS, asking_on_project, a);
}

static void asking_on_job(void *data, err e, const void *fields)
{
    struct api_asking *a = data;
    const patrick_job_reply *reply = fields;
    if (e.code == OK && reply->jobs.count == 0)
        e = fail(ERR_ABSENT, 0, "there is no such job");
    if (e.code != OK || a->broken)
        asking_end(a, e);
    else
        asking_check_project(a, str_copy(a->memory, reply->jobs.at[0].project));
}

static void asking_on_repository(void *data, err e, const void *fields)
{
    struct api_asking *a = data;
    const auth_repository_get_reply *reply = fields;
    if (e.code == OK && (reply->repositories.count == 0 ||
                         !str_is_nocase(reply->repositories.at[0].owner, a->account)))
        e = fail(ERR_ABSENT, 0, "there is no such repository");
    if (e.code != OK || a->broken)
        asking_end(a, e);
    else
        asking_send(a);
}

// Binds a request to the account that asks.
static void asking_bind(struct api_asking *a)
{
    str subject = str_of(a->info->subject);
    str *owner = asking_field(a, "owner"), *project = asking_field(a, "project"),
        *id = asking_field(a, "id");
    if (owner != NULL)
        *owner = a->account;
    if (str_starts(subject, STR("patrick.")) && id != NULL) {
        patrick_job_request ask = {.id = *id};
        mesh_ask(asking_mesh(a), STR(""), MSG_patrick_job, NULL, &ask, API_ASK_MS, asking_on_job,
                 a);
    } else if (str_starts(subject, STR("auth.repository.")) && id != NULL && id->len > 0) {
        auth_repository_get_request ask = {.id = *id};
        mesh_ask(asking_mesh(a), STR(""), MSG_auth_repository_get, NULL, &ask, API_ASK_MS,
                 asking_on_repository, a);
    } else if (str_starts(subject, STR("auth.project.")) && id != NULL && id->len > 0) {
        asking_check_project(a, *id);
    } else if (project != NULL) {
        asking_check_project(a, *project);
    } else {
        asking_send(a);
    }
}

static void asking_on_body(void *user, http_exchange *x, str body)
{
    struct api_asking *a = user;
    const json *value = NULL;
    str where = {0};
    a->reading = false;
    if (body.len == 0)
        body = STR("{}");
    err e = json_read(a->memory, body, &value, &where);
    if (e.code != OK) {
        http_answer_text(
            x, 400, "text/plain",
            str_join(a->memory, (str[]){STR("not JSON: "), where, STR("\n")}, 3, STR("")));
        asking_free(a);
        return;
    }
    a->fields = arena_take(a->memory, a->info->request->bytes + 1);
    e = a->fields == NULL ? fail(ERR_MEMORY, 0, "ask")
                          : message_json_read(a->memory, value, a->info->request, a->fields);
    if (e.code != OK)
        asking_end(a, e);
    else if (asking_mesh(a) == NULL)
        asking_end(a, fail(ERR_ABSENT, 0, "the universe's client node does not run"));
    else if (a->account.len > 0)
        asking_bind(a);
    else
        asking_send(a);
}

static bool asking_is_for_people(str subject)
{
    for (size_t i = 0; i < COUNT(people_may); i++)
        if (str_is(subject, str_of(people_may[i])))
            return true;
    return false;
}

void api_ask(multiverse *m, http_exchange *x, universe *u, str subject, str account)
{
    const message_info *info = message_find(subject);
    identity client = {.universe = universe_name(u), .node = STR("client"), .protocols = STR("-")};
    if (info == NULL || info->reply == NULL) {
        http_answer_err(x, fail(ERR_ABSENT, 0, "there is no such message (see docs/PROTOCOL.md)"));
        return;
    }
    if (!identity_may(&client, subject) || (account.len > 0 && !asking_is_for_people(subject))) {
        http_answer_err(x, fail(ERR_DENIED, 0, "this message is not for people to send"));
        return;
    }
    struct api_asking *a = calloc(1, sizeof(*a));
    err e = a == NULL ? fail(ERR_MEMORY, 0, "ask") : arena_open(&a->memory, API_ASK_MEMORY_BYTES);
    if (e.code != OK) {
        free(a);
        http_answer_err(x, e);
        return;
    }
    a->multiverse = m;
    a->x = x;
    a->info = info;
    a->kind = (message_kind)(info - message_infos);
    a->universe = str_copy(a->memory, universe_name(u));
    a->account = str_copy(a->memory, account);
    a->reading = true;
    http_set_user(x, a);
    http_on_broken(x, asking_on_broken);
    http_collect(x, MESSAGE_BYTES_MAX, asking_on_body);
}
