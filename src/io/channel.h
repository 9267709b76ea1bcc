// Framed messages with descriptors over a socket pair between the control process and a worker.
#pragma once
#include "base/base.h"
#include "io/loop.h"

typedef struct channel channel;
enum { CHANNEL_FRAME_BYTES_MAX = 1024 * 1024, CHANNEL_FDS_MAX = 64 };
typedef struct channel_events {
    // One whole frame. Descriptors belong to the receiver now. `bytes` is valid during the call.
    void (*on_frame)(void *data, channel *c, str bytes, const int *fds, size_t fd_count);
    void (*on_end)(void *data, channel *c); // the other side is gone; close the channel
} channel_events;
err channel_pair(int fds[2]) MUST_USE; // close-on-exec; pass one side with proc_settings.pass_fds
err channel_open(channel **out, loop *l, int fd, const channel_events *events, void *data) MUST_USE; // owns fd
// Frames arrive whole and in order; descriptors are duplicated (the sender may close its own). ERR_LIMIT, ERR_CLOSED.
err channel_send(channel *c, str bytes, const int *fds, size_t fd_count) MUST_USE;
void channel_close(channel *c);
