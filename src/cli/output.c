// Results on stdout, talk on stderr, errors with their fix; colours and glyphs where they are
// wanted.
#include "base/str.h"
#include "cli/cli_inner.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void cli_write(int fd, str text)
{
    while (text.len > 0) {
        ssize_t n = write(fd, text.at, text.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return; // nobody reads any more
        text = str_from(text, (size_t)n);
    }
}

static void write_format(int fd, const char *format, va_list list)
{
    char small[1024];
    va_list again;
    va_copy(again, list);
    int len = vsnprintf(small, sizeof(small), format, list);
    if (len >= 0 && (size_t)len < sizeof(small)) {
        cli_write(fd, (str){small, (size_t)len});
    } else if (len >= 0) {
        char *whole = malloc((size_t)len + 1);
        if (whole != NULL && vsnprintf(whole, (size_t)len + 1, format, again) == len)
            cli_write(fd, (str){whole, (size_t)len});
        free(whole);
    }
    va_end(again);
}

void cli_print(cli *c, const char *format, ...)
{
    (void)c;
    va_list list;
    va_start(list, format);
    write_format(STDOUT_FILENO, format, list);
    va_end(list);
}

void cli_say(cli *c, const char *format, ...)
{
    (void)c;
    va_list list;
    va_start(list, format);
    write_format(STDERR_FILENO, format, list);
    va_end(list);
}

static bool variable_is(const char *name, const char *value)
{
    const char *given = getenv(name);
    return given != NULL && strcmp(given, value) == 0;
}

bool cli_colour(const cli *c, int fd)
{
    if (cli_switched_off(c, "color"))
        return false;
    const char *no = getenv("NO_COLOR");
    if ((no != NULL && no[0] != 0) || variable_is("CLICOLOR", "0"))
        return false;
    const char *force = getenv("CLICOLOR_FORCE");
    if (force != NULL && force[0] != 0 && strcmp(force, "0") != 0)
        return true;
    return isatty(fd) && !variable_is("TERM", "dumb");
}

// Where nothing is said about the character set it is UTF-8; a file or pipe is always UTF-8.
bool cli_unicode(int fd)
{
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    if (!isatty(fd))
        return true;
    for (size_t i = 0; i < COUNT(names); i++) {
        const char *given = getenv(names[i]);
        if (given == NULL || given[0] == 0)
            continue;
        return strcasestr(given, "utf-8") != NULL || strcasestr(given, "utf8") != NULL;
    }
    return true;
}

size_t cli_width(str s)
{
    size_t width = 0;
    for (size_t at = 0; at < s.len; width++) {
        size_t len = str_utf8_len(s, at);
        at += len == 0 ? 1 : len;
    }
    return width;
}

bool cli_may_ask(const cli *c)
{
    const char *ci = getenv("CI");
    if (cli_switch(c, "yes") || cli_switch(c, "no-input") || c->json || (ci != NULL && ci[0] != 0))
        return false;
    return isatty(STDIN_FILENO);
}

int cli_fail(cli *c, int code, str message, str help)
{
    if (c->json) {
        OWNED(buf_close) buf out;
        buf_open(&out, CLI_TEXT_BYTES_MAX);
        json_writer w = {.out = &out};
        json_open_object(&w, NULL);
        json_open_object(&w, "error");
        json_put_text(&w, "message", message);
        json_put_text(&w, "help", help);
        json_put_whole(&w, "exit", (uint64_t)code);
        json_close_object(&w);
        json_close_object(&w);
        buf_add_byte(&out, '\n');
        cli_write(STDOUT_FILENO, buf_str(&out));
        return code;
    }
    bool colour = cli_colour(c, STDERR_FILENO);
    cli_say(c, "%serror:%s %.*s\n", colour ? "\033[1;31m" : "", colour ? "\033[0m" : "",
            STR_ARG(message));
    if (help.len > 0)
        cli_say(c, "%shelp:%s %.*s\n", colour ? "\033[1;36m" : "", colour ? "\033[0m" : "",
                STR_ARG(help));
    return code;
}

// A value as it was read; numbers that are whole stay whole.
static void json_write_value(json_writer *w, const char *name, const json *v)
{
    switch (v->kind) {
    case JSON_NULL:
        json_put_null(w, name);
        break;
    case JSON_FALSE:
    case JSON_TRUE:
        json_put_flag(w, name, v->kind == JSON_TRUE);
        break;
    case JSON_NUMBER:
        if (v->number >= 0 && (double)v->whole == v->number)
            json_put_whole(w, name, v->whole);
        else
            json_put_real(w, name, v->number);
        break;
    case JSON_TEXT:
        json_put_text(w, name, v->text);
        break;
    case JSON_LIST:
    case JSON_OBJECT:
        if (v->kind == JSON_LIST)
            json_open_list(w, name);
        else
            json_open_object(w, name);
        for (const json *each = v->first; each != NULL; each = each->next)
            // A field's name ends in NUL: the reader copies it into its arena.
            json_write_value(w, v->kind == JSON_OBJECT ? each->name.at : NULL, each);
        if (v->kind == JSON_LIST)
            json_close_list(w);
        else
            json_close_object(w);
        break;
    }
}

static void json_write_fields(cli *c, json_writer *w, const json *object)
{
    json_open_object(w, NULL);
    for (str rest = c->json_fields; rest.len > 0;) {
        const char *name = str_c(c->memory, str_trim(str_cut(&rest, ',')));
        const json *field = name != NULL ? json_field(object, name) : NULL;
        if (field != NULL)
            json_write_value(w, name, field);
        else if (name != NULL && name[0] != 0)
            json_put_null(w, name);
    }
    json_close_object(w);
}

void cli_json_out(cli *c, str text)
{
    const json *value = NULL;
    bool pick = c->json_fields.len > 0 && json_read(c->memory, text, &value, NULL).code == OK;
    OWNED(buf_close) buf out;
    buf_open(&out, CLI_TEXT_BYTES_MAX);
    json_writer w = {.out = &out};
    if (pick && value->kind == JSON_LIST) {
        json_open_list(&w, NULL);
        for (const json *each = value->first; each != NULL; each = each->next)
            json_write_fields(c, &w, each);
        json_close_list(&w);
    } else if (pick && value->kind == JSON_OBJECT) {
        json_write_fields(c, &w, value);
    } else {
        buf_add(&out, text);
    }
    buf_add_byte(&out, '\n');
    cli_write(STDOUT_FILENO, buf_str(&out));
}

// One line from the terminal, without its end.
static str line_read(arena *a, bool *ended)
{
    enum { LINE_BYTES_MAX = 4096 };
    char line[LINE_BYTES_MAX];
    size_t len = 0;
    *ended = false;
    for (;;) {
        char byte;
        ssize_t n = read(STDIN_FILENO, &byte, 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            *ended = len == 0;
        if (n <= 0 || byte == '\n')
            break;
        if (len < sizeof(line))
            line[len++] = byte;
    }
    return str_trim(str_copy(a, (str){line, len}));
}

bool cli_ask(cli *c, const char *question, str otherwise, const char *flag, str *out)
{
    if (!cli_may_ask(c)) {
        *out = otherwise;
        if (otherwise.len > 0)
            return true;
        (void)cli_fail(c, EXIT_USAGE,
                       str_format(c->memory, "%s: not given, and nobody can be asked", question),
                       str_format(c->memory, "give %s", flag));
        return false;
    }
    bool ended;
    do {
        if (otherwise.len > 0)
            cli_say(c, "  %s [%.*s] › ", question, STR_ARG(otherwise));
        else
            cli_say(c, "  %s › ", question);
        *out = line_read(c->memory, &ended);
        if (out->len == 0)
            *out = otherwise;
    } while (out->len == 0 && !ended);
    return out->len > 0;
}

bool cli_confirm(cli *c, const char *question, bool otherwise)
{
    if (!cli_may_ask(c))
        return otherwise;
    bool ended;
    cli_say(c, "  %s %s › ", question, otherwise ? "[Y/n]" : "[y/N]");
    str answer = str_lower(c->memory, line_read(c->memory, &ended));
    if (answer.len == 0)
        return otherwise;
    return str_is(answer, STR("y")) || str_is(answer, STR("yes"));
}
