// tau validate and push: checked, committed, pushed as one deployment, watched until it answers.
//
// The happy path is: 1. the configuration is valid; 2. what changed is committed in both
// repositories; 3. both are pushed with one deployment's id; 4. their jobs are watched; 5. the
// changed functions are asked once. What can fail: the check (nothing is pushed), a push that
// somebody was faster with (exit 5), a build (exit 1, what was live stays live).
#include "base/clock.h"
#include "base/hash.h"
#include "base/str.h"
#include "cmd/tau_inner.h"
#include "http/client.h"
#include "io/loop.h"

#include <stdio.h>

enum {
    PUSH_JSON_BYTES = 4 << 20,
    ASKED_MAX = 10,       // functions that are asked after a push
    ASK_SETTLE_MS = 3000, // until the new revision has reached the workers
    ASK_DEADLINE_MS = 15000,
    ANSWER_BYTES_MAX = 1 << 20,
    ANSWER_SHOWN = 60,
};

int tau_validate(cli *c)
{
    OWNED(tau_close) tau t;
    int code = tau_open(c, &t, TAU_CHECKOUT);
    if (code != EXIT_OK)
        return code;
    model *m;
    diagnoses found;
    err e = tau_model(&t, &m, &found);
    if (e.code != OK)
        return tau_failed(&t, e);
    size_t resources_count = 0;
    for (int kind = 0; kind < KIND_COUNT; kind++)
        resources_count += m->of[kind].count;
    OWNED(buf_close) buf out;
    buf_open(&out, PUSH_JSON_BYTES);
    json_writer w = {.out = &out};
    json_open_object(&w, NULL);
    json_put_flag(&w, "valid", found.count == 0);
    json_put_whole(&w, "resources", resources_count);
    json_open_list(&w, "errors");
    for (const diagnosis *d = found.first; d != NULL; d = d->next) {
        json_open_object(&w, NULL);
        json_put_text(&w, "file", d->file);
        json_put_whole(&w, "line", d->line);
        json_put_whole(&w, "column", d->column);
        json_put_text(&w, "code", str_of(d->code));
        json_put_text(&w, "message", d->text);
        json_put_text(&w, "help", d->help);
        json_close_object(&w);
    }
    json_close_list(&w);
    json_close_object(&w);
    if (!tau_said_json(&t, &out)) {
        cli_diagnoses(c, t.root, &found);
        if (found.count == 0)
            cli_print(c, "%zu resources, all valid.\n", resources_count);
        else
            cli_say(c, "%zu error%s.\n", found.count, found.count == 1 ? "" : "s");
    }
    return found.count == 0 ? EXIT_OK : EXIT_FAILED;
}

// ---- one repository of a push

typedef struct pushed {
    const char *name; // "config"
    checkout k;
    str branch;
    str status;  // porcelain: what is not committed
    str before;  // what the remote has, as far as we know; empty: nothing
    str head;    // what it will have
    str changed; // names of changed files, one a line
    bool wanted; // has something to push
} pushed;

static err pushed_look(tau *t, pushed *p)
{
    str branch = {0};
    TRY(checkout_do(&p->k, &branch, "symbolic-ref", "--short", "HEAD", NULL));
    p->branch = branch;
    TRY(checkout_do(&p->k, &p->status, "status", "--porcelain", "--untracked-files=all", NULL));
    p->head = checkout_commit(&p->k, "HEAD");
    p->before = checkout_commit(
        &p->k, str_format(t->memory, "refs/remotes/origin/%.*s", STR_ARG(branch)).at);
    p->wanted = p->status.len > 0 || (p->head.len > 0 && !str_is(p->head, p->before));
    return ok();
}

static size_t lines_count(str text)
{
    size_t count = 0;
    for (str rest = text; rest.len > 0;)
        count += str_cut(&rest, '\n').len > 0;
    return count;
}

static err pushed_commit(tau *t, pushed *p, str message)
{
    arena *a = t->memory;
    if (p->status.len > 0) {
        TRY(checkout_do(&p->k, NULL, "add", "--all", NULL));
        TRY(checkout_do(&p->k, NULL, "commit", "--quiet", "-m", str_c(a, message), NULL));
        p->head = checkout_commit(&p->k, "HEAD");
    }
    str range = str_format(a, "%.*s..%.*s", STR_ARG(p->before), STR_ARG(p->head));
    if (p->before.len > 0 &&
        checkout_do(&p->k, &p->changed, "diff", "--name-only", range.at, NULL).code == OK)
        return ok();
    return checkout_do(&p->k, &p->changed, "ls-tree", "-r", "--name-only", "HEAD", NULL);
}

// EXIT_CONFLICT: somebody pushed before.
static int pushed_push(tau *t, pushed *p, const char *option)
{
    arena *a = t->memory;
    checkout_end end;
    const char *ref = str_format(a, "HEAD:refs/heads/%.*s", STR_ARG(p->branch)).at;
    err e =
        checkout_run(&p->k, &end, "push", "--porcelain", "-o", option, "-u", "origin", ref, NULL);
    if (e.code == OK && end.status != 0 &&
        str_find(end.errors, STR("does not support push options")) < end.errors.len)
        e = checkout_run(&p->k, &end, "push", "--porcelain", "-u", "origin", ref, NULL);
    if (e.code != OK)
        return tau_failed(t, e);
    if (end.status == 0)
        return EXIT_OK;
    str said = str_join(a, (str[]){end.out, end.errors}, 2, STR("\n"));
    if (str_find(said, STR("non-fast-forward")) < said.len ||
        str_find(said, STR("fetch first")) < said.len)
        return tau_fail(t, EXIT_CONFLICT, STR("tau pull       then tau push again"),
                        "%s has commits that you do not have", p->name);
    if (str_find(said, STR("Authentication failed")) < said.len ||
        str_find(said, STR("could not read Username")) < said.len ||
        str_find(said, STR(" 401")) < said.len)
        return tau_failed(t, fail(ERR_DENIED, 0, "the forge refused the token"));
    str reason = str_trim(end.errors);
    for (str rest = said; rest.len > 0;) { // what the other side said is worth most
        str line = str_trim(str_cut(&rest, '\n'));
        if (str_starts(line, STR("remote: ")))
            reason = str_trim(str_from(line, 8));
        else if (str_starts(line, STR("!")))
            reason = line;
    }
    return tau_fail(t, EXIT_FAILED, STR("the commits are kept here: tau push tries again"),
                    "pushing %s failed: %.*s", p->name, STR_ARG(str_printable(a, reason)));
}

// ---- what changed, and its answer

static bool lines_have(str lines, str prefix)
{
    for (str rest = lines; rest.len > 0;)
        if (str_starts(str_cut(&rest, '\n'), prefix))
            return true;
    return false;
}

static bool
function_changed(tau *t, const pushed *config, const pushed *code, const model_function *f)
{
    arena *a = t->memory;
    const resource *r = f->of;
    str folder = str_format(a, "functions/%.*s/", STR_ARG(r->name));
    if (r->application.len > 0)
        folder = str_format(a, "applications/%.*s/%.*s", STR_ARG(r->application), STR_ARG(folder));
    if (config->wanted && lines_have(config->changed, r->file))
        return true;
    for (size_t i = 0; i < f->domains_count && config->wanted; i++)
        if (lines_have(config->changed, f->domains[i]->file))
            return true;
    return code->wanted && lines_have(code->changed, folder);
}

typedef struct answer {
    loop *loop;
    arena *memory;
    err error;
    unsigned status;
    str body;
} answer;

static void
answer_on_done(void *data, http_call *call, err e, const http_answer_head *head, str body)
{
    (void)call;
    answer *w = data;
    w->error = e;
    if (e.code == OK) {
        w->status = head->status;
        w->body = str_copy(w->memory, body);
    }
    loop_stop(w->loop);
}

static err url_ask(tau *t, http_client *client, const tau_url *u, answer *w)
{
    str host = str_format(t->memory, "%.*s:%llu", STR_ARG(tau_friendly_host(t->memory, u->host)),
                          (unsigned long long)t->gateway_port);
    http_client_request request = {
        .address = "127.0.0.1",
        .port = (uint16_t)t->gateway_port,
        .method = u->method,
        .target = u->path,
        .host = host,
        .deadline_ms = ASK_DEADLINE_MS,
        .body_bytes_max = ANSWER_BYTES_MAX,
        .on_done = answer_on_done,
        .data = w,
    };
    http_call *call;
    TRY(http_client_send(client, &request, &call));
    loop_run(w->loop);
    return w->error;
}

// Asks once; again for a while as long as the new revision has not arrived everywhere.
static void function_ask(tau *t, http_client *client, const tau_url *u, answer *w, json_writer *out)
{
    uint64_t until = clock_now_ms() + ASK_SETTLE_MS, began;
    err e;
    for (;;) {
        began = clock_now_us();
        e = url_ask(t, client, u, w);
        bool early = e.code != OK ? e.code != ERR_LIMIT
                                  : w->status == 404 || w->status == 502 || w->status == 503;
        if (!early || clock_now_ms() > until)
            break;
        loop_turn(w->loop, 20);
    }
    double ms = (double)(clock_now_us() - began) / 1000.0;
    str body = str_trim(w->body);
    json_put_text(out, "url", u->url);
    json_put_whole(out, "status", e.code == OK ? w->status : 0);
    json_put_real(out, "ms", ms);
    json_put_text(out, "body", w->body);
    if (cli_json(t->c))
        return;
    if (e.code != OK) {
        cli_print(t->c, "  %.*s %.*s   %s\n", STR_ARG(u->method), STR_ARG(u->url),
                  e.code == ERR_LIMIT ? "answers at length" : e.what);
        return;
    }
    str line = str_cut(&body, '\n');
    size_t end = line.len < ANSWER_SHOWN ? line.len : ANSWER_SHOWN;
    while (end < line.len && ((unsigned char)line.at[end] & 0xc0) == 0x80)
        end++;
    cli_print(t->c, "  %.*s %.*s   %u in %.1f ms   %.*s%s\n", STR_ARG(u->method), STR_ARG(u->url),
              w->status, ms, STR_ARG(str_printable(t->memory, str_first(line, end))),
              end < line.len || body.len > 0 ? " …" : "");
}

// Every changed function: its URL, and for those that GET reaches what they answer.
static void functions_ask(tau *t, const model *m, const pushed *repositories, json_writer *w)
{
    answer wait = {.memory = t->memory};
    http_client *client = NULL;
    size_t asked = 0;
    if (!tau_ports(t) || loop_open(&wait.loop).code != OK)
        return;
    if (http_client_open(&client, wait.loop, 2).code != OK) {
        loop_close(wait.loop);
        return;
    }
    for (size_t i = 0; i < m->functions_count; i++) {
        const model_function *f = &m->functions[i];
        tau_url *urls;
        if (!function_changed(t, &repositories[0], &repositories[1], f) ||
            tau_urls(t, f, &urls) == 0)
            continue;
        json_open_object(w, NULL);
        json_put_text(w, "name", f->of->name);
        if (str_is(urls[0].method, STR("GET")) && asked++ < ASKED_MAX) {
            function_ask(t, client, &urls[0], &wait, w);
        } else {
            json_put_text(w, "url", urls[0].url);
            if (!cli_json(t->c))
                cli_print(t->c, "  %.*s %.*s\n", STR_ARG(urls[0].method), STR_ARG(urls[0].url));
        }
        json_close_object(w);
    }
    http_client_close(client);
    loop_close(wait.loop);
}

// ---- the push

// "Add function ping_pong", when the configuration's status says so; else empty.
static str message_of_function(tau *t, const pushed *config)
{
    for (str rest = config->wanted ? config->status : STR(""); rest.len > 0;) {
        str line = str_trim(str_cut(&rest, '\n'));
        str path = str_trim(str_from(line, 2));
        size_t at = str_find(path, STR("functions/"));
        if (at == path.len || !str_ends(path, STR(".yaml")))
            continue;
        str name = str_from(path, at + STR("functions/").len);
        const char *verb = line.at[0] == '?' ? "Add" : line.at[0] == 'D' ? "Delete" : "Change";
        name = str_first(name, name.len - STR(".yaml").len);
        return str_format(t->memory, "%s function %.*s", verb, STR_ARG(name));
    }
    return STR("");
}

static str message_default(tau *t, const pushed *repositories)
{
    // "Change functions/ping_pong.yaml and 3 more" says more than a date.
    str function = message_of_function(t, &repositories[0]);
    if (function.len > 0)
        return function;
    str first = {0};
    size_t count = 0;
    for (size_t i = 0; i < 2; i++)
        for (str rest = repositories[i].wanted ? repositories[i].status : STR(""); rest.len > 0;) {
            str line = str_cut(&rest, '\n');
            if (line.len > 3 && count++ == 0)
                first = str_trim(str_from(line, 2));
        }
    if (count == 0)
        return STR("Update");
    return count == 1
               ? str_format(t->memory, "Change %.*s", STR_ARG(first))
               : str_format(t->memory, "Change %.*s and %zu more", STR_ARG(first), count - 1);
}

static str short_commit(const pushed *p)
{
    return str_first(p->head, 7);
}

// Jobs of the commits that were pushed.
static err jobs_find(tau *t, const pushed *repositories, job_record *jobs, size_t *count)
{
    patrick_jobs_request ask = {.project = t->id, .limit = 20};
    patrick_jobs_reply reply;
    *count = 0;
    TRY(tau_ask(t, MSG_patrick_jobs, &ask, &reply));
    for (size_t r = 0; r < 2; r++)
        for (size_t i = 0; i < reply.jobs.count && repositories[r].wanted; i++)
            if (str_is(reply.jobs.at[i].commit, repositories[r].head)) {
                jobs[(*count)++] = reply.jobs.at[i];
                break;
            }
    return ok();
}

static int push_both(tau *t, pushed *repositories, size_t wanted, str *deployment)
{
    *deployment = id_new(t->memory);
    const char *option =
        str_format(t->memory, "deployment=%.*s/%zu", STR_ARG(*deployment), wanted).at;
    uint64_t began = clock_now_ms();
    for (size_t i = 0; i < 2; i++) {
        if (!repositories[i].wanted)
            continue;
        int code = pushed_push(t, &repositories[i], option);
        if (code != EXIT_OK)
            return code;
    }
    cli_progress *progress = cli_progress_start(t->c, "push");
    str note = {0};
    for (size_t i = 0; i < 2; i++)
        if (repositories[i].wanted)
            note = str_format(t->memory, "%.*s%s %.*s  ", STR_ARG(note), repositories[i].name,
                              STR_ARG(short_commit(&repositories[i])));
    note = str_format(t->memory, "%.*s%llu ms", STR_ARG(note),
                      (unsigned long long)(clock_now_ms() - began));
    cli_progress_end(progress, true, note);
    return EXIT_OK;
}

static void push_json_begin(json_writer *w, str deployment, const pushed *repositories)
{
    json_open_object(w, NULL);
    json_put_text(w, "deployment", deployment);
    json_open_list(w, "repositories");
    for (size_t i = 0; i < 2; i++) {
        if (!repositories[i].wanted)
            continue;
        json_open_object(w, NULL);
        json_put_text(w, "name", str_of(repositories[i].name));
        json_put_text(w, "branch", repositories[i].branch);
        json_put_text(w, "commit", repositories[i].head);
        json_put_whole(w, "files", lines_count(repositories[i].changed));
        json_close_object(w);
    }
    json_close_list(w);
}

static int push_live(tau *t, const model *m, const pushed *repositories, str deployment)
{
    cli *c = t->c;
    job_record jobs[2];
    size_t count;
    err e = jobs_find(t, repositories, jobs, &count);
    if (e.code != OK)
        return tau_failed(t, e);
    OWNED(buf_close) buf out;
    buf_open(&out, PUSH_JSON_BYTES);
    json_writer w = {.out = &out};
    push_json_begin(&w, deployment, repositories);
    bool detach = cli_switch(c, "detach");
    int code = detach ? EXIT_OK : tau_jobs_watch(t, jobs, count);
    if (cli_json(c) && code == EXIT_FAILED)
        return code; // the error was printed as JSON
    json_open_list(&w, "builds");
    uint64_t revision = 0;
    for (size_t i = 0; i < count; i++) {
        tau_job_json(&w, &jobs[i]);
        revision = jobs[i].revision > revision ? jobs[i].revision : revision;
    }
    json_close_list(&w);
    json_put_whole(&w, "revision", revision);
    json_open_list(&w, "functions");
    if (code == EXIT_OK && !detach && revision > 0) {
        cli_progress *progress = cli_progress_start(c, "live");
        str note = str_format(t->memory, "revision %llu", (unsigned long long)revision);
        if (revision > 1)
            note = str_format(t->memory, "%.*s   undo: tau rollback", STR_ARG(note));
        cli_progress_end(progress, true, note);
        functions_ask(t, m, repositories, &w);
    }
    json_close_list(&w);
    json_close_object(&w);
    if (count == 0 && !cli_json(c))
        cli_say(c, "Nothing is built: the project's other repository was never pushed.\n");
    if (!tau_said_json(t, &out) && detach && count > 0)
        cli_print(c, "Watch: tau builds %.*s --follow\n",
                  STR_ARG(str_first(jobs[count - 1].id, 8)));
    return code;
}

static int push_dry(tau *t, const pushed *repositories)
{
    OWNED(buf_close) buf out;
    buf_open(&out, PUSH_JSON_BYTES);
    json_writer w = {.out = &out};
    push_json_begin(&w, STR(""), repositories);
    json_put_flag(&w, "dry_run", true);
    json_close_object(&w);
    if (tau_said_json(t, &out))
        return EXIT_OK;
    for (size_t i = 0; i < 2; i++)
        for (str rest = repositories[i].wanted ? repositories[i].status : STR(""); rest.len > 0;) {
            str line = str_printable(t->memory, str_cut(&rest, '\n'));
            cli_print(t->c, "  %-6s  %.*s\n", repositories[i].name, STR_ARG(line));
        }
    cli_print(t->c, "Nothing was pushed (--dry-run).\n");
    return EXIT_OK;
}

static int push_commit(tau *t, pushed *repositories)
{
    cli *c = t->c;
    str message = cli_value(c, "message"), standard = message_default(t, repositories);
    bool uncommitted = false;
    for (size_t i = 0; i < 2; i++) {
        pushed *p = &repositories[i];
        uncommitted = uncommitted || (p->wanted && p->status.len > 0);
        size_t files = lines_count(p->status);
        if (p->wanted && !cli_json(c) && files == 0)
            cli_say(c, "  %-6s  %.*s  committed before\n", p->name, STR_ARG(p->branch));
        else if (p->wanted && !cli_json(c))
            cli_say(c, "  %-6s  %.*s  %zu file%s changed\n", p->name, STR_ARG(p->branch), files,
                    files == 1 ? "" : "s");
    }
    if (uncommitted && message.len == 0 && !cli_ask(c, "Message", standard, "-m MESSAGE", &message))
        return EXIT_USAGE;
    for (size_t i = 0; i < 2; i++) {
        err e = repositories[i].wanted ? pushed_commit(t, &repositories[i], message) : ok();
        if (e.code != OK)
            return tau_failed(t, e);
    }
    return EXIT_OK;
}

// The remotes follow a cloud that has moved to another address.
static err remotes_follow(tau *t, pushed *repositories)
{
    if (str_is(t->linked_api, t->address))
        return ok();
    for (size_t i = 0; i < 2; i++) {
        str remote;
        TRY(checkout_do(&repositories[i].k, &remote, "remote", "get-url", "origin", NULL));
        str rest = str_from(remote, str_find(remote, STR("//")) + 2);
        (void)str_cut(&rest, '/');
        str moved = str_format(t->memory, "http://%.*s/%.*s", STR_ARG(t->address), STR_ARG(rest));
        TRY(tau_checkout_configure(t, &repositories[i].k, moved));
    }
    return tau_link_write(t);
}

// A build that failed is what somebody wonders about who pushes once more.
static int push_nothing(tau *t)
{
    patrick_jobs_request ask = {.project = t->id, .limit = 1};
    patrick_jobs_reply reply;
    if (cli_json(t->c)) {
        cli_json_out(
            t->c, STR("{\"deployment\":\"\",\"repositories\":[],\"builds\":[],\"functions\":[]}"));
        return EXIT_OK;
    }
    cli_print(t->c, "Nothing to push: everything is there already.\n");
    if (tau_ask(t, MSG_patrick_jobs, &ask, &reply).code == OK && reply.jobs.count > 0 &&
        str_is(reply.jobs.at[0].state, STR("failed"))) {
        str id = str_first(reply.jobs.at[0].id, 8);
        cli_say(t->c, "The last build failed: tau builds %.*s --log   once more: tau retry %.*s\n",
                STR_ARG(id), STR_ARG(id));
    }
    return EXIT_OK;
}

int tau_push(cli *c)
{
    OWNED(tau_close) tau t;
    int code = tau_open(c, &t, TAU_CHECKOUT | TAU_CLOUD);
    if (code != EXIT_OK)
        return code;
    model *m;
    uint64_t began = clock_now_ms();
    code = tau_model_valid(&t, &m);
    if (code != EXIT_OK) {
        if (!cli_json(c))
            cli_say(c, "Nothing was pushed.\n");
        return code;
    }
    uint64_t checked_ms = clock_now_ms() - began;
    pushed repositories[2] = {{.name = "config", .k = tau_checkout(&t, t.config)},
                              {.name = "code", .k = tau_checkout(&t, t.code)}};
    err e = ok();
    for (size_t i = 0; i < 2 && e.code == OK; i++)
        e = pushed_look(&t, &repositories[i]);
    if (e.code == OK)
        e = remotes_follow(&t, repositories);
    if (e.code != OK)
        return tau_failed(&t, e);
    repositories[0].wanted = repositories[0].wanted && !cli_switch(c, "code-only");
    repositories[1].wanted = repositories[1].wanted && !cli_switch(c, "config-only");
    size_t wanted = (size_t)repositories[0].wanted + (size_t)repositories[1].wanted;
    if (wanted == 0)
        return push_nothing(&t);
    if (cli_switch(c, "dry-run"))
        return push_dry(&t, repositories);
    cli_progress *progress = cli_progress_start(c, "check");
    cli_progress_end(progress, true,
                     str_format(t.memory, "%zu function%s, valid  %llu ms", m->functions_count,
                                m->functions_count == 1 ? "" : "s",
                                (unsigned long long)checked_ms));
    code = push_commit(&t, repositories);
    str deployment;
    if (code == EXIT_OK)
        code = push_both(&t, repositories, wanted, &deployment);
    return code == EXIT_OK ? push_live(&t, m, repositories, deployment) : code;
}
