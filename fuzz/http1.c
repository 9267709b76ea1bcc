// Any split of the same bytes gives the same heads, bodies and refusals; nothing is read past its
// end.
#include "base/str.h"
#include "http/chunked.h"
#include "http/parse.h"

#include <stdlib.h>
#include <string.h>

enum { HEADERS_MAX = 64 };
typedef struct reading {
    http_scan_result scan;
    size_t head_len;
    http_refusal refusal;
    http_chunk_result chunks;
    size_t body_len, body_end;
    uint64_t body_sum;
} reading;

// Feeds `bytes` in steps of `step` (0: at once), as a connection would get them.
static void head_read(str bytes, size_t step, reading *r)
{
    http_scan scan = {.seen = 0};
    r->scan = HTTP_SCAN_MORE;
    for (size_t end = 0; end < bytes.len && r->scan == HTTP_SCAN_MORE;) {
        end = step == 0 || bytes.len - end < step ? bytes.len : end + step;
        r->scan = http_scan_head(&scan, str_first(bytes, end), &r->head_len);
    }
    if (r->scan != HTTP_SCAN_WHOLE)
        return;
    // Exactly as long as it is: the sanitizer sees a byte too far.
    size_t len = r->head_len - scan.start;
    char *head = malloc(len);
    memcpy(head, bytes.at + scan.start, len);
    http_header headers[HEADERS_MAX];
    http_head_room room = {headers, HEADERS_MAX, HEADERS_MAX, 1024};
    http_head parsed;
    r->refusal = http_parse_request((str){head, len}, &room, &parsed);
    const http_request *q = &parsed.request;
    if (r->refusal.status == 0) {
        // What every later reader counts on.
        if (!http_is_token(q->method) || q->path.len == 0 ||
            (q->minor_zero ? 0 : q->host.len == 0) || (parsed.chunked && parsed.has_length))
            abort();
        for (size_t i = 0; i < q->headers.count; i++)
            if (!http_is_token(q->headers.at[i].name) || !http_is_value(q->headers.at[i].value))
                abort();
    }
    (void)http_parse_answer((str){head, len}, &room, &parsed);
    free(head);
}

static void body_read(str bytes, size_t step, reading *r)
{
    http_chunked d = {.state = 0};
    size_t whole = bytes.len;
    r->chunks = HTTP_CHUNK_MORE;
    while (bytes.len > 0 && r->chunks == HTTP_CHUNK_MORE) {
        str some = step == 0 ? bytes : str_first(bytes, step), piece = {NULL, 0};
        size_t before = some.len;
        while ((r->chunks = http_chunked_step(&d, &some, &piece)) == HTTP_CHUNK_PIECE) {
            if (piece.len == 0)
                abort();
            for (size_t i = 0; i < piece.len; i++)
                r->body_sum = r->body_sum * 31 + (unsigned char)piece.at[i];
            r->body_len += piece.len;
        }
        bytes = str_from(bytes, before - some.len);
    }
    r->body_end = whole - bytes.len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const size_t steps[] = {0, 1, 2, 3, 7, 16, 61};
    str bytes = {(const char *)data, size};
    reading first;
    for (size_t i = 0; i < COUNT(steps); i++) {
        reading r;
        memset(&r, 0, sizeof(r));
        head_read(bytes, steps[i], &r);
        body_read(r.scan == HTTP_SCAN_WHOLE ? str_from(bytes, r.head_len) : bytes, steps[i], &r);
        if (i == 0)
            first = r;
        else if (memcmp(&first, &r, sizeof(r)) != 0)
            abort();
    }
    return 0;
}
