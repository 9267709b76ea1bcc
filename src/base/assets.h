// Reads the files that the build embeds in the program: templates/, sdk/ and the console.
#pragma once
#include "base/base.h"

// The bytes of the file at `path` below the repository, as "templates/c/ping_pong/ping.c"; they
// live as long as the process and end in a NUL that is not counted. {NULL, 0} when there is none,
// or in a program into which nothing was embedded.
str assets_find(const char *path);

// Goes through all files in the order of their paths: start with `*at` 0; false at the end. Both
// slices live as long as the process.
bool assets_next(size_t *at, str *path, str *bytes);
