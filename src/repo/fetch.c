// A fetch: git upload-pack between the request's body and the answer's.
//
// The happy path is: 1. upload-pack starts; 2. the body flows in, the answer out, each held back by
// its reader; 3. its end ends the answer. What can fail: git (what it says is shown), the client
// (git is ended).
#include "base/str.h"
#include "repo/forge_inner.h"

#include <signal.h>

static void fetch_on_output(void *data, proc *p, int stream, str bytes)
{
    forge_visit *c = data;
    if (stream == 2)
        buf_add(&c->errors, bytes);
    if (stream == 2 || c->x == NULL)
        return;
    if (!c->started) {
        http_header list[] = {{STR("Content-Type"), STR("application/x-git-upload-pack-result")},
                              {STR("Cache-Control"), STR("no-cache, max-age=0, must-revalidate")}};
        c->started = true;
        http_start(c->x, 200, &(http_headers){list, COUNT(list)}, UINT64_MAX);
    }
    err e = http_send(c->x, bytes);
    if (e.code != OK)
        proc_kill(p, SIGKILL);
    else if (http_send_full(c->x))
        proc_output_pause(p, true);
}

static void fetch_on_drain(void *user, http_exchange *x)
{
    (void)x;
    forge_visit *c = user;
    if (c->state == VISIT_RUNNING)
        proc_output_pause(c->proc, false);
}

static void fetch_on_end(void *data, proc *p, const proc_end *end)
{
    (void)p;
    forge_visit *c = data;
    c->proc = NULL;
    c->state = VISIT_ASKING;
    if (end->status != 0 && c->x != NULL)
        log_line(c->forge->settings.log, LOG_WARN, "fetch failed", "owner", c->owner, "repository",
                 c->name, "git", str_trim(buf_str(&c->errors)), NULL);
    http_exchange *x = c->x;
    if (x != NULL && !c->started) {
        visit_answer_text(c, end->timed_out ? 504 : 500, "git upload-pack gave no answer");
    } else if (x != NULL) {
        c->x = NULL;
        // An end by a signal is not the end of the answer. Otherwise git has said in it what was
        // wrong.
        if (end->signal != 0 || end->timed_out)
            http_break(x);
        else
            http_finish(x);
    }
    visit_free(c);
}

void fetch_start(forge_visit *c)
{
    forge *f = c->forge;
    err e = f->fetches >= FORGE_FETCHES_MAX
                ? fail(ERR_BUSY, 0, "too many fetches at once, try again")
                : ok();
    if (e.code == OK)
        e = input_run(c, "upload-pack", fetch_on_output, fetch_on_end);
    if (e.code != OK) {
        visit_end(c, e, "git upload-pack");
        return;
    }
    f->fetches++;
    c->counted = true;
    http_on_drain(c->x, fetch_on_drain);
    input_go(c);
}
