// The one engine of a process: its settings, its pools, and the timer that ends endless loops.
//
// The happy path: 1. engine_arm() before a guest runs; 2. the timer's signal increments the epoch
// each millisecond, which compiled code compares with its deadline; 3. after QUIET_TICKS without a
// guest the handler stops the timer, so that an idle process has no ticks. No call pays a system
// call for it while calls keep coming.
#include "vm/vm_inner.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid // NOLINT: the name is Linux's
#endif

// Settings that enter compiled code; vm_flags() names them. Measured on the guest matrix (see
// bench/vm.c): explicit bounds checks spare each growing guest its mprotect.
#define EXPLICIT_BOUNDS true
static const char *const cpu_flags[] = {"has_cmpxchg16b", "has_sse3",  "has_ssse3",
                                        "has_sse41",      "has_sse42", "has_popcnt"};
#if defined(__x86_64__)
#define CPU_TARGET "x86_64-unknown-linux-gnu"
#define CPU_NAME   "x86-64-v2"
#elif defined(__aarch64__)
#define CPU_TARGET "aarch64-unknown-linux-gnu"
#define CPU_NAME   "armv8-a"
#else
#error "ctau runs on x86-64 and aarch64"
#endif
#define FLAGS_TEXT(bounds) \
    "wasmtime-" WASMTIME_VERSION " epoch speed nogc reserve=256M bounds=" bounds " cpu=" CPU_NAME

const char *vm_flags(const vm *v)
{
    (void)v;
    return EXPLICIT_BOUNDS ? FLAGS_TEXT("explicit") : FLAGS_TEXT("guard");
}

// Runs on the vm's own thread (SIGEV_THREAD_ID), so it can not outlive the vm: a signal that is
// still pending is delivered before vm_close's timer_delete() returns. Everything called here is
// safe in a signal handler: an atomic addition in the engine and timer_settime().
static void engine_tick(vm *v)
{
    wasmtime_engine_increment_epoch(v->engine);
    if (atomic_load_explicit(&v->running, memory_order_relaxed) > 0) {
        atomic_store_explicit(&v->quiet, 0, memory_order_relaxed);
        return;
    }
    uint32_t quiet = atomic_load_explicit(&v->quiet, memory_order_relaxed) + 1;
    atomic_store_explicit(&v->quiet, quiet, memory_order_relaxed);
#ifndef __SANITIZE_THREAD__
    if (quiet < QUIET_TICKS)
        return;
    static const struct itimerspec never;
    int saved = errno;
    (void)timer_settime(v->timer, 0, &never, NULL);
    errno = saved;
    atomic_store_explicit(&v->armed, false, memory_order_relaxed);
#endif
}

#ifdef __SANITIZE_THREAD__
// Under ThreadSanitizer a signal waits for the next library call, which an endless loop never
// makes: there a thread ticks.
static void *engine_ticks(void *context)
{
    vm *v = context;
    while (!atomic_load(&v->closing)) {
        usleep(TICK_US);
        engine_tick(v);
    }
    return NULL;
}

static err timer_make(vm *v)
{
    int number = pthread_create(&v->ticker, NULL, engine_ticks, v);
    v->timer_made = number == 0;
    atomic_store(&v->armed, true);
    return number == 0 ? ok() : fail_errno(number, "start the epoch thread");
}

static void timer_end(vm *v)
{
    atomic_store(&v->closing, true);
    (void)pthread_join(v->ticker, NULL);
}
#else
static void engine_on_signal(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    if (info->si_code == SI_TIMER && info->si_value.sival_ptr != NULL)
        engine_tick(info->si_value.sival_ptr);
}

static err timer_make(vm *v)
{
    struct sigaction action = {.sa_sigaction = engine_on_signal,
                               .sa_flags = SA_SIGINFO | SA_RESTART};
    sigemptyset(&action.sa_mask);
    if (sigaction(SIGRTMIN + 2, &action, NULL) != 0)
        return fail_errno(errno, "take the epoch signal");
    struct sigevent event = {
        .sigev_value.sival_ptr = v, .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN + 2};
    event.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
    if (timer_create(CLOCK_MONOTONIC, &event, &v->timer) != 0)
        return fail_errno(errno, "make the epoch timer");
    v->timer_made = true;
    return ok();
}

static void timer_end(vm *v)
{
    (void)timer_delete(v->timer);
}
#endif

// The order matters: a handler between the two lines finds `quiet` at zero and leaves the timer on.
void engine_arm(vm *v)
{
    atomic_store_explicit(&v->quiet, 0, memory_order_relaxed);
    atomic_signal_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&v->armed, memory_order_relaxed))
        return;
    struct itimerspec each = {.it_interval.tv_nsec = TICK_US * 1000,
                              .it_value.tv_nsec = TICK_US * 1000};
    atomic_store_explicit(&v->armed, true, memory_order_relaxed);
    (void)timer_settime(v->timer, 0, &each, NULL);
}

static void pools_set(wasm_config_t *config, uint32_t calls_max, uint32_t warm_slots_max)
{
    wasmtime_pooling_allocation_config_t *p = wasmtime_pooling_allocation_config_new();
    wasmtime_pooling_allocation_config_total_core_instances_set(p, calls_max);
    wasmtime_pooling_allocation_config_total_memories_set(p, calls_max);
    wasmtime_pooling_allocation_config_total_tables_set(p, calls_max);
    wasmtime_pooling_allocation_config_total_stacks_set(p, calls_max);
    wasmtime_pooling_allocation_config_total_gc_heaps_set(p, 0);
    wasmtime_pooling_allocation_config_max_memory_size_set(p, VM_MEMORY_BYTES_MAX);
    wasmtime_pooling_allocation_config_table_elements_set(p, 65536);
    wasmtime_pooling_allocation_config_max_unused_warm_slots_set(p, warm_slots_max);
    wasmtime_pooling_allocation_config_linear_memory_keep_resident_set(p, KEEP_BYTES);
    wasmtime_pooling_allocation_config_table_keep_resident_set(p, 64 << 10);
    wasmtime_pooling_allocation_config_async_stack_keep_resident_set(p, 32 << 10);
    wasmtime_pooling_allocation_strategy_set(config, p);
    wasmtime_pooling_allocation_config_delete(p);
}

static wasm_config_t *config_make(void)
{
    wasm_config_t *config = wasm_config_new();
    wasmtime_config_epoch_interruption_set(config, true);
    wasmtime_config_max_wasm_stack_set(config, WASM_STACK_BYTES);
    wasmtime_config_async_stack_size_set(config, FIBER_STACK_BYTES);
    wasmtime_config_cranelift_opt_level_set(config, WASMTIME_OPT_LEVEL_SPEED);
    wasmtime_config_memory_init_cow_set(config, true);
    wasmtime_config_memory_may_move_set(config, false);
    wasmtime_config_memory_reservation_set(config, VM_MEMORY_BYTES_MAX);
    wasmtime_config_memory_reservation_for_growth_set(config, 0);
    wasmtime_config_memory_guard_size_set(config, EXPLICIT_BOUNDS ? 0 : 32 << 20);
    wasmtime_config_signals_based_traps_set(config, !EXPLICIT_BOUNDS);
#ifdef __SANITIZE_THREAD__
    wasmtime_config_parallel_compilation_set(config, false); // its pool is not instrumented
#endif
    wasmtime_config_native_unwind_info_set(config, false); // our backtraces follow frame pointers
    wasmtime_config_wasm_threads_set(config, false);
    wasmtime_config_wasm_memory64_set(config, false);
    wasmtime_config_wasm_multi_memory_set(config, false);
    wasmtime_config_wasm_relaxed_simd_set(config, false);
    // No object of a collected heap: no heap per call, no collector's pauses.
    wasmtime_config_gc_support_set(config, false);
    wasmtime_config_wasm_gc_set(config, false);
    wasmtime_config_wasm_function_references_set(config, false);
    wasmtime_config_wasm_exceptions_set(config, false);
    return config;
}

static err engine_make(vm *v, uint32_t warm_slots_max)
{
    wasm_config_t *config = config_make();
    wasmtime_error_t *error = wasmtime_config_target_set(config, CPU_TARGET);
    if (error != NULL) {
        wasmtime_error_delete(error);
        wasm_config_delete(config);
        return fail(ERR_UNSUPPORTED, 0, "the engine can not compile for this processor");
    }
#if defined(__x86_64__)
    for (size_t i = 0; i < COUNT(cpu_flags); i++)
        wasmtime_config_cranelift_flag_enable(config, cpu_flags[i]);
#endif
    pools_set(config, v->calls_max, warm_slots_max);
    v->engine = wasm_engine_new_with_config(config);
    return v->engine != NULL ? ok() : fail(ERR_SYSTEM, 0, "make the engine");
}

err vm_open(vm **out, const vm_settings *settings)
{
    vm *v = calloc(1, sizeof *v);
    if (v == NULL)
        return fail(ERR_MEMORY, 0, "open vm");
    v->calls_max = settings->calls_max > 0 ? settings->calls_max : VM_CALLS_MAX;
    v->fibers_only = settings->fibers_only;
    err e = engine_make(v, settings->warm_slots_max > 0 ? settings->warm_slots_max : 100);
    if (e.code == OK)
        e = abi_link(v);
    if (e.code == OK)
        e = timer_make(v);
    if (e.code != OK) {
        vm_close(v);
        return e;
    }
    *out = v;
    return ok();
}

void vm_close(vm *v)
{
    if (v == NULL)
        return;
    if (v->timer_made)
        timer_end(v);
    call_free_idle(v);
    for (size_t i = 0; i < COUNT(v->linkers); i++)
        if (v->linkers[i] != NULL)
            wasmtime_linker_delete(v->linkers[i]);
    if (v->engine != NULL)
        wasm_engine_delete(v->engine);
    free(v);
}

uint32_t vm_calls_alive(const vm *v)
{
    return v->calls_alive;
}

uint32_t vm_modules_open(const vm *v)
{
    return v->modules_open;
}
