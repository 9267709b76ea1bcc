// The inside of substrate: what every project serves, its functions' counts, its log.
#pragma once
#include "base/json.h"
#include "base/map.h"
#include "protocol/protocol.h"
#include "protocol/record.h"
#include "store/ring.h"
#include "worker/workers.h"

enum {
    PROJECTS_MAX = 100 * 1000,
    FUNCTIONS_MAX = 1000 * 1000,
    DOCUMENT_ASK_MS = 10 * 1000,
    DOCUMENT_RETRY_MS = 1000,
    DOCUMENT_FIRST_RETRY_MS = 50, // until the first routes: tns may be a process that starts too
    PUBLISH_FIRST_MS = 3000,      // at most, for all live documents to be there
    PUBLISH_WAIT_MS = 20,         // for documents that are on their way
    PROJECT_BYTES_MAX = 32 << 20, // of a document as it is parsed
    MODULE_BYTES_MAX = 512 << 20,
    MODULE_INLINE_BYTES = 1 << 20, // larger files are read by a helper thread
    LOG_BYTES_MAX = 8 << 20,       // of a project's lines on disk
    LOGS_OPEN_MAX = 64,
    LOG_LINES_MAX = 1000, // of one answer
    LOG_ANSWER_BYTES_MAX = 768 << 10,
    LOG_SEARCH_LINES = 20 * 1000, // looked through for the last lines of one function
    RECENT_MS = 30 * 1000,        // as long as workers keep a module
};

// What one function did since this process started; outlives its deployment's document.
typedef struct function_count {
    uint64_t calls, failures, time_us, lost;
    uint64_t last_real_ms;
    char *project; // id; owned
    char *name;    // owned
} function_count;

typedef struct substrate substrate;
typedef struct document_ask document_ask;
typedef struct project {
    substrate *substrate;
    char *id;
    arena *memory; // of what follows; NULL: nothing is served yet
    route_function *functions;
    size_t functions_count;
    route *routes; // `function` counts within this project
    size_t routes_count;
    uint64_t asked;     // number of the newest ask; older answers are dropped
    uint64_t revision;  // whose routes those are
    uint64_t published; // that the workers were given last
    bool removed;
    ring *log; // opened with its first line or reader
    uint64_t log_used_ms;
} project;

struct substrate {
    protocol_context context;
    uint64_t opened_ms;
    bool published;   // the first routes
    workers *workers; // NULL once they are gone
    mesh_watch *watch;
    map *projects;         // id -> project
    uint64_t kept_us_p999; // how long workers' loops are kept from their next event
    map *counts;           // function id -> function_count
    map *modules;          // hash -> (any) of all live documents
    document_ask *asked;   // documents on their way
    size_t asks;           // so many
    uint64_t numbers;
    bool complete; // the watch has given all there was
    timer *publish, *retry;
    struct serving *serving; // asks that wait until a revision is served
    timer *serving_timer;
    size_t logs_open;
    size_t works; // helper threads that still know us
    bool closing;
    void (*closed)(void *data);
    void *closed_data;
};

// routes.c: from a document to routes. ERR_SYNTAX: damaged.
err routes_read(project *p, arena *a, str document) MUST_USE;
void routes_publish(substrate *s);
// modules.c
void modules_on_want(void *data, uint64_t ticket, str hash);
void modules_close(substrate *s);
// serving.c
err serving_open(substrate *s) MUST_USE;
void serving_close(substrate *s);
// lines.c
err lines_serve(substrate *s) MUST_USE;
void lines_on_output(void *data, const worker_output *line);
void lines_on_lost(void *data, size_t slot, str function, str request, str why);
// substrate.c
project *substrate_project(substrate *s, str id); // NULL: not known
void substrate_end(substrate *s);                 // frees when nothing is under way any more
