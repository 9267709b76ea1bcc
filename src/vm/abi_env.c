// Host functions of module env, of the guest's own identity, and of randomness.
#include "base/clock.h"
#include "base/str.h"
#include "vm/abi_inner.h"

#include <stdio.h>
#include <string.h>

uint32_t abi_ready(guest *g, wasmtime_val_raw_t *values)
{
    (void)g;
    (void)values;
    return 0;
}

uint32_t abi_sleep(guest *g, wasmtime_val_raw_t *values)
{
    int64_t ns = values[0].i64;
    if (ns > 0)
        guest_wait(g, ((uint64_t)ns + 999) / 1000);
    return 0;
}

static void line_write(guest *g, int stream, str text)
{
    guest_output_write(&g->call->output, stream, text);
    guest_output_write(&g->call->output, stream, STR("\n"));
}

uint32_t abi_log(guest *g, wasmtime_val_raw_t *values)
{
    str text;
    if (guest_text(g, (uint32_t)values[0].i32, (uint32_t)values[1].i32, &text))
        line_write(g, 1, text);
    return 0;
}

static size_t utf8_put(char *to, uint32_t code)
{
    if (code < 0x80) {
        to[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        to[0] = (char)(0xc0 | code >> 6);
        to[1] = (char)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        to[0] = (char)(0xe0 | code >> 12);
        to[1] = (char)(0x80 | (code >> 6 & 0x3f));
        to[2] = (char)(0x80 | (code & 0x3f));
        return 3;
    }
    to[0] = (char)(0xf0 | code >> 18);
    to[1] = (char)(0x80 | (code >> 12 & 0x3f));
    to[2] = (char)(0x80 | (code >> 6 & 0x3f));
    to[3] = (char)(0x80 | (code & 0x3f));
    return 4;
}

// AssemblyScript's strings: UTF-16, their byte length in the four bytes before the pointer.
static str script_text(const guest *g, int32_t at, char *to, size_t room)
{
    uint32_t len = 0;
    const uint8_t *before = (uint32_t)at < 4 ? NULL : guest_at(g, (uint32_t)at - 4, 4);
    if (before == NULL)
        return STR("");
    memcpy(&len, before, sizeof len);
    const uint8_t *text = guest_at(g, (uint32_t)at, len);
    if (text == NULL)
        return STR("(a string outside the memory)");
    size_t used = 0;
    for (uint32_t i = 0; i + 1 < len && used + 4 <= room; i += 2) {
        uint32_t code = (uint32_t)(text[i] | text[i + 1] << 8);
        if ((code & 0xfc00) == 0xd800 && i + 3 < len && (text[i + 3] & 0xfc) == 0xdc) {
            uint32_t low = (uint32_t)(text[i + 2] | text[i + 3] << 8);
            code = 0x10000 + ((code & 0x3ff) << 10) + (low & 0x3ff);
            i += 2;
        } else if ((code & 0xf800) == 0xd800) {
            code = 0xfffd;
        }
        used += utf8_put(to + used, code);
    }
    return (str){to, used};
}

// message, file, line, column
uint32_t abi_abort(guest *g, wasmtime_val_raw_t *values)
{
    char text[256], name[128];
    str message = script_text(g, values[0].i32, text, sizeof text);
    str file = script_text(g, values[1].i32, name, sizeof name);
    guest_refuse(g, VM_TRAP, "abort: %.*s at %.*s:%u:%u", STR_ARG(message), STR_ARG(file),
                 (unsigned)values[2].i32, (unsigned)values[3].i32);
    line_write(g, 2, buf_str(&g->call->text));
    return 0;
}

uint32_t abi_console_log(guest *g, wasmtime_val_raw_t *values)
{
    char text[4096];
    line_write(g, 1, script_text(g, values[0].i32, text, sizeof text));
    return 0;
}

// message, count of numbers, five numbers
uint32_t abi_trace(guest *g, wasmtime_val_raw_t *values)
{
    char text[1024], line[1280];
    str message = script_text(g, values[0].i32, text, sizeof text);
    int used = snprintf(line, sizeof line, "trace: %.*s", STR_ARG(message));
    for (int i = 0; i < values[1].i32 && i < 5 && used > 0 && (size_t)used < sizeof line; i++)
        used += snprintf(line + used, sizeof line - (size_t)used, "%s%.17g", i == 0 ? " " : ", ",
                         values[2 + i].f64);
    line_write(g, 1, str_of(line));
    return 0;
}

uint32_t abi_seed(guest *g, wasmtime_val_raw_t *values)
{
    (void)g;
    values[0].f64 = (double)(random_u64() >> 11) * 0x1p-53 * 1e9;
    return 0;
}

// buffer, length, count (u64)
uint32_t abi_random(guest *g, wasmtime_val_raw_t *values)
{
    uint32_t len = (uint32_t)values[1].i32;
    uint8_t *to = guest_at(g, (uint32_t)values[0].i32, len);
    if (to == NULL)
        return SDK_ADDRESS;
    if (len > RANDOM_BYTES_MAX) // a short answer is allowed, a blocked loop is not
        len = RANDOM_BYTES_MAX;
    if (!guest_put_u64(g, (uint32_t)values[2].i32, len))
        return SDK_MEMORY_WRITE;
    random_bytes(to, len);
    return SDK_OK;
}

#define SELF(field)                                                           \
    uint32_t abi_self_##field##_size(guest *g, wasmtime_val_raw_t *values)    \
    {                                                                         \
        return abi_give_size(g, values[0].i32, g->call->module->f.field.len); \
    }                                                                         \
    uint32_t abi_self_##field(guest *g, wasmtime_val_raw_t *values)           \
    {                                                                         \
        return abi_give(g, values[0].i32, g->call->module->f.field);          \
    }
SELF(project)
SELF(application)
SELF(id)
SELF(commit)
SELF(branch)
