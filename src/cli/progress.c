// A step's line on stderr: redrawn in place on terminals, printed once when it has ended elsewhere.
#include "base/clock.h"
#include "base/str.h"
#include "cli/cli_inner.h"

#include <stdlib.h>
#include <unistd.h>

enum { REDRAW_MS = 100, NOTE_COLUMNS_MAX = 70 };

struct cli_progress {
    cli *c;
    str what;
    bool live; // a terminal that may be redrawn
    uint64_t drawn_ms;
};

static void progress_draw(cli_progress *p, const char *colour, const char *mark, str note)
{
    arena *a = p->c->memory;
    bool coloured = cli_colour(p->c, STDERR_FILENO);
    str shown = str_printable(a, note);
    if (p->live) { // one row only: a longer line would stay behind when it is redrawn
        size_t at = 0;
        for (size_t width = 0; at < shown.len && width < NOTE_COLUMNS_MAX; width++) {
            size_t len = str_utf8_len(shown, at);
            at += len == 0 ? 1 : len;
        }
        shown = str_first(shown, at);
    }
    cli_say(p->c, "%s  %s%s%s %.*s%s%.*s", p->live ? "\r\033[K" : "", coloured ? colour : "", mark,
            coloured ? "\033[0m" : "", STR_ARG(p->what), shown.len > 0 ? "  " : "", STR_ARG(shown));
}

// Stands in where there is no memory: never NULL is the promise.
cli_progress *cli_progress_start(cli *c, const char *what)
{
    cli_progress *p = arena_take(c->memory, sizeof(*p));
    if (p == NULL)
        abort();
    const char *ci = getenv("CI");
    p->c = c;
    p->what = str_of(what);
    p->live = isatty(STDERR_FILENO) && cli_colour(c, STDERR_FILENO) && !c->json &&
              (ci == NULL || ci[0] == 0);
    if (p->live)
        progress_draw(p, "\033[36m", cli_unicode(STDERR_FILENO) ? "●" : "*", STR(""));
    p->drawn_ms = clock_now_ms();
    return p;
}

void cli_progress_note(cli_progress *p, str note)
{
    uint64_t now = clock_now_ms();
    if (!p->live || now - p->drawn_ms < REDRAW_MS)
        return;
    p->drawn_ms = now;
    progress_draw(p, "\033[36m", cli_unicode(STDERR_FILENO) ? "●" : "*", note);
}

void cli_progress_end(cli_progress *p, bool good, str note)
{
    if (p->c->json)
        return;
    bool unicode = cli_unicode(STDERR_FILENO);
    progress_draw(p, good ? "\033[32m" : "\033[31m",
                  good      ? unicode ? "✓" : "+"
                  : unicode ? "✗"
                            : "x",
                  note);
    cli_say(p->c, "\n");
}
