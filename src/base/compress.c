// gzip both ways, and the one program inside a zip archive, by zlib.
#include "base/compress.h"

#include "base/buf.h"
#include "base/str.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum {
    GZIP_WINDOW = 15 + 16,
    RAW_WINDOW = -15,
    STEP_BYTES = 64 * 1024,
    LEVEL = 6,
    MEMORY_LEVEL = 8
};

static void deflate_drop(z_stream *z)
{
    (void)deflateEnd(z);
}

static void inflate_drop(z_stream *z)
{
    (void)inflateEnd(z);
}

// zlib counts in 32 bits.
static void compress_feed(z_stream *z, str *rest)
{
    uInt len = rest->len < UINT_MAX ? (uInt)rest->len : UINT_MAX;
    z->next_in = (Bytef *)(uintptr_t)rest->at;
    z->avail_in = len;
    *rest = str_from(*rest, len);
}

static err compress_finish(arena *a, const buf *b, str *out)
{
    TRY(b->error);
    str copy = str_copy(a, buf_str(b));
    if (copy.at == NULL)
        return fail(ERR_MEMORY, 0, "keep bytes");
    *out = copy;
    return ok();
}

err gzip_of(arena *a, str plain, str *out)
{
    OWNED(buf_close) buf b;
    OWNED(deflate_drop) z_stream z = {0};
    buf_open(&b, SIZE_MAX);
    if (deflateInit2(&z, LEVEL, Z_DEFLATED, GZIP_WINDOW, MEMORY_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK)
        return fail(ERR_MEMORY, 0, "start gzip");
    int result;
    do {
        if (z.avail_in == 0)
            compress_feed(&z, &plain);
        char *to = buf_reserve(&b, STEP_BYTES);
        if (to == NULL)
            return b.error;
        z.next_out = (Bytef *)to;
        z.avail_out = STEP_BYTES;
        result = deflate(&z, plain.len == 0 ? Z_FINISH : Z_NO_FLUSH);
        buf_commit(&b, STEP_BYTES - z.avail_out);
    } while (result == Z_OK || result == Z_BUF_ERROR);
    if (result != Z_STREAM_END)
        return fail(ERR_SYSTEM, result, "write gzip");
    return compress_finish(a, &b, out);
}

static err gunzip_into(z_stream *z, str packed, buf *b)
{
    for (;;) {
        if (z->avail_in == 0)
            compress_feed(z, &packed);
        size_t left = b->bytes_max - b->len;
        // At the limit one more byte is asked for, into a spare: a file of just that size ends.
        char spare = 0;
        size_t step = left < STEP_BYTES ? left : STEP_BYTES;
        char *to = step == 0 ? &spare : buf_reserve(b, step);
        if (to == NULL)
            return b->error;
        uInt room = step == 0 ? 1 : (uInt)step;
        z->next_out = (Bytef *)to;
        z->avail_out = room;
        int result = inflate(z, Z_NO_FLUSH);
        if (step == 0 && z->avail_out == 0)
            return fail(ERR_LIMIT, 0, "unpacked bytes past the limit");
        if (step > 0)
            buf_commit(b, room - z->avail_out);
        if (result == Z_STREAM_END) {
            if (z->avail_in == 0 && packed.len == 0)
                return ok();
            result = inflateReset(z); // the next member
        }
        if (result == Z_MEM_ERROR)
            return fail(ERR_MEMORY, 0, "read gzip");
        if (result != Z_OK)
            return fail(ERR_SYNTAX, result, "damaged gzip");
    }
}

err gunzip(arena *a, str packed, size_t limit, str *out)
{
    OWNED(buf_close) buf b;
    OWNED(inflate_drop) z_stream z = {0};
    buf_open(&b, limit);
    if (inflateInit2(&z, GZIP_WINDOW) != Z_OK)
        return fail(ERR_MEMORY, 0, "start gunzip");
    TRY(gunzip_into(&z, packed, &b));
    return compress_finish(a, &b, out);
}

struct gunzip_stream {
    z_stream z;
    bool whole; // between two members
};

err gunzip_stream_open(gunzip_stream **out)
{
    gunzip_stream *s = calloc(1, sizeof(*s));
    if (s == NULL || inflateInit2(&s->z, GZIP_WINDOW) != Z_OK) {
        free(s);
        return fail(ERR_MEMORY, 0, "start gunzip");
    }
    *out = s;
    return ok();
}

err gunzip_stream_step(gunzip_stream *s, str *packed, char *to, size_t room, size_t *got)
{
    size_t done = 0;
    while (done < room) {
        uInt most = room - done < UINT_MAX ? (uInt)(room - done) : UINT_MAX;
        str rest = *packed;
        compress_feed(&s->z, &rest);
        s->z.next_out = (Bytef *)to + done;
        s->z.avail_out = most;
        if (s->whole && packed->len == 0)
            break;
        int result = inflate(&s->z, Z_NO_FLUSH);
        done += most - s->z.avail_out;
        *packed = str_from(*packed, packed->len - rest.len - s->z.avail_in);
        s->whole = result == Z_STREAM_END;
        if (s->whole)
            result = inflateReset(&s->z); // the next member
        if (result == Z_MEM_ERROR)
            return fail(ERR_MEMORY, 0, "read gzip");
        if (result == Z_BUF_ERROR) // it needs more input
            break;
        if (result != Z_OK)
            return fail(ERR_SYNTAX, result, "damaged gzip");
    }
    *got = done;
    return ok();
}

bool gunzip_stream_whole(const gunzip_stream *s)
{
    return s->whole;
}

void gunzip_stream_close(gunzip_stream *s)
{
    if (s == NULL)
        return;
    (void)inflateEnd(&s->z);
    free(s);
}

// Numbers of the zip format (its APPNOTE, 4.3): little-endian, none aligned.
enum {
    END_BYTES = 22,
    END_MARK = 0x06054b50,
    COMMENT_BYTES_MAX = 65535,
    ENTRY_BYTES = 46,
    ENTRY_MARK = 0x02014b50,
    LOCAL_BYTES = 30,
    LOCAL_MARK = 0x04034b50,
    METHOD_STORED = 0,
    METHOD_DEFLATED = 8,
    FLAG_ENCRYPTED = 1,
};

static uint32_t zip_u16(str s, size_t at)
{
    const unsigned char *c = (const unsigned char *)s.at + at;
    return (uint32_t)c[0] | (uint32_t)c[1] << 8;
}

static uint32_t zip_u32(str s, size_t at)
{
    return zip_u16(s, at) | zip_u16(s, at + 2) << 16;
}

// The record at the end of the archive, cut off the front; searched backwards over a comment.
static err zip_find_end(str archive, str *end)
{
    if (archive.len < END_BYTES)
        return fail(ERR_SYNTAX, 0, "not a zip archive");
    for (size_t back = 0; back <= COMMENT_BYTES_MAX && back <= archive.len - END_BYTES; back++) {
        str s = str_from(archive, archive.len - END_BYTES - back);
        if (zip_u32(s, 0) == END_MARK && zip_u16(s, 20) == back) {
            *end = s;
            return ok();
        }
    }
    return fail(ERR_SYNTAX, 0, "not a zip archive");
}

static err zip_find_entry(str archive, str name, str *out)
{
    str end;
    TRY(zip_find_end(archive, &end));
    if (zip_u32(end, 16) == UINT32_MAX || zip_u16(end, 10) == UINT16_MAX)
        return fail(ERR_UNSUPPORTED, 0, "zip64 archive");
    str rest = str_from(archive, zip_u32(end, 16));
    for (uint32_t left = zip_u16(end, 10); left > 0; left--) {
        if (rest.len < ENTRY_BYTES || zip_u32(rest, 0) != ENTRY_MARK)
            return fail(ERR_SYNTAX, 0, "damaged zip directory");
        size_t name_len = zip_u16(rest, 28);
        size_t len = ENTRY_BYTES + name_len + zip_u16(rest, 30) + zip_u16(rest, 32);
        if (len > rest.len)
            return fail(ERR_SYNTAX, 0, "damaged zip directory");
        if (str_is(str_first(str_from(rest, ENTRY_BYTES), name_len), name)) {
            *out = str_first(rest, len);
            return ok();
        }
        rest = str_from(rest, len);
    }
    return fail(ERR_ABSENT, 0, "no such entry in the zip archive");
}

static err zip_inflate(str packed, char *to, size_t size)
{
    OWNED(inflate_drop) z_stream z = {0};
    if (inflateInit2(&z, RAW_WINDOW) != Z_OK)
        return fail(ERR_MEMORY, 0, "start inflate");
    z.next_in = (Bytef *)(uintptr_t)packed.at;
    z.avail_in = (uInt)packed.len;
    z.next_out = (Bytef *)to;
    z.avail_out = (uInt)size;
    int result = inflate(&z, Z_FINISH);
    if (result == Z_MEM_ERROR)
        return fail(ERR_MEMORY, 0, "unpack zip entry");
    if (result != Z_STREAM_END || z.avail_out != 0)
        return fail(ERR_SYNTAX, result, "damaged zip entry");
    return ok();
}

static err zip_read_entry(arena *a, str archive, str entry, size_t limit, str *out)
{
    uint32_t method = zip_u16(entry, 10);
    size_t packed_len = zip_u32(entry, 20);
    size_t size = zip_u32(entry, 24);
    if ((zip_u16(entry, 8) & FLAG_ENCRYPTED) != 0)
        return fail(ERR_UNSUPPORTED, 0, "encrypted zip entry");
    if (method != METHOD_STORED && method != METHOD_DEFLATED)
        return fail(ERR_UNSUPPORTED, (int)method, "zip compression method");
    if (size == UINT32_MAX || packed_len == UINT32_MAX)
        return fail(ERR_UNSUPPORTED, 0, "zip64 entry");
    if (size > limit)
        return fail(ERR_LIMIT, 0, "zip entry past the limit");
    str local = str_from(archive, zip_u32(entry, 42));
    if (local.len < LOCAL_BYTES || zip_u32(local, 0) != LOCAL_MARK)
        return fail(ERR_SYNTAX, 0, "damaged zip entry");
    // The directory's sizes count: in the local header they may be zero, told only behind the data.
    str packed = str_from(local, LOCAL_BYTES + zip_u16(local, 26) + zip_u16(local, 28));
    if (packed.len < packed_len || (method == METHOD_STORED && packed_len != size))
        return fail(ERR_SYNTAX, 0, "damaged zip entry");
    packed = str_first(packed, packed_len);
    char *bytes = arena_take(a, size + 1);
    if (bytes == NULL)
        return fail(ERR_MEMORY, 0, "unpack zip entry");
    if (method == METHOD_DEFLATED)
        TRY(zip_inflate(packed, bytes, size));
    else if (size > 0)
        memcpy(bytes, packed.at, size);
    if (crc32_z(0, (const Bytef *)bytes, size) != zip_u32(entry, 16))
        return fail(ERR_SYNTAX, 0, "zip entry of another checksum");
    *out = (str){bytes, size};
    return ok();
}

err zip_single_read(arena *a, str archive, size_t limit, str *out)
{
    str entry;
    err e = zip_find_entry(archive, STR("artifact.wasm"), &entry);
    if (e.code == ERR_ABSENT)
        e = zip_find_entry(archive, STR("main.wasm"), &entry);
    TRY(e);
    return zip_read_entry(a, archive, entry, limit, out);
}
