// A command line as a table: verbs, flags, help, completion, errors with the fix, exit codes.
#pragma once
#include "base/base.h"
#include "base/buf.h"
#include "base/diagnosis.h"
#include "base/json.h"

// Exit codes of all commands (`help exit-codes` prints them).
enum {
    EXIT_OK = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_ABSENT = 3,
    EXIT_AUTH = 4,
    EXIT_CONFLICT = 5,
    EXIT_INTERRUPTED = 130
};

typedef struct cli cli; // one run of one command
typedef struct cli_flag {
    const char *name;  // "shift" for --shift; a switch also has --no-NAME
    char letter;       // 's' for -s, or 0
    const char *value; // "N": takes a value (--shift N or --shift=N); NULL: a switch
    const char *help;
} cli_flag;
enum { CLI_FLAGS_MAX = 24 };
typedef struct cli_verb {
    const char *words; // "new multiverse"; "status" with arguments catches what longer verbs do not
    const char *arguments; // "NAME", "[NAME]", "[ID…]", or NULL: takes none
    const char *summary;   // one line; NULL: hidden from help and completion
    const char *examples;  // lines, shown first in --help; each starts with "$ "
    const cli_flag *flags; // ended by a flag without a name
    int (*run)(cli *c);
    const char *complete; // what arguments are, for completion: "universe", "node", "function",
                          // "job" or NULL
} cli_verb;
typedef struct cli_program {
    const char *name, *version, *about;
    const cli_verb *verbs;
    size_t verbs_count;
    const cli_flag *common; // flags of every verb; --json, --help, --no-color, --yes are built in
    // Prints candidates for `what` ("universe", …), one per line; silent when it cannot. May be
    // NULL.
    void (*complete)(cli *c, const char *what);
    const char *topics; // further help, "environment\0text\0exit-codes\0text\0\0" or NULL
} cli_program;
// Parses and runs. Unknown verb or flag: exit 2, with one suggestion. `help`, `VERB --help`,
// `completion bash|zsh|fish`, `version` (when the table has none) and `__complete …` are built in.
// Flags may stand anywhere; `--` ends them.
int cli_run(const cli_program *p, int argc, char **argv, void *data);

void *cli_data(cli *c);
arena *cli_arena(cli *c); // lives until the command ends; 256 MiB budget
const char *cli_program_name(cli *c);
size_t cli_arguments(const cli *c);            // how many
str cli_argument(const cli *c, size_t i);      // empty past the end
str cli_value(const cli *c, const char *flag); // {NULL,0} when not given; the last one wins
// All of them, also split at commas; how many were given.
size_t cli_values(const cli *c, const char *flag, str *out, size_t room);
bool cli_switch(const cli *c, const char *flag);       // given (and not as --no-NAME)
bool cli_switched_off(const cli *c, const char *flag); // given as --no-NAME
// A number in a range, `otherwise` when not given. False: said what is wrong, return EXIT_USAGE.
bool cli_number(
    cli *c, const char *flag, uint64_t least, uint64_t most, uint64_t otherwise, uint64_t *out);
bool cli_json(const cli *c);    // --json was given (or --json=a,b: see cli_json_out)
bool cli_may_ask(const cli *c); // stdin is a terminal, and neither --yes nor --no-input nor CI
bool cli_colour(const cli *c, int fd); // NO_COLOR, CLICOLOR, TERM, --no-color, terminal or not

// Results go to stdout, talk to stderr; both survive closed pipes.
void cli_print(cli *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
void cli_say(cli *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
// The JSON value as it is, or only the fields that --json=a,b names; newline behind.
void cli_json_out(cli *c, str json);
// "error: …" and, when help is not empty, "help: …" on stderr (or {"error":{"message","help"}} on
// stdout with --json). Returns `code` for `return cli_fail(…)`.
int cli_fail(cli *c, int code, str message, str help);
// Diagnoses as rustc shows them: message, --> file:line:col, the source line underlined, help.
// `root`: where files are.
void cli_diagnoses(cli *c, const char *root, const diagnoses *found);
// One line of text, or the default; exit code 2 must follow when it returns false (no terminal and
// no default).
bool cli_ask(cli *c, const char *question, str otherwise, const char *flag, str *out);
bool cli_confirm(cli *c, const char *question, bool otherwise);

// Boxes in the light style of the seed: cells of leading columns merge when equal; a rule after
// every group. rows: count × columns cells, row by row. An empty table prints nothing.
void cli_box(cli *c, const str *cells, size_t columns, size_t rows);
// Aligned columns without borders; the first row is the heading.
void cli_columns(cli *c, const str *cells, size_t columns, size_t rows);
// "3 min ago", "just now".
str cli_age(arena *a, uint64_t then_real_ms, uint64_t now_real_ms);
// A line on stderr that is redrawn in place on terminals (at most 10 Hz) and printed once done
// elsewhere.
typedef struct cli_progress cli_progress;
cli_progress *cli_progress_start(cli *c, const char *what);  // never NULL
void cli_progress_note(cli_progress *p, str note);           // terminals only
void cli_progress_end(cli_progress *p, bool good, str note); // "✓ what  note"; p is gone
