// Fuzz target: any bytes as a message; what is read must be written and read back the same.
#include "api/api.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void shape_try(arena *a, str bytes, const message_shape *shape)
{
    if (shape == NULL)
        return;
    message_header h, again;
    void *fields = arena_take(a, shape->bytes), *second = arena_take(a, shape->bytes);
    if (fields == NULL || second == NULL || message_read(a, bytes, &h, shape, fields).code != OK)
        return;
    OWNED(buf_close) buf one, two = {0};
    buf_open(&one, 2 * MESSAGE_BYTES_MAX);
    buf_open(&two, 2 * MESSAGE_BYTES_MAX);
    message_write(&one, &h, shape, fields);
    // What was read as shorter than its shape grows when written, perhaps past the limit.
    if (one.error.code != OK)
        return;
    err e = message_read(a, buf_str(&one), &again, shape, second);
    if (e.code == ERR_MEMORY)
        return;
    if (e.code != OK)
        abort();
    message_write(&two, &again, shape, second);
    if (two.error.code != OK || one.len != two.len || memcmp(one.at, two.at, one.len) != 0)
        abort();
    json_writer w = {.out = &two};
    buf_clear(&two);
    message_json_write(&w, NULL, shape, fields);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    OWNED(arena_drop) arena *a = NULL;
    if (arena_open(&a, 16 << 20).code != OK)
        return 0;
    str bytes = {(const char *)data, size};
    message_header h;
    err e;
    if (message_read_error(a, bytes, &e).code == OK && e.code != OK)
        return 0;
    if (message_read_header(bytes, &h).code != OK)
        return 0;
    shape_try(a, bytes, message_infos[h.kind].request);
    shape_try(a, bytes, message_infos[h.kind].reply);
    return 0;
}
