// A strict decoder of chunked bodies (RFC 9112 7.1), fed with any split of the bytes.
#pragma once
#include "base/base.h"

enum {
    HTTP_CHUNK_EXTENSION_MAX = 256,    // bytes of one chunk's extension
    HTTP_CHUNK_EXTENSIONS_MAX = 16384, // bytes of all extensions of a body
    HTTP_CHUNK_TRAILERS_MAX = 8192,    // bytes of the trailer section, which is checked and dropped
};
typedef struct http_chunked {
    int state;
    uint64_t left;     // of the chunk under way
    unsigned digits;   // of the size under way
    size_t extension;  // bytes of this chunk's
    size_t extensions; // bytes of all
    size_t trailers;
} http_chunked; // zeroed to start

typedef enum {
    HTTP_CHUNK_MORE,
    HTTP_CHUNK_PIECE,
    HTTP_CHUNK_END,
    HTTP_CHUNK_BAD
} http_chunk_result;
// "1f\r\n" for a chunk of that length; returns how many bytes were written.
enum { HTTP_CHUNK_HEAD_MAX = 18 };
size_t http_chunk_head(char out[HTTP_CHUNK_HEAD_MAX], uint64_t length);
// Takes bytes from the front of *bytes: PIECE gives decoded bytes (a slice of them), MORE means all
// were taken, END leaves what follows the body. After END or BAD it must not be called again.
http_chunk_result http_chunked_step(http_chunked *d, str *bytes, str *piece);
