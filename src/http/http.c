// Tables of HTTP: reasons, statuses of our errors, and look-ups in header lists.
#include "http/http.h"

#include "base/str.h"

str http_header_find(const http_headers *h, str name)
{
    for (size_t i = 0; i < h->count; i++)
        if (h->at[i].name.len == name.len && str_is_nocase(h->at[i].name, name))
            return h->at[i].value;
    return (str){NULL, 0};
}

const char *http_reason(unsigned status)
{
    static const char *const reasons[] = {
        [100] = "Continue",
        [101] = "Switching Protocols",
        [103] = "Early Hints",
        [200] = "OK",
        [201] = "Created",
        [202] = "Accepted",
        [203] = "Non-Authoritative Information",
        [204] = "No Content",
        [205] = "Reset Content",
        [206] = "Partial Content",
        [207] = "Multi-Status",
        [300] = "Multiple Choices",
        [301] = "Moved Permanently",
        [302] = "Found",
        [303] = "See Other",
        [304] = "Not Modified",
        [307] = "Temporary Redirect",
        [308] = "Permanent Redirect",
        [400] = "Bad Request",
        [401] = "Unauthorized",
        [402] = "Payment Required",
        [403] = "Forbidden",
        [404] = "Not Found",
        [405] = "Method Not Allowed",
        [406] = "Not Acceptable",
        [407] = "Proxy Authentication Required",
        [408] = "Request Timeout",
        [409] = "Conflict",
        [410] = "Gone",
        [411] = "Length Required",
        [412] = "Precondition Failed",
        [413] = "Content Too Large",
        [414] = "URI Too Long",
        [415] = "Unsupported Media Type",
        [416] = "Range Not Satisfiable",
        [417] = "Expectation Failed",
        [421] = "Misdirected Request",
        [422] = "Unprocessable Content",
        [425] = "Too Early",
        [426] = "Upgrade Required",
        [428] = "Precondition Required",
        [429] = "Too Many Requests",
        [431] = "Request Header Fields Too Large",
        [500] = "Internal Server Error",
        [501] = "Not Implemented",
        [502] = "Bad Gateway",
        [503] = "Service Unavailable",
        [504] = "Gateway Timeout",
        [505] = "HTTP Version Not Supported",
        [507] = "Insufficient Storage",
        [508] = "Loop Detected",
    };
    const char *reason = status < COUNT(reasons) ? reasons[status] : NULL;
    return reason == NULL ? "Unknown" : reason;
}

unsigned http_status_of(err_code code)
{
    static const unsigned short statuses[] = {
        [OK] = 200,
        [ERR_MEMORY] = 500,
        [ERR_LIMIT] = 413,
        [ERR_SYNTAX] = 400,
        [ERR_ABSENT] = 404,
        [ERR_DENIED] = 403,
        [ERR_SYSTEM] = 500,
        [ERR_CONFLICT] = 409,
        [ERR_TIMEOUT] = 504,
        [ERR_BUSY] = 503,
        [ERR_FULL] = 507,
        [ERR_CLOSED] = 500,
        [ERR_UNSUPPORTED] = 501,
    };
    return (size_t)code < COUNT(statuses) ? statuses[code] : 500;
}
