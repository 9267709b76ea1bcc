// Flags and verbs as tables: which one a word means.
#include "base/str.h"
#include "cli/cli_inner.h"

const cli_flag cli_builtin_flags[] = {
    {"json", 0, NULL, "print JSON; --json=a,b prints only these fields"},
    {"yes", 'y', NULL, "do not ask, take the defaults"},
    {"no-input", 0, NULL, "never ask: fail where something is missing"},
    {"color", 0, NULL, "without colours (NO_COLOR)"},
    {"help", 'h', NULL, "help for a command"},
    {0},
};

static const cli_flag *flag_in(const cli_flag *flags, str name, char letter)
{
    for (const cli_flag *f = flags; f != NULL && f->name != NULL; f++)
        if (name.len > 0 ? str_is(name, str_of(f->name)) : letter != 0 && f->letter == letter)
            return f;
    return NULL;
}

const cli_flag *
cli_flag_find(const cli_program *p, const cli_verb *v, str name, char letter, bool *off)
{
    const cli_flag *const places[] = {v != NULL ? v->flags : NULL, p->common, cli_builtin_flags};
    *off = false;
    for (size_t i = 0; i < COUNT(places); i++) {
        const cli_flag *f = flag_in(places[i], name, letter);
        if (f != NULL)
            return f;
    }
    if (!str_starts(name, STR("no-")))
        return NULL;
    for (size_t i = 0; i < COUNT(places); i++) {
        const cli_flag *f = flag_in(places[i], str_from(name, 3), 0);
        *off = f != NULL && f->value == NULL;
        if (*off)
            return f;
    }
    return NULL;
}

void cli_verb_arity(const cli_verb *v, size_t *least, size_t *most)
{
    *least = *most = 0;
    if (v->arguments == NULL)
        return;
    for (str rest = str_of(v->arguments); rest.len > 0;) {
        str word = str_cut(&rest, ' ');
        if (word.len == 0)
            continue;
        if (str_find(word, STR("…")) < word.len || str_find(word, STR("...")) < word.len)
            *most = SIZE_MAX;
        if (word.at[0] != '[')
            ++*least;
        if (*most < SIZE_MAX)
            ++*most;
    }
}

size_t cli_verb_match(const cli_verb *v, const str *words, size_t count)
{
    size_t matched = 0;
    for (str rest = str_of(v->words); rest.len > 0; matched++)
        if (matched == count || !str_is(str_cut(&rest, ' '), words[matched]))
            return 0;
    return matched;
}

str cli_value(const cli *c, const char *flag)
{
    for (size_t i = c->given_count; i-- > 0;)
        if (str_is(str_of(c->given[i].flag->name), str_of(flag)))
            return c->given[i].value;
    return (str){0};
}

size_t cli_values(const cli *c, const char *flag, str *out, size_t room)
{
    size_t count = 0;
    for (size_t i = 0; i < c->given_count; i++) {
        if (!str_is(str_of(c->given[i].flag->name), str_of(flag)))
            continue;
        for (str rest = c->given[i].value; rest.len > 0 && count < room;) {
            str one = str_trim(str_cut(&rest, ','));
            if (one.len > 0)
                out[count++] = one;
        }
    }
    return count;
}

static const cli_given *given_last(const cli *c, const char *flag)
{
    for (size_t i = c->given_count; i-- > 0;)
        if (str_is(str_of(c->given[i].flag->name), str_of(flag)))
            return &c->given[i];
    return NULL;
}

bool cli_switch(const cli *c, const char *flag)
{
    const cli_given *g = given_last(c, flag);
    return g != NULL && !g->off;
}

bool cli_switched_off(const cli *c, const char *flag)
{
    const cli_given *g = given_last(c, flag);
    return g != NULL && g->off;
}

bool cli_number(
    cli *c, const char *flag, uint64_t least, uint64_t most, uint64_t otherwise, uint64_t *out)
{
    str given = cli_value(c, flag);
    *out = otherwise;
    if (given.at == NULL)
        return true;
    uint64_t number = 0;
    if (str_number(given, &number).code == OK && number >= least && number <= most) {
        *out = number;
        return true;
    }
    (void)cli_fail(c, EXIT_USAGE,
                   str_format(c->memory, "--%s is a number from %llu to %llu, not \"%.*s\"", flag,
                              (unsigned long long)least, (unsigned long long)most,
                              STR_ARG(str_printable(c->memory, given))),
                   STR(""));
    return false;
}
