// Serves requests: host, path and method to a function, its call to an answer.
//
// The happy path is: 1. the snapshot names the function; 2. the body is read whole, when there is
// one; 3. the function's module is there, or comes; 4. the guest runs, mostly within
// vm_call_start(); 5. the whole answer leaves in one write. What can fail: no route (404, 405), a
// limit (503, 504, 507), the guest (500, or the connection breaks when a part of its answer has
// left), the client (its call is dropped).
#include "base/str.h"
#include "http/parse.h"
#include "http/url.h"
#include "mesh/identity.h"
#include "worker/worker_inner.h"

#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof(vm_header) == sizeof(http_header), "headers pass without a copy");
_Static_assert(offsetof(vm_header, value) == offsetof(http_header, value),
               "headers pass without a copy");

// A resumption on its way: of its own memory, since the call may be gone before it comes.
struct call_wake {
    call *c; // NULL: gone
    timer *timer;
};

static void call_step(call *c);

static void wake_run(call *c)
{
    c->wake = NULL;
    if (c->running != NULL)
        call_step(c);
}

static void wake_on_turn(void *data)
{
    struct call_wake *wake = data;
    call *c = wake->c;
    free(wake);
    if (c != NULL)
        wake_run(c);
}

static void wake_on_timer(void *data)
{
    struct call_wake *wake = data;
    call *c = wake->c;
    timer_close(wake->timer);
    free(wake);
    wake_run(c);
}

static void wake_cancel(call *c)
{
    struct call_wake *wake = c->wake;
    c->wake = NULL;
    if (wake == NULL)
        return;
    wake->c = NULL;
    if (wake->timer == NULL)
        return; // the loop still has it
    timer_close(wake->timer);
    free(wake);
}

// Nothing could resume the call: it ends as if the client had gone.
static void call_lose(call *c)
{
    c->lost = true;
}

static void wake_set(call *c, uint32_t ms)
{
    loop *l = c->function->worker->loop;
    struct call_wake *wake = calloc(1, sizeof(*wake));
    bool set = wake != NULL;
    if (set && ms == 0) {
        set = loop_defer(l, wake_on_turn, wake).code == OK;
    } else if (set) {
        set = timer_open(&wake->timer, l, wake_on_timer, wake).code == OK;
        if (set)
            timer_start(wake->timer, ms, 0);
    }
    if (!set) {
        free(wake);
        call_lose(c);
        return;
    }
    wake->c = c;
    c->wake = wake;
}

// One call more, unless the function has as many as it may.
static bool place_enter(call *c)
{
    function *f = c->function;
    if (f->place != NULL ? !place_take(f->place, f->worker->slot, f->concurrency)
                         : f->calls_now >= f->concurrency)
        return false;
    f->calls_now++;
    c->counted = true;
    return true;
}

static void place_leave(call *c)
{
    function *f = c->function;
    if (!c->counted)
        return;
    f->calls_now--;
    if (f->place != NULL)
        place_give(f->place, f->worker->slot);
}

static void function_release(function *f)
{
    f->holds--;
    f->used_ms = loop_now_ms(f->worker->loop);
}

static void call_on_broken(void *user, http_exchange *x)
{
    (void)x;
    call *c = user;
    wake_cancel(c);
    if (c->running != NULL)
        vm_call_cancel(c->running);
    c->running = NULL;
    if (c->waiting)
        function_unqueue(c->function, c);
    place_leave(c);
    function_release(c->function);
}

// Whoever answers is done with the call: the exchange and its arena go with it.
static function *call_leave(call *c)
{
    function *f = c->function;
    wake_cancel(c);
    http_on_broken(c->x, NULL);
    place_leave(c);
    function_release(f);
    return f;
}

static void call_refuse(call *c, const refusal *r)
{
    http_exchange *x = c->x;
    (void)call_leave(c);
    refuse(x, r);
}

// ---- what the guest does

static void call_on_head(vm_call *v, uint16_t status, const vm_header *headers, size_t count)
{
    call *c = vm_call_user(v);
    http_headers list = {(http_header *)(void *)headers, count};
    c->started = true;
    http_start(c->x, status, &list, UINT64_MAX);
}

static void call_on_body(vm_call *v, str bytes)
{
    call *c = vm_call_user(v);
    if (!c->lost && http_send(c->x, bytes).code == ERR_LIMIT)
        call_lose(c);
}

static void call_on_output(vm_call *v, int stream, str line)
{
    call *c = vm_call_user(v);
    tell_output(c->function->worker, c->function, http_request_id(c->x),
                stream == 1 ? STR("stdout") : STR("stderr"), line);
}

static void call_on_wait(vm_call *v, uint32_t ms)
{
    call *c = vm_call_user(v);
    c->running = v;
    wake_set(c, ms);
}

static void call_on_again(vm_call *v)
{
    call *c = vm_call_user(v);
    c->running = v;
    wake_set(c, 0);
}

static const refusal refusals[] = {
    [VM_TRAP] = {500, "trap", "the function failed", {0}},
    [VM_TIMEOUT] = {504, "timeout", "the function ran past its time limit", {0}},
    [VM_MEMORY] = {507, "memory", "the function needs more memory than it may have", {0}},
    [VM_RESPONSE] = {500, "response", "the function's answer is larger than it may be", {0}},
    [VM_EXPORT] = {500, "export", "the function's code does not export its call", {0}},
    [VM_REFUSED] = {503, "busy", "too many calls at once", {0}},
};

static void call_tell_failure(call *c, const vm_outcome *o)
{
    worker *w = c->function->worker;
    str id = http_request_id(c->x), lines = o->backtrace;
    arena *a = http_arena(c->x);
    str text = str_format(a, "%s: %.*s", vm_outcome_name(o->kind), STR_ARG(o->message));
    tell_output(w, c->function, id, STR("error"), text.at != NULL ? text : o->message);
    while (lines.len > 0)
        tell_output(w, c->function, id, STR("error"), str_cut(&lines, '\n'));
}

static void call_on_done(vm_call *v, const vm_outcome *o)
{
    call *c = vm_call_user(v);
    http_exchange *x = c->x;
    bool lost = c->lost;
    c->running = NULL;
    if (c->function->worker->current == c)
        c->function->worker->current = NULL;
    c->function->calls++;
    c->function->time_us += o->run_us;
    if (o->kind != VM_OK) {
        c->function->failures++;
        call_tell_failure(c, o);
    }
    (void)call_leave(c);
    if (lost || (o->kind != VM_OK && o->committed)) {
        http_break(x);
    } else if (o->kind != VM_OK) {
        refuse(x, &refusals[(size_t)o->kind < COUNT(refusals) ? o->kind : VM_TRAP]);
    } else if (o->whole == NULL) {
        http_finish(x);
    } else {
        http_headers headers = {(http_header *)(void *)o->whole->headers, o->whole->headers_count};
        http_answer(x, o->whole->status, &headers, o->whole->body);
    }
}

static const vm_call_owner call_owner = {
    .on_head = call_on_head,
    .on_body = call_on_body,
    .on_done = call_on_done,
    .on_output = call_on_output,
    .on_wait = call_on_wait,
    .on_again = call_on_again,
};

// ---- slices: the page says what runs, in case nothing else can any more

static void page_enter(call *c)
{
    worker_page *p = c->function->worker->page;
    c->function->worker->current = c;
    str id = str_first(c->function->id, sizeof(p->function) - 1);
    str path = str_first(c->path, sizeof(p->request) - 1);
    memcpy(p->function, id.at, id.len);
    p->function[id.len] = '\0';
    memcpy(p->request, path.at, path.len);
    p->request[path.len] = '\0';
    atomic_store_explicit(&p->running, 1, memory_order_release);
}

// The call may be gone by now; one that can not go on any more ends here.
static void page_leave(worker *w, call *c)
{
    atomic_store_explicit(&w->page->running, 0, memory_order_release);
    bool alive = w->current == c;
    w->current = NULL;
    if (!alive || !c->lost || c->running == NULL)
        return;
    http_exchange *x = c->x;
    vm_call_cancel(c->running);
    (void)call_leave(c);
    http_break(x);
}

static void call_on_drain(void *user, http_exchange *x)
{
    call *c = user;
    (void)x;
    if (!c->held)
        return;
    c->held = false;
    call_step(c);
}

static void call_step(call *c)
{
    if (c->started && http_send_full(c->x)) {
        c->held = true;
        http_on_drain(c->x, call_on_drain);
        return;
    }
    worker *w = c->function->worker;
    vm_call *v = c->running;
    c->running = NULL;
    page_enter(c);
    vm_call_resume(v);
    page_leave(w, c);
}

// Percent-decoded, one normal form; most paths are in it already.
static err path_normal(arena *a, str path, str *out)
{
    bool plain = path.len > 0 && path.at[0] == '/';
    for (size_t i = 0; plain && i < path.len; i++) {
        char ch = path.at[i];
        plain =
            ch != '%' && ch != '\\' &&
            !(ch == '/' && i + 1 < path.len && (path.at[i + 1] == '/' || path.at[i + 1] == '.'));
    }
    if (!plain)
        return http_path_clean(a, path, out);
    *out = path;
    return ok();
}

// On a peers' door the client is who the gateway saw: the last that X-Forwarded-For names.
str serve_remote(http_exchange *x)
{
    if (http_peer(x) != NULL) {
        str all = http_header_find(&http_request_of(x)->headers, STR("x-forwarded-for"));
        while (str_find_byte(all, ',') < all.len)
            (void)str_cut(&all, ',');
        return str_trim(all);
    }
    str remote = str_of(http_remote(x));
    const char *colon = memrchr(remote.at, ':', remote.len);
    return colon != NULL ? str_first(remote, (size_t)(colon - remote.at)) : remote;
}

static void call_run(call *c)
{
    worker *w = c->function->worker;
    const http_request *r = http_request_of(c->x);
    vm_event event = {
        .kind = VM_EVENT_HTTP,
        .method = r->method,
        .host = r->host_port,
        .path = c->path,
        .query = r->query,
        .remote = serve_remote(c->x),
        .body = c->body,
        .headers = (const vm_header *)(const void *)r->headers.at,
        .headers_count = r->headers.count,
    };
    page_enter(c);
    err e = vm_call_start(c->function->module, &event, &call_owner, c);
    if (e.code != OK)
        c->lost = false;
    page_leave(w, c);
    if (e.code == OK)
        return;
    c->function->failures++;
    call_refuse(c, &refusals[VM_REFUSED]);
}

void call_module_ready(call *c)
{
    call_run(c);
}

void call_module_failed(call *c, err e)
{
    c->function->calls++;
    c->function->failures++;
    bool busy = e.code == ERR_BUSY || e.code == ERR_TIMEOUT || e.code == ERR_CLOSED;
    static const refusal broken = {500, "module", "the function's code can not be loaded", {0}};
    call_refuse(c, busy ? &refusals[VM_REFUSED] : &broken);
}

static void call_begin(call *c)
{
    function *f = c->function;
    static const refusal crowded = {
        503, "concurrency", "the function has as many calls as it may have at once", {0}};
    if (!place_enter(c)) {
        f->calls++;
        f->failures++;
        call_refuse(c, &crowded);
        return;
    }
    f->used_ms = loop_now_ms(f->worker->loop);
    if (f->state == FUNCTION_LOADED)
        call_run(c);
    else
        function_want(f, c);
}

static void call_on_request_body(void *user, http_exchange *x, str body)
{
    (void)x;
    call *c = user;
    c->body = body;
    call_begin(c);
}

static void call_open(worker *w, http_exchange *x, uint32_t index, str path)
{
    static const refusal memory = {503, "busy", "out of memory", {0}};
    function *f = function_find(w, index);
    arena *a = http_arena(x);
    call *c = f != NULL && a != NULL ? arena_take(a, sizeof(*c)) : NULL;
    if (c == NULL) {
        refuse(x, &memory);
        return;
    }
    c->function = f;
    c->x = x;
    c->path = path;
    f->holds++;
    http_set_user(x, c);
    http_on_broken(x, call_on_broken);
    if (http_request_of(x)->has_body)
        http_collect(x, CALL_BODY_BYTES_MAX, call_on_request_body);
    else
        call_begin(c);
}

// NAME.UNIVERSE.localhost is NAME.UNIVERSE.localtau: browsers resolve the former by themselves.
const snapshot_host *serve_find_host(worker *w, const http_request *r)
{
    char room[HTTP_HOST_MAX + 1];
    str host = r->host;
    if (host.len >= sizeof(room) || w->snapshot == NULL)
        return NULL;
    if (str_ends(host, STR(".localhost"))) {
        str ours = STR("localtau");
        memcpy(room, host.at, host.len);
        memcpy(room + host.len - ours.len - 1, ours.at, ours.len);
        host = (str){room, host.len - 1};
    }
    return snapshot_find_host(w->snapshot, host);
}

static void serve_other_method(worker *w, http_exchange *x, const snapshot_path *path)
{
    OWNED(buf_close) buf allow;
    buf_open(&allow, 1024);
    const snapshot_method *m = &snapshot_methods(w->snapshot)[path->methods_first];
    for (uint32_t i = 0; i < path->methods_count; i++) {
        str method = snapshot_str(w->snapshot, m[i].method);
        buf_add(&allow, i > 0 ? STR(", ") : STR(""));
        buf_add(&allow, method);
        if (str_is(method, STR("GET")))
            buf_add(&allow, STR(", HEAD"));
    }
    refuse(x, &(refusal){405, "method", "no function answers this method here", buf_str(&allow)});
}

void serve_request(worker *w, http_exchange *x)
{
    static const refusal syntax = {400, "path", "the path is not well formed", {0}};
    const http_request *r = http_request_of(x);
    const snapshot_host *host = serve_find_host(w, r);
    str clean;
    if (host == NULL || host->paths_count == 0) {
        serve_unknown(w, x, NULL);
        return;
    }
    if (path_normal(http_arena(x), r->path, &clean).code != OK) {
        refuse(x, &syntax);
        return;
    }
    const snapshot_path *path = snapshot_find_path(w->snapshot, host, clean);
    if (path == NULL) {
        serve_unknown(w, x, host);
        return;
    }
    const snapshot_method *method = snapshot_find_method(w->snapshot, path, r->method);
    if (method == NULL && str_is(r->method, STR("HEAD")))
        method = snapshot_find_method(w->snapshot, path, STR("GET"));
    if (method == NULL)
        serve_other_method(w, x, path);
    else
        call_open(w, x, method->function, clean);
}
