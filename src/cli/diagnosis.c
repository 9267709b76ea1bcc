// Diagnoses as compilers show them: what, where, the line itself underlined, what to do.
#include "base/file.h"
#include "base/str.h"
#include "cli/cli_inner.h"

#include <unistd.h>

enum { SOURCE_BYTES_MAX = 4 << 20, SHOWN_COLUMNS_MAX = 90, SHOWN_BEFORE = 40 };

// Line `number` of a file, without its end; false when it cannot be read.
static bool line_of(cli *c, const char *root, const diagnosis *d, str *out)
{
    const char *path = str_format(c->memory, "%s/%.*s", root, STR_ARG(d->file)).at;
    str text;
    if (path == NULL || file_read(c->memory, path, SOURCE_BYTES_MAX, &text).code != OK)
        return false;
    for (size_t number = 1; text.at != NULL; number++) {
        str line = str_cut(&text, '\n');
        if (number == d->line) {
            if (str_ends(line, STR("\r")))
                line.len--;
            *out = line;
            return true;
        }
    }
    return false;
}

// The part of the line around the column, tabs as one blank so that the mark stands below.
static str line_window(arena *a, str line, size_t *column)
{
    char *copy = arena_take(a, line.len + 1);
    if (copy == NULL)
        return STR("");
    for (size_t i = 0; i < line.len; i++)
        copy[i] = line.at[i] == '\t' ? ' ' : line.at[i];
    line = (str){copy, line.len};
    size_t from = 0, skipped = 0;
    bool far = *column > SHOWN_COLUMNS_MAX;
    while (far && skipped + SHOWN_BEFORE < *column && from < line.len) {
        size_t len = str_utf8_len(line, from);
        from += len == 0 ? 1 : len;
        skipped++;
    }
    *column -= skipped;
    line = str_from(line, from);
    size_t to = 0;
    for (size_t shown = 0; to < line.len && shown < SHOWN_COLUMNS_MAX; shown++) {
        size_t len = str_utf8_len(line, to);
        to += len == 0 ? 1 : len;
    }
    return str_printable(a, str_first(line, to));
}

static void diagnosis_source(cli *c, buf *out, const char *root, const diagnosis *d)
{
    str line;
    if (d->line == 0 || !line_of(c, root, d, &line))
        return;
    size_t column = d->column == 0 ? 1 : d->column;
    str shown = line_window(c->memory, line, &column);
    size_t width = d->width == 0 ? 1 : d->width, room = cli_width(shown);
    if (column <= room && width > room - column + 1)
        width = room - column + 1;
    else if (column > room)
        width = 1;
    bool colour = cli_colour(c, STDERR_FILENO);
    buf_add_format(out, "%4zu | %.*s\n     | ", d->line, STR_ARG(shown));
    for (size_t i = 1; i < column; i++)
        buf_add_byte(out, ' ');
    buf_add(out, colour ? STR("\033[1;31m") : STR(""));
    for (size_t i = 0; i < width; i++)
        buf_add_byte(out, '^');
    buf_add(out, colour ? STR("\033[0m\n") : STR("\n"));
}

void cli_diagnoses(cli *c, const char *root, const diagnoses *found)
{
    bool colour = cli_colour(c, STDERR_FILENO);
    size_t shown = 0;
    for (const diagnosis *d = found->first; d != NULL; d = d->next, shown++) {
        OWNED(buf_close) buf out;
        buf_open(&out, CLI_TEXT_BYTES_MAX);
        buf_add_format(&out, "%serror:%s %.*s\n", colour ? "\033[1;31m" : "",
                       colour ? "\033[0m" : "", STR_ARG(str_printable(c->memory, d->text)));
        buf_add_format(&out, "  --> %.*s", STR_ARG(str_printable(c->memory, d->file)));
        if (d->line > 0)
            buf_add_format(&out, ":%zu:%zu", d->line, d->column);
        buf_add_format(&out, "%s%s\n", d->code != NULL ? "  " : "", d->code != NULL ? d->code : "");
        diagnosis_source(c, &out, root, d);
        if (d->help.len > 0)
            buf_add_format(&out, "%shelp:%s %.*s\n", colour ? "\033[1;36m" : "",
                           colour ? "\033[0m" : "", STR_ARG(str_printable(c->memory, d->help)));
        buf_add_byte(&out, '\n');
        cli_write(STDERR_FILENO, buf_str(&out));
    }
    if (found->count > shown)
        cli_say(c, "and %zu more\n", found->count - shown);
}
