// For tests: runs dig against a server on the same loop and gives its text back.
#pragma once
#include "base/buf.h"
#include "io/loop.h"

// `words`: what follows "dig @127.0.0.1 -p PORT +tries=1 +time=2", separated by blanks.
void dig_ask(loop *l, uint16_t port, const char *words, buf *out);
// The same, and whether the text holds `part`; prints the text when it does not.
bool dig_says(loop *l, uint16_t port, const char *words, const char *part);
