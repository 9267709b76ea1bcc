// Build time: unpacks an artefact, runs its initialisation once, compiles it ahead of time.
#include "base/compress.h"
#include "base/str.h"
#include "vm/vm_inner.h"

#include <string.h>

err vm_unpack(arena *a, str artefact, str *wasm)
{
    if (str_starts(artefact, (str){"\0asm", 4})) {
        if (artefact.len > VM_WASM_BYTES_MAX)
            return fail(ERR_LIMIT, 0, "the module is larger than 128 MiB");
        *wasm = artefact;
        return ok();
    }
    if (str_starts(artefact, STR("\x1f\x8b")))
        return gunzip(a, artefact, VM_WASM_BYTES_MAX, wasm);
    if (str_starts(artefact, STR("PK")))
        return zip_single_read(a, artefact, VM_WASM_BYTES_MAX, wasm);
    return fail(ERR_SYNTAX, 0, "neither wasm nor gzip nor zip");
}

// The engine's words for the user, without the lines of its own stack.
static err compile_problem(arena *a, wasmtime_error_t *error, str *problem)
{
    wasm_name_t message;
    wasmtime_error_message(error, &message);
    wasmtime_error_delete(error);
    *problem = str_printable(a, str_copy(a, (str){message.data, message.size}));
    wasm_name_delete(&message);
    return fail(ERR_SYNTAX, 0, "the module does not compile");
}

err vm_compile(vm *v, arena *a, str wasm, buf *cwasm, str *problem)
{
    wasmtime_module_t *module;
    wasm_byte_vec_t bytes;
    wasmtime_error_t *error =
        wasmtime_module_new(v->engine, (const uint8_t *)wasm.at, wasm.len, &module);
    if (error != NULL)
        return compile_problem(a, error, problem);
    error = wasmtime_module_serialize(module, &bytes);
    wasmtime_module_delete(module);
    if (error != NULL)
        return compile_problem(a, error, problem);
    buf_add(cwasm, (str){bytes.data, bytes.size});
    wasm_byte_vec_delete(&bytes);
    return cwasm->error;
}

err vm_prepare(vm *v, arena *a, str wasm, bool always, buf *cwasm, str *problem)
{
    vm_manifest manifest;
    TRY(vm_inspect(a, wasm, (str){NULL, 0}, &manifest));
    if (manifest.problem.len > 0) {
        *problem = manifest.problem;
        return fail(ERR_SYNTAX, 0, "the module does not fit the guest interface");
    }
    if (!manifest.has_initialize || !(manifest.go || always))
        return vm_compile(v, a, wasm, cwasm, problem);
    uint8_t *made = NULL;
    size_t len = 0;
    char reason[512] = "";
    if (engine_preinitialize((const uint8_t *)wasm.at, wasm.len, &made, &len, reason,
                             sizeof reason) != 0) {
        *problem =
            str_format(a, "it fails before any call, in a package variable or init(): %s", reason);
        return fail(ERR_SYNTAX, 0, "the module's initialisation failed");
    }
    err e = vm_compile(v, a, (str){(const char *)made, len}, cwasm, problem);
    engine_free(made, len);
    return e;
}
