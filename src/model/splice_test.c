// Edits: the value is there after them, and every other byte is where it was.
#include "base/buf.h"
#include "base/fault.h"
#include "base/str.h"
#include "base/test.h"
#include "model/yaml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char article[] = "id: ''\n"
                              "description: Returns pong to a ping over HTTP\n"
                              "tags: []\n"
                              "source: .\n"
                              "trigger:\n"
                              "  type: https\n"
                              "  method: GET\n"
                              "  paths:\n"
                              "    - /ping\n"
                              "domains:\n"
                              "  - GeneratedDomain\n"
                              "execution:\n"
                              "  timeout: 10s\n"
                              "  memory: 10MB\n"
                              "  call: ping\n";

static arena *memory_open(void)
{
    arena *a = NULL;
    CHECK(arena_open(&a, 64 << 20).code == OK);
    return a;
}

static void same(str got, const char *wanted)
{
    if (!str_is(got, str_of(wanted)))
        print_error("got:\n%.*s\nwanted:\n%s\n", STR_ARG(got), wanted);
    CHECK(str_is(got, str_of(wanted)));
}

static void
set_gives(const char *text, const char *path, const char *text_value, const char *wanted)
{
    arena *a = memory_open();
    str out = {0};
    tree_value v = {.text = str_of(text_value)};
    CHECK(tree_set(a, str_of(text), str_of(path), v, &out).code == OK);
    same(out, wanted);
    arena_close(a);
}

static void remove_gives(const char *text, const char *path, const char *wanted)
{
    arena *a = memory_open();
    str out = {0};
    CHECK(tree_remove(a, str_of(text), str_of(path), &out).code == OK);
    same(out, wanted);
    arena_close(a);
}

static void append_gives(const char *text, const char *path, const char *item, const char *wanted)
{
    arena *a = memory_open();
    str out = {0};
    CHECK(tree_append(a, str_of(text), str_of(path), str_of(item), &out).code == OK);
    same(out, wanted);
    arena_close(a);
}

static void list_gives(const char *text, const char *path, const char *items, const char *wanted)
{
    arena *a = memory_open();
    str out = {0};
    str parts[16];
    tree_value v = {.kind = TREE_TEXTS, .items = parts};
    for (str rest = str_of(items); rest.len > 0;)
        parts[v.count++] = str_cut(&rest, ',');
    CHECK(tree_set(a, str_of(text), str_of(path), v, &out).code == OK);
    same(out, wanted);
    arena_close(a);
}

TEST(splice_keeps_comments_quotes_and_order)
{
    set_gives("a: 1 # one\n# two\nb: 'x'   # three\n", "b", "y z",
              "a: 1 # one\n# two\nb: 'y z'   # three\n");
    set_gives("a: \"x\" # c\n", "a", "it's", "a: \"it's\" # c\n");
    set_gives("a: 'x'\n", "a", "it's", "a: 'it''s'\n");
    set_gives("a: x\r\nb: y\r\n", "a", "z", "a: z\r\nb: y\r\n");
    set_gives("a: x\r\n", "b", "z", "a: x\r\nb: z\r\n");
    set_gives("t: {a: x, b: y} # c\n", "t/a", "p,q", "t: {a: 'p,q', b: y} # c\n");
    set_gives("a: |\n  long\n  text\n\n# c\nb: 1\n", "a", "short", "a: short\n\n# c\nb: 1\n");
    set_gives("a:\nb: 1\n", "a", "x", "a: x\nb: 1\n");
    set_gives("a: # none yet\nb: 1\n", "a", "x", "a: x # none yet\nb: 1\n");
    set_gives("l:\n- a # A\n- b # B\n", "l/1", "c", "l:\n- a # A\n- c # B\n");
}

TEST(splice_quotes_what_yaml_would_take_for_something_else)
{
    static const char *const quoted[] = {
        "true", "No", "null", "~",   "12",  "1.5", "0x1f", "- a", "a: b", "a #b", "*x",        "&x",
        "!x",   "%x", "@x",   "`x`", "[a]", "{a}", "|",    "> x", "a ",   " a",   "2024-01-02"};
    for (size_t i = 0; i < COUNT(quoted); i++) {
        char wanted[64];
        CHECK(snprintf(wanted, sizeof(wanted), "a: '%s'\n", quoted[i]) > 0);
        set_gives("a: x\n", "a", quoted[i], wanted);
    }
    set_gives("a: x\n", "a", "", "a: ''\n");
    set_gives("a: x\n", "a", "one\ntwo\t\x01", "a: \"one\\ntwo\\t\\u0001\"\n");
    set_gives("a: x\n", "a", "\xc2\x85\xe2\x80\xa8", "a: \"\\u0085\\u2028\"\n");
    set_gives("a: x\n", "a", "10MB", "a: 10MB\n");
    set_gives("a: x\n", "a", "/ping", "a: /ping\n");
    set_gives("a: x\n", "a", "http://b/c", "a: http://b/c\n");
    set_gives("a: x\n", "a", "a#b:c", "a: a#b:c\n");
    arena *a = memory_open();
    str out;
    tree_value flag = {.kind = TREE_BARE, .text = STR("true")};
    CHECK(tree_set(a, STR("a: 'false'\n"), STR("a"), flag, &out).code == OK);
    same(out, "a: true\n");
    CHECK(tree_set(a, STR("a: x\n"), STR("a"), (tree_value){.text = STR("\xff")}, &out).code ==
          ERR_SYNTAX);
    arena_close(a);
}

TEST(splice_adds_missing_keys_behind_their_siblings)
{
    set_gives("e:\n  t: 10s # c\n\nz: 1\n", "e/m", "10MB", "e:\n  t: 10s # c\n  m: 10MB\n\nz: 1\n");
    set_gives("a: 1", "b", "x", "a: 1\nb: x");
    set_gives("# nothing yet\n", "b", "x", "# nothing yet\nb: x\n");
    set_gives("", "b/c", "x", "b:\n  c: x\n");
    set_gives("a: 1\n", "b/c/d", "x", "a: 1\nb:\n  c:\n    d: x\n");
    set_gives("a: {}\n", "a/b", "x", "a: {b: x}\n");
    set_gives("a: {b: 1 }\n", "a/c/d", "x", "a: {b: 1, c: {d: x} }\n");
    set_gives("a: # later\nb: 1\n", "a/c", "x", "a: # later\n  c: x\nb: 1\n");
    set_gives("a: ~\nb: 1\n", "a/c", "x", "a: {c: x}\nb: 1\n");
    set_gives("l:\n  - a: 1\n    b: 2\n", "l/0/c", "x", "l:\n  - a: 1\n    b: 2\n    c: x\n");
}

TEST(splice_appends_in_the_style_of_the_list)
{
    append_gives("l:\n  - a # A\n  # end\nz: 1\n", "l", "b",
                 "l:\n  - a # A\n  - b\n  # end\nz: 1\n");
    append_gives("l:\n- a\n", "l", "b", "l:\n- a\n- b\n");
    append_gives("l: [a]\n", "l", "b", "l: [a, b]\n");
    append_gives("l: []\n", "l", "b c", "l: [b c]\n");
    append_gives("l: [\n  a, # A\n  b # B\n]\n", "l", "c", "l: [\n  a, # A\n  b, c # B\n]\n");
    append_gives("l: ['a']\n", "l", "b", "l: ['a', 'b']\n");
    append_gives("l:\nz: 1\n", "l", "b", "l:\n  - b\nz: 1\n");
    append_gives("z: 1\n", "t/l", "b", "z: 1\nt:\n  l:\n    - b\n");
    append_gives("l:\n  - a", "l", "b", "l:\n  - a\n  - b");
}

TEST(splice_removes_a_key_with_its_line_and_nothing_else)
{
    remove_gives("a: 1 # A\n# mine\nb: 2 # B\nc: 3\n", "b", "a: 1 # A\n# mine\nc: 3\n");
    remove_gives("a: 1\nb:\n  c: 1\n  d: 2\n# end\n", "b", "a: 1\n# end\n");
    remove_gives("a: {b: 1, c: 2}\n", "a/b", "a: {c: 2}\n");
    remove_gives("a: {b: 1, c: 2}\n", "a/c", "a: {b: 1}\n");
    remove_gives("a: {b: 1}\n", "a/b", "a: {}\n");
    remove_gives("l:\n  - a # A\n  - b # B\n", "l/0", "l:\n  - b # B\n");
    remove_gives("l: # L\n  - a\n  # end\nz: 1\n", "l/0", "l: [] # L\n  # end\nz: 1\n");
    remove_gives("l:\n- a\nz: 1\n", "l/0", "l: []\nz: 1\n");
    remove_gives("e:\n  t: 1\nz: 1\n", "e/t", "e: {}\nz: 1\n");
    remove_gives("l:\n  - a: 1\n    b: 2\n", "l/0/a", "l:\n  - b: 2\n");
    remove_gives("a: 1\n# mine\nb: 2", "b", "a: 1\n# mine\n");
    arena *a = memory_open();
    str out;
    CHECK(tree_remove(a, STR("a: 1\n"), STR("b"), &out).code == ERR_ABSENT);
    CHECK(tree_remove(a, STR("a: 1\n"), STR("a/b"), &out).code == ERR_ABSENT);
    CHECK(tree_remove(a, STR("a: 1\n"), (str){0}, &out).code == ERR_CONFLICT);
    CHECK(tree_remove(a, STR("a: [\n"), STR("a"), &out).code == ERR_SYNTAX);
    arena_close(a);
}

TEST(splice_sets_lists_entry_by_entry)
{
    const char *list = "l:\n  - a # A\n  - b # B\n  - c # C\nz: 1\n";
    list_gives(list, "l", "a,c", "l:\n  - a # A\n  - c # C\nz: 1\n");
    list_gives(list, "l", "a,b,c,d", "l:\n  - a # A\n  - b # B\n  - c # C\n  - d\nz: 1\n");
    list_gives(list, "l", "a,x,c", "l:\n  - a # A\n  - x # B\n  - c # C\nz: 1\n");
    list_gives(list, "l", "", "l: []\nz: 1\n");
    list_gives("tags: [] # none\n", "tags", "a,b", "tags: [a, b] # none\n");
    list_gives("tags: one\n", "tags", "a,b", "tags: [a, b]\n");
    list_gives("a: 1\n", "tags", "", "a: 1\ntags: []\n");
    list_gives("a: 1\n", "tags", "x,z", "a: 1\ntags:\n  - x\n  - z\n");
}

TEST(splice_refuses_to_replace_another_shape)
{
    arena *a = memory_open();
    str out = STR("untouched");
    str text = STR("m: {a: 1}\nl: [x]\ns: y\n");
    tree_value v = {.text = STR("v")};
    CHECK(tree_set(a, text, STR("m"), v, &out).code == ERR_CONFLICT);
    CHECK(tree_set(a, text, STR("l"), v, &out).code == ERR_CONFLICT);
    CHECK(tree_set(a, text, STR("s/a"), v, &out).code == ERR_CONFLICT);
    CHECK(tree_set(a, text, STR("l/7"), v, &out).code == ERR_ABSENT);
    CHECK(tree_append(a, text, STR("s"), v.text, &out).code == ERR_CONFLICT);
    CHECK(str_is(out, STR("untouched")));
    arena_close(a);
}

TEST(splice_edits_the_article_as_a_user_would)
{
    arena *a = memory_open();
    str text = str_of(article);
    CHECK(
        tree_set(a, text, STR("execution/timeout"), (tree_value){.text = STR("20s")}, &text).code ==
        OK);
    CHECK(tree_append(a, text, STR("trigger/paths"), STR("/pong"), &text).code == OK);
    CHECK(tree_append(a, text, STR("tags"), STR("demo"), &text).code == OK);
    tree_value whole = {.kind = TREE_BARE, .text = STR("8")};
    CHECK(tree_set(a, text, STR("execution/concurrency"), whole, &text).code == OK);
    same(text, "id: ''\n"
               "description: Returns pong to a ping over HTTP\n"
               "tags: [demo]\n"
               "source: .\n"
               "trigger:\n"
               "  type: https\n"
               "  method: GET\n"
               "  paths:\n"
               "    - /ping\n"
               "    - /pong\n"
               "domains:\n"
               "  - GeneratedDomain\n"
               "execution:\n"
               "  timeout: 20s\n"
               "  memory: 10MB\n"
               "  call: ping\n"
               "  concurrency: 8\n");
    arena_close(a);
}

TEST(splice_survives_every_failed_allocation)
{
    for (uint64_t k = 0;; k++) {
        arena *a = memory_open();
        str out = {0};
        tree_value v = {.kind = TREE_TEXTS, .items = (str[]){STR("/a"), STR("/b")}, .count = 2};
        fault_now = (fault_plan){.what = FAULT_MEMORY, .after = k, .times = 1};
        err e = tree_set(a, str_of(article), STR("trigger/paths"), v, &out);
        bool done = fault_now.seen <= k;
        fault_now = (fault_plan){.what = FAULT_NONE};
        CHECK(e.code == (done ? OK : ERR_MEMORY));
        CHECK((out.at != NULL) == done);
        arena_close(a);
        if (done)
            break;
        CHECK(k < 10000);
    }
}

// Random documents: maps, lists, every style of scalar, comments and blank lines between.
typedef struct dice {
    uint64_t state;
} dice;

static uint64_t dice_roll(dice *d, uint64_t sides)
{
    d->state ^= d->state << 13;
    d->state ^= d->state >> 7;
    d->state ^= d->state << 17;
    return d->state % sides;
}

static void write_noise(buf *out, dice *d, size_t indent)
{
    if (dice_roll(d, 3) == 0)
        buf_add_format(out, "%*s# note %d: [x] {y}\n", (int)indent, "", (int)dice_roll(d, 100));
    if (dice_roll(d, 5) == 0)
        buf_add(out, STR("\n"));
}

static void write_scalar(buf *out, dice *d)
{
    static const char *const scalars[] = {"plain",       "two words", "'single'", "\"dou\\nble\"",
                                          "10s",         "true",      "''",       "caf\xc3\xa9",
                                          "\"\\u20ac\"", "a:b#c",     "/path",    "'it''s'"};
    buf_add(out, str_of(scalars[dice_roll(d, COUNT(scalars))]));
}

static void write_flow_value(buf *out, dice *d, size_t depth)
{
    size_t count = dice_roll(d, 4);
    uint64_t kind = depth > 2 ? 0 : dice_roll(d, 3);
    if (kind == 0) {
        write_scalar(out, d);
        return;
    }
    buf_add_byte(out, kind == 1 ? '[' : '{');
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            buf_add(out, dice_roll(d, 2) ? STR(", ") : STR(" , "));
        if (kind == 2)
            buf_add_format(out, "f%zu: ", i);
        write_flow_value(out, d, depth + 1);
    }
    if (count > 0 && dice_roll(d, 4) == 0)
        buf_add_byte(out, ' ');
    buf_add_byte(out, kind == 1 ? ']' : '}');
}

static void write_block_value(buf *out, dice *d, size_t indent, size_t depth);

static void write_line_end(buf *out, dice *d)
{
    if (dice_roll(d, 4) == 0)
        buf_add(out, STR("  # why: 'because"));
    buf_add_byte(out, '\n');
}

static void write_block_map(buf *out, dice *d, size_t indent, size_t depth)
{
    size_t count = 1 + dice_roll(d, 4);
    for (size_t i = 0; i < count; i++) {
        write_noise(out, d, indent);
        buf_add_format(out, "%*s%s%zu%s:", (int)indent, "", i == 2 ? "'k" : "k", i,
                       i == 2 ? "'" : "");
        write_block_value(out, d, indent + 2, depth);
    }
}

static void write_block_list(buf *out, dice *d, size_t indent, size_t depth)
{
    size_t count = 1 + dice_roll(d, 4);
    for (size_t i = 0; i < count; i++) {
        write_noise(out, d, indent);
        buf_add_format(out, "%*s-", (int)indent, "");
        write_block_value(out, d, indent + 2, depth);
    }
}

static void write_block_value(buf *out, dice *d, size_t indent, size_t depth)
{
    uint64_t kind = dice_roll(d, depth > 3 ? 4 : 6);
    if (kind < 2) {
        buf_add_byte(out, ' ');
        write_flow_value(out, d, kind == 0 ? 9 : 0);
        write_line_end(out, d);
    } else if (kind == 2) {
        write_line_end(out, d); // left out
    } else if (kind == 3) {
        buf_add_format(out, " %s\n%*sline one\n%*sline # two\n", dice_roll(d, 2) ? "|" : ">-",
                       (int)indent, "", (int)indent, "");
    } else {
        write_line_end(out, d);
        if (kind == 4)
            write_block_map(out, d, indent, depth + 1);
        else
            write_block_list(out, d, indent, depth + 1);
    }
}

// Walks to a random node and gives its path.
static const tree *random_node(arena *a, dice *d, const tree *root, str *path)
{
    const tree *t = root;
    *path = (str){0};
    while (t->count > 0 && (path->len == 0 || dice_roll(d, 4) > 0)) {
        size_t at = dice_roll(d, t->count);
        const tree *next = t->first;
        for (size_t i = 0; i < at; i++)
            next = next->next;
        str step = t->kind == TREE_MAP ? next->key->text : str_format(a, "%zu", at);
        *path = path->len == 0 ? step : str_format(a, "%.*s/%.*s", STR_ARG(*path), STR_ARG(step));
        t = next;
    }
    return t;
}

static size_t common_start(str x, str y)
{
    size_t n = 0;
    while (n < x.len && n < y.len && x.at[n] == y.at[n])
        n++;
    return n;
}

static size_t common_end(str x, str y)
{
    size_t n = 0;
    while (n < x.len && n < y.len && x.at[x.len - 1 - n] == y.at[y.len - 1 - n])
        n++;
    return n;
}

static const tree *node_at(arena *a, str text, str path)
{
    diagnoses found;
    diagnoses_init(&found, a, 1);
    tree *root = NULL;
    CHECK(tree_read(a, STR("a"), text, &found, &root).code == OK);
    const tree *t = root;
    for (str rest = path; rest.at != NULL && t != NULL;) {
        str step = str_cut(&rest, '/');
        uint64_t at = 0;
        if (t->kind != TREE_LIST) {
            t = tree_field(t, step);
            continue;
        }
        CHECK(str_number(step, &at).code == OK);
        for (t = t->first; t != NULL && at > 0; at--)
            t = t->next;
    }
    return t;
}

static const char *const values[] = {"x",         "it's", "a: b", "12",  "",    "tab\there",
                                     "c\xc3\xa9", "# no", "- d",  "p,q", "[z]", "two\nlines"};

// One edit of a random document. Returns what it was, or OK with `*odd` when it was refused.
static void property_set(arena *a, dice *d, str text, const tree *t, str path, size_t *odd)
{
    str out = {0};
    str wanted = str_of(values[dice_roll(d, COUNT(values))]);
    err e = tree_set(a, text, path, (tree_value){.text = wanted}, &out);
    if (t->kind != TREE_SCALAR) {
        CHECK(e.code == ERR_CONFLICT);
        return;
    }
    *odd += e.code == ERR_UNSUPPORTED;
    if (e.code == ERR_UNSUPPORTED)
        return;
    CHECK(e.code == OK);
    CHECK(str_is(node_at(a, out, path)->text, wanted));
    CHECK(common_start(text, out) >= t->from);
    CHECK(common_end(text, out) >= text.len - t->to);
}

static void property_add(arena *a, dice *d, str text, const tree *t, str path, size_t *odd)
{
    str out = {0};
    str wanted = str_of(values[dice_roll(d, COUNT(values))]);
    str at = str_format(a, "%.*s%snew", STR_ARG(path), path.len > 0 ? "/" : "");
    err e = t->kind == TREE_LIST ? tree_append(a, text, path, wanted, &out)
                                 : tree_set(a, text, at, (tree_value){.text = wanted}, &out);
    if (t->kind == TREE_SCALAR && !tree_is_null(t)) {
        CHECK(e.code == ERR_CONFLICT);
        return;
    }
    *odd += e.code == ERR_UNSUPPORTED;
    if (e.code == ERR_UNSUPPORTED)
        return;
    CHECK(e.code == OK);
    if (t->kind == TREE_LIST)
        at = str_format(a, "%.*s/%zu", STR_ARG(path), t->count);
    CHECK(str_is(node_at(a, out, at)->text, wanted));
    CHECK(common_start(text, out) + common_end(text, out) >= text.len); // one insertion
}

static void property_remove(arena *a, str text, const tree *t, str path, size_t *odd)
{
    str out = {0};
    err e = tree_remove(a, text, path, &out);
    *odd += e.code == ERR_UNSUPPORTED;
    if (e.code == ERR_UNSUPPORTED || t == NULL)
        return;
    CHECK(e.code == OK);
    CHECK(out.len < text.len + 4);
    size_t kept = common_start(text, out) + common_end(text, out);
    bool emptied = str_find(out, STR("{}")) < out.len || str_find(out, STR("[]")) < out.len;
    CHECK(kept >= out.len || emptied); // one deletion
}

TEST(splice_of_random_documents_changes_one_place_only)
{
    enum { ROUNDS = 3000 };
    size_t odd = 0;
    for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
        dice d = {seed * 0x9e3779b97f4a7c15ULL};
        arena *a = memory_open();
        OWNED(buf_close) buf text;
        buf_open(&text, 1 << 20);
        write_block_map(&text, &d, 0, 0);
        diagnoses found;
        diagnoses_init(&found, a, 1);
        tree *root = NULL;
        err e = tree_read(a, STR("a"), buf_str(&text), &found, &root);
        if (e.code != OK)
            print_error("seed %d\n%.*s\n", (int)seed, STR_ARG(buf_str(&text)));
        CHECK(e.code == OK);
        for (size_t i = 0; i < 4; i++) {
            str path;
            size_t before = odd;
            const tree *t = random_node(a, &d, root, &path);
            property_set(a, &d, buf_str(&text), t, path, &odd);
            property_add(a, &d, buf_str(&text), t, path, &odd);
            property_remove(a, buf_str(&text), t, path, &odd);
            if (odd > before && getenv("SHOW_ODD") != NULL)
                print_error("seed %d path %.*s\n%.*s\n", (int)seed, STR_ARG(path),
                            STR_ARG(buf_str(&text)));
        }
        arena_close(a);
    }
    CHECK(odd == 0);
}
