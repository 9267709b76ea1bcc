// gzip both ways, and the one program inside a zip archive; every output has a limit.
#pragma once
#include "base/base.h"

// One gzip member at level 6; ERR_MEMORY when it does not fit the arena.
err gzip_of(arena *a, str plain, str *out) MUST_USE;
// All members of a gzip file. ERR_LIMIT past `limit` bytes of output, ERR_SYNTAX for anything that
// is not whole and sound gzip.
err gunzip(arena *a, str packed, size_t limit, str *out) MUST_USE;
// The entry `artifact.wasm`, else `main.wasm`, of a zip archive. ERR_ABSENT when it holds neither,
// ERR_LIMIT past `limit` bytes, ERR_UNSUPPORTED for zip64, encryption and methods other than
// stored and deflated, ERR_SYNTAX when damaged. Offsets are checked, the CRC too.
err zip_single_read(arena *a, str archive, size_t limit, str *out) MUST_USE;
