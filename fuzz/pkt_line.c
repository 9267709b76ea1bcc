// Fuzz target: any bytes as a push's head, and as what receive-pack answers.
#include "repo/pkt_line.h"

#include "base/str.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *fuzz_why(void *data, str ref)
{
    (void)data;
    return ref.len % 2 == 0 ? "no" : NULL;
}

static void fuzz_head(arena *a, str bytes)
{
    push_head h, again;
    const char *why = NULL;
    push_head_result result = push_head_read(a, bytes, &h, &why);
    if (result == PUSH_HEAD_BAD && why == NULL)
        abort();
    if (result != PUSH_HEAD_WHOLE)
        return;
    for (size_t i = 0; i < h.count; i++)
        if (h.commands[i].before.len != 40 || h.commands[i].after.len != 40 ||
            h.commands[i].ref.len == 0)
            abort();
    if (h.deployment.len > 0 && (h.deployment_size < 1 || h.deployment_size > 16))
        abort();
    OWNED(buf_close) buf longer;
    buf_open(&longer, 4 << 20);
    buf_add(&longer, bytes);
    buf_add(&longer, STR("0000PACK"));
    if (longer.error.code == OK &&
        (push_head_read(a, buf_str(&longer), &again, &why) != PUSH_HEAD_WHOLE ||
         again.count != h.count))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    OWNED(arena_drop) arena *a = NULL;
    if (arena_open(&a, 16 << 20).code != OK)
        return 0;
    str bytes = {(const char *)data, size};
    fuzz_head(a, bytes);
    OWNED(buf_close) buf shown, report = {0}, out = {0};
    buf_open(&shown, 1 << 20);
    buf_open(&report, 1 << 20);
    buf_open(&out, 4 << 20);
    (void)push_answer_split(bytes, true, &shown, &report);
    push_report_rewrite(buf_str(&report), fuzz_why, NULL, &out);
    push_report_rewrite(bytes, fuzz_why, NULL, &out);
    return 0;
}
