// Command lines as people type them, right and wrong.
#include "base/str.h"
#include "base/test.h"
#include "cli/test_inner.h"

#include <stdlib.h>
#include <string.h>

// Prints all that the parser understood, so that a test compares one line.
static int run_show(cli *c)
{
    cli_print(c, "%s:", c->verb->words);
    for (size_t i = 0; i < cli_arguments(c); i++)
        cli_print(c, " <%.*s>", STR_ARG(cli_argument(c, i)));
    str many[8];
    size_t count = cli_values(c, "domain", many, COUNT(many));
    for (size_t i = 0; i < count; i++)
        cli_print(c, " domain=%.*s", STR_ARG(many[i]));
    if (cli_value(c, "name").at != NULL)
        cli_print(c, " name=%.*s", STR_ARG(cli_value(c, "name")));
    cli_print(c, "%s%s%s%s\n", cli_switch(c, "follow") ? " follow" : "",
              cli_switched_off(c, "follow") ? " no-follow" : "", cli_json(c) ? " json" : "",
              cli_switch(c, "yes") ? " yes" : "");
    return EXIT_OK;
}

static int run_number(cli *c)
{
    uint64_t n;
    if (!cli_number(c, "number", 2, 10, 7, &n))
        return EXIT_USAGE;
    cli_print(c, "%llu\n", (unsigned long long)n);
    return EXIT_OK;
}

static int run_json(cli *c)
{
    cli_json_out(c, *(const str *)cli_data(c));
    return EXIT_OK;
}

static int run_fail(cli *c)
{
    return cli_fail(c, EXIT_CONFLICT, STR("it is \"taken\""), STR("take another"));
}

static int run_ask(cli *c)
{
    str answer;
    if (!cli_ask(c, "Colour", STR(""), "--name", &answer))
        return EXIT_USAGE;
    cli_print(c, "%.*s\n", STR_ARG(answer));
    return EXIT_OK;
}

static int run_progress(cli *c)
{
    cli_progress *p = cli_progress_start(c, "check");
    cli_progress_note(p, STR("never seen without a terminal"));
    cli_progress_end(p, true, STR("2 resources  6 ms"));
    p = cli_progress_start(c, "push");
    cli_progress_end(p, false, STR("refused"));
    return EXIT_OK;
}

static const cli_flag flags[] = {
    {"domain", 'd', "NAMES", "which domains"},
    {"name", 'n', "TEXT", "a name"},
    {"follow", 'f', NULL, "go on"},
    {"no-wait", 0, NULL, "do not wait"},
    {"number", 0, "N", "a number"},
    {0},
};
static const cli_flag common[] = {{"universe", 'u', "NAME", "which universe"}, {0}};
static const cli_verb verbs[] = {
    {"new function", "NAME", "make a function", "$ prog new function x\n", flags, run_show,
     "function"},
    {"new domain", "[NAME]", "make a domain", NULL, NULL, run_show, NULL},
    {"status", "[universe|NODE] [NAME]", "what is there", NULL, flags, run_show, "node"},
    {"status all", NULL, "everything", NULL, flags, run_show, NULL},
    {"add", "ID…", "add many", NULL, NULL, run_show, NULL},
    {"number", NULL, "a number", NULL, flags, run_number, NULL},
    {"json", NULL, "json", NULL, NULL, run_json, NULL},
    {"fail", NULL, "fail", NULL, NULL, run_fail, NULL},
    {"ask", NULL, "ask", NULL, flags, run_ask, NULL},
    {"progress", NULL, "progress", NULL, NULL, run_progress, NULL},
    {"hidden", NULL, NULL, NULL, NULL, run_show, NULL},
};

static void complete(cli *c, const char *what)
{
    cli_print(c, "%s-one\n", what);
}

static const cli_program program = {
    .name = "prog",
    .version = "1.2.3",
    .about = "a program",
    .verbs = verbs,
    .verbs_count = COUNT(verbs),
    .common = common,
    .complete = complete,
    .topics = "environment\0PROG_HOME  where\n\0moons\0about moons\n\0",
};

static arena *memory(void)
{
    arena *a;
    CHECK(arena_open(&a, 8 << 20).code == OK);
    return a;
}

static void check_out(const char *line, const char *expected)
{
    arena *a = memory();
    caught c = cli_catch(a, &program, line, NULL);
    if (!str_is(c.out, str_of(expected)) || c.code != EXIT_OK)
        print_message("%s\n  got  %d %.*s %.*s\n  want %s", line, c.code, STR_ARG(c.out),
                      STR_ARG(c.errors), expected);
    CHECK(str_is(c.out, str_of(expected)));
    CHECK(c.code == EXIT_OK);
    arena_close(a);
}

static void check_error(const char *line, int code, const char *expected)
{
    arena *a = memory();
    caught c = cli_catch(a, &program, line, NULL);
    if (!str_is(c.errors, str_of(expected)) || c.code != code)
        print_message("%s\n  got  %d %.*s\n  want %d %s", line, c.code, STR_ARG(c.errors), code,
                      expected);
    CHECK(str_is(c.errors, str_of(expected)));
    CHECK(c.code == code);
    CHECK(c.out.len == 0);
    arena_close(a);
}

TEST(cli_flags_may_stand_anywhere)
{
    check_out("prog new function x -d a,b --domain c --yes",
              "new function: <x> domain=a domain=b domain=c yes\n");
    check_out("prog --yes -u mars new --domain=a function x", "new function: <x> domain=a yes\n");
    check_out("prog new function -d a x -fy", "new function: <x> domain=a follow yes\n");
    check_out("prog new function x -nfoo", "new function: <x> name=foo\n");
    check_out("prog new function x -n=foo --name bar", "new function: <x> name=bar\n");
    check_out("prog new function x --name=", "new function: <x> name=\n");
}

TEST(cli_double_dash_ends_the_flags)
{
    check_out("prog new function -- --name", "new function: <--name>\n");
    check_out("prog new function -", "new function: <->\n");
}

TEST(cli_switches_can_be_taken_back)
{
    check_out("prog new function x -f --no-follow", "new function: <x> no-follow\n");
    check_out("prog new function x --no-follow --follow", "new function: <x> follow\n");
    check_error("prog new function x --follow=1", EXIT_USAGE,
                "error: --follow is a switch and takes no value\nhelp: --follow or --no-follow\n");
}

TEST(cli_the_longest_verb_wins)
{
    check_out("prog status all", "status all:\n");
    check_out("prog status universe mars", "status: <universe> <mars>\n");
    check_out("prog status", "status:\n");
}

TEST(cli_argument_counts_are_checked)
{
    check_error("prog new function", EXIT_USAGE,
                "error: NAME is missing\nhelp: usage: prog new function NAME\n");
    check_error("prog new function x y", EXIT_USAGE,
                "error: one argument too many: y\nhelp: usage: prog new function NAME\n");
    check_error("prog add", EXIT_USAGE, "error: ID… is missing\nhelp: usage: prog add ID…\n");
    check_out("prog add a b c d", "add: <a> <b> <c> <d>\n");
    check_error("prog hidden x", EXIT_USAGE,
                "error: one argument too many: x\nhelp: usage: prog hidden\n");
}

TEST(cli_typing_errors_get_one_suggestion)
{
    check_error("prog statsu", EXIT_USAGE,
                "error: unknown command \"statsu\"\nhelp: did you mean prog status?        all "
                "commands: prog help\n");
    check_error("prog new functoin x", EXIT_USAGE,
                "error: unknown command \"new functoin\"\n"
                "help: did you mean prog new function?        all commands: prog help new\n");
    check_error("prog new", EXIT_USAGE,
                "error: prog new what?\nhelp: all commands: prog help new\n");
    check_error("prog xyzzy", EXIT_USAGE,
                "error: unknown command \"xyzzy\"\nhelp: all commands: prog help\n");
    check_error("prog new function x --nmae=3", EXIT_USAGE,
                "error: unknown flag --nmae\n"
                "help: did you mean --name?        all flags: prog new function --help\n");
    check_error("prog new function x -z", EXIT_USAGE,
                "error: unknown flag -z\nhelp: all flags: prog new function --help\n");
    check_error("prog new function x --name", EXIT_USAGE,
                "error: --name needs a value: TEXT\nhelp: prog new function --help\n");
}

TEST(cli_numbers_have_a_range)
{
    check_out("prog number", "7\n");
    check_out("prog number --number 10", "10\n");
    check_error("prog number --number 11", EXIT_USAGE,
                "error: --number is a number from 2 to 10, not \"11\"\n");
    check_error("prog number --number=x", EXIT_USAGE,
                "error: --number is a number from 2 to 10, not \"x\"\n");
}

TEST(cli_json_picks_fields_and_errors_are_json_too)
{
    arena *a = memory();
    str list = STR("[{\"id\":\"1\",\"n\":-2.5,\"l\":[1,true]},{\"id\":\"2\"}]");
    caught c = cli_catch(a, &program, "prog json --json", &list);
    CHECK(str_is(c.out, str_format(a, "%.*s\n", STR_ARG(list))));
    c = cli_catch(a, &program, "prog json --json=n,l,id", &list);
    CHECK(str_is(
        c.out,
        STR("[{\"n\":-2.5,\"l\":[1,true],\"id\":\"1\"},{\"n\":null,\"l\":null,\"id\":\"2\"}]\n")));
    c = cli_catch(a, &program, "prog fail --json", NULL);
    CHECK(c.code == EXIT_CONFLICT && c.errors.len == 0);
    CHECK(str_is(c.out, STR("{\"error\":{\"message\":\"it is \\\"taken\\\"\",\"help\":\"take "
                            "another\",\"exit\":5}}\n")));
    c = cli_catch(a, &program, "prog statsu --json", NULL);
    CHECK(c.code == EXIT_USAGE && str_starts(c.out, STR("{\"error\":{")));
    arena_close(a);
}

TEST(cli_errors_say_what_to_do)
{
    check_error("prog fail", EXIT_CONFLICT, "error: it is \"taken\"\nhelp: take another\n");
}

TEST(cli_nobody_is_asked_without_a_terminal)
{
    check_error("prog ask --no-input", EXIT_USAGE,
                "error: Colour: not given, and nobody can be asked\nhelp: give --name\n");
}

TEST(cli_progress_is_plain_lines_without_a_terminal)
{
    arena *a = memory();
    caught c = cli_catch(a, &program, "prog progress", NULL);
    CHECK(str_is(c.errors, STR("  ✓ check  2 resources  6 ms\n  ✗ push  refused\n")));
    arena_close(a);
}

TEST(cli_help_of_a_verb_shows_examples_first)
{
    check_out("prog new function --help",
              "prog new function: make a function\n\n"
              "  $ prog new function x\n\n"
              "usage: prog new function NAME [FLAGS]\n\n"
              "flags:\n"
              "  -d, --domain NAMES        which domains\n"
              "  -n, --name TEXT           a name\n"
              "  -f, --follow              go on\n"
              "      --no-wait             do not wait\n"
              "      --number N            a number\n\n"
              "of every command:\n"
              "  -u, --universe NAME       which universe\n\n"
              "and:\n"
              "      --json                print JSON; --json=a,b prints only these fields\n"
              "  -y, --yes                 do not ask, take the defaults\n"
              "      --no-input            never ask: fail where something is missing\n"
              "      --no-color            without colours (NO_COLOR)\n"
              "  -h, --help                help for a command\n");
}

TEST(cli_help_knows_groups_and_topics)
{
    check_out("prog help new",
              "  new function NAME  make a function\n  new domain [NAME]  make a domain\n");
    check_out("prog new -h",
              "  new function NAME  make a function\n  new domain [NAME]  make a domain\n");
    check_out("prog help moons", "about moons\n");
    check_error("prog help suns", EXIT_USAGE,
                "error: there is no help for \"suns\"\nhelp: all commands: prog help\n");
    arena *a = memory();
    caught c = cli_catch(a, &program, "prog help environment", NULL);
    CHECK(str_starts(c.out, STR("PROG_HOME  where\nNO_COLOR")));
    c = cli_catch(a, &program, "prog help exit-codes", NULL);
    CHECK(str_find(c.out, STR("3    there is no such thing")) < c.out.len);
    c = cli_catch(a, &program, "prog", NULL);
    CHECK(c.code == EXIT_OK && str_starts(c.out, STR("prog 1.2.3: a program\n")));
    CHECK(str_find(c.out, STR("hidden")) == c.out.len);
    arena_close(a);
}

TEST(cli_version_is_built_in)
{
    check_out("prog version", "prog 1.2.3\n");
    check_out("prog --version", "prog 1.2.3\n");
    check_out("prog version --json", "{\"name\":\"prog\",\"version\":\"1.2.3\"}\n");
}

TEST(cli_completion_offers_verbs_flags_and_names)
{
    check_out("prog __complete ne", "new\n");
    check_out("prog __complete new ", "function\ndomain\n");
    check_out("prog __complete new fun", "function\n");
    check_out("prog __complete new function ", "function-one\n");
    check_out("prog __complete new function x --fo", "--follow\n");
    check_out("prog __complete status u", "universe\nnode-one\n");
    check_out("prog __complete new domain -u ", "universe-one\n");
    check_out("prog __complete hid", "");
}

TEST(cli_completion_scripts_name_the_program)
{
    arena *a = memory();
    static const char *const lines[] = {"prog completion bash", "prog completion zsh",
                                        "prog completion fish"};
    for (size_t i = 0; i < COUNT(lines); i++) {
        caught c = cli_catch(a, &program, lines[i], NULL);
        CHECK(c.code == EXIT_OK && str_find(c.out, STR("prog __complete")) < c.out.len);
        CHECK(str_find(c.out, STR("PROGRAM")) == c.out.len);
    }
    CHECK(cli_catch(a, &program, "prog completion tcsh", NULL).code == EXIT_USAGE);
    arena_close(a);
}

TEST(cli_colours_only_where_they_are_wanted)
{
    arena *a = memory();
    CHECK(setenv("CLICOLOR_FORCE", "1", 1) == 0);
    caught c = cli_catch(a, &program, "prog fail", NULL);
    CHECK(str_starts(c.errors, STR("\033[1;31merror:\033[0m it is")));
    c = cli_catch(a, &program, "prog fail --no-color", NULL);
    CHECK(str_starts(c.errors, STR("error: ")));
    CHECK(setenv("NO_COLOR", "1", 1) == 0);
    c = cli_catch(a, &program, "prog fail", NULL);
    CHECK(str_starts(c.errors, STR("error: ")));
    CHECK(unsetenv("NO_COLOR") == 0 && unsetenv("CLICOLOR_FORCE") == 0);
    arena_close(a);
}
