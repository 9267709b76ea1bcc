// Tests only: real meshd servers as children, with certificates of an authority of their own.
#include "mesh/meshd_fixture_test.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "io/conn.h"

#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { READY_MS = 20000, SETTINGS_BYTES_MAX = 1 << 20, OUTPUT_BYTES_MAX = 16 << 20 };

static bool meshd_is(meshd_set *m, const char *path)
{
    int len = snprintf(m->program, sizeof m->program, "%s", path);
    return len > 0 && (size_t)len < sizeof m->program && access(m->program, X_OK) == 0;
}

static bool meshd_find(meshd_set *m)
{
    char path[256];
    const char *given = getenv("CTAU_MESHD"), *cache = getenv("CTAU_CACHE"), *home = getenv("HOME");
    if (given != NULL)
        return meshd_is(m, given);
    (void)snprintf(path, sizeof path, "%s%s/meshd/current/meshd", cache != NULL ? cache : home,
                   cache != NULL ? "" : "/.cache/ctau");
    if (meshd_is(m, path))
        return true;
    glob_t found;
    bool is = glob("out/*/meshd", 0, NULL, &found) == 0 && meshd_is(m, found.gl_pathv[0]);
    globfree(&found);
    return is;
}

static void meshd_name(size_t elder, char out[16])
{
    (void)snprintf(out, 16, elder == 0 ? "elder" : "elder-%zu", elder + 1);
}

static err meshd_port(uint16_t *out)
{
    OWNED(fd_drop) int fd = -1;
    TRY(socket_listen("127.0.0.1", 0, false, &fd));
    *out = socket_port(fd);
    return ok();
}

static void settings_address(json_writer *w, const char *name, uint16_t port)
{
    char text[32];
    (void)snprintf(text, sizeof text, "127.0.0.1:%u", port);
    json_put_text(w, name, str_of(text));
}

static err settings_file(json_writer *w, const char *field, const char *path, str bytes)
{
    json_put_text(w, field, str_of(path));
    return file_write_durable(path, bytes, 0600);
}

// The settings of one elder, and the files that they name.
static err meshd_write(meshd_set *m, const meshd_plan *plan, size_t elder, const uint16_t *routes)
{
    char name[16], path[320];
    OWNED(arena_drop) arena *a = NULL;
    OWNED(buf_close) buf b;
    str certificate, key;
    buf_open(&b, SETTINGS_BYTES_MAX);
    json_writer w = {.out = &b};
    meshd_name(elder, name);
    TRY(arena_open(&a, SETTINGS_BYTES_MAX));
    TRY(meshd_issue(m, a, str_of(name), STR("elder"), &certificate, &key));
    json_open_object(&w, NULL);
    json_put_text(&w, "universe", str_of(m->universe));
    json_put_text(&w, "name", str_of(name));
    settings_address(&w, "client", m->servers[elder].port);
    settings_address(&w, "route", routes[elder]);
    json_open_list(&w, "routes");
    for (size_t i = 0; i < m->count; i++)
        if (i != elder)
            settings_address(&w, NULL, routes[i]);
    json_close_list(&w);
    (void)snprintf(path, sizeof path, "%s/%s.store", m->folder, name);
    json_put_text(&w, "store", str_of(path));
    json_put_whole(&w, "election_ms", 300);
    json_put_whole(&w, "payload_bytes_max", 8 << 20);
    (void)snprintf(path, sizeof path, "%s/%s.pem", m->folder, name);
    TRY(settings_file(&w, "certificate", path, certificate));
    (void)snprintf(path, sizeof path, "%s/%s.key", m->folder, name);
    TRY(settings_file(&w, "key", path, key));
    (void)snprintf(path, sizeof path, "%s/%s.ca", m->folder, name);
    TRY(settings_file(&w, "authority", path, authority_certificate(m->authority)));
    (void)snprintf(path, sizeof path, "%s/%s.deny", m->folder, name);
    TRY(settings_file(&w, "deny", path, STR("")));
    json_put_whole(&w, "replicas", m->count);
    json_put_raw(&w, "streams", plan->streams.len > 0 ? plan->streams : STR("[]"));
    json_put_raw(&w, "roles", plan->roles.len > 0 ? plan->roles : STR("{}"));
    json_close_object(&w);
    TRY(b.error);
    (void)snprintf(path, sizeof path, "%s/%s.json", m->folder, name);
    return file_write_durable(path, buf_str(&b), 0600);
}

static err meshd_spawn(meshd_set *m, size_t elder)
{
    char name[16], settings[320], output[320];
    int input[2];
    meshd_name(elder, name);
    (void)snprintf(settings, sizeof settings, "%s/%s.json", m->folder, name);
    (void)snprintf(output, sizeof output, "%s/%s.out", m->folder, name);
    OWNED(fd_drop) int out = open(output, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    if (out < 0 || pipe2(input, O_CLOEXEC) != 0)
        return fail(ERR_SYSTEM, 0, "start meshd");
    pid_t child = fork();
    if (child == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)dup2(input[0], 0);
        (void)dup2(out, 1);
        (void)dup2(out, 2);
        (void)execl(m->program, m->program, "-parent", settings, (char *)NULL);
        _exit(127);
    }
    close(input[0]);
    m->inputs[elder] = input[1];
    m->children[elder] = child > 0 ? child : 0;
    return child > 0 ? ok() : fail(ERR_SYSTEM, 0, "start meshd");
}

static err meshd_wait(meshd_set *m, size_t elder)
{
    char name[16], path[320];
    meshd_name(elder, name);
    (void)snprintf(path, sizeof path, "%s/%s.out", m->folder, name);
    for (uint64_t end = clock_now_ms() + READY_MS; clock_now_ms() < end; usleep(20000)) {
        OWNED(arena_drop) arena *a = NULL;
        str text;
        TRY(arena_open(&a, OUTPUT_BYTES_MAX + 4096));
        if (file_read(a, path, OUTPUT_BYTES_MAX, &text).code == OK &&
            str_find(text, STR("\"event\":\"ready\"")) < text.len)
            return ok();
        if (waitpid(m->children[elder], NULL, WNOHANG) > 0) {
            m->children[elder] = 0;
            return fail(ERR_CLOSED, 0, "meshd ended; its output is in folder/NAME.out");
        }
    }
    return fail(ERR_TIMEOUT, 0, "meshd does not become ready");
}

static err meshd_begin(meshd_set *m, const meshd_plan *plan)
{
    char ca[320];
    uint16_t routes[MESHD_MAX];
    (void)snprintf(ca, sizeof ca, "%s/ca", m->folder);
    TRY(authority_open(&m->authority, ca, str_of(m->universe)));
    for (size_t i = 0; i < m->count; i++) {
        m->servers[i].address = STR("127.0.0.1");
        TRY(meshd_port(&m->servers[i].port));
        TRY(meshd_port(&routes[i]));
    }
    for (size_t i = 0; i < m->count; i++)
        TRY(meshd_write(m, plan, i, routes));
    for (size_t i = 0; i < m->count; i++)
        TRY(meshd_spawn(m, i));
    for (size_t i = 0; i < m->count; i++)
        TRY(meshd_wait(m, i));
    return ok();
}

err meshd_start(meshd_set **out, const meshd_plan *plan)
{
    if (plan->count == 0 || plan->count > MESHD_MAX)
        return fail(ERR_LIMIT, 0, "start meshd: count of elders");
    meshd_set *m = calloc(1, sizeof *m);
    if (m == NULL)
        return fail(ERR_MEMORY, 0, "start meshd");
    m->count = plan->count;
    for (size_t i = 0; i < MESHD_MAX; i++)
        m->inputs[i] = -1;
    str universe = plan->universe.len > 0 ? plan->universe : STR("blackhole");
    (void)snprintf(m->folder, sizeof m->folder, "%s", plan->folder);
    (void)snprintf(m->universe, sizeof m->universe, "%.*s", STR_ARG(universe));
    err e = meshd_find(m) ? meshd_begin(m, plan) : fail(ERR_ABSENT, 0, "there is no meshd");
    if (e.code != OK)
        meshd_stop(m);
    else
        *out = m;
    return e;
}

void meshd_signal(meshd_set *m, size_t elder, int number)
{
    if (m->children[elder] == 0)
        return;
    (void)kill(m->children[elder], number);
    if (number != SIGKILL && number != SIGTERM)
        return;
    (void)waitpid(m->children[elder], NULL, 0);
    m->children[elder] = 0;
    fd_drop(&m->inputs[elder]);
    m->inputs[elder] = -1;
}

err meshd_restart(meshd_set *m, size_t elder)
{
    meshd_signal(m, elder, SIGKILL);
    TRY(meshd_spawn(m, elder));
    return meshd_wait(m, elder);
}

err meshd_issue(meshd_set *m, arena *a, str node, str protocols, str *certificate, str *key)
{
    return authority_issue(m->authority, a, node, protocols, 30, certificate, key);
}

void meshd_stop(meshd_set *m)
{
    if (m == NULL)
        return;
    for (size_t i = 0; i < m->count; i++)
        meshd_signal(m, i, SIGKILL);
    for (size_t i = 0; i < m->count; i++)
        fd_drop(&m->inputs[i]);
    authority_close(m->authority);
    free(m);
}
