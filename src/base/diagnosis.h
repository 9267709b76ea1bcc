// What a user wrote wrongly: file, place, text and a hint, collected and shown whole.
#pragma once
#include "base/base.h"

typedef struct diagnosis {
    str file;         // relative to the folder that was checked
    size_t line;      // from 1; 0 when the file as a whole is meant
    size_t column;    // from 1, in characters
    size_t width;     // characters to underline, at least 1
    const char *code; // "CFG014", static
    str text;         // what is wrong
    str help;         // what to do, may be empty
    struct diagnosis *next;
} diagnosis;

typedef struct diagnoses {
    arena *memory;
    diagnosis *first;
    diagnosis **last; // set by diagnoses_init
    size_t count;
    size_t count_max; // further ones are counted, not kept
    diagnosis spare;  // written in place of those that are not kept
} diagnoses;

void diagnoses_init(diagnoses *d, arena *memory, size_t count_max);
// Never NULL.
diagnosis *diagnoses_add(diagnoses *d, str file, size_t line, size_t column, const char *code);
