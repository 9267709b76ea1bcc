// The body of a request on its way to git: unpacked when it is gzip, never faster than git reads.
#include "base/str.h"
#include "repo/forge_inner.h"

#include <signal.h>
#include <stdio.h>

static void input_refuse(forge_visit *c, err e)
{
    bool ours = c->state == VISIT_READING;
    visit_answer_text(c, http_status_of(e.code), e.what);
    if (ours)
        visit_free(c);
    else if (c->proc != NULL) // its end frees the call; it has not seen all of its input
        proc_kill(c->proc, SIGTERM);
}

void input_feed(forge_visit *c, str bytes)
{
    err e = proc_write(c->proc, bytes);
    if (e.code == ERR_CLOSED)
        return; // git reads no more: its end says why
    if (e.code != OK)
        input_refuse(c, e);
    else if (proc_write_queued(c->proc) > VISIT_QUEUE_HIGH)
        input_hold(c);
}

// True while the call may take more.
static bool input_take(forge_visit *c, str bytes)
{
    if (bytes.len == 0)
        return true;
    c->body_bytes += bytes.len;
    if (c->body_bytes > (c->push ? FORGE_PUSH_BYTES_MAX : FORGE_FETCH_BYTES_MAX)) {
        input_refuse(c, fail(ERR_LIMIT, 0, "the request is too large"));
        return false;
    }
    http_exchange *x = c->x;
    if (c->push)
        push_take(c, bytes);
    else
        input_feed(c, bytes);
    // Answered or gone: then this call may be gone as well, but its exchange tells.
    return http_user(x) == c;
}

static bool input_unpack(forge_visit *c, str piece)
{
    char bytes[VISIT_PIECE];
    size_t got;
    do {
        err e = gunzip_stream_step(c->unpack, &piece, bytes, sizeof(bytes), &got);
        if (e.code != OK) {
            input_refuse(c, e);
            return false;
        }
        if (!input_take(c, (str){bytes, got}))
            return false;
    } while (piece.len > 0 || got == sizeof(bytes));
    return true;
}

static void input_on_piece(void *user, http_exchange *x, str piece, bool end)
{
    forge_visit *c = user;
    if (c == NULL || c->x != x)
        return;
    if (!end) {
        (void)(c->unpack != NULL ? input_unpack(c, piece) : input_take(c, piece));
        return;
    }
    if (c->unpack != NULL && c->body_bytes > 0 && !gunzip_stream_whole(c->unpack)) {
        input_refuse(c, fail(ERR_SYNTAX, 0, "the gzip body is cut"));
        return;
    }
    c->body_over = true;
    if (c->push)
        push_body_end(c);
    else
        proc_write_end(c->proc);
}

void input_open(forge_visit *c)
{
    http_stream(c->x, c->push ? FORGE_PUSH_BYTES_MAX : FORGE_FETCH_BYTES_MAX, input_on_piece);
    http_read_pause(c->x, true);
}

void input_go(forge_visit *c)
{
    if (c->x != NULL)
        http_read_pause(c->x, false);
}

void input_hold(forge_visit *c)
{
    if (c->x != NULL)
        http_read_pause(c->x, true);
}

void input_drained(void *data, proc *p)
{
    (void)p;
    input_go(data);
}

err input_run(forge_visit *c,
              const char *service,
              void (*on_output)(void *data, proc *p, int stream, str bytes),
              void (*on_end)(void *data, proc *p, const proc_end *end))
{
    const char *argv[] = {"git", service, "--stateless-rpc", c->repository->path, NULL};
    const char *environment[FORGE_ENVIRONMENT + 2] = {NULL};
    size_t count = 0;
    for (; count < FORGE_ENVIRONMENT && c->forge->environment[count] != NULL; count++)
        environment[count] = c->forge->environment[count];
    char protocol[64];
    bool plain = c->protocol.len > 0 && c->protocol.len < 40;
    for (size_t i = 0; i < c->protocol.len; i++)
        plain = plain && c->protocol.at[i] > ' ' && c->protocol.at[i] < 0x7f;
    if (plain && !c->push) {
        snprintf(protocol, sizeof(protocol), "GIT_PROTOCOL=%.*s", STR_ARG(c->protocol));
        environment[count] = protocol;
    }
    proc_settings settings = {
        .argv = argv,
        .environment = environment,
        .wall_ms_max = FORGE_WALL_MS,
        .own_group = true,
        .want_input = true,
        .on_output = on_output,
        .on_input_drain = input_drained,
        .on_end = on_end,
        .data = c,
    };
    TRY(proc_start(&c->proc, c->forge->settings.loop, &settings));
    c->state = VISIT_RUNNING;
    return ok();
}
