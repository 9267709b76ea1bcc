// A hash map that remembers the order of insertion.
//
// Entries stand in an array as they came; a table of slots, twice as large or more, finds them.
// Removed entries leave holes in both until the array is full and the map is rebuilt.
#include "base/map.h"

#include "base/clock.h"
#include "base/fault.h"

#include <sodium/crypto_shorthash.h>
#include <stdlib.h>
#include <string.h>

enum { ROOM_FIRST = 8 };
static const uint32_t SLOT_EMPTY = UINT32_MAX;
static const size_t ENTRIES_MAX = UINT32_MAX / 4;

struct entry {
    char *key; // NULL: a hole
    size_t len;
    uint64_t hash;
    void *value;
};

struct map {
    struct entry *entries;
    uint32_t *slots; // indices of entries
    size_t room;     // of entries; slots are twice as many
    size_t used;     // entries and holes
    size_t first;    // no entry lives before it: a map used as a queue stays quick
    size_t count;
    size_t entries_max;
    unsigned char hash_key[crypto_shorthash_KEYBYTES];
};

static void *map_calloc(size_t count, size_t size)
{
    return fault_hits(FAULT_MEMORY) ? NULL : calloc(count, size);
}

err map_open(map **out, size_t entries_max)
{
    map *m = map_calloc(1, sizeof(*m));
    if (m == NULL)
        return fail(ERR_MEMORY, 0, "open map");
    m->entries_max = entries_max < ENTRIES_MAX ? entries_max : ENTRIES_MAX;
    random_bytes(m->hash_key, sizeof(m->hash_key));
    *out = m;
    return ok();
}

void map_close(map *m)
{
    if (m == NULL)
        return;
    for (size_t i = m->first; i < m->used; i++)
        free(m->entries[i].key);
    free(m->entries);
    free(m->slots);
    free(m);
}

static uint64_t map_hash(const map *m, str key)
{
    unsigned char digest[crypto_shorthash_BYTES];
    crypto_shorthash(digest, (const unsigned char *)key.at, key.len, m->hash_key);
    uint64_t hash;
    memcpy(&hash, digest, sizeof(hash));
    return hash;
}

static struct entry *map_find(const map *m, str key, uint64_t hash)
{
    if (m->count == 0)
        return NULL;
    size_t mask = m->room * 2 - 1;
    for (size_t i = hash & mask; m->slots[i] != SLOT_EMPTY; i = (i + 1) & mask) {
        struct entry *e = &m->entries[m->slots[i]];
        if (e->key != NULL && e->hash == hash && e->len == key.len &&
            memcmp(e->key, key.at, key.len) == 0)
            return e;
    }
    return NULL;
}

void *map_get(const map *m, str key)
{
    const struct entry *e = map_find(m, key.at == NULL ? STR("") : key, map_hash(m, key));
    return e == NULL ? NULL : e->value;
}

static void map_index(map *m, size_t at)
{
    size_t mask = m->room * 2 - 1;
    size_t i = m->entries[at].hash & mask;
    while (m->slots[i] != SLOT_EMPTY)
        i = (i + 1) & mask;
    m->slots[i] = (uint32_t)at;
}

// Doubles when more than half lives, else only closes the holes. A failure leaves all as it was.
static err map_rebuild(map *m)
{
    size_t room = m->room == 0 ? ROOM_FIRST : m->count > m->room / 2 ? m->room * 2 : m->room;
    struct entry *entries = map_calloc(room, sizeof(*entries));
    uint32_t *slots = entries == NULL ? NULL : map_calloc(room * 2, sizeof(*slots));
    if (slots == NULL) {
        free(entries);
        return fail(ERR_MEMORY, 0, "grow map");
    }
    memset(slots, 0xFF, room * 2 * sizeof(*slots));
    size_t used = 0;
    for (size_t i = m->first; i < m->used; i++)
        if (m->entries[i].key != NULL)
            entries[used++] = m->entries[i];
    free(m->entries);
    free(m->slots);
    m->entries = entries;
    m->slots = slots;
    m->room = room;
    m->used = used;
    m->first = 0;
    for (size_t i = 0; i < used; i++)
        map_index(m, i);
    return ok();
}

err map_put(map *m, str key, void *value, void **old)
{
    if (key.at == NULL)
        key = STR("");
    uint64_t hash = map_hash(m, key);
    struct entry *e = map_find(m, key, hash);
    if (e != NULL) {
        if (old != NULL)
            *old = e->value;
        e->value = value;
        return ok();
    }
    if (m->count >= m->entries_max)
        return fail(ERR_LIMIT, 0, "map full");
    if (m->used == m->room)
        TRY(map_rebuild(m));
    char *copy = map_calloc(1, key.len + 1);
    if (copy == NULL)
        return fail(ERR_MEMORY, 0, "put into map");
    memcpy(copy, key.at, key.len);
    m->entries[m->used] = (struct entry){copy, key.len, hash, value};
    map_index(m, m->used++);
    m->count++;
    if (old != NULL)
        *old = NULL;
    return ok();
}

void *map_remove(map *m, str key)
{
    struct entry *e = map_find(m, key.at == NULL ? STR("") : key, map_hash(m, key));
    if (e == NULL)
        return NULL;
    void *value = e->value;
    free(e->key);
    e->key = NULL; // its slot stays taken, so that probing goes on past it
    m->count--;
    while (m->first < m->used && m->entries[m->first].key == NULL)
        m->first++;
    return value;
}

size_t map_count(const map *m)
{
    return m->count;
}

bool map_next(const map *m, size_t *at, str *key, void **value)
{
    for (size_t i = *at < m->first ? m->first : *at; i < m->used; i++) {
        const struct entry *e = &m->entries[i];
        if (e->key == NULL)
            continue;
        if (key != NULL)
            *key = (str){e->key, e->len};
        if (value != NULL)
            *value = e->value;
        *at = i + 1;
        return true;
    }
    return false;
}
