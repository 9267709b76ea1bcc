// meshd as a child: its settings from the shape and the table of permissions, its words to our log.
//
// The happy path is: 1. settings are written; 2. it is started; 3. it says that it is ready; 4. it
// stays. What can fail: it is not there, a port is in use, it dies (it is started again with
// back-off, see member.h).
#include "node/elder.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "io/conn.h"
#include "io/proc.h"
#include "mesh/permissions.h"
#include "mesh/shards.h"
#include "node/member.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    ELDER_MEMORY_BYTES = 256 * 1024,
    ELDER_SETTINGS_BYTES = 256 * 1024,
    ELDER_LINE_BYTES = 64 * 1024,
    ELDER_PAYLOAD_BYTES_MAX = 8 << 20,
};

struct elder_server {
    elder_settings settings;
    arena *memory;
    const char *server, *path; // program, settings file
    member member;
    timer *wake;
    proc *proc;
    buf line; // of its standard output, until it is whole
    void (*closed)(void *data);
    void *closed_data;
};

const char *elder_find_server(arena *a, const char *program)
{
    const char *given = getenv("CTAU_MESHD");
    if (given != NULL && given[0] != '\0')
        return access(given, X_OK) == 0 ? str_c(a, str_of(given)) : NULL;
    const char *slash = program == NULL ? NULL : strrchr(program, '/');
    if (slash == NULL)
        return NULL;
    static const char *const places[] = {"meshd", "../lib/ctau/meshd"};
    for (size_t i = 0; i < COUNT(places); i++) {
        const char *path = str_format(a, "%.*s/%s", (int)(slash - program), program, places[i]).at;
        if (path != NULL && access(path, X_OK) == 0)
            return path;
    }
    return NULL;
}

// ---- settings

static void put_address(json_writer *w, const char *name, const shape_address *a)
{
    char text[80];
    bool six = str_find_byte(a->host, ':') < a->host.len;
    (void)snprintf(text, sizeof(text), six ? "[%.*s]:%u" : "%.*s:%u", STR_ARG(a->host), a->port);
    json_put_text(w, name, str_of(text));
}

static void put_path(json_writer *w, const char *name, const char *folder, const char *file)
{
    char text[4096];
    (void)snprintf(text, sizeof(text), "%s/%s", folder, file);
    json_put_text(w, name, str_of(text));
}

static err elder_write_settings(struct elder_server *e)
{
    const elder_settings *s = &e->settings;
    const shape *k = s->shape;
    OWNED(buf_close) buf out;
    buf_open(&out, ELDER_SETTINGS_BYTES);
    json_writer w = {.out = &out};
    json_open_object(&w, NULL);
    json_put_text(&w, "universe", k->universe);
    json_put_text(&w, "name", k->node);
    put_address(&w, "client", &k->elder_client);
    put_address(&w, "route", &k->elder_route);
    json_open_list(&w, "routes");
    for (size_t i = 0; i < k->elder_routes.count; i++)
        put_address(&w, NULL, &k->elder_routes.at[i]);
    json_close_list(&w);
    put_path(&w, "store", s->folder, "mesh");
    json_put_whole(&w, "election_ms", k->elder_election_ms);
    json_put_whole(&w, "payload_bytes_max", ELDER_PAYLOAD_BYTES_MAX);
    put_path(&w, "certificate", s->keys, "node.pem");
    put_path(&w, "key", s->keys, "node.key");
    put_path(&w, "authority", s->keys, "ca.pem");
    json_put_text(&w, "deny", str_of(s->deny));
    json_put_whole(&w, "replicas", k->elder_routes.count + 1);
    permissions_write_streams(&w, &shards_of_universe);
    permissions_write_roles(&w, &shards_of_universe);
    json_close_object(&w);
    TRY(out.error);
    return file_write_durable(e->path, buf_str(&out), 0600);
}

static err elder_check_port(const shape_address *a, const char *problem)
{
    OWNED(fd_drop) int fd = -1;
    char host[80];
    (void)snprintf(host, sizeof(host), "%.*s", STR_ARG(a->host));
    err e = socket_listen(host, a->port, false, &fd);
    return e.code == ERR_CONFLICT ? fail(ERR_CONFLICT, e.sys, problem) : e;
}

// ---- the child

static void elder_do(struct elder_server *e, member_event event);

static void elder_on_line(struct elder_server *e, str line)
{
    OWNED(arena_drop) arena *a = NULL;
    const json *value;
    if (arena_open(&a, ELDER_MEMORY_BYTES).code != OK ||
        json_read(a, line, &value, NULL).code != OK)
        return;
    str event = json_text(value, "event");
    if (str_is(event, STR("ready"))) {
        elder_do(e, MEMBER_ON_READY);
        e->settings.on_state(e->settings.data, proc_id(e->proc), true);
    } else if (str_is(event, STR("log"))) {
        str level = json_text(value, "level");
        log_line(e->settings.log,
                 str_is(level, STR("error"))  ? LOG_ERROR
                 : str_is(level, STR("warn")) ? LOG_WARN
                                              : LOG_INFO,
                 "meshd", "text", json_text(value, "text"), NULL);
    } else if (str_is(event, STR("leader"))) {
        log_line(e->settings.log, LOG_INFO, "leader", "stream", json_text(value, "stream"),
                 "leader", json_text(value, "leader"), NULL);
    }
}

static void elder_on_output(void *data, proc *p, int stream, str bytes)
{
    (void)p;
    struct elder_server *e = data;
    if (stream == 2) {
        for (str rest = bytes; rest.len > 0;) {
            str line = str_cut(&rest, '\n');
            if (line.len > 0)
                log_line(e->settings.log, LOG_ERROR, "meshd", "text", line, NULL);
        }
        return;
    }
    buf_add(&e->line, bytes);
    for (;;) {
        str all = buf_str(&e->line);
        size_t end = str_find_byte(all, '\n');
        if (end == all.len)
            break;
        elder_on_line(e, str_first(all, end));
        buf_drop_front(&e->line, end + 1);
    }
    if (e->line.error.code != OK) // a line longer than any of meshd's
        buf_clear(&e->line);
}

static void elder_free(void *data)
{
    struct elder_server *e = data;
    void (*closed)(void *data) = e->closed;
    void *closed_data = e->closed_data;
    timer_close(e->wake);
    buf_close(&e->line);
    arena_close(e->memory);
    free(e);
    if (closed != NULL)
        closed(closed_data);
}

static void elder_on_end(void *data, proc *p, const proc_end *end)
{
    (void)p;
    struct elder_server *e = data;
    e->proc = NULL;
    buf_clear(&e->line);
    if (e->closed != NULL) {
        elder_free(e);
        return;
    }
    char how[32];
    (void)snprintf(how, sizeof(how), end->signal != 0 ? "signal %d" : "status %d",
                   end->signal != 0 ? end->signal : end->status);
    log_line(e->settings.log, LOG_ERROR, "meshd ended", "how", str_of(how), NULL);
    e->settings.on_state(e->settings.data, 0, false);
    elder_do(e, MEMBER_ON_ENDED);
}

static err elder_spawn(struct elder_server *e)
{
    const char *argv[] = {e->server, "-parent", e->path, NULL};
    proc_settings settings = {
        .argv = argv,
        .want_input = true, // it ends when this pipe does
        .on_output = elder_on_output,
        .on_end = elder_on_end,
        .data = e,
    };
    TRY(proc_start(&e->proc, e->settings.loop, &settings));
    e->settings.on_state(e->settings.data, proc_id(e->proc), false);
    return ok();
}

static void elder_do(struct elder_server *e, member_event event)
{
    switch (member_step(&e->member, event, loop_now_ms(e->settings.loop))) {
    case MEMBER_SPAWN: {
        err failed = elder_spawn(e);
        if (failed.code != OK) {
            log_fail(e->settings.log, "meshd did not start", failed, NULL);
            elder_do(e, MEMBER_ON_ENDED); // back-off, no recursion: it is DOWN then
        }
        break;
    }
    case MEMBER_TERMINATE:
        proc_kill(e->proc, SIGTERM);
        break;
    case MEMBER_KILL:
        proc_kill(e->proc, SIGKILL);
        break;
    case MEMBER_NOTHING:
        break;
    }
    uint64_t now = loop_now_ms(e->settings.loop), wake = e->member.wake_ms;
    if (wake == 0)
        timer_stop(e->wake);
    else
        timer_start(e->wake, wake > now ? wake - now : 1, 0);
}

static void elder_on_wake(void *data)
{
    elder_do(data, MEMBER_ON_TIME);
}

static err elder_start(struct elder_server *e)
{
    const elder_settings *s = &e->settings;
    e->server = elder_find_server(e->memory, s->program);
    if (e->server == NULL)
        return fail(ERR_ABSENT, 0,
                    "meshd, the mesh's server, is not there: run make dream, or name it with "
                    "CTAU_MESHD");
    e->settings.folder = str_c(e->memory, str_of(s->folder));
    e->settings.keys = str_c(e->memory, str_of(s->keys));
    e->settings.deny = str_c(e->memory, str_of(s->deny));
    e->path = str_format(e->memory, "%s/meshd.json", s->folder).at;
    const char *store = str_format(e->memory, "%s/mesh", s->folder).at;
    if (e->settings.folder == NULL || e->settings.keys == NULL || e->settings.deny == NULL ||
        e->path == NULL || store == NULL)
        return fail(ERR_LIMIT, 0, "path too long");
    TRY(file_make_folders(store, 0700));
    TRY(elder_check_port(&s->shape->elder_client, "the mesh server's client port is in use"));
    TRY(elder_check_port(&s->shape->elder_route, "the mesh server's route port is in use"));
    TRY(elder_write_settings(e));
    TRY(timer_open(&e->wake, s->loop, elder_on_wake, e));
    elder_do(e, MEMBER_ON_START);
    return ok();
}

err elder_open(elder_server **out, const elder_settings *settings)
{
    struct elder_server *e = calloc(1, sizeof(*e));
    if (e == NULL)
        return fail(ERR_MEMORY, 0, "open elder");
    e->settings = *settings;
    buf_open(&e->line, ELDER_LINE_BYTES);
    err failed = arena_open(&e->memory, ELDER_MEMORY_BYTES);
    if (failed.code == OK)
        failed = elder_start(e);
    if (failed.code != OK) {
        elder_free(e);
        return failed;
    }
    *out = e;
    return ok();
}

void elder_close(elder_server *e, void (*closed)(void *data), void *data)
{
    e->closed = closed;
    e->closed_data = data;
    elder_do(e, MEMBER_ON_STOP);
    if (e->proc == NULL && loop_defer(e->settings.loop, elder_free, e).code != OK)
        elder_free(e);
}

int elder_process(const elder_server *e)
{
    return e->proc == NULL ? 0 : proc_id(e->proc);
}
