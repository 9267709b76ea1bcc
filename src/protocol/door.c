// What the public HTTP doors of protocols share: tokens checked by auth, asks answered as JSON.
#include "protocol/door.h"

#include "base/hash.h"
#include "base/json.h"
#include "base/str.h"

#include <stdarg.h>
#include <stdlib.h>

enum { DOOR_ASK_MS = 10 * 1000, DOOR_ANSWER_BYTES_MAX = 2 * MESSAGE_BYTES_MAX };

// One ask on behalf of an exchange, which may break before the reply comes.
struct door_wait {
    http_exchange *x;
    bool broken;
    const message_shape *reply;
    door_entered *then;
    void *state;
};

static void door_on_broken(void *user, http_exchange *x)
{
    (void)x;
    ((struct door_wait *)user)->broken = true;
}

static struct door_wait *door_wait_open(http_exchange *x)
{
    struct door_wait *w = calloc(1, sizeof(*w));
    if (w == NULL) {
        http_answer_err(x, fail(ERR_MEMORY, 0, "ask"));
        return NULL;
    }
    w->x = x;
    http_set_user(x, w);
    http_on_broken(x, door_on_broken);
    return w;
}

static void door_on_reply(void *data, err e, const void *fields)
{
    struct door_wait *w = data;
    if (!w->broken && e.code != OK) {
        http_answer_err(w->x, e);
    } else if (!w->broken) {
        OWNED(buf_close) buf out;
        buf_open(&out, DOOR_ANSWER_BYTES_MAX);
        json_writer writer = {.out = &out};
        message_json_write(&writer, NULL, w->reply, fields);
        http_answer_json(w->x, 200, buf_str(&out));
    }
    free(w);
}

void door_ask(mesh *m, http_exchange *x, message_kind kind, const void *fields)
{
    struct door_wait *w = door_wait_open(x);
    if (w == NULL)
        return;
    w->reply = message_infos[kind].reply;
    message_header header = {.request_id = http_request_id(x)};
    mesh_ask(m, STR(""), kind, &header, fields, DOOR_ASK_MS, door_on_reply, w);
}

str door_token(arena *a, const http_request *r)
{
    str rest = http_header_find(&r->headers, STR("authorization"));
    if (rest.len == 0)
        return (str){NULL, 0};
    str scheme = str_cut(&rest, ' ');
    rest = str_trim(rest);
    if (!str_is_nocase(scheme, STR("basic")))
        return rest;
    str pair;
    if (base64_read(a, rest, &pair).code != OK)
        return (str){NULL, 0};
    (void)str_cut(&pair, ':');
    return pair;
}

static void door_on_token(void *data, err e, const void *fields)
{
    struct door_wait *w = data;
    struct door_wait was = *w;
    free(w);
    if (was.broken)
        return;
    http_set_user(was.x, NULL);
    http_on_broken(was.x, NULL);
    if (e.code == ERR_DENIED) {
        http_answer_text(was.x, 401, "text/plain",
                         STR("this token is not known here; get one with: tau login\n"));
    } else if (e.code != OK) {
        http_answer_err(was.x, e);
    } else {
        const auth_token_check_reply *reply = fields;
        was.then(was.state, was.x, str_copy(http_arena(was.x), reply->account));
    }
}

void door_enter(mesh *m, http_exchange *x, door_entered *then, void *state)
{
    str token = door_token(http_arena(x), http_request_of(x));
    if (token.len == 0) {
        http_answer_text(x, 401, "text/plain",
                         STR("a token is needed: Authorization: Bearer TOKEN (tau login)\n"));
        return;
    }
    struct door_wait *w = door_wait_open(x);
    if (w == NULL)
        return;
    w->then = then;
    w->state = state;
    message_header header = {.request_id = http_request_id(x)};
    auth_token_check_request request = {.token = token};
    mesh_ask(m, STR(""), MSG_auth_token_check, &header, &request, DOOR_ASK_MS, door_on_token, w);
}

void door_answer(http_exchange *x, ...)
{
    OWNED(buf_close) buf out;
    buf_open(&out, DOOR_ANSWER_BYTES_MAX);
    json_writer w = {.out = &out};
    json_open_object(&w, NULL);
    va_list pairs;
    va_start(pairs, x);
    for (const char *name; (name = va_arg(pairs, const char *)) != NULL;)
        json_put_text(&w, name, va_arg(pairs, str));
    va_end(pairs);
    json_close_object(&w);
    http_answer_json(x, 200, buf_str(&out));
}
