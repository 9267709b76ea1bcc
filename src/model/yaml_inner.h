// How scalars are written: shared by the edits and by the templates of new files.
#pragma once
#include "base/buf.h"
#include "model/yaml.h"

// Writes `text` in the style of the scalar it replaces (see tree.style) if that can hold it, else
// in the next stronger one. `flow`: it stands inside brackets.
void scalar_write(buf *out, str text, char style, bool flow, bool bare);
