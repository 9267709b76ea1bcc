// tau webhook: what a git host elsewhere needs to announce this project's pushes.
#include "base/json.h"
#include "base/str.h"
#include "cmd/tau_inner.h"

// The port of patrick's public door; 0 when the node does not run.
static uint64_t webhook_port(tau *t)
{
    const json *value;
    str path = str_format(t->memory, "/v1/universes/%.*s", STR_ARG(t->universe));
    if (dream_client_json(t->client, t->memory, STR("GET"), path, STR(""), &value, NULL).code != OK)
        return 0;
    const json *nodes = json_field(value, "nodes");
    for (const json *n = nodes != NULL ? nodes->first : NULL; n != NULL; n = n->next)
        if (str_is(json_text(n, "name"), STR("patrick")))
            return json_whole(json_field(n, "ports"), "http", 0);
    return 0;
}

static void webhook_say(tau *t, str repository, str url, str secret)
{
    if (!cli_json(t->c)) {
        cli_print(
            t->c,
            "URL     %.*s\nsecret  %.*s\nsends   push events as JSON, signed with HMAC-SHA-256\n",
            STR_ARG(url), STR_ARG(secret));
        return;
    }
    OWNED(buf_close) buf out;
    buf_open(&out, 16 * 1024);
    json_writer w = {.out = &out};
    json_open_object(&w, NULL);
    json_put_text(&w, "repository", repository);
    json_put_text(&w, "url", url);
    json_put_text(&w, "secret", secret);
    json_close_object(&w);
    cli_json_out(t->c, buf_str(&out));
}

int tau_webhook(cli *c)
{
    str which = cli_argument(c, 0);
    bool code_repository = which.len == 0 || str_is(which, STR("code"));
    if (!code_repository && !str_is(which, STR("config")))
        return cli_fail(c, EXIT_USAGE, STR("of which repository?"),
                        STR("tau webhook config, or tau webhook code"));
    OWNED(tau_close) tau t;
    int code = tau_open(c, &t, TAU_PROJECT | TAU_CLOUD);
    if (code != EXIT_OK)
        return code;
    auth_project_get_request find = {.id = t.id};
    auth_project_get_reply found;
    err e = tau_ask(&t, MSG_auth_project_get, &find, &found);
    if (e.code != OK)
        return tau_failed(&t, e);
    str id = code_repository ? found.projects.at[0].code : found.projects.at[0].configuration;
    auth_repository_hook_request ask = {.id = id};
    auth_repository_hook_reply hook;
    e = tau_ask(&t, MSG_auth_repository_hook, &ask, &hook);
    if (e.code != OK)
        return tau_failed(&t, e);
    uint64_t port = webhook_port(&t);
    if (port == 0)
        return cli_fail(c, EXIT_ABSENT, STR("patrick does not run"),
                        STR("dream node start patrick"));
    str url = str_format(t.memory, "http://127.0.0.1:%llu/github/%.*s", (unsigned long long)port,
                         STR_ARG(hook.hook));
    webhook_say(&t, id, url, hook.secret);
    return EXIT_OK;
}
