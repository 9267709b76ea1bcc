// A push: its head is read here, receive-pack does the rest, the answer waits until it counts.
//
// The happy path is: 1. commands and options are read; 2. the repository is ours alone; 3. its refs
// are noted; 4. receive-pack takes the body; 5. settle.c compares, fsyncs, tells patrick and
// answers. What can fail: the head (git is told why), the disk, the client (a push that came whole
// is settled without it).
#include "base/str.h"
#include "repo/forge_inner.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

// Refuses all commands in git's own words, so that it shows them and exits with 1.
static void push_refuse(forge_visit *c, const char *why)
{
    OWNED(buf_close) buf report;
    buf_open(&report, VISIT_REPORT_MAX);
    buf_clear(&c->answer);
    pkt_add_format(&report, "unpack %s\n", why);
    for (size_t i = 0; i < c->head.count; i++)
        pkt_add_format(&report, "ng %.*s %s\n", STR_ARG(c->head.commands[i].ref), why);
    pkt_add_flush(&report);
    if (!c->head.report_status || report.error.code != OK) {
        visit_answer_text(c, 500, why);
        return;
    }
    if (c->head.side_band) {
        pkt_add_band(&c->answer, 1, buf_str(&report));
        pkt_add_flush(&c->answer);
    } else {
        buf_add(&c->answer, buf_str(&report));
    }
    visit_answer(c, 200, "application/x-git-receive-pack-result", buf_str(&c->answer));
}

static void push_fail(forge_visit *c, err e)
{
    log_fail(c->forge->settings.log, "push not started", e, "owner", c->owner, "repository",
             c->name, NULL);
    push_refuse(c, e.code == ERR_FULL ? "no space left on the forge's disk" : e.what);
    visit_free(c);
}

void push_start(forge_visit *c)
{
    forge *f = c->forge;
    if (f->pushes >= FORGE_PUSHES_MAX) {
        visit_end(c, fail(ERR_BUSY, 0, "too many pushes at once, try again"), "forge");
        return;
    }
    f->pushes++;
    c->counted = true;
    c->state = VISIT_READING;
    input_go(c);
}

// ---- receive-pack

static void push_on_output(void *data, proc *p, int stream, str bytes)
{
    forge_visit *c = data;
    buf *to = stream == 1 ? &c->answer : &c->errors;
    buf_add(to, bytes);
    if (stream == 1 && c->answer.len > VISIT_REPORT_MAX)
        proc_kill(p, SIGTERM);
}

static void push_on_end(void *data, proc *p, const proc_end *end)
{
    (void)p;
    forge_visit *c = data;
    c->proc = NULL;
    c->state = VISIT_ASKING;
    input_hold(c);
    push_settle(c, end);
}

static void push_begin_work(void *data)
{
    forge_visit *c = data;
    c->worked = repo_refs(c->memory, c->repository->path, &c->before, &c->before_count);
    if (c->worked.code == OK)
        c->worked = repo_push_begin(c->repository->path);
}

static void push_on_begun(void *data)
{
    forge_visit *c = data;
    err e = c->worked;
    if (c->x == NULL || c->forge->closing) {
        if (e.code == OK)
            repo_push_end(c->repository->path);
        visit_free(c);
        return;
    }
    if (e.code == ERR_ABSENT)
        c->repository->ready = false;
    if (e.code == OK)
        e = input_run(c, "receive-pack", push_on_output, push_on_end);
    if (e.code != OK) {
        push_fail(c, e);
        return;
    }
    input_feed(c, buf_str(&c->early)); // stays: the head's texts point into it
    if (c->body_over)
        proc_write_end(c->proc);
    else if (proc_write_queued(c->proc) <= VISIT_QUEUE_HIGH)
        input_go(c);
}

static void push_on_granted(forge_visit *c)
{
    visit_work(c, push_begin_work, push_on_begun);
}

// ---- the head

void push_take(forge_visit *c, str bytes)
{
    if (c->state == VISIT_RUNNING) {
        input_feed(c, bytes);
        return;
    }
    buf_add(&c->early, bytes);
    if (c->early.error.code != OK) {
        visit_end(c, fail(ERR_LIMIT, 0, "the push is too large"), "push");
        return;
    }
    if (c->state != VISIT_READING) // more of what was unpacked when the head was whole
        return;
    const char *why = NULL;
    switch (push_head_read(c->memory, buf_str(&c->early), &c->head, &why)) {
    case PUSH_HEAD_MORE:
        break;
    case PUSH_HEAD_BAD:
        visit_answer_text(c, 400, why);
        visit_free(c);
        break;
    case PUSH_HEAD_WHOLE:
        if (c->head.count == 0) { // git tries first whether it may push
            visit_answer(c, 200, "application/x-git-receive-pack-result", STR(""));
            visit_free(c);
            break;
        }
        input_hold(c);
        repository_take(c, push_on_granted);
        break;
    }
}

void push_body_end(forge_visit *c)
{
    if (c->state == VISIT_RUNNING) {
        proc_write_end(c->proc);
    } else if (c->state == VISIT_READING) {
        visit_answer_text(c, 400, "the push is cut");
        visit_free(c);
    }
}
