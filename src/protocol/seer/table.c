// The table of nodes as their heartbeats tell it: healthy, silent, leaving, forgotten.
#include "base/str.h"
#include "protocol/seer/seer_inner.h"

#include <stdlib.h>
#include <string.h>

enum { NAME_BYTES_MAX = 128, WORD_BYTES_MAX = 64, PORT_MAX = 65535 };

err seer_table_open(struct seer_table *t)
{
    *t = (struct seer_table){.next_ms = UINT64_MAX};
    return map_open(&t->nodes, SEER_NODES_MAX);
}

void seer_table_close(struct seer_table *t)
{
    size_t at = 0;
    str key;
    void *value;
    while (t->nodes != NULL && map_next(t->nodes, &at, &key, &value))
        free(value);
    map_close(t->nodes);
    t->nodes = NULL;
}

static bool seer_beat_is_valid(const seer_heartbeat *b)
{
    if (b->name.len == 0 || b->name.len > NAME_BYTES_MAX || b->protocol.len > WORD_BYTES_MAX ||
        b->address.len > WORD_BYTES_MAX || b->version.len > WORD_BYTES_MAX ||
        b->doors.count > SEER_DOORS_MAX)
        return false;
    for (size_t i = 0; i < b->doors.count; i++)
        if (b->doors.at[i].name.len > WORD_BYTES_MAX || b->doors.at[i].port > PORT_MAX)
            return false;
    return true;
}

static str seer_node_keep(struct seer_node *n, size_t *used, str text)
{
    if (text.len > 0)
        memcpy(n->text + *used, text.at, text.len);
    str kept = {n->text + *used, text.len};
    *used += text.len;
    return kept;
}

static struct seer_node *seer_node_make(const seer_heartbeat *b)
{
    size_t bytes = b->name.len + b->protocol.len + b->address.len + b->version.len, used = 0;
    for (size_t i = 0; i < b->doors.count; i++)
        bytes += b->doors.at[i].name.len;
    struct seer_node *n = calloc(1, sizeof(*n) + bytes);
    if (n == NULL)
        return NULL;
    n->name = seer_node_keep(n, &used, b->name);
    n->protocol = seer_node_keep(n, &used, b->protocol);
    n->address = seer_node_keep(n, &used, b->address);
    n->version = seer_node_keep(n, &used, b->version);
    n->copies = b->copies;
    n->certificate_real_ms = b->certificate_real_ms;
    n->started_real_ms = b->started_real_ms;
    for (size_t i = 0; i < b->doors.count; i++) {
        n->doors[i].name = seer_node_keep(n, &used, b->doors.at[i].name);
        n->doors[i].port = b->doors.at[i].port;
    }
    n->doors_count = b->doors.count;
    return n;
}

static bool seer_node_says(const struct seer_node *n, const seer_heartbeat *b)
{
    bool same = str_is(n->protocol, b->protocol) && str_is(n->address, b->address) &&
                str_is(n->version, b->version) && n->copies == b->copies &&
                n->certificate_real_ms == b->certificate_real_ms &&
                n->started_real_ms == b->started_real_ms && n->doors_count == b->doors.count;
    for (size_t i = 0; same && i < n->doors_count; i++)
        same = str_is(n->doors[i].name, b->doors.at[i].name) &&
               n->doors[i].port == b->doors.at[i].port;
    return same;
}

err seer_table_beat(struct seer_table *t,
                    const seer_heartbeat *beat,
                    uint64_t now_ms,
                    uint64_t now_real_ms)
{
    if (!seer_beat_is_valid(beat))
        return fail(ERR_SYNTAX, 0, "heartbeat of no node");
    seer_table_step(t, now_ms);
    struct seer_node *n = map_get(t->nodes, beat->name);
    // A late word of a former process says nothing of the one that runs.
    if (n != NULL && n->healthy && beat->started_real_ms < n->started_real_ms)
        return ok();
    bool healthy = !beat->leaving;
    if (n == NULL || !seer_node_says(n, beat)) {
        struct seer_node *next = seer_node_make(beat);
        if (next == NULL)
            return fail(ERR_MEMORY, 0, "keep heartbeat");
        err e = map_put(t->nodes, beat->name, next, NULL);
        if (e.code != OK) {
            free(next);
            return e;
        }
        free(n);
        n = next;
        t->version++;
    } else if (n->healthy != healthy || n->leaving != beat->leaving) {
        t->version++;
    }
    n->healthy = healthy;
    n->leaving = beat->leaving;
    n->draining = beat->draining;
    n->seen_ms = now_ms;
    n->seen_real_ms = now_real_ms;
    uint64_t next_ms = now_ms + (healthy ? SEER_HEALTHY_MS : SEER_FORGET_MS);
    t->next_ms = next_ms < t->next_ms ? next_ms : t->next_ms;
    return ok();
}

void seer_table_step(struct seer_table *t, uint64_t now_ms)
{
    if (now_ms < t->next_ms)
        return;
    t->next_ms = UINT64_MAX;
    size_t at = 0;
    str key;
    void *value;
    while (map_next(t->nodes, &at, &key, &value)) {
        struct seer_node *n = value;
        if (n->healthy && now_ms >= n->seen_ms + SEER_HEALTHY_MS) {
            n->healthy = false;
            t->version++;
        }
        if (now_ms >= n->seen_ms + SEER_FORGET_MS) {
            (void)map_remove(t->nodes, key);
            free(n);
            t->version++;
            continue;
        }
        uint64_t next_ms = n->seen_ms + (n->healthy ? SEER_HEALTHY_MS : SEER_FORGET_MS);
        t->next_ms = next_ms < t->next_ms ? next_ms : t->next_ms;
    }
}

static int seer_node_order(const void *a, const void *b)
{
    const struct seer_node *const *x = a, *const *y = b;
    return str_order((*x)->name, (*y)->name);
}

err seer_table_list(
    const struct seer_table *t, arena *a, str kind, const struct seer_node ***out, size_t *count)
{
    const struct seer_node **list = arena_take(a, (map_count(t->nodes) + 1) * sizeof(void *));
    if (list == NULL)
        return fail(ERR_MEMORY, 0, "list nodes");
    size_t at = 0, found = 0;
    str key;
    void *value;
    while (map_next(t->nodes, &at, &key, &value)) {
        const struct seer_node *n = value;
        if (kind.len == 0 || str_is(n->protocol, kind))
            list[found++] = n;
    }
    qsort(list, found, sizeof(void *), seer_node_order);
    *out = list;
    *count = found;
    return ok();
}

str seer_table_web(const struct seer_table *t)
{
    size_t at = 0;
    str key;
    void *value;
    while (map_next(t->nodes, &at, &key, &value)) {
        const struct seer_node *n = value;
        if (n->healthy && str_is(n->protocol, STR("gateway")))
            return STR("gateway");
    }
    return STR("substrate");
}

uint64_t seer_node_port(const struct seer_node *n, str door)
{
    for (size_t i = 0; i < n->doors_count; i++)
        if (str_is(n->doors[i].name, door))
            return n->doors[i].port;
    return 0;
}

str seer_node_short(const struct seer_node *n)
{
    return str_first(n->name, str_find_byte(n->name, '@'));
}
