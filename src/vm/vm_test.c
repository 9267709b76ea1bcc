// Helpers of the tests, and what a module is before any call.
#include "base/clock.h"
#include "base/str.h"
#include "vm/test_inner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

vm *test_vm(bool fibers_only)
{
    vm *v = NULL;
    vm_settings settings = {.calls_max = 24, .fibers_only = fibers_only};
    CHECK(vm_open(&v, &settings).code == OK);
    return v;
}

str test_wasm(arena *a, const char *wat)
{
    wasm_byte_vec_t bytes;
    wasmtime_error_t *error = wasmtime_wat2wasm(wat, strlen(wat), &bytes);
    if (error != NULL) {
        wasm_name_t text;
        wasmtime_error_message(error, &text);
        print_error("%.*s\n", (int)text.size, text.data);
    }
    CHECK(error == NULL);
    str copy = str_copy(a, (str){bytes.data, bytes.size});
    wasm_byte_vec_delete(&bytes);
    return copy;
}

vm_module *test_module_with(vm *v, const char *wat, const vm_function *f)
{
    arena *a = NULL;
    CHECK(arena_open(&a, 64 << 20).code == OK);
    buf cwasm;
    buf_open(&cwasm, 64 << 20);
    str problem = {NULL, 0};
    err e = vm_compile(v, a, test_wasm(a, wat), &cwasm, &problem);
    if (e.code != OK)
        print_error("%.*s\n", STR_ARG(problem));
    CHECK(e.code == OK);
    int fd = memfd_create("module", MFD_CLOEXEC);
    CHECK(fd >= 0 && write(fd, cwasm.at, cwasm.len) == (ssize_t)cwasm.len);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    vm_module *m = NULL;
    e = vm_module_open(v, path, f, &m);
    if (e.code != OK)
        print_error("%s\n", e.what);
    CHECK(e.code == OK);
    close(fd);
    buf_close(&cwasm);
    arena_close(a);
    return m;
}

vm_module *test_module(vm *v, const char *wat, const char *call)
{
    vm_function f = {.name = STR("test"),
                     .id = STR("function-id"),
                     .project = STR("project-id"),
                     .branch = STR("main"),
                     .commit = STR("c0ffee"),
                     .call = str_of(call)};
    return test_module_with(v, wat, &f);
}

void seen_open(seen *s)
{
    memset(s, 0, sizeof *s);
    buf_open(&s->body, 64 << 20);
}

void seen_close(seen *s)
{
    buf_close(&s->body);
}

static void text_add(char *to, size_t room, str s)
{
    size_t used = strlen(to);
    snprintf(to + used, room - used, "%.*s", STR_ARG(s));
}

static void headers_note(seen *s, const vm_header *headers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        text_add(s->headers, sizeof s->headers, headers[i].name);
        text_add(s->headers, sizeof s->headers, STR(": "));
        text_add(s->headers, sizeof s->headers, headers[i].value);
        text_add(s->headers, sizeof s->headers, STR("\n"));
    }
}

static void on_head(vm_call *c, uint16_t status, const vm_header *headers, size_t count)
{
    seen *s = vm_call_user(c);
    s->heads++;
    s->status = status;
    headers_note(s, headers, count);
}

static void on_body(vm_call *c, str bytes)
{
    seen *s = vm_call_user(c);
    CHECK(s->heads == 1 && s->done == 0);
    buf_add(&s->body, bytes);
}

static void on_done(vm_call *c, const vm_outcome *o)
{
    seen *s = vm_call_user(c);
    s->done++;
    s->kind = o->kind;
    s->committed = o->committed;
    s->run_us = o->run_us;
    s->wall_us = o->wall_us;
    s->memory_bytes = o->memory_bytes;
    text_add(s->message, sizeof s->message, o->message);
    text_add(s->backtrace, sizeof s->backtrace, o->backtrace);
    s->whole = o->whole != NULL;
    if (o->whole != NULL) {
        s->status = o->whole->status;
        headers_note(s, o->whole->headers, o->whole->headers_count);
        buf_add(&s->body, o->whole->body);
    }
}

static void on_output(vm_call *c, int stream, str line)
{
    seen *s = vm_call_user(c);
    text_add(s->output, sizeof s->output, stream == 1 ? STR("1:") : STR("2:"));
    text_add(s->output, sizeof s->output, line);
    text_add(s->output, sizeof s->output, STR("\n"));
}

static void on_wait(vm_call *c, uint32_t ms)
{
    seen *s = vm_call_user(c);
    CHECK(ms > 0);
    s->call = c;
    s->waits++;
    s->pending = true;
    s->wake_ms = clock_now_ms() + ms;
}

static void on_again(vm_call *c)
{
    seen *s = vm_call_user(c);
    s->call = c;
    s->agains++;
    s->pending = true;
    s->wake_ms = 0;
}

const vm_call_owner seen_owner = {on_head, on_body, on_done, on_output, on_wait, on_again};

vm_event test_event(void)
{
    return (vm_event){.kind = VM_EVENT_HTTP,
                      .method = STR("GET"),
                      .host = STR("example.org:8080"),
                      .path = STR("/a b"),
                      .query = STR(""),
                      .remote = STR("127.0.0.1")};
}

void test_start(vm_module *m, const vm_event *e, seen *s)
{
    err result = vm_call_start(m, e, &seen_owner, s);
    CHECK(result.code == OK);
}

void test_drive(seen *all, size_t count)
{
    for (bool busy = true; busy;) {
        busy = false;
        bool ran = false;
        for (size_t i = 0; i < count; i++) {
            busy = busy || all[i].done == 0;
            if (!all[i].pending || all[i].wake_ms > clock_now_ms())
                continue;
            all[i].pending = false;
            ran = true;
            vm_call_resume(all[i].call);
        }
        if (busy && !ran)
            usleep(500);
    }
}

void test_run(vm_module *m, const vm_event *e, seen *s)
{
    seen_open(s);
    test_start(m, e, s);
    test_drive(s, 1);
    CHECK(s->done == 1);
}

static const char small[] = "(module (memory (export \"memory\") 1)"
                            " (func (export \"go\") (param i32) (result i32) (i32.const 0)))";

TEST(module_without_its_export_is_refused)
{
    vm *v = test_vm(false);
    arena *a = NULL;
    CHECK(arena_open(&a, 1 << 24).code == OK);
    buf cwasm;
    buf_open(&cwasm, 1 << 24);
    str problem;
    vm *compiler = NULL; // as in a build's child: the pools are no part of the code
    CHECK(vm_open(&compiler, &(vm_settings){.calls_max = 1}).code == OK);
    CHECK(vm_compile(compiler, a, test_wasm(a, small), &cwasm, &problem).code == OK);
    vm_close(compiler);
    char path[] = "/tmp/ctau-vm-XXXXXX";
    int fd = mkstemp(path);
    CHECK(fd >= 0 && write(fd, cwasm.at, cwasm.len) == (ssize_t)cwasm.len);
    vm_function f = {.name = STR("x"), .call = STR("gone")};
    vm_module *m = NULL;
    CHECK(vm_module_open(v, path, &f, &m).code == ERR_ABSENT && m == NULL);
    f.call = STR("go");
    f.memory_bytes_max = 65535;
    CHECK(vm_module_open(v, path, &f, &m).code == ERR_LIMIT);
    f.memory_bytes_max = 65536;
    CHECK(vm_module_open(v, path, &f, &m).code == OK);
    CHECK(vm_modules_open(v) == 1);
    vm_module_drop(vm_module_keep(m));
    CHECK(vm_modules_open(v) == 1);
    vm_module_drop(m);
    CHECK(vm_modules_open(v) == 0);
    CHECK(vm_module_open(v, "/nowhere/at/all", &f, &m).code == ERR_ABSENT);
    CHECK(ftruncate(fd, 0) == 0 && write(fd, "junk", 4) == 4);
    CHECK(vm_module_open(v, path, &f, &m).code != OK);
    close(fd);
    unlink(path);
    buf_close(&cwasm);
    arena_close(a);
    vm_close(v);
}

TEST(module_that_does_not_validate_is_explained)
{
    vm *v = test_vm(false);
    arena *a = NULL;
    CHECK(arena_open(&a, 1 << 20).code == OK);
    buf cwasm;
    buf_open(&cwasm, 1 << 20);
    str problem = {NULL, 0};
    str wasm = {"\0asm\1\0\0\0\3\2\1\0", 12}; // a function without type and body
    CHECK(vm_compile(v, a, wasm, &cwasm, &problem).code == ERR_SYNTAX);
    CHECK(problem.len > 0);
    buf_close(&cwasm);
    arena_close(a);
    vm_close(v);
}

#ifndef __SANITIZE_THREAD__ // the engine's own threads are not instrumented
TEST(module_initialised_at_build_time_starts_with_that_memory)
{
    static const char wat[] = "(module (import \"taubyte/sdk\" \"eventHttpRetCode\" (func $code "
                              "(param i32 i32) (result i32)))"
                              " (memory (export \"memory\") 1)"
                              " (func (export \"_initialize\") (i32.store (i32.const 8)"
                              "   (i32.add (i32.load (i32.const 8)) (i32.const 201))))"
                              " (func (export \"go\") (param i32) (result i32)"
                              "   (call $code (local.get 0) (i32.load (i32.const 8)))))";
    vm *v = test_vm(false);
    arena *a = NULL;
    CHECK(arena_open(&a, 1 << 24).code == OK);
    buf cwasm;
    buf_open(&cwasm, 1 << 24);
    str problem;
    CHECK(vm_prepare(v, a, test_wasm(a, wat), true, &cwasm, &problem).code == OK);
    char path[] = "/tmp/ctau-vm-XXXXXX";
    int fd = mkstemp(path);
    CHECK(fd >= 0 && write(fd, cwasm.at, cwasm.len) == (ssize_t)cwasm.len);
    vm_function f = {.name = STR("x"), .call = STR("go")};
    vm_module *m = NULL;
    CHECK(vm_module_open(v, path, &f, &m).code == OK);
    CHECK(m->first == NULL);
    for (int i = 0; i < 3; i++) {
        seen s;
        vm_event e = test_event();
        test_run(m, &e, &s);
        CHECK(s.kind == VM_OK && s.status == 201);
        seen_close(&s);
    }
    vm_module_drop(m);
    close(fd);
    unlink(path);
    buf_close(&cwasm);
    arena_close(a);
    vm_close(v);
}
#endif
