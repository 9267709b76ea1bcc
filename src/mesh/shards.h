// Which log keeps which records, and who reads and writes them: one table of a universe.
#pragma once
#include "base/base.h"

// A bucket belongs to the first row whose prefix it starts with.
typedef struct shard_bucket {
    const char *prefix;  // "auth."
    const char *shard;   // "auth"
    const char *writers; // protocols joined by '+', "client" for none
} shard_bucket;
typedef struct shard {
    const char *name;    // also the stream's: letters only
    const char *readers; // protocols that keep an applied copy
} shard;
typedef struct shards {
    const shard *all;
    size_t count;
    const shard_bucket *buckets;
    size_t buckets_count;
} shards;
enum { SHARDS_MAX = 16 }; // streams of one universe: each is a Raft group with its own heartbeat

extern const shards shards_of_universe;

const shard_bucket *shards_bucket(const shards *s, str bucket); // NULL: nowhere
size_t shards_find(const shards *s, str name);                  // s->count: no such shard
bool shards_reads(const shard *s, str protocols); // protocols joined by '+', "" or "-": a client
// The first of `protocols` that may write the bucket; empty: none may.
str shards_writer(const shard_bucket *b, str protocols);
// The first of `protocols` that may write anything of this shard; empty: none may.
str shards_role(const shards *s, size_t number, str protocols);
