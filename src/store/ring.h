// A log on disk with a byte limit: lines with numbers, oldest dropped first; not fsynced per line.
#pragma once
#include "base/base.h"

typedef struct ring ring;
err ring_open(ring **out,
              const char *folder,
              uint64_t bytes_max) MUST_USE; // segments in the folder; torn tails are cut
void ring_close(ring *r);
err ring_add(ring *r,
             str record,
             uint64_t *number) MUST_USE; // numbers start at 1 and survive reopening
// Calls `each` for records with number > after, oldest first, until it returns false.
err ring_read(ring *r,
              uint64_t after,
              bool (*each)(void *data, uint64_t number, str record),
              void *data) MUST_USE;
uint64_t ring_last(const ring *r);
err ring_sync(ring *r) MUST_USE;
