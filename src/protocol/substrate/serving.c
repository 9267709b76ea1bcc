// Tells who asks when a revision is served: by every worker, from its next request on.
#include "base/clock.h"
#include "base/str.h"
#include "protocol/substrate/substrate_inner.h"

#include <stdlib.h>

enum { SERVING_MS_MAX = 5000, SERVING_LOOK_MS = 2 };

typedef struct serving {
    struct serving *next;
    mesh_incoming *in;
    str project; // in the incoming's arena
    uint64_t revision, until_ms;
} serving;

static uint64_t serving_revision(substrate *s, str id)
{
    const project *p = substrate_project(s, id);
    bool all = s->workers == NULL || workers_current(s->workers);
    return p != NULL && all ? p->published : 0;
}

// True: it was answered.
static bool serving_look(substrate *s, const serving *w, uint64_t now_ms)
{
    substrate_serves_reply reply = {.revision = serving_revision(s, w->project)};
    if (reply.revision < w->revision && now_ms < w->until_ms)
        return false;
    mesh_answer(w->in, &reply);
    return true;
}

static void serving_on_look(void *data)
{
    substrate *s = data;
    uint64_t now = clock_now_ms();
    for (serving **at = &s->serving; *at != NULL;) {
        serving *w = *at;
        if (serving_look(s, w, now)) {
            *at = w->next;
            free(w);
        } else {
            at = &w->next;
        }
    }
    if (s->serving != NULL)
        timer_start(s->serving_timer, SERVING_LOOK_MS, 0);
}

static void
serving_on_ask(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)header;
    substrate *s = data;
    const substrate_serves_request *request = fields;
    serving w = {.in = in,
                 .project = str_copy(mesh_incoming_arena(in), request->project),
                 .revision = request->revision,
                 .until_ms = clock_now_ms() + SERVING_MS_MAX};
    if (w.project.at != NULL && serving_look(s, &w, clock_now_ms()))
        return;
    serving *kept = w.project.at == NULL ? NULL : malloc(sizeof(*kept));
    if (kept == NULL) {
        mesh_answer_err(in, fail(ERR_MEMORY, 0, "wait for a revision"));
        return;
    }
    *kept = w;
    kept->next = s->serving;
    s->serving = kept;
    timer_start(s->serving_timer, SERVING_LOOK_MS, 0);
}

err serving_open(substrate *s)
{
    TRY(timer_open(&s->serving_timer, s->context.loop, serving_on_look, s));
    return mesh_serve(s->context.mesh, MSG_substrate_serves, serving_on_ask, s);
}

// The mesh answers them when the node leaves it.
void serving_close(substrate *s)
{
    timer_stop(s->serving_timer);
    while (s->serving != NULL) {
        serving *w = s->serving;
        s->serving = w->next;
        free(w);
    }
}
