// How commands find and ask the control API: DREAM_API, DREAM_TOKEN, DREAM_HOME/api.json; one
// request at a time.
#include "dream/client.h"

#include "base/file.h"
#include "base/str.h"
#include "http/client.h"
#include "io/loop.h"

#include <stdlib.h>

enum {
    CLIENT_FILE_BYTES = 16 * 1024,
    CLIENT_DEADLINE_MS = 120 * 1000,
    CLIENT_BODY_BYTES = 16 << 20
};

struct dream_client {
    loop *loop;
    http_client *http;
    const char *host;
    uint16_t port;
    str address;
    str authorization;
};

const char *dream_home(arena *a)
{
    const char *home = getenv("DREAM_HOME");
    if (home != NULL && home[0] == '/')
        return home;
    const char *data = getenv("XDG_DATA_HOME");
    if (data != NULL && data[0] == '/')
        return str_format(a, "%s/ctau", data).at;
    const char *user = getenv("HOME");
    return user == NULL || user[0] != '/' ? NULL : str_format(a, "%s/.local/share/ctau", user).at;
}

static err client_find(arena *a, str *address, str *token)
{
    const char *given = getenv("DREAM_API"), *given_token = getenv("DREAM_TOKEN");
    *address = str_of(given);
    *token = token->len > 0 ? *token : str_of(given_token);
    if (address->len > 0 && token->len > 0)
        return ok();
    const char *home = dream_home(a);
    if (home == NULL)
        return fail(ERR_ABSENT, 0, "neither DREAM_HOME nor HOME is set");
    str text;
    const json *value = NULL;
    err e = file_read(a, str_format(a, "%s/api.json", home).at, CLIENT_FILE_BYTES, &text);
    if (e.code == ERR_ABSENT)
        return fail(ERR_ABSENT, 0, "no universe is running");
    TRY(e);
    TRY(json_read(a, text, &value, NULL));
    if (address->len == 0)
        *address = json_text(value, "address");
    if (token->len == 0)
        *token = json_text(value, "token");
    return ok();
}

err dream_client_open(dream_client **out, arena *a, str token)
{
    str address;
    TRY(client_find(a, &address, &token));
    if (str_starts(address, STR("http://")))
        address = str_from(address, 7);
    size_t colon = str_find_byte(address, ':');
    uint64_t port;
    if (colon == address.len || str_number(str_from(address, colon + 1), &port).code != OK ||
        port == 0 || port > 65535)
        return fail(ERR_SYNTAX, 0, "DREAM_API is HOST:PORT, for instance 127.0.0.1:1421");
    dream_client *c = arena_take(a, sizeof(*c));
    if (c == NULL)
        return fail(ERR_MEMORY, 0, "open client");
    *c = (dream_client){.address = address, .port = (uint16_t)port};
    str host = str_first(address, colon);
    c->host = str_c(a, str_is(host, STR("localhost")) ? STR("127.0.0.1") : host);
    c->authorization = str_format(a, "Bearer %.*s", STR_ARG(token));
    TRY(loop_open(&c->loop));
    err e = http_client_open(&c->http, c->loop, 2);
    if (e.code != OK) {
        loop_close(c->loop);
        return e;
    }
    *out = c;
    return ok();
}

void dream_client_close(dream_client *c)
{
    if (c == NULL)
        return;
    http_client_close(c->http);
    loop_close(c->loop);
}

str dream_client_address(const dream_client *c)
{
    return c->address;
}

struct client_wait {
    dream_client *client;
    arena *memory;
    err error;
    unsigned status;
    str body;
};

static void
client_on_done(void *data, http_call *call, err e, const http_answer_head *head, str body)
{
    (void)call;
    struct client_wait *w = data;
    w->error = e;
    if (e.code == OK) {
        w->status = head->status;
        w->body = str_copy(w->memory, body);
        if (w->body.at == NULL)
            w->error = fail(ERR_MEMORY, 0, "keep answer");
    }
    loop_stop(w->client->loop);
}

err dream_client_request(
    dream_client *c, arena *a, str method, str path, str body, unsigned *status, str *body_out)
{
    struct client_wait w = {.client = c, .memory = a};
    http_header headers[] = {{STR("Authorization"), c->authorization},
                             {STR("Content-Type"), STR("application/json")}};
    http_client_request request = {
        .address = c->host,
        .port = c->port,
        .method = method,
        .target = path,
        .host = c->address,
        .headers = {headers, body.len > 0 ? 2 : 1},
        .body = body,
        .deadline_ms = CLIENT_DEADLINE_MS,
        .body_bytes_max = CLIENT_BODY_BYTES,
        .on_done = client_on_done,
        .data = &w,
    };
    http_call *call;
    TRY(http_client_send(c->http, &request, &call));
    loop_run(c->loop);
    TRY(w.error);
    *status = w.status;
    *body_out = w.body;
    return ok();
}

// The API's error as ours: {"error":{"code":"absent","message":…}}.
static err client_error(arena *a, unsigned status, str body)
{
    const json *value = NULL;
    const json *error =
        json_read(a, body, &value, NULL).code == OK ? json_field(value, "error") : NULL;
    str name = json_text(error, "code"), message = json_text(error, "message");
    err_code code = status == 401 || status == 403 ? ERR_DENIED
                    : status == 404                ? ERR_ABSENT
                    : status == 409                ? ERR_CONFLICT
                                                   : ERR_SYSTEM;
    for (err_code each = ERR_MEMORY; each <= ERR_UNSUPPORTED; each++)
        if (str_is(name, str_of(err_name(each))))
            code = each;
    const char *what = str_c(a, message.len > 0 ? message : str_trim(body));
    return fail(code, (int)status, what == NULL ? "the API refused" : what);
}

err dream_client_json(
    dream_client *c, arena *a, str method, str path, str body, const json **out, str *text)
{
    unsigned status = 0;
    str answer = {0};
    TRY(dream_client_request(c, a, method, path, body, &status, &answer));
    if (status > 299)
        return client_error(a, status, answer);
    TRY(json_read(a, answer, out, NULL));
    if (text != NULL)
        *text = answer;
    return ok();
}

err dream_client_ask(
    dream_client *c, arena *a, str universe, message_kind kind, const void *request, void *reply)
{
    const message_info *info = &message_infos[kind];
    if (universe.len == 0) {
        const json *status = NULL;
        TRY(dream_client_json(c, a, STR("GET"), STR("/v1/status"), STR(""), &status, NULL));
        const json *universes = json_field(status, "universes");
        if (universes == NULL || universes->first == NULL)
            return fail(ERR_ABSENT, 0, "no universe is running");
        universe = json_text(universes->first, "universe");
    }
    OWNED(buf_close) buf body;
    buf_open(&body, (size_t)2 * MESSAGE_BYTES_MAX);
    json_writer w = {.out = &body};
    message_json_write(&w, NULL, info->request, request);
    TRY(body.error);
    const json *value = NULL;
    str path = str_format(a, "/v1/universes/%.*s/ask/%s", STR_ARG(universe), info->subject);
    TRY(dream_client_json(c, a, STR("POST"), path, buf_str(&body), &value, NULL));
    return message_json_read(a, value, info->reply, reply);
}
