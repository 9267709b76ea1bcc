// Lines of many processes: read as JSON, written as logfmt, coloured by node.
#include "dream/journal.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/str.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { JOURNAL_LINE_BYTES = 64 * 1024, JOURNAL_MEMORY_BYTES = 512 * 1024, CLOCK_FROM = 11 };

struct journal {
    int file, terminal;
    bool colours;
    arena *memory; // of one line
};

err journal_open(journal **out, int file, int terminal, bool colours)
{
    journal *j = calloc(1, sizeof(*j));
    if (j == NULL)
        return fail(ERR_MEMORY, 0, "open journal");
    *j = (journal){.file = file, .terminal = terminal, .colours = colours};
    err e = arena_open(&j->memory, JOURNAL_MEMORY_BYTES);
    if (e.code != OK) {
        free(j);
        return e;
    }
    *out = j;
    return ok();
}

void journal_close(journal *j)
{
    if (j == NULL)
        return;
    arena_close(j->memory);
    free(j);
}

static bool value_is_plain(str value)
{
    for (size_t at = 0, len = 0; at < value.len; at += len) {
        len = str_printable_len(value, at);
        if (len == 0 || strchr(" \t\"=\\", value.at[at]) != NULL)
            return false;
    }
    return value.len > 0;
}

static void add_pair(buf *out, str name, str value)
{
    buf_add_format(out, "%s%.*s=", out->len > 0 ? " " : "", STR_ARG(name));
    if (value_is_plain(value)) {
        buf_add(out, value);
    } else {
        json_writer w = {.out = out};
        json_put_text(&w, NULL, value);
    }
}

static void write_all(int fd, buf *line)
{
    buf_add_byte(line, '\n');
    // There is nobody to tell when the journal itself cannot be written.
    while (line->error.code == OK && write(fd, line->at, line->len) < 0 && errno == EINTR) {
    }
}

static void journal_to_terminal(journal *j, str node, size_t number, str now, str rest)
{
    static const char *const colours[] = {"36", "33", "32", "35", "34", "31",
                                          "96", "93", "92", "95", "94", "91"};
    OWNED(buf_close) buf line;
    buf_open(&line, JOURNAL_LINE_BYTES);
    buf_add(&line, str_first(str_from(now, CLOCK_FROM), 12));
    if (j->colours)
        buf_add_format(&line, " \033[%sm%-11.*s\033[0m ", colours[number % COUNT(colours)],
                       STR_ARG(node));
    else
        buf_add_format(&line, " %-11.*s ", STR_ARG(node));
    buf_add(&line, rest);
    write_all(j->terminal, &line);
}

void journal_add(journal *j, str universe, str node, size_t number, str text)
{
    if (j == NULL || text.len == 0)
        return;
    char clock[RFC3339_TEXT];
    const json *value = NULL;
    OWNED(buf_close) buf rest, line;
    buf_open(&rest, JOURNAL_LINE_BYTES);
    buf_open(&line, JOURNAL_LINE_BYTES);
    arena_reset(j->memory);
    clock_rfc3339(clock_real_ms(), clock);
    str now = str_of(clock);
    if (json_read(j->memory, text, &value, NULL).code == OK && value->kind == JSON_OBJECT) {
        if (json_text(value, "time").len == sizeof(clock) - 1)
            now = json_text(value, "time");
        for (const json *f = value->first; f != NULL; f = f->next)
            if (f->kind == JSON_TEXT && !str_is(f->name, STR("time")) &&
                !str_is(f->name, STR("universe")) && !str_is(f->name, STR("node")))
                add_pair(&rest, f->name, f->text);
    } else {
        add_pair(&rest, STR("level"), STR("error"));
        add_pair(&rest, STR("event"), text);
    }
    add_pair(&line, STR("time"), now);
    buf_add_format(&line, " %.*s", STR_ARG(buf_str(&rest)));
    add_pair(&line, STR("universe"), universe);
    add_pair(&line, STR("node"),
             str_format(j->memory, "%.*s@%.*s", STR_ARG(node), STR_ARG(universe)));
    if (j->file >= 0)
        write_all(j->file, &line);
    if (j->terminal >= 0)
        journal_to_terminal(j, node, number, now, buf_str(&rest));
}
