// Entries of a log, written and read: little-endian, lengths before bytes, nothing after the end.
#include "mesh/nats_entry.h"

#include "base/str.h"

#include <string.h>

enum { ENTRY_VERSION = 1 };

static void text_write(buf *out, str s)
{
    buf_add_u32(out, (uint32_t)s.len);
    buf_add(out, s);
}

void entry_commit_write(buf *out, const store_change *changes, size_t count)
{
    buf_add_u32(out, (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        const store_change *c = &changes[i];
        buf_add_byte(out, (char)c->verb);
        buf_add_u64(out, c->expected);
        text_write(out, c->bucket);
        text_write(out, c->key);
        if (c->verb != STORE_DELETE)
            text_write(out, c->value);
    }
}

void entry_head_write(buf *out, const log_entry *head)
{
    buf_add_byte(out, ENTRY_VERSION);
    buf_add(out, (str){head->writer, WRITER_BYTES});
    buf_add_u64(out, head->number);
    buf_add_u64(out, head->after);
    buf_add_u32(out, (uint32_t)head->count);
}

// ---- reading: what is left shrinks; once too short it stays so
typedef struct entry_reader {
    str left;
    bool bad;
} entry_reader;

static str bytes_read(entry_reader *r, size_t len)
{
    if (r->bad || r->left.len < len) {
        r->bad = true;
        return (str){"", 0};
    }
    str taken = str_first(r->left, len);
    r->left = str_from(r->left, len);
    return taken;
}

static uint64_t number_read(entry_reader *r, size_t bytes)
{
    str s = bytes_read(r, bytes);
    return little_endian(s.at, s.len);
}

static str text_read(entry_reader *r, size_t bytes_max)
{
    size_t len = (size_t)number_read(r, 4);
    if (len > bytes_max)
        r->bad = true;
    return bytes_read(r, len);
}

static void change_read(entry_reader *r, store_change *out)
{
    uint64_t verb = number_read(r, 1);
    if (verb > STORE_ADD)
        r->bad = true;
    *out = (store_change){.verb = (store_verb)verb, .expected = number_read(r, 8)};
    out->bucket = text_read(r, STORE_KEY_BYTES_MAX);
    out->key = text_read(r, STORE_KEY_BYTES_MAX);
    if (verb != STORE_DELETE)
        out->value = text_read(r, STORE_VALUE_BYTES_MAX);
}

static err commit_read(arena *a, entry_reader *r, entry_commit *out)
{
    out->count = (size_t)number_read(r, 4);
    // Each change takes at least 17 bytes: a great count with few bytes allocates nothing.
    if (r->bad || out->count > ENTRY_CHANGES_MAX || out->count > r->left.len / 17 + 1)
        return fail(ERR_SYNTAX, 0, "malformed entry of a log");
    out->changes = arena_take(a, (out->count + 1) * sizeof *out->changes);
    if (out->changes == NULL)
        return fail(ERR_MEMORY, 0, "entry of a log");
    for (size_t i = 0; i < out->count && !r->bad; i++)
        change_read(r, &out->changes[i]);
    return r->bad ? fail(ERR_SYNTAX, 0, "malformed entry of a log") : ok();
}

err entry_read(arena *a, str bytes, log_entry *out)
{
    entry_reader r = {bytes, false};
    *out = (log_entry){0};
    uint64_t version = number_read(&r, 1);
    str writer = bytes_read(&r, WRITER_BYTES);
    out->number = number_read(&r, 8);
    out->after = number_read(&r, 8);
    out->count = (size_t)number_read(&r, 4);
    if (r.bad || version != ENTRY_VERSION || out->number == 0)
        return fail(ERR_SYNTAX, 0, "malformed entry of a log");
    if (out->count > ENTRY_COMMITS_MAX)
        return fail(ERR_LIMIT, 0, "too many commits in an entry of a log");
    memcpy(out->writer, writer.at, WRITER_BYTES);
    out->commits = arena_take(a, (out->count + 1) * sizeof *out->commits);
    if (out->commits == NULL)
        return fail(ERR_MEMORY, 0, "entry of a log");
    for (size_t i = 0; i < out->count; i++)
        TRY(commit_read(a, &r, &out->commits[i]));
    return r.left.len > 0 ? fail(ERR_SYNTAX, 0, "bytes behind an entry of a log") : ok();
}
