// The chunked decoder: one state per place in the grammar, no bare LF, every length bounded.
#include "http/chunked.h"

#include "http/parse.h"

enum { SIZE, EXTENSION, SIZE_LF, DATA, DATA_CR, DATA_LF, LINE, NAME, VALUE, VALUE_LF, LAST_LF };

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool control(char c)
{
    return ((unsigned char)c < 0x20 && c != '\t') || c == 0x7f;
}

static int size_step(http_chunked *d, char c)
{
    int digit = hex_digit(c);
    if (digit >= 0) {
        // 15 digits hold any length we could ever see, and can not overflow.
        if (++d->digits > 15)
            return -1;
        d->left = d->left << 4 | (uint64_t)digit;
        return SIZE;
    }
    if (d->digits == 0)
        return -1;
    d->extension = 0;
    return c == '\r' ? SIZE_LF : c == ';' ? EXTENSION : -1;
}

static int extension_step(http_chunked *d, char c)
{
    if (c == '\r')
        return SIZE_LF;
    if (control(c) || ++d->extension > HTTP_CHUNK_EXTENSION_MAX ||
        ++d->extensions > HTTP_CHUNK_EXTENSIONS_MAX)
        return -1;
    return EXTENSION;
}

static int trailer_step(http_chunked *d, char c)
{
    if (++d->trailers > HTTP_CHUNK_TRAILERS_MAX)
        return -1;
    switch (d->state) {
    case LINE:
        if (c == '\r')
            return LAST_LF;
        return http_is_token((str){&c, 1}) ? NAME : -1;
    case NAME:
        return c == ':' ? VALUE : http_is_token((str){&c, 1}) ? NAME : -1;
    case VALUE:
        return c == '\r' ? VALUE_LF : control(c) ? -1 : VALUE;
    default:
        return c == '\n' ? LINE : -1;
    }
}

// The next state after one byte outside of data, -1 when it may not stand here.
static int byte_step(http_chunked *d, char c)
{
    switch (d->state) {
    case SIZE:
        return size_step(d, c);
    case EXTENSION:
        return extension_step(d, c);
    case SIZE_LF:
        return c != '\n' ? -1 : d->left == 0 ? LINE : DATA;
    case DATA_CR:
        return c == '\r' ? DATA_LF : -1;
    case DATA_LF:
        d->digits = 0;
        d->left = 0;
        return c == '\n' ? SIZE : -1;
    default:
        return trailer_step(d, c);
    }
}

http_chunk_result http_chunked_step(http_chunked *d, str *bytes, str *piece)
{
    while (bytes->len > 0) {
        if (d->state == DATA) {
            size_t len = bytes->len < d->left ? bytes->len : (size_t)d->left;
            *piece = (str){bytes->at, len};
            *bytes = (str){bytes->at + len, bytes->len - len};
            d->left -= len;
            if (d->left == 0)
                d->state = DATA_CR;
            return HTTP_CHUNK_PIECE;
        }
        char c = bytes->at[0];
        *bytes = (str){bytes->at + 1, bytes->len - 1};
        if (d->state == LAST_LF)
            return c == '\n' ? HTTP_CHUNK_END : HTTP_CHUNK_BAD;
        d->state = byte_step(d, c);
        if (d->state < 0)
            return HTTP_CHUNK_BAD;
    }
    return HTTP_CHUNK_MORE;
}

size_t http_chunk_head(char out[HTTP_CHUNK_HEAD_MAX], uint64_t length)
{
    char digits[16];
    size_t len = 0, at = 0;
    do
        digits[len++] = "0123456789abcdef"[length & 15];
    while ((length >>= 4) > 0);
    while (len > 0)
        out[at++] = digits[--len];
    out[at++] = '\r';
    out[at++] = '\n';
    return at;
}
