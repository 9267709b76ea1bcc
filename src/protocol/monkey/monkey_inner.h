// monkey's own rooms: a job is fetched, built, published, and reported at each step.
#pragma once
#include "base/diagnosis.h"
#include "builder/builder.h"
#include "model/model.h"
#include "protocol/protocol.h"
#include "protocol/record.h"

enum {
    JOB_LEASE_MS = 15 * 1000, // without a heartbeat for so long, somebody else gets the job
    JOB_BEAT_MS = 5 * 1000,
    JOB_MEMORY_BYTES = 300 << 20, // the model of a very large project
    JOB_LOG_FLUSH_MS = 100,
    JOB_LOG_PIECE_BYTES = 64 * 1024,
    JOB_ASK_MS = 20 * 1000,
    JOB_SERVED_MS = 6 * 1000, // for each substrate to serve what is live
    JOB_ATTEMPTS_MAX = 3, // of failures that are ours (a lost node, a full disk), not the user's
    JOB_PAUSE_S_MAX = 3,  // between attempts
    SOURCE_BYTES_MAX = 1 << 30,
    BUILDS_AT_ONCE = 2, // of one job
};

// One function to build, and what came out.
struct monkey_build {
    struct monkey_job *job;
    const model_function *function;
    str path;           // "functions/ping_pong" in the code repository
    const char *folder; // its exported sources
    char tree[41];
    sha256 archive; // of its sources, when they come from elsewhere
    build *running;
    bool ended;
    build_result result; // texts in the job's arena
};

// A job from claim to report. Lives on the control loop; `fetch` alone runs on a helper thread
// meanwhile.
struct monkey_job {
    struct monkey *monkey;
    arena *memory;
    str id, claim;
    uint64_t attempt;
    job_record job;
    repository_record configuration, code; // filled one after the other
    project_record project;
    const char *folder;                                     // work folder of this job
    const char *configuration_repository, *code_repository; // bare repositories on this disk
    // Without them: what is fetched from the node that has them (remote.c).
    sha256 configuration_archive;
    size_t source_at;    // the function whose sources are asked for
    size_t source_place; // where they may stand
    model *model;
    diagnoses found;
    struct monkey_build *builds;
    size_t builds_count, builds_started, builds_ended;
    size_t stashed; // blobs that hoarder knows by now: two of each build
    err fetch_error;
    buf log;        // lines not yet with patrick
    bool log_asked; // one piece is on its way
    bool ending;    // the last report is on its way
    bool released;  // the claim is given up: freed as soon as no ask and no helper thread has it
    size_t asks;    // on their way
    size_t serving; // answers that are waited for, of substrates
    bool cancelled;
    bool fetching; // a helper thread works for it
    uint64_t revision;
    uint64_t started_ms;
    timer *flush;
    struct monkey_job *next;
};

struct monkey {
    protocol_context context;
    builder *builder;
    mesh_claims *claims;
    void (*idle)(void *data); // set: it is drained
    void *idle_data;
    timer *beat;
    struct monkey_job *jobs;
    uint64_t done, failed;
    void (*closed)(void *data); // set while closing
    void *closed_data;
};

// run.c
void monkey_job_start(struct monkey *m, const mesh_item *item);
void monkey_job_fail(struct monkey_job *j,
                     err e,
                     bool again); // ours: tried again later while attempts are left
void monkey_job_end(struct monkey_job *j, const char *state, str error);
void monkey_job_free(struct monkey_job *j);
void monkey_job_release(struct monkey_job *j, bool again);
// The same of one node, for so long at most.
void monkey_job_ask_node(struct monkey_job *j,
                         str node,
                         message_kind kind,
                         const void *fields,
                         uint64_t deadline_ms,
                         mesh_replied *then);
// Ends the job as done once the substrates that run serve its revision (served.c).
void monkey_job_served(struct monkey_job *j);
void monkey_job_ask(struct monkey_job *j,
                    message_kind kind,
                    const void *fields,
                    mesh_replied *then);
void monkey_job_fetched(struct monkey_job *j);
void monkey_job_say(struct monkey_job *j, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
// fetch.c: exports both trees and reads the configuration on a helper thread, then
// monkey_job_fetched.
void monkey_job_fetch(struct monkey_job *j);
bool monkey_job_is_remote(const struct monkey_job *j); // the repositories are elsewhere
// On the helper thread.
err fetch_model(struct monkey_job *j) MUST_USE;  // of the files in the job's folder "config"
err fetch_builds(struct monkey_job *j) MUST_USE; // one for each function that is built here
str fetch_path(struct monkey_job *j, const struct monkey_build *b, size_t place); // none: empty
void fetch_missing(struct monkey_job *j, const struct monkey_build *b);
const char *fetch_folder(struct monkey_job *j, size_t number); // made; NULL: not
// remote.c: the same by auth.source, blob by blob.
void monkey_job_fetch_remote(struct monkey_job *j);
// publish.c
void monkey_job_build(struct monkey_job *j);
void monkey_job_publish(struct monkey_job *j);
void monkey_job_report(struct monkey_job *j, const char *state, str error, mesh_replied *then);
