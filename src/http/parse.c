// Strict parsing of HTTP/1.1 heads (RFC 9112): what two servers could read differently is refused.
#include "http/parse.h"

#include "base/str.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif
#include <string.h>

enum { BYTE_TOKEN = 1, BYTE_TARGET = 2, BYTE_HOST = 4 };

// RFC 9110 5.6.2 token; visible ASCII without "#<> for targets (browsers send | ^ { } as they are);
// host names of letters, digits, '-', '.', '_'.
static const unsigned char byte_kinds[256] = {
    ['!'] = 3, ['$'] = 3, ['%'] = 3, ['&'] = 3,         ['\''] = 3,        ['*'] = 3,
    ['+'] = 3, ['^'] = 3, ['`'] = 3, ['|'] = 3,         ['~'] = 3,         ['#'] = 1,
    ['-'] = 7, ['.'] = 7, ['_'] = 7, ['0' ... '9'] = 7, ['A' ... 'Z'] = 7, ['a' ... 'z'] = 7,
    ['('] = 2, [')'] = 2, [','] = 2, ['/'] = 2,         [':'] = 2,         [';'] = 2,
    ['='] = 2, ['?'] = 2, ['@'] = 2, ['['] = 2,         ['\\'] = 2,        [']'] = 2,
    ['{'] = 2, ['}'] = 2,
};

static bool byte_is(char c, unsigned kind)
{
    return (byte_kinds[(unsigned char)c] & kind) != 0;
}

static http_refusal refuse(unsigned status, const char *what)
{
    return (http_refusal){status, what};
}

bool http_is_token(str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!byte_is(s.at[i], BYTE_TOKEN))
            return false;
    return s.len > 0;
}

// The first control byte that is not a tab, or `end`.
static const char *control_find(const char *p, const char *end)
{
#ifdef __SSE2__
    const __m128i flip = _mm_set1_epi8((char)0x80), low = _mm_set1_epi8((char)(0x20 ^ 0x80));
    const __m128i tab = _mm_set1_epi8('\t'), del = _mm_set1_epi8(0x7f);
    for (; end - p >= 16; p += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
        __m128i control = _mm_cmplt_epi8(_mm_xor_si128(v, flip), low);
        control = _mm_andnot_si128(_mm_cmpeq_epi8(v, tab), control);
        control = _mm_or_si128(control, _mm_cmpeq_epi8(v, del));
        int mask = _mm_movemask_epi8(control);
        if (mask != 0)
            return p + __builtin_ctz((unsigned)mask);
    }
#endif
    for (; p < end; p++) {
        unsigned char c = (unsigned char)*p;
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return p;
    }
    return end;
}

bool http_is_value(str s)
{
    return s.len == 0 || control_find(s.at, s.at + s.len) == s.at + s.len;
}

http_scan_result http_scan_head(http_scan *scan, str bytes, size_t *length)
{
    while (scan->seen < bytes.len) {
        const char *found = memchr(bytes.at + scan->seen, '\n', bytes.len - scan->seen);
        if (found == NULL) {
            scan->seen = bytes.len;
            return HTTP_SCAN_MORE;
        }
        size_t i = (size_t)(found - bytes.at);
        scan->seen = i + 1;
        if (i == 0 || bytes.at[i - 1] != '\r')
            return HTTP_SCAN_BAD;
        if (i - 1 > scan->line_start) {
            scan->lines++;
        } else if (scan->lines > 0) {
            *length = i + 1;
            return HTTP_SCAN_WHOLE;
        } else if (scan->start == 0) {
            scan->start = 2;
        } else {
            return HTTP_SCAN_BAD;
        }
        scan->line_start = i + 1;
    }
    return HTTP_SCAN_MORE;
}

struct fields {
    http_header host;
    str transfer_coding, content_length, expect;
    unsigned hosts, transfer_codings, content_lengths;
    bool close, keep_alive, upgrade;
};

static void connection_read(struct fields *f, str value)
{
    for (str rest = value; rest.at != NULL;) {
        str option = str_trim(str_cut(&rest, ','));
        f->close |= str_is_nocase(option, STR("close"));
        f->keep_alive |= str_is_nocase(option, STR("keep-alive"));
        f->upgrade |= str_is_nocase(option, STR("upgrade"));
    }
}

static bool name_is(str name, const char *lower)
{
    for (size_t i = 0; i < name.len; i++)
        if ((name.at[i] | 0x20) != lower[i])
            return false;
    return true;
}

static void field_note(struct fields *f, const http_header *h)
{
    switch (h->name.len) {
    case 4:
        if (name_is(h->name, "host")) {
            f->host = *h;
            f->hosts++;
        }
        return;
    case 6:
        if (name_is(h->name, "expect"))
            f->expect = h->value;
        return;
    case 10:
        if (name_is(h->name, "connection"))
            connection_read(f, h->value);
        return;
    case 14:
        if (str_is_nocase(h->name, STR("content-length"))) {
            f->content_length = h->value;
            f->content_lengths++;
        }
        return;
    case 17:
        if (str_is_nocase(h->name, STR("transfer-encoding"))) {
            f->transfer_coding = h->value;
            f->transfer_codings++;
        }
        return;
    default:
        return;
    }
}

// Reads the header lines of [p, end), where `end` is behind the empty line.
static http_refusal fields_read(
    const char *p, const char *end, const http_head_room *room, http_headers *out, struct fields *f)
{
    size_t count = 0;
    while (end - p > 2) {
        const char *name = p;
        while (byte_is(*p, BYTE_TOKEN)) // the CR of the line's end is none
            p++;
        if (p == name)
            return refuse(400, *p == ' ' || *p == '\t' ? "folded header" : "bad header name");
        if (*p != ':')
            return refuse(400, *p == ' ' || *p == '\t' ? "blank before colon" : "bad header name");
        size_t name_length = (size_t)(p - name);
        p++;
        while (*p == ' ' || *p == '\t')
            p++;
        const char *value = p;
        p = control_find(p, end);
        if (end - p < 2 || p[0] != '\r' || p[1] != '\n')
            return refuse(400, "control byte in header");
        const char *value_end = p;
        while (value_end > value && (value_end[-1] == ' ' || value_end[-1] == '\t'))
            value_end--;
        p += 2;
        if (count == room->header_count_max || count == room->count)
            return refuse(431, "too many headers");
        http_header *h = &room->at[count++];
        *h = (http_header){{name, name_length}, {value, (size_t)(value_end - value)}};
        field_note(f, h);
    }
    *out = (http_headers){room->at, count};
    return refuse(0, NULL);
}

// RFC 9112 6.1, 6.3. Whatever could be framed in two ways is refused, equal duplicates included.
static http_refusal framing_read(const struct fields *f, http_head *out)
{
    if (f->transfer_codings > 0) {
        if (f->content_lengths > 0)
            return refuse(400, "both Transfer-Encoding and Content-Length");
        if (out->request.minor_zero)
            return refuse(400, "Transfer-Encoding in HTTP/1.0");
        if (f->transfer_codings > 1)
            return refuse(400, "more than one Transfer-Encoding");
        if (!str_is_nocase(f->transfer_coding, STR("chunked")))
            return refuse(501, "transfer coding is not chunked alone");
        out->chunked = true;
        out->request.content_length = UINT64_MAX;
        out->request.has_body = true;
    } else if (f->content_lengths > 0) {
        if (f->content_lengths > 1)
            return refuse(400, "more than one Content-Length");
        if (str_number(f->content_length, &out->request.content_length).code != OK ||
            out->request.content_length == UINT64_MAX)
            return refuse(400, "bad Content-Length");
        out->has_length = true;
        out->request.has_body = out->request.content_length > 0;
    }
    out->keep_alive = !f->close && (!out->request.minor_zero || f->keep_alive);
    out->upgrades = f->upgrade;
    return refuse(0, NULL);
}

// "name", "name:80", "[::1]:80", lower-cased into `out`.
static http_refusal host_read(str text, http_head *out)
{
    str name, port;
    if (text.len > 0 && text.at[0] == '[') {
        size_t close = str_find_byte(text, ']');
        if (close < 3 || close == text.len)
            return refuse(400, "bad host");
        for (size_t i = 1; i < close; i++)
            if (!(byte_is(text.at[i], BYTE_HOST) || text.at[i] == ':'))
                return refuse(400, "bad host");
        name = str_first(text, close + 1);
        port = str_from(text, close + 1);
    } else {
        size_t colon = str_find_byte(text, ':');
        name = str_first(text, colon);
        port = str_from(text, colon);
        for (size_t i = 0; i < name.len; i++)
            if (!byte_is(name.at[i], BYTE_HOST))
                return refuse(400, "bad host");
    }
    if (port.len > 0) {
        uint64_t number = 0;
        if (port.at[0] != ':' ||
            (port.len > 1 && str_number(str_from(port, 1), &number).code != OK) || number > 65535)
            return refuse(400, "bad port");
    }
    if (name.len > 1 && name.at[name.len - 1] == '.')
        name.len--; // the root's dot names the same host
    if (name.len == 0 || name.len > HTTP_HOST_MAX || (name.len == 1 && name.at[0] == '.'))
        return refuse(400, "bad host");
    for (size_t i = 0; i < name.len; i++) {
        char c = name.at[i];
        out->host_text[i] = (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
    }
    out->host_text[name.len] = 0;
    out->request.host = (str){out->host_text, name.len};
    return refuse(0, NULL);
}

// RFC 9112 3.2: origin, absolute (its authority overrides Host) or asterisk form.
static http_refusal target_read(http_head *out, str *authority)
{
    http_request *r = &out->request;
    str t = r->target;
    *authority = (str){NULL, 0};
    if (t.at[0] == '*') {
        if (t.len != 1 || !str_is(r->method, STR("OPTIONS")))
            return refuse(400, "bad target");
        r->path = t;
        return refuse(0, NULL);
    }
    if (t.at[0] != '/') {
        size_t scheme = str_is_nocase(str_first(t, 7), STR("http://"))    ? 7
                        : str_is_nocase(str_first(t, 8), STR("https://")) ? 8
                                                                          : 0;
        if (scheme == 0)
            return refuse(400, "bad target");
        t = str_from(t, scheme);
        size_t end = 0;
        while (end < t.len && t.at[end] != '/' && t.at[end] != '?')
            end++;
        *authority = str_first(t, end);
        t = str_from(t, end);
        if (authority->len == 0)
            return refuse(400, "bad target");
    }
    size_t question = str_find_byte(t, '?');
    r->path = question == 0 ? STR("/") : str_first(t, question);
    if (question < t.len)
        r->query = (str){t.at + question + 1, t.len - question - 1};
    return refuse(0, NULL);
}

static http_refusal version_read(str line, http_head *out)
{
    if (line.len != 8 || memcmp(line.at, "HTTP/", 5) != 0 || line.at[6] != '.' ||
        line.at[5] < '0' || line.at[5] > '9' || line.at[7] < '0' || line.at[7] > '9')
        return refuse(400, "bad HTTP version");
    if (line.at[5] != '1' || line.at[7] > '1')
        return refuse(505, "HTTP version not supported");
    out->request.minor_zero = line.at[7] == '0';
    return refuse(0, NULL);
}

// method SP target SP version CRLF, with exactly these blanks. *p moves behind the line.
static http_refusal request_line_read(const char **p, size_t target_bytes_max, http_head *out)
{
    const char *at = *p;
    while ((*at >= 'A' && *at <= 'Z') || *at == '-' || *at == '_')
        at++;
    out->request.method = (str){*p, (size_t)(at - *p)};
    if (out->request.method.len == 0 || *at != ' ')
        return refuse(400, "bad method");
    if (out->request.method.len > HTTP_METHOD_MAX || str_is(out->request.method, STR("CONNECT")))
        return refuse(501, "method not implemented");
    const char *target = ++at;
    while (byte_is(*at, BYTE_TARGET))
        at++;
    out->request.target = (str){target, (size_t)(at - target)};
    if (out->request.target.len > target_bytes_max)
        return refuse(414, "target too long");
    if (at == target || *at != ' ')
        return refuse(400, "bad target");
    const char *version = ++at;
    while (*at != '\r' && *at != '\n')
        at++;
    if (at[0] != '\r' || at[1] != '\n')
        return refuse(400, "bare line end");
    *p = at + 2;
    return version_read((str){version, (size_t)(at - version)}, out);
}

#define PASS(call)                         \
    do {                                   \
        http_refusal pass_result = (call); \
        if (pass_result.status != 0)       \
            return pass_result;            \
    } while (0)

// Fields one by one: clearing host_text on each request would cost more than parsing it.
static void head_clear(http_head *out)
{
    memset(&out->request, 0, sizeof(out->request));
    out->status = 0;
    out->keep_alive = out->chunked = out->has_length = out->expects_continue = false;
    out->upgrades = false;
}

http_refusal http_parse_request(str head, const http_head_room *room, http_head *out)
{
    head_clear(out);
    if (head.len < 4 || memcmp(head.at + head.len - 4, "\r\n\r\n", 4) != 0)
        return refuse(400, "incomplete head");
    const char *p = head.at;
    str authority;
    struct fields f = {.hosts = 0};
    PASS(request_line_read(&p, room->target_bytes_max, out));
    PASS(target_read(out, &authority));
    PASS(fields_read(p, head.at + head.len, room, &out->request.headers, &f));
    if (f.hosts > 1)
        return refuse(400, "more than one Host");
    if (f.hosts == 0 && !out->request.minor_zero)
        return refuse(400, "no Host");
    if (f.hosts == 1) {
        out->request.host_port = f.host.value;
        PASS(host_read(f.host.value, out));
    }
    if (authority.len > 0) {
        out->request.host_port = authority;
        PASS(host_read(authority, out));
    }
    PASS(framing_read(&f, out));
    if (f.expect.at != NULL && !out->request.minor_zero) {
        if (!str_is_nocase(f.expect, STR("100-continue")))
            return refuse(417, "expectation not known");
        out->expects_continue = out->request.has_body;
    }
    return refuse(0, NULL);
}

http_refusal http_parse_answer(str head, const http_head_room *room, http_head *out)
{
    head_clear(out);
    // "HTTP/1.1 200 " and the reason, which may be empty; some servers leave out the last blank.
    const char *p = head.at;
    if (head.len < 16 || memcmp(head.at + head.len - 4, "\r\n\r\n", 4) != 0)
        return refuse(400, "incomplete head");
    PASS(version_read((str){p, 8}, out));
    if (p[8] != ' ' || p[9] < '1' || p[9] > '9' || p[10] < '0' || p[10] > '9' || p[11] < '0' ||
        p[11] > '9' || (p[12] != ' ' && p[12] != '\r'))
        return refuse(400, "bad status line");
    out->status = (unsigned)((p[9] - '0') * 100 + (p[10] - '0') * 10 + (p[11] - '0'));
    p = control_find(p + 12, head.at + head.len);
    if (p[0] != '\r' || p[1] != '\n')
        return refuse(400, "bad status line");
    struct fields f = {.hosts = 0};
    PASS(fields_read(p + 2, head.at + head.len, room, &out->request.headers, &f));
    return framing_read(&f, out);
}
