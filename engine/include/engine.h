// What the engine adds to Wasmtime's C API: a memory limit that traps, and pre-initialisation.
#ifndef ENGINE_H
#define ENGINE_H

#include <stddef.h>
#include <stdint.h>
#include <wasmtime.h>

// Bounds the store's memory to `bytes`: the guest that grows past it traps ("forcing trap when
// growing memory"). Call wasmtime_store_limiter() once before, with any values: it arms the limiter.
void engine_limit_memory(wasmtime_context_t *context, size_t bytes);

// Runs `_initialize` of a core module and writes the module whose memory and globals are what it
// left, without that export. clock_time_get and random_get of wasi_snapshot_preview1 answer real
// values meanwhile, every other import a zero. The result is 0 and `*out` is the caller's, who gives
// it back with engine_free(); or it is 1, `*out` is untouched and `error` says why (cut to error_max,
// NUL-terminated). It compiles and runs foreign code without a time limit and may abort() on a
// malformed module: only in a child process that has its own limits. Memory is bounded to 1 GiB.
int engine_preinitialize(const uint8_t *wasm, size_t len, uint8_t **out, size_t *out_len,
                         char *error, size_t error_max);

// Frees what engine_preinitialize() made; `len` is the one that came with it. NULL is allowed.
void engine_free(uint8_t *at, size_t len);

#endif
