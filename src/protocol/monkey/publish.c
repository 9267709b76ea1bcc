// From sources to a live revision: builds side by side, blobs to hoarder, the document to tns.
#include "base/json.h"
#include "base/str.h"
#include "model/document.h"
#include "protocol/monkey/monkey_inner.h"

enum { DOCUMENT_BYTES_MAX = 900 * 1024 }; // a message carries it

static void build_next(struct monkey_job *j);

static void build_on_output(void *data, build *b, str text)
{
    (void)b;
    struct monkey_build *mine = data;
    buf_add(&mine->job->log, text);
    monkey_job_say(mine->job, "%s", "");
}

static void build_on_end(void *data, build *b, const build_result *result)
{
    (void)b;
    struct monkey_build *mine = data;
    struct monkey_job *j = mine->job;
    mine->running = NULL;
    mine->ended = true;
    mine->result = *result;
    mine->result.language = str_copy(j->memory, result->language);
    mine->result.error = str_copy(j->memory, result->error);
    j->builds_ended++;
    if (result->ok)
        monkey_job_say(j, "built %.*s: %llu bytes%s\n", STR_ARG(mine->path),
                       (unsigned long long)result->wasm_bytes,
                       result->cached ? ", from the cache" : "");
    else
        monkey_job_say(j, "error: %.*s\n", STR_ARG(mine->result.error));
    build_next(j);
}

static err build_begin(struct monkey_build *b)
{
    struct monkey_job *j = b->job;
    build_request request = {
        .source = b->folder,
        .source_id = str_of(b->tree),
        .name = b->function->of->name,
        .path = b->path,
        .call = b->function->call,
        .memory_bytes = b->function->memory_bytes,
    };
    build_events events = {.on_output = build_on_output, .on_end = build_on_end, .data = b};
    return build_start(&b->running, j->monkey->builder, &request, &events);
}

static void build_next(struct monkey_job *j)
{
    if (j->cancelled || j->ending)
        return;
    const struct monkey_build *broken = NULL;
    for (size_t i = 0; i < j->builds_started; i++)
        if (j->builds[i].ended && !j->builds[i].result.ok && broken == NULL)
            broken = &j->builds[i];
    while (broken == NULL && j->builds_started < j->builds_count &&
           j->builds_started - j->builds_ended < BUILDS_AT_ONCE) {
        err e = build_begin(&j->builds[j->builds_started++]);
        if (e.code != OK) {
            monkey_job_fail(j, e, true);
            return;
        }
    }
    if (j->builds_ended < j->builds_started)
        return;
    if (broken != NULL)
        monkey_job_end(j, "failed", broken->result.error);
    else
        monkey_job_publish(j);
}

static void job_on_building(void *data, err e, const void *fields)
{
    (void)fields;
    struct monkey_job *j = data;
    if (e.code != OK)
        monkey_job_fail(j, e, true);
    else
        build_next(j);
}

void monkey_job_build(struct monkey_job *j)
{
    monkey_job_report(j, "building", STR(""), job_on_building);
}

// The first diagnosis is the job's error, all of them are in its log.
static void job_say_diagnoses(struct monkey_job *j)
{
    str first = {0};
    for (const diagnosis *d = j->found.first; d != NULL; d = d->next) {
        str line = d->line > 0
                       ? str_format(j->memory, "%.*s:%zu:%zu: %.*s", STR_ARG(d->file), d->line,
                                    d->column, STR_ARG(d->text))
                       : str_format(j->memory, "%.*s: %.*s", STR_ARG(d->file), STR_ARG(d->text));
        if (first.at == NULL)
            first = line;
        monkey_job_say(j, "error: %.*s\n", STR_ARG(line));
        if (d->help.len > 0)
            monkey_job_say(j, "help: %.*s\n", STR_ARG(d->help));
    }
    monkey_job_end(j, "failed", first);
}

void monkey_job_fetched(struct monkey_job *j)
{
    err e = j->fetch_error;
    if (e.code != OK) {
        monkey_job_fail(j, e, e.code != ERR_ABSENT && e.code != ERR_SYNTAX && e.code != ERR_LIMIT);
        return;
    }
    if (j->found.count > 0) {
        job_say_diagnoses(j);
        return;
    }
    monkey_job_say(j, "configuration %.*s: %zu functions, valid\n",
                   STR_ARG(str_first(j->job.configuration_commit, 10)), j->model->functions_count);
    if (j->job.code_commit.len == 0) {
        monkey_job_say(j, "nothing to build yet: the code repository was never pushed\n");
        monkey_job_end(j, "done", STR(""));
        return;
    }
    monkey_job_build(j);
}

static void document_write(struct monkey_job *j, buf *out)
{
    OWNED(buf_close) buf configuration;
    buf_open(&configuration, DOCUMENT_BYTES_MAX);
    err e = model_document(j->model, &configuration);
    if (e.code != OK || configuration.error.code != OK) {
        out->error = e.code != OK ? e : configuration.error;
        return;
    }
    json_writer w = {.out = out};
    json_open_object(&w, NULL);
    json_put_raw(&w, "configuration", buf_str(&configuration));
    json_put_text(&w, "engine", str_of(j->monkey->context.engine));
    json_put_text(&w, "branch", j->job.branch);
    json_put_text(&w, "configuration_commit", j->job.configuration_commit);
    json_put_text(&w, "code_commit", j->job.code_commit);
    json_open_object(&w, "artefacts");
    for (size_t i = 0; i < j->builds_count; i++) {
        const build_result *r = &j->builds[i].result;
        json_open_object(&w, str_c(j->memory, j->builds[i].function->of->id));
        json_put_text(&w, "wasm", str_of(r->wasm));
        json_put_text(&w, "module", str_of(r->module));
        json_put_text(&w, "language", r->language);
        json_put_whole(&w, "bytes", r->wasm_bytes);
        json_close_object(&w);
    }
    json_close_object(&w);
    json_close_object(&w);
}

static void job_on_published(void *data, err e, const void *fields)
{
    struct monkey_job *j = data;
    const tns_publish_reply *reply = fields;
    if (e.code == ERR_CONFLICT) {
        monkey_job_say(j, "error: %s\n", e.what);
        monkey_job_end(j, "failed", str_copy(j->memory, str_of(e.what)));
        return;
    }
    if (e.code != OK) {
        monkey_job_fail(j, e, true);
        return;
    }
    j->revision = reply->revision;
    monkey_job_say(j,
                   reply->live ? "revision %llu is live\n"
                               : "revision %llu published; a later push is live already\n",
                   (unsigned long long)reply->revision);
    if (reply->live)
        monkey_job_served(j);
    else
        monkey_job_end(j, "done", STR(""));
}

static void job_publish_document(struct monkey_job *j)
{
    OWNED(buf_close) buf document;
    buf_open(&document, DOCUMENT_BYTES_MAX);
    document_write(j, &document);
    if (document.error.code != OK) {
        monkey_job_fail(j, fail(ERR_LIMIT, 0, "the project's document is larger than 900 KiB"),
                        false);
        return;
    }
    tns_publish_request request = {
        .project = j->job.project,
        .sequence = j->job.sequence,
        .configuration_commit = j->job.configuration_commit,
        .code_commit = j->job.code_commit,
        .job = j->id,
        .document = buf_str(&document),
    };
    monkey_job_ask(j, MSG_tns_publish, &request, job_on_published);
}

// One blob after the other; wasm and compiled module of each build.
static void job_on_stashed(void *data, err e, const void *fields)
{
    (void)fields;
    struct monkey_job *j = data;
    if (e.code != OK) {
        monkey_job_fail(j, e, true);
        return;
    }
    if (j->cancelled || j->ending)
        return;
    if (j->stashed == j->builds_count * 2) {
        job_publish_document(j);
        return;
    }
    const build_result *r = &j->builds[j->stashed / 2].result;
    hoarder_stash_request request = {.hash = str_of(j->stashed % 2 == 0 ? r->wasm : r->module),
                                     .bytes = r->wasm_bytes,
                                     .owner = j->job.project};
    j->stashed++;
    monkey_job_ask(j, MSG_hoarder_stash, &request, job_on_stashed);
}

static void job_on_publishing(void *data, err e, const void *fields)
{
    job_on_stashed(data, e, fields);
}

void monkey_job_publish(struct monkey_job *j)
{
    if (!j->job.publish) {
        monkey_job_say(j, "valid; goes live with the deployment's other repository\n");
        monkey_job_end(j, "done", STR(""));
        return;
    }
    monkey_job_report(j, "publishing", STR(""), job_on_publishing);
}
