// One call of a guest function: fresh instance, first slice without a fiber, the rest on one.
//
// The happy path: 1. vm_call_start() takes a call, instantiates and runs it synchronously within
// SYNC_TICKS; 2. it returns and on_done gets the whole response. A guest that must wait or needs
// longer is thrown away with its buffered answer and starts again on a fiber, which yields each
// tick (on_again) or when it waits (on_wait) until its deadline. What can fail: no slot, a trap, a
// limit, the deadline; the fiber is then dropped, the owner hears why.
#include "base/clock.h"
#include "base/str.h"
#include "vm/vm_inner.h"

#include <stdlib.h>
#include <string.h>

static vm_call *call_take(vm *v)
{
    vm_call *c = v->idle;
    if (c != NULL) {
        v->idle = c->next;
        v->idle_count--;
        return c;
    }
    c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    buf_open(&c->answer.head, VM_HEADER_BYTES_MAX);
    buf_open(&c->output.lines, 6 * VM_OUTPUT_BYTES_MAX + VM_LINE_BYTES_MAX);
    buf_open(&c->output.partial[0], VM_LINE_BYTES_MAX);
    buf_open(&c->output.partial[1], VM_LINE_BYTES_MAX);
    buf_open(&c->scratch, 1 << 20);
    buf_open(&c->text, TEXT_BYTES_MAX);
    return c;
}

static void call_free(vm_call *c)
{
    answer_close(&c->answer);
    guest_output_close(&c->output);
    buf_close(&c->scratch);
    buf_close(&c->text);
    free(c);
}

static void call_give(vm_call *c)
{
    vm *v = c->v;
    v->calls_alive--;
    vm_module_drop(c->module);
    c->module = NULL;
    if (v->idle_count == IDLE_CALLS_MAX) {
        call_free(c);
        return;
    }
    buf_reuse(&c->answer.body);
    buf_reuse(&c->output.lines);
    buf_reuse(&c->scratch);
    v->idle_count++;
    c->next = v->idle;
    v->idle = c;
}

void call_free_idle(vm *v)
{
    while (v->idle != NULL) {
        vm_call *c = v->idle;
        v->idle = c->next;
        call_free(c);
    }
}

// As if the guest had never run.
static void call_rewind(vm_call *c)
{
    c->memory_known = false;
    c->instantiated = false;
    c->again = false;
    c->waiting = false;
    c->exited = false;
    c->refused = false;
    c->body_read = 0;
    c->body_closed = false;
    c->stage = STAGE_INSTANTIATE;
    answer_clear(&c->answer);
    guest_output_clear(&c->output);
    buf_clear(&c->text);
}

static void store_open(vm_call *c)
{
    c->store = wasmtime_store_new(c->v->engine, c, NULL);
    c->context = wasmtime_store_context(c->store);
    if (c->module->limited) {
        wasmtime_store_limiter(c->store, -1, -1, -1, -1, -1);
        engine_limit_memory(c->context, c->module->f.memory_bytes_max);
    }
}

// The order matters: the fiber unwinds inside the store.
static void store_close(vm_call *c)
{
    if (c->future != NULL)
        wasmtime_call_future_delete(c->future);
    c->future = NULL;
    if (c->store != NULL)
        wasmtime_store_delete(c->store);
    c->store = NULL;
    c->context = NULL;
}

static void engine_failure_drop(vm_call *c)
{
    if (c->trap != NULL)
        wasm_trap_delete(c->trap);
    if (c->error != NULL)
        wasmtime_error_delete(c->error);
    c->trap = NULL;
    c->error = NULL;
}

static bool call_failed(const vm_call *c)
{
    return c->trap != NULL || c->error != NULL;
}

static bool export_find(vm_call *c, const char *name, size_t len)
{
    wasmtime_extern_t found;
    if (!wasmtime_instance_export_get(c->context, &c->instance, name, len, &found) ||
        found.kind != WASMTIME_EXTERN_FUNC)
        return false;
    c->function = found.of.func;
    return true;
}

// The stage after the one that has ended, with its function in c->function. A program that leaves
// by proc_exit(0) from _start (or _initialize) has merely ended that.
static void stage_next(vm_call *c)
{
    const vm_module *m = c->module;
    if (c->stage == STAGE_FIRST && c->exited && c->exit_code == 0) {
        engine_failure_drop(c);
        c->exited = false;
    }
    if (call_failed(c) || c->stage == STAGE_CALL) {
        c->stage = STAGE_DONE;
        return;
    }
    c->instantiated = true;
    if (c->stage < STAGE_FIRST && m->first != NULL) {
        c->stage = STAGE_FIRST;
        if (export_find(c, m->first, strlen(m->first)))
            return;
    }
    if (c->stage < STAGE_RESEED && m->reseed) {
        c->stage = STAGE_RESEED;
        if (export_find(c, RESEED_EXPORT, sizeof RESEED_EXPORT - 1))
            return;
    }
    c->stage = export_find(c, m->f.call.at, m->f.call.len) ? STAGE_CALL : STAGE_DONE;
}

static void memory_note(vm_call *c)
{
    wasmtime_extern_t found;
    if (!c->memory_known && c->module->limited && c->instantiated &&
        wasmtime_instance_export_get(c->context, &c->instance, "memory", 6, &found)) {
        c->memory_known = found.kind == WASMTIME_EXTERN_MEMORY;
        c->memory = found.of.memory;
    }
    if (c->memory_known)
        c->memory_bytes = wasmtime_memory_data_size(c->context, &c->memory);
}

static void head_commit(vm_call *c)
{
    answer *a = &c->answer;
    if (a->committed)
        return;
    a->committed = true;
    c->owner->on_head(c, answer_status(a), answer_headers(a), a->headers);
}

// What the owner gets while the guest goes on later.
static void answer_commit(vm_call *c)
{
    answer *a = &c->answer;
    if (!a->flush && a->body.len < VM_COMMIT_BYTES)
        return;
    a->flush = false;
    head_commit(c);
    if (a->body.len > 0)
        c->owner->on_body(c, buf_str(&a->body));
    buf_clear(&a->body);
}

// The one way out: tells the owner and gives everything back. `kind` other than VM_OK is our
// verdict on a guest that was stopped from outside.
static void call_end(vm_call *c, vm_outcome_kind kind)
{
    answer *a = &c->answer;
    vm_outcome o = {.kind = kind, .slices = c->slices};
    vm_response whole;
    uint64_t now = clock_now_us();
    if (kind != VM_OK)
        o.message =
            kind == VM_TIMEOUT ? STR("ran past its time limit") : STR("no slot or memory left");
    else if (call_failed(c))
        call_explain(c, &o);
    if (c->store != NULL)
        memory_note(c);
    store_close(c);
    engine_failure_drop(c);
    guest_output_flush(&c->output);
    guest_output_deliver(c);
    if (a->committed && o.kind == VM_OK && a->body.len > 0)
        c->owner->on_body(c, buf_str(&a->body));
    if (!a->committed && o.kind == VM_OK) {
        whole = (vm_response){answer_status(a), answer_headers(a), a->headers, buf_str(&a->body)};
        o.whole = &whole;
    }
    o.committed = a->committed;
    o.run_us = c->slices > 1 ? c->run_us : now - c->started_us;
    o.wall_us = now - c->started_us;
    o.memory_bytes = c->memory_bytes;
    o.body_bytes = a->body_bytes;
    c->owner->on_done(c, &o);
    call_give(c);
}

static void fiber_invoke(vm_call *c)
{
    size_t count = c->stage == STAGE_CALL ? 1 : 0;
    c->argument = (wasmtime_val_t){.kind = WASMTIME_I32};
    c->future = wasmtime_func_call_async(c->context, &c->function, &c->argument, count, &c->result,
                                         count * c->module->result, &c->trap, &c->error);
}

// Gives the guest the processor until it yields, waits or is done.
static void fiber_run(vm_call *c)
{
    vm *v = c->v;
    uint64_t from = clock_now_us();
    c->slices++;
    atomic_fetch_add_explicit(&v->running, 1, memory_order_relaxed);
    engine_arm(v);
    while (c->stage != STAGE_DONE && wasmtime_call_future_poll(c->future)) {
        wasmtime_call_future_delete(c->future);
        c->future = NULL;
        stage_next(c);
        if (c->stage != STAGE_DONE)
            fiber_invoke(c);
    }
    atomic_fetch_sub_explicit(&v->running, 1, memory_order_relaxed);
    c->run_us += clock_now_us() - from;
}

static void wait_ask(vm_call *c, uint64_t now)
{
    uint64_t until = c->wake_us < c->deadline_us ? c->wake_us : c->deadline_us;
    uint64_t ms = until > now ? (until - now + 999) / 1000 : 1;
    c->owner->on_wait(c, ms < UINT32_MAX ? (uint32_t)ms : UINT32_MAX);
}

static void fiber_step(vm_call *c)
{
    fiber_run(c);
    if (c->stage == STAGE_DONE) {
        if (c->slices <= 2 && c->module->fiber_credit > 0)
            c->module->fiber_credit--;
        call_end(c, VM_OK);
        return;
    }
    guest_output_deliver(c);
    answer_commit(c);
    if (c->waiting)
        wait_ask(c, clock_now_us());
    else
        c->owner->on_again(c);
}

static void fiber_begin(vm_call *c)
{
    c->fiber = true;
    if (module_link(c->module, true).code != OK) {
        call_end(c, VM_REFUSED);
        return;
    }
    store_open(c);
    wasmtime_context_set_epoch_deadline(c->context, 1);
    wasmtime_context_epoch_deadline_async_yield_and_update(c->context, 1);
    c->future = wasmtime_instance_pre_instantiate_async(c->module->pre[1], c->context, &c->instance,
                                                        &c->trap, &c->error);
    fiber_step(c);
}

// Runs all stages at once; the epoch traps a guest that takes too long.
static void sync_run(vm_call *c)
{
    vm *v = c->v;
    c->slices++;
    atomic_fetch_add_explicit(&v->running, 1, memory_order_relaxed);
    engine_arm(v);
    store_open(c);
    wasmtime_context_set_epoch_deadline(c->context, SYNC_TICKS);
    c->error =
        wasmtime_instance_pre_instantiate(c->module->pre[0], c->context, &c->instance, &c->trap);
    for (stage_next(c); c->stage != STAGE_DONE; stage_next(c)) {
        wasmtime_val_raw_t values[1] = {{.i32 = 0}};
        c->error =
            wasmtime_func_call_unchecked(c->context, &c->function, values, COUNT(values), &c->trap);
    }
    atomic_fetch_sub_explicit(&v->running, 1, memory_order_relaxed);
}

static bool trap_is_interrupt(const vm_call *c)
{
    wasmtime_trap_code_t code;
    return c->trap != NULL && wasmtime_trap_code(c->trap, &code) &&
           code == WASMTIME_TRAP_CODE_INTERRUPT;
}

static void sync_start(vm_call *c)
{
    sync_run(c);
    bool late = trap_is_interrupt(c);
    if (!late && !c->again) {
        call_end(c, VM_OK);
        return;
    }
    c->module->fiber_credit = FIBER_CREDIT;
    engine_failure_drop(c);
    store_close(c);
    c->run_us = clock_now_us() - c->started_us;
    call_rewind(c);
    if (late) // others first: it has had its budget
        c->owner->on_again(c);
    else
        fiber_begin(c);
}

err vm_call_start(vm_module *m, const vm_event *event, const vm_call_owner *owner, void *user)
{
    vm *v = m->v;
    if (event->kind != VM_EVENT_HTTP)
        return fail(ERR_UNSUPPORTED, 0, "only HTTP events are served");
    vm_call *c = v->calls_alive < v->calls_max ? call_take(v) : NULL;
    if (c == NULL)
        return fail(ERR_BUSY, 0, "too many calls at once");
    v->calls_alive++;
    c->v = v;
    c->module = vm_module_keep(m);
    c->event = *event;
    c->owner = owner;
    c->user = user;
    c->started_us = clock_now_us();
    c->deadline_us = c->started_us + (uint64_t)m->f.timeout_ms * 1000;
    c->run_us = 0;
    c->memory_bytes = 0;
    c->slices = 0;
    c->fiber = false;
    c->answer.body.bytes_max = m->f.response_bytes_max;
    call_rewind(c);
    if (v->fibers_only || m->fiber_credit > 0)
        fiber_begin(c);
    else
        sync_start(c);
    return ok();
}

void vm_call_resume(vm_call *c)
{
    uint64_t now = clock_now_us();
    if (now >= c->deadline_us) {
        call_end(c, VM_TIMEOUT);
        return;
    }
    if (c->waiting && now < c->wake_us) {
        wait_ask(c, now);
        return;
    }
    c->waiting = false;
    if (c->store == NULL)
        fiber_begin(c);
    else
        fiber_step(c);
}

void vm_call_cancel(vm_call *c)
{
    store_close(c);
    engine_failure_drop(c);
    call_give(c);
}

void *vm_call_user(const vm_call *c)
{
    return c->user;
}

vm_module *vm_call_module(const vm_call *c)
{
    return c->module;
}
