// Messages over the socket pair, alike on both sides; and the page that both sides see.
#pragma once
#include "api/api.h"
#include "io/channel.h"

#include <stdatomic.h>

enum {
    LINK_ARENA_BYTES_MAX = 16 << 20, // lists of one message
    BEAT_MS = 250,                   // how often a worker says that its loop turns
    HANG_MS = 2000,                  // a loop that has not turned for so long is ended
};

// What the control process wants to know of a worker that can say nothing more: in shared memory.
typedef struct worker_page {
    _Atomic uint64_t beat_ms; // monotonic, of the last turn that had the time
    _Atomic uint32_t running; // a guest has the processor
    char function[64];        // the id of the last that had it
    char request[128];        // its path
} worker_page;

// A frame holds messages one after the other, each behind its length (u32).
void link_add(buf *frame, message_kind kind, const void *fields);
bool link_next(str *frame, str *message); // false at the end, and at what is no message
// One message in a frame of its own, with descriptors (borrowed). Errors of channel_send,
// ERR_LIMIT, ERR_MEMORY.
err link_send(
    channel *c, message_kind kind, const void *fields, const int *fds, size_t fd_count) MUST_USE;
// Reads a message of this kind; texts point into it, lists into the arena.
err link_read(arena *a, str message, message_kind kind, void *fields) MUST_USE;
