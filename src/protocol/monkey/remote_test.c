// A monkey without repositories on its disk gets its sources from the node that has them.
#include "mesh/blob_test.h"
#include "protocol/monkey/monkey_inner.h"

#include <sys/wait.h>
#include <unistd.h>

enum { SHOP_AUTH, SHOP_PATRICK, SHOP_MONKEY, SHOP_CLIENT, SHOP_NODES };

struct remote {
    struct house house;
    struct house_node *nodes[SHOP_NODES];
    void *states[SHOP_NODES];
    protocol_doors doors;
    char key[SEAL_KEY_BYTES], repositories[128];
    bool closed[SHOP_NODES];
};
static const protocol *const remote_protocols[SHOP_CLIENT] = {&protocol_auth, &protocol_patrick,
                                                              &protocol_monkey};

static void remote_open(struct remote *r)
{
    static const char *const names[] = {"auth", "patrick", "monkey", "client"};
    *r = (struct remote){.doors = {.address = "127.0.0.1"}};
    house_open(&r->house);
    (void)snprintf(r->repositories, sizeof r->repositories, "%s/repositories", r->house.folder);
    for (size_t i = 0; i < SHOP_NODES; i++) {
        r->nodes[i] = house_node_open(&r->house, names[i], i == SHOP_CLIENT ? "" : names[i]);
        if (i == SHOP_CLIENT)
            continue;
        str folder = str_format(r->house.memory, "%s/home-%s", r->house.folder, names[i]);
        CHECK(file_make_folders(folder.at, 0700).code == OK);
        protocol_context context = {
            .loop = r->house.loop,
            .mesh = r->nodes[i]->mesh,
            .blobs = r->nodes[i]->blobs,
            .folder = folder.at,
            .repositories = i == SHOP_AUTH ? r->repositories : NULL,
            .program = "/bin/false",
            .engine = "test",
            .universe = STR("test"),
            .node = str_of(names[i]),
            .secrets_key = r->key,
            .copies = 1,
            .doors = &r->doors,
        };
        CHECK(remote_protocols[i]->open(&r->states[i], &context).code == OK);
    }
    for (size_t i = 0; i < SHOP_NODES; i++)
        house_beat(r->nodes[i]);
    house_rest(&r->house, 20);
}

static void remote_on_closed(void *data)
{
    *(bool *)data = true;
}

static void remote_close(struct remote *r)
{
    for (size_t i = SHOP_CLIENT; i-- > 0;) {
        remote_protocols[i]->close(r->states[i], remote_on_closed, &r->closed[i]);
        house_wait(&r->house, &r->closed[i]);
        house_node_close(r->nodes[i]);
    }
    house_close(&r->house);
}

struct remote_answer {
    struct remote *remote;
    const message_shape *shape;
    void *reply;
    bool done;
    err error;
};

static void remote_on_reply(void *data, err e, const void *fields)
{
    struct remote_answer *a = data;
    a->done = true;
    a->error = e;
    if (e.code != OK)
        return;
    str text = record_write(a->remote->house.memory, a->shape, fields);
    a->error = record_read(a->remote->house.memory, text, a->shape, a->reply);
}

static void remote_ask(struct remote *r, message_kind kind, const void *request, void *reply)
{
    struct remote_answer a = {.remote = r, .shape = message_infos[kind].reply, .reply = reply};
    mesh_ask(r->nodes[SHOP_CLIENT]->mesh, STR(""), kind, NULL, request, 5000, remote_on_reply, &a);
    house_wait(&r->house, &a.done);
    CHECK(a.error.code == OK);
}

// A bare repository alice/NAME.git with the files that the script makes; gives its commit.
static str remote_repository(struct remote *r, const char *name, const char *script)
{
    char line[2048], head[64] = "";
    int pipes[2], status;
    CHECK(pipe(pipes) == 0);
    (void)snprintf(
        line, sizeof line,
        "set -e; export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a "
        "GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a; w='%s/work-%s'; mkdir -p \"$w\"; "
        "cd \"$w\"; git init -q -b main .; %s; git add -A; git commit -q -m x; "
        "mkdir -p '%s/alice'; git clone -q --bare . '%s/alice/%s.git'; "
        "git rev-parse HEAD",
        r->house.folder, name, script, r->repositories, r->repositories, name);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        (void)dup2(pipes[1], STDOUT_FILENO);
        (void)execl("/bin/sh", "sh", "-c", line, (char *)NULL);
        _exit(127);
    }
    CHECK(close(pipes[1]) == 0);
    ssize_t n = read(pipes[0], head, sizeof head - 1);
    CHECK(waitpid(child, &status, 0) == child && status == 0 && n >= 40);
    CHECK(close(pipes[0]) == 0);
    return str_copy(r->house.memory, (str){head, 40});
}

static repository_record remote_register(struct remote *r, const char *name, const char *kind)
{
    auth_repository_create_request ask = {
        .owner = STR("alice"), .name = str_of(name), .kind = str_of(kind)};
    auth_repository_create_reply reply;
    remote_ask(r, MSG_auth_repository_create, &ask, &reply);
    return reply.repositories.at[0];
}

// Pushes both repositories and gives the job of the second when it has ended.
static job_record remote_job(struct remote *r, const char *code_script)
{
    repository_record configuration = remote_register(r, "tb_x", "config"),
                      code = remote_register(r, "tb_code_x", "code");
    auth_project_create_request create = {.owner = STR("alice"),
                                          .name = STR("x"),
                                          .configuration = configuration.id,
                                          .code = code.id};
    auth_project_create_reply created;
    remote_ask(r, MSG_auth_project_create, &create, &created);
    str commits[] = {
        remote_repository(
            r, "tb_x",
            "mkdir functions; "
            "printf 'id: Qm3333333\\nname: x\\nnotification: {email: a@example.com}\\n' "
            ">config.yaml; "
            "printf 'id: Qm1111111\\nsource: .\\ntrigger: {type: https, method: get, paths: "
            "[/ping]}\\ndomains: [GeneratedDomain]\\nexecution: {timeout: 10s, memory: 10MB, call: "
            "ping}\\n' >functions/ping.yaml; mkdir domains; printf 'id: Qm2222222\\nfqdn: "
            "a.test.localtau\\n' >domains/GeneratedDomain.yaml"),
        remote_repository(r, "tb_code_x", code_script)};
    const str ids[] = {configuration.id, code.id};
    patrick_push_reply pushed = {.jobs = {NULL, 0}};
    for (size_t i = 0; i < 2; i++) {
        patrick_push_request push = {
            .repository = ids[i], .ref = STR("refs/heads/main"), .after = commits[i]};
        remote_ask(r, MSG_patrick_push, &push, &pushed);
    }
    CHECK(pushed.jobs.count == 1);
    patrick_job_request which = {.id = pushed.jobs.at[0].id};
    patrick_job_reply now = {.jobs = {NULL, 0}};
    for (int i = 0; i < 600; i++) {
        house_rest(&r->house, 20);
        remote_ask(r, MSG_patrick_job, &which, &now);
        CHECK(now.jobs.count == 1);
        if (now.jobs.at[0].ended_real_ms != 0)
            break;
    }
    return now.jobs.at[0];
}

static void remote_says(const job_record *job, const char *text)
{
    if (str_find(job->error, str_of(text)) == job->error.len)
        print_error("the job is %.*s: %.*s\n", STR_ARG(job->state), STR_ARG(job->error));
    CHECK(str_is(job->state, STR("failed")) && str_find(job->error, str_of(text)) < job->error.len);
}

TEST(monkey_without_repositories_fetches_configuration_and_code)
{
    struct remote r;
    remote_open(&r);
    job_record job = remote_job(&r, "mkdir -p functions/ping/.taubyte; echo 'language: [no' "
                                    ">functions/ping/.taubyte/config.yaml");
    remote_says(&job, "functions/ping/.taubyte/config.yaml");
    CHECK(r.nodes[SHOP_AUTH]->served == 2);
    remote_close(&r);
}

TEST(monkey_without_repositories_says_what_code_is_missing)
{
    struct remote r;
    remote_open(&r);
    job_record job = remote_job(&r, "echo nothing >README");
    remote_says(&job, "the code repository has no folder functions/ping");
    remote_close(&r);
}

TEST(monkey_gives_a_job_back_that_waits_for_its_sources)
{
    struct remote r;
    remote_open(&r);
    r.nodes[SHOP_AUTH]->mode = DOOR_STALLS;
    repository_record configuration = remote_register(&r, "tb_x", "config"),
                      code = remote_register(&r, "tb_code_x", "code");
    auth_project_create_request create = {.owner = STR("alice"),
                                          .name = STR("x"),
                                          .configuration = configuration.id,
                                          .code = code.id};
    auth_project_create_reply created;
    remote_ask(&r, MSG_auth_project_create, &create, &created);
    const repository_record *both[] = {&configuration, &code};
    for (size_t i = 0; i < 2; i++) {
        patrick_push_request push = {
            .repository = both[i]->id,
            .ref = STR("refs/heads/main"),
            .after = remote_repository(&r, i == 0 ? "tb_x" : "tb_code_x", "echo x >x")};
        patrick_push_reply pushed;
        remote_ask(&r, MSG_patrick_push, &push, &pushed);
    }
    for (int i = 0; i < 200 && r.nodes[SHOP_AUTH]->served == 0; i++)
        house_rest(&r.house, 10);
    CHECK(r.nodes[SHOP_AUTH]->served == 1);
    remote_close(&r); // does not wait for the peer's deadline
}
