// Fuzz target: any bytes as what a NATS server says; how they are cut must make no difference.
#include "mesh/nats_line.h"

#include "base/str.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PAYLOAD_BYTES_MAX = 1 << 16 };

static void event_write(buf *out, const nats_event *e)
{
    if (e->kind == NATS_NOTHING)
        abort(); // used up nothing, and wants no more
    buf_add_format(out, "%d %u %llu", (int)e->kind, e->status, (unsigned long long)e->subscription);
    const str texts[] = {e->text, e->subject, e->reply, e->headers, e->payload};
    for (size_t i = 0; i < COUNT(texts); i++) {
        buf_add_u64(out, texts[i].len);
        buf_add(out, texts[i]);
    }
    if (e->kind == NATS_MESSAGE &&
        (!nats_subject_is(e->subject, false) || !nats_subject_match(STR(">"), e->subject) ||
         !nats_subject_match(e->subject, e->subject)))
        abort();
}

// In pieces of `step` bytes, each in memory of its own: the sanitizer sees a byte too far.
static void bytes_read(buf *out, const uint8_t *data, size_t size, size_t step)
{
    nats_line l;
    err e = ok();
    nats_line_open(&l, PAYLOAD_BYTES_MAX);
    for (size_t at = 0; e.code == OK && at < size; at += step) {
        size_t len = size - at < step ? size - at : step;
        char *copy = malloc(len);
        memcpy(copy, data + at, len);
        str bytes = {copy, len};
        while (e.code == OK && bytes.len > 0) {
            nats_event event;
            e = nats_line_next(&l, &bytes, &event);
            if (e.code == OK && (event.kind != NATS_NOTHING || bytes.len > 0))
                event_write(out, &event);
        }
        free(copy);
    }
    buf_add_format(out, "%d %s", (int)e.code, e.what == NULL ? "" : e.what);
    nats_line_close(&l);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const size_t steps[] = {1, 2, 3, 7, 64, 4096};
    OWNED(buf_close) buf whole, cut;
    buf_open(&whole, 64 << 20);
    buf_open(&cut, 64 << 20);
    bytes_read(&whole, data, size, size > 0 ? size : 1);
    for (size_t i = 0; i < COUNT(steps); i++) {
        buf_clear(&cut);
        bytes_read(&cut, data, size, steps[i]);
        if (whole.error.code == OK && cut.error.code == OK &&
            (whole.len != cut.len || (cut.len > 0 && memcmp(whole.at, cut.at, cut.len) != 0)))
            abort();
    }
    return 0;
}
