// What a sandboxed process can and can not do, tried in forked children, as root and as nobody.
#include "base/str.h"
#include "base/test.h"
#include "io/proc.h"
#include "io/sandbox.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { NOBODY = 65534 };

// In a child a failed check is its exit status: the line, as far as eight bits hold it.
static void child_must(bool good, int line)
{
    if (good)
        return;
    fprintf(stderr, "sandboxed child: line %d, errno %d\n", line, errno);
    _exit(1);
}
#define MUST(condition)    child_must((condition), __LINE__)
#define REFUSED(call, how) child_must((call) < 0 && errno == (how), __LINE__)

// Runs `body` in a child, as nobody if asked; the wait status.
static int child_of(void (*body)(void), bool nobody)
{
    int pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        if (nobody && (setgid(NOBODY) != 0 || setuid(NOBODY) != 0))
            _exit(2);
        body();
        _exit(0);
    }
    int status = -1;
    CHECK(waitpid(pid, &status, 0) == pid);
    return status;
}

static void check_in_child(void (*body)(void))
{
    CHECK(child_of(body, false) == 0);
    if (getuid() == 0)
        CHECK(child_of(body, true) == 0);
}

static void worker_is_refused(void)
{
    char path[64];
    (void)snprintf(path, sizeof(path), "/proc/%d/mem", (int)getppid());
    bool has_landlock = syscall(SYS_landlock_create_ruleset, NULL, 0, 1) >= 1;
    MUST(sandbox_worker().code == OK);
    char *const argv[] = {"true", NULL};
    REFUSED(execve("/bin/true", argv, NULL), EPERM);
    REFUSED(syscall(SYS_execveat, AT_FDCWD, "/bin/true", argv, NULL, 0), EPERM);
    REFUSED(syscall(SYS_fork), EPERM);
    REFUSED(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0), EPERM);
    REFUSED(syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0), EPERM);
    REFUSED(syscall(SYS_clone3, NULL, 0), ENOSYS);
    REFUSED(open("/tmp/sandbox-test", O_WRONLY | O_CREAT, 0600), EPERM);
    REFUSED(open("/dev/null", O_RDWR), EPERM);
    REFUSED(open("/tmp", O_TMPFILE | O_RDWR, 0600), EPERM);
    REFUSED(open("/dev/null", O_RDONLY | O_TRUNC), EPERM);
    REFUSED(syscall(SYS_open, "/dev/null", O_WRONLY), EPERM);
    REFUSED(syscall(SYS_creat, "/tmp/sandbox-test", 0600), EPERM);
    REFUSED(unlink("/tmp/sandbox-test"), EPERM);
    REFUSED(mkdir("/tmp/sandbox-test", 0700), EPERM);
    if (has_landlock) {
        MUST(open(path, O_RDONLY) < 0 && (errno == EACCES || errno == EPERM));
        (void)snprintf(path, sizeof(path), "/proc/%d/environ", (int)getppid());
        int environment = open(path, O_RDONLY); // refused here or at the first byte
        MUST(environment < 0 || read(environment, path, 1) <= 0);
    }
    REFUSED(kill(getppid(), 0), EPERM);
    REFUSED(syscall(SYS_tgkill, getppid(), getppid(), 0), EPERM);
    REFUSED(fcntl(0, F_SETOWN, getppid()), EPERM);
    REFUSED(socket(AF_NETLINK, SOCK_RAW, 0), EPERM);
    REFUSED(socket(AF_INET, SOCK_RAW, IPPROTO_TCP), EPERM);
    REFUSED(socket(38 /* AF_ALG */, SOCK_SEQPACKET, 0), EPERM);
    REFUSED(setuid(0), EPERM);
    REFUSED(syscall(SYS_io_uring_setup, 1, NULL), ENOSYS);
    REFUSED(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), EPERM);
    struct rlimit limit = {100, 100};
    REFUSED(setrlimit(RLIMIT_NOFILE, &limit), EPERM);
    MUST(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    MUST(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0 && prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
}

TEST(sandbox_worker_can_not_exec_fork_write_files_or_signal_others)
{
    check_in_child(worker_is_refused);
}

#ifndef __SANITIZE_THREAD__ // can not follow the threads of a child whose parent has had some
static void *add_one(void *data)
{
    ++*(int *)data;
    return NULL;
}
#endif

static void worker_uses_memory_and_threads(void)
{
    // mov eax, 42; ret
    static const unsigned char code[] = {0xb8, 42, 0, 0, 0, 0xc3};
    char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MUST(page != MAP_FAILED);
#ifdef __x86_64__
    memcpy(page, code, sizeof(code));
    MUST(mprotect(page, 4096, PROT_READ | PROT_EXEC) == 0);
    int (*run)(void);
    memcpy(&run, &(void *){page}, sizeof(run));
    MUST(run() == 42);
#endif
    page = mremap(page + 4096, 4096, 16384, MREMAP_MAYMOVE);
    MUST(page != MAP_FAILED && madvise(page, 16384, MADV_DONTNEED) == 0);
    MUST(munmap(page, 16384) == 0);
    int fd;
    MUST(memory_file("code", (str){(const char *)code, sizeof(code)}, &fd).code == OK);
    MUST(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0) != MAP_FAILED);
    char path[64]; // how a module that was handed over is loaded
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int again = open(path, O_RDONLY | O_CLOEXEC);
    MUST(again >= 0 &&
         mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, again, 0) != MAP_FAILED);
    stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536};
    MUST(sigaltstack(&stack, NULL) == 0);
    MUST(syscall(SYS_membarrier, 0 /* query */, 0, 0) >= 0);
#ifndef __SANITIZE_THREAD__
    pthread_t thread;
    int count = 0;
    MUST(pthread_create(&thread, NULL, add_one, &count) == 0);
    MUST(pthread_join(thread, NULL) == 0 && count == 1);
#endif
    MUST(raise(0) == 0);
}

static void worker_uses_clocks_files_and_descriptors(void)
{
    struct sigevent none = {.sigev_notify = SIGEV_NONE};
    timer_t ticking;
    struct itimerspec soon = {.it_value = {.tv_nsec = 1000000}};
    MUST(timer_create(CLOCK_MONOTONIC, &none, &ticking) == 0);
    MUST(timer_settime(ticking, 0, &soon, NULL) == 0 && timer_delete(ticking) == 0);
    int tick = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    MUST(tick >= 0 && timerfd_settime(tick, 0, &soon, NULL) == 0);
    int poll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN};
    MUST(poll >= 0 && epoll_ctl(poll, EPOLL_CTL_ADD, tick, &event) == 0);
    MUST(epoll_wait(poll, &event, 1, 1000) == 1);
    int file = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
    char text[64], path[64];
    MUST(file >= 0 && read(file, text, sizeof(text)) > 0 && lseek(file, 0, SEEK_SET) == 0);
    struct stat info;
    MUST(fstat(file, &info) == 0 && stat("/etc/passwd", &info) == 0);
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
    MUST(readlink(path, text, sizeof(text)) > 0);
    int pipes[2];
    MUST(pipe2(pipes, O_CLOEXEC | O_NONBLOCK) == 0 && dup(pipes[0]) >= 0);
    MUST(write(pipes[1], "x", 1) == 1);
}

static void worker_uses_sockets(int listening, uint16_t port)
{
    struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = htons(port)};
    there.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    MUST(client >= 0 && connect(client, (struct sockaddr *)&there, sizeof(there)) == 0);
    int server = accept4(listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    MUST(server >= 0 && send(client, "hi", 2, MSG_NOSIGNAL) == 2);
    char text[4];
    MUST(recv(server, text, sizeof(text), 0) == 2);
    int one = 1;
    MUST(setsockopt(server, IPPROTO_TCP, 1 /* TCP_NODELAY */, &one, sizeof(one)) == 0);
    REFUSED(bind(client, (struct sockaddr *)&there, sizeof(there)), EPERM);
}

static void worker_works(void)
{
    // As a worker's listening sockets: open before the sandbox.
    int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in here = {.sin_family = AF_INET};
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t len = sizeof(here);
    MUST(bind(listening, (struct sockaddr *)&here, len) == 0 && listen(listening, 8) == 0);
    MUST(getsockname(listening, (struct sockaddr *)&here, &len) == 0);
    MUST(sandbox_worker().code == OK);
    worker_uses_memory_and_threads();
    worker_uses_clocks_files_and_descriptors();
    worker_uses_sockets(listening, ntohs(here.sin_port));
    // A whole event loop, made behind the wall.
    loop *l;
    MUST(loop_open(&l).code == OK);
    loop_turn(l, 1);
    loop_close(l);
    proc *p;
    const char *const argv[] = {"/bin/true", NULL};
    MUST(loop_open(&l).code == OK);
    MUST(proc_start(&p, l, &(proc_settings){.argv = argv}).code == ERR_DENIED);
}

TEST(sandbox_worker_can_use_memory_threads_clocks_files_and_sockets)
{
    check_in_child(worker_works);
}

#ifndef __SANITIZE_THREAD__    // as above
static atomic_int thread_step; // tells a thread when to try

static void *try_to_write(void *data)
{
    while (atomic_load(&thread_step) == 0)
        usleep(1000);
    *(int *)data = open("/dev/null", O_WRONLY) < 0 ? errno : 0;
    return NULL;
}

static void worker_has_a_thread_already(void)
{
    pthread_t thread;
    int result = -1;
    MUST(pthread_create(&thread, NULL, try_to_write, &result) == 0);
    MUST(sandbox_worker().code == OK);
    atomic_store(&thread_step, 1);
    MUST(pthread_join(thread, NULL) == 0 && result == EPERM);
}

TEST(sandbox_worker_holds_threads_that_ran_before_it)
{
    check_in_child(worker_has_a_thread_already);
}
#endif

static void worker_traces(void)
{
    MUST(sandbox_worker().code == OK);
    (void)ptrace(PTRACE_TRACEME, 0, 0, 0);
}
static void worker_loads_bpf(void)
{
    MUST(sandbox_worker().code == OK);
    (void)syscall(SYS_bpf, 0, NULL, 0);
}

TEST(sandbox_worker_is_killed_for_what_only_an_attacker_calls)
{
    int status = child_of(worker_traces, false);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
    status = child_of(worker_loads_bpf, false);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
}

static void build_is_filtered(void)
{
    int fd;
    MUST(sandbox_build_filter(&fd).code == OK);
    REFUSED(ftruncate(fd, 0), EPERM); // sealed
    struct stat info;
    MUST(fstat(fd, &info) == 0 && info.st_size > 0 &&
         info.st_size % sizeof(struct sock_filter) == 0);
    struct sock_filter *code = malloc((size_t)info.st_size);
    MUST(read(fd, code, (size_t)info.st_size) == info.st_size);
    struct sock_fprog program = {(unsigned short)((size_t)info.st_size / sizeof(*code)), code};
    MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    MUST(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0);
    REFUSED(unshare(CLONE_NEWUSER), EPERM);
    REFUSED(ptrace(PTRACE_TRACEME, 0, 0, 0), EPERM);
    REFUSED(syscall(SYS_keyctl, 0, 0, 0, 0, 0), EPERM);
    REFUSED(syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0), EPERM);
    REFUSED(socket(AF_NETLINK, SOCK_RAW, 0), EAFNOSUPPORT);
    REFUSED(socket(40 /* AF_VSOCK */, SOCK_STREAM, 0), EAFNOSUPPORT);
    MUST(socket(AF_UNIX, SOCK_STREAM, 0) >= 0 && socket(AF_INET, SOCK_STREAM, 0) >= 0);
    int pid = fork(); // compilers are children
    if (pid == 0) {
        (void)execl("/bin/sh", "sh", "-c", "test $(echo $((6 * 7))) = 42", (char *)NULL);
        _exit(9);
    }
    int status;
    MUST(waitpid(pid, &status, 0) == pid && status == 0);
}

TEST(sandbox_build_filter_denies_ways_out_and_lets_programs_run)
{
    check_in_child(build_is_filtered);
}

typedef struct said {
    char text[256];
    size_t len;
    int status;
    bool ended;
} said;
static void said_on_output(void *data, proc *p, int stream, str bytes)
{
    (void)p;
    (void)stream;
    said *s = data;
    size_t n = bytes.len < sizeof(s->text) - 1 - s->len ? bytes.len : sizeof(s->text) - 1 - s->len;
    memcpy(s->text + s->len, bytes.at, n);
    s->len += n;
}
static void said_on_end(void *data, proc *p, const proc_end *end)
{
    (void)p;
    said *s = data;
    s->status = end->status;
    s->ended = true;
}

TEST(sandbox_build_filter_is_what_bubblewrap_takes)
{
    if (access("/usr/bin/bwrap", X_OK) != 0)
        skip();
    int filter;
    CHECK(sandbox_build_filter(&filter).code == OK);
    const char *const argv[] = {"bwrap",
                                "--unshare-all",
                                "--die-with-parent",
                                "--ro-bind",
                                "/",
                                "/",
                                "--proc",
                                "/proc",
                                "--seccomp",
                                "3",
                                "sh",
                                "-c",
                                "grep Seccomp: /proc/self/status; unshare -U true || echo no",
                                NULL};
    said s = {0};
    loop *l;
    proc *p;
    CHECK(loop_open(&l).code == OK);
    proc_settings settings = {.argv = argv,
                              .pass_fds = &filter,
                              .pass_count = 1,
                              .wall_ms_max = 10000,
                              .on_output = said_on_output,
                              .on_end = said_on_end,
                              .data = &s};
    CHECK(proc_start(&p, l, &settings).code == OK);
    (void)close(filter);
    while (!s.ended)
        loop_turn(l, 50);
    CHECK(s.status == 0 && strstr(s.text, "Seccomp:\t2") != NULL && strstr(s.text, "no\n") != NULL);
    loop_close(l);
}

TEST(memory_file_is_sealed_and_may_be_executed)
{
    int fd;
    CHECK(memory_file("text", STR("sealed"), &fd).code == OK);
    char text[8] = "";
    CHECK(read(fd, text, sizeof(text)) == 6 && strcmp(text, "sealed") == 0);
    CHECK(pwrite(fd, "x", 1, 0) < 0 && errno == EPERM);
    CHECK(pwrite(fd, "x", 1, 100) < 0 && errno == EPERM);
    CHECK(ftruncate(fd, 0) < 0 && ftruncate(fd, 100) < 0);
    CHECK(mmap(NULL, 6, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
    CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) < 0);
    CHECK((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    void *at = mmap(NULL, 6, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
    CHECK(at != MAP_FAILED && memcmp(at, "sealed", 6) == 0);
    CHECK(munmap(at, 6) == 0);
    (void)close(fd);
    CHECK(memory_file("empty", (str){NULL, 0}, &fd).code == OK);
    (void)close(fd);
}

TEST(memory_shared_is_seen_by_both_and_keeps_its_size)
{
    int fd;
    void *ours, *theirs;
    CHECK(memory_shared("counters", 8192, &fd, &ours).code == OK);
    CHECK(memory_map_shared(fd, 8192, &theirs).code == OK);
    ((uint64_t *)ours)[1000] = 77;
    CHECK(ours != theirs && ((uint64_t *)theirs)[1000] == 77);
    CHECK(ftruncate(fd, 0) < 0); // it would be a SIGBUS for the other side
    void *untouched = NULL;
    CHECK(memory_map_shared(fd, 8193, &untouched).code == ERR_LIMIT && untouched == NULL);
    CHECK(munmap(ours, 8192) == 0 && munmap(theirs, 8192) == 0);
    (void)close(fd);
}

TEST(process_group_limits_processes_and_memory_where_it_can)
{
    process_group_limits *g = NULL;
    CHECK(process_group_open(&g, "../up", 0, 5, 0).code == ERR_SYNTAX);
    char name[64];
    (void)snprintf(name, sizeof(name), "ctau-test-%d", (int)getpid());
    err e = process_group_open(&g, name, 64 * 1024 * 1024, 6, 50);
    if (e.code != OK) {
        CHECK(e.code == ERR_UNSUPPORTED && g == NULL);
        skip();
    }
    const char *const argv[] = {
        "sh", "-c", "read go; for i in 1 2 3 4 5 6 7 8 9; do sleep 30 & done; echo all", NULL};
    said s = {0};
    loop *l;
    proc *p;
    CHECK(loop_open(&l).code == OK);
    proc_settings settings = {.argv = argv,
                              .want_input = true,
                              .merge_output = true,
                              .on_output = said_on_output,
                              .on_end = said_on_end,
                              .data = &s};
    CHECK(proc_start(&p, l, &settings).code == OK);
    CHECK(process_group_add(g, proc_id(p)).code == OK);
    CHECK(proc_write(p, STR("go\n")).code == OK);
    while (!s.ended)
        loop_turn(l, 50);
    CHECK(s.status != 0 && strstr(s.text, "all\n") == NULL); // the shell could not fork them all
    process_group_close(g);                                  // and ends those that it could
    CHECK(process_group_open(&g, name, 0, 6, 0).code == OK); // nothing is in the way
    process_group_close(g);
    loop_close(l);
}
