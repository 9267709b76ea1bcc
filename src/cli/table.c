// Boxes as in the seed's screens, aligned columns, and how long ago something was.
#include "base/str.h"
#include "cli/cli_inner.h"

#include <unistd.h>

// Rule characters by what meets there: bits are left 1, right 2, up 4, down 8.
static const char *const lines_unicode[16] = {
    [1 | 2] = "─",     [4 | 8] = "│",     [2 | 8] = "┌",         [1 | 8] = "┐",
    [2 | 4] = "└",     [1 | 4] = "┘",     [2 | 4 | 8] = "├",     [1 | 4 | 8] = "┤",
    [1 | 2 | 8] = "┬", [1 | 2 | 4] = "┴", [1 | 2 | 4 | 8] = "┼",
};
static const char *const lines_ascii[16] = {
    [1 | 2] = "-",     [4 | 8] = "|",     [2 | 8] = "+",         [1 | 8] = "+",
    [2 | 4] = "+",     [1 | 4] = "+",     [2 | 4 | 8] = "+",     [1 | 4 | 8] = "+",
    [1 | 2 | 8] = "+", [1 | 2 | 4] = "+", [1 | 2 | 4 | 8] = "+",
};

typedef struct box {
    const str *cells;
    size_t columns, rows;
    size_t *widths;
    const char *const *lines;
    buf out;
} box;

// Columns 0 to `column` of this row repeat those of the row above. The last never merges.
static bool box_merges(const box *b, size_t row, size_t column)
{
    if (row == 0 || row == b->rows || column + 1 >= b->columns)
        return false;
    for (size_t i = 0; i <= column; i++)
        if (!str_is(b->cells[row * b->columns + i], b->cells[(row - 1) * b->columns + i]))
            return false;
    return true;
}

static bool cell_is_number(str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.at[i] < '0' || s.at[i] > '9')
            return false;
    return s.len > 0;
}

static void put_times(buf *out, const char *text, size_t times)
{
    for (size_t i = 0; i < times; i++)
        buf_add(out, str_of(text));
}

// The rule above `row`; row == rows is the bottom.
static void box_rule(box *b, size_t row)
{
    unsigned across = (row > 0 ? 4u : 0) | (row < b->rows ? 8u : 0);
    bool left = false;
    for (size_t i = 0; i <= b->columns; i++) {
        bool right = i < b->columns && !box_merges(b, row, i);
        buf_add(&b->out, str_of(b->lines[(left ? 1u : 0) | (right ? 2u : 0) | across]));
        if (i < b->columns)
            put_times(&b->out, right ? b->lines[1 | 2] : " ", b->widths[i] + 2);
        left = right;
    }
    buf_add_byte(&b->out, '\n');
}

static void box_row(box *b, size_t row)
{
    for (size_t i = 0; i < b->columns; i++) {
        str cell = b->cells[row * b->columns + i];
        if (box_merges(b, row, i))
            cell = STR("");
        size_t pad = b->widths[i] - cli_width(cell);
        bool right = i + 1 == b->columns && cell_is_number(cell);
        buf_add(&b->out, str_of(b->lines[4 | 8]));
        put_times(&b->out, " ", right ? pad + 1 : 1);
        buf_add(&b->out, cell);
        put_times(&b->out, " ", right ? 1 : pad + 1);
    }
    buf_add(&b->out, str_of(b->lines[4 | 8]));
    buf_add_byte(&b->out, '\n');
}

// Copies of the cells that can not move a terminal, and each column's width. NULL: no memory.
static str *cells_measure(cli *c, const str *cells, size_t columns, size_t rows, size_t **widths)
{
    str *safe = arena_take(c->memory, columns * rows * sizeof(*safe));
    *widths = arena_take(c->memory, columns * sizeof(**widths));
    if (safe == NULL || *widths == NULL)
        return NULL;
    for (size_t i = 0; i < columns * rows; i++) {
        safe[i] = str_printable(c->memory, cells[i]);
        size_t width = cli_width(safe[i]);
        size_t *widest = &(*widths)[i % columns];
        *widest = width > *widest ? width : *widest;
    }
    return safe;
}

void cli_box(cli *c, const str *cells, size_t columns, size_t rows)
{
    if (rows == 0 || columns == 0)
        return;
    box b = {.columns = columns, .rows = rows};
    b.cells = cells_measure(c, cells, columns, rows, &b.widths);
    if (b.cells == NULL)
        return;
    b.lines = cli_unicode(STDOUT_FILENO) ? lines_unicode : lines_ascii;
    buf_open(&b.out, CLI_TEXT_BYTES_MAX);
    for (size_t row = 0; row < rows; row++) {
        box_rule(&b, row);
        box_row(&b, row);
    }
    box_rule(&b, rows);
    cli_write(STDOUT_FILENO, buf_str(&b.out));
    buf_close(&b.out);
}

void cli_columns(cli *c, const str *cells, size_t columns, size_t rows)
{
    size_t *widths;
    str *safe = rows == 0 || columns == 0 ? NULL : cells_measure(c, cells, columns, rows, &widths);
    if (safe == NULL)
        return;
    bool colour = cli_colour(c, STDOUT_FILENO);
    OWNED(buf_close) buf out;
    buf_open(&out, CLI_TEXT_BYTES_MAX);
    for (size_t row = 0; row < rows; row++) {
        const str *line = &safe[row * columns];
        size_t last = columns; // blanks at a line's end are left out
        while (last > 0 && line[last - 1].len == 0)
            last--;
        buf_add(&out, row == 0 && colour ? STR("\033[1m") : STR(""));
        for (size_t i = 0; i < last; i++) {
            buf_add(&out, line[i]);
            if (i + 1 < last)
                put_times(&out, " ", widths[i] - cli_width(line[i]) + 2);
        }
        buf_add(&out, row == 0 && colour ? STR("\033[0m\n") : STR("\n"));
    }
    cli_write(STDOUT_FILENO, buf_str(&out));
}

str cli_age(arena *a, uint64_t then_real_ms, uint64_t now_real_ms)
{
    enum { SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE, DAY = 24 * HOUR };
    uint64_t age = now_real_ms > then_real_ms ? now_real_ms - then_real_ms : 0;
    if (then_real_ms == 0)
        return STR("never");
    if (age < 2 * SECOND)
        return STR("just now");
    if (age < MINUTE)
        return str_format(a, "%llu s ago", (unsigned long long)(age / SECOND));
    if (age < HOUR)
        return str_format(a, "%llu min ago", (unsigned long long)(age / MINUTE));
    if (age < DAY)
        return str_format(a, "%llu h ago", (unsigned long long)(age / HOUR));
    return str_format(a, "%llu d ago", (unsigned long long)(age / DAY));
}
