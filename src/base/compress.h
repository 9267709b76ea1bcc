// gzip both ways, and the one program inside a zip archive; every output has a limit.
#pragma once
#include "base/base.h"

// One gzip member at level 6; ERR_MEMORY when it does not fit the arena.
err gzip_of(arena *a, str plain, str *out) MUST_USE;
// All members of a gzip file. ERR_LIMIT past `limit` bytes of output, ERR_SYNTAX for anything that
// is not whole and sound gzip.
err gunzip(arena *a, str packed, size_t limit, str *out) MUST_USE;
// The same piece by piece, for what streams. Unpacks from the front of *packed into `to` until one
// of them is used up and says how many bytes it wrote: call again while *packed is not empty or all
// of `to` was filled. ERR_SYNTAX for damaged bytes. One thread at a time.
typedef struct gunzip_stream gunzip_stream;
err gunzip_stream_open(gunzip_stream **out) MUST_USE;
err gunzip_stream_step(gunzip_stream *s, str *packed, char *to, size_t room, size_t *got) MUST_USE;
bool gunzip_stream_whole(const gunzip_stream *s); // the last member ended, nothing follows it
void gunzip_stream_close(gunzip_stream *s);       // NULL is fine
// The entry `artifact.wasm`, else `main.wasm`, of a zip archive. ERR_ABSENT when it holds neither,
// ERR_LIMIT past `limit` bytes, ERR_UNSUPPORTED for zip64, encryption and methods other than
// stored and deflated, ERR_SYNTAX when damaged. Offsets are checked, the CRC too.
err zip_single_read(arena *a, str archive, size_t limit, str *out) MUST_USE;
