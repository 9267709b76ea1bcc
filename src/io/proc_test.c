// Child processes as a build or a supervisor sees them, with real programs.
#include "base/buf.h"
#include "base/clock.h"
#include "base/str.h"
#include "base/test.h"
#include "io/proc.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WAIT_MS_MAX = 30000, ROUND_TRIP_BYTES = 8 * 1024 * 1024, PIECE_BYTES = 100000 };

typedef struct run {
    loop *l;
    proc *p;
    buf text[3]; // by stream
    proc_end end;
    int ends;
    size_t written; // of the round trip
    size_t most_queued;
    size_t outputs;
    bool pausing;
    uint64_t at_ms;
} run;

static void run_on_output(void *data, proc *p, int stream, str bytes)
{
    run *r = data;
    CHECK(r->ends == 0);
    buf_add(&r->text[stream], bytes);
    if (r->pausing && ++r->outputs % 7 == 0)
        proc_output_pause(p, true);
}

static void run_on_end(void *data, proc *p, const proc_end *end)
{
    run *r = data;
    r->ends++;
    r->end = *end;
    proc_kill(p, SIGKILL); // harmless by now
    CHECK(proc_write(p, STR("x")).code == ERR_CLOSED);
}

static void run_open(run *r)
{
    *r = (run){.at_ms = clock_now_ms()};
    CHECK(loop_open(&r->l).code == OK);
    for (int i = 0; i < 3; i++)
        buf_open(&r->text[i], 64 * 1024 * 1024);
}

static void run_wait(run *r)
{
    uint64_t until = clock_now_ms() + WAIT_MS_MAX;
    while (r->ends == 0 && clock_now_ms() < until) {
        loop_turn(r->l, 20);
        if (r->pausing && r->ends == 0)
            proc_output_pause(r->p, false);
    }
    loop_turn(r->l, 0);
    loop_turn(r->l, 0);
    CHECK(r->ends == 1);
}

static void run_close(run *r)
{
    for (int i = 0; i < 3; i++)
        buf_close(&r->text[i]);
    loop_close(r->l);
}

static err run_shell(run *r, const char *script, proc_settings s)
{
    const char *const argv[] = {"sh", "-c", script, NULL};
    s.argv = argv;
    s.on_output = run_on_output;
    s.on_end = run_on_end;
    s.data = r;
    return proc_start(&r->p, r->l, &s);
}

static bool run_said(const run *r, int stream, const char *text)
{
    return str_is(buf_str(&r->text[stream]), str_of(text));
}

// Not there, or dead and waiting for a parent that may never reap it.
static bool process_is_gone(int pid)
{
    char path[64], line[512] = "";
    (void)snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    int f = open(path, O_RDONLY | O_CLOEXEC);
    if (f < 0)
        return true;
    ssize_t n = read(f, line, sizeof(line) - 1);
    (void)close(f);
    const char *state = n > 0 ? strrchr(line, ')') : NULL;
    return state == NULL || state[2] == 'Z' || state[2] == 'X';
}

static bool process_goes(int pid)
{
    for (int i = 0; i < 200 && !process_is_gone(pid); i++)
        usleep(10000);
    return process_is_gone(pid);
}

static size_t open_descriptors(void)
{
    size_t count = 0;
    DIR *d = opendir("/proc/self/fd");
    while (readdir(d) != NULL)
        count++;
    closedir(d);
    return count;
}

TEST(proc_tells_the_exit_status_and_both_outputs)
{
    run r;
    run_open(&r);
    CHECK(run_shell(&r, "echo out; echo err >&2; exit 7", (proc_settings){0}).code == OK);
    CHECK(r.ends == 0 && proc_id(r.p) > 0);
    run_wait(&r);
    CHECK(r.end.status == 7 && r.end.signal == 0 && !r.end.timed_out && !r.end.output_limit);
    CHECK(run_said(&r, 1, "out\n") && run_said(&r, 2, "err\n"));
    run_close(&r);
}

TEST(proc_tells_the_memory_of_children_that_are_larger_than_we_are)
{
    run r;
    run_open(&r);
    const char *script = "head -c 400000000 /dev/zero | tail -c 400000000 >/dev/null";
    CHECK(run_shell(&r, script, (proc_settings){0}).code == OK);
    run_wait(&r);
    CHECK(r.end.status == 0);
    CHECK(r.end.peak_bytes > 400000000 && r.end.peak_bytes < 600000000 && r.end.cpu_us > 0);
    run_close(&r);
}

TEST(proc_tells_the_signal_that_ended_it)
{
    run r;
    run_open(&r);
    CHECK(run_shell(&r, "kill -SEGV $$", (proc_settings){0}).code == OK);
    run_wait(&r);
    CHECK(r.end.status == -1 && r.end.signal == SIGSEGV);
    run_close(&r);
}

TEST(proc_says_at_once_what_can_not_start_and_leaks_nothing)
{
    run r;
    run_open(&r);
    size_t before = open_descriptors();
    for (int i = 0; i < 5; i++) {
        const char *const absent[] = {"no-such-program-anywhere", NULL};
        const char *const path[] = {"/no/such/program", NULL};
        const char *const no_program[] = {"/etc/passwd", NULL};
        const char *const fine[] = {"true", NULL};
        proc_settings s = {
            .argv = absent, .on_output = run_on_output, .want_input = true, .data = &r};
        CHECK(proc_start(&r.p, r.l, &s).code == ERR_ABSENT);
        s.argv = path;
        CHECK(proc_start(&r.p, r.l, &s).code == ERR_ABSENT);
        s.argv = no_program;
        CHECK(proc_start(&r.p, r.l, &s).code == ERR_DENIED);
        s.argv = fine;
        s.folder = "/no/such/folder";
        err e = proc_start(&r.p, r.l, &s);
        CHECK(e.code == ERR_ABSENT && strstr(e.what, "folder") != NULL);
    }
    CHECK(waitpid(-1, NULL, WNOHANG) < 0); // no zombie
    loop_turn(r.l, 0);
    CHECK(open_descriptors() == before);
    run_close(&r);
}

TEST(proc_ends_what_takes_too_long_politely_first)
{
    run r;
    run_open(&r);
    CHECK(run_shell(&r, "exec sleep 60", (proc_settings){.wall_ms_max = 100}).code == OK);
    run_wait(&r);
    CHECK(r.end.timed_out && r.end.signal == SIGTERM);
    CHECK(clock_now_ms() - r.at_ms < 2000);
    run_close(&r);
}

TEST(proc_ends_the_whole_group_that_ignores_the_polite_signal)
{
    run r;
    run_open(&r);
    proc_settings s = {.wall_ms_max = 100, .own_group = true};
    CHECK(run_shell(&r, "trap '' TERM; sleep 60 & echo $!; wait; sleep 60", s).code == OK);
    run_wait(&r);
    uint64_t took_ms = clock_now_ms() - r.at_ms;
    CHECK(r.end.timed_out && r.end.signal == SIGKILL);
    CHECK(took_ms >= 550 && took_ms < 3000);
    buf_add_byte(&r.text[1], '\0');
    CHECK(process_goes((int)strtol(r.text[1].at, NULL, 10)));
    run_close(&r);
}

TEST(proc_stops_at_the_output_limit)
{
    run r;
    run_open(&r);
    CHECK(
        run_shell(&r, "yes; exit 0", (proc_settings){.output_bytes_max = 100001, .own_group = true})
            .code == OK);
    run_wait(&r);
    CHECK(r.end.output_limit && r.end.signal == SIGKILL && !r.end.timed_out);
    CHECK(r.text[1].len == 100001);
    run_close(&r);

    run_open(&r); // exactly the limit is no excess
    CHECK(run_shell(&r, "printf 12345", (proc_settings){.output_bytes_max = 5}).code == OK);
    run_wait(&r);
    CHECK(!r.end.output_limit && r.end.status == 0 && run_said(&r, 1, "12345"));
    run_close(&r);
}

static void round_trip_feed(void *data, proc *p)
{
    run *r = data;
    static char piece[PIECE_BYTES];
    while (r->written < ROUND_TRIP_BYTES && proc_write_queued(p) < 1024 * 1024) {
        size_t n = ROUND_TRIP_BYTES - r->written < PIECE_BYTES ? ROUND_TRIP_BYTES - r->written
                                                               : PIECE_BYTES;
        for (size_t i = 0; i < n; i++)
            piece[i] = (char)((r->written + i) * 2654435761u >> 13);
        CHECK(proc_write(p, (str){piece, n}).code == OK);
        r->written += n;
        if (proc_write_queued(p) > r->most_queued)
            r->most_queued = proc_write_queued(p);
    }
    if (r->written == ROUND_TRIP_BYTES)
        proc_write_end(p);
}

TEST(proc_round_trip_of_8_mib_with_back_pressure_on_both_sides)
{
    run r;
    run_open(&r);
    r.pausing = true;
    proc_settings s = {.want_input = true, .on_input_drain = round_trip_feed};
    CHECK(run_shell(&r, "exec cat", s).code == OK);
    round_trip_feed(&r, r.p);
    run_wait(&r);
    CHECK(r.end.status == 0 && r.text[1].len == ROUND_TRIP_BYTES);
    size_t wrong = 0;
    for (size_t i = 0; i < ROUND_TRIP_BYTES; i++)
        wrong += r.text[1].at[i] != (char)(i * 2654435761u >> 13);
    CHECK(wrong == 0);
    CHECK(r.most_queued > 0 && r.most_queued < 2 * 1024 * 1024);
    run_close(&r);
}

TEST(proc_write_fails_when_nobody_reads_and_at_the_queue_limit)
{
    run r;
    run_open(&r);
    CHECK(
        run_shell(&r, "exec 0<&-; echo shut; sleep 1", (proc_settings){.want_input = true}).code ==
        OK);
    while (r.text[1].len == 0)
        loop_turn(r.l, 20);
    CHECK(proc_write(r.p, STR("hello")).code == ERR_CLOSED);
    run_wait(&r);
    run_close(&r);

    run_open(&r);
    CHECK(run_shell(&r, "exec sleep 60", (proc_settings){.want_input = true}).code == OK);
    static char mebibyte[1024 * 1024];
    err e = ok();
    size_t count = 0;
    for (; e.code == OK && count < 100; count++)
        e = proc_write(r.p, (str){mebibyte, sizeof(mebibyte)});
    CHECK(e.code == ERR_LIMIT && count == 65);
    CHECK(proc_write_queued(r.p) > 63 * sizeof(mebibyte));
    proc_kill(r.p, SIGKILL);
    run_wait(&r);
    run_close(&r);
}

TEST(proc_kill_ends_grandchildren_of_its_group)
{
    run r;
    run_open(&r);
    CHECK(run_shell(&r, "sleep 1000 & echo $!; wait", (proc_settings){.own_group = true}).code ==
          OK);
    while (r.text[1].len == 0)
        loop_turn(r.l, 20);
    proc_kill(r.p, SIGTERM);
    run_wait(&r);
    buf_add_byte(&r.text[1], '\0');
    CHECK(r.end.signal == SIGTERM && process_goes((int)strtol(r.text[1].at, NULL, 10)));
    run_close(&r);
}

TEST(proc_end_does_not_wait_for_a_grandchild_that_holds_the_pipe)
{
    for (int group = 0; group < 2; group++) {
        run r;
        run_open(&r);
        proc_settings s = {.own_group = group == 1};
        CHECK(run_shell(&r, "sleep 20 & echo $!; exit 3", s).code == OK);
        run_wait(&r);
        CHECK(r.end.status == 3 && clock_now_ms() - r.at_ms < 1500);
        buf_add_byte(&r.text[1], '\0');
        int grandchild = (int)strtol(r.text[1].at, NULL, 10);
        CHECK(grandchild > 1);
        if (group == 1)
            CHECK(process_goes(grandchild));
        else
            CHECK(!process_is_gone(grandchild) && kill(grandchild, SIGKILL) == 0);
        run_close(&r);
    }
}

TEST(proc_end_waits_for_paused_output)
{
    run r;
    run_open(&r);
    CHECK(run_shell(&r, "echo late", (proc_settings){0}).code == OK);
    proc_output_pause(r.p, true);
    for (int i = 0; i < 20; i++)
        loop_turn(r.l, 20);
    CHECK(r.ends == 0 && r.text[1].len == 0);
    proc_output_pause(r.p, false);
    run_wait(&r);
    CHECK(run_said(&r, 1, "late\n"));
    run_close(&r);
}

TEST(proc_merges_outputs_in_order_and_takes_folder_and_environment)
{
    run r;
    run_open(&r);
    const char *const environment[] = {"GREETING=hello", "PATH=/bin:/usr/bin", NULL};
    proc_settings s = {.merge_output = true, .environment = environment, .folder = "/usr"};
    CHECK(run_shell(&r, "echo $GREETING; echo two >&2; pwd; echo ${HOME-none}", s).code == OK);
    run_wait(&r);
    CHECK(run_said(&r, 1, "hello\ntwo\n/usr\nnone\n") && r.text[2].len == 0);
    run_close(&r);
}

TEST(proc_passes_descriptors_in_order_and_no_others)
{
    run r;
    run_open(&r);
    int pipes[4][2];
    int pass[4];
    for (int i = 0; i < 4; i++) {
        CHECK(pipe2(pipes[i], O_CLOEXEC) == 0);
        char text[2] = {(char)('a' + i), '\n'};
        CHECK(write(pipes[i][1], text, 2) == 2);
        (void)close(pipes[i][1]);
        pass[3 - i] = pipes[i][0]; // reversed: targets are sources of others
    }
    int leaky = dup(pass[0]); // without close-on-exec
    proc_settings s = {.pass_fds = pass, .pass_count = 4};
    CHECK(run_shell(&r, "cat <&3; cat <&4; cat <&5; cat <&6; exec ls /proc/self/fd", s).code == OK);
    (void)close(leaky);
    for (int i = 0; i < 4; i++)
        (void)close(pipes[i][0]);
    run_wait(&r);
    CHECK(run_said(&r, 1, "d\nc\nb\na\n0\n1\n2\n3\n4\n5\n6\n7\n"));
    run_close(&r);
}

TEST(proc_limits_and_signals_are_what_the_settings_say)
{
    run r;
    run_open(&r);
    sigset_t some, before;
    sigemptyset(&some);
    sigaddset(&some, SIGUSR1);
    sigprocmask(SIG_BLOCK, &some, &before);
    proc_settings s = {.memory_bytes_max = 512 * 1024 * 1024, .cpu_s_max = 5};
    CHECK(run_shell(&r, "ulimit -v; ulimit -t; grep -E 'Sig(Blk|Ign)' /proc/self/status", s).code ==
          OK);
    sigprocmask(SIG_SETMASK, &before, NULL);
    run_wait(&r);
    CHECK(run_said(&r, 1, "524288\n5\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"));
    run_close(&r);

    run_open(&r);
    CHECK(run_shell(&r, "while :; do :; done", (proc_settings){.cpu_s_max = 1}).code == OK);
    run_wait(&r);
    CHECK(r.end.signal == SIGXCPU && r.end.cpu_us > 900000);
    run_close(&r);
}

TEST(proc_children_die_with_a_parent_that_is_killed)
{
    int told[2];
    CHECK(pipe2(told, O_CLOEXEC) == 0);
    int helper = fork();
    if (helper == 0) {
        run r;
        run_open(&r);
        const char *const argv[] = {"sleep", "1000", NULL};
        proc_settings s = {.argv = argv, .data = &r};
        int pid = proc_start(&r.p, r.l, &s).code == OK ? proc_id(r.p) : -1;
        if (write(told[1], &pid, sizeof(pid)) != sizeof(pid))
            _exit(1);
        for (;;)
            pause();
    }
    int child = -1;
    CHECK(read(told[0], &child, sizeof(child)) == sizeof(child) && child > 1);
    CHECK(!process_is_gone(child));
    CHECK(kill(helper, SIGKILL) == 0 && waitpid(helper, NULL, 0) == helper);
    CHECK(process_goes(child));
    (void)close(told[0]);
    (void)close(told[1]);
}

TEST(proc_many_at_once_end_once_each_and_leave_no_descriptor)
{
    enum { MANY = 40 };
    static run runs[MANY];
    loop *l;
    CHECK(loop_open(&l).code == OK);
    size_t before = open_descriptors();
    for (int i = 0; i < MANY; i++) {
        runs[i] = (run){.l = l};
        buf_open(&runs[i].text[1], 1024 * 1024);
        char script[64];
        (void)snprintf(script, sizeof(script), "echo %d; exit %d", i, i);
        CHECK(run_shell(&runs[i], script, (proc_settings){.merge_output = true}).code == OK);
    }
    for (int i = 0; i < MANY; i++) {
        char text[16];
        (void)snprintf(text, sizeof(text), "%d\n", i);
        run_wait(&runs[i]);
        CHECK(runs[i].end.status == i && run_said(&runs[i], 1, text));
        buf_close(&runs[i].text[1]);
    }
    CHECK(open_descriptors() == before);
    loop_close(l);
}
