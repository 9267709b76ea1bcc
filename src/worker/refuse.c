// What a client gets when its call failed: a short JSON body with the request's id, which logs
// carry too.
#include "base/json.h"
#include "base/str.h"
#include "worker/worker_inner.h"

void refuse(http_exchange *x, const refusal *r)
{
    str id = http_request_id(x);
    OWNED(buf_close) buf text;
    buf_open(&text, 4096);
    json_writer w = {.out = &text};
    json_open_object(&w, NULL);
    json_open_object(&w, "error");
    json_put_text(&w, "code", str_of(r->code));
    json_put_text(&w, "message", str_of(r->message));
    json_put_text(&w, "request", id);
    json_close_object(&w);
    json_close_object(&w);
    http_header h[4] = {{STR("Content-Type"), STR("application/json")}, {STR("X-Request-Id"), id}};
    http_headers headers = {h, 2};
    if (r->status == 503)
        h[headers.count++] = (http_header){STR("Retry-After"), STR("1")};
    if (r->allow.len > 0)
        h[headers.count++] = (http_header){STR("Allow"), r->allow};
    http_answer(x, r->status, &headers, buf_str(&text));
}
