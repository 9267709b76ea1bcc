// Child processes: from the control loop only, with limits, streamed output and a certain end.
#pragma once
#include "base/base.h"
#include "io/loop.h"

typedef struct proc proc;
typedef struct proc_end {
    int status;          // exit status, or -1 when a signal ended it
    int signal;          // 0, or the signal
    bool timed_out;      // we ended it because of wall_ms_max
    bool output_limit;   // we ended it because of output_bytes_max
    uint64_t cpu_us;     // user + system
    uint64_t peak_bytes; // maximum resident set; 0: below our own, where it can not be told apart
} proc_end;
typedef struct proc_settings {
    const char *const *argv;        // argv[0] is looked up in PATH unless it has a slash; NULL ends
    const char *file;               // what is run; NULL: argv[0]
    const char *const *environment; // NULL ends; NULL pointer: inherited
    const char *folder;             // working directory or NULL
    const int *pass_fds; // descriptors the child gets as 3, 4, … in this order; at most 64
    size_t pass_count;
    uint64_t wall_ms_max;      // 0: none
    uint64_t output_bytes_max; // stdout + stderr; 0: none
    uint64_t memory_bytes_max; // RLIMIT_AS; 0: none
    uint64_t cpu_s_max;        // RLIMIT_CPU; 0: none
    bool own_group;            // own process group: proc_kill ends all of it, and what is left of
                               // it when the first process and its output have ended is killed
    bool want_input;           // a pipe for proc_write; otherwise /dev/null
    bool merge_output;         // stderr arrives as stdout, in order
    void (*on_output)(void *data, proc *p, int stream, str bytes); // 1 or 2; NULL: dropped
    void (*on_input_drain)(void *data, proc *p); // queue of proc_write became small; may be NULL
    // Once, after all output; p is freed after it returns. Waits for output that is paused, but
    // only 200 ms for a grandchild that holds a pipe open.
    void (*on_end)(void *data, proc *p, const proc_end *end);
    void *data;
} proc_settings;
// The child dies when our thread dies (parent-death signal). ERR_ABSENT: no such program or folder.
// ERR_DENIED. Its end takes SIGTERM and 500 ms later SIGKILL when wall_ms_max has passed. What
// `settings` points to is not needed after this returns, and nothing of it is left when it fails.
err proc_start(proc **out, loop *l, const proc_settings *settings) MUST_USE;
// Copies. ERR_LIMIT: more than 64 MiB would be queued. ERR_CLOSED: nobody reads.
err proc_write(proc *p, str bytes) MUST_USE;
size_t proc_write_queued(const proc *p);
void proc_write_end(proc *p);                 // closes the child's input after what is queued
void proc_output_pause(proc *p, bool paused); // back-pressure
void proc_kill(proc *p, int signal_number);   // the group when own_group
int proc_id(const proc *p);
