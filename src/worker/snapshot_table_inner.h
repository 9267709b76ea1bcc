// How a snapshot's tables are hashed: the writer and the reader must agree.
#pragma once
#include "worker/snapshot_inner.h"

#include <string.h>

#define SNAPSHOT_MAGIC 0x31746f7561746375ULL

// Keyed by a seed that nobody who deploys knows; the tables are half empty and never change.
static inline uint64_t snapshot_hash(uint64_t seed, str s)
{
    const uint64_t odd = 0x9e3779b97f4a7c15ULL;
    uint64_t h = (seed ^ s.len) * odd, word;
    size_t i = 0;
    for (; i + 8 <= s.len; i += 8) {
        memcpy(&word, s.at + i, 8);
        h = (h ^ word) * odd;
        h ^= h >> 29;
    }
    word = 0;
    if (i < s.len)
        memcpy(&word, s.at + i, s.len - i);
    h = (h ^ word) * odd;
    h ^= h >> 32;
    return h * odd >> 20;
}
