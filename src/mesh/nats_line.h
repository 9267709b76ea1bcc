// Reads what a NATS server says: lines, and the payloads that some of them announce.
#pragma once
#include "base/base.h"
#include "base/buf.h"

enum {
    NATS_LINE_BYTES_MAX = 4 << 10,  // its CR LF included
    NATS_INFO_BYTES_MAX = 64 << 10, // of the one line that is longer
    NATS_WORDS_MAX = 5,
};

typedef enum {
    NATS_NOTHING, // more bytes are needed
    NATS_INFO,
    NATS_MESSAGE, // MSG and HMSG
    NATS_PING,
    NATS_PONG,
    NATS_OK,
    NATS_ERROR,
} nats_line_kind;
typedef struct nats_event {
    nats_line_kind kind;
    str text; // INFO: its JSON; ERROR: what is between the quotes
    str subject, reply;
    uint64_t subscription;
    unsigned status; // of the headers' first line, 0: none
    str headers;     // below that line, without the empty one; each ends with CR LF
    str payload;
} nats_event;

typedef struct nats_line {
    size_t payload_bytes_max; // headers included
    buf kept;                 // what is not complete yet, or was given out by the last call
    size_t line_bytes;        // of the line in `kept` whose payload is awaited, 0: none
    size_t body_bytes;        // of that payload, its CR LF included
    bool given;               // `kept` was given out
    err error;                // nothing can be read after it
} nats_line;

void nats_line_open(nats_line *l, size_t payload_bytes_max);  // allocates nothing yet
void nats_line_limit(nats_line *l, size_t payload_bytes_max); // from now on
void nats_line_close(nats_line *l);                           // safe twice
// Takes from the front of *bytes until one thing is whole (its texts point into *bytes or into the
// reader, and live until the next call) or the bytes are used up. ERR_SYNTAX and ERR_LIMIT name
// what is wrong and stay; ERR_MEMORY too.
err nats_line_next(nats_line *l, str *bytes, nats_event *out) MUST_USE;

// Tokens between single dots, none empty, no blanks or control bytes. `wild`: `*` and a last `>`
// may be tokens.
bool nats_subject_is(str subject, bool wild);
bool nats_subject_match(str pattern, str subject);
