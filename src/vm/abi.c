// Host functions meet the engine here: one table, two linkers, one way in.
#include "base/clock.h"
#include "vm/abi_inner.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const abi_function abi_functions[] = {
#define ABI(module, name, parameters, result, run, waits) \
    {module, name, parameters, result, run, waits},
#define LATER(name)
#include "vm/abi.def"
};
const size_t abi_functions_count = COUNT(abi_functions);

bool guest_put_u32(const guest *g, uint32_t at, uint32_t value)
{
    uint8_t *to = guest_at(g, at, sizeof value);
    if (to == NULL)
        return false;
    memcpy(to, &value,
           sizeof value); // both are little-endian: the engine runs on nothing else here
    return true;
}

bool guest_put_u64(const guest *g, uint32_t at, uint64_t value)
{
    uint8_t *to = guest_at(g, at, sizeof value);
    if (to == NULL)
        return false;
    memcpy(to, &value, sizeof value);
    return true;
}

bool guest_text(const guest *g, uint32_t at, uint32_t len, str *out)
{
    const uint8_t *from = guest_at(g, at, len);
    if (from == NULL)
        return false;
    *out = (str){(const char *)from, len};
    return true;
}

void guest_refuse(guest *g, vm_outcome_kind kind, const char *format, ...)
{
    vm_call *c = g->call;
    char text[512];
    va_list list;
    va_start(list, format);
    int len = vsnprintf(text, sizeof text, format, list);
    va_end(list);
    if (len < 0)
        len = 0;
    buf_clear(&c->text);
    buf_add(&c->text, (str){text, (size_t)len < sizeof text ? (size_t)len : sizeof text - 1});
    c->message_len = c->text.len;
    c->refused = true;
    c->refusal = kind;
    g->leave = true;
}

void guest_wait(guest *g, uint64_t us)
{
    vm_call *c = g->call;
    uint64_t now = clock_now_us();
    if (us <= SPIN_US) { // cheaper than to suspend; a loop of such waits still meets its epoch
        while (clock_now_us() < now + us)
            ;
        return;
    }
    if (!c->fiber) {
        c->again = true;
        g->leave = true;
        return;
    }
    c->waiting = true;
    c->wake_us = us > UINT64_MAX / 2 ? UINT64_MAX / 2 : now + us;
}

static guest guest_enter(wasmtime_caller_t *caller)
{
    wasmtime_context_t *context = wasmtime_caller_context(caller);
    vm_call *c = wasmtime_context_get_data(context);
    guest g = {.call = c};
    if (!c->memory_known) {
        wasmtime_extern_t found;
        if (!wasmtime_caller_export_get(caller, "memory", 6, &found))
            return g;
        if (found.kind != WASMTIME_EXTERN_MEMORY) {
            wasmtime_extern_delete(&found);
            return g;
        }
        c->memory = found.of.memory;
        c->memory_known = true;
    }
    g.memory = wasmtime_memory_data(context, &c->memory);
    g.size = wasmtime_memory_data_size(context, &c->memory);
    return g;
}

// The text is never shown: call_explain() knows the reason from the call.
static wasm_trap_t *guest_leave(void)
{
    return wasmtime_trap_new("left", 4);
}

static wasm_trap_t *
abi_enter(void *env, wasmtime_caller_t *caller, wasmtime_val_raw_t *values, size_t count)
{
    const abi_function *f = env;
    (void)count;
    guest g = guest_enter(caller);
    uint32_t result = f->run(&g, values);
    if (__builtin_expect(g.leave, false))
        return guest_leave();
    if (f->result[0] == 'i')
        values[0].i32 = (int32_t)result;
    return NULL;
}

static bool call_is_awake(void *env)
{
    return !((vm_call *)env)->waiting;
}

// The same functions on a fiber: one that asked to wait comes back when the call is awake.
static void abi_enter_waiting(void *env,
                              wasmtime_caller_t *caller,
                              const wasmtime_val_t *arguments,
                              size_t count,
                              wasmtime_val_t *results,
                              size_t results_count,
                              wasm_trap_t **trap,
                              wasmtime_async_continuation_t *go_on)
{
    const abi_function *f = env;
    wasmtime_val_raw_t values[8] = {0};
    for (size_t i = 0; i < count && i < COUNT(values); i++)
        values[i].i64 = f->parameters[i] == 'I' ? arguments[i].of.i64 : arguments[i].of.i32;
    guest g = guest_enter(caller);
    uint32_t result = f->run(&g, values);
    if (g.leave)
        *trap = guest_leave();
    else if (results_count == 1)
        results[0] = (wasmtime_val_t){.kind = WASMTIME_I32, .of.i32 = (int32_t)result};
    *go_on = (wasmtime_async_continuation_t){.callback = call_is_awake, .env = g.call};
}

static wasm_valtype_t *abi_type(char letter)
{
    switch (letter) {
    case 'I':
        return wasm_valtype_new_i64();
    case 'f':
        return wasm_valtype_new_f32();
    case 'F':
        return wasm_valtype_new_f64();
    default:
        return wasm_valtype_new_i32();
    }
}

static void abi_types(const char *letters, wasm_valtype_vec_t *out)
{
    wasm_valtype_vec_new_uninitialized(out, strlen(letters));
    for (size_t i = 0; i < out->size; i++)
        out->data[i] = abi_type(letters[i]);
}

static wasmtime_error_t *abi_define(wasmtime_linker_t *linker, const abi_function *f, bool fiber)
{
    wasm_valtype_vec_t parameters, results;
    abi_types(f->parameters, &parameters);
    abi_types(f->result, &results);
    wasm_functype_t *type = wasm_functype_new(&parameters, &results);
    size_t module_len = strlen(f->module), name_len = strlen(f->name);
    wasmtime_error_t *error =
        fiber && f->waits
            ? wasmtime_linker_define_async_func(linker, f->module, module_len, f->name, name_len,
                                                type, abi_enter_waiting, (void *)f, NULL)
            : wasmtime_linker_define_func_unchecked(linker, f->module, module_len, f->name,
                                                    name_len, type, abi_enter, (void *)f, NULL);
    wasm_functype_delete(type);
    return error;
}

err abi_link(vm *v)
{
    for (int fiber = 0; fiber < 2; fiber++) {
        v->linkers[fiber] = wasmtime_linker_new(v->engine);
        for (size_t i = 0; i < abi_functions_count; i++) {
            wasmtime_error_t *error = abi_define(v->linkers[fiber], &abi_functions[i], fiber);
            if (error != NULL) {
                wasmtime_error_delete(error);
                return fail(ERR_SYSTEM, 0, "define host functions");
            }
        }
    }
    return ok();
}
