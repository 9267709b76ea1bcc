// Completion: scripts for three shells that ask `PROGRAM __complete WORD...` for candidates.
#include "base/str.h"
#include "cli/cli_inner.h"

#include <unistd.h>

// PROGRAM stands for the program's name.
static const char script_bash[] =
    "_PROGRAM_complete() {\n"
    "    local IFS=$'\\n'\n"
    "    local words=(\"${COMP_WORDS[@]:1:COMP_CWORD}\")\n"
    "    COMPREPLY=($(compgen -W \"$(PROGRAM __complete \"${words[@]}\" 2>/dev/null)\" -- "
    "\"${COMP_WORDS[COMP_CWORD]}\"))\n"
    "}\n"
    "complete -o default -F _PROGRAM_complete PROGRAM\n";
static const char script_zsh[] =
    "#compdef PROGRAM\n"
    "_PROGRAM() {\n"
    "    local -a found\n"
    "    found=(\"${(@f)$(PROGRAM __complete \"${(@)words[2,CURRENT]}\" 2>/dev/null)}\")\n"
    "    compadd -- $found\n"
    "}\n"
    "compdef _PROGRAM PROGRAM\n";
static const char script_fish[] =
    "complete -c PROGRAM -f -a '(PROGRAM __complete (commandline -opc)[2..-1] "
    "(commandline -ct) 2>/dev/null)'\n";

int cli_completion(cli *c, const str *arguments, size_t count)
{
    static const struct {
        const char *shell, *script;
    } scripts[] = {{"bash", script_bash}, {"zsh", script_zsh}, {"fish", script_fish}};
    for (size_t i = 0; i < COUNT(scripts) && count == 1; i++) {
        if (!str_is(arguments[0], str_of(scripts[i].shell)))
            continue;
        OWNED(buf_close) buf out;
        buf_open(&out, CLI_TEXT_BYTES_MAX);
        for (str rest = str_of(scripts[i].script); rest.len > 0;) {
            size_t at = str_find(rest, STR("PROGRAM"));
            buf_add(&out, str_first(rest, at));
            if (at < rest.len)
                buf_add(&out, str_of(c->program->name));
            rest = str_from(rest, at + STR("PROGRAM").len);
        }
        cli_write(STDOUT_FILENO, buf_str(&out));
        return EXIT_OK;
    }
    return cli_fail(c, EXIT_USAGE, STR("which shell?"),
                    str_format(c->memory, "%s completion bash, zsh or fish", c->program->name));
}

static void complete_flags(cli *c, const cli_verb *v, str partial)
{
    const cli_flag *const places[] = {v != NULL ? v->flags : NULL, c->program->common,
                                      cli_builtin_flags};
    for (size_t i = 0; i < COUNT(places); i++)
        for (const cli_flag *f = places[i]; f != NULL && f->name != NULL; f++) {
            bool off = str_is(str_of(f->name), STR("color"));
            str text = str_format(c->memory, "--%s%s", off ? "no-" : "", f->name);
            if (str_starts(text, partial))
                cli_print(c, "%.*s\n", STR_ARG(text));
        }
}

// The next word of every verb that begins with `words`, each once. How many there were.
static size_t complete_verbs(cli *c, const str *words, size_t count, str partial)
{
    const cli_program *p = c->program;
    str last = {0};
    size_t found = 0;
    for (size_t i = 0; i < p->verbs_count; i++) {
        str rest = str_of(p->verbs[i].words), next;
        bool fits = p->verbs[i].summary != NULL;
        for (size_t k = 0; k < count && fits; k++)
            fits = str_is(str_cut(&rest, ' '), words[k]);
        next = str_cut(&rest, ' ');
        if (!fits || next.len == 0 || !str_starts(next, partial) || str_is(next, last))
            continue;
        bool seen = false; // verbs of one group need not stand together
        for (size_t k = 0; k < i && !seen && count == 0; k++) {
            str former = str_of(p->verbs[k].words);
            seen = p->verbs[k].summary != NULL && str_is(str_cut(&former, ' '), next);
        }
        if (!seen)
            cli_print(c, "%.*s\n", STR_ARG(next));
        last = next;
        found++;
    }
    if (count == 0)
        for (size_t i = 0; i < 2; i++) {
            str word = i == 0 ? STR("help") : STR("completion");
            if (str_starts(word, partial))
                cli_print(c, "%.*s\n", STR_ARG(word));
        }
    return found;
}

// Literal choices in the arguments' text, as "universe|NODE|all": lower-case words only.
static void complete_literals(cli *c, const cli_verb *v, str partial)
{
    str rest = str_of(v->arguments);
    str choices = str_cut(&rest, ' ');
    if (str_find_byte(choices, '|') == choices.len)
        return;
    while (choices.len > 0) {
        str each = str_cut(&choices, '|');
        while (each.len > 0 && (each.at[0] == '[' || each.at[0] == '<'))
            each = str_from(each, 1);
        while (each.len > 0 && (each.at[each.len - 1] == ']' || each.at[each.len - 1] == '>'))
            each.len--;
        if (each.len > 0 && each.at[0] >= 'a' && each.at[0] <= 'z' && str_starts(each, partial))
            cli_print(c, "%.*s\n", STR_ARG(each));
    }
}

int cli_complete(cli *c, const str *arguments, size_t count)
{
    str partial = count > 0 ? arguments[count - 1] : STR("");
    str *words = arena_take(c->memory, (count + 1) * sizeof(*words));
    size_t words_count = 0, matched = 0;
    for (size_t i = 0; words != NULL && i + 1 < count; i++)
        if (arguments[i].len == 0 || arguments[i].at[0] != '-')
            words[words_count++] = arguments[i];
    for (size_t i = 0; i < c->program->verbs_count; i++) {
        size_t here = cli_verb_match(&c->program->verbs[i], words, words_count);
        if (here > matched) {
            matched = here;
            c->verb = &c->program->verbs[i];
        }
    }
    if (partial.len > 0 && partial.at[0] == '-') {
        complete_flags(c, c->verb, partial);
        return EXIT_OK;
    }
    // A flag's value comes next: only the universe can be told.
    str before = count > 1 ? arguments[count - 2] : STR("");
    bool universe = str_is(before, STR("-u")) || str_is(before, STR("--universe"));
    if (universe && c->program->complete != NULL) {
        c->program->complete(c, "universe");
        return EXIT_OK;
    }
    if (complete_verbs(c, words, words_count, partial) > 0 || c->verb == NULL)
        return EXIT_OK;
    complete_literals(c, c->verb, partial);
    if (c->verb->complete != NULL && c->program->complete != NULL)
        c->program->complete(c, c->verb->complete);
    return EXIT_OK;
}
