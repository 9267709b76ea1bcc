// The client's requests as bytes: nothing is written that a server could read as two requests.
#include "base/str.h"
#include "http/client_inner.h"

static bool target_is_fine(str t)
{
    for (size_t i = 0; i < t.len; i++)
        if (t.at[i] <= 0x20 ||
            t.at[i] == 0x7f) // char may be signed: bytes past 0x7f are refused too
            return false;
    return t.len > 0 && (t.at[0] == '/' || str_is(t, STR("*")));
}

static bool header_is_ours(str name)
{
    return str_is_nocase(name, STR("content-length")) || str_is_nocase(name, STR("host")) ||
           str_is_nocase(name, STR("transfer-encoding")) ||
           str_is_nocase(name, STR("connection")) || str_is_nocase(name, STR("keep-alive"));
}

static bool method_has_body(str method)
{
    return str_is(method, STR("POST")) || str_is(method, STR("PUT")) ||
           str_is(method, STR("PATCH"));
}

err client_request_write(buf *out, const http_client_request *r)
{
    if (!http_is_token(r->method) || !target_is_fine(r->target) || r->host.len == 0 ||
        !http_is_value(r->host) || str_find_byte(r->host, ' ') < r->host.len)
        return fail(ERR_SYNTAX, 0, "request line");
    buf_add(out, r->method);
    buf_add_byte(out, ' ');
    buf_add(out, r->target);
    buf_add(out, STR(" HTTP/1.1\r\nHost: "));
    buf_add(out, r->host);
    buf_add(out, STR("\r\n"));
    for (size_t i = 0; i < r->headers.count; i++) {
        const http_header *h = &r->headers.at[i];
        if (!http_is_token(h->name) || !http_is_value(h->value))
            return fail(ERR_SYNTAX, 0, "request header");
        if (header_is_ours(h->name))
            continue;
        buf_add(out, h->name);
        buf_add(out, STR(": "));
        buf_add(out, h->value);
        buf_add(out, STR("\r\n"));
    }
    if (r->streamed)
        buf_add(out, STR("Transfer-Encoding: chunked\r\n"));
    else if (r->body.len > 0 || method_has_body(r->method))
        buf_add_format(out, "Content-Length: %zu\r\n", r->body.len);
    buf_add(out, STR("\r\n"));
    if (!r->streamed)
        buf_add(out, r->body);
    return out->error;
}
