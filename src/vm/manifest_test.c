// What is wrong with a module, told by name; and that no bytes whatever do harm.
#include "base/clock.h"
#include "base/str.h"
#include "vm/test_inner.h"

#include <stdlib.h>
#include <string.h>

static char said[512];

// The problem of a module as text ("" for none).
static const char *problem_of(const char *wat, const char *call, vm_manifest *out)
{
    arena *a = NULL;
    vm_manifest local;
    if (out == NULL)
        out = &local;
    CHECK(arena_open(&a, 16 << 20).code == OK);
    CHECK(vm_inspect(a, test_wasm(a, wat), str_of(call), out).code == OK);
    CHECK(out->problem.len < sizeof said);
    if (out->problem.len > 0)
        memcpy(said, out->problem.at, out->problem.len);
    said[out->problem.len] = '\0';
    arena_close(a);
    return said;
}

#define MEMORY " (memory (export \"memory\") 2 2)"
#define GO     " (func (export \"go\") (param i32) (result i32) (i32.const 0))"

TEST(manifest_of_a_sound_module_has_no_problem)
{
    vm_manifest m;
    CHECK(strcmp(problem_of("(module" MEMORY GO ")", "go", &m), "") == 0);
    CHECK(m.memory_bytes == 131072 && !m.may_grow && !m.has_initialize && !m.has_start && !m.go);
    CHECK(strcmp(problem_of("(module (memory (export \"memory\") 1)"
                            " (func (export \"void\") (param i32)) (func (export \"_initialize\"))"
                            " (func (export \"_start\")))",
                            "void", &m),
                 "") == 0);
    CHECK(m.may_grow && m.has_initialize && !m.has_start);
    CHECK(strcmp(problem_of("(module (func $s) (start $s)" MEMORY ")", "", &m), "") == 0);
    CHECK(m.start_section);
    CHECK(strcmp(problem_of("(module (@custom \"go:buildid\" \"x\")" MEMORY ")", "", &m), "") == 0);
    CHECK(m.go);
}

TEST(manifest_names_an_unknown_import)
{
    CHECK(strcmp(problem_of("(module (import \"taubyte/sdk\" \"fooBar\" (func))" MEMORY GO ")",
                            "go", NULL),
                 "taubyte/sdk.fooBar is not part of the guest interface") == 0);
    CHECK(strcmp(problem_of("(module (import \"env\" \"fopen\" (func))" MEMORY GO ")", "go", NULL),
                 "env.fopen is not part of the guest interface") == 0);
    CHECK(strcmp(problem_of("(module (import \"taubyte/sdk\" \"databaseGet\" (func))" MEMORY GO ")",
                            "go", NULL),
                 "taubyte/sdk.databaseGet is not available yet") == 0);
    CHECK(strcmp(problem_of("(module (import \"libraries/math\" \"add\" (func))" MEMORY GO ")",
                            "go", NULL),
                 "libraries/math.add is not available yet") == 0);
    CHECK(strstr(problem_of("(module (import \"env\" \"memory\" (memory 1))" GO ")", "go", NULL),
                 "imports the memory env.memory") != NULL);
}

TEST(manifest_names_an_import_of_another_signature)
{
    CHECK(strcmp(problem_of(
                     "(module (import \"env\" \"_sleep\" (func (param i32) (result i64)))" MEMORY GO
                     ")",
                     "go", NULL),
                 "env._sleep is imported as (i32) -> (i64), but it is (i64) -> ()") == 0);
}

TEST(manifest_names_missing_exports)
{
    CHECK(strcmp(problem_of("(module" MEMORY GO ")", "ping", NULL),
                 "the function \"ping\" is not exported; exported are: go") == 0);
    CHECK(strstr(problem_of("(module" GO ")", "go", NULL), "export its memory") != NULL);
    CHECK(strstr(problem_of("(module" MEMORY " (func (export \"go\") (param i64)))", "go", NULL),
                 "must take one i32") != NULL);
    CHECK(strstr(problem_of("(module" MEMORY " (func (export \"go\") (param i32) (result f32)"
                            " (f32.const 0)))",
                            "go", NULL),
                 "must take one i32") != NULL);
}

static void types_add(buf *wat, const char *word, const char *letters)
{
    buf_add_format(wat, " (%s", word);
    for (; *letters != '\0'; letters++)
        buf_add_format(wat, " %s", *letters == 'i' ? "i32" : *letters == 'I' ? "i64" : "f64");
    buf_add_byte(wat, ')');
}

// Every provided function, imported with its signature, passes both the check and the linker.
TEST(manifest_and_linker_provide_the_same)
{
    buf wat;
    buf_open(&wat, 64 << 10);
    buf_add(&wat, STR("(module"));
    for (size_t i = 0; i < abi_functions_count; i++) {
        const abi_function *f = &abi_functions[i];
        buf_add_format(&wat, " (import \"%s\" \"%s\" (func", f->module, f->name);
        types_add(&wat, "param", f->parameters);
        types_add(&wat, "result", f->result);
        buf_add(&wat, STR("))"));
    }
    buf_add(&wat, STR(MEMORY GO ")"));
    buf_add_byte(&wat, '\0');
    CHECK(strcmp(problem_of(wat.at, "go", NULL), "") == 0);
    for (int fibers = 0; fibers < 2; fibers++) {
        vm *v = test_vm(fibers);
        vm_module *m = test_module(v, wat.at, "go");
        vm_event e = test_event();
        seen s;
        test_run(m, &e, &s);
        CHECK(s.kind == VM_OK);
        vm_module_drop(m);
        vm_close(v);
    }
    buf_close(&wat);
}

TEST(manifest_of_damaged_bytes_is_a_problem_and_no_more)
{
    static const char wat[] =
        "(module (import \"taubyte/sdk\" \"eventHttpFlush\" (func (param i32) (result i32)))"
        " (import \"env\" \"_sleep\" (func (param i64)))" MEMORY GO
        " (func (export \"_initialize\")) (data (i32.const 0) \"abcdef\"))";
    arena *a = NULL, *scratch = NULL;
    CHECK(arena_open(&a, 1 << 20).code == OK && arena_open(&scratch, 1 << 20).code == OK);
    str wasm = test_wasm(a, wat);
    vm_manifest m;
    for (size_t len = 0; len < wasm.len; len++) { // exact allocations: the sanitizer sees each byte
        char *copy = malloc(len + 1);
        memcpy(copy, wasm.at, len);
        CHECK(vm_inspect(scratch, (str){copy, len}, STR("go"), &m).code == OK);
        free(copy);
        arena_reset(scratch);
    }
    char *copy = malloc(wasm.len);
    for (size_t round = 0; round < 20000; round++) {
        memcpy(copy, wasm.at, wasm.len);
        for (int k = 0; k < 3; k++) {
            uint64_t dice = random_u64();
            copy[dice % wasm.len] = (char)(dice >> 32);
        }
        CHECK(vm_inspect(scratch, (str){copy, wasm.len}, STR("go"), &m).code == OK);
        arena_reset(scratch);
    }
    free(copy);
    arena_close(scratch);
    arena_close(a);
}

TEST(manifest_within_a_small_arena_is_an_error_of_ours)
{
    arena *a = NULL, *small = NULL;
    CHECK(arena_open(&a, 1 << 20).code == OK && arena_open(&small, 64).code == OK);
    vm_manifest m;
    str wasm = test_wasm(a, "(module (import \"env\" \"nothing\" (func))" MEMORY GO ")");
    CHECK(vm_inspect(small, wasm, STR("go"), &m).code == ERR_MEMORY);
    arena_close(small);
    arena_close(a);
}

TEST(manifest_agrees_with_the_engine_on_funcref_and_externref)
{
    vm *v = test_vm(false);
    arena *a = NULL;
    CHECK(arena_open(&a, 1 << 22).code == OK);
    buf cwasm;
    buf_open(&cwasm, 1 << 22);
    str problem = {NULL, 0};
    str tables =
        test_wasm(a, "(module (table 2 funcref) (elem (i32.const 0) $g)"
                     " (func $g (param i32) (result i32) (i32.const 7))" MEMORY
                     " (func (export \"go\") (param i32) (result i32)"
                     " (call_indirect (param i32) (result i32) (local.get 0) (i32.const 0))))");
    CHECK(vm_compile(v, a, tables, &cwasm, &problem).code == OK);
    str objects = test_wasm(a, "(module (table 2 externref)" MEMORY GO ")");
    CHECK(vm_compile(v, a, objects, &cwasm, &problem).code == ERR_SYNTAX && problem.len > 0);
    buf_close(&cwasm);
    arena_close(a);
    vm_close(v);
}
