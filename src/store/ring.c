// A ring of log records: segment files named by their first number, the oldest removed when full.
//
// A record: u32 length, u32 CRC-32 of number and bytes, u64 number (little-endian), the bytes.
// Nothing is synced by itself: after a power cut a segment may end in anything, and is read up to
// its first bad record. Opening cuts such a tail off the last segment.
#include "store/ring.h"

#include "base/buf.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    HEAD_BYTES = 16,
    NAME_DIGITS = 20,
    NAME_TEXT = 32,
    SEGMENTS = 8, // that a ring has at least when full
    SEGMENT_BYTES_MIN = 4096,
    SEGMENT_BYTES_MAX = 4 << 20,
};

typedef struct segment {
    uint64_t first; // number of its first record
    uint64_t bytes;
} segment;

struct ring {
    int folder, file; // the last segment's, for appending
    uint64_t bytes_max, segment_bytes, bytes, last;
    segment *segments; // oldest first
    size_t count, room;
    // Where the last reading ended: the next one, as of somebody who follows, goes on there.
    uint64_t cursor_number, cursor_segment, cursor_offset;
    uint32_t crc[256];
};

static void ring_crc_init(ring *r)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (unsigned bit = 0; bit < 8; bit++)
            c = c >> 1 ^ (c & 1 ? 0xedb88320u : 0);
        r->crc[i] = c;
    }
}

static uint32_t ring_crc(const ring *r, uint32_t crc, str bytes)
{
    for (size_t i = 0; i < bytes.len; i++)
        crc = r->crc[(crc ^ (unsigned char)bytes.at[i]) & 0xff] ^ crc >> 8;
    return crc;
}

static void little_put(char *at, uint64_t value, size_t width)
{
    for (size_t i = 0; i < width; i++)
        at[i] = (char)(value >> (8 * i));
}

static void head_make(const ring *r, uint64_t number, str bytes, char head[HEAD_BYTES])
{
    little_put(head, bytes.len, 4);
    little_put(head + 8, number, 8);
    uint32_t crc = ring_crc(r, ring_crc(r, UINT32_MAX, (str){head + 8, 8}), bytes);
    little_put(head + 4, ~crc, 4);
}

// The record at the front of `bytes`, or false when there is no whole and sound one of that number.
static bool record_at(const ring *r, str bytes, uint64_t number, str *out)
{
    if (bytes.len < HEAD_BYTES)
        return false;
    uint64_t len = little_endian(bytes.at, 4);
    if (len > bytes.len - HEAD_BYTES)
        return false;
    *out = (str){bytes.at + HEAD_BYTES, len};
    char head[HEAD_BYTES];
    head_make(r, number, *out, head);
    return memcmp(head, bytes.at, HEAD_BYTES) == 0;
}

static void segment_name(uint64_t first, char out[NAME_TEXT])
{
    (void)snprintf(out, NAME_TEXT, "%0*llu.ring", NAME_DIGITS, (unsigned long long)first);
}

// Bytes of a segment from `offset` to its end; the caller frees *memory.
static err segment_read(const ring *r, const segment *s, uint64_t offset, char **memory, str *out)
{
    char name[NAME_TEXT];
    segment_name(s->first, name);
    OWNED(fd_drop) int f = openat(r->folder, name, O_RDONLY | O_CLOEXEC);
    if (f < 0)
        return fail_errno(errno, "open log");
    size_t size = (size_t)(s->bytes - offset), got = 0;
    char *at = fault_hits(FAULT_MEMORY) ? NULL : malloc(size + 1);
    if (at == NULL)
        return fail(ERR_MEMORY, 0, "read log");
    while (got < size) {
        ssize_t n = pread(f, at + got, size - got, (off_t)(offset + got));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            int why = errno;
            free(at);
            return fail_errno(why, "read log");
        }
        if (n == 0)
            break;
        got += (size_t)n;
    }
    *memory = at;
    *out = (str){at, got};
    return ok();
}

static err segments_add(ring *r, uint64_t first, uint64_t bytes)
{
    if (r->count == r->room) {
        size_t room = r->room == 0 ? 16 : r->room * 2;
        segment *grown =
            fault_hits(FAULT_MEMORY) ? NULL : realloc(r->segments, room * sizeof *grown);
        if (grown == NULL)
            return fail(ERR_MEMORY, 0, "log");
        r->segments = grown;
        r->room = room;
    }
    r->segments[r->count++] = (segment){first, bytes};
    r->bytes += bytes;
    return ok();
}

static int segment_order(const void *one, const void *two)
{
    const segment *a = one, *b = two;
    return a->first < b->first ? -1 : a->first > b->first;
}

static void folder_drop(DIR **d)
{
    if (*d != NULL)
        (void)closedir(*d);
}

static err ring_find(ring *r)
{
    int again = openat(r->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (again < 0)
        return fail_errno(errno, "open log");
    OWNED(folder_drop) DIR *d = fdopendir(again);
    if (d == NULL) {
        (void)close(again);
        return fail(ERR_MEMORY, 0, "open log");
    }
    const struct dirent *entry;
    while ((entry = readdir(d)) != NULL) {
        str name = str_of(entry->d_name);
        uint64_t first;
        struct stat info;
        if (name.len == NAME_DIGITS + 5 && str_ends(name, STR(".ring")) &&
            str_number(str_first(name, NAME_DIGITS), &first).code == OK &&
            fstatat(r->folder, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) == 0)
            TRY(segments_add(r, first, (uint64_t)info.st_size));
    }
    if (r->count > 0)
        qsort(r->segments, r->count, sizeof *r->segments, segment_order);
    return ok();
}

static err ring_open_file(ring *r, int more)
{
    char name[NAME_TEXT];
    segment_name(r->segments[r->count - 1].first, name);
    int f = openat(r->folder, name, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW | more, 0600);
    if (f < 0)
        return fail_errno(errno, "open log");
    fd_drop(&r->file);
    r->file = f;
    return ok();
}

// Reads the last segment to its end and cuts what is not a whole record.
static err ring_cut_tail(ring *r)
{
    segment *s = &r->segments[r->count - 1];
    char *memory = NULL;
    str rest = {NULL, 0}, record;
    TRY(segment_read(r, s, 0, &memory, &rest));
    uint64_t sound = 0, number = s->first;
    while (record_at(r, rest, number, &record)) {
        rest = str_from(rest, HEAD_BYTES + record.len);
        sound += HEAD_BYTES + record.len;
        number++;
    }
    free(memory);
    r->last = number - 1;
    if (sound < s->bytes && ftruncate(r->file, (off_t)sound) != 0)
        return fail_errno(errno, "cut log");
    r->bytes -= s->bytes - sound;
    s->bytes = sound;
    return ok();
}

static err ring_load(ring *r)
{
    TRY(ring_find(r));
    if (r->count == 0) {
        TRY(segments_add(r, 1, 0));
        return ring_open_file(r, O_CREAT);
    }
    TRY(ring_open_file(r, 0));
    return ring_cut_tail(r);
}

err ring_open(ring **out, const char *folder, uint64_t bytes_max)
{
    TRY(file_make_folders(folder, 0700));
    ring *r = fault_hits(FAULT_MEMORY) ? NULL : calloc(1, sizeof *r);
    if (r == NULL)
        return fail(ERR_MEMORY, 0, "log");
    r->bytes_max = bytes_max;
    r->segment_bytes = bytes_max / SEGMENTS;
    if (r->segment_bytes < SEGMENT_BYTES_MIN)
        r->segment_bytes = SEGMENT_BYTES_MIN;
    if (r->segment_bytes > SEGMENT_BYTES_MAX)
        r->segment_bytes = SEGMENT_BYTES_MAX;
    ring_crc_init(r);
    r->file = -1;
    r->folder = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    err e = r->folder >= 0 ? ring_load(r) : fail_errno(errno, "open log");
    if (e.code != OK) {
        ring_close(r);
        return e;
    }
    *out = r;
    return ok();
}

void ring_close(ring *r)
{
    if (r == NULL)
        return;
    fd_drop(&r->folder);
    fd_drop(&r->file);
    free(r->segments);
    free(r);
}

// The oldest go until `size` more bytes fit; the last segment stays.
static void ring_make_room(ring *r, uint64_t size)
{
    size_t gone = 0;
    while (gone + 1 < r->count && r->bytes + size > r->bytes_max) {
        char name[NAME_TEXT];
        segment_name(r->segments[gone].first, name);
        if (unlinkat(r->folder, name, 0) != 0 && errno != ENOENT)
            break;
        r->bytes -= r->segments[gone++].bytes;
    }
    if (gone == 0)
        return;
    r->count -= gone;
    memmove(r->segments, r->segments + gone, r->count * sizeof *r->segments);
}

static err ring_next_segment(ring *r)
{
    TRY(segments_add(r, r->last + 1, 0));
    err e = ring_open_file(r, O_CREAT | O_TRUNC);
    if (e.code != OK)
        r->count--;
    return e;
}

static err ring_write(ring *r, char *head, str record)
{
    struct iovec parts[] = {{head, HEAD_BYTES}, {(void *)record.at, record.len}};
    size_t size = HEAD_BYTES + record.len;
    ssize_t n = fault_hits(FAULT_WRITE) ? (errno = ENOSPC, -1) : writev(r->file, parts, 2);
    if (n == (ssize_t)size)
        return ok();
    int why = n < 0 ? errno : ENOSPC;
    // Half a record would hide all that follow it.
    (void)!ftruncate(r->file, (off_t)r->segments[r->count - 1].bytes);
    return fail_errno(why, "write log");
}

err ring_add(ring *r, str record, uint64_t *number)
{
    uint64_t size = HEAD_BYTES + record.len;
    if (record.len > UINT32_MAX || size > r->segment_bytes)
        return fail(ERR_LIMIT, 0, "log record is too large");
    segment *s = &r->segments[r->count - 1];
    if (s->bytes > 0 && s->bytes + size > r->segment_bytes)
        TRY(ring_next_segment(r));
    ring_make_room(r, size);
    char head[HEAD_BYTES];
    head_make(r, r->last + 1, record, head);
    TRY(ring_write(r, head, record));
    r->segments[r->count - 1].bytes += size;
    r->bytes += size;
    *number = ++r->last;
    return ok();
}

// False when `each` has had enough; otherwise up to the segment's end or its first bad record.
static err segment_each(ring *r,
                        const segment *s,
                        uint64_t after,
                        bool (*each)(void *data, uint64_t number, str record),
                        void *data,
                        bool *go)
{
    uint64_t number = s->first, offset = 0;
    if (r->cursor_segment == s->first && r->cursor_number >= s->first &&
        r->cursor_number <= after) {
        number = r->cursor_number + 1;
        offset = r->cursor_offset;
    }
    char *memory = NULL;
    str rest = {NULL, 0}, record;
    TRY(segment_read(r, s, offset, &memory, &rest));
    while (*go && record_at(r, rest, number, &record)) {
        rest = str_from(rest, HEAD_BYTES + record.len);
        offset += HEAD_BYTES + record.len;
        r->cursor_number = number;
        r->cursor_segment = s->first;
        r->cursor_offset = offset;
        if (number > after)
            *go = each(data, number, record);
        number++;
    }
    free(memory);
    return ok();
}

err ring_read(ring *r,
              uint64_t after,
              bool (*each)(void *data, uint64_t number, str record),
              void *data)
{
    bool go = true;
    for (size_t i = 0; i < r->count && go && after < r->last; i++) {
        if (i + 1 < r->count && r->segments[i + 1].first <= after + 1)
            continue; // all of it is older
        TRY(segment_each(r, &r->segments[i], after, each, data, &go));
    }
    return ok();
}

uint64_t ring_last(const ring *r)
{
    return r->last;
}

err ring_sync(ring *r)
{
    if (fdatasync(r->file) != 0)
        return fail_errno(errno, "sync log");
    return ok();
}
