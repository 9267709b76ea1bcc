// Memory for one request, freed in one stroke.
//
// Chunks form a list, newest first; nothing is ever moved, so pointers stay good
// until arena_close(). The limit is a tenant's budget, not a hint. Under ASan the bytes
// that nobody took are poisoned, so reading past a slice is caught here too.
#include "base/base.h"
#include "base/fault.h"

#include <malloc.h>
#include <sanitizer/asan_interface.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_BYTES = 16 * 1024, LARGE_BYTES = CHUNK_BYTES / 4 };

struct chunk {
    struct chunk *next;
    size_t used;
    size_t size;
    alignas(max_align_t) unsigned char bytes[];
};

struct arena {
    struct chunk *newest;
    size_t limit;
    size_t left;
};

err arena_open(arena **out, size_t limit)
{
    arena *a = fault_hits(FAULT_MEMORY) ? NULL : calloc(1, sizeof(*a));
    if (a == NULL)
        return fail(ERR_MEMORY, 0, "open arena");
    a->limit = limit;
    a->left = limit;
    *out = a;
    return ok();
}

// Large pieces get a chunk of their own, behind the newest: its rest stays in use.
static struct chunk *arena_grow(arena *a, size_t size)
{
    bool alone = size >= LARGE_BYTES && a->newest != NULL;
    size_t room = alone || size > CHUNK_BYTES ? size : CHUNK_BYTES;
    struct chunk *c = fault_hits(FAULT_MEMORY) ? NULL : calloc(1, sizeof(*c) + room);
    if (c == NULL)
        return NULL;
    c->size = room;
    ASAN_POISON_MEMORY_REGION(c->bytes, room);
    struct chunk **place = alone ? &a->newest->next : &a->newest;
    c->next = *place;
    *place = c;
    return c;
}

void *arena_take(arena *a, size_t size)
{
    if (size > a->left || size > SIZE_MAX / 2)
        return NULL;
    size_t whole = (size + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
    if (whole > a->left)
        return NULL;
    struct chunk *c = a->newest;
    if (c == NULL || c->size - c->used < whole)
        c = arena_grow(a, whole);
    if (c == NULL)
        return NULL;
    void *taken = c->bytes + c->used;
    ASAN_UNPOISON_MEMORY_REGION(taken, size);
    c->used += whole;
    a->left -= whole;
    return taken;
}

void arena_reset(arena *a)
{
    struct chunk *kept = NULL;
    for (struct chunk *c = a->newest; c != NULL;) {
        struct chunk *next = c->next;
        if (kept == NULL && c->size == CHUNK_BYTES)
            kept = c;
        else
            free(c);
        c = next;
    }
    if (kept != NULL) {
        ASAN_UNPOISON_MEMORY_REGION(kept->bytes, kept->size);
        memset(kept->bytes, 0, kept->used);
        ASAN_POISON_MEMORY_REGION(kept->bytes, kept->size);
        kept->used = 0;
        kept->next = NULL;
    }
    a->newest = kept;
    a->left = a->limit;
}

void arena_close(arena *a)
{
    if (a == NULL)
        return;
    for (struct chunk *c = a->newest; c != NULL;) {
        struct chunk *next = c->next;
        free(c);
        c = next;
    }
    free(a);
}

void arena_drop(arena **a)
{
    arena_close(*a);
    *a = NULL;
}

void memory_give_back(void)
{
    (void)malloc_trim(0);
}
