// What the store holds of a queue, when it is opened or memory was short.
#include "base/fault.h"
#include "base/str.h"
#include "mesh/queue_inner.h"

#include <stdlib.h>
#include <string.h>

typedef struct loaded {
    uint64_t revision;
    char *id;
    char *value;
    size_t value_len;
} loaded;
typedef struct loading {
    loaded *at;
    size_t count, room;
    bool failed;
} loading;

static bool queue_on_entry(void *data, const store_entry *entry)
{
    loading *l = data;
    if (l->count == l->room) {
        size_t room = l->room == 0 ? 64 : l->room * 2;
        loaded *grown = fault_hits(FAULT_MEMORY) ? NULL : realloc(l->at, room * sizeof *grown);
        if (grown == NULL) {
            l->failed = true;
            return false;
        }
        l->at = grown;
        l->room = room;
    }
    char *id = strndup(entry->key.at, entry->key.len);
    char *value = malloc(entry->value.len + 1);
    if (id == NULL || value == NULL) {
        free(id);
        free(value);
        l->failed = true;
        return false;
    }
    memcpy(value, entry->value.at, entry->value.len);
    l->at[l->count++] = (loaded){entry->revision, id, value, entry->value.len};
    return true;
}

static int loaded_order(const void *one, const void *two)
{
    const loaded *a = one, *b = two;
    return a->revision < b->revision ? -1 : a->revision > b->revision;
}

void queue_load(queue *q)
{
    loading l = {NULL, 0, 0, false};
    store *s;
    err e = q->engine->driver->store(q->engine, str_of(q->bucket), &s);
    if (e.code == OK)
        e = store_each(s, str_of(q->bucket), (str){"", 0}, queue_on_entry, &l, &q->revision);
    if (l.count > 0)
        qsort(l.at, l.count, sizeof *l.at, loaded_order);
    for (size_t n = 0; n < l.count; n++) {
        str id = str_of(l.at[n].id), value = {l.at[n].value, l.at[n].value_len};
        bool known = item_find(q, id) != NULL;
        if (!item_add(q, id))
            l.failed = true;
        else if (!known)
            item_see(q, item_find(q, id), value, l.at[n].revision);
        free(l.at[n].id);
        free(l.at[n].value);
    }
    free(l.at);
    q->reload_ms = 0;
    if (e.code != OK || l.failed) {
        q->reload_ms = loop_now_ms(q->engine->loop) + MESH_RETRY_MS;
        mesh_due(q->engine, q->reload_ms);
    }
}
