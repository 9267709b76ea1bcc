// Compiles one WebAssembly module ahead of time, in the builder's closed room.
//
// `compile IN OUT CALL MEMORY_BYTES` checks, pre-initialises and compiles one module into OUT,
// which must be there; `compile --flags` prints what compiled code depends on. Exit status 1 with
// one line on stderr for what the user did wrong, 2 for our own trouble.
#include "base/file.h"
#include "base/str.h"
#include "cmd/cmd.h"
#include "vm/vm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { COMPILE_OK, COMPILE_REFUSED, COMPILE_BROKEN };

static int refuse(str text)
{
    (void)fprintf(stderr, "%.*s\n", STR_ARG(text));
    return COMPILE_REFUSED;
}

static int broken(err e)
{
    (void)fprintf(stderr, "compile: %s%s%s\n", e.what, e.sys > 0 ? ": " : "",
                  e.sys > 0 ? strerror(e.sys) : "");
    return COMPILE_BROKEN;
}

// Not file_write_durable: OUT is a memory file of the builder's.
static err write_all(const char *path, str bytes)
{
    OWNED(fd_drop) int f = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    if (f < 0)
        return fail_errno(errno, "open the output");
    while (bytes.len > 0) {
        ssize_t n = write(f, bytes.at, bytes.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_errno(errno, "write the output");
        bytes = str_from(bytes, (size_t)n);
    }
    return ok();
}

// COMPILE_OK: `wasm` fits our guest interface and the function's memory.
static int compile_read(arena *a, const char *in, str call, uint64_t memory_bytes, str *wasm)
{
    str artefact;
    err e = file_read(a, in, VM_WASM_BYTES_MAX, &artefact);
    if (e.code == ERR_LIMIT)
        return refuse(STR("the module is larger than 128 MiB"));
    if (e.code != OK)
        return broken(e);
    e = vm_unpack(a, artefact, wasm);
    if (e.code == ERR_MEMORY)
        return broken(e);
    if (e.code != OK)
        return refuse(str_format(a, "main.wasm is no WebAssembly module: %s", e.what));
    vm_manifest manifest;
    e = vm_inspect(a, *wasm, call, &manifest);
    if (e.code != OK)
        return broken(e);
    if (manifest.problem.len > 0)
        return refuse(manifest.problem);
    if (memory_bytes > 0 && manifest.memory_bytes > memory_bytes)
        return refuse(str_format(
            a, "the module starts with %llu bytes of memory, but execution.memory allows %llu",
            (unsigned long long)manifest.memory_bytes, (unsigned long long)memory_bytes));
    return COMPILE_OK;
}

static int compile_write(vm *v, arena *a, str wasm, const char *out)
{
    str problem = {0};
    buf compiled;
    buf_open(&compiled, (size_t)VM_WASM_BYTES_MAX * 4);
    err e = vm_prepare(v, a, wasm, false, &compiled, &problem);
    int status = COMPILE_OK;
    if (e.code != OK)
        status = problem.len > 0 ? refuse(problem) : broken(e);
    else if ((e = write_all(out, buf_str(&compiled))).code != OK)
        status = broken(e);
    buf_close(&compiled);
    return status;
}

int compile_main(int argc, char **argv)
{
    bool flags = argc == 2 && strcmp(argv[1], "--flags") == 0;
    uint64_t memory_bytes = 0;
    if (!flags && (argc != 5 || str_number(str_of(argv[4]), &memory_bytes).code != OK)) {
        (void)fprintf(stderr,
                      "usage: compile IN.wasm OUT.cwasm CALL MEMORY_BYTES | compile --flags\n");
        return COMPILE_BROKEN;
    }
    arena *a;
    err e = arena_open(&a, (size_t)VM_WASM_BYTES_MAX * 3);
    if (e.code != OK)
        return broken(e);
    str wasm = {0};
    int status =
        flags ? COMPILE_OK : compile_read(a, argv[1], str_of(argv[3]), memory_bytes, &wasm);
    vm *v = NULL;
    if (status == COMPILE_OK) {
        e = vm_open(&v, &(vm_settings){.calls_max = 1});
        if (e.code != OK)
            status = broken(e);
        else if (flags)
            (void)printf("%s\n", vm_flags(v));
        else
            status = compile_write(v, a, wasm, argv[2]);
    }
    vm_close(v);
    arena_close(a);
    return status;
}
