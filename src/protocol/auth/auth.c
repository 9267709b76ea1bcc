// auth: accounts, tokens, repositories, projects and domains of one universe.
#include "protocol/auth/auth_inner.h"

#include <stdlib.h>
#include <string.h>

static bool auth_is_alphanumeric(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool auth_owner_is_valid(str name)
{
    if (name.len == 0 || name.len > 39 || !auth_is_alphanumeric(name.at[0]))
        return false;
    for (size_t i = 1; i < name.len; i++)
        if (!auth_is_alphanumeric(name.at[i]) && name.at[i] != '-' && name.at[i] != '_')
            return false;
    return true;
}

bool auth_name_is_valid(str name)
{
    if (name.len == 0 || name.len > 100 || name.at[0] == '.' || name.at[0] == '-')
        return false;
    for (size_t i = 0; i < name.len; i++)
        if (!auth_is_alphanumeric(name.at[i]) && name.at[i] != '.' && name.at[i] != '-' &&
            name.at[i] != '_')
            return false;
    return true;
}

static err auth_open(void **state, const protocol_context *context)
{
    if (context->secrets_key == NULL)
        return fail(ERR_DENIED, 0, "auth was given no sealing key");
    struct auth *a = calloc(1, sizeof(*a));
    if (a == NULL)
        return fail(ERR_MEMORY, 0, "open auth");
    a->context = *context;
    memcpy(a->key, context->secrets_key, sizeof(a->key));
    err e = auth_account_serve(a);
    if (e.code == OK)
        e = auth_repository_serve(a);
    if (e.code == OK)
        e = auth_project_serve(a);
    if (e.code == OK)
        e = auth_source_serve(a);
    if (e.code != OK) {
        free(a);
        return e;
    }
    *state = a;
    return ok();
}

static void auth_close(void *state, void (*closed)(void *data), void *data)
{
    struct auth *a = state;
    auth_source_leave(a);
    explicit_bzero(a->key, sizeof(a->key));
    free(a);
    closed(data);
}

const protocol protocol_auth = {
    .name = "auth", .open = auth_open, .close = auth_close, .http = auth_http};
