// Giving up power: seccomp for workers, sealed memory files, limits that degrade.
#pragma once
#include "base/base.h"

// What a worker may still do after start: its sockets, memory, clocks, futexes, reading what it was
// handed. No exec, no fork, no ptrace, no new files by path for writing, no bpf, no keyring, no
// mount. Calls that are not on the list give EPERM (a log line names them in debug builds). No way
// back. The filter binds all threads, the rest (no capabilities, a Landlock domain that hides other
// processes' memory in /proc) only those that are started later: call it before the first. Sockets
// are handed over bound: bind() is not on the list, connect and listen are. Under AddressSanitizer
// leave by _exit(): the leak check at exit would ptrace, and be killed.
err sandbox_worker(void) MUST_USE;
// The seccomp program for builds, written to a sealed memfd for bubblewrap's --seccomp FD: denies
// what no compiler needs (ptrace, keyctl, bpf, mount, unshare, kexec, perf_event_open, userfaultfd,
// …).
err sandbox_build_filter(int *fd) MUST_USE;
// A sealed (no write, no grow, no shrink) memory file with these bytes; executable mapping allowed.
err memory_file(const char *name, str bytes, int *fd) MUST_USE;
// A shared anonymous page range of `size` bytes for counters between control process and worker;
// both may write, neither resize.
err memory_shared(const char *name, size_t size, int *fd, void **at) MUST_USE;
// The same at the other side. ERR_LIMIT when the file is smaller than `size`.
err memory_map_shared(int fd, size_t size, void **at) MUST_USE;
// Limits a group of processes by cgroup v1 or v2 where one is writable; ERR_UNSUPPORTED: fall back
// to rlimits. `name` is one path component; processes_max counts threads too; 0 is no limit. Who
// forked before process_group_add stays outside with what it started.
typedef struct process_group_limits process_group_limits;
err process_group_open(process_group_limits **out,
                       const char *name,
                       uint64_t memory_bytes_max,
                       uint64_t processes_max,
                       uint64_t cpu_percent_max) MUST_USE;
err process_group_add(process_group_limits *g, int pid) MUST_USE;
void process_group_close(process_group_limits *g); // kills who is left, waits up to 100 ms for it
