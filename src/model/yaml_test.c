// Reading YAML: spans, limits, refusals.
#include "base/buf.h"
#include "base/fault.h"
#include "base/str.h"
#include "base/test.h"
#include "model/yaml.h"

#include <string.h>

typedef struct scene {
    arena *memory;
    diagnoses found;
    tree *root;
} scene;

static void scene_open(scene *s)
{
    CHECK(arena_open(&s->memory, 64 << 20).code == OK);
    diagnoses_init(&s->found, s->memory, 10);
    s->root = NULL;
}

static err scene_read(scene *s, str text)
{
    return tree_read(s->memory, STR("a.yaml"), text, &s->found, &s->root);
}

// The text must be refused at "line:column: CODE text".
static void refused(str text, const char *where)
{
    scene s;
    scene_open(&s);
    err e = scene_read(&s, text);
    CHECK(e.code == ERR_SYNTAX || e.code == ERR_LIMIT);
    CHECK(s.found.count == 1);
    const diagnosis *d = s.found.first;
    str said =
        str_format(s.memory, "%zu:%zu: %s %.*s", d->line, d->column, d->code, STR_ARG(d->text));
    if (!str_is(said, str_of(where)))
        print_error("%.*s\n", STR_ARG(said));
    CHECK(str_is(said, str_of(where)));
    arena_close(s.memory);
}

TEST(yaml_spans_are_bytes_where_characters_are_wider)
{
    scene s;
    scene_open(&s);
    str text = STR("# caf\xc3\xa9 \xe2\x82\xac\na: \xc3\xa9\xc3\xa9 # x\nb: [\xf0\x9f\x98\x80, "
                   "two]\nc: end\n");
    CHECK(scene_read(&s, text).code == OK);
    const tree *a = tree_field(s.root, STR("a"));
    const tree *b = tree_field(s.root, STR("b"));
    const tree *c = tree_field(s.root, STR("c"));
    CHECK(str_is((str){text.at + a->from, a->to - a->from}, STR("\xc3\xa9\xc3\xa9")));
    CHECK(a->line == 2 && a->column == 4 && a->width == 2);
    CHECK(str_is((str){text.at + b->from, b->to - b->from}, STR("[\xf0\x9f\x98\x80, two]")));
    const tree *two = b->first->next;
    CHECK(two->column == 8 && str_is((str){text.at + two->from, 3}, STR("two")));
    CHECK(str_is((str){text.at + c->from, c->to - c->from}, STR("end")));
    arena_close(s.memory);
}

TEST(yaml_spans_stay_right_past_every_stride)
{
    scene s;
    scene_open(&s);
    OWNED(buf_close) buf text;
    buf_open(&text, 1 << 20);
    for (size_t i = 0; i < 500; i++) {
        buf_add_format(&text, "k%zu: ", i);
        for (size_t n = 0; n < i % 7; n++)
            buf_add(&text, STR("\xc3\xa9"));
        buf_add_format(&text, "v%zu\n", i);
    }
    CHECK(scene_read(&s, buf_str(&text)).code == OK);
    size_t i = 0;
    for (const tree *t = s.root->first; t != NULL; t = t->next, i++) {
        CHECK(str_is((str){text.at + t->from, t->to - t->from}, t->text));
        CHECK(str_ends(t->text, str_format(s.memory, "v%zu", i)));
    }
    CHECK(i == 500);
    arena_close(s.memory);
}

TEST(yaml_block_scalars_and_collections_end_with_their_last_character)
{
    scene s;
    scene_open(&s);
    str text = STR("a: |\n  one\n  two\n\n# after\nb:\n  - x\n  - y # why\n\nc: 1\n");
    CHECK(scene_read(&s, text).code == OK);
    const tree *a = tree_field(s.root, STR("a"));
    const tree *b = tree_field(s.root, STR("b"));
    CHECK(str_is(a->text, STR("one\ntwo\n")));
    CHECK(str_is((str){text.at + a->from, a->to - a->from}, STR("|\n  one\n  two")));
    CHECK(str_is((str){text.at + b->from, b->to - b->from}, STR("- x\n  - y")));
    arena_close(s.memory);
}

TEST(yaml_empty_documents_are_maps_without_entries)
{
    str texts[] = {STR(""), STR("# only a comment\n"), STR("---\n"), STR("\n\n"), {NULL, 0}};
    for (size_t i = 0; i < COUNT(texts); i++) {
        scene s;
        scene_open(&s);
        CHECK(scene_read(&s, texts[i]).code == OK);
        CHECK(s.root->kind == TREE_MAP && s.root->count == 0);
        arena_close(s.memory);
    }
}

TEST(yaml_beyond_the_plain_part_is_refused_at_its_place)
{
    refused(STR("a: &x 1\nb: *x\n"), "1:4: CFG003 anchors (`&name`) are not read");
    refused(STR("a: 1\nb: *x\n"), "2:4: CFG003 aliases (`*name`) are not read");
    refused(STR("a: !!str 1\n"), "1:4: CFG003 tags (`!name`) are not read");
    refused(STR("a: 1\n---\nb: 2\n"), "2:1: CFG003 a second document starts here");
    refused(STR("a: 1\nb: 2\n\"a\": 3\n"), "3:1: CFG004 the key `a` stands here twice");
    refused(STR("? [a, b]\n: 1\n"), "1:3: CFG003 a key must be a plain text");
    refused(STR("a: \"x\\0y\"\n"), "1:4: CFG003 a text may not hold a zero byte");
    refused(STR("a: b: c\n"), "1:5: CFG001 not valid YAML: mapping values are not allowed in this "
                              "context");
    refused(STR("a:\n\tb: 1\n"), "2:1: CFG001 not valid YAML: found character that cannot start "
                                 "any token");
    refused(STR("a: 1\nb: \xff\xfe\n"), "2:1: CFG001 this line is not UTF-8");
    refused(STR("a: 1\nb: x\x01y\n"), "2:5: CFG001 a control character stands here");
    refused(STR("a: [1, 2\nb: 3\n"),
            "2:2: CFG001 not valid YAML: did not find expected ',' or ']'");
}

TEST(yaml_limits_have_names_and_places)
{
    OWNED(buf_close) buf text;
    buf_open(&text, 4 << 20);
    for (size_t i = 0; i < TREE_DEPTH_MAX + 1; i++)
        buf_add_byte(&text, '[');
    for (size_t i = 0; i < TREE_DEPTH_MAX + 1; i++)
        buf_add_byte(&text, ']');
    refused(buf_str(&text), "1:33: CFG002 nested more than 32 levels deep");
    buf_clear(&text);
    buf_add(&text, STR("a: ["));
    for (size_t i = 0; i < TREE_NODES_MAX; i++)
        buf_add(&text, STR("1,\n"));
    refused(buf_str(&text), "99998:1: CFG002 more than 100000 values in one file");
    buf_clear(&text);
    for (size_t i = 0; i < TREE_KEYS_MAX + 1; i++)
        buf_add_format(&text, "k%zu: 1\n", i);
    refused(buf_str(&text), "1001:1: CFG002 more than 1000 keys in one map");
    buf_clear(&text);
    while (text.len <= TREE_BYTES_MAX)
        buf_add(&text, STR("# a long comment\n"));
    refused(buf_str(&text), "1:1: CFG002 the file has more than 1 MiB");
    buf_clear(&text);
    for (size_t i = 0; i < 1000 * 1000; i++)
        buf_add_byte(&text, '[');
    refused(buf_str(&text), "1:33: CFG002 nested more than 32 levels deep");
}

TEST(yaml_reading_survives_every_failed_allocation)
{
    str text = STR("a: {b: [1, \xc3\xa9]}\nc: |\n  x\nd:\n  - e: f\n");
    for (uint64_t k = 0;; k++) {
        scene s;
        scene_open(&s);
        fault_now = (fault_plan){.what = FAULT_MEMORY, .after = k, .times = 1};
        err e = scene_read(&s, text);
        bool done = fault_now.seen <= k;
        fault_now = (fault_plan){.what = FAULT_NONE};
        CHECK(e.code == (done ? OK : ERR_MEMORY));
        CHECK((s.root != NULL) == done);
        arena_close(s.memory);
        if (done)
            break;
        CHECK(k < 1000);
    }
}
