// What one guest call costs: vm FILE.wasm CALL [CALLS [fibers]], one thread, fresh memory
// each.
#include "vm/vm.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct bench {
    vm_call *call;
    bool again;
    uint64_t wrong;
    uint64_t memory_bytes;
    char body[64];
} bench;

static void on_head(vm_call *c, uint16_t status, const vm_header *headers, size_t count)
{
    (void)c, (void)status, (void)headers, (void)count;
}

static void on_body(vm_call *c, str bytes)
{
    (void)c, (void)bytes;
}

static void on_done(vm_call *c, const vm_outcome *o)
{
    bench *b = vm_call_user(c);
    b->again = false;
    b->memory_bytes = o->memory_bytes;
    if (o->whole == NULL) {
        if (b->wrong++ == 0)
            fprintf(stderr, "%s: %.*s\n%.*s", vm_outcome_name(o->kind), STR_ARG(o->message),
                    STR_ARG(o->backtrace));
        return;
    }
    snprintf(b->body, sizeof b->body, "%u %.*s", o->whole->status, STR_ARG(o->whole->body));
}

static void on_wait(vm_call *c, uint32_t ms)
{
    bench *b = vm_call_user(c);
    b->call = c;
    b->again = true;
    usleep(ms * 1000);
}

static void on_again(vm_call *c)
{
    bench *b = vm_call_user(c);
    b->call = c;
    b->again = true;
}

static void bench_fail(const char *what, str why)
{
    fprintf(stderr, "%s: %.*s\n", what, STR_ARG(why));
    exit(1);
}

static int bench_compile(vm *v, arena *a, const char *path)
{
    str file, wasm, problem = {NULL, 0};
    buf cwasm;
    buf_open(&cwasm, 256 << 20);
    err e = file_read(a, path, 64 << 20, &file);
    if (e.code == OK)
        e = vm_unpack(a, file, &wasm);
    if (e.code == OK)
        e = vm_prepare(v, a, wasm, false, &cwasm, &problem);
    if (e.code != OK)
        bench_fail(e.what, problem);
    int fd = memfd_create("module", MFD_CLOEXEC);
    if (fd < 0 || write(fd, cwasm.at, cwasm.len) != (ssize_t)cwasm.len)
        bench_fail("write module", STR(""));
    buf_close(&cwasm);
    return fd;
}

int main(int count, char **words)
{
    if (count < 3)
        bench_fail("usage", STR("vm FILE.wasm CALL [CALLS [fibers]]"));
    uint64_t calls = count > 3 ? strtoull(words[3], NULL, 10) : 100000;
    vm_settings settings = {.fibers_only = count > 4};
    vm *v;
    arena *a;
    if (vm_open(&v, &settings).code != OK || arena_open(&a, 256 << 20).code != OK)
        bench_fail("open", STR("vm"));
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", bench_compile(v, a, words[1]));
    vm_function f = {.name = STR("bench"), .call = str_of(words[2])};
    vm_module *m;
    err e = vm_module_open(v, path, &f, &m);
    if (e.code != OK)
        bench_fail("open module", str_of(e.what));
    vm_event event = {.kind = VM_EVENT_HTTP,
                      .method = STR("GET"),
                      .host = STR("localhost"),
                      .path = STR("/ping"),
                      .remote = STR("127.0.0.1")};
    static const vm_call_owner owner = {on_head, on_body, on_done, NULL, on_wait, on_again};
    bench b = {0};
    double best = 1e9;
    for (int round = 0; round < 4; round++) { // the first warms up
        uint64_t from = clock_now_us();
        for (uint64_t i = 0; i < calls; i++) {
            if (vm_call_start(m, &event, &owner, &b).code != OK)
                bench_fail("start", STR("busy"));
            while (b.again) {
                b.again = false;
                vm_call_resume(b.call);
            }
        }
        double us = (double)(clock_now_us() - from) / (double)calls;
        if (round > 0 && us < best)
            best = us;
    }
    printf("%-28s %-8s %7.2f us per call, memory %llu KiB, wrong %llu, \"%s\"\n", words[1],
           count > 4 ? "fiber" : "sync", best, (unsigned long long)(b.memory_bytes >> 10),
           (unsigned long long)b.wrong, b.body);
    vm_module_drop(m);
    vm_close(v);
    arena_close(a);
    return b.wrong != 0;
}
