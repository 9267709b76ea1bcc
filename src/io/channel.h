// Framed messages with descriptors over a socket pair between the control process and a worker.
#pragma once
#include "base/base.h"
#include "io/loop.h"

typedef struct channel channel;
enum { CHANNEL_FRAME_BYTES_MAX = 1024 * 1024, CHANNEL_FDS_MAX = 64 };
typedef struct channel_events {
    // One whole frame. Descriptors belong to the receiver now. `bytes` is valid during the call.
    void (*on_frame)(void *data, channel *c, str bytes, const int *fds, size_t fd_count);
    // Once: the other side is gone (all it had sent has arrived) or sent what is no frame; close
    // the channel.
    void (*on_end)(void *data, channel *c);
} channel_events;
err channel_pair(int fds[2]) MUST_USE; // close-on-exec; pass one side with proc_settings.pass_fds
// Owns fd, also when it fails.
err channel_open(channel **out, loop *l, int fd, const channel_events *events, void *data) MUST_USE;
// Frames arrive whole and in order; descriptors are duplicated (the sender may close its own).
// ERR_LIMIT: frame too large, or 64 MiB or 1,024 descriptors are queued. ERR_CLOSED. ERR_BUSY: the
// kernel has too many descriptors of ours on their way.
err channel_send(channel *c, str bytes, const int *fds, size_t fd_count) MUST_USE;
// At once: what is queued is dropped. NULL is fine; safe to call twice in a turn.
void channel_close(channel *c);
