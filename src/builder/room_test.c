// What a hostile build script can not do, and how every kind of build ends.
#include "base/clock.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/str.h"
#include "base/test.h"
#include "builder/builder_inner.h"
#include "builder/test_inner.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

// Runs `script` to its failure and gives what it said.
static void run_script(bench *b, outcome *o, const char *script, uint64_t wall_ms)
{
    char *source = bench_script(b, script);
    build_request request = {.source = source,
                             .name = STR("f"),
                             .path = STR("functions/f"),
                             .call = STR("ping"),
                             .memory_bytes = 64 << 20,
                             .wall_ms_max = wall_ms};
    bench_start(b, o, &request);
    bench_wait(b, o);
    free(source);
}

static void check_said(bench *b, const char *script, const char *said)
{
    outcome o;
    run_script(b, &o, script, 20000);
    if (!outcome_said(&o, said))
        print_message("%.*s\n%s\n", STR_ARG(buf_str(&o.output)), o.error);
    CHECK(!o.result.ok && outcome_said(&o, said));
    outcome_clear(&o);
}

// Whether any process of this machine has `mark` in its command line.
static bool someone_runs(const char *mark)
{
    DIR *processes = opendir("/proc");
    bool found = false;
    for (const struct dirent *entry; processes != NULL && (entry = readdir(processes)) != NULL;) {
        char path[300], line[4096] = "";
        (void)snprintf(path, sizeof(path), "/proc/%s/cmdline", entry->d_name);
        int f = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = f >= 0 ? read(f, line, sizeof(line)) : -1;
        found = found || (n > 0 && memmem(line, (size_t)n, mark, strlen(mark)) != NULL);
        fd_drop(&f);
    }
    (void)closedir(processes);
    return found;
}

static bool gone_soon(const char *mark)
{
    for (int i = 0; i < 250 && someone_runs(mark); i++)
        (void)usleep(20000);
    return !someone_runs(mark);
}

TEST(room_has_no_network)
{
    int f = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    CHECK(f >= 0 && bind(f, (struct sockaddr *)&address, len) == 0 && listen(f, 5) == 0);
    CHECK(getsockname(f, (struct sockaddr *)&address, &len) == 0);
    char script[512];
    (void)snprintf(script, sizeof(script),
                   "cat /proc/net/dev | grep -c eth | sed 's/^/cards /'\n"
                   "cat >/tmp/x.sh <<X\nexec 3<>/dev/tcp/127.0.0.1/%d && echo connected\nX\n"
                   "bash /tmp/x.sh || echo refused\nexit 1\n",
                   ntohs(address.sin_port));
    bench b;
    bench_open(&b);
    outcome o;
    run_script(&b, &o, script, 20000);
    CHECK(outcome_said(&o, "cards 0\n") && outcome_said(&o, "refused\n") &&
          !outcome_said(&o, "\nconnected"));
    outcome_clear(&o);
    bench_close(&b);
    (void)close(f);
}

TEST(room_shows_nothing_of_this_machine_and_of_other_builds)
{
    bench b;
    bench_open(&b);
    check_said(&b, "ls / | tr '\\n' ' '; echo end; exit 1\n", "bin dev etc lib");
    check_said(&b, "cat /etc/shadow /etc/passwd /etc/hosts 2>&1 | grep -c 'No such' ; exit 1\n",
               "3\n");
    check_said(&b,
               "ls /home /var /srv /root /tmp/builder* 2>&1 | grep -c 'cannot access'; exit 1\n",
               "5\n");
    check_said(&b,
               "ls /proc | grep -c '^[0-9]'; ps 2>/dev/null; env | sort | tr '\\n' ' '; exit 1\n",
               "COLOUR=red HOME=/tmp LANG=C.UTF-8");
    check_said(&b, "id -u; [ $(id -u) != 0 ] && echo not root; exit 1\n", "not root\n");
    check_said(&b,
               "grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status | tr '\\t\\n' '  "
               "'; exit 1\n",
               "CapEff: 0000000000000000");
    check_said(&b, "unshare -Ur true 2>&1; mount -t tmpfs x /tmp 2>&1 | tail -n 1; exit 1\n",
               "Operation not permitted");
    bench_close(&b);
}

TEST(room_gives_the_users_variables_to_the_steps_and_to_nothing_before_them)
{
    bench b;
    bench_open(&b);
    outcome o;
    char *source = bench_script(&b, "echo path $PATH out $OUT preload $LD_PRELOAD; exit 1\n");
    bench_write(source, ".taubyte/config.yaml",
                "environment:\n  image: ctau/c\n  variables: {PATH: /nowhere, OUT: /tmp, "
                "LD_PRELOAD: /tmp/own.so}\nworkflow: [build]\n");
    build_request request = {
        .source = source, .name = STR("f"), .path = STR("functions/f"), .call = STR("ping")};
    bench_start(&b, &o, &request);
    bench_wait(&b, &o);
    CHECK(outcome_said(&o, "path /nowhere out /out preload /tmp/own.so\n"));
    // The loader complains once for each program that would have loaded it: env sets it, the two
    // shells see it.
    size_t complaints = 0;
    for (str rest = buf_str(&o.output); rest.len > 0;)
        complaints += str_starts(str_cut(&rest, '\n'), STR("ERROR: ld.so"));
    CHECK(complaints == 2);
    outcome_clear(&o);
    free(source);
    bench_close(&b);
}

TEST(room_lets_nothing_be_written_outside)
{
    bench b;
    bench_open(&b);
    outcome o;
    run_script(&b, &o,
               "for f in /usr/x /x /etc/x /utils/x /utils/wasm.sh /bin/sh; do (: >$f) 2>/dev/null "
               "&& echo WROTE $f; done;"
               "echo a >/src/a && echo b >/out/b && echo c >/tmp/c && echo all three; exit 1\n",
               20000);
    CHECK(outcome_said(&o, "all three") && !outcome_said(&o, "WROTE"));
    outcome_clear(&o);
    bench_close(&b);
}

TEST(room_stops_fork_bombs_endless_output_and_endless_time)
{
    bench b;
    bench_open(&b);
    outcome o;
    uint64_t at = clock_now_ms();
    // A loop and not the classic: each child would need a shell that fails to fork before it ends.
    run_script(&b, &o,
               "i=0; while [ $i -lt 2000 ]; do sleep 600.125 & i=$((i+1)); done; echo all of them; "
               "exit 1\n",
               20000);
    CHECK(!o.result.ok && !outcome_said(&o, "all of them") && clock_now_ms() - at < 15000);
    CHECK(gone_soon("600.125"));
    outcome_clear(&o);
    run_script(&b, &o, "yes endless\n", 20000);
    CHECK(strcmp(o.error, "functions/f/.taubyte: printed more than 4 MiB and was stopped") == 0);
    CHECK(o.output.len <= BUILD_OUTPUT_BYTES_MAX);
    outcome_clear(&o);
    at = clock_now_ms();
    run_script(&b, &o, "sleep 601.25 & setsid sleep 601.25 & sleep 601.25\n", 700);
    CHECK(strcmp(o.error, "functions/f/.taubyte: took longer than 1 s and was stopped") == 0);
    CHECK(clock_now_ms() - at < 4000 && gone_soon("601.25"));
    outcome_clear(&o);
    bench_close(&b);
}

TEST(room_limits_memory_and_disk)
{
    bench b;
    bench_open(&b);
    outcome o;
    run_script(
        &b, &o,
        "awk 'BEGIN { x = \"0123456789abcdef\"; while (1) x = x x }' 2>&1; echo ended $?; exit 1\n",
        20000);
    CHECK(!o.result.ok && outcome_said(&o, "ended") && !outcome_said(&o, "ended 0"));
    outcome_clear(&o);
    run_script(
        &b, &o,
        "head -c 400000000 /dev/zero >/out/large; ls -l /out/large | awk '{ print $5 }'; exit 1\n",
        20000);
    CHECK(!o.result.ok && outcome_said(&o, "268435456"));
    outcome_clear(&o);
    run_script(&b, &o,
               "for i in 1 2 3 4 5 6 7 8; do head -c 200000000 /dev/zero >/out/$i; done; sleep 5; "
               "exit 1\n",
               20000);
    CHECK(strcmp(o.error, "functions/f/.taubyte: wrote more than 1 GiB and was stopped") == 0);
    outcome_clear(&o);
    bench_close(&b);
}

TEST(build_output_can_not_move_a_terminal_and_long_lines_are_cut)
{
    bench b;
    bench_open(&b);
    check_said(&b, "printf 'a\\033[2Jb\\n'; exit 1\n", "a\\x1b[2Jb\n");
    outcome o;
    run_script(
        &b, &o,
        "head -c 20000 /dev/zero | tr '\\0' x; printf ' /src/a.c:1:2: error: bad\\nlast'; exit 1\n",
        20000);
    size_t lines = 0;
    for (size_t i = 0; i < o.output.len; i++)
        lines += o.output.at[i] == '\n';
    CHECK(lines == 4 && outcome_said(&o, " functions/f/a.c:1:2: error: bad\nlast\n"));
    outcome_clear(&o);
    bench_close(&b);
}

TEST(build_that_is_cancelled_leaves_no_process_and_tells_nobody)
{
    bench b;
    bench_open(&b);
    outcome o;
    char *source = bench_script(&b, "echo started; setsid sleep 602.5 & sleep 602.5\n");
    build_request request = {
        .source = source, .name = STR("f"), .path = STR("functions/f"), .call = STR("ping")};
    bench_start(&b, &o, &request);
    uint64_t until = clock_now_ms() + 10000;
    while (!someone_runs("602.5") && clock_now_ms() < until)
        loop_turn(b.loop, 20);
    CHECK(someone_runs("602.5") && outcome_said(&o, "started"));
    build_cancel(o.build);
    for (int i = 0; i < 50; i++)
        loop_turn(b.loop, 10);
    CHECK(!o.ended && gone_soon("602.5"));
    outcome_clear(&o);
    free(source);
    // A source belongs to its build until the end, also to one that was cancelled.
    source = bench_script(&b, "exit 1\n");
    request.source = source;
    // One that has not even begun, and one that runs while the builder closes.
    bench_start(&b, &o, &request);
    build_cancel(o.build);
    outcome_clear(&o);
    free(source);
    source = bench_script(&b, "echo started; setsid sleep 602.5 & sleep 602.5\n");
    request.source = source;
    outcome other;
    bench_start(&b, &other, &request);
    until = clock_now_ms() + 10000;
    while (!outcome_said(&other, "started") && clock_now_ms() < until)
        loop_turn(b.loop, 20);
    bench_close(&b);
    CHECK(gone_soon("602.5"));
    CHECK(!o.ended && !other.ended);
    outcome_clear(&other);
    free(source);
}

#ifndef __SANITIZE_THREAD__ // can not follow the threads of a child whose parent has had some
TEST(build_ends_with_the_process_that_started_it)
{
    int pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        bench b;
        bench_open(&b);
        outcome o;
        char *source = bench_script(&b, "setsid sleep 603.75 & sleep 603.75\n");
        build_request request = {
            .source = source, .name = STR("f"), .path = STR("functions/f"), .call = STR("ping")};
        bench_start(&b, &o, &request);
        while (!someone_runs("603.75"))
            loop_turn(b.loop, 20);
        (void)kill(getpid(), SIGKILL);
        _exit(1);
    }
    int status;
    CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
    CHECK(gone_soon("603.75"));
}
#endif

TEST(builds_at_once_are_kept_apart_and_identical_ones_joined)
{
    bench b;
    bench_open(&b);
    enum { ALL = 6 };
    outcome o[ALL];
    char *sources[ALL];
    uint64_t at = clock_now_ms();
    for (size_t i = 0; i < ALL; i++) {
        char script[256];
        // 0 to 3 are the same; 4 and 5 are others.
        (void)snprintf(script, sizeof(script),
                       "echo building %zu; sleep 0.5; ls /src/.. | grep -c other; printf '\\000asm "
                       "ping %zu' >/out/main.wasm\n",
                       i < 4 ? 0 : i, i < 4 ? 0 : i);
        sources[i] = bench_script(&b, script);
        char id[16];
        (void)snprintf(id, sizeof(id), "id-%zu", i < 4 ? 0 : i);
        build_request request = {.source = sources[i],
                                 .source_id = str_of(id),
                                 .name = STR("f"),
                                 .path = STR("functions/f"),
                                 .call = STR("ping")};
        bench_start(&b, &o[i], &request);
    }
    build_cancel(o[1].build); // one of the four: the others do not notice
    for (size_t i = 0; i < ALL; i++)
        if (i != 1)
            bench_wait(&b, &o[i]);
    CHECK(clock_now_ms() - at < 10000);
    for (size_t i = 0; i < ALL; i++) {
        if (i == 1)
            continue;
        CHECK(o[i].result.ok && !o[i].result.cached);
        CHECK(outcome_said(&o[i], i < 4    ? "building 0\n"
                                  : i == 4 ? "building 4\n"
                                           : "building 5\n"));
        CHECK((strcmp(o[i].result.wasm, o[0].result.wasm) == 0) == (i < 4));
    }
    CHECK(!o[1].ended);
    for (size_t i = 0; i < ALL; i++) {
        outcome_clear(&o[i]);
        free(sources[i]);
    }
    bench_close(&b);
}

// A room as a killed builder leaves one behind: alive, and nobody's child that would end it.
static pid_t leftover_start(const char *host)
{
    pid_t child = fork();
    if (child == 0) {
        (void)execlp("bwrap", "bwrap", geteuid() == 0 ? "--unshare-pid" : "--unshare-user",
                     "--unshare-uts", "--hostname", host, "--ro-bind", "/", "/", "/bin/sleep", "60",
                     (char *)NULL);
        _exit(127);
    }
    usleep(300 * 1000);
    return child;
}

TEST(builder_ends_rooms_of_a_killed_one_and_nobody_elses)
{
    bench b;
    bench_open(&b);
    char host[32];
    (void)snprintf(host, sizeof host, "%s", b.builder->tools.host);
    pid_t ours = leftover_start(host), other = leftover_start("build-0123456789abcdef");
    leftovers_end(host);
    int status = 0;
    CHECK(waitpid(ours, &status, 0) == ours && status != 0);
    CHECK(waitpid(other, &status, WNOHANG) == 0);
    (void)kill(other, SIGKILL);
    CHECK(waitpid(other, &status, 0) == other);
    bench_close(&b);
}

TEST(builder_clears_work_folders_of_a_crash_and_tells_its_toolchains)
{
    bench b;
    bench_open(&b);
    char path[256];
    (void)snprintf(path, sizeof(path), "%s/builder/work/7/out", b.folder);
    CHECK(file_make_folders(path, 0700).code == OK);
    builder_close(b.builder);
    (void)snprintf(path, sizeof(path), "%s/builder", b.folder);
    builder_settings s = {
        .loop = b.loop, .blobs = b.blobs, .folder = path, .program = "/bin/true", .engine = "1"};
    CHECK(builder_open(&b.builder, &s).code == OK);
    (void)snprintf(path, sizeof(path), "%s/builder/work/7", b.folder);
    CHECK(!file_exists(path));
    (void)snprintf(path, sizeof(path), "%s/builder/utils/include/taubyte.h", b.folder);
    CHECK(file_exists(path));
    bench_close(&b);
}

TEST(build_ends_whatever_allocation_fails)
{
    bench b;
    bench_open(&b);
    size_t failed = 0;
    for (uint64_t k = 0;; k++) {
        outcome o = {0};
        char *source = bench_script(&b, "echo said; printf '\\000asm ping' >/out/main.wasm\n");
        build_request request = {.source = source,
                                 .source_id = STR(""),
                                 .name = STR("f"),
                                 .path = STR("functions/f"),
                                 .call = STR("ping")};
        build_events events = {bench_on_output, bench_on_end, &o};
        buf_open(&o.output, 1 << 20);
        fault_now = (fault_plan){.what = FAULT_MEMORY, .after = k, .times = 1};
        err e = build_start(&o.build, b.builder, &request, &events);
        if (e.code == OK)
            bench_wait(&b, &o);
        uint64_t seen = fault_now.seen;
        fault_now = (fault_plan){0};
        failed += e.code != OK || !o.result.ok;
        CHECK(e.code == OK || e.code == ERR_MEMORY);
        outcome_clear(&o);
        free(source);
        if (seen <= k)
            break;
    }
    CHECK(failed > 5);
    bench_close(&b);
}
