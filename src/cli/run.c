// Parses a command line by the program's table and runs the verb it means.
//
// Flags may stand before, between and behind the verb's words, so there are two passes: the first
// finds the verb, the second reads the flags with the verb's own table.
#include "base/str.h"
#include "cli/cli_inner.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

void *cli_data(cli *c)
{
    return c->data;
}

arena *cli_arena(cli *c)
{
    return c->memory;
}

const char *cli_program_name(cli *c)
{
    return c->program->name;
}

size_t cli_arguments(const cli *c)
{
    return c->arguments_count;
}

str cli_argument(const cli *c, size_t i)
{
    return i < c->arguments_count ? c->arguments[i] : (str){0};
}

bool cli_json(const cli *c)
{
    return c->json;
}

static bool word_is_flag(str word)
{
    return word.len > 1 && word.at[0] == '-';
}

// "--name=value" as name and value; value.at is NULL when there is no '='.
static str flag_name(str word, str *value)
{
    str rest = str_from(word, 2);
    size_t equals = str_find_byte(rest, '=');
    *value = equals < rest.len ? str_from(rest, equals + 1) : (str){0};
    if (equals < rest.len && value->at == NULL)
        *value = STR("");
    return str_first(rest, equals);
}

// Could this verb still be meant after these words?
static bool verb_is_possible(const cli_verb *v, const str *words, size_t count)
{
    str rest = str_of(v->words);
    for (size_t i = 0; i < count && rest.len > 0; i++)
        if (!str_is(str_cut(&rest, ' '), words[i]))
            return false;
    return true;
}

// Does the word behind this flag belong to it? Asked before the verb is known.
static bool flag_takes_next(const cli_program *p, const str *words, size_t count, str word)
{
    str value = {0}, name = {0};
    char letter = 0;
    bool off;
    if (word.at[1] == '-')
        name = flag_name(word, &value);
    else if (word.len == 2)
        letter = word.at[1];
    if (value.at != NULL || (name.len == 0 && letter == 0))
        return false;
    for (size_t i = 0; i < p->verbs_count; i++) {
        const cli_flag *f = verb_is_possible(&p->verbs[i], words, count)
                                ? cli_flag_find(p, &p->verbs[i], name, letter, &off)
                                : NULL;
        if (f != NULL)
            return f->value != NULL;
    }
    const cli_flag *f = cli_flag_find(p, NULL, name, letter, &off);
    return f != NULL && f->value != NULL;
}

// The first pass: all words that are no flags, `--json` and `--help` noted on the way.
static size_t words_find(cli *c, int argc, char **argv, str *words, bool *help)
{
    size_t count = 0;
    bool ended = false;
    for (int i = 1; i < argc; i++) {
        str word = str_of(argv[i]);
        if (ended || !word_is_flag(word)) {
            words[count++] = word;
        } else if (str_is(word, STR("--"))) {
            ended = true;
        } else {
            c->json = c->json || str_is(word, STR("--json")) || str_starts(word, STR("--json="));
            *help = *help || str_is(word, STR("--help")) || str_is(word, STR("-h"));
            if (flag_takes_next(c->program, words, count, word))
                i++;
        }
    }
    return count;
}

static int flag_unknown(cli *c, str word)
{
    const cli_flag *const places[] = {c->verb->flags, c->program->common, cli_builtin_flags};
    const char *names[3 * CLI_FLAGS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < COUNT(places); i++)
        for (const cli_flag *f = places[i]; f != NULL && f->name != NULL; f++)
            if (count < COUNT(names))
                names[count++] = f->name;
    str value;
    str name = word.at[1] == '-' ? flag_name(word, &value) : str_from(word, 1);
    const char *near = str_closest(name, names, count);
    str help = str_format(c->memory, "%s%s%sall flags: %s %s --help",
                          near != NULL ? "did you mean --" : "", near != NULL ? near : "",
                          near != NULL ? "?        " : "", c->program->name, c->verb->words);
    str shown = str_printable(c->memory, str_first(word, str_find_byte(word, '=')));
    return cli_fail(c, EXIT_USAGE, str_format(c->memory, "unknown flag %.*s", STR_ARG(shown)),
                    help);
}

static int flag_keep(cli *c, const cli_flag *f, str value, bool off)
{
    c->given[c->given_count++] = (cli_given){.flag = f, .value = value, .off = off};
    if (str_is(str_of(f->name), STR("json"))) {
        c->json = true;
        c->json_fields = value;
    }
    return EXIT_OK;
}

// One long flag; *i moves on when the value is the next word.
static int flag_read_long(cli *c, char **argv, int argc, int *i)
{
    str value, word = str_of(argv[*i]);
    str name = flag_name(word, &value);
    bool off;
    const cli_flag *f = name.len == 0 ? NULL : cli_flag_find(c->program, c->verb, name, 0, &off);
    if (f == NULL)
        return flag_unknown(c, word);
    if (f->value != NULL && value.at == NULL) {
        if (*i + 1 == argc)
            return cli_fail(
                c, EXIT_USAGE, str_format(c->memory, "--%s needs a value: %s", f->name, f->value),
                str_format(c->memory, "%s %s --help", c->program->name, c->verb->words));
        value = str_of(argv[++*i]);
    }
    bool fields = str_is(str_of(f->name), STR("json")); // --json=a,b
    if (f->value == NULL && value.at != NULL && !fields)
        return cli_fail(c, EXIT_USAGE,
                        str_format(c->memory, "--%s is a switch and takes no value", f->name),
                        str_format(c->memory, "--%s or --no-%s", f->name, f->name));
    return flag_keep(c, f, value, off);
}

// -n 5, -n5, -n=5, and switches in one word: -yf.
static int flag_read_short(cli *c, char **argv, int argc, int *i)
{
    str word = str_of(argv[*i]);
    for (size_t at = 1; at < word.len; at++) {
        bool off;
        const cli_flag *f = cli_flag_find(c->program, c->verb, STR(""), word.at[at], &off);
        if (f == NULL)
            return flag_unknown(c, str_format(c->memory, "-%c", word.at[at]));
        if (f->value == NULL) {
            (void)flag_keep(c, f, (str){0}, false);
            continue;
        }
        str value = str_from(word, at + 1);
        if (value.len > 0 && value.at[0] == '=')
            value = str_from(value, 1);
        else if (value.len == 0 && *i + 1 == argc)
            return cli_fail(
                c, EXIT_USAGE, str_format(c->memory, "-%c needs a value: %s", f->letter, f->value),
                str_format(c->memory, "%s %s --help", c->program->name, c->verb->words));
        else if (value.len == 0)
            value = str_of(argv[++*i]);
        return flag_keep(c, f, value, false);
    }
    return EXIT_OK;
}

static int arguments_check(cli *c)
{
    size_t least, most;
    cli_verb_arity(c->verb, &least, &most);
    str usage = str_format(c->memory, "usage: %s %s%s%s", c->program->name, c->verb->words,
                           c->verb->arguments != NULL ? " " : "",
                           c->verb->arguments != NULL ? c->verb->arguments : "");
    if (c->arguments_count > most) {
        str extra = str_printable(c->memory, c->arguments[most]);
        return cli_fail(c, EXIT_USAGE,
                        str_format(c->memory, "one argument too many: %.*s", STR_ARG(extra)),
                        usage);
    }
    if (c->arguments_count >= least)
        return EXIT_OK;
    str rest = str_of(c->verb->arguments), word = {0};
    for (size_t i = 0; i <= c->arguments_count; i++)
        word = str_cut(&rest, ' ');
    return cli_fail(c, EXIT_USAGE, str_format(c->memory, "%.*s is missing", STR_ARG(word)), usage);
}

// The second pass. `skip` words are the verb's own.
static int line_read(cli *c, int argc, char **argv, size_t skip)
{
    bool ended = false;
    for (int i = 1; i < argc; i++) {
        str word = str_of(argv[i]);
        int code = EXIT_OK;
        if (ended || !word_is_flag(word)) {
            if (skip > 0)
                skip--;
            else
                c->arguments[c->arguments_count++] = word;
        } else if (str_is(word, STR("--"))) {
            ended = true;
        } else if (word.at[1] == '-') {
            code = flag_read_long(c, argv, argc, &i);
        } else {
            code = flag_read_short(c, argv, argc, &i);
        }
        if (code != EXIT_OK)
            return code;
    }
    return arguments_check(c);
}

// "new projct": the closest whole verb, or one of those that start alike.
static int verb_unknown(cli *c, const str *words, size_t count)
{
    const cli_program *p = c->program;
    static const char *const builtin[] = {"help", "version", "completion"};
    const char **names = arena_take(c->memory, (p->verbs_count + COUNT(builtin)) * sizeof(*names));
    if (names == NULL)
        return cli_fail(c, EXIT_FAILED, STR("out of memory"), STR(""));
    str said = {0};
    const char *near = NULL;
    for (size_t used = count < CLI_WORDS_MAX ? count : CLI_WORDS_MAX; used > 0 && near == NULL;
         used--) {
        size_t names_count = 0;
        for (size_t i = 0; i < p->verbs_count; i++)
            names[names_count++] = p->verbs[i].words;
        for (size_t i = 0; i < COUNT(builtin); i++)
            names[names_count++] = builtin[i];
        said = str_join(c->memory, words, used, STR(" "));
        near = str_closest(said, names, names_count);
    }
    bool group = false; // the first word begins verbs of two words
    for (size_t i = 0; i < p->verbs_count; i++) {
        str rest = str_of(p->verbs[i].words);
        group = group || (str_is(str_cut(&rest, ' '), words[0]) && rest.len > 0);
    }
    size_t shown = group && count > 1 ? 2 : 1;
    said = str_printable(c->memory, str_join(c->memory, words, shown, STR(" ")));
    str message = group && count == 1
                      ? str_format(c->memory, "%s %.*s what?", p->name, STR_ARG(said))
                      : str_format(c->memory, "unknown command \"%.*s\"", STR_ARG(said));
    str help = str_format(c->memory, "%s%s%s%s%sall commands: %s help%s%.*s",
                          near != NULL ? "did you mean " : "", near != NULL ? p->name : "",
                          near != NULL ? " " : "", near != NULL ? near : "",
                          near != NULL ? "?        " : "", p->name, group ? " " : "",
                          STR_ARG(group ? words[0] : STR("")));
    return cli_fail(c, EXIT_USAGE, message, help);
}

static int version_print(cli *c)
{
    if (!c->json) {
        cli_print(c, "%s %s\n", c->program->name, c->program->version);
        return EXIT_OK;
    }
    cli_json_out(c, str_format(c->memory, "{\"name\":\"%s\",\"version\":\"%s\"}", c->program->name,
                               c->program->version));
    return EXIT_OK;
}

// What every program has, when its own table has no such verb.
static bool run_builtin(cli *c, int argc, char **argv, const str *words, size_t count, int *code)
{
    bool asked = argc > 1 &&
                 (str_is(str_of(argv[1]), STR("--version")) || str_is(str_of(argv[1]), STR("-V")));
    str first = count > 0 ? words[0] : asked ? STR("version") : STR("help");
    if (str_is(first, STR("help")))
        *code = cli_help(c, words + (count > 0), count > 0 ? count - 1 : 0);
    else if (str_is(first, STR("completion")))
        *code = cli_completion(c, words + 1, count - 1);
    else if (str_is(first, STR("version")))
        *code = version_print(c);
    else
        return false;
    return true;
}

static int run_line(cli *c, int argc, char **argv)
{
    const cli_program *p = c->program;
    str *words = arena_take(c->memory, ((size_t)argc + 1) * sizeof(*words));
    c->arguments = arena_take(c->memory, ((size_t)argc + 1) * sizeof(*c->arguments));
    size_t letters = 0; // -abc is three flags
    for (int i = 1; i < argc; i++)
        letters += str_of(argv[i]).len + 1;
    c->given = arena_take(c->memory, (letters + 1) * sizeof(*c->given));
    if (words == NULL || c->arguments == NULL || c->given == NULL)
        return cli_fail(c, EXIT_FAILED, STR("out of memory"), STR(""));
    if (argc > 1 && str_is(str_of(argv[1]), STR("__complete"))) {
        for (int i = 2; i < argc; i++)
            words[i - 2] = str_of(argv[i]);
        return cli_complete(c, words, (size_t)argc - 2);
    }
    bool help = false;
    size_t count = words_find(c, argc, argv, words, &help), matched = 0;
    for (size_t i = 0; i < p->verbs_count; i++) {
        size_t here = cli_verb_match(&p->verbs[i], words, count);
        if (here > matched) {
            matched = here;
            c->verb = &p->verbs[i];
        }
    }
    int code;
    if (help)
        return cli_help(c, words, matched > 0 ? matched : count);
    if (matched == 0)
        return run_builtin(c, argc, argv, words, count, &code) ? code
                                                               : verb_unknown(c, words, count);
    code = line_read(c, argc, argv, matched);
    return code != EXIT_OK ? code : c->verb->run(c);
}

int cli_run(const cli_program *p, int argc, char **argv, void *data)
{
    // A reader that has gone (| head) is no reason to die in the middle of something.
    (void)signal(SIGPIPE, SIG_IGN);
    cli c = {.program = p, .data = data};
    if (arena_open(&c.memory, CLI_MEMORY_BYTES).code != OK) {
        fputs("error: out of memory\n", stderr);
        return EXIT_FAILED;
    }
    int code = run_line(&c, argc, argv);
    arena_close(c.memory);
    return code;
}
