// Fuzz target: any bytes as an entry of a log, as positions before a message, as a request's
// subject.
#include "mesh/nats_entry.h"

#include "base/str.h"
#include "mesh/nats_wire.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ENTRY_ARENA_BYTES = 16 << 20, ENTRY_BYTES = 8 << 20 };

// What was read is written as the very same bytes.
static void entry_try(str bytes)
{
    OWNED(arena_drop) arena *a = NULL;
    OWNED(buf_close) buf out;
    log_entry entry;
    buf_open(&out, ENTRY_BYTES);
    if (arena_open(&a, ENTRY_ARENA_BYTES).code != OK || entry_read(a, bytes, &entry).code != OK)
        return;
    entry_head_write(&out, &entry);
    for (size_t i = 0; i < entry.count; i++)
        entry_commit_write(&out, entry.commits[i].changes, entry.commits[i].count);
    if (out.error.code != OK || out.len != bytes.len || memcmp(out.at, bytes.at, bytes.len) != 0)
        abort();
}

static void positions_try(str bytes)
{
    positions one, two;
    char text[POSITIONS_BYTES_MAX];
    str rest = bytes;
    if (!positions_read(&rest, &one))
        return;
    if (rest.len > bytes.len || rest.at + rest.len != bytes.at + bytes.len)
        abort();
    str written = positions_write(&one, text);
    if (written.len > sizeof text || !positions_read(&written, &two) || written.len != 0)
        abort();
    for (size_t i = 0; i < SHARDS_MAX; i++)
        if (one.at[i] != two.at[i] || (one.at[i] != 0 && one.own[i] != two.own[i]))
            abort();
}

// Subject and reply subject, a space between.
static void request_try(str bytes)
{
    size_t kind;
    str from, reply = bytes, subject = str_cut(&reply, ' ');
    if (!request_read(subject, reply, &kind, &from))
        return;
    str inbox = reply;
    (void)str_cut(&inbox, '.');
    if (!str_is(str_cut(&inbox, '.'), from) || !str_ends(subject, from) || from.len == 0)
        abort(); // an answer would go to somebody else
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy = malloc(size + 1); // the sanitizer sees a byte too far
    memcpy(copy, data, size);
    copy = realloc(copy, size > 0 ? size : 1);
    str bytes = {copy, size};
    entry_try(bytes);
    positions_try(bytes);
    request_try(bytes);
    free(copy);
    return 0;
}
