// patrick's public door: webhooks signed with HMAC-SHA-256 over the raw bytes, and jobs for their
// owner.
#include "base/hash.h"
#include "base/json.h"
#include "base/str.h"
#include "protocol/door.h"
#include "protocol/patrick/patrick_inner.h"

#include <stdlib.h>

enum { WEBHOOK_BYTES_MAX = 25 * 1024 * 1024, WEBHOOK_ASK_MS = 10 * 1000 };

// One delivery on its way: auth names the secret before any of the body is kept.
struct webhook {
    struct patrick *patrick;
    http_exchange *x;
    str repository, secret, body; // in the exchange's memory
    bool reading;                 // the body comes, and nobody else has hold of this
    bool broken;
};

static void webhook_on_broken(void *user, http_exchange *x)
{
    (void)x;
    struct webhook *w = user;
    if (w->reading)
        free(w);
    else
        w->broken = true;
}

static void webhook_end(struct webhook *w, unsigned status, str text)
{
    if (!w->broken)
        http_answer_text(w->x, status, "text/plain", text);
    free(w);
}

static void webhook_on_pushed(void *data, err e, const void *fields)
{
    struct webhook *w = data;
    const patrick_push_reply *reply = fields;
    if (e.code != OK)
        webhook_end(w, http_status_of(e.code), str_of(e.what));
    else if (reply->jobs.count == 0)
        webhook_end(w, 200, STR("nothing to build\n"));
    else
        webhook_end(w, 202, reply->jobs.at[0].id);
}

static bool webhook_is_signed(struct webhook *w)
{
    str given = http_header_find(&http_request_of(w->x)->headers, STR("x-hub-signature-256"));
    sha256 digest = hmac_sha256(w->secret, w->body);
    char hex[SHA256_HEX + 1];
    sha256_hex(digest, hex);
    return str_starts(given, STR("sha256=")) && secret_is(str_from(given, 7), str_of(hex));
}

static void webhook_refuse(struct webhook *w)
{
    webhook_end(w, 401,
                STR("the signature does not fit (X-Hub-Signature-256 over the raw body)\n"));
}

static void webhook_on_body(void *user, http_exchange *x, str body)
{
    struct webhook *w = user;
    w->reading = false;
    w->body = body;
    if (!webhook_is_signed(w)) {
        webhook_refuse(w);
        return;
    }
    str event = http_header_find(&http_request_of(x)->headers, STR("x-github-event"));
    if (str_is(event, STR("ping"))) {
        webhook_end(w, 200, STR("pong\n"));
        return;
    }
    str where = {0};
    const json *payload;
    arena *a = http_arena(x);
    if (json_read(a, w->body, &payload, &where).code != OK) {
        webhook_end(w, 400, str_join(a, (str[]){STR("not JSON: "), where, STR("\n")}, 3, STR("")));
        return;
    }
    const json *head = json_field(payload, "head_commit");
    const json *author = json_field(head, "author");
    patrick_push_request push = {
        .repository = w->repository,
        .ref = json_text(payload, "ref"),
        .before = json_text(payload, "before"),
        .after = json_text(payload, "after"),
        .subject = str_first(json_text(head, "message"), 200),
        .author = str_first(json_text(author, "name"), 200),
    };
    if (push.ref.len == 0 || push.after.len == 0) {
        webhook_end(w, 400, STR("a push event needs ref and after\n"));
        return;
    }
    mesh_ask(w->patrick->context.mesh, STR(""), MSG_patrick_push, NULL, &push, WEBHOOK_ASK_MS,
             webhook_on_pushed, w);
}

static void webhook_on_secret(void *data, err e, const void *fields)
{
    struct webhook *w = data;
    const auth_hook_secret_reply *reply = fields;
    if (w->broken) {
        free(w);
        return;
    }
    // An unknown hook and a wrong signature look alike from outside.
    if (e.code != OK) {
        webhook_refuse(w);
        return;
    }
    arena *a = http_arena(w->x);
    w->repository = str_copy(a, reply->repository);
    w->secret = str_copy(a, reply->secret);
    if (w->repository.at == NULL || w->secret.at == NULL) {
        webhook_end(w, 503, STR("out of memory\n"));
        return;
    }
    w->reading = true;
    http_collect(w->x, WEBHOOK_BYTES_MAX, webhook_on_body);
}

static void webhook_open(struct patrick *p, http_exchange *x)
{
    struct webhook *w = calloc(1, sizeof(*w));
    if (w == NULL) {
        http_answer_err(x, fail(ERR_MEMORY, 0, "webhook"));
        return;
    }
    *w = (struct webhook){.patrick = p, .x = x};
    http_set_user(x, w);
    http_on_broken(x, webhook_on_broken);
    auth_hook_secret_request ask = {
        .hook = str_copy(http_arena(x), str_from(http_request_of(x)->path, STR("/github/").len))};
    mesh_ask(p->context.mesh, STR(""), MSG_auth_hook_secret, NULL, &ask, WEBHOOK_ASK_MS,
             webhook_on_secret, w);
}

void patrick_http(void *state, http_exchange *x)
{
    struct patrick *p = state;
    const http_request *r = http_request_of(x);
    if (str_is(r->path, STR("/ping")))
        http_answer_text(x, 200, "text/plain", STR("pong"));
    else if (str_starts(r->path, STR("/github/")) && str_is(r->method, STR("POST")))
        webhook_open(p, x);
    else
        http_answer_err(x, fail(ERR_ABSENT, 0, "routes: /ping and POST /github/HOOK"));
}
