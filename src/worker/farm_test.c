// A farm of worker processes for tests: this binary starts itself as `worker`.
#include "worker/farm_test.h"

#include "base/clock.h"
#include "base/str.h"
#include "io/sandbox.h"
#include "vm/vm.h"
#include "worker/guest_test.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { FARM_WAIT_MS = 20 * 1000 };

int test_command(const char *name)
{
    return str_is(str_of(name), STR("worker")) ? worker_main() : -1;
}

int guest_module(void)
{
    vm *v;
    OWNED(arena_drop) arena *a = NULL;
    OWNED(buf_close) buf code;
    buf_open(&code, 16 << 20);
    str problem;
    CHECK(arena_open(&a, 16 << 20).code == OK);
    CHECK(vm_open(&v, &(vm_settings){.calls_max = 4}).code == OK);
    err e = vm_compile(v, a, (str){(const char *)guest_wasm, sizeof(guest_wasm)}, &code, &problem);
    if (e.code != OK)
        print_error("%.*s\n", STR_ARG(problem));
    CHECK(e.code == OK);
    vm_close(v);
    int fd = -1;
    CHECK(memory_file("guest", buf_str(&code), &fd).code == OK);
    return fd;
}

static void farm_on_want(void *data, uint64_t ticket, str hash)
{
    farm *f = data;
    f->wants++;
    if (f->module_withheld)
        return;
    bool absent = str_starts(hash, STR("absent"));
    workers_module(f->workers, ticket, absent ? -1 : f->module_fd,
                   absent ? fail(ERR_ABSENT, 0, "no such blob") : ok());
}

static void farm_on_output(void *data, const worker_output *line)
{
    farm *f = data;
    buf_add_format(&f->lines, "%.*s|%.*s|%.*s\n", STR_ARG(line->function), STR_ARG(line->stream),
                   STR_ARG(line->text));
}

static void farm_on_counts(void *data, const worker_counts *counts)
{
    farm *f = data;
    for (size_t i = 0; i < counts->functions.count; i++) {
        f->calls += counts->functions.at[i].calls;
        f->failures += counts->functions.at[i].failures;
    }
}

static void farm_on_lost(void *data, size_t slot, str function, str request, str why)
{
    farm *f = data;
    (void)slot;
    (void)why;
    f->losts++;
    (void)snprintf(f->lost_function, sizeof(f->lost_function), "%.*s", STR_ARG(function));
    (void)snprintf(f->lost_path, sizeof(f->lost_path), "%.*s", STR_ARG(request));
}

void farm_open(farm *f, size_t slots)
{
    farm_open_with(f, slots, STR(""));
}

void farm_open_with(farm *f, size_t slots, str ca_pem)
{
    static char program[4096];
    *f = (farm){.module_fd = guest_module()};
    ssize_t len = readlink("/proc/self/exe", program, sizeof(program) - 1);
    CHECK(len > 0);
    program[len] = '\0';
    buf_open(&f->lines, 4 << 20);
    CHECK(loop_open(&f->loop).code == OK);
    CHECK(log_open(&f->log, 2, false, LOG_WARN).code == OK);
    workers_settings settings = {.loop = f->loop,
                                 .log = f->log,
                                 .program = program,
                                 .universe = STR("black"),
                                 .ca_pem = ca_pem,
                                 .slots = slots,
                                 .module_idle_ms = 1000};
    CHECK(workers_open(&f->workers, &settings).code == OK);
    CHECK(workers_listen(f->workers, WORKER_SUBSTRATE_HTTP, "127.0.0.1", 0).code == OK);
    workers_events events = {farm_on_want, farm_on_output, farm_on_counts, farm_on_lost, f};
    workers_on(f->workers, &events);
    CHECK(http_client_open(&f->client, f->loop, 8).code == OK);
}

void farm_start(farm *f)
{
    uint64_t end = clock_now_ms() + FARM_WAIT_MS;
    CHECK(workers_start(f->workers).code == OK);
    while (workers_serving(f->workers) == 0) {
        CHECK(clock_now_ms() < end);
        loop_turn(f->loop, 20);
    }
}

static void farm_on_closed(void *data)
{
    ((farm *)data)->closed = true;
}

void farm_close(farm *f)
{
    http_client_close(f->client);
    workers_close(f->workers, farm_on_closed, f);
    uint64_t end = clock_now_ms() + FARM_WAIT_MS;
    while (!f->closed) {
        CHECK(clock_now_ms() < end);
        loop_turn(f->loop, 20);
    }
    loop_close(f->loop);
    log_close(f->log);
    buf_close(&f->lines);
    (void)close(f->module_fd);
}

void farm_publish(farm *f, const route_function *settings)
{
    static const char *const exports[] = {"pong", "trap",   "spin",   "eat",  "flood", "teapot",
                                          "nap",  "stream", "broken", "echo", "path",  "missing"};
    route_function functions[COUNT(exports)];
    route routes[2 * COUNT(exports)];
    char paths[COUNT(exports)][32];
    for (size_t i = 0; i < COUNT(exports); i++) {
        str name = str_of(exports[i]);
        functions[i] = *settings;
        functions[i].id = functions[i].name = functions[i].call = name;
        functions[i].project = STR("project");
        if (functions[i].module.len == 0)
            functions[i].module = STR("0123");
        (void)snprintf(paths[i], sizeof(paths[i]), "/%s", exports[i]);
        routes[2 * i] = (route){STR("hello.black.localtau"), STR("GET"), str_of(paths[i]), i};
        routes[2 * i + 1] = (route){STR("hello.black.localtau"), STR("POST"), str_of(paths[i]), i};
    }
    route_table table = {functions, COUNT(exports), routes, COUNT(routes)};
    workers_publish_routes(f->workers, &table);
}

static void reply_on_head(void *data, http_call *c, const http_answer_head *head)
{
    (void)c;
    reply *r = data;
    size_t at = 0;
    r->status = head->status;
    for (size_t i = 0; i < head->headers.count && at < sizeof(r->head) - 1; i++) {
        const http_header *h = &head->headers.at[i];
        at += (size_t)snprintf(r->head + at, sizeof(r->head) - at, "%.*s: %.*s\n", STR_ARG(h->name),
                               STR_ARG(h->value));
    }
}

static void reply_on_piece(void *data, http_call *c, str piece)
{
    (void)c;
    reply *r = data;
    size_t len =
        piece.len < sizeof(r->body) - 1 - r->len ? piece.len : sizeof(r->body) - 1 - r->len;
    memcpy(r->body + r->len, piece.at, len);
    r->len += len;
    r->body[r->len] = '\0';
    r->pieces++;
}

static void reply_on_done(void *data, http_call *c, err e, const http_answer_head *head, str body)
{
    (void)c;
    (void)head;
    (void)body;
    reply *r = data;
    r->error = e;
    r->done = true;
}

void farm_send(farm *f, reply *r, const http_client_request *request)
{
    http_client_request q = *request;
    http_call *c;
    *r = (reply){.status = 0};
    if (q.address == NULL)
        q.address = "127.0.0.1";
    if (q.port == 0)
        q.port = workers_port(f->workers, WORKER_SUBSTRATE_HTTP);
    if (q.host.len == 0)
        q.host = STR("hello.black.localtau");
    if (q.method.len == 0)
        q.method = STR("GET");
    q.on_head = reply_on_head;
    q.on_piece = reply_on_piece;
    q.on_done = reply_on_done;
    q.data = r;
    err e = http_client_send(f->client, &q, &c);
    if (e.code != OK)
        print_error("%s\n", e.what);
    CHECK(e.code == OK);
}

void farm_wait(farm *f, reply *r)
{
    uint64_t end = clock_now_ms() + FARM_WAIT_MS;
    while (!r->done) {
        CHECK(clock_now_ms() < end);
        loop_turn(f->loop, 20);
    }
}

void farm_get(farm *f, reply *r, const char *path)
{
    farm_send(f, r, &(http_client_request){.target = str_of(path)});
    farm_wait(f, r);
}
