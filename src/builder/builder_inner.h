// The builder's own rooms: tools found here, the contract of a source, the closed room, jobs,
// cache.
#pragma once
#include "base/buf.h"
#include "builder/builder.h"
#include "io/proc.h"
#include "io/sandbox.h"

#include <limits.h>
#include <stdatomic.h>

enum {
    STEPS_MAX = 16,
    VARIABLES_MAX = 64,
    BUILD_WALL_MS = 10 * 60 * 1000,
    COMPILE_WALL_MS = 2 * 60 * 1000,
    FETCH_WALL_MS = 5 * 60 * 1000,
    BUILD_OUTPUT_BYTES_MAX = 4 << 20,
    BUILD_PROCESSES_MAX = 256,
    BUILD_FILES_MAX = 4096,           // open ones, per process
    BUILD_LINE_BYTES_MAX = 8 << 10,   // a longer line of output is cut in several
    BUILD_REPLAY_BYTES_MAX = 1 << 20, // what a build that joins a running one is told of the past
    BUILD_DISK_WATCH_MS = 300,
    ARTEFACT_BYTES_MAX = 128 << 20,
    MODULE_BYTES_MAX = 512 << 20,
    ARGUMENTS_MAX = 512,
};
#define BUILD_FILE_BYTES_MAX   (256ULL << 20)
#define BUILD_DISK_BYTES_MAX   (1ULL << 30) // below /src and /out
#define BUILD_TMP_BYTES_MAX    (512ULL << 20)
#define BUILD_MEMORY_BYTES_MAX (2ULL << 30)

// --- tools.c: which toolchains are here; reads files, starts nothing --------------------------
typedef struct tools {
    char bubblewrap[PATH_MAX], go_root[PATH_MAX], clang[PATH_MAX], go_cache[PATH_MAX];
    char go_version[64], clang_version[64];
    char host[32]; // name of this builder's rooms, by which their leftovers are known
    const char *sandbox_problem, *go_problem, *clang_problem; // NULL: works
} tools;
void tools_find(tools *t);
// Ends rooms of a builder that was killed: bubblewrap's inner half waits for ever when its outer
// half dies between making it and telling it. Only one builder at a time has a folder. Blocks.
void leftovers_end(const char *host);
// Writes recipes and headers to `folder` (emptied first); `hash` is of all of them. Blocks.
err tools_write_recipes(arena *a, const char *folder, sha256 *hash) MUST_USE;

// --- contract.c: .taubyte/config.yaml ---------------------------------------------------------
typedef struct contract {
    str folder;   // ".taubyte" or "taubyte"
    str language; // go, c, rust, assemblyscript
    str image;
    str steps[STEPS_MAX];
    size_t steps_count;
    str names[VARIABLES_MAX], values[VARIABLES_MAX];
    size_t variables_count;
} contract;
// Reads and checks it; what the user did wrong becomes `problem` ("functions/x/.taubyte/…:2:3: …"),
// empty when all is well. All texts in `a`. Blocks.
err contract_read(arena *a, const char *source, str path, contract *out, str *problem) MUST_USE;
// A regular file below `folder`, no link on the way. ERR_ABSENT, ERR_LIMIT, ERR_DENIED (no such
// file).
err source_read(arena *a, const char *folder, const char *path, size_t limit, str *out) MUST_USE;

// --- output.c: the compilers' lines, with the user's paths ------------------------------------
typedef struct output {
    str path; // replaces /src
    buf line; // the unfinished one
    buf said; // all so far, up to BUILD_REPLAY_BYTES_MAX
    int rank; // of `error`
    char error[1024];
    char first[512]; // line of this room
} output;
void output_open(output *o, str path);
void output_close(output *o);
void output_begin(
    output *o); // another room speaks: what the last one said explains nothing any more
// Calls `line` for each finished line, with its newline.
void output_add(output *o, str bytes, void (*line)(void *data, str text), void *data);
void output_end(output *o,
                void (*line)(void *data, str text),
                void *data); // the rest without newline
// The best line of all that was said to explain a failure; empty when nothing was said.
str output_error(const output *o, bool *placed);
str output_first(const output *o); // the first line

// --- room.c: bubblewrap -----------------------------------------------------------------------
typedef enum { ROOM_SCRIPT, ROOM_FETCH, ROOM_COMPILE } room_kind;
typedef struct room {
    room_kind kind;
    const tools *tools;
    const char *utils;   // recipes
    const char *source;  // /src
    const char *out;     // /out
    const char *fetched; // /fetched: what ROOM_FETCH resolved, or NULL
    const char *program; // of ROOM_COMPILE
    const contract *contract;
    str call; // of ROOM_COMPILE
    uint64_t memory_bytes;
    unsigned uid;     // whom it runs as when we are root
    bool waits;       // begins when "go\n" is written to it
    int filter;       // seccomp program
    int wasm, module; // of ROOM_COMPILE
    uint64_t wall_ms_max;
} room;
// The callbacks of `events` and its data are taken from there.
err room_start(proc **out, loop *l, arena *a, const room *r, const proc_settings *events) MUST_USE;
// Gives a tree to another user (we are root), following no link. Blocks.
err tree_give(const char *folder, unsigned uid) MUST_USE;
uint64_t tree_bytes(const char *folder); // blocks

// --- cache.c ----------------------------------------------------------------------------------
typedef struct cache_entry {
    sha256 wasm, module;
    uint64_t wasm_bytes;
} cache_entry;
// ERR_ABSENT when it is not there or one of its blobs is gone. Both block.
err cache_get(
    arena *a, blobs *kept, const char *folder, const sha256 *key, cache_entry *out) MUST_USE;
err cache_put(const char *folder, const sha256 *key, const cache_entry *entry) MUST_USE;

// --- builder.c, job.c -------------------------------------------------------------------------
typedef struct job job;
struct builder {
    builder_settings settings; // texts in `memory`
    arena *memory;
    tools tools;
    const char *utils, *work, *index;
    sha256 recipes;
    int filter;
    uint64_t next;  // number of the next work folder
    uint64_t place; // of the folder's name: tells builders of one machine apart
    job *jobs;
    bool closing;
    atomic_bool no_groups; // cgroups do not work here, as the first build found
};
struct build {
    job *job;
    build_events events;
    build *next;
};
// The job runs for its builds; it frees itself some time after the last one is gone.
struct job {
    builder *builder;
    arena *memory;
    job *next;
    build *builds;
    // the request
    const char *source;
    str source_id, name, path, call;
    uint64_t memory_bytes, wall_ms_max;
    // found while preparing
    const char *folder, *out, *fetched_folder;
    contract contract;
    sha256 key;
    cache_entry entry;
    bool cached, prepared, fetched, fetch_wanted, stored;
    unsigned slot; // the smallest number that no other job has
    unsigned uid;
    process_group_limits *group; // of ROOM_SCRIPT; NULL: none
    // now
    room_kind stage;
    proc *running;
    int pid; // of `running`, for the helper thread
    timer *watch;
    int works;  // helper threads that have it
    bool ended; // nobody hears of it any more
    bool disk_full;
    output output;
    int wasm, module;
    uint64_t disk_bytes;
    err failed;  // of the last helper thread
    str problem; // the user's, of the last helper thread; empty when all is well
};
err job_start(builder *b, const build_request *request, build *first) MUST_USE;
void job_leave(job *j, build *who); // the last one ends the job
void job_kill(job *j);
void job_prepare(void *data); // of a helper thread: leaves `failed`, `problem`, or a job to run
void builder_job_gone(builder *b); // frees the builder when it is closing and this was the last
