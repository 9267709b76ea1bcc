// A forge on its own port, between a mesh whose auth and patrick the test plays, and a real git.
#include "repo/forge_shop_test.h"

#include "base/file.h"
#include "base/str.h"
#include "io/proc.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void
stand_on_token(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)data;
    (void)header;
    const auth_token_check_request *request = fields;
    auth_token_check_reply reply = {.device = STR("test")};
    if (str_is(request->token, STR("secret")))
        reply.account = STR("Alice"); // names of accounts ignore case
    else if (str_is(request->token, STR("bobs")))
        reply.account = STR("bob");
    if (reply.account.len == 0)
        mesh_answer_err(in, fail(ERR_DENIED, 0, "unknown token"));
    else
        mesh_answer(in, &reply);
}

static void
stand_on_repository(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    const stand *s = data;
    (void)header;
    const auth_repository_get_request *request = fields;
    repository_record r = {.id = str_of(s->id), .owner = STR("alice"), .name = STR("tb")};
    auth_repository_get_reply reply = {.repositories = {&r, 1}};
    if (str_is_nocase(request->owner, r.owner) && str_is_nocase(request->name, r.name))
        mesh_answer(in, &reply);
    else
        mesh_answer_err(in, fail(ERR_ABSENT, 0, "there is no such repository"));
}

static void stand_keep(char out[STAND_TEXT], str text)
{
    snprintf(out, STAND_TEXT, "%.*s", STR_ARG(text));
}

static void
stand_on_push(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)header;
    stand *s = data;
    const patrick_push_request *request = fields;
    CHECK(s->pushes_count < STAND_PUSHES && str_is(request->repository, str_of(s->id)));
    stand_push *p = &s->pushes[s->pushes_count++];
    stand_keep(p->ref, request->ref);
    stand_keep(p->before, request->before);
    stand_keep(p->after, request->after);
    stand_keep(p->deployment, request->deployment);
    stand_keep(p->subject, request->subject);
    stand_keep(p->author, request->author);
    p->deployment_size = request->deployment_size;
    char id[32];
    snprintf(id, sizeof(id), "JOB%zu", s->pushes_count);
    job_record job = {.id = str_of(id)};
    patrick_push_reply reply = {
        .jobs = {&job, str_is(request->ref, STR("refs/heads/main")) ? 1 : 0}};
    if (s->silent)
        return;
    if (s->refuse.code != OK && (s->only == NULL || str_is(request->ref, str_of(s->only))))
        mesh_answer_err(in, s->refuse);
    else
        mesh_answer(in, &reply);
}

static void stand_handler(void *data, http_exchange *x)
{
    stand *s = data;
    str path = http_request_of(x)->path;
    if (s->forge != NULL && forge_is_path(path))
        forge_handle(s->forge, x, path);
    else
        http_answer_text(x, 404, "text/plain", STR("not of the forge\n"));
}

static void stand_listen(stand *s)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    int f = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    CHECK(f >= 0 && bind(f, (struct sockaddr *)&at, len) == 0 && listen(f, 64) == 0);
    CHECK(getsockname(f, (struct sockaddr *)&at, &len) == 0);
    s->port = ntohs(at.sin_port);
    http_server_settings settings = {.loop = s->loop, .handler = stand_handler, .data = s};
    CHECK(http_server_open(&s->server, &settings).code == OK);
    CHECK(http_server_listen(s->server, f, NULL, NULL).code == OK);
}

void stand_open(stand *s)
{
    char folder[2 * STAND_TEXT];
    *s = (stand){.id = "R1"};
    buf_open(&s->output, 64 << 20);
    snprintf(s->folder, STAND_TEXT, "/tmp/ctau-forge-XXXXXX");
    CHECK(mkdtemp(s->folder) != NULL);
    snprintf(s->repository, sizeof(s->repository), "%s/repositories/alice/tb.git", s->folder);
    snprintf(folder, sizeof(folder), "%s/repositories", s->folder);
    CHECK(loop_open(&s->loop).code == OK);
    CHECK(mesh_embedded_open(&s->engine, s->loop, s->folder).code == OK);
    CHECK(mesh_join(&s->auth, s->engine, STR("auth@test"), STR("auth")).code == OK);
    CHECK(mesh_join(&s->patrick, s->engine, STR("patrick@test"), STR("patrick")).code == OK);
    CHECK(mesh_join(&s->client, s->engine, STR("client@test"), STR("")).code == OK);
    CHECK(mesh_serve(s->auth, MSG_auth_token_check, stand_on_token, s).code == OK);
    CHECK(mesh_serve(s->auth, MSG_auth_repository_get, stand_on_repository, s).code == OK);
    CHECK(mesh_serve(s->patrick, MSG_patrick_push, stand_on_push, s).code == OK);
    forge_settings settings = {.loop = s->loop, .mesh = s->client, .folder = folder};
    CHECK(forge_open(&s->forge, &settings).code == OK);
    stand_listen(s);
    CHECK(stand_run(s, "git init -q -b main $W && cd $W && echo one > f && git add f && git commit "
                       "-qm 'first one' && "
                       "git remote add origin $U") == 0);
}

void stand_close(stand *s)
{
    if (s->forge != NULL)
        forge_close(s->forge);
    http_server_close(s->server);
    mesh_leave(s->client);
    mesh_leave(s->patrick);
    mesh_leave(s->auth);
    mesh_engine_close(s->engine);
    for (int i = 0; i < 50; i++) // children that were killed come home
        loop_turn(s->loop, 10);
    loop_close(s->loop);
    buf_close(&s->output);
    CHECK(file_remove_tree(s->folder).code == OK);
}

static void stand_on_output(void *data, proc *p, int stream, str bytes)
{
    (void)p;
    (void)stream;
    buf_add(&((stand *)data)->output, bytes);
}

static void stand_on_end(void *data, proc *p, const proc_end *end)
{
    (void)p;
    stand *s = data;
    s->ended = true;
    s->status = end->status;
}

void stand_start(stand *s, const char *script)
{
    char lines[8][512];
    snprintf(lines[0], sizeof(lines[0]), "U=http://any:secret@127.0.0.1:%u/alice/tb.git", s->port);
    snprintf(lines[1], sizeof(lines[1]), "A=http://127.0.0.1:%u", s->port);
    snprintf(lines[2], sizeof(lines[2]), "W=%s/work", s->folder);
    snprintf(lines[3], sizeof(lines[3]), "HOME=%s", s->folder);
    snprintf(lines[4], sizeof(lines[4]), "PATH=%s", getenv("PATH"));
    snprintf(lines[5], sizeof(lines[5]), "R=%s", s->repository);
    const char *environment[] = {lines[0],
                                 lines[1],
                                 lines[2],
                                 lines[3],
                                 lines[4],
                                 lines[5],
                                 "GIT_CONFIG_NOSYSTEM=1",
                                 "GIT_TERMINAL_PROMPT=0",
                                 "GIT_AUTHOR_NAME=Alice A",
                                 "GIT_AUTHOR_EMAIL=a@example.com",
                                 "GIT_COMMITTER_NAME=Alice A",
                                 "GIT_COMMITTER_EMAIL=a@example.com",
                                 "GIT_CONFIG_COUNT=1",
                                 "GIT_CONFIG_KEY_0=safe.directory",
                                 "GIT_CONFIG_VALUE_0=*",
                                 NULL};
    const char *argv[] = {"sh", "-c", script, NULL};
    proc_settings settings = {.argv = argv,
                              .environment = environment,
                              .folder = s->folder,
                              .wall_ms_max = 60000,
                              .own_group = true,
                              .merge_output = true,
                              .on_output = stand_on_output,
                              .on_end = stand_on_end,
                              .data = s};
    proc *p;
    buf_clear(&s->output);
    s->ended = false;
    CHECK(proc_start(&p, s->loop, &settings).code == OK);
}

int stand_run(stand *s, const char *script)
{
    stand_start(s, script);
    while (!s->ended)
        loop_turn(s->loop, 100);
    buf_add_byte(&s->output, '\0');
    if (getenv("STAND_SHOW") != NULL)
        fprintf(stderr, "---- %s\n%s\n---- %d\n", script, s->output.at, s->status);
    return s->status;
}

bool stand_said(const stand *s, const char *text)
{
    return str_find(buf_str(&s->output), str_of(text)) < s->output.len;
}
