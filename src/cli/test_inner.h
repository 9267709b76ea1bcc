// Runs a program's command line in a test and catches what it prints.
#pragma once
#include "cli/cli_inner.h"

typedef struct caught {
    int code;
    str out, errors;
} caught;
// `line` is cut at blanks; its first word is the program's name. Texts live in `a`.
caught cli_catch(arena *a, const cli_program *p, const char *line, void *data);
