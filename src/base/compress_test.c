// gzip there and back, with limits; zip archives good and damaged.
#include "base/buf.h"
#include "base/clock.h"
#include "base/compress.h"
#include "base/str.h"
#include "base/test.h"

#include <string.h>
#include <zlib.h>

TEST(gzip_returns_what_went_in_and_stops_at_the_limit)
{
    static const size_t sizes[] = {0, 1, 100, 65536, 65537, 1000000};
    for (size_t i = 0; i < COUNT(sizes); i++) {
        OWNED(arena_drop) arena *a = NULL;
        str packed, plain, in;
        CHECK(arena_open(&a, 16 << 20).code == OK);
        char *bytes = arena_take(a, sizes[i]);
        random_bytes(bytes, sizes[i] / 2);
        in = (str){bytes, sizes[i]};
        CHECK(gzip_of(a, in, &packed).code == OK);
        CHECK(gunzip(a, packed, sizes[i], &plain).code == OK && str_is(in, plain));
        CHECK(sizes[i] == 0 || gunzip(a, packed, sizes[i] - 1, &plain).code == ERR_LIMIT);
        CHECK(sizes[i] == 0 || gunzip(a, packed, 0, &plain).code == ERR_LIMIT);
        CHECK(gunzip(a, str_first(packed, packed.len - 1), sizes[i], &plain).code == ERR_SYNTAX);
    }
}

TEST(gunzip_reads_all_members_and_no_garbage)
{
    OWNED(arena_drop) arena *a = NULL;
    str parts[3], both, plain;
    CHECK(arena_open(&a, 1 << 20).code == OK);
    CHECK(gzip_of(a, STR("hello "), &parts[0]).code == OK);
    CHECK(gzip_of(a, STR("world"), &parts[1]).code == OK);
    both = str_join(a, parts, 2, STR(""));
    CHECK(gunzip(a, both, 100, &plain).code == OK && str_is(plain, STR("hello world")));
    parts[2] = STR("garbage");
    CHECK(gunzip(a, str_join(a, parts, 3, STR("")), 100, &plain).code == ERR_SYNTAX);
    CHECK(gunzip(a, STR(""), 100, &plain).code == ERR_SYNTAX);
    for (size_t i = 0; i < both.len; i++) {
        str bad = str_copy(a, both);
        ((char *)(uintptr_t)bad.at)[i] ^= 0x55;
        err e = gunzip(a, bad, 100, &plain);
        CHECK(e.code == OK || e.code == ERR_SYNTAX || e.code == ERR_LIMIT);
    }
}

TEST(gunzip_bomb_costs_no_more_than_its_limit)
{
    OWNED(arena_drop) arena *a = NULL;
    OWNED(arena_drop) arena *small = NULL;
    str packed, plain;
    CHECK(arena_open(&a, 64 << 20).code == OK && arena_open(&small, 1 << 16).code == OK);
    CHECK(gzip_of(a, (str){arena_take(a, 32 << 20), 32 << 20}, &packed).code == OK);
    CHECK(packed.len < 64 * 1024);
    CHECK(gunzip(small, packed, 1 << 15, &plain).code == ERR_LIMIT);
    CHECK(gunzip(small, packed, 32 << 20, &plain).code == ERR_MEMORY);
}

static void add_u16(buf *b, unsigned value)
{
    buf_add_byte(b, (char)value);
    buf_add_byte(b, (char)(value >> 8));
}

// Adds a local entry; what the directory says of it goes to `directory`.
static void zip_add(buf *b, buf *directory, str name, str plain, bool packed)
{
    char room[1024];
    z_stream z = {.next_in = (Bytef *)(uintptr_t)plain.at,
                  .avail_in = (uInt)plain.len,
                  .next_out = (Bytef *)room,
                  .avail_out = sizeof(room)};
    if (packed) {
        CHECK(deflateInit2(&z, 9, Z_DEFLATED, -15, 8, 0) == Z_OK);
        CHECK(deflate(&z, Z_FINISH) == Z_STREAM_END && deflateEnd(&z) == Z_OK);
    }
    str data = packed ? (str){room, z.total_out} : plain;
    uint32_t offset = (uint32_t)b->len;
    buf_add_u32(b, 0x04034b50);
    buf_add_u32(directory, 0x02014b50);
    add_u16(directory, 20);
    for (int i = 0; i < 2; i++) {
        buf *to = i == 0 ? b : directory;
        add_u16(to, 20);
        add_u16(to, 0);
        add_u16(to, packed ? 8 : 0);
        buf_add_u32(to, 0);
        buf_add_u32(to, (uint32_t)crc32_z(0, (const Bytef *)plain.at, plain.len));
        buf_add_u32(to, (uint32_t)data.len);
        buf_add_u32(to, (uint32_t)plain.len);
        add_u16(to, (unsigned)name.len);
        add_u16(to, 0);
    }
    for (int i = 0; i < 5; i++)
        add_u16(directory, 0);
    buf_add_u32(directory, offset);
    buf_add(directory, name);
    buf_add(b, name);
    buf_add(b, data);
}

static void zip_end(buf *b, buf *directory, unsigned count, str comment)
{
    uint32_t offset = (uint32_t)b->len;
    buf_add(b, buf_str(directory));
    buf_add_u32(b, 0x06054b50);
    buf_add_u32(b, 0);
    add_u16(b, count);
    add_u16(b, count);
    buf_add_u32(b, (uint32_t)directory->len);
    buf_add_u32(b, offset);
    add_u16(b, (unsigned)comment.len);
    buf_add(b, comment);
    CHECK(b->error.code == OK && directory->error.code == OK);
}

TEST(zip_single_read_finds_the_program_and_survives_damage)
{
    for (int packed = 0; packed < 2; packed++) {
        OWNED(arena_drop) arena *a = NULL;
        OWNED(buf_close) buf b;
        OWNED(buf_close) buf directory;
        str out, body = STR("\0asm\1\0\0\0 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
        CHECK(arena_open(&a, 16 << 20).code == OK);
        buf_open(&b, 4096);
        buf_open(&directory, 4096);
        zip_add(&b, &directory, STR("readme"), STR("x"), false);
        zip_add(&b, &directory, STR("sub/main.wasm"), STR("wrong"), false);
        zip_add(&b, &directory, STR("main.wasm"), body, packed == 1);
        zip_end(&b, &directory, 3, STR("a comment"));
        CHECK(zip_single_read(a, buf_str(&b), body.len, &out).code == OK && str_is(out, body));
        CHECK(zip_single_read(a, buf_str(&b), body.len - 1, &out).code == ERR_LIMIT);
        for (size_t i = 0; i < b.len; i++) {
            for (int bit = 0; bit < 8; bit++) {
                // On a heap block of its own: reading past the end is caught.
                str bad = str_copy(a, buf_str(&b));
                ((char *)(uintptr_t)bad.at)[i] ^= (char)(1 << bit);
                err e = zip_single_read(a, bad, 4096, &out);
                CHECK(e.code != OK || str_is(out, body));
                CHECK(e.code != ERR_MEMORY);
            }
            CHECK(zip_single_read(a, str_first(buf_str(&b), i), 4096, &out).code != OK);
            arena_reset(a);
        }
    }
}

TEST(zip_single_read_prefers_the_artifact_and_tells_absence)
{
    OWNED(arena_drop) arena *a = NULL;
    OWNED(buf_close) buf b;
    OWNED(buf_close) buf directory;
    str out;
    CHECK(arena_open(&a, 1 << 20).code == OK);
    buf_open(&b, 4096);
    buf_open(&directory, 4096);
    zip_add(&b, &directory, STR("main.wasm"), STR("main"), false);
    zip_add(&b, &directory, STR("artifact.wasm"), STR("artifact"), true);
    zip_end(&b, &directory, 2, STR(""));
    CHECK(zip_single_read(a, buf_str(&b), 100, &out).code == OK && str_is(out, STR("artifact")));
    buf_clear(&b);
    buf_clear(&directory);
    zip_end(&b, &directory, 0, STR(""));
    CHECK(zip_single_read(a, buf_str(&b), 100, &out).code == ERR_ABSENT);
    CHECK(zip_single_read(a, STR("PK"), 100, &out).code == ERR_SYNTAX);
}

TEST(gunzip_stream_takes_pieces_of_any_size)
{
    OWNED(arena_drop) arena *a = NULL;
    str one, two, packed;
    CHECK(arena_open(&a, 16 << 20).code == OK);
    char *zeros = arena_take(a, 1 << 20);
    CHECK(gzip_of(a, (str){zeros, 1 << 20}, &one).code == OK);
    CHECK(gzip_of(a, STR("and the end"), &two).code == OK);
    packed = str_join(a, (str[]){one, two}, 2, STR(""));
    for (size_t piece = 1; piece < 4000; piece = piece * 3 + 1) {
        gunzip_stream *s;
        char out[1000], last[12] = "";
        size_t total = 0, got;
        CHECK(gunzip_stream_open(&s).code == OK);
        CHECK(!gunzip_stream_whole(s));
        for (str rest = packed; rest.len > 0;) {
            str in = str_first(rest, piece);
            rest = str_from(rest, in.len);
            do {
                CHECK(gunzip_stream_step(s, &in, out, sizeof(out), &got).code == OK);
                total += got;
                if (got >= 11)
                    memcpy(last, out + got - 11, 11);
            } while (in.len > 0 || got == sizeof(out));
        }
        CHECK(total == (1 << 20) + 11 && gunzip_stream_whole(s));
        CHECK(piece < 100 || strcmp(last, "and the end") == 0);
        gunzip_stream_close(s);
    }
    gunzip_stream *s;
    char out[10];
    size_t got;
    str bad = STR("no gzip at all");
    CHECK(gunzip_stream_open(&s).code == OK);
    CHECK(gunzip_stream_step(s, &bad, out, sizeof(out), &got).code == ERR_SYNTAX);
    gunzip_stream_close(s);
}
