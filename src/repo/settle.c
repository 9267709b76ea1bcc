// After receive-pack: what changed is made durable, patrick records it, then git is answered.
//
// The happy path is: 1. refs are compared and folders fsynced; 2. patrick records each change; 3.
// git's own report is sent with a line for each job; 4. the push is noted as over. What can fail:
// the disk or patrick (the refs are put back and reported as refused), our own end (the note of the
// push stays, and the next use tells patrick again).
#include "base/str.h"
#include "repo/forge_inner.h"

#include <stdio.h>
#include <string.h>

// ---- patrick

static void announce_next(forge_visit *c);

// Why this change is put back, NULL when it stays. Without the memory to note it, none stays.
static const char *settle_refusal(const forge_visit *c, size_t i)
{
    return c->refused != NULL ? c->refused[i] : "out of memory";
}

static void announce_refuse(forge_visit *c, size_t i, const char *why)
{
    const char *text = str_c(c->memory, str_of(why));
    c->refused[i] = text != NULL ? text : "out of memory";
    c->any_refused = true;
}

static void announce_on_reply(void *data, err e, const void *fields)
{
    forge_visit *c = data;
    if (c->forge->closing) {
        visit_free(c);
        return;
    }
    const patrick_push_reply *reply = fields;
    if (e.code != OK) {
        log_fail(c->forge->settings.log, "push not recorded", e, "owner", c->owner, "repository",
                 c->name, "ref", c->changes[c->announced].ref, NULL);
        announce_refuse(c, c->announced,
                        e.code == ERR_FULL ? "no space left to record the job" : e.what);
    }
    for (size_t i = 0; e.code == OK && i < reply->jobs.count; i++)
        buf_add_format(&c->said, "job %.*s queued\n", STR_ARG(reply->jobs.at[i].id));
    c->announced++;
    announce_next(c);
}

static void announce_next(forge_visit *c)
{
    while (c->announced < c->changes_count && c->refused[c->announced] != NULL)
        c->announced++;
    if (c->announced == c->changes_count) {
        c->told(c);
        return;
    }
    const repo_change *change = &c->changes[c->announced];
    patrick_push_request ask = {
        .repository = c->id,
        .ref = change->ref,
        .before = change->before,
        .after = change->after,
        .deployment = c->head.deployment,
        .deployment_size = c->head.deployment_size,
        .subject = c->commits != NULL ? c->commits[c->announced].subject : STR(""),
        .author = c->commits != NULL ? c->commits[c->announced].author : STR(""),
    };
    mesh_ask(c->forge->settings.mesh, STR(""), MSG_patrick_push, NULL, &ask, FORGE_ASK_MS,
             announce_on_reply, c);
}

void push_announce(forge_visit *c, void (*told)(forge_visit *c))
{
    c->told = told;
    c->announced = 0;
    if (c->refused == NULL)
        c->refused = arena_take(c->memory, (c->changes_count + 1) * sizeof(*c->refused));
    if (c->refused == NULL) {
        c->any_refused = true;
        c->told(c);
        return;
    }
    announce_next(c);
}

// ---- the answer

static const char *settle_why(void *data, str ref)
{
    forge_visit *c = data;
    for (size_t i = 0; i < c->changes_count; i++)
        if (str_is(c->changes[i].ref, ref))
            return settle_refusal(c, i);
    return NULL;
}

static void settle_say(buf *out, str text)
{
    while (text.len > 0) {
        str line = str_cut(&text, '\n');
        char with_end[1024];
        int n = snprintf(with_end, sizeof(with_end), "%.*s\n", STR_ARG(str_first(line, 1000)));
        pkt_add_band(out, 2, (str){with_end, (size_t)n});
    }
}

static void settle_answer(forge_visit *c)
{
    OWNED(buf_close) buf shown, report = {0}, again = {0}, out = {0};
    buf *const all[] = {&shown, &report, &again, &out};
    for (size_t i = 0; i < COUNT(all); i++)
        buf_open(all[i], 4 * VISIT_REPORT_MAX);
    bool whole = push_answer_split(buf_str(&c->answer), c->head.side_band, &shown, &report);
    if (!whole || (c->any_refused && !c->head.report_status)) {
        visit_answer_text(c, 500,
                          c->any_refused ? "the push could not be recorded"
                                         : "git receive-pack gave no answer");
        return;
    }
    if (c->head.report_status)
        push_report_rewrite(buf_str(&report), settle_why, c, &again);
    for (size_t i = 0; i < c->changes_count; i++)
        if (settle_refusal(c, i) != NULL)
            buf_add_format(&c->said, "error: %.*s is not pushed: %s\n", STR_ARG(c->changes[i].ref),
                           settle_refusal(c, i));
    if (c->head.side_band) {
        buf_add(&out, buf_str(&shown));
        settle_say(&out, buf_str(&c->said));
        pkt_add_band(&out, 1, buf_str(&again));
        pkt_add_flush(&out);
    } else {
        buf_add(&out, buf_str(&again));
    }
    if (again.error.code != OK || out.error.code != OK)
        visit_answer_text(c, 500, "the push's report is too long");
    else
        visit_answer(c, 200, "application/x-git-receive-pack-result", buf_str(&out));
}

static void settle_end_work(void *data)
{
    forge_visit *c = data;
    repo_push_end(c->repository->path);
}

static void settle_on_ended(void *data)
{
    visit_free(data);
}

static void settle_finish(forge_visit *c)
{
    settle_answer(c);
    if (c->kept_broken) {
        // The note of this push stays: the next use tells patrick again.
        c->repository->ready = false;
        visit_free(c);
        return;
    }
    visit_work(c, settle_end_work, settle_on_ended);
}

// ---- putting back

static void settle_back_work(void *data)
{
    forge_visit *c = data;
    repo_push_release(c->repository->path);
    for (size_t i = 0; i < c->changes_count; i++) {
        if (settle_refusal(c, i) == NULL)
            continue;
        err e = repo_put_back(c->repository->path, &c->changes[i]);
        if (e.code != OK)
            c->worked = e;
    }
}

static void settle_on_back(void *data)
{
    forge_visit *c = data;
    if (c->worked.code != OK) {
        log_fail(c->forge->settings.log, "pushed ref not put back", c->worked, "owner", c->owner,
                 "repository", c->name, NULL);
        c->kept_broken = true;
        buf_add(&c->said, STR("it could not be put back: it stays, and is recorded later\n"));
    }
    settle_finish(c);
}

static void settle_on_told(forge_visit *c)
{
    if (!c->any_refused) {
        settle_finish(c);
        return;
    }
    for (size_t i = 0; c->head.atomic && i < c->changes_count; i++)
        if (settle_refusal(c, i) == NULL)
            c->refused[i] = "another ref of this atomic push was refused";
    c->worked = ok();
    visit_work(c, settle_back_work, settle_on_back);
}

// ---- comparing

static void settle_commits(forge_visit *c)
{
    for (size_t i = 0; i < c->changes_count; i++) {
        err e =
            repo_commit_read(c->memory, c->repository->path, c->changes[i].after, &c->commits[i]);
        if (e.code != OK) // deleted, or no commit: it has no subject
            c->commits[i] = (repo_commit){.subject = STR(""), .author = STR("")};
    }
}

static void settle_work(void *data)
{
    forge_visit *c = data;
    repo_ref *after;
    size_t count;
    c->changes_count = 0;
    c->worked = repo_refs(c->memory, c->repository->path, &after, &count);
    if (c->worked.code == OK)
        c->worked = repo_changes(c->memory, c->before, c->before_count, after, count, &c->changes,
                                 &c->changes_count);
    if (c->worked.code != OK)
        return;
    c->refused = arena_take(c->memory, (c->changes_count + 1) * sizeof(*c->refused));
    c->commits = arena_take(c->memory, (c->changes_count + 1) * sizeof(*c->commits));
    if (c->refused == NULL || c->commits == NULL) {
        c->worked = fail(ERR_MEMORY, 0, "settle push");
        return;
    }
    settle_commits(c);
    err e = repo_push_sync(c->repository->path, c->changes, c->changes_count);
    if (e.code == OK && c->changes_count > FORGE_ANNOUNCED_MAX)
        e = fail(ERR_LIMIT, 0, "a push changes at most 1,000 refs");
    for (size_t i = 0; e.code != OK && i < c->changes_count; i++) {
        c->refused[i] = e.what;
        c->any_refused = true;
    }
}

static void settle_on_worked(void *data)
{
    forge_visit *c = data;
    if (c->forge->closing) {
        visit_free(c);
        return;
    }
    if (c->worked.code !=
        OK) { // what changed is not known: the next use of the repository finds out
        c->repository->ready = false;
        visit_end(c, fail(ERR_SYSTEM, c->worked.sys, "the push could not be recorded"),
                  "settle push");
        return;
    }
    push_announce(c, settle_on_told);
}

void push_settle(forge_visit *c, const proc_end *end)
{
    if (c->forge->closing) {
        visit_free(c);
        return;
    }
    if (end->status != 0)
        log_line(c->forge->settings.log, LOG_WARN, "push failed", "owner", c->owner, "repository",
                 c->name, "git", str_trim(buf_str(&c->errors)), NULL);
    visit_work(c, settle_work, settle_on_worked);
}
