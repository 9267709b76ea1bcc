// Boxes, columns, ages and diagnoses against what the seed and its readers have on their screens.
#include "base/file.h"
#include "base/str.h"
#include "base/test.h"
#include "cli/test_inner.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CELL(text)             \
    {                          \
        text, sizeof(text) - 1 \
    }

typedef struct table {
    const str *cells;
    size_t columns, rows;
    bool box;
} table;

static int run_table(cli *c)
{
    const table *t = cli_data(c);
    (t->box ? cli_box : cli_columns)(c, t->cells, t->columns, t->rows);
    return EXIT_OK;
}

static const cli_verb verbs[] = {{"show", NULL, "show", NULL, NULL, run_table, NULL}};
static const cli_program program = {
    .name = "prog", .version = "1", .about = "", .verbs = verbs, .verbs_count = COUNT(verbs)};

static void check_table(const table *t, const char *expected)
{
    arena *a;
    CHECK(arena_open(&a, 4 << 20).code == OK);
    caught c = cli_catch(a, &program, "prog show", (void *)t);
    if (!str_is(c.out, str_of(expected)))
        print_message("got\n%.*swant\n%s", STR_ARG(c.out), expected);
    CHECK(str_is(c.out, str_of(expected)));
    arena_close(a);
}

TEST(box_is_that_of_the_article_for_one_protocol)
{
    static const str cells[] = {
        CELL("substrate@blackhole"), CELL("copies"), CELL("1"),
        CELL("substrate@blackhole"), CELL("dns"),    CELL("14304"),
        CELL("substrate@blackhole"), CELL("http"),   CELL("14529"),
        CELL("substrate@blackhole"), CELL("p2p"),    CELL("14282"),
    };
    check_table(&(table){cells, 3, 4, true}, "┌─────────────────────┬────────┬───────┐\n"
                                             "│ substrate@blackhole │ copies │     1 │\n"
                                             "│                     ├────────┼───────┤\n"
                                             "│                     │ dns    │ 14304 │\n"
                                             "│                     ├────────┼───────┤\n"
                                             "│                     │ http   │ 14529 │\n"
                                             "│                     ├────────┼───────┤\n"
                                             "│                     │ p2p    │ 14282 │\n"
                                             "└─────────────────────┴────────┴───────┘\n");
}

TEST(box_is_that_of_the_article_for_a_universe)
{
    static const str cells[] = {
        CELL("Nodes"), CELL("elder@blackhole"),     CELL("p2p"),    CELL("14051"),
        CELL("Nodes"), CELL("tns@blackhole"),       CELL("http"),   CELL("14466"),
        CELL("Nodes"), CELL("tns@blackhole"),       CELL("p2p"),    CELL("14226"),
        CELL("Nodes"), CELL("substrate@blackhole"), CELL("copies"), CELL("1"),
    };
    check_table(&(table){cells, 4, 4, true}, "┌───────┬─────────────────────┬────────┬───────┐\n"
                                             "│ Nodes │ elder@blackhole     │ p2p    │ 14051 │\n"
                                             "│       ├─────────────────────┼────────┼───────┤\n"
                                             "│       │ tns@blackhole       │ http   │ 14466 │\n"
                                             "│       │                     ├────────┼───────┤\n"
                                             "│       │                     │ p2p    │ 14226 │\n"
                                             "│       ├─────────────────────┼────────┼───────┤\n"
                                             "│       │ substrate@blackhole │ copies │     1 │\n"
                                             "└───────┴─────────────────────┴────────┴───────┘\n");
}

TEST(box_cells_merge_only_below_merged_ones)
{
    static const str cells[] = {
        CELL("a"), CELL("p2p"), CELL("1"), CELL("b"), CELL("p2p"), CELL("1"),
    };
    check_table(&(table){cells, 3, 2, true}, "┌───┬─────┬───┐\n"
                                             "│ a │ p2p │ 1 │\n"
                                             "├───┼─────┼───┤\n"
                                             "│ b │ p2p │ 1 │\n"
                                             "└───┴─────┴───┘\n");
}

TEST(box_counts_characters_and_shows_what_moves_a_terminal)
{
    static const str cells[] = {CELL("ü"), CELL("x\033[2J"), CELL("abc"), CELL("ä")};
    check_table(&(table){cells, 2, 2, true}, "┌─────┬──────────┐\n"
                                             "│ ü   │ x\\x1b[2J │\n"
                                             "├─────┼──────────┤\n"
                                             "│ abc │ ä        │\n"
                                             "└─────┴──────────┘\n");
}

TEST(box_of_nothing_is_nothing)
{
    check_table(&(table){NULL, 3, 0, true}, "");
    check_table(&(table){NULL, 3, 0, false}, "");
}

TEST(columns_are_aligned_and_end_without_blanks)
{
    static const str cells[] = {
        CELL("NAME"), CELL("STATUS"), CELL("NOTE"),   CELL("größe"),  CELL("ok"),
        CELL(""),     CELL("x"),      CELL("failed"), CELL("a note"),
    };
    check_table(&(table){cells, 3, 3, false}, "NAME   STATUS  NOTE\n"
                                              "größe  ok\n"
                                              "x      failed  a note\n");
}

TEST(age_is_told_in_one_unit)
{
    arena *a;
    CHECK(arena_open(&a, 64 * 1024).code == OK);
    uint64_t now = 1000ULL * 1000 * 1000;
    CHECK(str_is(cli_age(a, now - 1999, now), STR("just now")));
    CHECK(str_is(cli_age(a, now + 5000, now), STR("just now")));
    CHECK(str_is(cli_age(a, now - 2000, now), STR("2 s ago")));
    CHECK(str_is(cli_age(a, now - 3 * 60000, now), STR("3 min ago")));
    CHECK(str_is(cli_age(a, now - 3599999, now), STR("59 min ago")));
    CHECK(str_is(cli_age(a, now - 86399999, now), STR("23 h ago")));
    CHECK(str_is(cli_age(a, now - 3 * 86400000ULL, now), STR("3 d ago")));
    CHECK(str_is(cli_age(a, 0, now), STR("never")));
    arena_close(a);
}

// ---- diagnoses

static int run_diagnoses(cli *c)
{
    cli_diagnoses(c, "/tmp/ctau-cli-test", cli_data(c));
    return EXIT_OK;
}

static const cli_verb diagnoses_verbs[] = {{"show", NULL, "show", NULL, NULL, run_diagnoses, NULL}};
static const cli_program diagnoses_program = {.name = "prog",
                                              .version = "1",
                                              .about = "",
                                              .verbs = diagnoses_verbs,
                                              .verbs_count = COUNT(diagnoses_verbs)};

static void check_diagnosis(str file, diagnosis d, const char *expected)
{
    arena *a;
    diagnoses found;
    CHECK(arena_open(&a, 4 << 20).code == OK);
    CHECK(file_make_folders("/tmp/ctau-cli-test", 0755).code == OK);
    CHECK(file_write_durable("/tmp/ctau-cli-test/f.yaml", file, 0644).code == OK);
    diagnoses_init(&found, a, 1);
    diagnosis *kept = diagnoses_add(&found, STR("f.yaml"), d.line, d.column, d.code);
    kept->width = d.width;
    kept->text = d.text;
    kept->help = d.help;
    caught c = cli_catch(a, &diagnoses_program, "prog show", &found);
    if (!str_is(c.errors, str_of(expected)))
        print_message("got\n%.*swant\n%s", STR_ARG(c.errors), expected);
    CHECK(str_is(c.errors, str_of(expected)));
    CHECK(file_remove_tree("/tmp/ctau-cli-test").code == OK);
    arena_close(a);
}

TEST(diagnosis_shows_the_line_underlined)
{
    check_diagnosis(STR("a: 1\n  method: FETCH\r\nb: 2\n"),
                    (diagnosis){.line = 2,
                                .column = 11,
                                .width = 5,
                                .code = "CFG009",
                                .text = STR("trigger.method is FETCH"),
                                .help = STR("did you mean PATCH?")},
                    "error: trigger.method is FETCH\n"
                    "  --> f.yaml:2:11  CFG009\n"
                    "   2 |   method: FETCH\n"
                    "     |           ^^^^^\n"
                    "help: did you mean PATCH?\n\n");
}

TEST(diagnosis_marks_columns_of_characters_and_tabs)
{
    check_diagnosis(STR("\tü: xx\n"),
                    (diagnosis){.line = 1, .column = 5, .width = 20, .text = STR("no")},
                    "error: no\n"
                    "  --> f.yaml:1:5\n"
                    "   1 |  ü: xx\n"
                    "     |     ^^\n\n");
}

TEST(diagnosis_of_a_whole_file_has_no_line)
{
    check_diagnosis(STR("x\n"), (diagnosis){.text = STR("there is no folder"), .code = "JOB001"},
                    "error: there is no folder\n  --> f.yaml  JOB001\n\n");
}

TEST(diagnosis_past_the_end_of_the_file_is_told_all_the_same)
{
    check_diagnosis(STR("x\n"), (diagnosis){.line = 9, .column = 1, .text = STR("ends too early")},
                    "error: ends too early\n  --> f.yaml:9:1\n\n");
}

TEST(diagnosis_of_a_long_line_shows_the_part_around_it)
{
    char text[400];
    memset(text, 'a', sizeof(text));
    text[300] = 'X';
    text[399] = '\n';
    arena *a;
    diagnoses found;
    CHECK(arena_open(&a, 4 << 20).code == OK);
    CHECK(file_make_folders("/tmp/ctau-cli-test", 0755).code == OK);
    CHECK(file_write_durable("/tmp/ctau-cli-test/f.yaml", (str){text, sizeof(text)}, 0644).code ==
          OK);
    diagnoses_init(&found, a, 1);
    diagnoses_add(&found, STR("f.yaml"), 1, 301, NULL)->text = STR("X");
    caught c = cli_catch(a, &diagnoses_program, "prog show", &found);
    str rest = c.errors, line = {0}, mark = {0};
    for (int i = 0; i < 4; i++) {
        line = mark;
        mark = str_cut(&rest, '\n');
    }
    CHECK(line.len < 110 && mark.len < 110);
    CHECK(str_find_byte(line, 'X') == str_find_byte(mark, '^'));
    CHECK(file_remove_tree("/tmp/ctau-cli-test").code == OK);
    arena_close(a);
}
