// What the files of cli/ share: one run's state, the built-in flags, glyphs.
#pragma once
#include "cli/cli.h"

enum {
    CLI_MEMORY_BYTES = 256 << 20,
    CLI_TEXT_BYTES_MAX = 32 << 20, // of one printed text
    CLI_WORDS_MAX = 4,             // words of a verb, and one more for an error message
};

typedef struct cli_given {
    const cli_flag *flag;
    str value; // {NULL, 0} for a switch
    bool off;  // --no-NAME
} cli_given;

struct cli {
    const cli_program *program;
    const cli_verb *verb; // NULL while it is not known
    arena *memory;
    void *data;
    str *arguments;
    size_t arguments_count;
    cli_given *given;
    size_t given_count;
    bool json;
    str json_fields; // of --json=a,b
};

// Flags that every program has; the last has no name.
extern const cli_flag cli_builtin_flags[];
// A flag by name, or by letter when `name` is empty: the verb's own, the common ones, the built-in
// ones. *off is set for --no-NAME. NULL: unknown.
const cli_flag *
cli_flag_find(const cli_program *p, const cli_verb *v, str name, char letter, bool *off);
// How often `verb` may have arguments; *most is SIZE_MAX for "[ID…]".
void cli_verb_arity(const cli_verb *v, size_t *least, size_t *most);
// The text that a verb shares with the words, as "new project"; 0 when they are of another verb.
size_t cli_verb_match(const cli_verb *v, const str *words, size_t count);

// Help and topics, on stdout. `words`: a verb, the beginning of some, or a topic. Exit code.
int cli_help(cli *c, const str *words, size_t count);
void cli_help_verb(cli *c, const cli_verb *v);
int cli_completion(cli *c, const str *arguments, size_t count);
int cli_complete(cli *c, const str *arguments, size_t count);

// May boxes and ticks be drawn on this descriptor? False on a terminal of another character set.
bool cli_unicode(int fd);
// A text's columns on a terminal, one for each character.
size_t cli_width(str s);
void cli_write(int fd, str text);
