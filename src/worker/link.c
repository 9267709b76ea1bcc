// Messages over the socket pair between control process and worker.
#include "worker/link_inner.h"

#include <string.h>

void link_add(buf *frame, message_kind kind, const void *fields)
{
    size_t at = frame->len;
    message_header header = {.kind = kind};
    buf_add_u32(frame, 0);
    message_write(frame, &header, message_infos[kind].request, fields);
    if (frame->error.code != OK)
        return;
    uint32_t len = (uint32_t)(frame->len - at - 4);
    for (size_t i = 0; i < 4; i++)
        frame->at[at + i] = (char)(len >> (8 * i));
}

bool link_next(str *frame, str *message)
{
    if (frame->len < 4)
        return false;
    const unsigned char *at = (const unsigned char *)frame->at;
    uint32_t len = at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
    if (len > frame->len - 4)
        return false;
    *message = (str){frame->at + 4, len};
    *frame = (str){frame->at + 4 + len, frame->len - 4 - len};
    return true;
}

err link_send(channel *c, message_kind kind, const void *fields, const int *fds, size_t fd_count)
{
    OWNED(buf_close) buf frame;
    buf_open(&frame, CHANNEL_FRAME_BYTES_MAX);
    link_add(&frame, kind, fields);
    if (frame.error.code != OK)
        return frame.error;
    return channel_send(c, buf_str(&frame), fds, fd_count);
}

err link_read(arena *a, str message, message_kind kind, void *fields)
{
    message_header header;
    return message_read(a, message, &header, message_infos[kind].request, fields);
}
