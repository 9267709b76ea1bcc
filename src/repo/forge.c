// The forge's door: paths, tokens, owners; what is behind it is only reached by who may.
//
// The happy path is: 1. the path names a repository and a service; 2. auth knows the token's
// account; 3. auth knows the repository, and its owner is that account; 4. the bare repository is
// made at its first use; 5. refs, fetch or push. What can fail: 2 (401, so that git asks for a
// password), 3 (404, be it foreign or absent).
#include "base/file.h"
#include "base/hash.h"
#include "base/str.h"
#include "repo/forge_inner.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_MAX_BYTES = 100, OWNER_MAX_BYTES = 39 };

typedef struct forge_path {
    str owner, name, rest; // rest: "info/refs"
} forge_path;

static bool name_is_safe(str name, size_t bytes_max, const char *also)
{
    if (name.len == 0 || name.len > bytes_max || name.at[0] == '.' || name.at[0] == '-')
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.at[i];
        bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!plain && (c == '\0' || strchr(also, c) == NULL))
            return false;
    }
    return true;
}

static bool path_read(str path, forge_path *out)
{
    if (!str_starts(path, STR("/")))
        return false;
    path = str_from(path, 1);
    out->owner = str_cut(&path, '/');
    out->name = str_cut(&path, '/');
    out->rest = path;
    if (!str_ends(out->name, STR(".git")) || path.at == NULL)
        return false;
    out->name = str_first(out->name, out->name.len - 4);
    return name_is_safe(out->owner, OWNER_MAX_BYTES, "-_") &&
           name_is_safe(out->name, NAME_MAX_BYTES, ".-_");
}

bool forge_is_path(str path)
{
    forge_path parts;
    return path_read(path, &parts);
}

// ---- visits

static void forge_free(void *data)
{
    forge *f = data;
    void (*on_closed)(void *data) = f->on_closed;
    void *on_closed_data = f->on_closed_data;
    size_t at = 0;
    str key;
    void *value;
    while (f->repositories != NULL && map_next(f->repositories, &at, &key, &value)) {
        forge_repository *r = value;
        free(r->path);
        free(r->id);
        free(r);
    }
    map_close(f->repositories);
    for (size_t i = 0; i < COUNT(f->environment); i++)
        free(f->environment[i]);
    free((void *)(uintptr_t)f->settings.folder);
    free(f);
    if (on_closed != NULL)
        on_closed(on_closed_data);
}

void visit_free(forge_visit *c)
{
    forge *f = c->forge;
    if (c->holding)
        repository_give(c);
    if (c->counted)
        *(c->push ? &f->pushes : &f->fetches) -= 1;
    *(c->previous != NULL ? &c->previous->next : &f->calls) = c->next;
    if (c->next != NULL)
        c->next->previous = c->previous;
    gunzip_stream_close(c->unpack);
    buf_close(&c->early);
    buf_close(&c->answer);
    buf_close(&c->errors);
    buf_close(&c->said);
    arena_close(c->memory);
    if (f->closed && f->calls == NULL)
        forge_free(f);
}

void visit_answer(forge_visit *c, unsigned status, const char *type, str body)
{
    http_exchange *x = c->x;
    if (x == NULL)
        return;
    c->x = NULL;
    http_set_user(x, NULL);
    http_header list[] = {
        {STR("Content-Type"), str_of(type)},
        {STR("Cache-Control"), STR("no-cache, max-age=0, must-revalidate")},
        {STR("Retry-After"), STR("1")},
    };
    http_headers headers = {list, status == 503 ? 3 : 2};
    if (status == 401) {
        list[2] = (http_header){STR("WWW-Authenticate"), STR("Basic realm=\"ctau\"")};
        // A page's fetch would freeze on the browser's password box; git does not send this header.
        bool page =
            http_header_find(&http_request_of(x)->headers, STR("Sec-Fetch-Mode")).at != NULL;
        headers.count = page ? 2 : 3;
    }
    http_answer(x, status, &headers, body);
}

// git shows a plain text's lines to the user.
void visit_answer_text(forge_visit *c, unsigned status, const char *text)
{
    char line[1024];
    snprintf(line, sizeof(line), "%s\n", text);
    visit_answer(c, status, "text/plain; charset=utf-8", str_of(line));
}

void visit_end(forge_visit *c, err e, const char *event)
{
    unsigned status = http_status_of(e.code);
    if (status >= 500 && status != 503)
        log_fail(c->forge->settings.log, event, e, "owner", c->owner, "repository", c->name, NULL);
    visit_answer_text(c, status, e.what != NULL ? e.what : event);
    visit_free(c);
}

void visit_work(forge_visit *c, void (*work)(void *data), void (*done)(void *data))
{
    c->state = VISIT_ASKING;
    err e = loop_work(c->forge->settings.loop, work, done, c);
    if (e.code != OK)
        visit_end(c, e, "forge helper");
}

static void visit_on_broken(void *user, http_exchange *x)
{
    (void)x;
    forge_visit *c = user;
    c->x = NULL;
    switch (c->state) {
    case VISIT_ASKING:
        break; // what comes back sees that nobody waits
    case VISIT_QUEUED:
        repository_leave(c);
        visit_free(c);
        break;
    case VISIT_READING:
        visit_free(c);
        break;
    case VISIT_RUNNING:
        // A push that came whole goes on: its refs may be written already. One that was cut fails
        // by itself.
        if (c->push)
            proc_write_end(c->proc);
        else
            proc_kill(c->proc, SIGKILL);
        break;
    }
}

static void visit_on_ready(forge_visit *c)
{
    if (c->x == NULL)
        visit_free(c);
    else if (c->advertise)
        refs_advertise(c);
    else if (c->push)
        push_start(c);
    else
        fetch_start(c);
}

static void visit_on_repository(void *data, err e, const void *fields)
{
    forge_visit *c = data;
    const auth_repository_get_reply *reply = fields;
    if (c->x == NULL || c->forge->closing) {
        visit_free(c);
        return;
    }
    const repository_record *r =
        e.code == OK && reply->repositories.count > 0 ? reply->repositories.at : NULL;
    if (r == NULL && (e.code == OK || e.code == ERR_ABSENT))
        e = fail(ERR_ABSENT, 0, "there is no such repository, or it is not yours");
    if (r != NULL) {
        c->id = str_copy(c->memory, r->id);
        c->owner = str_copy(c->memory, r->owner);
        c->name = str_copy(c->memory, r->name);
        bool safe = name_is_safe(r->owner, OWNER_MAX_BYTES, "-_") &&
                    name_is_safe(r->name, NAME_MAX_BYTES, ".-_");
        c->repository = safe ? repository_find(c->forge, c->owner, c->name) : NULL;
        if (c->repository == NULL)
            e = fail(ERR_BUSY, 0, "the forge holds too many repositories");
    }
    if (e.code != OK) {
        visit_end(
            c, e.code == ERR_ABSENT ? e : fail(ERR_BUSY, e.sys, "auth does not answer, try again"),
            "forge");
        return;
    }
    if (repository_is_ready(c))
        visit_on_ready(c);
    else
        repository_prepare(c, visit_on_ready);
}

static void visit_on_token(void *data, err e, const void *fields)
{
    forge_visit *c = data;
    const auth_token_check_reply *reply = fields;
    if (c->x == NULL || c->forge->closing) {
        visit_free(c);
        return;
    }
    if (e.code == ERR_DENIED || e.code == ERR_SYNTAX) {
        visit_answer_text(c, 401, "this token is unknown or was revoked: `tau login` makes one");
        visit_free(c);
    } else if (e.code != OK) {
        visit_end(c, fail(ERR_BUSY, e.sys, "auth does not answer, try again"), "forge");
    } else if (!str_is_nocase(reply->account, c->owner)) {
        visit_end(c, fail(ERR_ABSENT, 0, "there is no such repository, or it is not yours"),
                  "forge");
    } else {
        auth_repository_get_request ask = {.owner = c->owner, .name = c->name};
        mesh_ask(c->forge->settings.mesh, STR(""), MSG_auth_repository_get, NULL, &ask,
                 FORGE_ASK_MS, visit_on_repository, c);
    }
}

// The token, be it a Bearer's or a Basic's password (or its user, when there is no password). Empty
// without one.
static str token_read(arena *a, const http_headers *headers)
{
    str value = http_header_find(headers, STR("Authorization"));
    str scheme = str_cut(&value, ' ');
    value = str_trim(value);
    if (str_is_nocase(scheme, STR("Bearer")) || str_is_nocase(scheme, STR("token")))
        return str_copy(a, value);
    str plain;
    if (!str_is_nocase(scheme, STR("Basic")) || base64_read(a, value, &plain).code != OK)
        return (str){NULL, 0};
    str user = str_cut(&plain, ':');
    return plain.len > 0 ? plain : user;
}

// What the request asks for. 0, or the status that refuses it.
static unsigned visit_read(forge_visit *c, const http_request *r, const forge_path *path)
{
    str service = path->rest;
    c->advertise = str_is(path->rest, STR("info/refs"));
    if (c->advertise) {
        service = http_query_value(c->memory, r->query, STR("service"));
        if (!str_is(r->method, STR("GET")))
            return 405;
    }
    c->push = str_is(service, STR("git-receive-pack"));
    if (!c->push && !str_is(service, STR("git-upload-pack")))
        return 404;
    if (c->advertise)
        return 0;
    if (!str_is(r->method, STR("POST")))
        return 405;
    str type = http_header_find(&r->headers, STR("Content-Type"));
    if (!str_is(type, c->push ? STR("application/x-git-receive-pack-request")
                              : STR("application/x-git-upload-pack-request")))
        return 415;
    str packed = http_header_find(&r->headers, STR("Content-Encoding"));
    if (packed.len == 0 || str_is_nocase(packed, STR("identity")))
        return 0;
    bool gzip = str_is_nocase(packed, STR("gzip")) || str_is_nocase(packed, STR("x-gzip"));
    return gzip && gunzip_stream_open(&c->unpack).code == OK ? 0 : 415;
}

static forge_visit *visit_open(forge *f, http_exchange *x)
{
    arena *a = NULL;
    if (arena_open(&a, VISIT_MEMORY_MAX).code != OK)
        return NULL;
    forge_visit *c = arena_take(a, sizeof(*c));
    if (c == NULL) {
        arena_close(a);
        return NULL;
    }
    *c = (forge_visit){.forge = f, .x = x, .memory = a, .next = f->calls};
    buf_open(&c->early, VISIT_EARLY_MAX);
    buf_open(&c->answer, VISIT_ANSWER_MAX);
    buf_open(&c->errors, VISIT_ERRORS_MAX);
    buf_open(&c->said, VISIT_REPORT_MAX);
    if (f->calls != NULL)
        f->calls->previous = c;
    f->calls = c;
    http_set_user(x, c);
    http_on_broken(x, visit_on_broken);
    return c;
}

void forge_handle(forge *f, http_exchange *x, str path)
{
    static const char *const reasons[] = {[404 - 400] =
                                              "there is nothing here: this is git's smart HTTP",
                                          [405 - 400] = "not with this method",
                                          [415 - 400] = "not a body that git sends"};
    forge_visit *c = f->closing ? NULL : visit_open(f, x);
    if (c == NULL) {
        http_answer_err(x, fail(ERR_BUSY, 0, "the forge is closing"));
        return;
    }
    const http_request *r = http_request_of(x);
    forge_path parts;
    unsigned status = path_read(path, &parts) ? visit_read(c, r, &parts) : 404;
    if (status != 0) {
        visit_answer_text(c, status, reasons[status - 400]);
        visit_free(c);
        return;
    }
    c->owner = str_copy(c->memory, parts.owner);
    c->name = str_copy(c->memory, parts.name);
    c->protocol = str_copy(c->memory, http_header_find(&r->headers, STR("Git-Protocol")));
    c->token = token_read(c->memory, &r->headers);
    if (c->token.len == 0) {
        visit_answer_text(c, 401, "a token is needed as password: `tau login` makes one");
        visit_free(c);
        return;
    }
    if (!c->advertise)
        input_open(c);
    auth_token_check_request ask = {.token = c->token};
    mesh_ask(f->settings.mesh, STR(""), MSG_auth_token_check, NULL, &ask, FORGE_ASK_MS,
             visit_on_token, c);
}

// ---- the forge

// No configuration but the repository's: neither the system's nor that of whoever runs us. The
// repositories may belong to another user.
static err forge_environment(forge *f)
{
    const char *path = getenv("PATH");
    char home[PATH_MAX];
    if (snprintf(home, sizeof(home), "HOME=%s/.home", f->settings.folder) >= (int)sizeof(home))
        return fail(ERR_LIMIT, 0, "path of the forge");
    TRY(file_make_folders(home + STR("HOME=").len, 0755));
    const char *const fixed[] = {home,
                                 "GIT_CONFIG_NOSYSTEM=1",
                                 "GIT_CONFIG_GLOBAL=/dev/null",
                                 "GIT_CONFIG_COUNT=1",
                                 "GIT_CONFIG_KEY_0=safe.directory",
                                 "GIT_CONFIG_VALUE_0=*",
                                 "GIT_TERMINAL_PROMPT=0",
                                 "LC_ALL=C"};
    char line[PATH_MAX];
    snprintf(line, sizeof(line), "PATH=%s", path != NULL ? path : "/usr/local/bin:/usr/bin:/bin");
    f->environment[0] = strdup(line);
    bool made = f->environment[0] != NULL;
    for (size_t i = 0; i < COUNT(fixed); i++) {
        f->environment[i + 1] = strdup(fixed[i]);
        made = made && f->environment[i + 1] != NULL;
    }
    return made ? ok() : fail(ERR_MEMORY, 0, "open forge");
}

err forge_open(forge **out, const forge_settings *settings)
{
    forge *f = calloc(1, sizeof(*f));
    if (f == NULL)
        return fail(ERR_MEMORY, 0, "open forge");
    f->settings = *settings;
    f->settings.folder = strdup(settings->folder);
    err e = f->settings.folder == NULL ? fail(ERR_MEMORY, 0, "open forge")
                                       : map_open(&f->repositories, FORGE_REPOSITORIES_MAX);
    if (e.code == OK)
        e = forge_environment(f);
    if (e.code != OK) {
        forge_free(f);
        return e;
    }
    *out = f;
    return ok();
}

// What still works for us ends by itself, and the last of it frees.
void forge_close_then(forge *f, void (*closed)(void *data), void *data)
{
    f->closing = true;
    f->on_closed = closed;
    f->on_closed_data = data;
    f->settings.log = NULL;
    for (forge_visit *c = f->calls, *next; c != NULL; c = next) {
        next = c->next;
        http_exchange *x = c->x;
        c->x = NULL;
        if (x != NULL) {
            http_on_broken(x, NULL);
            http_set_user(x, NULL);
            http_break(x);
        }
        if (c->state == VISIT_RUNNING)
            proc_kill(c->proc, SIGKILL);
        if (c->state == VISIT_QUEUED)
            repository_leave(c);
        if (c->state == VISIT_READING || c->state == VISIT_QUEUED)
            visit_free(c);
    }
    f->closed = true;
    if (f->calls != NULL)
        return;
    if (closed == NULL || loop_defer(f->settings.loop, forge_free, f).code != OK)
        forge_free(f);
}

void forge_close(forge *f)
{
    if (f != NULL)
        forge_close_then(f, NULL, NULL);
}
