// Log lines as readers and machines see them; whole lines from many threads.
#include "base/fault.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "base/test.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void log_drop(log_sink **l)
{
    log_close(*l);
}

static str all_of(arena *a, int f)
{
    off_t len = lseek(f, 0, SEEK_END);
    char *bytes = arena_take(a, (size_t)len + 1);
    CHECK(bytes != NULL && pread(f, bytes, (size_t)len, 0) == len);
    CHECK(ftruncate(f, 0) == 0 && lseek(f, 0, SEEK_SET) == 0);
    return (str){bytes, (size_t)len};
}

static int log_file(void)
{
    int f = memfd_create("log", MFD_CLOEXEC);
    CHECK(f >= 0 && fcntl(f, F_SETFL, O_APPEND) == 0);
    return f;
}

TEST(log_writes_logfmt_that_cannot_be_forged)
{
    OWNED(arena_drop) arena *a = NULL;
    OWNED(fd_drop) int f = log_file();
    OWNED(log_drop) log_sink *l = NULL;
    OWNED(log_drop) log_sink *node = NULL;
    CHECK(arena_open(&a, 1 << 20).code == OK);
    CHECK(log_open(&l, f, false, LOG_INFO).code == OK);
    CHECK(log_scope(&node, l, "node", STR("tns@blackhole")).code == OK);
    log_line(node, LOG_DEBUG, "hidden", NULL);
    log_line(NULL, LOG_ERROR, "hidden", NULL);
    CHECK(all_of(a, f).len == 0);
    log_line(node, LOG_WARN, "job moved", "job", STR("17"), "text", STR("a\nlevel=error \"\x1b[1m"),
             "none", (str){NULL, 0}, NULL);
    str line = all_of(a, f);
    CHECK(str_starts(line, STR("time=2")) && str_find_byte(line, '\n') == line.len - 1);
    CHECK(str_ends(line, STR(" level=warn event=\"job moved\" node=tns@blackhole job=17 "
                             "text=\"a\\nlevel=error \\\"\\x1b[1m\" none=\"\"\n")));
    log_fail(l, "no disk", fail(ERR_FULL, 28, "write file"), "path", STR("/x"), NULL);
    CHECK(str_ends(all_of(a, f), STR(" level=error event=\"no disk\" err=full what=\"write file\" "
                                     "sys=\"No space left on device\" path=/x\n")));
}

TEST(log_writes_json_that_reads_back_whatever_the_size)
{
    OWNED(arena_drop) arena *a = NULL;
    OWNED(fd_drop) int f = log_file();
    OWNED(log_drop) log_sink *l = NULL;
    OWNED(log_drop) log_sink *node = NULL;
    const json *v;
    static char large[100000];
    memset(large, 1, sizeof(large)); // each byte is written as six
    CHECK(arena_open(&a, 8 << 20).code == OK && log_open(&l, f, true, LOG_DEBUG).code == OK);
    CHECK(log_scope(&node, l, "node", STR("n\"1")).code == OK);
    for (size_t size = 0; size < sizeof(large); size = size * 2 + 1) {
        str big = {large, size};
        log_line(node, LOG_INFO, "e", "a", big, "b", STR("x"), "c", big, "d", big, "s", STR("y"),
                 NULL);
        str line = all_of(a, f);
        CHECK(json_read(a, str_first(line, line.len - 1), &v, NULL).code == OK);
        CHECK(str_is(json_text(v, "node"), STR("n\"1")) && str_is(json_text(v, "s"), STR("y")));
        CHECK(str_is(json_text(v, "level"), STR("info")) && line.len <= 32 * 1024);
    }
}

TEST(log_without_memory_still_writes_a_line)
{
    OWNED(arena_drop) arena *a = NULL;
    OWNED(fd_drop) int f = log_file();
    OWNED(log_drop) log_sink *l = NULL;
    CHECK(arena_open(&a, 1 << 20).code == OK && log_open(&l, f, true, LOG_DEBUG).code == OK);
    fault_now = (fault_plan){.what = FAULT_MEMORY, .times = 1000};
    log_line(l, LOG_INFO, "e", "a", STR("x"), NULL);
    fault_now = (fault_plan){0};
    CHECK(str_is(all_of(a, f), STR("{\"level\":\"error\",\"event\":\"line lost\"}\n")));
}

static void *log_many(void *sink)
{
    for (int i = 0; i < 500; i++)
        log_line(sink, LOG_INFO, "many", "text", STR("0123456789012345678901234567890123456789"),
                 NULL);
    return NULL;
}

TEST(log_lines_of_threads_never_mix)
{
    OWNED(arena_drop) arena *a = NULL;
    OWNED(fd_drop) int f = log_file();
    OWNED(log_drop) log_sink *l = NULL;
    pthread_t threads[4];
    CHECK(arena_open(&a, 8 << 20).code == OK && log_open(&l, f, true, LOG_DEBUG).code == OK);
    for (size_t i = 0; i < COUNT(threads); i++)
        CHECK(pthread_create(&threads[i], NULL, log_many, l) == 0);
    for (size_t i = 0; i < COUNT(threads); i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    str rest = all_of(a, f);
    size_t lines = 0;
    while (rest.len > 0) {
        const json *v;
        CHECK(json_read(a, str_cut(&rest, '\n'), &v, NULL).code == OK);
        CHECK(json_text(v, "text").len == 40);
        lines++;
    }
    CHECK(lines == 2000);
}
