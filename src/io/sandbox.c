// The seccomp programs: an allow-list for workers, a deny-list for builds.
//
// A worker runs libuv loops, OpenSSL, SQLite readers and Wasmtime's code: what those call is below,
// and nothing else. A call that is not listed gives EPERM; one that only an attacker makes ends the
// process.
#include "io/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

// clang-format off
// Names and not numbers: one that this architecture or libseccomp does not know is skipped.
static const char *const worker_allows[] = {
    // memory
    "brk", "mmap", "mprotect", "munmap", "mremap", "madvise", "mincore", "msync", "membarrier",
    "mlock", "munlock", "memfd_create", "pkey_alloc", "pkey_free", "pkey_mprotect", "fadvise64",
    // signals to itself, threads, clocks
    "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigpending", "rt_sigsuspend",
    "rt_sigtimedwait", "sigaltstack", "restart_syscall", "signalfd4", "futex", "futex_waitv",
    "set_robust_list", "get_robust_list", "rseq", "set_tid_address", "sched_yield",
    "sched_getaffinity", "sched_setaffinity", "sched_getparam", "sched_getscheduler",
    "sched_get_priority_max", "sched_get_priority_min", "getpriority", "getcpu", "timer_create",
    "timer_settime", "timer_gettime", "timer_getoverrun", "timer_delete", "timerfd_create",
    "timerfd_settime", "timerfd_gettime", "clock_gettime", "clock_getres", "clock_nanosleep",
    "nanosleep", "gettimeofday", "time", "times", "exit", "exit_group",
    // waiting
    "epoll_create1", "epoll_create", "epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2",
    "poll", "ppoll", "select", "pselect6", "eventfd2", "pipe", "pipe2",
    // descriptors it has
    "read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev", "preadv2",
    "pwritev2", "lseek", "close", "close_range", "dup", "dup2", "dup3", "fstat", "ftruncate",
    "fallocate", "fsync", "fdatasync", "flock", "sendfile", "splice",
    // reading files
    "newfstatat", "stat", "lstat", "statx", "fstatfs", "statfs", "access", "faccessat",
    "faccessat2", "readlink", "readlinkat", "getdents64", "getcwd",
    // sockets, once they are there
    "accept", "accept4", "connect", "listen", "sendto", "recvfrom", "sendmsg", "recvmsg",
    "sendmmsg", "recvmmsg", "shutdown", "getsockname", "getpeername", "setsockopt", "getsockopt",
    // asking about itself
    "getrandom", "getpid", "gettid", "getppid", "getpgrp", "getuid", "geteuid", "getgid", "getegid",
    "getgroups", "getresuid", "getresgid", "getrusage", "getrlimit", "sysinfo", "uname", "capget",
};

static const char *const worker_dies[] = {
    "ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "kexec_load",
    "kexec_file_load", "bpf", "init_module", "finit_module", "delete_module", "mount", "umount2",
    "pivot_root", "setns", "unshare", "perf_event_open", "userfaultfd", "keyctl", "add_key",
    "request_key", "reboot", "open_by_handle_at", "swapon", "swapoff", "acct", "iopl", "ioperm",
    "fsopen", "fsmount", "move_mount", "open_tree", "mount_setattr",
};

// What no compiler needs, and what has been a way out of containers.
static const char *const build_denies[] = {
    "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "pidfd_getfd", "kcmp",
    "kexec_load", "kexec_file_load", "bpf", "init_module", "finit_module", "delete_module", "mount",
    "umount", "umount2", "pivot_root", "chroot", "setns", "unshare", "perf_event_open",
    "userfaultfd", "keyctl", "add_key", "request_key", "open_by_handle_at", "name_to_handle_at",
    "personality", "vhangup", "reboot", "swapon", "swapoff", "acct", "iopl", "ioperm", "syslog",
    "quotactl", "quotactl_fd", "fsopen", "fsmount", "fsconfig", "fspick", "move_mount", "open_tree",
    "mount_setattr", "settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "sethostname",
    "setdomainname", "lookup_dcookie", "nfsservctl", "uselib", "ustat", "sysfs", "_sysctl",
    "fanotify_init", "migrate_pages", "move_pages", "mbind", "set_mempolicy", "vm86", "vm86old",
    "modify_ldt",
};
// clang-format on

static const char *const io_uring[] = {"io_uring_setup", "io_uring_enter", "io_uring_register"};

static const uint64_t namespaces[] = {CLONE_NEWNS,   CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC,
                                      CLONE_NEWUSER, CLONE_NEWPID,    CLONE_NEWNET};

// The first failure of many rules, read once at the end.
typedef struct rules {
    scmp_filter_ctx ctx;
    int status;
} rules;

static void rules_drop(rules *r)
{
    if (r->ctx != NULL)
        seccomp_release(r->ctx);
}

static void rules_add(rules *r,
                      uint32_t action,
                      const char *name,
                      const struct scmp_arg_cmp *when,
                      unsigned when_count)
{
    int number = seccomp_syscall_resolve_name(name);
    if (number < 0 || r->status != 0) // unknown, or not of this architecture
        return;
    r->status = seccomp_rule_add_array(r->ctx, action, number, when_count, when);
}

static void rules_add_all(rules *r, uint32_t action, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        rules_add(r, action, names[i], NULL, 0);
}

static void rules_allow_values(
    rules *r, const char *name, unsigned argument, const uint64_t *values, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct scmp_arg_cmp when = SCMP_CMP(argument, SCMP_CMP_EQ, values[i]);
        rules_add(r, SCMP_ACT_ALLOW, name, &when, 1);
    }
}

static void worker_allow_files(rules *r)
{
    // O_TMPFILE's own bit is the one without O_DIRECTORY.
    const uint64_t writing = O_ACCMODE | O_CREAT | O_TRUNC | O_APPEND | (O_TMPFILE & ~O_DIRECTORY);
    struct scmp_arg_cmp open_flags = SCMP_CMP(1, SCMP_CMP_MASKED_EQ, writing, O_RDONLY);
    struct scmp_arg_cmp openat_flags = SCMP_CMP(2, SCMP_CMP_MASKED_EQ, writing, O_RDONLY);
    rules_add(r, SCMP_ACT_ALLOW, "open", &open_flags, 1);
    rules_add(r, SCMP_ACT_ALLOW, "openat", &openat_flags, 1);

    // Not F_SETOWN and F_SETSIG: they send signals to others.
    static const uint64_t commands[] = {
        F_DUPFD,     F_DUPFD_CLOEXEC, F_GETFD,      F_SETFD,      F_GETFL,     F_SETFL,
        F_GETLK,     F_SETLK,         F_SETLKW,     F_OFD_GETLK,  F_OFD_SETLK, F_OFD_SETLKW,
        F_ADD_SEALS, F_GET_SEALS,     F_SETPIPE_SZ, F_GETPIPE_SZ,
    };
    rules_allow_values(r, "fcntl", 1, commands, COUNT(commands));
    static const uint64_t requests[] = {
        FIONBIO, FIONREAD,   FIOCLEX,   FIONCLEX,
        TCGETS,  TIOCGWINSZ, 0xc0606610 /* PAGEMAP_SCAN: Wasmtime's pool */};
    rules_allow_values(r, "ioctl", 1, requests, COUNT(requests));
}

static void worker_allow_sockets(rules *r)
{
    static const uint64_t families[] = {AF_UNIX, AF_INET, AF_INET6};
    static const uint64_t types[] = {SOCK_STREAM, SOCK_DGRAM};
    const uint64_t flags = SOCK_NONBLOCK | SOCK_CLOEXEC;
    for (size_t i = 0; i < COUNT(families); i++) {
        for (size_t k = 0; k < COUNT(types); k++) {
            const struct scmp_arg_cmp when[] = {
                SCMP_CMP(0, SCMP_CMP_EQ, families[i]),
                SCMP_CMP(1, SCMP_CMP_MASKED_EQ, ~flags & UINT32_MAX, types[k]),
            };
            rules_add(r, SCMP_ACT_ALLOW, "socket", when, COUNT(when));
        }
    }
    struct scmp_arg_cmp local = SCMP_CMP(0, SCMP_CMP_EQ, AF_UNIX);
    rules_add(r, SCMP_ACT_ALLOW, "socketpair", &local, 1);
}

static void worker_allow_self(rules *r)
{
    // A thread, never a process or a namespace. clone3 hides its flags in memory: glibc falls back.
    uint64_t mask = CLONE_THREAD;
    for (size_t i = 0; i < COUNT(namespaces); i++)
        mask |= namespaces[i];
    struct scmp_arg_cmp thread = SCMP_CMP(0, SCMP_CMP_MASKED_EQ, mask, CLONE_THREAD);
    rules_add(r, SCMP_ACT_ALLOW, "clone", &thread, 1);
    rules_add(r, SCMP_ACT_ERRNO(ENOSYS), "clone3", NULL, 0);
    rules_add_all(r, SCMP_ACT_ERRNO(ENOSYS), io_uring, COUNT(io_uring));

    const uint64_t self = (uint64_t)getpid();
    rules_allow_values(r, "kill", 0, &self, 1);
    rules_allow_values(r, "tgkill", 0, &self, 1);
    static const uint64_t questions[] = {PR_SET_NAME,         PR_GET_NAME,
                                         PR_GET_DUMPABLE,     PR_GET_SECCOMP,
                                         PR_GET_NO_NEW_PRIVS, 0x53564d41 /* PR_SET_VMA: names */};
    rules_allow_values(r, "prctl", 0, questions, COUNT(questions));
    const struct scmp_arg_cmp reading[] = {SCMP_CMP(2, SCMP_CMP_EQ, 0)};
    rules_add(r, SCMP_ACT_ALLOW, "prlimit64", reading, 1);
}

// Root without capabilities is a user who happens to own the files. None are needed any more.
static err worker_drop_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};
    if (syscall(SYS_capset, &header, none) != 0)
        return fail_errno(errno, "drop capabilities");
    return ok();
}

// A Landlock domain: seccomp can not see which file a path means, so without this a worker could
// read its parent's memory and environment through /proc. Kernels without it have the filter alone.
static err worker_enter_domain(void)
{
    enum { ABI_VERSION = 1, REFER = 1 << 13, TRUNCATE = 1 << 14, ALL_SCOPES = 3, READS = 3 << 2 };
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, ABI_VERSION);
    if (abi < 1)
        return ok();
    // Everything but reading is handled, and nothing of it is allowed.
    struct {
        uint64_t files, ports, scopes;
    } handled = {.files = (REFER - 1) & ~(uint64_t)READS};
    handled.files |= (abi >= 2 ? REFER : 0) | (abi >= 3 ? TRUNCATE : 0);
    handled.scopes = abi >= 6 ? ALL_SCOPES : 0; // abstract sockets and signals
    size_t size = abi >= 6 ? sizeof(handled) : sizeof(handled.files);
    OWNED(fd_drop) int domain = (int)syscall(SYS_landlock_create_ruleset, &handled, size, 0);
    if (domain < 0 || syscall(SYS_landlock_restrict_self, domain, 0) != 0)
        return fail_errno(errno, "enter landlock domain");
    return ok();
}

err sandbox_worker(void)
{
    // Before the filter, which allows neither. Not dumpable: no core file, no ptrace by our user.
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return fail_errno(errno, "give up new privileges");
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        return fail_errno(errno, "forbid dumps");
    TRY(worker_drop_capabilities());
    TRY(worker_enter_domain());
    OWNED(rules_drop) rules r = {.ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM))};
    if (r.ctx == NULL)
        return fail(ERR_MEMORY, 0, "open seccomp filter");
    r.status = seccomp_attr_set(r.ctx, SCMP_FLTATR_CTL_TSYNC, 1);
#ifdef FAULTS // debug flavours; the kernel's log names what was refused
    if (r.status == 0)
        r.status = seccomp_attr_set(r.ctx, SCMP_FLTATR_CTL_LOG, 1);
#endif
    rules_add_all(&r, SCMP_ACT_ALLOW, worker_allows, COUNT(worker_allows));
    rules_add_all(&r, SCMP_ACT_KILL_PROCESS, worker_dies, COUNT(worker_dies));
    worker_allow_files(&r);
    worker_allow_sockets(&r);
    worker_allow_self(&r);
    if (r.status != 0)
        return fail_errno(-r.status, "write seccomp filter");
    int status = seccomp_load(r.ctx);
    if (status == -ENOSYS || status == -EOPNOTSUPP)
        return fail(ERR_UNSUPPORTED, -status, "this kernel has no seccomp filters");
    if (status != 0)
        return fail_errno(-status, "load seccomp filter");
    return ok();
}

static void build_rules(rules *r)
{
    rules_add_all(r, SCMP_ACT_ERRNO(EPERM), build_denies, COUNT(build_denies));
    rules_add_all(r, SCMP_ACT_ERRNO(ENOSYS), io_uring, COUNT(io_uring));
    rules_add(r, SCMP_ACT_ERRNO(ENOSYS), "clone3", NULL, 0);
    for (size_t i = 0; i < COUNT(namespaces); i++) {
        struct scmp_arg_cmp when = SCMP_CMP(0, SCMP_CMP_MASKED_EQ, namespaces[i], namespaces[i]);
        rules_add(r, SCMP_ACT_ERRNO(EPERM), "clone", &when, 1);
    }
    // Every family but unix, inet and inet6.
    for (uint64_t family = 0; family < AF_INET6; family++) {
        struct scmp_arg_cmp when = SCMP_CMP(0, SCMP_CMP_EQ, family);
        if (family != AF_UNIX && family != AF_INET)
            rules_add(r, SCMP_ACT_ERRNO(EAFNOSUPPORT), "socket", &when, 1);
    }
    struct scmp_arg_cmp above = SCMP_CMP(0, SCMP_CMP_GT, AF_INET6);
    rules_add(r, SCMP_ACT_ERRNO(EAFNOSUPPORT), "socket", &above, 1);
    // Typing into the terminal of whoever started us (CVE-2017-5226).
    struct scmp_arg_cmp typing = SCMP_CMP(1, SCMP_CMP_MASKED_EQ, UINT32_MAX, TIOCSTI);
    rules_add(r, SCMP_ACT_ERRNO(EPERM), "ioctl", &typing, 1);
}

err sandbox_build_filter(int *fd)
{
    OWNED(rules_drop) rules r = {.ctx = seccomp_init(SCMP_ACT_ALLOW)};
    if (r.ctx == NULL)
        return fail(ERR_MEMORY, 0, "open seccomp filter");
    build_rules(&r);
    if (r.status != 0)
        return fail_errno(-r.status, "write seccomp filter");
    OWNED(fd_drop) int f = memfd_create("build.bpf", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (f < 0)
        return fail_errno(errno, "create seccomp filter's file");
    int status = seccomp_export_bpf(r.ctx, f);
    if (status != 0)
        return fail_errno(-status, "export seccomp filter");
    if (lseek(f, 0, SEEK_SET) != 0 ||
        fcntl(f, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) != 0)
        return fail_errno(errno, "seal seccomp filter");
    *fd = fd_move(&f);
    return ok();
}
