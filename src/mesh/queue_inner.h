// The record of a queue's item, as its bucket holds it.
#pragma once
#include "mesh/mesh_inner.h"

enum { TOKEN_BYTES = 32, OWNER_BYTES_MAX = 255 };
typedef struct queue_record {
    uint64_t attempt;
    uint64_t lease_ms;         // 0: nobody holds it
    uint64_t delay_ms;         // nobody holds it, and nobody shall for so long
    char origin[ORIGIN_BYTES]; // of the engine that claimed it
    char token[TOKEN_BYTES];   // of the claim, hex
    str owner;                 // node that holds it
    str payload;
} queue_record;
void queue_record_read(str value, queue_record *out);    // texts point into the value
str queue_record_write(arena *a, const queue_record *r); // {NULL,0}: no memory
