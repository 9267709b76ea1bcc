// Commits, reads and watches: the stores of the engine, as a node sees them.
#include "base/fault.h"
#include "base/str.h"
#include "mesh/mesh_inner.h"

#include <stdlib.h>
#include <string.h>

typedef struct commit_wait {
    chain link;
    bool left; // its node left and was told so
    store_done *done;
    void *data;
} commit_wait;

static void commit_on_done(void *data, err e, uint64_t revision)
{
    commit_wait *w = data;
    chain_remove(&w->link);
    if (!w->left && w->done != NULL)
        w->done(w->data, e, revision);
    free(w);
}

err commit_check(const store_change *changes, size_t count)
{
    // As an entry of a log holds it: nats_entry.c.
    enum { COMMIT_HEAD_BYTES = 4, CHANGE_HEAD_BYTES = 21 };
    size_t bytes = COMMIT_HEAD_BYTES;
    if (count > MESH_COMMIT_CHANGES_MAX)
        return fail(ERR_LIMIT, 0, "too many changes in one commit");
    for (size_t i = 0; i < count; i++) {
        const store_change *c = &changes[i];
        if (c->bucket.len > STORE_KEY_BYTES_MAX || c->key.len > STORE_KEY_BYTES_MAX)
            return fail(ERR_LIMIT, 0, "record's key is too long");
        size_t value = c->verb == STORE_DELETE ? 0 : c->value.len;
        if (value > STORE_VALUE_BYTES_MAX)
            return fail(ERR_LIMIT, 0, "record is too large");
        bytes += CHANGE_HEAD_BYTES + c->bucket.len + c->key.len + value;
    }
    return bytes > MESH_COMMIT_BYTES_MAX ? fail(ERR_LIMIT, 0, "a commit is larger than 4 MiB")
                                         : ok();
}

typedef struct refused {
    chain link;
    store_done *done;
    void *data;
    err error;
} refused;

void commits_refused_tell(mesh_engine *e)
{
    refused *r;
    while ((r = chain_first(&e->refused)) != NULL) {
        chain_remove(&r->link);
        if (r->done != NULL)
            r->done(r->data, r->error, 0);
        free(r);
    }
}

static void letter_refused(mesh_engine *e, letter *l)
{
    (void)l;
    commits_refused_tell(e);
}

void commit_refuse(mesh_engine *e, err error, store_done *done, void *data)
{
    refused *r = mesh_must_take(sizeof *r);
    *r = (refused){.done = done, .data = data, .error = error};
    chain_add(&e->refused, &r->link);
    (void)mesh_letter(e, letter_refused, 0);
}

void mesh_commit(mesh *m, const store_change *changes, size_t count, store_done *done, void *data)
{
    commit_wait *w = mesh_must_take(sizeof *w);
    w->done = done;
    w->data = data;
    chain_add(&m->commits, &w->link);
    m->engine->driver->commit(m->engine, changes, count, commit_on_done, w);
}

bool commits_leave(mesh *m)
{
    bool some = false;
    commit_wait *w;
    while ((w = chain_first(&m->commits)) != NULL) {
        chain_remove(&w->link);
        w->left = true;
        if (w->done != NULL)
            w->done(w->data, fail(ERR_CLOSED, 0, "this node left"), 0);
        some = true;
    }
    return some;
}

err mesh_get(mesh *m, str bucket, str key, arena *a, store_entry *out)
{
    store *s;
    TRY(m->engine->driver->store(m->engine, bucket, &s));
    return store_get(s, bucket, key, a, out);
}

// NOLINTNEXTLINE(readability-function-size): store_list's own
err mesh_list(mesh *m,
              str bucket,
              str prefix,
              str after,
              size_t limit,
              bool reverse,
              arena *a,
              store_entry **out,
              size_t *count)
{
    store *s;
    TRY(m->engine->driver->store(m->engine, bucket, &s));
    return store_list(s, bucket, prefix, after, limit, reverse, a, out, count);
}

struct mesh_watch {
    chain link;
    mesh *node;
    uint64_t number; // grows along the list
    char *bucket, *prefix;
    size_t prefix_len;
    bool complete;     // the copy was given
    uint64_t revision; // and held all up to here
    uint64_t again_ms; // when a copy that failed is tried again; 0: it did not
    mesh_watched *on;
    void *data;
};

static mesh_watch *watch_after(mesh_engine *e, uint64_t number)
{
    for (chain *c = e->watches.next; c != &e->watches; c = c->next)
        if (((mesh_watch *)c)->number > number)
            return (mesh_watch *)c;
    return NULL;
}

static mesh_watch *watch_find(mesh_engine *e, uint64_t number)
{
    mesh_watch *w = watch_after(e, number - 1);
    return w != NULL && w->number == number ? w : NULL;
}

typedef struct copying {
    mesh_engine *engine;
    uint64_t number;
} copying;

static bool watch_on_entry(void *data, const store_entry *entry)
{
    copying *c = data;
    mesh_watch *w = watch_find(c->engine, c->number);
    if (w == NULL)
        return false;
    w->on(w->data, entry);
    return watch_find(c->engine, c->number) != NULL;
}

static void letter_copy(mesh_engine *e, letter *l)
{
    mesh_watch *w = watch_find(e, l->number);
    if (w == NULL)
        return;
    copying c = {e, l->number};
    uint64_t revision = 0;
    store *s;
    err copied = e->driver->store(e, str_of(w->bucket), &s);
    if (copied.code == OK)
        copied = store_each(s, str_of(w->bucket), (str){w->prefix, w->prefix_len}, watch_on_entry,
                            &c, &revision);
    w = watch_find(e, l->number);
    if (w == NULL)
        return;
    if (copied.code != OK) {
        w->again_ms = loop_now_ms(e->loop) + MESH_RETRY_MS; // all of it: a watch may repeat
        mesh_due(e, w->again_ms);
        return;
    }
    w->complete = true;
    w->revision = revision;
    w->on(w->data, NULL);
}

void watches_tick(mesh_engine *e, uint64_t now_ms)
{
    for (chain *c = e->watches.next; c != &e->watches; c = c->next) {
        mesh_watch *w = (mesh_watch *)c;
        if (w->again_ms == 0)
            continue;
        if (w->again_ms > now_ms) {
            mesh_due(e, w->again_ms);
            continue;
        }
        w->again_ms = 0;
        (void)mesh_letter(e, letter_copy, w->number);
    }
}

static void watch_free(mesh_watch *w)
{
    chain_remove(&w->link);
    free(w->bucket);
    free(w->prefix);
    free(w);
}

err mesh_watch_open(mesh_watch **out, mesh *m, str bucket, str prefix, mesh_watched *on, void *data)
{
    mesh_watch *w = fault_hits(FAULT_MEMORY) ? NULL : calloc(1, sizeof *w);
    if (w == NULL)
        return fail(ERR_MEMORY, 0, "watch");
    chain_init(&w->link);
    w->node = m;
    w->number = ++m->engine->numbers;
    w->bucket = strndup(bucket.at != NULL ? bucket.at : "", bucket.len);
    w->prefix = calloc(1, prefix.len + 1);
    w->prefix_len = prefix.len;
    w->on = on;
    w->data = data;
    if (w->bucket == NULL || w->prefix == NULL) {
        watch_free(w);
        return fail(ERR_MEMORY, 0, "watch");
    }
    if (prefix.len > 0)
        memcpy(w->prefix, prefix.at, prefix.len);
    chain_add(&m->engine->watches, &w->link);
    (void)mesh_letter(m->engine, letter_copy, w->number);
    *out = w;
    return ok();
}

void mesh_watch_close(mesh_watch *w)
{
    if (w != NULL)
        watch_free(w);
}

void watches_leave(mesh *m)
{
    chain *head = &m->engine->watches;
    for (chain *c = head->next, *next; c != head; c = next) {
        next = c->next;
        if (((mesh_watch *)c)->node == m)
            watch_free((mesh_watch *)c);
    }
}

static bool watch_wants(const mesh_watch *w, const store_change *c, uint64_t revision)
{
    return w->complete && revision > w->revision && str_is(str_of(w->bucket), c->bucket) &&
           str_starts(c->key, (str){w->prefix, w->prefix_len}) &&
           (c->verb != STORE_ADD || c->expected == 1);
}

static void watch_change(mesh_engine *e, const store_change *c, uint64_t revision)
{
    store_entry entry = {c->bucket, c->key, c->value, revision};
    if (c->verb == STORE_DELETE)
        entry.value = (str){NULL, 0};
    else if (entry.value.at == NULL)
        entry.value.at = "";
    uint64_t last = 0;
    mesh_watch *w;
    while ((w = watch_after(e, last)) != NULL) {
        last = w->number;
        if (watch_wants(w, c, revision))
            w->on(w->data, &entry);
    }
}

void watches_on_commit(mesh_engine *e, const store_change *changes, size_t count, uint64_t revision)
{
    for (size_t i = 0; i < count; i++)
        watch_change(e, &changes[i], revision);
}
