// Fuzz target: any bytes as a WebAssembly module; the check ends with a problem or without, no
// more.
#include "base/str.h"
#include "vm/vm.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    arena *a = NULL;
    if (arena_open(&a, 8 << 20).code != OK)
        return 0;
    str wasm = {(const char *)data, size};
    vm_manifest named = {0}, unnamed = {0};
    err e = vm_inspect(a, wasm, STR("ping"), &named);
    if (e.code != OK && e.code != ERR_MEMORY)
        abort();
    // What fits with its call fits without one as well.
    if (e.code == OK && named.problem.len == 0 &&
        (vm_inspect(a, wasm, STR(""), &unnamed).code != OK || unnamed.problem.len > 0))
        abort();
    if (e.code == OK && !str_is_utf8(named.problem))
        abort();
    arena_close(a);
    return 0;
}
