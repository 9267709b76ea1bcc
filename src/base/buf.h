// A growing buffer with a maximum: appending past it sets one sticky error, read once at the end.
#pragma once
#include "base/base.h"

#include <stdarg.h>

typedef struct buf {
    char *at;
    size_t len;
    size_t room;      // allocated bytes
    size_t bytes_max; // appends past it fail
    err error;        // the first failure, sticky; OK while all went well
} buf;

void buf_open(buf *b, size_t bytes_max); // allocates nothing yet
void buf_close(buf *b);                  // frees; safe twice; for OWNED(buf_close)
void buf_clear(buf *b);                  // empty again, memory and limit kept, error forgotten
void buf_add(buf *b, str s);
void buf_add_byte(buf *b, char c);
void buf_add_format(buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_add_u32(buf *b, uint32_t value);             // little-endian
void buf_add_u64(buf *b, uint64_t value);             // little-endian
uint64_t little_endian(const char *at, size_t width); // a number as those two write it
char *buf_reserve(buf *b, size_t size);   // room for `size` more bytes, NULL past the limit
void buf_commit(buf *b, size_t size);     // those bytes are written now
void buf_drop_front(buf *b, size_t size); // forgets the first bytes
static inline str buf_str(const buf *b)
{
    return (str){b->at, b->len};
}
