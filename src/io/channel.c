// Framed messages with descriptors over a socket pair between the control process and a worker.
//
// A frame is four bytes (length in the low 24 bits, number of descriptors in the high 8,
// little-endian) and its payload, on a stream socket: seqpackets of 1 MiB would need a send buffer
// that only root may have. Descriptors travel with the first byte of their frame, so they have all
// arrived when the frame is whole: a queue of what came and the header's count pair them again
// however the reads were cut. The happy path is: send what the kernel takes at once, queue the
// rest, read, cut, on_frame. What can fail: the peer goes, or sends what is no frame (on_end in
// both cases, once).
#include "io/channel.h"

#include "base/buf.h"
#include "io/loop_inner.h"

#include <uv.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    HEADER_BYTES = 4,
    READ_BYTES = 64 * 1024,
    READS_PER_TURN_MAX = 16,
    QUEUE_BYTES_MAX = 64 * 1024 * 1024,
    QUEUE_FDS_MAX = 1024,
    // Those of a frame that is not whole yet and those of its successor, which one read may bring.
    ARRIVED_FDS_MAX = 2 * CHANNEL_FDS_MAX,
};

typedef struct frame {
    struct frame *next;
    size_t len; // of bytes
    size_t sent;
    size_t fd_count; // still to be sent
    int fds[CHANNEL_FDS_MAX];
    char bytes[]; // header and payload
} frame;

struct channel {
    uv_poll_t poll;
    loop *loop;
    uv_timer_t timer; // tells of an end that a send noticed
    int handles;
    int fd;
    const channel_events *events;
    void *data;
    buf in;
    int arrived[ARRIVED_FDS_MAX];
    size_t arrived_count;
    frame *first, *last;
    size_t queued_bytes;
    size_t queued_fds;
    bool closing;
    bool over; // on_end was called or is about to be
};

static void fds_close(int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++)
        fd_drop(&fds[i]);
}

static void channel_drop_queue(channel *c)
{
    while (c->first != NULL) {
        frame *f = c->first;
        c->first = f->next;
        fds_close(f->fds, f->fd_count);
        free(f);
    }
    c->last = NULL;
    c->queued_bytes = c->queued_fds = 0;
}

static void channel_on_closed(uv_handle_t *h)
{
    channel *c = h->data;
    if (--c->handles > 0)
        return;
    buf_close(&c->in);
    free(c);
}

void channel_close(channel *c)
{
    if (c == NULL || c->closing)
        return;
    c->closing = true;
    uv_close((uv_handle_t *)&c->poll, channel_on_closed);
    uv_close((uv_handle_t *)&c->timer, channel_on_closed);
    fd_drop(&c->fd);
    channel_drop_queue(c);
    fds_close(c->arrived, c->arrived_count);
    c->arrived_count = 0;
}

static void channel_on_timer(uv_timer_t *t)
{
    channel *c = t->data;
    c->events->on_end(c->data, c);
}

// The end is told from a callback of its own, so that no sender is surprised inside channel_send.
static void channel_end(channel *c)
{
    if (c->closing || c->over)
        return;
    c->over = true;
    uv_poll_stop(&c->poll);
    channel_drop_queue(c);
    fds_close(c->arrived, c->arrived_count);
    c->arrived_count = 0;
    uv_timer_start(&c->timer, channel_on_timer, 0, 0);
}

// One sendmsg; the descriptors go with its first byte. -1 and errno as sendmsg has them.
static ssize_t
channel_push(int fd, const struct iovec *pieces, size_t count, const int *fds, size_t fd_count)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * CHANNEL_FDS_MAX)];
    } control;
    struct msghdr message = {.msg_iov = (struct iovec *)pieces, .msg_iovlen = count};
    if (fd_count > 0) {
        memset(&control, 0, sizeof(control));
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
        memcpy(CMSG_DATA(head), fds, sizeof(int) * fd_count);
    }
    ssize_t n;
    do {
        n = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    return n;
}

static void channel_flush(channel *c)
{
    while (c->first != NULL) {
        frame *f = c->first;
        struct iovec piece = {f->bytes + f->sent, f->len - f->sent};
        ssize_t n = channel_push(c->fd, &piece, 1, f->fds, f->fd_count);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0) {
            channel_end(c);
            return;
        }
        fds_close(f->fds, f->fd_count);
        c->queued_fds -= f->fd_count;
        f->fd_count = 0;
        f->sent += (size_t)n;
        c->queued_bytes -= (size_t)n;
        if (f->sent < f->len)
            continue;
        c->first = f->next;
        if (c->first == NULL)
            c->last = NULL;
        free(f);
    }
}

// Takes in what one recvmsg brings. False: that was the last (end, error or foreign bytes).
static bool channel_receive(channel *c, bool *empty)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * CHANNEL_FDS_MAX)];
    } control;
    char *room = buf_reserve(&c->in, READ_BYTES);
    if (room == NULL)
        return false;
    struct iovec piece = {room, READ_BYTES};
    struct msghdr message = {.msg_iov = &piece,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes)};
    ssize_t n = recvmsg(c->fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        *empty = errno == EAGAIN;
        return true;
    }
    if (n <= 0)
        return false;
    bool good = (message.msg_flags & MSG_CTRUNC) == 0;
    for (struct cmsghdr *head = CMSG_FIRSTHDR(&message); head != NULL;
         head = CMSG_NXTHDR(&message, head)) {
        if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS)
            continue;
        int fds[CHANNEL_FDS_MAX];
        size_t count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(fds, CMSG_DATA(head), count * sizeof(int));
        for (size_t i = 0; i < count; i++) {
            if (c->arrived_count < ARRIVED_FDS_MAX) {
                c->arrived[c->arrived_count++] = fds[i];
            } else {
                fd_drop(&fds[i]);
                good = false;
            }
        }
    }
    buf_commit(&c->in, (size_t)n);
    return good;
}

// Hands one frame to its reader. False when the descriptors it announces are not there.
static bool channel_deliver(channel *c, str payload, size_t fd_count)
{
    if (fd_count > c->arrived_count)
        return false;
    int fds[CHANNEL_FDS_MAX];
    memcpy(fds, c->arrived, fd_count * sizeof(int));
    c->arrived_count -= fd_count;
    memmove(c->arrived, c->arrived + fd_count, c->arrived_count * sizeof(int));
    c->events->on_frame(c->data, c, payload, fds, fd_count);
    return true;
}

// Cuts whole frames off the front. False when what is there can not become one.
static bool channel_cut(channel *c)
{
    size_t at = 0;
    size_t expected = 0; // descriptors that may wait for the rest of their frame
    while (!c->closing && c->in.len - at > 0) {
        expected = CHANNEL_FDS_MAX;
        if (c->in.len - at < HEADER_BYTES)
            break;
        const unsigned char *head = (const unsigned char *)c->in.at + at;
        size_t len = head[0] | (size_t)head[1] << 8 | (size_t)head[2] << 16;
        size_t fd_count = head[3];
        if (len > CHANNEL_FRAME_BYTES_MAX || fd_count > CHANNEL_FDS_MAX)
            return false;
        expected = fd_count;
        if (c->in.len - at - HEADER_BYTES < len)
            break;
        if (!channel_deliver(c, (str){c->in.at + at + HEADER_BYTES, len}, fd_count))
            return false;
        at += HEADER_BYTES + len;
        expected = 0;
    }
    if (c->closing)
        return true;
    if (at > 0)
        buf_drop_front(&c->in, at);
    return c->arrived_count <= expected;
}

static void channel_watch(channel *c);

static void channel_on_ready(uv_poll_t *poll, int status, int events)
{
    channel *c = poll->data;
    loop_wake(c->loop);
    if ((events & UV_WRITABLE) != 0)
        channel_flush(c);
    bool empty = (events & UV_READABLE) == 0 && status == 0;
    for (int i = 0; i < READS_PER_TURN_MAX && !empty && !c->closing && !c->over; i++) {
        bool more = channel_receive(c, &empty);
        if (!channel_cut(c) || !more)
            channel_end(c);
    }
    if (!c->closing && !c->over)
        channel_watch(c);
}

static void channel_watch(channel *c)
{
    uv_poll_start(&c->poll, UV_READABLE | (c->first != NULL ? UV_WRITABLE : 0), channel_on_ready);
}

// Queues what is left of a frame after `sent` bytes; copies bytes and the descriptors not yet sent.
static err channel_queue(
    channel *c, const struct iovec pieces[2], size_t sent, const int *fds, size_t fd_count)
{
    size_t len = pieces[0].iov_len + pieces[1].iov_len;
    if (len > QUEUE_BYTES_MAX - c->queued_bytes || fd_count > QUEUE_FDS_MAX - c->queued_fds)
        return fail(ERR_LIMIT, 0, "too much queued for a channel");
    frame *f = fault_hits(FAULT_MEMORY) ? NULL : malloc(sizeof(*f) + len);
    if (f == NULL)
        return fail(ERR_MEMORY, 0, "queue a frame");
    *f = (frame){.len = len, .sent = sent};
    memcpy(f->bytes, pieces[0].iov_base, pieces[0].iov_len);
    if (pieces[1].iov_len > 0)
        memcpy(f->bytes + pieces[0].iov_len, pieces[1].iov_base, pieces[1].iov_len);
    for (; f->fd_count < fd_count; f->fd_count++) {
        f->fds[f->fd_count] = fcntl(fds[f->fd_count], F_DUPFD_CLOEXEC, 3);
        if (f->fds[f->fd_count] < 0) {
            int number = errno;
            fds_close(f->fds, f->fd_count);
            free(f);
            return fail_errno(number, "keep a descriptor for sending");
        }
    }
    if (c->last != NULL)
        c->last->next = f;
    else
        c->first = f;
    c->last = f;
    c->queued_bytes += len - sent;
    c->queued_fds += fd_count;
    channel_watch(c);
    return ok();
}

err channel_send(channel *c, str bytes, const int *fds, size_t fd_count)
{
    if (bytes.len > CHANNEL_FRAME_BYTES_MAX || fd_count > CHANNEL_FDS_MAX)
        return fail(ERR_LIMIT, 0, "frame too large");
    if (c->closing || c->over)
        return fail(ERR_CLOSED, EPIPE, "the channel's other side is gone");
    unsigned char header[HEADER_BYTES] = {(unsigned char)bytes.len, (unsigned char)(bytes.len >> 8),
                                          (unsigned char)(bytes.len >> 16),
                                          (unsigned char)fd_count};
    const struct iovec pieces[2] = {{header, sizeof(header)}, {(char *)bytes.at, bytes.len}};
    size_t sent = 0;
    if (c->first == NULL) {
        ssize_t n = channel_push(c->fd, pieces, 2, fds, fd_count);
        if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
            return fail(ERR_CLOSED, errno,
                        "the channel's other side is gone"); // on_end: by reading
        if (n < 0 && errno == ETOOMANYREFS)
            return fail(ERR_BUSY, errno, "too many descriptors on their way");
        if (n < 0 && errno != EAGAIN)
            return fail_errno(errno, "send on a channel");
        if (n > 0) {
            sent = (size_t)n;
            fd_count = 0;
        }
    }
    if (sent == sizeof(header) + bytes.len)
        return ok();
    err e = channel_queue(c, pieces, sent, fds, fd_count);
    if (e.code != OK && sent > 0) // half a frame is out: nothing after it can be understood
        channel_end(c);
    return e;
}

err channel_pair(int fds[2])
{
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0)
        return fail_errno(errno, "open a channel's sockets");
    return ok();
}

err channel_open(channel **out, loop *l, int fd, const channel_events *events, void *data)
{
    OWNED(fd_drop) int owned = fd;
    channel *c = io_take(sizeof(*c));
    if (c == NULL)
        return fail(ERR_MEMORY, 0, "open channel");
    int status = uv_poll_init(&l->uv, &c->poll, fd);
    if (status != 0) {
        free(c);
        return fail_errno(-status, "watch a channel");
    }
    uv_timer_init(&l->uv, &c->timer);
    c->poll.data = c->timer.data = c;
    c->loop = l;
    c->handles = 2;
    c->fd = fd_move(&owned);
    c->events = events;
    c->data = data;
    buf_open(&c->in, HEADER_BYTES + CHANNEL_FRAME_BYTES_MAX + READ_BYTES);
    channel_watch(c);
    *out = c;
    return ok();
}
