// Channels: whole frames, descriptors both ways, back-pressure, and peers that misbehave.
#include "base/buf.h"
#include "base/fault.h"
#include "base/str.h"
#include "base/test.h"
#include "io/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum { TURNS_MAX = 20000 };

typedef struct side {
    channel *c;
    size_t frames;
    size_t bytes;
    size_t fds;
    int ends;
    int kept[CHANNEL_FDS_MAX];
    size_t kept_count;
    buf last;
    uint64_t expect; // random state of the sender, see frame_make
    size_t wrong;
    bool answer; // sends back what comes
    bool close_on_frame;
    bool drop_fds; // at once
} side;

static void side_drop_fds(side *s)
{
    while (s->kept_count > 0)
        (void)close(s->kept[--s->kept_count]);
}

static void side_on_frame(void *data, channel *c, str bytes, const int *fds, size_t fd_count)
{
    side *s = data;
    s->frames++;
    s->bytes += bytes.len;
    s->fds += fd_count;
    for (size_t i = 0; i < fd_count; i++) {
        CHECK((fcntl(fds[i], F_GETFD) & FD_CLOEXEC) != 0);
        s->kept[i] = fds[i];
    }
    s->kept_count = fd_count;
    if (s->drop_fds)
        side_drop_fds(s);
    buf_clear(&s->last);
    buf_add(&s->last, bytes);
    if (s->answer)
        CHECK(channel_send(c, bytes, fds, fd_count).code == OK);
    if (s->close_on_frame)
        channel_close(c);
}

static void side_on_end(void *data, channel *c)
{
    side *s = data;
    s->ends++;
    CHECK(channel_send(c, STR("x"), NULL, 0).code == ERR_CLOSED);
}

static const channel_events side_events = {side_on_frame, side_on_end};

static void side_open(side *s, loop *l, int fd)
{
    *s = (side){0};
    buf_open(&s->last, CHANNEL_FRAME_BYTES_MAX);
    CHECK(channel_open(&s->c, l, fd, &side_events, s).code == OK);
}

static void side_close(side *s)
{
    channel_close(s->c);
    side_drop_fds(s);
    buf_close(&s->last);
}

// Turns until `*count` reaches `until`.
static void turn_until(loop *l, const size_t *count, size_t until)
{
    for (int i = 0; i < TURNS_MAX && *count < until; i++)
        loop_turn(l, 10);
    CHECK(*count >= until);
}

static void turn_until_end(loop *l, const side *s)
{
    for (int i = 0; i < TURNS_MAX && s->ends == 0; i++)
        loop_turn(l, 10);
    loop_turn(l, 0);
    CHECK(s->ends == 1);
}

TEST(channel_carries_frames_and_descriptors_both_ways_and_tells_the_end)
{
    loop *l;
    int fds[2], pipe_fds[2];
    side a, b;
    CHECK(loop_open(&l).code == OK && channel_pair(fds).code == OK);
    side_open(&a, l, fds[0]);
    side_open(&b, l, fds[1]);
    b.answer = true;
    CHECK(pipe2(pipe_fds, O_CLOEXEC) == 0);
    CHECK(channel_send(a.c, STR("take this"), &pipe_fds[1], 1).code == OK);
    (void)close(pipe_fds[1]);
    CHECK(a.frames == 0 && b.frames == 0);
    turn_until(l, &a.frames, 1);
    CHECK(str_is(buf_str(&b.last), STR("take this")) && b.kept_count == 1);
    CHECK(str_is(buf_str(&a.last), STR("take this")) && a.kept_count == 1);
    CHECK(write(a.kept[0], "via a", 5) == 5 && write(b.kept[0], "via b", 5) == 5);
    char text[11] = "";
    CHECK(read(pipe_fds[0], text, 10) == 10 && strcmp(text, "via avia b") == 0);
    (void)close(pipe_fds[0]);

    CHECK(channel_send(a.c, STR("last words"), NULL, 0).code == OK); // arrive although we are gone
    side_close(&a);
    b.answer = false;
    side_drop_fds(&b);
    turn_until_end(l, &b);
    CHECK(b.frames == 2 && str_is(buf_str(&b.last), STR("last words")));
    side_close(&b);
    loop_close(l);
}

TEST(channel_carries_empty_and_largest_frames_and_64_descriptors)
{
    loop *l;
    int fds[2], many[CHANNEL_FDS_MAX + 1];
    side a, b;
    CHECK(loop_open(&l).code == OK && channel_pair(fds).code == OK);
    side_open(&a, l, fds[0]);
    side_open(&b, l, fds[1]);
    for (size_t i = 0; i < COUNT(many); i++)
        many[i] = STDERR_FILENO;
    char *large = calloc(1, CHANNEL_FRAME_BYTES_MAX + 1);
    memset(large, 'x', CHANNEL_FRAME_BYTES_MAX);
    CHECK(channel_send(a.c, (str){large, CHANNEL_FRAME_BYTES_MAX + 1}, NULL, 0).code == ERR_LIMIT);
    CHECK(channel_send(a.c, STR(""), many, CHANNEL_FDS_MAX + 1).code == ERR_LIMIT);
    CHECK(channel_send(a.c, (str){NULL, 0}, NULL, 0).code == OK);
    CHECK(channel_send(a.c, STR(""), many, CHANNEL_FDS_MAX).code == OK);
    turn_until(l, &b.frames, 2);
    CHECK(b.kept_count == CHANNEL_FDS_MAX && b.bytes == 0);
    side_drop_fds(&b);
    CHECK(channel_send(a.c, (str){large, CHANNEL_FRAME_BYTES_MAX}, many, 1).code == OK);
    turn_until(l, &b.frames, 3);
    CHECK(b.kept_count == 1 && b.last.len == CHANNEL_FRAME_BYTES_MAX);
    CHECK(memcmp(b.last.at, large, CHANNEL_FRAME_BYTES_MAX) == 0);
    free(large);
    side_close(&a);
    side_close(&b);
    loop_close(l);
}

static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

// A frame of random length whose bytes and descriptor count follow from the state.
static size_t frame_make(uint64_t *state, char *bytes, size_t *fd_count)
{
    uint64_t kind = next_random(state) % 20;
    size_t len = next_random(state) % (kind == 0 ? 200000 : kind < 4 ? 20000 : 300);
    for (size_t i = 0; i < len; i++)
        bytes[i] = (char)((*state + i) % 251);
    *fd_count = next_random(state) % 3 == 0 ? next_random(state) % 5 : 0;
    return len;
}

static void random_on_frame(void *data, channel *c, str bytes, const int *fds, size_t fd_count)
{
    (void)c;
    side *s = data;
    static char expected[CHANNEL_FRAME_BYTES_MAX];
    size_t expected_fds;
    size_t len = frame_make(&s->expect, expected, &expected_fds);
    s->wrong +=
        len != bytes.len || fd_count != expected_fds || memcmp(bytes.at, expected, len) != 0;
    for (size_t i = 0; i < fd_count; i++)
        (void)close(fds[i]);
    s->frames++;
}

static const channel_events random_events = {random_on_frame, side_on_end};

TEST(channel_keeps_1000_random_frames_whole_and_in_order)
{
    loop *l;
    int fds[2];
    side a, b = {.expect = 42};
    CHECK(loop_open(&l).code == OK && channel_pair(fds).code == OK);
    int small = 8192; // so that most frames are taken in pieces
    CHECK(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)) == 0);
    side_open(&a, l, fds[0]);
    CHECK(channel_open(&b.c, l, fds[1], &random_events, &b).code == OK);
    static char bytes[CHANNEL_FRAME_BYTES_MAX];
    const int pass[5] = {0, 1, 2, 0, 1};
    uint64_t dice = 42, turns = 7;
    for (int i = 0; i < 1000; i++) {
        size_t fd_count;
        size_t len = frame_make(&dice, bytes, &fd_count);
        CHECK(channel_send(a.c, (str){bytes, len}, pass, fd_count).code == OK);
        if (next_random(&turns) % 4 == 0)
            loop_turn(l, 0);
    }
    turn_until(l, &b.frames, 1000);
    CHECK(b.wrong == 0 && b.ends == 0);
    side_close(&a);
    turn_until_end(l, &b);
    channel_close(b.c);
    loop_close(l);
}

static void raw_send(int fd, const char *bytes, size_t len, const int *fds, size_t fd_count)
{
    char control[CMSG_SPACE(sizeof(int) * 128)] = {0};
    struct iovec piece = {(char *)bytes, len};
    struct msghdr m = {.msg_iov = &piece, .msg_iovlen = 1};
    if (fd_count > 0) {
        m.msg_control = control;
        m.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
        struct cmsghdr *head = CMSG_FIRSTHDR(&m);
        *head = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        head->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
        memcpy(CMSG_DATA(head), fds, sizeof(int) * fd_count);
    }
    CHECK(sendmsg(fd, &m, MSG_NOSIGNAL) == (ssize_t)len);
}

TEST(channel_puts_frames_together_from_any_split)
{
    loop *l;
    int fds[2];
    side b = {.expect = 1};
    CHECK(loop_open(&l).code == OK && channel_pair(fds).code == OK);
    CHECK(channel_open(&b.c, l, fds[1], &random_events, &b).code == OK);
    static char frame[CHANNEL_FRAME_BYTES_MAX + 4];
    const int pass[5] = {0, 1, 2, 0, 1};
    uint64_t dice = 1, splits = 99;
    for (size_t i = 0; i < 300; i++) {
        size_t fd_count;
        size_t len = frame_make(&dice, frame + 4, &fd_count);
        const unsigned char head[4] = {(unsigned char)len, (unsigned char)(len >> 8),
                                       (unsigned char)(len >> 16), (unsigned char)fd_count};
        memcpy(frame, head, 4);
        for (size_t at = 0; at < len + 4;) {
            size_t n = 1 + next_random(&splits) % (next_random(&splits) % 2 == 0 ? 5 : 60000);
            n = n < len + 4 - at ? n : len + 4 - at;
            raw_send(fds[0], frame + at, n, pass, at == 0 ? fd_count : 0);
            at += n;
            if (n > 1000 || next_random(&splits) % 3 == 0)
                loop_turn(l, 0);
        }
        turn_until(l, &b.frames, i); // one may be on its way
    }
    turn_until(l, &b.frames, 300);
    CHECK(b.wrong == 0 && b.ends == 0);
    channel_close(b.c);
    (void)close(fds[0]);
    loop_close(l);
}

// Sends a pipe's writing end with foreign bytes: the channel ends, and the pipe's reader sees its
// end.
static void misbehave(const char *bytes, size_t len, size_t fd_count)
{
    loop *l;
    int fds[2], pipe_fds[2], pass[128];
    side b;
    CHECK(loop_open(&l).code == OK && channel_pair(fds).code == OK);
    side_open(&b, l, fds[1]);
    CHECK(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) == 0);
    for (size_t i = 0; i < COUNT(pass); i++)
        pass[i] = pipe_fds[1];
    raw_send(fds[0], bytes, len, pass, fd_count);
    (void)close(pipe_fds[1]);
    turn_until_end(l, &b);
    CHECK(b.frames <= 1);
    side_drop_fds(&b);
    char byte;
    CHECK(read(pipe_fds[0], &byte, 1) == 0); // nobody holds it any more
    side_close(&b);
    (void)close(pipe_fds[0]);
    (void)close(fds[0]);
    loop_close(l);
}

TEST(channel_ends_and_closes_descriptors_when_the_bytes_are_no_frames)
{
    misbehave("\xff\xff\xff\x00", 4, 1);    // too long
    misbehave("\x01\x00\x00\xff", 4, 1);    // too many descriptors announced
    misbehave("\x01\x00\x00\x02x", 5, 1);   // fewer came than announced
    misbehave("\x01\x00\x00\x00x", 5, 1);   // more came than announced
    misbehave("\x09\x00\x00\x00x", 5, 3);   // the same, and the frame is not even whole
    misbehave("\x01\x00\x00\x40x", 5, 100); // more than a frame may have
}

TEST(channel_queues_up_to_its_limit_and_delivers_all_of_that)
{
    loop *l;
    int fds[2];
    side a, b;
    CHECK(loop_open(&l).code == OK && channel_pair(fds).code == OK);
    side_open(&a, l, fds[0]);
    char *frame = calloc(1, CHANNEL_FRAME_BYTES_MAX);
    const int own = 0;
    size_t sent = 0;
    err e = ok();
    for (; sent < 100; sent++) {
        e = channel_send(a.c, (str){frame, CHANNEL_FRAME_BYTES_MAX}, &own, 1);
        if (e.code != OK)
            break;
    }
    free(frame);
    CHECK(e.code == ERR_LIMIT && sent >= 63 && sent <= 66);
    side_open(&b, l, fds[1]);
    b.drop_fds = true;
    turn_until(l, &b.frames, sent);
    CHECK(b.frames == sent && b.fds == sent && b.bytes == sent * CHANNEL_FRAME_BYTES_MAX);
    CHECK(channel_send(a.c, STR("again"), NULL, 0).code == OK);
    turn_until(l, &b.frames, sent + 1);
    side_close(&b); // with the queue's owner alive: it learns of the end
    turn_until_end(l, &a);
    side_close(&a);
    loop_close(l);
}

TEST(channel_may_be_closed_from_its_own_frame)
{
    loop *l;
    int fds[2];
    side a, b;
    CHECK(loop_open(&l).code == OK && channel_pair(fds).code == OK);
    side_open(&a, l, fds[0]);
    side_open(&b, l, fds[1]);
    b.close_on_frame = true;
    CHECK(channel_send(a.c, STR("one"), NULL, 0).code == OK);
    CHECK(channel_send(a.c, STR("two"), NULL, 0).code == OK);
    turn_until_end(l, &a);
    CHECK(b.frames == 1 && b.ends == 0);
    side_close(&a);
    buf_close(&b.last);
    loop_close(l);
}

TEST(channel_owns_the_descriptor_even_when_memory_is_short)
{
    loop *l;
    int fds[2];
    side a;
    CHECK(loop_open(&l).code == OK && channel_pair(fds).code == OK);
    fault_now = (fault_plan){.what = FAULT_MEMORY, .times = 1};
    CHECK(channel_open(&a.c, l, fds[0], &side_events, &a).code == ERR_MEMORY);
    fault_now = (fault_plan){0};
    char byte;
    CHECK(read(fds[1], &byte, 1) == 0);
    (void)close(fds[1]);
    loop_close(l);
}

TEST(channel_ends_when_memory_for_half_a_frame_is_short)
{
    loop *l;
    int fds[2];
    side a;
    CHECK(loop_open(&l).code == OK && channel_pair(fds).code == OK);
    side_open(&a, l, fds[0]);
    char *frame = calloc(1, CHANNEL_FRAME_BYTES_MAX);
    fault_now = (fault_plan){.what = FAULT_MEMORY, .times = 1};
    CHECK(channel_send(a.c, (str){frame, CHANNEL_FRAME_BYTES_MAX}, NULL, 0).code == ERR_MEMORY);
    fault_now = (fault_plan){0};
    free(frame);
    CHECK(channel_send(a.c, STR("x"), NULL, 0).code == ERR_CLOSED);
    turn_until_end(l, &a);
    side_close(&a);
    (void)close(fds[1]);
    loop_close(l);
}
