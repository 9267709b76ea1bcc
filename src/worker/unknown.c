// Answers requests that no function is there for: on localhost with what there is instead.
#include "base/str.h"
#include "worker/worker_inner.h"

enum { UNKNOWN_LINES_MAX = 100, UNKNOWN_BYTES_MAX = 32 * 1024 };

// Whoever asks from this machine for a name of this machine may know what there is.
static bool asker_is_local(http_exchange *x)
{
    str host = http_request_of(x)->host, remote = serve_remote(x);
    if (!str_starts(remote, STR("127.")) && !str_is(remote, STR("::1")) &&
        !str_is(remote, STR("[::1]")))
        return false;
    return str_is(host, STR("localhost")) || str_ends(host, STR(".localhost")) ||
           str_is(host, STR("127.0.0.1")) || str_is(host, STR("::1")) || str_is(host, STR("[::1]"));
}

// As a browser on this machine reaches it.
static void line_add(buf *out, snapshot *s, const snapshot_path *p, str method, str port)
{
    str host = snapshot_str(s, snapshot_hosts(s)[p->host].name);
    buf_add(out, method);
    buf_add(out, STR(" http://"));
    if (str_ends(host, STR(".localtau"))) {
        buf_add(out, str_first(host, host.len - 8));
        buf_add(out, STR("localhost"));
        buf_add(out, port);
    } else {
        buf_add(out, host);
    }
    buf_add(out, snapshot_str(s, p->path));
    buf_add_byte(out, '\n');
}

static void lines_add(buf *out, snapshot *s, const snapshot_host *host, str port)
{
    uint32_t first = host != NULL ? host->paths_first : 0;
    uint32_t count = host != NULL ? host->paths_count : s->paths.count, lines = 0;
    for (uint32_t i = first; i < first + count; i++) {
        const snapshot_path *p = &snapshot_paths(s)[i];
        const snapshot_method *m = &snapshot_methods(s)[p->methods_first];
        for (uint32_t k = 0; k < p->methods_count; k++) {
            if (lines++ == UNKNOWN_LINES_MAX) {
                buf_add(out, STR("and more\n"));
                return;
            }
            line_add(out, s, p, snapshot_str(s, m[k].method), port);
        }
    }
    // A gateway without a substrate beside it knows the hosts alone.
    const snapshot_host *h = snapshot_hosts(s);
    for (uint32_t i = 0; count == 0 && i < s->hosts.count && lines < UNKNOWN_LINES_MAX; i++) {
        buf_add(out, STR("host "));
        buf_add(out, snapshot_str(s, h[i].name));
        buf_add_byte(out, '\n');
        lines++;
    }
    if (lines == 0)
        buf_add(out, STR("none yet: tau new function NAME, then tau push\n"));
}

void serve_unknown(worker *w, http_exchange *x, const snapshot_host *host)
{
    static const refusal no_host = {404, "host", "no function is served under this host", {0}};
    static const refusal no_path = {404, "path", "no function answers this path", {0}};
    const http_request *r = http_request_of(x);
    if (!asker_is_local(x) || w->snapshot == NULL) {
        refuse(x, host == NULL ? &no_host : &no_path);
        return;
    }
    str id = http_request_id(x);
    str port = str_from(r->host_port, r->host.len);
    OWNED(buf_close) buf text;
    buf_open(&text, UNKNOWN_BYTES_MAX);
    buf_add(&text, host == NULL ? STR("No function is served under the host ")
                                : STR("No function answers the path "));
    buf_add(&text, host == NULL ? r->host : r->path);
    buf_add(&text, STR(" here. These are:\n\n"));
    lines_add(&text, w->snapshot, host, port);
    buf_add(&text, STR("\nrequest "));
    buf_add(&text, id);
    buf_add_byte(&text, '\n');
    http_header h[] = {{STR("Content-Type"), STR("text/plain; charset=utf-8")},
                       {STR("X-Request-Id"), id}};
    http_answer(x, 404, &(http_headers){h, 2}, buf_str(&text));
}
