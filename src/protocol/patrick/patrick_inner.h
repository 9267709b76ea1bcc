// patrick's own rooms: pushes become job rows, rows are moved by the monkey that holds the claim,
// logs are kept.
#pragma once
#include "protocol/protocol.h"
#include "protocol/record.h"

enum { JOB_LOG_BYTES_MAX = 10 * 1024 * 1024, JOBS_LISTED_MAX = 500, DEPLOYMENT_SIZE_MAX = 16 };

struct patrick {
    protocol_context context;
    uint64_t last_sequence;    // grows: real time in microseconds, or one more than the last
    struct push *recording;    // its commit is on its way
    struct push *first, *last; // wait for it
    bool closed;
};

uint64_t patrick_sequence(struct patrick *p);
err patrick_job_get(
    struct patrick *p, arena *a, str id, job_record *out, uint64_t *revision) MUST_USE;
bool patrick_job_has_ended(str state);
// The changes that add a job: its row, its indexes, its item in the queue. `changes` has room for
// 4; count grows.
void patrick_job_changes(arena *a, const job_record *job, store_change *changes, size_t *count);

err patrick_push_serve(struct patrick *p) MUST_USE;
void patrick_push_close(struct patrick *p); // what is being recorded forgets us
err patrick_jobs_serve(struct patrick *p) MUST_USE;
err patrick_log_serve(struct patrick *p) MUST_USE;
void patrick_http(void *state, http_exchange *x);
