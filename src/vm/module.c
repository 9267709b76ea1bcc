// A compiled module with what its function's configuration says, linked and ready to instantiate.
#include "base/str.h"
#include "vm/vm_inner.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static str text_put(char **at, str s)
{
    char *to = *at;
    if (s.len > 0)
        memcpy(to, s.at, s.len);
    to[s.len] = '\0';
    *at = to + s.len + 1;
    return (str){to, s.len};
}

static err texts_copy(vm_module *m, const vm_function *f)
{
    const str all[] = {f->name, f->id, f->project, f->application, f->branch, f->commit, f->call};
    size_t len = 0;
    for (size_t i = 0; i < COUNT(all); i++)
        len += all[i].len + 1;
    char *at = m->texts = malloc(len);
    if (at == NULL)
        return fail(ERR_MEMORY, 0, "open module");
    m->f = *f;
    m->f.name = text_put(&at, f->name);
    m->f.id = text_put(&at, f->id);
    m->f.project = text_put(&at, f->project);
    m->f.application = text_put(&at, f->application);
    m->f.branch = text_put(&at, f->branch);
    m->f.commit = text_put(&at, f->commit);
    m->f.call = text_put(&at, f->call);
    if (f->timeout_ms == 0)
        m->f.timeout_ms = VM_TIMEOUT_MS;
    if (f->memory_bytes_max == 0 || f->memory_bytes_max > VM_MEMORY_BYTES_MAX)
        m->f.memory_bytes_max = VM_MEMORY_BYTES_MAX;
    if (f->response_bytes_max == 0)
        m->f.response_bytes_max = VM_RESPONSE_BYTES_MAX;
    return ok();
}

static bool type_is(const wasm_externtype_t *type, size_t parameters, size_t results_max)
{
    if (wasm_externtype_kind(type) != WASM_EXTERN_FUNC)
        return false;
    const wasm_functype_t *f = wasm_externtype_as_functype_const(type);
    const wasm_valtype_vec_t *in = wasm_functype_params(f);
    const wasm_valtype_vec_t *out = wasm_functype_results(f);
    if (in->size != parameters || out->size > results_max)
        return false;
    for (size_t i = 0; i < in->size; i++)
        if (wasm_valtype_kind(in->data[i]) != WASM_I32)
            return false;
    return out->size == 0 || wasm_valtype_kind(out->data[0]) == WASM_I32;
}

// Notes what one export means to us; false when the module can not be run within its limits.
static bool export_note(vm_module *m, const wasm_exporttype_t *export, bool *callable)
{
    const wasm_name_t *name = wasm_exporttype_name(export);
    const wasm_externtype_t *type = wasm_exporttype_type(export);
    str s = {name->data, name->size};
    if (str_is(s, m->f.call) && type_is(type, 1, 1)) {
        *callable = true;
        m->result = (uint8_t)wasm_functype_results(wasm_externtype_as_functype_const(type))->size;
    } else if (str_is(s, STR("_initialize")) && type_is(type, 0, 0)) {
        m->first = "_initialize";
    } else if (str_is(s, STR("_start")) && type_is(type, 0, 0)) {
        if (m->first == NULL)
            m->first = "_start";
    } else if (str_is(s, STR(RESEED_EXPORT)) && type_is(type, 0, 0)) {
        m->reseed = true;
    } else if (wasm_externtype_kind(type) == WASM_EXTERN_MEMORY) {
        const wasm_memorytype_t *memory = wasm_externtype_as_memorytype_const(type);
        uint64_t max = UINT64_MAX;
        uint64_t min = wasmtime_memorytype_minimum(memory);
        bool bounded = wasmtime_memorytype_maximum(memory, &max);
        if (!bounded || max != min)
            m->limited = true;
        if (min > m->f.memory_bytes_max / wasmtime_memorytype_page_size(memory))
            return false;
    }
    return true;
}

static err exports_read(vm_module *m)
{
    wasm_exporttype_vec_t exports;
    wasmtime_module_exports(m->code, &exports);
    bool fits = true, callable = false;
    for (size_t i = 0; i < exports.size && fits; i++)
        fits = export_note(m, exports.data[i], &callable);
    wasm_exporttype_vec_delete(&exports);
    if (!fits)
        return fail(ERR_LIMIT, 0, "the module starts with more memory than its function may have");
    if (!callable)
        return fail(ERR_ABSENT, 0, "the function's call is not exported");
    return ok();
}

static err code_load(vm_module *m, const char *path)
{
    if (access(path, R_OK) != 0)
        return fail_errno(errno, "open compiled module");
    wasmtime_error_t *error = wasmtime_module_deserialize_file(m->v->engine, path, &m->code);
    if (error != NULL) {
        wasmtime_error_delete(error);
        return fail(ERR_CONFLICT, 0, "the module was compiled for another engine");
    }
    return ok();
}

err module_link(vm_module *m, bool fiber)
{
    if (m->pre[fiber] != NULL)
        return ok();
    wasmtime_error_t *error =
        wasmtime_linker_instantiate_pre(m->v->linkers[fiber], m->code, &m->pre[fiber]);
    if (error != NULL) {
        wasmtime_error_delete(error);
        return fail(ERR_UNSUPPORTED, 0, "the module imports what is not provided");
    }
    return ok();
}

err vm_module_open(vm *v, const char *path, const vm_function *f, vm_module **out)
{
    vm_module *m = calloc(1, sizeof *m);
    if (m == NULL)
        return fail(ERR_MEMORY, 0, "open module");
    m->v = v;
    m->holders = 1;
    v->modules_open++;
    err e = texts_copy(m, f);
    if (e.code == OK)
        e = code_load(m, path);
    if (e.code == OK)
        e = exports_read(m);
    if (e.code == OK)
        e = module_link(m, false);
    if (e.code != OK) {
        vm_module_drop(m);
        return e;
    }
    *out = m;
    return ok();
}

vm_module *vm_module_keep(vm_module *m)
{
    m->holders++;
    return m;
}

void vm_module_drop(vm_module *m)
{
    if (m == NULL || --m->holders > 0)
        return;
    for (size_t i = 0; i < COUNT(m->pre); i++)
        if (m->pre[i] != NULL)
            wasmtime_instance_pre_delete(m->pre[i]);
    if (m->code != NULL)
        wasmtime_module_delete(m->code);
    m->v->modules_open--;
    free(m->texts);
    free(m);
}

void vm_module_set_user(vm_module *m, void *user)
{
    m->user = user;
}

void *vm_module_user(const vm_module *m)
{
    return m->user;
}
