// Runs guest functions: compiled modules, fresh memory for each call, limits, the guest interface.
#pragma once
#include "base/base.h"
#include "base/buf.h"

// One engine with its pools. Owner lifetime; everything of one vm belongs to the thread that opened
// it (a loop's), and the compile side to any one thread at a time.
typedef struct vm vm;
typedef struct vm_module vm_module;
typedef struct vm_call vm_call;

enum {
    VM_CALLS_MAX = 1000,              // default of vm_settings.calls_max
    VM_TIMEOUT_MS = 10000,            // default of vm_function.timeout_ms
    VM_RESPONSE_BYTES_MAX = 32 << 20, // default of vm_function.response_bytes_max
    VM_MEMORY_BYTES_MAX = 256 << 20,  // no guest memory is ever larger
    VM_COMMIT_BYTES = 64 << 10,       // a response body this large starts to stream
    VM_OUTPUT_BYTES_MAX = 64 << 10,   // stdout and stderr of one call together
    VM_LINE_BYTES_MAX = 8 << 10,      // a longer line of output is cut in several
    VM_HEADERS_MAX = 256,             // response headers of one call
    VM_HEADER_BYTES_MAX = 32 << 10,   // their bytes together
    VM_WASM_BYTES_MAX = 128 << 20,    // of a module before compilation
};

typedef struct vm_settings {
    uint32_t calls_max;      // guest calls alive at once, waiting ones too; 0: VM_CALLS_MAX
    uint32_t warm_slots_max; // unused memories that stay resident; 0: 100
    bool fibers_only;        // never the synchronous first slice (tests, measurements)
} vm_settings;
// Reserves (does not use) calls_max * 258 MiB of address space: no RLIMIT_AS below that, and where
// only compilation is wanted calls_max is 1; the engine aborts the process when it gets none. Takes
// one signal (SIGRTMIN + 2) of the process for the epoch timer, armed only while guests run.
err vm_open(vm **out, const vm_settings *settings) MUST_USE;
void vm_close(vm *v); // no call may be alive, all modules dropped; NULL is fine
// Engine version, its settings that enter compiled code, CPU baseline: part of a cache key. Static
// text.
const char *vm_flags(const vm *v);
uint32_t vm_calls_alive(const vm *v);
uint32_t vm_modules_open(const vm *v);

// --- Build time -----------------------------------------------------------------------------

// What a module is, and what is wrong with it for our guest interface.
typedef struct vm_manifest {
    bool has_initialize; // exports _initialize: () -> ()
    bool has_start;      // exports _start: () -> () (and no _initialize)
    bool start_section;
    bool may_grow;         // its memory's maximum is not its minimum
    bool go;               // built by the standard Go toolchain (section go:buildid or go.buildid)
    uint64_t memory_bytes; // at the start
    str problem;           // empty when all is well: a sentence for the user, in the arena
} vm_manifest;
// Reads the sections of a module (never runs or compiles it) and checks: `call` (skipped when
// empty) is exported as (i32) -> () or (i32) -> (i32), `memory` is exported, every import is one
// that we provide with that signature; else `problem` names the first offender. Only ERR_MEMORY
// fails.
err vm_inspect(arena *a, str wasm, str call, vm_manifest *out) MUST_USE;
// The wasm bytes of an artefact: raw, gzip or zip (its entry main.wasm or artifact.wasm).
// ERR_SYNTAX when it is none of these, ERR_LIMIT past VM_WASM_BYTES_MAX.
err vm_unpack(arena *a, str artefact, str *wasm) MUST_USE;
// Compiles into `cwasm` (append). A module that does not validate is ERR_SYNTAX with the engine's
// words in `problem`. Runs for milliseconds to seconds: never on a loop, and with foreign modules
// only in a sandbox. Result depends on vm_flags() and the wasm alone.
err vm_compile(vm *v, arena *a, str wasm, buf *cwasm, str *problem) MUST_USE;
// The same, but a module that exports _initialize (and whose manifest says `go`, or any with
// `always`) has it run first, once, and its memory written into the module.
err vm_prepare(vm *v, arena *a, str wasm, bool always, buf *cwasm, str *problem) MUST_USE;

// --- Modules --------------------------------------------------------------------------------

// What a function's configuration says; texts are copied by vm_module_open().
typedef struct vm_function {
    str name;                    // for messages and the guest's argv[0]
    str id;                      // selfId
    str project;                 // selfProject
    str application;             // selfApplication, may be empty
    str branch;                  // selfBranch
    str commit;                  // selfCommit
    str call;                    // the exported function to call
    uint32_t timeout_ms;         // 0: VM_TIMEOUT_MS
    uint64_t memory_bytes_max;   // 0 or more than VM_MEMORY_BYTES_MAX: that
    uint64_t response_bytes_max; // 0: VM_RESPONSE_BYTES_MAX
} vm_function;
// Maps a compiled module ("/proc/self/fd/N" of a sealed memfd: the bytes are trusted code and must
// not change) and links it: about 60 us. The descriptor may be closed afterwards. ERR_ABSENT when
// the file or the export `call` is not there, ERR_CONFLICT when it was compiled with other
// vm_flags(), ERR_LIMIT when its initial memory exceeds memory_bytes_max, ERR_UNSUPPORTED for an
// import unknown to us.
err vm_module_open(vm *v, const char *path, const vm_function *f, vm_module **out) MUST_USE;
vm_module *vm_module_keep(vm_module *m);
void vm_module_drop(vm_module *m); // the last one unloads; calls hold one each; NULL is fine
// Anything the owner hangs on the module (a counter, a log); not touched here.
void vm_module_set_user(vm_module *m, void *user);
void *vm_module_user(const vm_module *m);

// --- Calls ----------------------------------------------------------------------------------

typedef struct vm_header {
    str name;
    str value;
} vm_header;
typedef enum { VM_EVENT_NONE, VM_EVENT_HTTP, VM_EVENT_PUBSUB, VM_EVENT_P2P } vm_event_kind;
// The request, borrowed until on_done has returned.
typedef struct vm_event {
    vm_event_kind kind; // only VM_EVENT_HTTP today
    str method;
    str host;   // as the Host header, with port
    str path;   // percent-decoded, without query
    str query;  // raw, without "?"
    str remote; // address of the client
    str body;   // whole
    const vm_header *headers;
    size_t headers_count;
} vm_event;

typedef struct vm_response {
    uint16_t status;
    const vm_header
        *headers;         // in the order of the guest's calls; names as it wrote them, checked to
    size_t headers_count; // be tokens, values free of CR, LF and NUL
    str body;
} vm_response;

typedef enum {
    VM_OK,
    VM_TRAP,     // the guest trapped, or left by proc_exit with a status that is not 0
    VM_TIMEOUT,  // past timeout_ms
    VM_MEMORY,   // tried to grow past memory_bytes_max
    VM_RESPONSE, // wrote more than response_bytes_max
    VM_EXPORT,   // the function is not exported (or not with one i32 parameter)
    VM_REFUSED,  // we could not run it (no slot, no memory of ours)
} vm_outcome_kind;
const char *vm_outcome_name(vm_outcome_kind kind); // "ok", "trap", "timeout", ...
typedef struct vm_outcome {
    vm_outcome_kind kind;
    bool committed; // on_head was called before: a failure must break the connection off
    const vm_response
        *whole;            // the response when kind is VM_OK and nothing was committed, else NULL
    str message;           // why it failed, one line, for the function's log (not for the public)
    str backtrace;         // wasm frames, one line each, may be empty
    uint64_t run_us;       // time on the processor, all slices (wall clock of each)
    uint64_t wall_us;      // from start to end
    uint64_t memory_bytes; // largest linear memory
    uint64_t body_bytes;   // written by the guest in all
    uint32_t slices;       // how often it was given the processor
} vm_outcome;

// Whoever starts a call gets these. All strings are valid during the callback only. None is called
// after on_done; on_done is called exactly once for each successful vm_call_start(), perhaps before
// that returns, and the call is gone when it returns. No callback may call vm_call_* for this call.
typedef struct vm_call_owner {
    // The head of a response that streams (flush, or VM_COMMIT_BYTES reached); once, then on_body.
    void (*on_head)(vm_call *c, uint16_t status, const vm_header *headers, size_t count);
    void (*on_body)(vm_call *c, str bytes);
    void (*on_done)(vm_call *c, const vm_outcome *outcome);
    // A line of the guest's stdout (1) or stderr (2), without its newline; also env._log and
    // console.log (1), abort messages (2). May be NULL.
    void (*on_output)(vm_call *c, int stream, str line);
    // The guest waits: call vm_call_resume() in `ms` (never 0) milliseconds.
    void (*on_wait)(vm_call *c, uint32_t ms);
    // The guest has used up its slice: call vm_call_resume() in the loop's next turn, after others.
    void (*on_again)(vm_call *c);
} vm_call_owner;

// Starts a call and runs its first slice. When all ends in it (the common case) on_done is the only
// callback beside on_output. ERR_BUSY: calls_max are alive, nothing was called. ERR_UNSUPPORTED:
// the event's kind.
err vm_call_start(vm_module *m,
                  const vm_event *event,
                  const vm_call_owner *owner,
                  void *user) MUST_USE;
void *vm_call_user(const vm_call *c);
vm_module *vm_call_module(const vm_call *c);
// Goes on after on_wait or on_again; may end in callbacks. Earlier than asked is allowed: the guest
// keeps waiting and on_wait comes again.
void vm_call_resume(vm_call *c);
// Ends a call that waits for vm_call_resume(): no further callback, the event is free again.
void vm_call_cancel(vm_call *c);
