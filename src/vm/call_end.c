// Why a call ended: turns traps and errors of the engine into an outcome with text and backtrace.
#include "base/str.h"
#include "vm/vm_inner.h"

#include <string.h>

static const char *const trap_texts[] = {
    [WASMTIME_TRAP_CODE_STACK_OVERFLOW] = "call stack exhausted (recursion too deep)",
    [WASMTIME_TRAP_CODE_MEMORY_OUT_OF_BOUNDS] = "out of bounds memory access",
    [WASMTIME_TRAP_CODE_HEAP_MISALIGNED] = "misaligned memory access",
    [WASMTIME_TRAP_CODE_TABLE_OUT_OF_BOUNDS] = "undefined element: out of bounds table access",
    [WASMTIME_TRAP_CODE_INDIRECT_CALL_TO_NULL] = "indirect call to null",
    [WASMTIME_TRAP_CODE_BAD_SIGNATURE] = "indirect call with another signature",
    [WASMTIME_TRAP_CODE_INTEGER_OVERFLOW] = "integer overflow",
    [WASMTIME_TRAP_CODE_INTEGER_DIVISION_BY_ZERO] = "integer divide by zero",
    [WASMTIME_TRAP_CODE_BAD_CONVERSION_TO_INTEGER] = "invalid conversion to integer",
    [WASMTIME_TRAP_CODE_UNREACHABLE_CODE_REACHED] = "unreachable executed (a panic, or abort)",
    [WASMTIME_TRAP_CODE_INTERRUPT] = "interrupted",
};

static void frame_add(buf *out, size_t number, const wasm_frame_t *frame)
{
    const wasm_name_t *name = wasmtime_frame_func_name(frame);
    buf_add_format(out, "%zu: ", number);
    if (name != NULL)
        buf_add(out, (str){name->data, name->size});
    else
        buf_add_format(out, "function %u", wasm_frame_func_index(frame));
    size_t offset = wasm_frame_module_offset(frame);
    if (offset != SIZE_MAX)
        buf_add_format(out, " at 0x%zx", offset);
    buf_add_byte(out, '\n');
}

// Leaves the message in [0, message_len) of `text` and the frames behind it.
static void frames_add(vm_call *c, wasm_frame_vec_t *frames)
{
    c->message_len = c->text.len;
    for (size_t i = 0; i < frames->size; i++)
        frame_add(&c->text, i, frames->data[i]);
    wasm_frame_vec_delete(frames);
}

// The innermost cause of the engine's error text: what follows its last "    N: " or all of it.
static str error_cause(str text)
{
    str cause = str_find(text, STR("Caused by:")) < text.len ? (str){NULL, 0} : text;
    str rest = text;
    while (rest.at != NULL) {
        str line = str_trim(str_cut(&rest, '\n'));
        if (line.len == 0)
            continue;
        size_t colon = str_find(line, STR(": "));
        bool numbered = colon < 3 && line.at[0] >= '0' && line.at[0] <= '9';
        cause = numbered ? str_from(line, colon + 2) : line;
    }
    return cause.len > 0 ? cause : STR("unknown error");
}

static void explain_trap(vm_call *c, vm_outcome *o)
{
    wasmtime_trap_code_t code = 0;
    bool known = wasmtime_trap_code(c->trap, &code);
    wasm_frame_vec_t frames;
    o->kind = VM_TRAP;
    buf_add(&c->text, known && code < COUNT(trap_texts) && trap_texts[code] != NULL
                          ? str_of(trap_texts[code])
                          : STR("trap"));
    wasm_trap_trace(c->trap, &frames);
    frames_add(c, &frames);
}

static void explain_error(vm_call *c, vm_outcome *o)
{
    wasm_name_t message;
    wasm_frame_vec_t frames;
    wasmtime_error_message(c->error, &message);
    str text = {message.data, message.size};
    // Words of wasmtime::StoreLimits with trap_on_grow_failure, the only way to tell it.
    bool memory = str_find(text, STR("forcing trap when growing memory")) < text.len ||
                  str_find(text, STR("forcing a memory growth failure")) < text.len;
    bool pool = str_find(text, STR("maximum concurrent")) < text.len;
    if (c->refused || c->exited) {
        o->kind = c->exited ? VM_TRAP : c->refusal;
    } else if (memory) {
        o->kind = VM_MEMORY;
        buf_add_format(&c->text, "more than %llu bytes of memory",
                       (unsigned long long)c->module->f.memory_bytes_max);
    } else {
        o->kind = pool ? VM_REFUSED : VM_TRAP;
        buf_add(&c->text, error_cause(text));
    }
    wasmtime_error_wasm_trace(c->error, &frames);
    frames_add(c, &frames);
    wasm_name_delete(&message);
}

void call_explain(vm_call *c, vm_outcome *o)
{
    if (!c->refused)
        buf_clear(&c->text);
    c->message_len = c->text.len;
    if (c->exited && c->exit_code == 0) {
        o->kind = VM_OK;
    } else if (c->exited) {
        o->kind = VM_TRAP;
        buf_add_format(&c->text, "proc_exit(%u)", c->exit_code);
        c->message_len = c->text.len;
    }
    if (c->trap != NULL)
        explain_trap(c, o);
    else if (c->error != NULL && !(c->exited && c->exit_code == 0))
        explain_error(c, o);
    if (c->trap != NULL)
        wasm_trap_delete(c->trap);
    if (c->error != NULL)
        wasmtime_error_delete(c->error);
    c->trap = NULL;
    c->error = NULL;
    o->message = str_first(buf_str(&c->text), c->message_len);
    o->backtrace = str_from(buf_str(&c->text), c->message_len);
}

const char *vm_outcome_name(vm_outcome_kind kind)
{
    static const char *const names[] = {"ok",       "trap",   "timeout", "memory",
                                        "response", "export", "refused"};
    return (size_t)kind < COUNT(names) ? names[kind] : "unknown";
}
