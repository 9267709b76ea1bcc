// For tests: dig as a child process, its output collected while the loop turns.
#include "base/clock.h"
#include "base/str.h"
#include "base/test.h"
#include "dns/dig_inner.h"
#include "io/proc.h"

#include <stdio.h>
#include <string.h>

enum { DIG_BYTES_MAX = 1 << 20, DIG_MS_MAX = 15 * 1000, DIG_WORDS_MAX = 32 };

struct dig {
    buf *out;
    bool ended;
};

static void dig_on_output(void *data, proc *p, int stream, str bytes)
{
    (void)p;
    (void)stream;
    buf_add(((struct dig *)data)->out, bytes);
}

static void dig_on_end(void *data, proc *p, const proc_end *end)
{
    (void)p;
    (void)end;
    ((struct dig *)data)->ended = true;
}

void dig_ask(loop *l, uint16_t port, const char *words, buf *out)
{
    char port_text[8], kept[1024];
    const char *argv[DIG_WORDS_MAX + 8] = {"dig",     "@127.0.0.1", "-p",
                                           port_text, "+tries=1",   "+time=2"};
    size_t count = 6;
    (void)snprintf(port_text, sizeof(port_text), "%u", port);
    (void)snprintf(kept, sizeof(kept), "%s", words);
    for (char *word = kept; word != NULL && count < DIG_WORDS_MAX;) {
        char *next = strchr(word, ' ');
        if (next != NULL)
            *next++ = '\0';
        argv[count++] = word;
        word = next;
    }
    struct dig d = {.out = out};
    proc_settings settings = {.argv = argv,
                              .wall_ms_max = DIG_MS_MAX,
                              .on_output = dig_on_output,
                              .on_end = dig_on_end,
                              .data = &d};
    proc *p;
    CHECK(proc_start(&p, l, &settings).code == OK);
    uint64_t until = clock_now_ms() + 2 * DIG_MS_MAX;
    while (!d.ended && clock_now_ms() < until)
        loop_turn(l, 50);
    CHECK(d.ended);
}

bool dig_says(loop *l, uint16_t port, const char *words, const char *part)
{
    OWNED(buf_close) buf out;
    buf_open(&out, DIG_BYTES_MAX);
    dig_ask(l, port, words, &out);
    bool says = str_find(buf_str(&out), str_of(part)) < out.len;
    if (!says)
        (void)fprintf(stderr, "dig %s, wanted `%s`:\n%.*s\n", words, part, STR_ARG(buf_str(&out)));
    return says;
}
