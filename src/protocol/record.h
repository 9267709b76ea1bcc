// What protocols share: records kept as JSON, commits that answer a request when they are durable.
#pragma once
#include "mesh/mesh.h"

// The record as JSON in the arena; {NULL,0} when the arena's budget is used up.
str record_write(arena *a, const message_shape *shape, const void *fields);
// Reads one record; ERR_ABSENT. `revision` may be NULL.
err record_get(mesh *m,
               arena *a,
               str bucket,
               str key,
               const message_shape *shape,
               void *fields,
               uint64_t *revision) MUST_USE;
// Reads a record's JSON. ERR_SYNTAX: damaged.
err record_read(arena *a, str text, const message_shape *shape, void *fields) MUST_USE;

// Commits and then answers `in` with `reply` (which lives in the incoming's arena), or with the
// error.
void record_commit(
    mesh *m, mesh_incoming *in, const store_change *changes, size_t count, const void *reply);

static inline store_change record_put(str bucket, str key, str value, uint64_t expected)
{
    return (store_change){STORE_PUT, bucket, key, value, expected};
}
static inline store_change record_delete(str bucket, str key)
{
    return (store_change){
        .verb = STORE_DELETE, .bucket = bucket, .key = key, .expected = STORE_ANY};
}
