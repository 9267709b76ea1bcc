// Help out of the table: the program, a group of verbs, one verb, topics.
#include "base/str.h"
#include "cli/cli_inner.h"

#include <unistd.h>

static const char topics_builtin[] =
    "exit-codes\0"
    "0    all went well\n"
    "1    failed: a build is red, a check found errors, a request was refused\n"
    "2    the command line was wrong\n"
    "3    there is no such thing, or no universe is running\n"
    "4    not logged in, or not allowed\n"
    "5    conflict: the name is taken, or somebody pushed before\n"
    "130  interrupted by Ctrl-C\n\0"
    "environment\0"
    "NO_COLOR        no colours\n"
    "CLICOLOR=0      no colours; CLICOLOR_FORCE=1: colours without a terminal too\n"
    "CI              never ask, no progress lines that are redrawn\n\0"
    "formatting\0"
    "--json          every command prints JSON on stdout; errors are {\"error\":{…}}\n"
    "--json=a,b      only these fields of it\n"
    "Results go to stdout, progress and errors to stderr. What is printed for people may\n"
    "change; the JSON keeps its fields. Streams (-f) are one JSON object per line.\n\0";

// The text of a topic in a list "name\0text\0name\0text\0\0".
static const char *topic_find(const char *topics, str name)
{
    for (const char *at = topics; at != NULL && *at != 0;) {
        str each = str_of(at);
        const char *text = at + each.len + 1;
        if (str_is(each, name))
            return text;
        at = text + str_of(text).len + 1;
    }
    return NULL;
}

static size_t put_flag(buf *out, const cli_flag *f)
{
    size_t before = out->len;
    buf_add_format(out, f->letter != 0 ? "  -%c, " : "      ", f->letter);
    bool off = str_is(str_of(f->name), STR("color"));
    buf_add_format(out, "--%s%s%s%s", off ? "no-" : "", f->name, f->value != NULL ? " " : "",
                   f->value != NULL ? f->value : "");
    return out->len - before;
}

static void put_flags(buf *out, const char *title, const cli_flag *flags)
{
    enum { HELP_COLUMN = 28 };
    if (flags == NULL || flags->name == NULL)
        return;
    buf_add_format(out, "\n%s\n", title);
    for (const cli_flag *f = flags; f->name != NULL; f++) {
        size_t len = put_flag(out, f);
        for (; len + 1 < HELP_COLUMN; len++)
            buf_add_byte(out, ' ');
        buf_add_format(out, " %s\n", f->help);
    }
}

static void print_buf(buf *out)
{
    cli_write(STDOUT_FILENO, buf_str(out));
    buf_close(out);
}

void cli_help_verb(cli *c, const cli_verb *v)
{
    const cli_program *p = c->program;
    buf out;
    buf_open(&out, CLI_TEXT_BYTES_MAX);
    buf_add_format(&out, "%s %s: %s\n\n", p->name, v->words, v->summary);
    for (str rest = str_of(v->examples); rest.len > 0;) {
        str line = str_cut(&rest, '\n');
        buf_add_format(&out, "  %.*s\n", STR_ARG(line));
    }
    buf_add_format(&out, "%susage: %s %s%s%s%s\n", v->examples != NULL ? "\n" : "", p->name,
                   v->words, v->arguments != NULL ? " " : "",
                   v->arguments != NULL ? v->arguments : "",
                   v->flags != NULL && v->flags->name != NULL ? " [FLAGS]" : "");
    put_flags(&out, "flags:", v->flags);
    put_flags(&out, "of every command:", p->common);
    put_flags(&out, p->common == NULL ? "of every command:" : "and:", cli_builtin_flags);
    print_buf(&out);
}

static bool verb_is_hidden(const cli_verb *v)
{
    return v->summary == NULL;
}

static bool verb_begins(const cli_verb *v, const str *words, size_t count)
{
    str rest = str_of(v->words);
    for (size_t i = 0; i < count; i++)
        if (!str_is(str_cut(&rest, ' '), words[i]))
            return false;
    return true;
}

// All verbs that begin with these words; how many there were.
static size_t put_verbs(cli *c, buf *out, const str *words, size_t count)
{
    const cli_program *p = c->program;
    size_t widest = 0, found = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < p->verbs_count; i++) {
            const cli_verb *v = &p->verbs[i];
            if (verb_is_hidden(v) || !verb_begins(v, words, count))
                continue;
            str text = str_format(c->memory, "%s%s%s", v->words, v->arguments != NULL ? " " : "",
                                  v->arguments != NULL ? v->arguments : "");
            size_t width = cli_width(text);
            if (pass == 0) {
                widest = width > widest && width < 34 ? width : widest;
                found++;
                continue;
            }
            buf_add_format(out, "  %.*s", STR_ARG(text));
            if (width > widest)
                buf_add_format(out, "\n  %*s", (int)widest, "");
            for (; width < widest; width++)
                buf_add_byte(out, ' ');
            buf_add_format(out, "  %s\n", v->summary);
        }
    }
    return found;
}

static void put_program(cli *c, buf *out)
{
    const cli_program *p = c->program;
    buf_add_format(out, "%s %s: %s\n\nusage: %s COMMAND [ARGUMENTS] [FLAGS]\n\n", p->name,
                   p->version, p->about, p->name);
    (void)put_verbs(c, out, NULL, 0);
    put_flags(out, "of every command:", p->common);
    put_flags(out, p->common == NULL ? "of every command:" : "and:", cli_builtin_flags);
    buf_add_format(out,
                   "\nmore: %s help COMMAND, %s help exit-codes|environment|formatting,\n"
                   "      %s completion bash|zsh|fish, %s version\n",
                   p->name, p->name, p->name, p->name);
}

int cli_help(cli *c, const str *words, size_t count)
{
    const cli_program *p = c->program;
    buf out;
    buf_open(&out, CLI_TEXT_BYTES_MAX);
    if (count == 0) {
        put_program(c, &out);
        print_buf(&out);
        return EXIT_OK;
    }
    const cli_verb *best = NULL;
    for (size_t i = 0; i < p->verbs_count; i++)
        if (cli_verb_match(&p->verbs[i], words, count) == count)
            best = &p->verbs[i];
    if (best != NULL) {
        buf_close(&out);
        cli_help_verb(c, best);
        return EXIT_OK;
    }
    const char *topic = count == 1 ? topic_find(p->topics, words[0]) : NULL;
    const char *builtin = count == 1 ? topic_find(topics_builtin, words[0]) : NULL;
    if (topic != NULL || builtin != NULL) {
        buf_add(&out, str_of(topic));
        bool both = topic != NULL && builtin != NULL && str_is(words[0], STR("environment"));
        buf_add(&out, topic == NULL || both ? str_of(builtin) : STR(""));
        print_buf(&out);
        return EXIT_OK;
    }
    if (put_verbs(c, &out, words, count) > 0) {
        print_buf(&out);
        return EXIT_OK;
    }
    buf_close(&out);
    str said = str_printable(c->memory, str_join(c->memory, words, count, STR(" ")));
    return cli_fail(c, EXIT_USAGE,
                    str_format(c->memory, "there is no help for \"%.*s\"", STR_ARG(said)),
                    str_format(c->memory, "all commands: %s help", p->name));
}
