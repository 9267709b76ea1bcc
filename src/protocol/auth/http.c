// auth's public door: who am I, my projects, my repositories; every route but /ping wants a token.
#include "base/str.h"
#include "protocol/auth/auth_inner.h"
#include "protocol/door.h"

static void auth_http_entered(void *state, http_exchange *x, str account)
{
    struct auth *a = state;
    const http_request *r = http_request_of(x);
    mesh *m = a->context.mesh;
    if (!str_is(r->method, STR("GET")))
        http_answer_err(
            x, fail(ERR_UNSUPPORTED, 0, "this door only reads; changes go through the mesh"));
    else if (str_is(r->path, STR("/me")))
        door_answer(x, "account", account, NULL);
    else if (str_is(r->path, STR("/projects")))
        door_ask(m, x, MSG_auth_project_list, &(auth_project_list_request){.owner = account});
    else if (str_is(r->path, STR("/repositories")))
        door_ask(m, x, MSG_auth_repository_list, &(auth_repository_list_request){.owner = account});
    else
        http_answer_err(x, fail(ERR_ABSENT, 0, "routes: /ping /me /projects /repositories"));
}

void auth_http(void *state, http_exchange *x)
{
    struct auth *a = state;
    if (str_is(http_request_of(x)->path, STR("/ping")))
        http_answer_text(x, 200, "text/plain", STR("pong"));
    else
        door_enter(a->context.mesh, x, auth_http_entered, a);
}
