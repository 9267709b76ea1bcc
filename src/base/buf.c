// A growing buffer with a maximum and one sticky error.
#include "base/buf.h"

#include "base/fault.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_BYTES = 256 };

void buf_open(buf *b, size_t bytes_max)
{
    *b = (buf){.bytes_max = bytes_max};
}

void buf_close(buf *b)
{
    free(b->at);
    b->at = NULL;
    b->len = 0;
    b->room = 0;
}

void buf_clear(buf *b)
{
    b->len = 0;
    b->error = ok();
}

static char *buf_grow(buf *b, size_t want)
{
    size_t room = b->room < FIRST_BYTES ? FIRST_BYTES : b->room;
    while (room < want && room <= SIZE_MAX / 2)
        room *= 2;
    if (room < want || room > b->bytes_max)
        room = b->bytes_max;
    char *grown = fault_hits(FAULT_MEMORY) ? NULL : realloc(b->at, room);
    if (grown == NULL) {
        b->error = fail(ERR_MEMORY, 0, "grow buffer");
        return NULL;
    }
    b->at = grown;
    b->room = room;
    return grown + b->len;
}

char *buf_reserve(buf *b, size_t size)
{
    if (b->error.code != OK)
        return NULL;
    if (size <= b->room - b->len && b->at != NULL)
        return b->at + b->len;
    if (size > b->bytes_max - b->len) {
        b->error = fail(ERR_LIMIT, 0, "buffer full");
        return NULL;
    }
    return buf_grow(b, b->len + (size == 0 ? 1 : size));
}

void buf_commit(buf *b, size_t size)
{
    if (b->error.code == OK)
        b->len += size;
}

void buf_add(buf *b, str s)
{
    if (s.len == 0)
        return;
    char *at = buf_reserve(b, s.len);
    if (at == NULL)
        return;
    memcpy(at, s.at, s.len);
    b->len += s.len;
}

void buf_add_byte(buf *b, char c)
{
    char *at = buf_reserve(b, 1);
    if (at == NULL)
        return;
    *at = c;
    b->len++;
}

void buf_add_format(buf *b, const char *format, ...)
{
    char small[256];
    va_list list;
    va_start(list, format);
    int len = vsnprintf(small, sizeof(small), format, list);
    va_end(list);
    if (len < 0) {
        if (b->error.code == OK)
            b->error = fail(ERR_SYSTEM, 0, "format text");
        return;
    }
    if ((size_t)len < sizeof(small)) {
        buf_add(b, (str){small, (size_t)len});
        return;
    }
    // vsnprintf ends with a NUL: it needs one byte more than it leaves, perhaps past the limit.
    char *whole = fault_hits(FAULT_MEMORY) ? NULL : malloc((size_t)len + 1);
    if (whole == NULL) {
        if (b->error.code == OK)
            b->error = fail(ERR_MEMORY, 0, "format text");
        return;
    }
    va_start(list, format);
    (void)vsnprintf(whole, (size_t)len + 1, format, list);
    va_end(list);
    buf_add(b, (str){whole, (size_t)len});
    free(whole);
}

void buf_add_u32(buf *b, uint32_t value)
{
    char bytes[4];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)(value >> (8 * i));
    buf_add(b, (str){bytes, sizeof(bytes)});
}

uint64_t little_endian(const char *at, size_t width)
{
    uint64_t value = 0;
    for (size_t i = 0; i < width; i++)
        value |= (uint64_t)(unsigned char)at[i] << (8 * i);
    return value;
}

void buf_add_u64(buf *b, uint64_t value)
{
    char bytes[8];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)(value >> (8 * i));
    buf_add(b, (str){bytes, sizeof(bytes)});
}

void buf_drop_front(buf *b, size_t size)
{
    if (size >= b->len) {
        b->len = 0;
        return;
    }
    if (size == 0)
        return;
    memmove(b->at, b->at + size, b->len - size);
    b->len -= size;
}
