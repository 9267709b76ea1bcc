// A hash map from byte strings to pointers; keyed SipHash, keys copied in, walked as inserted.
#pragma once
#include "base/base.h"

typedef struct map map;
err map_open(map **out, size_t entries_max) MUST_USE;
void map_close(map *m); // values are the caller's
void *map_get(const map *m, str key);
// Puts or replaces; the former value (or NULL) lands in *old when old is given. ERR_LIMIT past
// entries_max.
err map_put(map *m, str key, void *value, void **old) MUST_USE;
void *map_remove(map *m, str key); // the value that was there, or NULL
size_t map_count(const map *m);
// Walks: *at starts at 0; returns false at the end. Removing the current entry while walking is
// fine.
bool map_next(const map *m, size_t *at, str *key, void **value);
