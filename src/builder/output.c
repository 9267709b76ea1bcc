// What the compilers say, line by line, with the user's paths, and which line explains a failure.
#include "base/str.h"
#include "builder/builder_inner.h"

#include <stdio.h>
#include <string.h>

enum { LINE_ARENA_BYTES = 256 << 10, RANK_LAST = 1, RANK_ERROR, RANK_PLACE, RANK_PLACE_ERROR };

void output_open(output *o, str path)
{
    *o = (output){.path = path};
    buf_open(&o->line, BUILD_LINE_BYTES_MAX);
    buf_open(&o->said, BUILD_REPLAY_BYTES_MAX);
}

void output_close(output *o)
{
    buf_close(&o->line);
    buf_close(&o->said);
}

void output_begin(output *o)
{
    o->rank = 0;
    o->error[0] = o->first[0] = '\0';
}

// "functions/x/ping.c:12:7: …" or with the line alone: where the place ends, or 0.
static size_t line_place(str s)
{
    size_t at = str_find_byte(s, ':');
    if (at == 0 || at == s.len || memchr(s.at, ' ', at) != NULL)
        return 0;
    size_t end = 0;
    for (int numbers = 0; numbers < 2 && at < s.len && s.at[at] == ':'; numbers++) {
        size_t digits = at + 1;
        while (digits < s.len && s.at[digits] >= '0' && s.at[digits] <= '9')
            digits++;
        if (digits == at + 1)
            break;
        at = end = digits;
    }
    return end > 0 && end < s.len && s.at[end] == ':' ? end : 0;
}

static int line_rank(str s, size_t place)
{
    bool error = str_find(s, STR("error: ")) < s.len;
    if (place == 0)
        return error ? RANK_ERROR : RANK_LAST;
    if (error)
        return RANK_PLACE_ERROR;
    str rest = str_from(s, place);
    bool softer =
        str_find(rest, STR(": warning: ")) < rest.len || str_find(rest, STR(": note: ")) < rest.len;
    return softer ? RANK_LAST : RANK_PLACE;
}

// Keeps the line when it explains more than those before it; of equal ones the first, of mere
// lines the last.
static void output_judge(output *o, str s)
{
    s = str_trim(s);
    size_t place = line_place(s);
    int rank = line_rank(s, place);
    if (o->first[0] == '\0')
        (void)snprintf(o->first, sizeof(o->first), "%.*s", STR_ARG(s));
    if (s.len == 0 || rank < o->rank || (rank == o->rank && rank != RANK_LAST))
        return;
    o->rank = rank;
    str before = str_first(s, place > 0 ? place + 2 : 0);
    str rest = str_from(s, before.len);
    static const str words[] = {STR("fatal error: "), STR("error: ")};
    for (size_t i = 0; i < COUNT(words); i++)
        if (str_starts(rest, words[i]))
            rest = str_from(rest, words[i].len);
    (void)snprintf(o->error, sizeof(o->error), "%.*s%.*s", STR_ARG(before), STR_ARG(rest));
}

// /src/… becomes the function's folder, and what could move a terminal becomes visible.
static str output_map(output *o, arena *a, str s)
{
    buf mapped;
    buf_open(&mapped, (size_t)BUILD_LINE_BYTES_MAX * 8);
    while (s.len > 0) {
        size_t at = str_find(s, STR("/src/"));
        bool inside = at > 0 && at < s.len && strchr("/.-_", s.at[at - 1]) == NULL &&
                      ((s.at[at - 1] | 32) < 'a' || (s.at[at - 1] | 32) > 'z');
        bool whole = at == 0 || inside;
        buf_add(&mapped, str_first(s, at));
        if (at == s.len)
            break;
        buf_add(&mapped, whole ? o->path : STR("/src"));
        buf_add_byte(&mapped, '/');
        s = str_from(s, at + 5);
    }
    str text = str_printable(a, buf_str(&mapped));
    buf_close(&mapped);
    return text;
}

static void output_line(output *o, void (*line)(void *data, str text), void *data)
{
    arena *a;
    if (arena_open(&a, LINE_ARENA_BYTES).code != OK)
        return;
    str text = output_map(o, a, buf_str(&o->line));
    str whole = str_format(a, "%.*s\n", STR_ARG(text));
    buf_clear(&o->line);
    if (whole.at != NULL) {
        output_judge(o, text);
        if (o->said.len + whole.len <= BUILD_REPLAY_BYTES_MAX)
            buf_add(&o->said, whole);
        line(data, whole);
    }
    arena_close(a);
}

void output_add(output *o, str bytes, void (*line)(void *data, str text), void *data)
{
    while (bytes.len > 0) {
        size_t left = BUILD_LINE_BYTES_MAX - o->line.len;
        size_t end = str_find_byte(bytes, '\n');
        size_t take = end < left ? end : left;
        buf_add(&o->line, str_first(bytes, take < bytes.len ? take : bytes.len));
        if (end == bytes.len && take == bytes.len)
            return; // unfinished
        output_line(o, line, data);
        bytes = str_from(bytes, take + (take == end ? 1 : 0));
    }
}

void output_end(output *o, void (*line)(void *data, str text), void *data)
{
    if (o->line.len > 0)
        output_line(o, line, data);
}

str output_error(const output *o, bool *placed)
{
    *placed = o->rank >= RANK_PLACE;
    return str_of(o->error);
}

str output_first(const output *o)
{
    return str_of(o->first);
}
