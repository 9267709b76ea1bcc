// The registry side of the article without processes: accounts, repositories, a project, pushes,
// jobs, revisions.
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/str.h"
#include "base/test.h"
#include "mesh/mesh.h"
#include "protocol/protocol.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FLOW_TURNS_MAX = 5000, FLOW_MEMORY = 16 << 20 };

// A universe of protocols on one loop, in a folder of its own.
struct flow {
    loop *loop;
    mesh_engine *engine;
    mesh *nodes[5];
    mesh *client;
    void *states[4];
    blobs *blobs;
    char folder[64];
    char paths[4][128];
    char key[32];
    arena *memory;
};
static const protocol *const flow_protocols[] = {&protocol_auth, &protocol_tns, &protocol_patrick,
                                                 &protocol_hoarder};

static void flow_open(struct flow *f, const char *folder)
{
    memset(f, 0, sizeof(*f));
    if (folder == NULL) {
        snprintf(f->folder, sizeof(f->folder), "/tmp/ctau-flow-XXXXXX");
        assert_non_null(mkdtemp(f->folder));
    } else {
        snprintf(f->folder, sizeof(f->folder), "%s", folder);
    }
    CHECK(arena_open(&f->memory, FLOW_MEMORY).code == OK);
    CHECK(loop_open(&f->loop).code == OK);
    CHECK(mesh_embedded_open(&f->engine, f->loop, f->folder).code == OK);
    char path[128];
    snprintf(path, sizeof(path), "%s/blobs", f->folder);
    CHECK(file_make_folders(path, 0700).code == OK);
    CHECK(blobs_open(&f->blobs, path).code == OK);
    for (size_t i = 0; i < COUNT(flow_protocols); i++) {
        snprintf(f->paths[i], sizeof(f->paths[i]), "%s/%s", f->folder, flow_protocols[i]->name);
        CHECK(file_make_folders(f->paths[i], 0700).code == OK);
        str name = str_of(flow_protocols[i]->name);
        CHECK(mesh_join(&f->nodes[i], f->engine, name, name).code == OK);
        protocol_context context = {
            .loop = f->loop,
            .mesh = f->nodes[i],
            .blobs = f->blobs,
            .folder = f->paths[i],
            .universe = STR("test"),
            .node = name,
            .secrets_key = f->key,
        };
        CHECK(flow_protocols[i]->open(&f->states[i], &context).code == OK);
    }
    CHECK(mesh_join(&f->client, f->engine, STR("client"), STR("")).code == OK);
}

static void flow_on_closed(void *data)
{
    *(bool *)data = true;
}

static void flow_close(struct flow *f, bool keep)
{
    for (size_t i = 0; i < COUNT(flow_protocols); i++) {
        bool closed = false;
        flow_protocols[i]->close(f->states[i], flow_on_closed, &closed);
        CHECK(closed);
        mesh_leave(f->nodes[i]);
    }
    mesh_leave(f->client);
    mesh_engine_close(f->engine);
    blobs_close(f->blobs);
    loop_close(f->loop);
    arena_close(f->memory);
    if (!keep)
        CHECK(file_remove_tree(f->folder).code == OK);
}

struct flow_wait {
    struct flow *flow;
    const message_shape *shape;
    void *reply;
    err error;
    bool done;
};

// The reply's texts are kept by going through JSON into the test's memory.
static void flow_on_reply(void *data, err e, const void *fields)
{
    struct flow_wait *w = data;
    w->done = true;
    w->error = e;
    if (e.code != OK)
        return;
    OWNED(buf_close) buf text;
    buf_open(&text, 4 << 20);
    json_writer writer = {.out = &text};
    message_json_write(&writer, NULL, w->shape, fields);
    const json *value;
    str kept = str_copy(w->flow->memory, buf_str(&text));
    w->error = json_read(w->flow->memory, kept, &value, NULL);
    if (w->error.code == OK)
        w->error = message_json_read(w->flow->memory, value, w->shape, w->reply);
}

static err flow_ask(struct flow *f, message_kind kind, const void *request, void *reply)
{
    struct flow_wait w = {.flow = f, .shape = message_infos[kind].reply, .reply = reply};
    mesh_ask(f->client, STR(""), kind, NULL, request, 5000, flow_on_reply, &w);
    for (int i = 0; i < FLOW_TURNS_MAX && !w.done; i++)
        loop_turn(f->loop, 10);
    CHECK(w.done);
    return w.error;
}

static repository_record flow_repository(struct flow *f, const char *name, const char *kind)
{
    auth_repository_create_request ask = {
        .owner = STR("alice"), .name = str_of(name), .kind = str_of(kind)};
    auth_repository_create_reply reply;
    CHECK(flow_ask(f, MSG_auth_repository_create, &ask, &reply).code == OK);
    CHECK(reply.repositories.count == 1);
    return reply.repositories.at[0];
}

static project_record
flow_project(struct flow *f, repository_record *configuration, repository_record *code)
{
    *configuration = flow_repository(f, "tb_hello", "config");
    *code = flow_repository(f, "tb_code_hello", "code");
    auth_project_create_request ask = {.owner = STR("alice"),
                                       .name = STR("hello"),
                                       .configuration = configuration->id,
                                       .code = code->id};
    auth_project_create_reply reply;
    CHECK(flow_ask(f, MSG_auth_project_create, &ask, &reply).code == OK);
    return reply.projects.at[0];
}

// A push of half a project: recorded, and nothing to build yet.
static void flow_push_alone(struct flow *f, str repository, str commit)
{
    patrick_push_request ask = {
        .repository = repository, .ref = STR("refs/heads/main"), .after = commit};
    patrick_push_reply reply;
    CHECK(flow_ask(f, MSG_patrick_push, &ask, &reply).code == OK && reply.jobs.count == 0);
}

#define COMMIT_A STR("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")
#define COMMIT_B STR("bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb")
#define COMMIT_C STR("cccccccccccccccccccccccccccccccccccccccc")

static job_record
flow_push(struct flow *f, str repository, str commit, const char *deployment, uint64_t size)
{
    patrick_push_request ask = {.repository = repository,
                                .ref = STR("refs/heads/main"),
                                .after = commit,
                                .deployment = str_of(deployment),
                                .deployment_size = size};
    patrick_push_reply reply;
    CHECK(flow_ask(f, MSG_patrick_push, &ask, &reply).code == OK);
    CHECK(reply.jobs.count == 1);
    return reply.jobs.at[0];
}

// Several asks of one moment.
struct flow_burst {
    err errors[8];
    size_t got;
};

static void flow_on_burst(void *data, err e, const void *fields)
{
    (void)fields;
    struct flow_burst *b = data;
    b->errors[b->got++] = e;
}

TEST(auth_tokens_are_kept_as_hashes_and_end_when_revoked)
{
    struct flow f;
    flow_open(&f, NULL);
    auth_login_request login = {.account = STR("alice"), .device = STR("laptop")};
    auth_login_reply token;
    CHECK(flow_ask(&f, MSG_auth_login, &login, &token).code == OK);
    auth_token_check_request check = {.token = token.token};
    auth_token_check_reply owner;
    CHECK(flow_ask(&f, MSG_auth_token_check, &check, &owner).code == OK);
    CHECK(str_is(owner.account, STR("alice")));
    store_entry *entries;
    size_t count;
    CHECK(mesh_list(f.client, STR("auth.token"), STR(""), STR(""), 10, false, f.memory, &entries,
                    &count)
              .code == OK);
    CHECK(count == 1 && str_find(entries[0].key, token.token) == entries[0].key.len);
    CHECK(str_find(entries[0].value, token.token) == entries[0].value.len);
    check.token = STR("ctau_wrong");
    CHECK(flow_ask(&f, MSG_auth_token_check, &check, &owner).code == ERR_DENIED);
    auth_token_revoke_request revoke = {.token = token.token};
    auth_token_revoke_reply revoked;
    CHECK(flow_ask(&f, MSG_auth_token_revoke, &revoke, &revoked).code == OK && revoked.existed);
    check.token = token.token;
    CHECK(flow_ask(&f, MSG_auth_token_check, &check, &owner).code == ERR_DENIED);
    login.account = STR("../alice");
    CHECK(flow_ask(&f, MSG_auth_login, &login, &token).code == ERR_SYNTAX);
    flow_close(&f, false);
}

TEST(auth_names_are_taken_once_and_secrets_are_sealed)
{
    struct flow f;
    flow_open(&f, NULL);
    repository_record configuration, code;
    project_record project = flow_project(&f, &configuration, &code);
    CHECK(str_starts(configuration.deploy_public, STR("ecdsa-sha2-nistp256 ")));
    auth_repository_create_request again = {
        .owner = STR("Alice"), .name = STR("TB_hello"), .kind = STR("config")};
    auth_repository_create_reply reply;
    CHECK(flow_ask(&f, MSG_auth_repository_create, &again, &reply).code == ERR_CONFLICT);
    auth_project_create_request same = {.owner = STR("alice"),
                                        .name = STR("other"),
                                        .configuration = configuration.id,
                                        .code = code.id};
    auth_project_create_reply created;
    CHECK(flow_ask(&f, MSG_auth_project_create, &same, &created).code == ERR_CONFLICT);
    auth_deploy_key_request key = {.repository = code.id};
    auth_deploy_key_reply pem;
    CHECK(flow_ask(&f, MSG_auth_deploy_key, &key, &pem).code == OK);
    CHECK(str_starts(pem.private_pem, STR("-----BEGIN PRIVATE KEY-----")));
    store_entry sealed;
    CHECK(mesh_get(f.client, STR("auth.deploy.key"), code.id, f.memory, &sealed).code == OK);
    CHECK(str_find(sealed.value, STR("PRIVATE KEY")) == sealed.value.len);
    auth_project_get_request by_name = {.owner = STR("alice"), .name = STR("hello")};
    auth_project_get_reply found;
    CHECK(flow_ask(&f, MSG_auth_project_get, &by_name, &found).code == OK);
    CHECK(str_is(found.projects.at[0].id, project.id));
    flow_close(&f, false);
}

TEST(patrick_pairs_a_push_with_the_other_repositorys_head)
{
    struct flow f;
    flow_open(&f, NULL);
    repository_record configuration, code;
    project_record project = flow_project(&f, &configuration, &code);
    flow_push_alone(&f, configuration.id, COMMIT_A);
    job_record first = flow_push(&f, code.id, COMMIT_C, "", 0);
    CHECK(str_is(first.configuration_commit, COMMIT_A) && str_is(first.code_commit, COMMIT_C) &&
          first.publish);
    job_record second = flow_push(&f, code.id, COMMIT_B, "", 0);
    CHECK(str_is(second.configuration_commit, COMMIT_A) && str_is(second.code_commit, COMMIT_B));
    CHECK(second.sequence > first.sequence);
    job_record again = flow_push(&f, code.id, COMMIT_B, "", 0);
    CHECK(str_is(again.id, second.id));
    patrick_jobs_request list = {.project = project.id};
    patrick_jobs_reply jobs;
    CHECK(flow_ask(&f, MSG_patrick_jobs, &list, &jobs).code == OK);
    CHECK(jobs.jobs.count == 2 && str_is(jobs.jobs.at[0].id, second.id));
    flow_close(&f, false);
}

TEST(patrick_lets_a_deployment_go_live_with_its_last_repository)
{
    struct flow f;
    flow_open(&f, NULL);
    repository_record configuration, code;
    (void)flow_project(&f, &configuration, &code);
    job_record first = flow_push(&f, configuration.id, COMMIT_A, "d1", 2);
    job_record second = flow_push(&f, code.id, COMMIT_B, "d1", 2);
    CHECK(!first.publish && second.publish);
    CHECK(str_is(second.configuration_commit, COMMIT_A));
    job_record lone = flow_push(&f, code.id, COMMIT_C, "d2", 1);
    CHECK(lone.publish);
    flow_close(&f, false);
}

static void flow_push_both(struct flow *f, const project_record *p, const char *deployment)
{
    struct flow_burst burst = {.got = 0};
    patrick_push_request ask = {.repository = p->configuration,
                                .ref = STR("refs/heads/main"),
                                .after = COMMIT_A,
                                .deployment = str_of(deployment),
                                .deployment_size = deployment[0] == 0 ? 0 : 2};
    mesh_ask(f->client, STR(""), MSG_patrick_push, NULL, &ask, 5000, flow_on_burst, &burst);
    ask.repository = p->code;
    ask.after = COMMIT_B;
    mesh_ask(f->client, STR(""), MSG_patrick_push, NULL, &ask, 5000, flow_on_burst, &burst);
    for (int i = 0; i < FLOW_TURNS_MAX && burst.got < 2; i++)
        loop_turn(f->loop, 10);
    CHECK(burst.got == 2 && burst.errors[0].code == OK && burst.errors[1].code == OK);
    patrick_jobs_request list = {.project = p->id};
    patrick_jobs_reply jobs;
    CHECK(flow_ask(f, MSG_patrick_jobs, &list, &jobs).code == OK && jobs.jobs.count > 0);
    const job_record *newest = &jobs.jobs.at[0];
    CHECK(str_is(newest->configuration_commit, COMMIT_A));
    CHECK(str_is(newest->code_commit, COMMIT_B) && newest->publish);
}

TEST(patrick_gives_the_later_of_two_pushes_of_one_moment_both_commits)
{
    const char *const deployments[] = {"", "d1"};
    for (size_t i = 0; i < COUNT(deployments); i++) {
        struct flow f;
        flow_open(&f, NULL);
        repository_record configuration, code;
        project_record project = flow_project(&f, &configuration, &code);
        flow_push_alone(&f, configuration.id, COMMIT_C);
        (void)flow_push(&f, code.id, COMMIT_C, "", 0);
        flow_push_both(&f, &project, deployments[i]);
        flow_close(&f, false);
    }
}

TEST(patrick_ignores_other_branches_tags_and_deletions)
{
    struct flow f;
    flow_open(&f, NULL);
    repository_record configuration, code;
    (void)flow_project(&f, &configuration, &code);
    static const char *const refs[] = {"refs/heads/dev", "refs/tags/v1", "refs/heads/main"};
    for (size_t i = 0; i < COUNT(refs); i++) {
        patrick_push_request ask = {
            .repository = code.id, .ref = str_of(refs[i]), .after = COMMIT_A};
        if (i == 2)
            ask.after = STR("0000000000000000000000000000000000000000");
        patrick_push_reply reply;
        CHECK(flow_ask(&f, MSG_patrick_push, &ask, &reply).code == OK && reply.jobs.count == 0);
    }
    patrick_branch_set_request set = {.branch = STR("dev")};
    patrick_branch_set_reply former;
    CHECK(flow_ask(&f, MSG_patrick_branch_set, &set, &former).code == OK &&
          str_is(former.former, STR("main")));
    patrick_push_request ask = {
        .repository = code.id, .ref = STR("refs/heads/dev"), .after = COMMIT_A};
    patrick_push_reply reply;
    CHECK(flow_ask(&f, MSG_patrick_push, &ask, &reply).code == OK && reply.jobs.count == 0);
    ask.repository = configuration.id;
    CHECK(flow_ask(&f, MSG_patrick_push, &ask, &reply).code == OK && reply.jobs.count == 1);
    flow_close(&f, false);
}

static err flow_progress(struct flow *f, str job, uint64_t attempt, const char *state)
{
    patrick_progress_request ask = {
        .id = job, .attempt = attempt, .monkey = STR("monkey@test"), .state = str_of(state)};
    patrick_progress_reply reply;
    return flow_ask(f, MSG_patrick_progress, &ask, &reply);
}

TEST(patrick_takes_reports_of_the_current_attempt_only)
{
    struct flow f;
    flow_open(&f, NULL);
    repository_record configuration, code;
    (void)flow_project(&f, &configuration, &code);
    flow_push_alone(&f, configuration.id, COMMIT_A);
    job_record job = flow_push(&f, code.id, COMMIT_B, "", 0);
    CHECK(flow_progress(&f, job.id, 1, "fetching").code == OK);
    CHECK(flow_progress(&f, job.id, 2, "fetching").code == OK);
    CHECK(flow_progress(&f, job.id, 1, "done").code == ERR_CONFLICT);
    CHECK(flow_progress(&f, job.id, 2, "dancing").code == ERR_SYNTAX);
    patrick_cancel_request cancel = {.id = job.id};
    patrick_cancel_reply cancelled;
    CHECK(flow_ask(&f, MSG_patrick_cancel, &cancel, &cancelled).code == OK);
    CHECK(flow_progress(&f, job.id, 2, "done").code == ERR_CONFLICT);
    patrick_retry_request retry = {.id = job.id};
    patrick_retry_reply retried;
    CHECK(flow_ask(&f, MSG_patrick_retry, &retry, &retried).code == OK);
    CHECK(!str_is(retried.jobs.at[0].id, job.id) &&
          str_is(retried.jobs.at[0].state, STR("queued")));
    flow_close(&f, false);
}

TEST(patrick_gives_a_log_back_from_any_offset)
{
    struct flow f;
    flow_open(&f, NULL);
    repository_record configuration, code;
    (void)flow_project(&f, &configuration, &code);
    flow_push_alone(&f, configuration.id, COMMIT_A);
    job_record job = flow_push(&f, code.id, COMMIT_B, "", 0);
    patrick_log_add_request add = {.id = job.id, .attempt = 1, .text = STR("one\ntwo\n")};
    patrick_log_add_reply added;
    CHECK(flow_ask(&f, MSG_patrick_log_add, &add, &added).code == OK && added.bytes == 8);
    patrick_log_request ask = {.id = job.id, .offset = 4};
    patrick_log_reply log;
    CHECK(flow_ask(&f, MSG_patrick_log, &ask, &log).code == OK);
    CHECK(str_is(log.text, STR("two\n")) && log.offset == 8 && !log.complete);
    CHECK(flow_progress(&f, job.id, 1, "done").code == OK);
    ask.offset = 8;
    CHECK(flow_ask(&f, MSG_patrick_log, &ask, &log).code == OK && log.complete);
    ask.id = STR("../../etc/passwd");
    CHECK(flow_ask(&f, MSG_patrick_log, &ask, &log).code != OK);
    flow_close(&f, false);
}

static str flow_document(struct flow *f, const char *host)
{
    return str_format(f->memory,
                      "{\"configuration\":{\"functions\":[{\"id\":\"F1\",\"domains\":[\"%s\"],"
                      "\"methods\":[\"GET\"],"
                      "\"paths\":[\"/ping\"]}]},\"artefacts\":{}}",
                      host);
}

static err flow_publish(struct flow *f,
                        const char *project,
                        uint64_t sequence,
                        const char *host,
                        tns_publish_reply *reply)
{
    tns_publish_request ask = {
        .project = str_of(project), .sequence = sequence, .document = flow_document(f, host)};
    return flow_ask(f, MSG_tns_publish, &ask, reply);
}

TEST(tns_publishes_in_order_and_rolls_back)
{
    struct flow f;
    flow_open(&f, NULL);
    tns_publish_reply reply;
    CHECK(flow_publish(&f, "p1", 10, "a.test.localtau", &reply).code == OK && reply.revision == 1 &&
          reply.live);
    CHECK(flow_publish(&f, "p1", 30, "b.test.localtau", &reply).code == OK && reply.revision == 2 &&
          reply.live);
    CHECK(flow_publish(&f, "p1", 20, "c.test.localtau", &reply).code == OK && reply.revision == 3 &&
          !reply.live);
    tns_lookup_request lookup = {.fqdn = STR("B.test.localtau")};
    tns_lookup_reply found;
    CHECK(flow_ask(&f, MSG_tns_lookup, &lookup, &found).code == OK && found.revision == 2);
    lookup.fqdn = STR("a.test.localtau");
    CHECK(flow_ask(&f, MSG_tns_lookup, &lookup, &found).code == ERR_ABSENT);
    tns_live_set_request back = {.project = STR("p1"), .revision = 1, .expected = 2};
    tns_live_set_reply set;
    CHECK(flow_ask(&f, MSG_tns_live_set, &back, &set).code == OK);
    CHECK(flow_ask(&f, MSG_tns_lookup, &lookup, &found).code == OK && found.revision == 1);
    CHECK(flow_ask(&f, MSG_tns_live_set, &back, &set).code == ERR_CONFLICT);
    tns_list_request list = {.project = STR("p1")};
    tns_list_reply revisions;
    CHECK(flow_ask(&f, MSG_tns_list, &list, &revisions).code == OK);
    CHECK(revisions.revisions.count == 3 && revisions.revisions.at[2].live);
    flow_close(&f, false);
}

TEST(tns_publications_of_one_moment_all_count)
{
    struct flow f;
    struct flow_burst burst = {.got = 0};
    flow_open(&f, NULL);
    for (size_t i = 0; i < COUNT(burst.errors); i++) {
        str host = str_format(f.memory, "h%zu.test.localtau", i);
        tns_publish_request ask = {
            .project = STR("p1"), .sequence = i, .document = flow_document(&f, host.at)};
        mesh_ask(f.client, STR(""), MSG_tns_publish, NULL, &ask, 5000, flow_on_burst, &burst);
    }
    for (int i = 0; i < FLOW_TURNS_MAX && burst.got < COUNT(burst.errors); i++)
        loop_turn(f.loop, 10);
    CHECK(burst.got == COUNT(burst.errors));
    for (size_t i = 0; i < COUNT(burst.errors); i++)
        CHECK(burst.errors[i].code == OK);
    tns_lookup_request lookup = {.fqdn = STR("h7.test.localtau")};
    tns_lookup_reply found;
    CHECK(flow_ask(&f, MSG_tns_lookup, &lookup, &found).code == OK && found.revision == 8);
    // Closed with some of them under way: nothing breaks.
    burst.got = 0;
    for (size_t i = 0; i < 4; i++) {
        tns_publish_request ask = {.project = STR("p2"),
                                   .document = flow_document(&f, "x.test.localtau")};
        mesh_ask(f.client, STR(""), MSG_tns_publish, NULL, &ask, 5000, flow_on_burst, &burst);
    }
    loop_turn(f.loop, 0);
    flow_close(&f, false);
    CHECK(burst.got == 4);
}

TEST(tns_gives_a_route_to_one_project_only)
{
    struct flow f;
    flow_open(&f, NULL);
    tns_publish_reply reply;
    CHECK(flow_publish(&f, "p1", 10, "a.test.localtau", &reply).code == OK);
    CHECK(flow_publish(&f, "p2", 11, "a.test.localtau", &reply).code == ERR_CONFLICT);
    tns_remove_request remove = {.project = STR("p1")};
    tns_remove_reply removed;
    CHECK(flow_ask(&f, MSG_tns_remove, &remove, &removed).code == OK && removed.existed);
    CHECK(flow_publish(&f, "p2", 11, "a.test.localtau", &reply).code == OK && reply.live);
    flow_close(&f, false);
}

TEST(tns_gives_a_host_with_all_of_its_paths_to_one_project_only)
{
    struct flow f;
    flow_open(&f, NULL);
    tns_publish_reply reply;
    CHECK(flow_publish(&f, "p1", 10, "a.test.localtau", &reply).code == OK);
    tns_publish_request other = {
        .project = STR("p2"),
        .sequence = 11,
        .document = STR("{\"configuration\":{\"functions\":[{\"domains\":[\"a.test.localtau\"],"
                        "\"methods\":[\"POST\"],\"paths\":[\"/login\"]}]}}")};
    CHECK(flow_ask(&f, MSG_tns_publish, &other, &reply).code == ERR_CONFLICT);
    CHECK(flow_publish(&f, "p2", 12, "aa.test.localtau", &reply).code == OK && reply.live);
    flow_close(&f, false);
}

TEST(tns_keeps_the_last_twenty_revisions_and_the_live_one)
{
    struct flow f;
    flow_open(&f, NULL);
    tns_publish_reply reply;
    for (uint64_t i = 1; i <= 25; i++)
        CHECK(flow_publish(&f, "p1", i, "a.test.localtau", &reply).code == OK &&
              reply.revision == i);
    tns_list_request list = {.project = STR("p1")};
    tns_list_reply revisions;
    CHECK(flow_ask(&f, MSG_tns_list, &list, &revisions).code == OK);
    CHECK(revisions.revisions.count == 20 && revisions.revisions.at[0].number == 25);
    tns_get_request get = {.project = STR("p1"), .revision = 3};
    tns_get_reply got;
    CHECK(flow_ask(&f, MSG_tns_get, &get, &got).code == ERR_ABSENT);
    flow_close(&f, false);
}

TEST(hoarder_collects_what_no_revision_names_and_is_old)
{
    struct flow f;
    flow_open(&f, NULL);
    sha256 named, orphan;
    CHECK(blobs_put(f.blobs, STR("named"), &named).code == OK);
    CHECK(blobs_put(f.blobs, STR("orphan"), &orphan).code == OK);
    char hex[SHA256_HEX + 1];
    sha256_hex(named, hex);
    hoarder_stash_request stash = {.hash = str_of(hex), .bytes = 5, .owner = STR("p1")};
    hoarder_stash_reply stashed;
    CHECK(flow_ask(&f, MSG_hoarder_stash, &stash, &stashed).code == OK && stashed.copies == 1);
    stash.hash = STR("ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff");
    CHECK(flow_ask(&f, MSG_hoarder_stash, &stash, &stashed).code == ERR_ABSENT);
    hoarder_collect_request collect = {.dry = false};
    hoarder_collect_reply collected;
    CHECK(flow_ask(&f, MSG_hoarder_collect, &collect, &collected).code == OK);
    CHECK(collected.blobs == 0); // both are younger than an hour
    uint64_t size;
    CHECK(blobs_has(f.blobs, &orphan, &size) && size == 6);
    flow_close(&f, false);
}

TEST(registry_survives_a_restart)
{
    struct flow f;
    flow_open(&f, NULL);
    repository_record configuration, code;
    project_record project = flow_project(&f, &configuration, &code);
    flow_push_alone(&f, configuration.id, COMMIT_A);
    job_record job = flow_push(&f, code.id, COMMIT_B, "", 0);
    char folder[64], id[64], project_id[64];
    snprintf(folder, sizeof(folder), "%s", f.folder);
    snprintf(id, sizeof(id), "%.*s", STR_ARG(job.id));
    snprintf(project_id, sizeof(project_id), "%.*s", STR_ARG(project.id));
    flow_close(&f, true);
    flow_open(&f, folder);
    patrick_job_request ask = {.id = str_of(id)};
    patrick_job_reply reply;
    CHECK(flow_ask(&f, MSG_patrick_job, &ask, &reply).code == OK);
    CHECK(str_is(reply.jobs.at[0].state, STR("queued")) &&
          str_is(reply.jobs.at[0].project, str_of(project_id)));
    flow_close(&f, false);
}

TEST(auth_deleting_a_project_ends_what_it_serves)
{
    struct flow f;
    flow_open(&f, NULL);
    repository_record configuration, code;
    project_record project = flow_project(&f, &configuration, &code);
    const char *id = str_c(f.memory, project.id);
    tns_publish_reply published;
    CHECK(flow_publish(&f, id, 10, "a.test.localtau", &published).code == OK);
    auth_project_delete_request delete = {.id = str_of(id)};
    auth_project_delete_reply gone;
    CHECK(flow_ask(&f, MSG_auth_project_delete, &delete, &gone).code == OK && gone.existed);
    tns_lookup_request lookup = {.fqdn = STR("a.test.localtau")};
    tns_lookup_reply found;
    CHECK(flow_ask(&f, MSG_tns_lookup, &lookup, &found).code == ERR_ABSENT);
    CHECK(flow_ask(&f, MSG_auth_project_delete, &delete, &gone).code == OK && !gone.existed);
    flow_close(&f, false);
}
