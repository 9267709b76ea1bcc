// YAML: read strictly into a tree that knows its bytes, edited by splices that touch no other byte.
//
// What is read is the plain part of YAML 1.1: maps, lists and scalars in UTF-8. Anchors, aliases,
// tags, several documents, keys that are not scalars and duplicate keys are refused. Every scalar
// is text here; what a text means is the schema's business.
#pragma once
#include "base/base.h"
#include "base/diagnosis.h"

// The nouns are `tree`, since libyaml owns the prefix yaml_.
enum {
    TREE_BYTES_MAX = 1 << 20,    // of one file
    TREE_DEPTH_MAX = 32,         // nested maps and lists
    TREE_NODES_MAX = 100 * 1000, // keys and values of one file
    TREE_KEYS_MAX = 1000,        // of one map
};

typedef enum { TREE_SCALAR, TREE_LIST, TREE_MAP } tree_kind;
// Lives as long as the arena it was read into. Bytes count from 0, lines and columns from 1.
typedef struct tree tree;
struct tree {
    tree_kind kind;
    bool flow;   // a list or map in brackets
    char style;  // of a scalar: 0 plain, '\'', '"', '|' (literal and folded)
    size_t from; // first byte
    size_t to;   // first byte behind; equals `from` for a value that was left out
    size_t line;
    size_t column; // in characters
    size_t width;  // characters on its first line, at least 1
    str text;      // of a scalar
    tree *key;     // when this is a map's entry
    size_t count;  // entries of a list or map
    tree *first;
    tree *next; // next entry of the same list or map
};

// Reads `text`. ERR_SYNTAX and ERR_LIMIT: one diagnosis (about `file`) was added; ERR_MEMORY: none.
// An empty document is a map without entries.
err tree_read(arena *a, str file, str text, diagnoses *found, tree **out) MUST_USE;
tree *tree_field(const tree *map, str name);     // NULL when absent or not a map
bool tree_is_null(const tree *t);                // left out, `~` or `null`
bool tree_is_same(const tree *a, const tree *b); // the same values, however written
// Adds a diagnosis about `at` (NULL: the file as a whole). The texts must outlive `found`.
diagnosis *tree_note(diagnoses *found, str file, const tree *at, const char *code, str text);

// What an edit writes. TEXT is quoted where YAML would read something else than text; BARE (a
// number, true, false) is not.
typedef enum { TREE_TEXT, TREE_BARE, TREE_TEXTS } tree_value_kind;
typedef struct tree_value {
    tree_value_kind kind;
    str text;
    const str *items; // of TREE_TEXTS
    size_t count;
} tree_value;

// Edits. A path is keys, and numbers for list entries, with `/` between: "trigger/paths/0".
// The new text lives in `a`; comments, order, quoting, line ends and every other byte stay. Each
// result is read again and compared with what was meant, so a layout that a splice cannot serve is
// ERR_UNSUPPORTED and never a broken file. ERR_SYNTAX: the text, or the value, is not YAML;
// ERR_CONFLICT: the path leads through, or would replace, something of another shape.

// Sets a value; keys that are missing on the way are made behind their siblings.
err tree_set(arena *a, str text, str path, tree_value value, str *out) MUST_USE;
// Adds an entry to a list, making the list when it is missing.
err tree_append(arena *a, str text, str path, str item, str *out) MUST_USE;
// Takes out a key or a list's entry with its line; ERR_ABSENT when there is none.
err tree_remove(arena *a, str text, str path, str *out) MUST_USE;
