// Writes one line per event with one write(2), so that lines of many threads never mix.
#include "base/log.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/json.h"
#include "base/str.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINE_BYTES_MAX = 32 * 1024, VALUE_BYTES_MAX = 4096, PREFIX_BYTES_MAX = 4096 };

// Immutable once open: threads share it without a lock.
struct log_sink {
    int fd;
    bool json;
    log_level least;
    buf prefix; // ready fields, each with a separator before it
};

static const char *const level_names[] = {"debug", "info", "warn", "error"};

err log_open(log_sink **out, int fd, bool as_json, log_level least)
{
    log_sink *l = fault_hits(FAULT_MEMORY) ? NULL : calloc(1, sizeof(*l));
    if (l == NULL)
        return fail(ERR_MEMORY, 0, "open log");
    l->fd = fd;
    l->json = as_json;
    l->least = least;
    buf_open(&l->prefix, PREFIX_BYTES_MAX);
    *out = l;
    return ok();
}

void log_close(log_sink *l)
{
    if (l == NULL)
        return;
    buf_close(&l->prefix);
    free(l);
}

static void log_add_quoted(buf *line, str value)
{
    static const char digits[] = "0123456789abcdef";
    buf_add_byte(line, '"');
    for (size_t at = 0; at < value.len;) {
        size_t len = str_printable_len(value, at);
        char c = value.at[at];
        if (c == '\n') {
            buf_add(line, STR("\\n"));
        } else if (len == 0) {
            unsigned char byte = (unsigned char)c;
            buf_add(line, (str){(char[]){'\\', 'x', digits[byte >> 4], digits[byte & 15]}, 4});
        } else {
            if (c == '"' || c == '\\')
                buf_add_byte(line, '\\');
            buf_add(line, (str){value.at + at, len});
        }
        at += len == 0 ? 1 : len;
    }
    buf_add_byte(line, '"');
}

static bool log_is_plain(str value)
{
    for (size_t at = 0, len = 0; at < value.len; at += len) {
        len = str_printable_len(value, at);
        if (len == 0 || strchr(" \t\"=\\", value.at[at]) != NULL)
            return false;
    }
    return value.len > 0;
}

// Cuts between characters, not within one.
static str log_cut(str value)
{
    if (value.len <= VALUE_BYTES_MAX)
        return value;
    size_t len = VALUE_BYTES_MAX;
    while (len > VALUE_BYTES_MAX - 4 && ((unsigned char)value.at[len] & 0xC0) == 0x80)
        len--;
    return str_first(value, len);
}

static void log_add(buf *line, bool as_json, const char *name, str value)
{
    value = log_cut(value);
    if (as_json) {
        json_writer w = {.out = line, .comma = true};
        json_put_text(&w, name, value);
        return;
    }
    buf_add_byte(line, ' ');
    buf_add(line, str_of(name));
    buf_add_byte(line, '=');
    if (log_is_plain(value))
        buf_add(line, value);
    else
        log_add_quoted(line, value);
}

err log_scope(log_sink **out, log_sink *parent, const char *name, str value)
{
    if (parent == NULL) {
        *out = NULL;
        return ok();
    }
    log_sink *child = NULL;
    TRY(log_open(&child, parent->fd, parent->json, parent->least));
    buf_add(&child->prefix, buf_str(&parent->prefix));
    log_add(&child->prefix, child->json, name, value);
    err e = child->prefix.error;
    if (e.code != OK) {
        log_close(child);
        return e;
    }
    *out = child;
    return ok();
}

static void log_start(const log_sink *l, buf *line, log_level level, const char *event)
{
    char now[RFC3339_TEXT];
    clock_rfc3339(clock_real_ms(), now);
    buf_open(line, LINE_BYTES_MAX);
    if (l->json) {
        json_writer w = {.out = line};
        json_open_object(&w, NULL);
        json_put_text(&w, "time", str_of(now));
        json_put_text(&w, "level", str_of(level_names[level]));
    } else {
        buf_add(line, STR("time="));
        buf_add(line, str_of(now));
        log_add(line, false, "level", str_of(level_names[level]));
    }
    log_add(line, l->json, "event", str_of(event));
    buf_add(line, buf_str(&l->prefix));
}

static void log_add_pairs(const log_sink *l, buf *line, va_list pairs)
{
    for (;;) {
        const char *name = va_arg(pairs, const char *);
        if (name == NULL)
            return;
        str value = va_arg(pairs, str);
        // A field that would overflow the line is left out; the line stays whole.
        size_t before = line->len;
        bool sound = line->error.code == OK;
        log_add(line, l->json, name, value);
        if (sound && (line->error.code != OK || line->len + 8 > LINE_BYTES_MAX)) {
            line->len = before;
            line->error = ok();
        }
    }
}

static void log_end(const log_sink *l, buf *line)
{
    buf_add(line, l->json ? STR("}\n") : STR("\n"));
    str all = line->error.code == OK ? buf_str(line) : STR("level=error event=\"line lost\"\n");
    if (l->json && line->error.code != OK)
        all = STR("{\"level\":\"error\",\"event\":\"line lost\"}\n");
    // There is nobody to tell when the log itself cannot be written.
    while (write(l->fd, all.at, all.len) < 0 && errno == EINTR) {
    }
    buf_close(line);
}

void log_line(log_sink *l, log_level level, const char *event, ...)
{
    if (l == NULL || level < l->least)
        return;
    buf line;
    va_list pairs;
    log_start(l, &line, level, event);
    va_start(pairs, event);
    log_add_pairs(l, &line, pairs);
    va_end(pairs);
    log_end(l, &line);
}

void log_fail(log_sink *l, const char *event, err e, ...)
{
    if (l == NULL)
        return;
    buf line;
    va_list pairs;
    log_start(l, &line, LOG_ERROR, event);
    log_add(&line, l->json, "err", str_of(err_name(e.code)));
    log_add(&line, l->json, "what", str_of(e.what));
    if (e.sys != 0) {
        char number[32];
        const char *text = strerrordesc_np(e.sys);
        (void)snprintf(number, sizeof(number), "%d", e.sys);
        log_add(&line, l->json, "sys", str_of(text != NULL ? text : number));
    }
    va_start(pairs, e);
    log_add_pairs(l, &line, pairs);
    va_end(pairs);
    log_end(l, &line);
}
