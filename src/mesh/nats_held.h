// Messages that wait for the records that they speak of.
#pragma once
#include "mesh/nats_inner.h"
#include "mesh/nats_wire.h"

typedef struct held {
    chain link;
    positions wanted;
    uint64_t since_ms;
    mesh *node; // of a request; NULL: a reply
    message_kind kind;
    uint64_t ask;
    char *from, *reply;
    buf bytes;
} held;
// How far the logs are as this node knows, for what it sends.
str nats_positions(nats_engine *n, char out[static POSITIONS_BYTES_MAX]);
// Delivers it now or later; takes it. `bytes` are copied.
void nats_held_add(nats_engine *n, held *h, str bytes);
void nats_held_leave(mesh *m); // requests that wait for this node are refused
void nats_held_close(nats_engine *n);
// Answers with an error.
void nats_refuse(nats_engine *n, str reply, err e);
