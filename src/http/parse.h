// Strict parsing of HTTP/1.1 heads: pure functions over bytes, no connection and no clock.
#pragma once
#include "http/http.h"

enum { HTTP_HOST_MAX = 255, HTTP_METHOD_MAX = 32 };

// Looks for the end of a head, a little more each time bytes are added; zeroed to start.
typedef struct http_scan {
    size_t seen;       // bytes looked at
    size_t line_start; // where the line under way began
    size_t lines;      // finished lines that are not empty
    size_t start;      // 2 when one empty line stood before the head (RFC 9112 2.2), else 0
} http_scan;
typedef enum { HTTP_SCAN_MORE, HTTP_SCAN_WHOLE, HTTP_SCAN_BAD } http_scan_result;
// `bytes` is everything from the head's first byte on. WHOLE: the head is bytes[scan->start,
// *length).
http_scan_result http_scan_head(http_scan *scan, str bytes, size_t *length);

// Why a head is refused; status 0 means that it is fine. `what` is static text for the peer.
typedef struct http_refusal {
    unsigned status;
    const char *what;
} http_refusal;
typedef struct http_head {
    http_request request; // for requests; `headers` alone for answers
    unsigned status;      // for answers
    bool keep_alive;
    bool chunked;
    bool has_length;
    bool expects_continue;
    bool upgrades; // a Connection header names "upgrade"
    char host_text[HTTP_HOST_MAX + 1];
} http_head;
typedef struct http_head_room {
    http_header *at; // at least one per line of the head
    size_t count;
    size_t header_count_max; // 431
    size_t target_bytes_max; // 414
} http_head_room;
// `head` runs from the first byte of the start line to the end of the empty line. All slices of
// `out` point into `head`, into `room` or into `out` itself, which therefore must not be moved.
http_refusal http_parse_request(str head, const http_head_room *room, http_head *out);
// An answer's head. Framing that depends on the request (HEAD) is the caller's.
http_refusal http_parse_answer(str head, const http_head_room *room, http_head *out);

// RFC 9110 5.6.2; and a field value without CR, LF, NUL or other controls but tab.
bool http_is_token(str s);
bool http_is_value(str s);
