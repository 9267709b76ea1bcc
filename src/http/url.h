// Paths of request targets in one normal form that is safe to look things up with.
#pragma once
#include "http/http.h"

// Percent-decodes a path that starts with '/', resolves "." and ".." segments (encoded ones too)
// and merges slashes. ERR_SYNTAX: a bad escape, a path above the root, an encoded '/' or '\', a
// backslash, a control byte. The result starts with '/' and is NUL-terminated behind. ERR_MEMORY
// past the arena's budget.
err http_path_clean(arena *a, str path, str *out) MUST_USE;
