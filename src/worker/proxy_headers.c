// Headers of forwarded messages: what concerns one hop only stays behind (RFC 9110 7.6.1).
#include "base/str.h"
#include "worker/proxy_inner.h"

#include <errno.h>
#include <string.h>

static bool name_is(str name, const char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (str_is_nocase(name, str_of(list[i])))
            return true;
    return false;
}

static bool header_is_for_one_hop(str name)
{
    static const char *const hop[] = {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "expect",
    };
    return name_is(name, hop, COUNT(hop));
}

// What only we may say.
static bool header_is_ours(str name)
{
    static const char *const ours[] = {"x-ctau-forwarded", "x-forwarded-for", "x-forwarded-host",
                                       "x-forwarded-proto"};
    return name.len > 2 && (name.at[0] | 0x20) == 'x' && name_is(name, ours, COUNT(ours));
}

static bool connection_names(str list, str name)
{
    while (list.len > 0)
        if (str_is_nocase(str_trim(str_cut(&list, ',')), name))
            return true;
    return false;
}

err proxy_headers(arena *a, const http_headers *from, size_t more, http_headers *out)
{
    out->count = 0;
    out->at = a != NULL ? arena_take(a, (from->count + more + 1) * sizeof(*out->at)) : NULL;
    if (out->at == NULL)
        return fail(ERR_MEMORY, 0, "forward headers");
    str connection = http_header_find(from, STR("connection"));
    for (size_t i = 0; i < from->count; i++) {
        str name = from->at[i].name;
        if (header_is_for_one_hop(name) || (more > 0 && header_is_ours(name)) ||
            (connection.len > 0 && connection_names(connection, name)))
            continue;
        out->at[out->count++] = from->at[i];
    }
    return ok();
}

err proxy_add_forwarded(http_exchange *x, http_headers *headers)
{
    const http_request *r = http_request_of(x);
    str remote = str_of(http_remote(x)),
        before = http_header_find(&r->headers, STR("x-forwarded-for"));
    const char *colon = memrchr(remote.at, ':', remote.len);
    if (colon != NULL)
        remote.len = (size_t)(colon - remote.at);
    str all = before.len > 0
                  ? str_format(http_arena(x), "%.*s, %.*s", STR_ARG(before), STR_ARG(remote))
                  : str_copy(http_arena(x), remote);
    if (all.at == NULL)
        return fail(ERR_MEMORY, 0, "forward headers");
    headers->at[headers->count++] = (http_header){STR("X-Forwarded-For"), all};
    headers->at[headers->count++] = (http_header){STR("X-Forwarded-Host"), r->host_port};
    headers->at[headers->count++] = (http_header){STR("X-Forwarded-Proto"), STR("http")};
    headers->at[headers->count++] = (http_header){STR("x-ctau-forwarded"), STR("gateway")};
    return ok();
}

bool connect_was_refused(err e)
{
    int number = e.sys < 0 ? -e.sys : e.sys;
    return number == ECONNREFUSED || number == EHOSTUNREACH || number == ENETUNREACH;
}
