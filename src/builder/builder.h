// Source to WebAssembly in a closed room: the .taubyte contract, recipes, a cache by content.
#pragma once
#include "base/base.h"
#include "base/diagnosis.h"
#include "base/log.h"
#include "io/loop.h"
#include "store/blob.h"

typedef struct builder builder;
typedef struct builder_settings {
    loop *loop;
    blobs *blobs;       // artefacts go there
    const char *folder; // work folders and the cache's index; survives restarts
    // Our own executable, run inside the sandbox as `PROGRAM compile IN.wasm OUT.cwasm CALL
    // MEMORY_BYTES`: checks the guest interface, pre-initialises, compiles; exit 0, or 1 with one
    // line on stderr. (cmd/compile.c)
    const char *program;
    const char *engine; // vm_flags(): part of the cache's key
    log_sink *log;
} builder_settings;
// Clears work folders of a crash. ERR_UNSUPPORTED: no recipes are packed into this program.
err builder_open(builder **out, const builder_settings *settings) MUST_USE;
// Kills what runs; no callback follows. NULL is fine. The children end and their folders go in the
// loop's next turns (some 10 ms), so the loop must still turn before loop_close().
void builder_close(builder *b);

typedef struct build build;
typedef struct build_request {
    // Folder with the function's sources and .taubyte/: exported, and ours until the end (as root
    // it is given to the build's own user; scripts may change it).
    const char *source;
    str source_id;         // id of exactly these bytes (git tree id), for the cache; empty: none
    str name;              // function's name, for messages
    str path;              // "functions/ping_pong": what errors are relative to
    str call;              // export that must be there
    uint64_t memory_bytes; // execution.memory: a module that starts larger is refused
    uint64_t wall_ms_max;  // 0: 10 min
} build_request;
typedef struct build_result {
    bool ok;
    bool cached;
    bool ours;       // failed by our own trouble (disk, memory, sandbox): another try may succeed
    char wasm[65];   // blob of the .wasm (hex sha256)
    char module[65]; // blob of the compiled module
    uint64_t wasm_bytes;
    str language; // go, c, rust, assemblyscript; empty when .taubyte could not be read
    // One line for users, with the place where it is known:
    // "functions/ping_pong/ping.go:12:7: …".
    str error;
} build_result;
// Live output (the compilers' own lines, each with its newline) and one end; never before
// build_start returns. on_output may cancel its own build, no other one.
typedef struct build_events {
    void (*on_output)(void *data, build *b, str text);
    void (*on_end)(void *data, build *b, const build_result *result); // b is gone after it
    void *data;
} build_events;
// Identical builds in flight (same key, same path) are one: each hears all of its output.
err build_start(build **out,
                builder *b,
                const build_request *request,
                const build_events *events) MUST_USE;
void build_cancel(build *b); // kills the children; no further callback
// For `dream doctor` and start-up: which toolchains work here, as found at open. `language` is go,
// c, rust, assemblyscript, or sandbox; `version` is "1.26.1 /usr/local/go"; `problem` is NULL, or
// says why not.
typedef void
builder_toolchain(void *data, const char *language, const char *version, const char *problem);
void builder_toolchains(builder *b, builder_toolchain *each, void *data);
