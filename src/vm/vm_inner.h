// What the files of vm/ share: the engine, modules, calls, and how a host function sees its guest.
#pragma once
#include "vm/vm.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>
// Two of its headers declare functions with empty parentheses.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wstrict-prototypes"
#include <wasmtime.h>

#include <engine.h>
#include <wasm.h>
#pragma GCC diagnostic pop

enum {
    TICK_US = 1000,   // one epoch; a fiber's slice
    SYNC_TICKS = 2,   // budget of the synchronous first slice: between 1 and 2 ms
    QUIET_TICKS = 50, // the timer stops after so many ticks without a guest
    WASM_STACK_BYTES = 512 << 10,
    FIBER_STACK_BYTES = 1 << 20, // the rest is for host functions
    KEEP_BYTES = 192 << 10,      // of a memory, cleared by writing zeroes instead of by the kernel
    TEXT_BYTES_MAX = 16 << 10,   // message and backtrace of a failed call
    KEPT_BUF_BYTES = 64 << 10,   // a finished call's buffer larger than this is freed
    IDLE_CALLS_MAX = 64,         // finished calls kept for reuse
    LIST_ENTRIES_MAX = 1000,     // query or header names in one list
    RANDOM_BYTES_MAX = 1 << 20,  // of one host call
    SPIN_US = 20,                // a wait this short is not worth a fiber
    FIBER_CREDIT = 64,           // so many calls start on a fiber after one that had to
};
#define RESEED_EXPORT "_reseed" // a pre-initialised guest draws its random state anew: () -> ()

struct vm {
    wasm_engine_t *engine;
    wasmtime_linker_t *linkers[2]; // waiting functions trap "again"; waiting functions suspend
    vm_call *idle;                 // free list
    uint32_t idle_count;
    uint32_t calls_max;
    uint32_t calls_alive;
    uint32_t modules_open;
    bool fibers_only;
    // The epoch timer: its handler runs on the vm's own thread (see engine.c).
    timer_t timer;
#ifdef __SANITIZE_THREAD__
    pthread_t ticker;
    _Atomic bool closing;
#endif
    bool timer_made;
    _Atomic bool armed;
    _Atomic uint32_t running; // guests on the processor
    _Atomic uint32_t quiet;   // ticks since the last one
};

struct vm_module {
    vm *v;
    vm_function f; // texts in `texts`
    char *texts;
    wasmtime_module_t *code;
    wasmtime_instance_pre_t *pre[2]; // as vm.linkers; [1] is made when first needed
    void *user;
    uint32_t holders;
    uint32_t fiber_credit; // > 0: start on a fiber, the last ones had to
    const char *first;     // "_initialize", "_start" or NULL: runs before the call
    bool reseed;
    uint8_t result; // how many results the call has: 0 or 1
    bool limited;   // its memory may grow: it needs the limiter
};

typedef struct head_span {
    uint32_t name_at;
    uint32_t name_len;
    uint32_t value_at;
    uint32_t value_len;
} head_span;

// What the guest has written so far.
typedef struct answer {
    uint16_t status; // 0: not set
    bool committed;
    bool flush; // commit at the end of the slice
    uint32_t headers;
    uint64_t body_bytes; // in all
    buf head;            // names and values
    buf body;            // not yet given to the owner
    head_span spans[VM_HEADERS_MAX];
    vm_header list[VM_HEADERS_MAX]; // made from spans when the head goes out
} answer;

// Lines of stdout and stderr.
typedef struct output {
    buf lines;      // finished: stream byte, u32 length, bytes
    buf partial[2]; // not ended by a newline yet
    uint32_t bytes; // in all
    bool cut;
} output;

typedef enum { STAGE_INSTANTIATE, STAGE_FIRST, STAGE_RESEED, STAGE_CALL, STAGE_DONE } call_stage;

struct vm_call {
    vm *v;
    vm_module *module;
    vm_event event;
    const vm_call_owner *owner;
    void *user;
    vm_call *next; // in the free list
    uint64_t started_us;
    uint64_t deadline_us;
    uint64_t run_us;
    uint64_t memory_bytes;
    uint32_t slices;

    // The engine's side; valid while `store` is.
    wasmtime_store_t *store;
    wasmtime_context_t *context;
    wasmtime_call_future_t *future;
    wasm_trap_t *trap;
    wasmtime_error_t *error;
    wasmtime_instance_t instance;
    wasmtime_memory_t memory;
    wasmtime_func_t function;
    wasmtime_val_t argument;
    wasmtime_val_t result;
    bool memory_known;
    bool instantiated; // `instance` is one
    bool fiber;
    call_stage stage;

    // Set by host functions.
    bool again;   // this cannot go on without a fiber
    bool waiting; // suspended until wake_us
    uint64_t wake_us;
    bool exited; // proc_exit was called
    uint32_t exit_code;
    bool refused; // `refusal` says why a host function ended the guest
    vm_outcome_kind refusal;
    size_t body_read;
    bool body_closed;

    answer answer;
    output output;
    buf scratch; // a list or a decoded value between host calls
    buf text;    // message and backtrace
    size_t message_len;
};

// --- engine.c
void engine_arm(vm *v);     // before a guest gets the processor
void call_free_idle(vm *v); // call.c

// --- abi.c
typedef struct guest {
    vm_call *call;
    uint8_t *memory; // of the calling instance, valid until it runs again
    size_t size;
    bool leave; // the guest is to be ended: by `again`, exit or refusal of the call
} guest;
typedef uint32_t (*abi_run)(guest *g, wasmtime_val_raw_t *values);
typedef struct abi_function {
    const char *module;
    const char *name;
    const char *parameters;
    const char *result;
    abi_run run;
    bool waits;
} abi_function;
extern const abi_function abi_functions[];
extern const size_t abi_functions_count;
err abi_link(vm *v) MUST_USE; // fills the two linkers

// NULL when [at, at + len) is not all inside the guest's memory; len 0 is inside everywhere <=
// size.
static inline uint8_t *guest_at(const guest *g, uint32_t at, uint32_t len)
{
    return (uint64_t)at + len <= g->size ? g->memory + at : NULL;
}
bool guest_put_u32(const guest *g, uint32_t at, uint32_t value);
bool guest_put_u64(const guest *g, uint32_t at, uint64_t value);
bool guest_text(const guest *g, uint32_t at, uint32_t len, str *out); // a view, not a copy
// Ends the guest: the call's outcome will be `kind` with this message (printf).
void guest_refuse(guest *g, vm_outcome_kind kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
// Suspends until `us` from now; without a fiber ends the guest with `again`. 0 goes on at once.
void guest_wait(guest *g, uint64_t us);

// The errno of taubyte/sdk that are in use here (reference: position in the list).
enum {
    SDK_OK = 0,
    SDK_EVENT = 1,
    SDK_BUFFER = 2,
    SDK_ADDRESS = 3,
    SDK_NIL = 4,
    SDK_WRITE = 5,
    SDK_READ_BODY = 6,
    SDK_EOF = 8,
    SDK_HEADERS = 9,
    SDK_MEMORY_WRITE = 12,
    SDK_RANDOM = 110,
};

// --- query.c
// The first value of `key` in a raw query, percent-decoded into `out` (cleared); false when absent.
bool query_value(str query, str key, buf *out);
void query_keys(str query, buf *out); // each key once, followed by NUL

// --- answer.c
void answer_clear(answer *a);
void answer_close(answer *a);
bool answer_header(answer *a, str name, str value); // false: bad characters or too many
bool answer_has(const answer *a, str name);
const vm_header *answer_headers(answer *a); // answer.headers of them
uint16_t answer_status(const answer *a);

// Empty for the next call; a large one does not stay.
static inline void buf_reuse(buf *b)
{
    if (b->room > KEPT_BUF_BYTES)
        buf_close(b);
    buf_clear(b);
}

// --- output.c
void guest_output_write(output *o, int stream, str bytes);
void guest_output_flush(output *o); // unfinished lines too
void guest_output_clear(output *o);
void guest_output_close(output *o);
void guest_output_deliver(vm_call *c);

// --- module.c
err module_link(vm_module *m, bool fiber) MUST_USE; // makes pre[fiber] when it is not there

// --- call_end.c
void call_explain(vm_call *c, vm_outcome *outcome); // reads and deletes trap and error
