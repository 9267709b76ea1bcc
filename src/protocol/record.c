// What protocols share: records kept as JSON, commits that answer a request when they are durable.
#include "protocol/record.h"

enum { RECORD_BYTES_MAX = 256 * 1024 };

str record_write(arena *a, const message_shape *shape, const void *fields)
{
    OWNED(buf_close) buf out;
    buf_open(&out, RECORD_BYTES_MAX);
    json_writer w = {.out = &out};
    message_json_write(&w, NULL, shape, fields);
    if (out.error.code != OK)
        return (str){NULL, 0};
    char *copy = arena_take(a, out.len);
    if (copy == NULL)
        return (str){NULL, 0};
    __builtin_memcpy(copy, out.at, out.len);
    return (str){copy, out.len};
}

err record_read(arena *a, str text, const message_shape *shape, void *fields)
{
    const json *value;
    TRY(json_read(a, text, &value, NULL));
    return message_json_read(a, value, shape, fields);
}

err record_get(mesh *m,
               arena *a,
               str bucket,
               str key,
               const message_shape *shape,
               void *fields,
               uint64_t *revision)
{
    store_entry entry;
    TRY(mesh_get(m, bucket, key, a, &entry));
    if (revision != NULL)
        *revision = entry.revision;
    return record_read(a, entry.value, shape, fields);
}

struct record_pending {
    mesh_incoming *in;
    const void *reply;
};

static void record_on_commit(void *data, err e, uint64_t revision)
{
    (void)revision;
    struct record_pending *p = data;
    if (e.code != OK)
        mesh_answer_err(p->in, e);
    else
        mesh_answer(p->in, p->reply);
}

void record_commit(
    mesh *m, mesh_incoming *in, const store_change *changes, size_t count, const void *reply)
{
    struct record_pending *p = arena_take(mesh_incoming_arena(in), sizeof(*p));
    bool whole = p != NULL;
    for (size_t i = 0; i < count; i++)
        if (changes[i].verb == STORE_PUT && changes[i].value.at == NULL)
            whole = false;
    if (!whole) {
        mesh_answer_err(in, fail(ERR_MEMORY, 0, "record does not fit"));
        return;
    }
    *p = (struct record_pending){in, reply};
    mesh_commit(m, changes, count, record_on_commit, p);
}
