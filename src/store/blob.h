// Blobs: files named by the sha256 of their bytes, written durably, read by path or descriptor.
#pragma once
#include "base/base.h"
#include "base/hash.h"

typedef struct blobs blobs;
err blobs_open(blobs **out, const char *folder)
    MUST_USE; // makes folder/ab/ as needed; removes leftovers of a crash
void blobs_close(blobs *b);
blobs *blobs_share(blobs *b); // one more owner, who ends with blobs_close() too
// Durable when it returns OK (fsync file, rename, fsync folder): call from a helper thread, not on
// a loop. Thread-safe.
err blobs_put(blobs *b, str bytes, sha256 *out) MUST_USE;
err blobs_put_file(blobs *b, const char *path, sha256 *out, uint64_t *size) MUST_USE;
bool blobs_has(blobs *b, const sha256 *hash, uint64_t *size);
// True when it is there: it counts as put now (see blobs_remove_before).
bool blobs_touch(blobs *b, const sha256 *hash);
err blobs_get(blobs *b,
              const sha256 *hash,
              size_t limit,
              arena *a,
              str *out) MUST_USE; // ERR_ABSENT; checks the hash: ERR_SYNTAX when damaged
err blobs_open_fd(blobs *b, const sha256 *hash, int *fd) MUST_USE; // read-only; the caller closes
err blobs_remove(blobs *b, const sha256 *hash) MUST_USE;           // ERR_ABSENT
// For collection: ERR_CONFLICT when it was put (again) at or after that time; a put of what is
// there counts as one.
err blobs_remove_before(blobs *b, const sha256 *hash, uint64_t before_real_ms) MUST_USE;
// Walks all of them: false from `each` stops.
err blobs_each(
    blobs *b,
    bool (*each)(void *data, const sha256 *hash, uint64_t size, uint64_t written_real_ms),
    void *data) MUST_USE;

// A blob that comes piece by piece from elsewhere: a file without a place until it is kept. All of
// these block; one thread at a time. It owns a share of the blobs.
typedef struct blob_draft blob_draft;
err blob_draft_open(blob_draft **out, blobs *b) MUST_USE;
err blob_draft_add(blob_draft *d, str bytes) MUST_USE;
// Durable under its name, as blobs_put; ERR_SYNTAX: these are not the bytes of that name. The draft
// is gone in any case.
err blob_draft_keep(blob_draft *d, const sha256 *hash) MUST_USE;
void blob_draft_drop(blob_draft *d); // leaves nothing; NULL is fine
