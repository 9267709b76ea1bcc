// The compiled document: the checked configuration as JSON, the same bytes for the same project.
#pragma once
#include "base/buf.h"
#include "model/model.h"

// Writes {"project":{},"functions":[],"domains":[],"applications":[],"databases":[],...} (see
// document.c for the fields). Only for a model that was loaded without diagnoses. Resources are
// sorted by application (the project's own first), then by name; domains that a function or
// website names stand as host names, libraries as "libraries/ID". Sizes are bytes, `timeout_ms`
// milliseconds. Past the buffer's limit: its sticky error.
err model_document(const model *m, buf *out) MUST_USE;
