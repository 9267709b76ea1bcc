// What the node processes have to say: their lines, in one file and in one coloured stream.
#pragma once
#include "base/base.h"

typedef struct journal journal;
// Borrows the descriptors; -1: none.
err journal_open(journal **out, int file, int terminal, bool colours) MUST_USE;
void journal_close(journal *j); // NULL is fine
// One line of a node, without its end: JSON as base/log.h writes it, or anything else that a
// process says when it breaks. The file gets it as logfmt, the terminal with the node's name before
// it. `number` chooses the colour.
void journal_add(journal *j, str universe, str node, size_t number, str line);
