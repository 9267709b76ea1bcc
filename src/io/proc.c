// Child processes: pipes, deadlines, limits, and an end that is told once.
//
// The happy path is: 1. pipes and handles are made, 2. proc_fork, 3. output is read as it comes,
// 4. the pidfd says that the child ended, 5. both pipes reach their end, 6. the child is reaped and
// on_end is called, 7. the last handle's close callback frees. What can fail: 1 and 2 (proc_start
// says so); a grandchild keeps a pipe open in 5 (after grace_ms what is in the pipe is all there
// is). The child stays a zombie until 6, so that its number can not become somebody else's before.
#include "io/proc.h"

#include "base/buf.h"
#include "io/loop_inner.h"
#include "io/proc_inner.h"

#include <uv.h>

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    READ_BYTES = 64 * 1024,
    READS_PER_TURN_MAX = 4,
    INPUT_BYTES_MAX = 64 * 1024 * 1024,
    INPUT_BYTES_LOW = 256 * 1024,
    TERM_GRACE_MS = 500,
    OUTPUT_GRACE_MS = 200,
};

typedef struct proc_pipe {
    uv_poll_t poll;
    int fd; // -1: closed or never open
    int stream;
} proc_pipe;

struct proc {
    proc_settings settings; // pointers into the caller's memory are gone
    loop *loop;
    int pid;
    int handles;
    proc_pipe end; // the pidfd
    proc_pipe input;
    proc_pipe outputs[2];
    uv_timer_t timer; // wall clock, then SIGTERM's grace, then the output's grace
    buf queue;
    size_t sent; // bytes of the queue that the pipe has taken
    uint64_t output_bytes;
    long own_peak_kib; // ours at the start: the kernel counts it as the child's until it execs
    bool input_ending;
    bool paused;
    bool exited;
    bool ended; // no callback reaches user code any more
    bool timed_out;
    bool output_limit;
};

static void proc_on_closed(uv_handle_t *h)
{
    proc *p = h->data;
    if (--p->handles > 0)
        return;
    buf_close(&p->queue);
    free(p);
}

static void proc_pipe_close(proc_pipe *pipe)
{
    if (pipe->fd < 0)
        return;
    uv_close((uv_handle_t *)&pipe->poll, proc_on_closed);
    fd_drop(&pipe->fd);
}

static void proc_close_all(proc *p)
{
    p->ended = true;
    proc_pipe_close(&p->end);
    proc_pipe_close(&p->input);
    proc_pipe_close(&p->outputs[0]);
    proc_pipe_close(&p->outputs[1]);
    uv_close((uv_handle_t *)&p->timer, proc_on_closed);
}

static void proc_signal(proc *p, int number)
{
    if (p->settings.own_group)
        (void)kill(-p->pid, number);
    else if (!p->exited)
        (void)kill(p->pid, number);
}

static void proc_finish(proc *p)
{
    if (p->settings.own_group) // who outlived the first of the group does not outlive its end
        (void)kill(-p->pid, SIGKILL);
    proc_end end = {.status = -1, .timed_out = p->timed_out, .output_limit = p->output_limit};
    struct rusage used = {0};
    int status = 0;
    if (wait4(p->pid, &status, WNOHANG, &used) == p->pid) {
        if (WIFEXITED(status))
            end.status = WEXITSTATUS(status);
        else if (WIFSIGNALED(status))
            end.signal = WTERMSIG(status);
        end.cpu_us = (uint64_t)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000 +
                     (uint64_t)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
        if (used.ru_maxrss > p->own_peak_kib)
            end.peak_bytes = (uint64_t)used.ru_maxrss * 1024;
    }
    proc_close_all(p);
    if (p->settings.on_end != NULL)
        p->settings.on_end(p->settings.data, p, &end);
}

static void proc_check_end(proc *p)
{
    if (!p->ended && p->exited && p->outputs[0].fd < 0 && p->outputs[1].fd < 0)
        proc_finish(p);
}

static void proc_deliver(proc *p, int stream, str bytes)
{
    if (p->output_limit)
        return;
    uint64_t most = p->settings.output_bytes_max;
    if (most > 0 && bytes.len > most - p->output_bytes) {
        bytes.len = (size_t)(most - p->output_bytes);
        p->output_limit = true;
    }
    p->output_bytes += bytes.len;
    if (bytes.len > 0 && p->settings.on_output != NULL)
        p->settings.on_output(p->settings.data, p, stream, bytes);
    if (p->output_limit)
        proc_signal(p, SIGKILL);
}

// Reads until the pipe is empty, the owner pauses or `bytes_max` was read.
static void proc_read(proc *p, proc_pipe *pipe, size_t bytes_max)
{
    char bytes[READ_BYTES];
    while (pipe->fd >= 0 && !p->paused && bytes_max > 0) {
        size_t most = bytes_max < sizeof(bytes) ? bytes_max : sizeof(bytes);
        ssize_t n = read(pipe->fd, bytes, most);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            proc_pipe_close(pipe);
            return;
        }
        bytes_max -= (size_t)n;
        proc_deliver(p, pipe->stream, (str){bytes, (size_t)n});
    }
}

static void proc_on_output(uv_poll_t *poll, int status, int events)
{
    (void)events;
    proc *p = poll->data;
    loop_wake(p->loop);
    proc_pipe *pipe = poll == &p->outputs[0].poll ? &p->outputs[0] : &p->outputs[1];
    proc_read(p, pipe, (size_t)READ_BYTES * READS_PER_TURN_MAX);
    if (status < 0 && !p->paused) // libuv has stopped this handle: nothing more will come
        proc_pipe_close(pipe);
    proc_check_end(p);
}

static void proc_on_timer(uv_timer_t *t)
{
    proc *p = t->data;
    if (!p->exited) {
        proc_signal(p, p->timed_out ? SIGKILL : SIGTERM);
        if (!p->timed_out)
            uv_timer_start(t, proc_on_timer, TERM_GRACE_MS, 0);
        p->timed_out = true;
        return;
    }
    // Somebody else holds a pipe open. What is in it now may be our child's, later bytes are not.
    for (int i = 0; i < 2; i++) {
        int waiting = 0;
        if (p->outputs[i].fd >= 0 && ioctl(p->outputs[i].fd, FIONREAD, &waiting) == 0)
            proc_read(p, &p->outputs[i], (size_t)waiting);
        if (p->paused)
            return; // proc_output_pause(p, false) starts the timer again
        proc_pipe_close(&p->outputs[i]);
    }
    proc_check_end(p);
}

static void proc_on_exit(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    proc *p = poll->data;
    loop_wake(p->loop);
    p->exited = true;
    uv_poll_stop(poll);
    proc_pipe_close(&p->input);
    uv_timer_stop(&p->timer);
    if (!p->paused)
        uv_timer_start(&p->timer, proc_on_timer, OUTPUT_GRACE_MS, 0);
    proc_check_end(p);
}

// write() without the SIGPIPE, whatever the process does with that signal.
static ssize_t pipe_write(int fd, str bytes)
{
    sigset_t pipe, before;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, &before);
    ssize_t n = write(fd, bytes.at, bytes.len);
    int number = errno;
    if (n < 0 && number == EPIPE && !sigismember(&before, SIGPIPE)) {
        const struct timespec now = {0};
        while (sigtimedwait(&pipe, NULL, &now) < 0 && errno == EINTR)
            ;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = number;
    return n;
}

// How much of `bytes` the pipe took now. Closes the input when its reader is gone.
static size_t proc_push(proc *p, str bytes)
{
    size_t done = 0;
    while (p->input.fd >= 0 && done < bytes.len) {
        ssize_t n = pipe_write(p->input.fd, (str){bytes.at + done, bytes.len - done});
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0) {
            proc_pipe_close(&p->input);
            break;
        }
        done += (size_t)n;
    }
    return done;
}

static void proc_on_input(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    proc *p = poll->data;
    loop_wake(p->loop);
    size_t before = proc_write_queued(p);
    p->sent += proc_push(p, (str){p->queue.at + p->sent, before});
    if (p->input.fd < 0 || p->sent == p->queue.len) {
        buf_clear(&p->queue);
        p->sent = 0;
        if (p->input.fd >= 0)
            uv_poll_stop(poll);
        if (p->input_ending)
            proc_pipe_close(&p->input);
    } else if (p->sent > p->queue.len / 2) { // moving less often than halving stays linear
        buf_drop_front(&p->queue, p->sent);
        p->sent = 0;
    }
    size_t after = proc_write_queued(p);
    bool small = after == 0 || (before > INPUT_BYTES_LOW && after <= INPUT_BYTES_LOW);
    if (small && !p->ended && p->settings.on_input_drain != NULL)
        p->settings.on_input_drain(p->settings.data, p);
}

err proc_write(proc *p, str bytes)
{
    if (p->ended || p->input.fd < 0 || p->input_ending)
        return fail(ERR_CLOSED, EPIPE, "the program's input is closed");
    size_t queued = proc_write_queued(p);
    if (bytes.len > INPUT_BYTES_MAX - queued)
        return fail(ERR_LIMIT, 0, "too much input queued for a program");
    if (queued == 0) {
        size_t taken = proc_push(p, bytes);
        if (p->input.fd < 0)
            return fail(ERR_CLOSED, EPIPE, "the program's input is closed");
        bytes = (str){bytes.at + taken, bytes.len - taken};
    }
    if (bytes.len == 0)
        return ok();
    buf_add(&p->queue, bytes);
    if (p->queue.error.code != OK)
        return p->queue.error;
    uv_poll_start(&p->input.poll, UV_WRITABLE, proc_on_input);
    return ok();
}

size_t proc_write_queued(const proc *p)
{
    return p->queue.len - p->sent;
}

void proc_write_end(proc *p)
{
    p->input_ending = true;
    if (!p->ended && proc_write_queued(p) == 0)
        proc_pipe_close(&p->input);
}

void proc_output_pause(proc *p, bool paused)
{
    if (p->ended || p->paused == paused)
        return;
    p->paused = paused;
    for (int i = 0; i < 2; i++) {
        if (p->outputs[i].fd < 0)
            continue;
        if (paused)
            uv_poll_stop(&p->outputs[i].poll);
        else
            uv_poll_start(&p->outputs[i].poll, UV_READABLE, proc_on_output);
    }
    if (p->exited && paused)
        uv_timer_stop(&p->timer);
    else if (p->exited)
        uv_timer_start(&p->timer, proc_on_timer, OUTPUT_GRACE_MS, 0);
}

void proc_kill(proc *p, int signal_number)
{
    if (!p->ended)
        proc_signal(p, signal_number);
}

int proc_id(const proc *p)
{
    return p->pid;
}

// A pipe with one end here, watched by the loop, and one for the child in `*theirs`.
static err proc_pipe_open(proc *p, proc_pipe *pipe, bool reading, int *theirs)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return fail_errno(errno, "pipe to a program");
    *theirs = ends[reading ? 1 : 0];
    OWNED(fd_drop) int mine = ends[reading ? 0 : 1];
    int status = uv_poll_init(&p->loop->uv, &pipe->poll, mine); // makes our end non-blocking
    if (status != 0)
        return fail_errno(-status, "watch a pipe");
    pipe->poll.data = p;
    pipe->fd = fd_move(&mine);
    p->handles++;
    return ok();
}

static err proc_open_stdio(proc *p, int stdio[3])
{
    const proc_settings *s = &p->settings;
    if (s->want_input)
        TRY(proc_pipe_open(p, &p->input, false, &stdio[0]));
    // Output that nobody hears or counts needs no pipe.
    if (s->on_output != NULL || s->output_bytes_max > 0) {
        TRY(proc_pipe_open(p, &p->outputs[0], true, &stdio[1]));
        if (!s->merge_output)
            TRY(proc_pipe_open(p, &p->outputs[1], true, &stdio[2]));
    }
    for (int i = 0; i < 3; i++) {
        if (stdio[i] >= 0)
            continue;
        bool merged = i == 2 && s->merge_output && stdio[1] >= 0;
        stdio[i] =
            merged ? fcntl(stdio[1], F_DUPFD_CLOEXEC, 3) : open("/dev/null", O_RDWR | O_CLOEXEC);
        if (stdio[i] < 0)
            return fail_errno(errno, "open a program's input and output");
    }
    return ok();
}

static err proc_launch(proc *p)
{
    char program[PATH_MAX];
    TRY(proc_find_program(p->settings.file != NULL ? p->settings.file : p->settings.argv[0],
                          program));
    proc_birth birth = {.settings = &p->settings, .program = program, .stdio = {-1, -1, -1}};
    err e = proc_open_stdio(p, birth.stdio);
    int pidfd = -1;
    if (e.code == OK)
        e = proc_fork(&birth, &p->pid, &pidfd);
    for (int i = 0; i < 3; i++)
        fd_drop(&birth.stdio[i]);
    if (e.code != OK)
        return e;

    int status = uv_poll_init(&p->loop->uv, &p->end.poll, pidfd);
    if (status == 0) {
        p->end.poll.data = p;
        p->end.fd = pidfd;
        p->handles++;
        status = uv_poll_start(&p->end.poll, UV_READABLE, proc_on_exit);
    } else {
        fd_drop(&pidfd);
    }
    if (status != 0) {
        proc_signal(p, SIGKILL);
        while (waitpid(p->pid, NULL, 0) < 0 && errno == EINTR)
            ;
        return fail_errno(-status, "watch a program");
    }
    return ok();
}

err proc_start(proc **out, loop *l, const proc_settings *settings)
{
    assert(settings->argv != NULL && settings->argv[0] != NULL);
    if (settings->pass_count > PROC_PASS_MAX)
        return fail(ERR_LIMIT, 0, "too many descriptors for a program");
    proc *p = io_take(sizeof(*p));
    if (p == NULL)
        return fail(ERR_MEMORY, 0, "start program");
    p->settings = *settings;
    p->end.fd = p->input.fd = p->outputs[0].fd = p->outputs[1].fd = -1;
    p->outputs[0].stream = 1;
    p->outputs[1].stream = 2;
    buf_open(&p->queue,
             INPUT_BYTES_MAX * 2); // the limit is of what is queued; sent bytes go lazily
    p->loop = l;
    struct rusage own;
    if (getrusage(RUSAGE_SELF, &own) == 0)
        p->own_peak_kib = own.ru_maxrss;
    uv_timer_init(&l->uv, &p->timer);
    p->timer.data = p;
    p->handles = 1;

    err e = proc_launch(p);
    if (e.code != OK) {
        proc_close_all(p);
        return e;
    }
    p->settings.argv = NULL;
    p->settings.environment = NULL;
    p->settings.folder = NULL;
    p->settings.pass_fds = NULL;
    for (int i = 0; i < 2; i++)
        if (p->outputs[i].fd >= 0)
            uv_poll_start(&p->outputs[i].poll, UV_READABLE, proc_on_output);
    uv_update_time(&l->uv);
    if (settings->wall_ms_max > 0)
        uv_timer_start(&p->timer, proc_on_timer, settings->wall_ms_max, 0);
    *out = p;
    return ok();
}
