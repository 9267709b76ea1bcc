// The guest's stdout and stderr, cut into lines and bounded per call.
#include "base/str.h"
#include "vm/vm_inner.h"

#include <string.h>

enum { RECORD_BYTES = 5 }; // before each line: stream, length

static void guest_output_end_line(output *o, int stream)
{
    buf *partial = &o->partial[stream - 1];
    uint32_t len = (uint32_t)partial->len;
    char *to = buf_reserve(&o->lines, RECORD_BYTES + len);
    if (to != NULL) { // a record is whole or not there
        to[0] = (char)stream;
        memcpy(to + 1, &len, sizeof len);
        if (len > 0)
            memcpy(to + RECORD_BYTES, partial->at, len);
        buf_commit(&o->lines, RECORD_BYTES + len);
    }
    buf_clear(partial);
}

void guest_output_write(output *o, int stream, str bytes)
{
    if (o->bytes + bytes.len > VM_OUTPUT_BYTES_MAX) {
        bytes.len = VM_OUTPUT_BYTES_MAX - o->bytes;
        o->cut = true;
    }
    o->bytes += (uint32_t)bytes.len;
    buf *partial = &o->partial[stream - 1];
    while (bytes.len > 0) {
        size_t end = str_find_byte(bytes, '\n');
        size_t room = VM_LINE_BYTES_MAX - partial->len;
        if (end == bytes.len && end <= room) {
            buf_add(partial, bytes);
            return;
        }
        bool whole = end <= room;
        size_t len = whole ? end : room;
        buf_add(partial, str_first(bytes, len));
        guest_output_end_line(o, stream);
        bytes = str_from(bytes, whole ? len + 1 : len);
    }
}

void guest_output_flush(output *o)
{
    for (int stream = 1; stream <= 2; stream++)
        if (o->partial[stream - 1].len > 0)
            guest_output_end_line(o, stream);
    if (o->cut) {
        o->cut = false;
        buf_add(&o->partial[1], STR("[output ends here: 64 KiB are kept of one call]"));
        guest_output_end_line(o, 2);
    }
}

void guest_output_clear(output *o)
{
    buf_reuse(&o->lines);
    buf_clear(&o->partial[0]);
    buf_clear(&o->partial[1]);
    o->bytes = 0;
    o->cut = false;
}

void guest_output_close(output *o)
{
    buf_close(&o->lines);
    buf_close(&o->partial[0]);
    buf_close(&o->partial[1]);
}

void guest_output_deliver(vm_call *c)
{
    buf *lines = &c->output.lines;
    const char *at = lines->at;
    const char *end = at + lines->len;
    while (at < end && c->owner->on_output != NULL) {
        uint32_t len;
        memcpy(&len, at + 1, sizeof len);
        c->owner->on_output(c, at[0], (str){at + RECORD_BYTES, len});
        at += RECORD_BYTES + len;
    }
    buf_clear(lines);
}
