// The guest interface for functions in C: events and HTTP events, with small helpers.
//
// A function is exported by TB_EXPORT and gets the event that called it; what it returns is only
// for its own logic. Memory is fresh in every call. Texts are a pointer and a length, without NUL.
//
//     #include <taubyte.h>
//
//     TB_EXPORT(hello)
//     uint32_t hello(tb_event event)
//     {
//         tb_http_header(event, "Content-Type", "text/plain");
//         return tb_http_print(event, "hello\n");
//     }
//
// Every import answers TB_OK or one of the numbers below, if its comment says nothing else.
#ifndef TAUBYTE_H
#define TAUBYTE_H

#include <stddef.h>
#include <stdint.h>

#define TB_IMPORT(name) __attribute__((import_module("taubyte/sdk"), import_name(#name)))
#define TB_EXPORT(name) __attribute__((export_name(#name), used))

typedef uint32_t tb_event;
typedef uint32_t tb_error;

enum {
    TB_EVENT_NONE = 0,
    TB_EVENT_HTTP = 1,
    TB_EVENT_PUBSUB = 2,
    TB_EVENT_P2P = 3,
};

enum {
    TB_OK = 0,
    TB_NO_EVENT = 1,         // no such event
    TB_TOO_SMALL = 2,        // the length given is not the one that the size call told
    TB_OUT_OF_MEMORY = 3,    // a pointer leads out of the memory
    TB_NO_ADDRESS = 4,       // the event is of another kind
    TB_HTTP_WRITE = 5,       // the response can not be written
    TB_HTTP_READ = 6,        // the body can not be read
    TB_HTTP_CLOSE = 7,       // the body can not be closed
    TB_END_OF_FILE = 8,      // nothing more follows what was read now
    TB_HTTP_HEADERS = 9,     // headers can not be read
    TB_MEMORY_WRITE = 12,    // a result can not be written
    TB_NO_HEADER = 16,       // no such header
};

// --- Events -----------------------------------------------------------------------------------

// Writes one of TB_EVENT_…; nothing is written for an event that does not exist.
TB_IMPORT(getEventType) void getEventType(tb_event event, uint32_t *type);

// --- The request: a size first, then the bytes into room of exactly that size -----------------

TB_IMPORT(getHttpEventMethodSize)
tb_error getHttpEventMethodSize(tb_event event, uint32_t *size);
TB_IMPORT(getHttpEventMethod)
tb_error getHttpEventMethod(tb_event event, char *out, uint32_t size);
// The Host header, with port.
TB_IMPORT(getHttpEventHostSize)
tb_error getHttpEventHostSize(tb_event event, uint32_t *size);
TB_IMPORT(getHttpEventHost)
tb_error getHttpEventHost(tb_event event, char *out, uint32_t size);
// Decoded, without the query.
TB_IMPORT(getHttpEventPathSize)
tb_error getHttpEventPathSize(tb_event event, uint32_t *size);
TB_IMPORT(getHttpEventPath)
tb_error getHttpEventPath(tb_event event, char *out, uint32_t size);
TB_IMPORT(getHttpEventUserAgentSize)
tb_error getHttpEventUserAgentSize(tb_event event, uint32_t *size);
TB_IMPORT(getHttpEventUserAgent)
tb_error getHttpEventUserAgent(tb_event event, char *out, uint32_t size);

// The first value of a header, whatever its case; size 0 when it is absent.
TB_IMPORT(getHttpEventHeadersSize)
tb_error getHttpEventHeadersSize(tb_event event, uint32_t *size, const char *name,
                                 uint32_t name_size);
TB_IMPORT(getHttpEventHeaders)
tb_error getHttpEventHeaders(tb_event event, const char *name, uint32_t name_size, char *out,
                             uint32_t size);
// All names of headers, each followed by NUL.
TB_IMPORT(getHttpEventRequestHeaderKeysSize)
tb_error getHttpEventRequestHeaderKeysSize(tb_event event, uint32_t *size);
TB_IMPORT(getHttpEventRequestHeaderKeys)
tb_error getHttpEventRequestHeaderKeys(tb_event event, char *out, uint32_t unused);

// The first value of that name in the query, decoded; size 0 when it is absent.
TB_IMPORT(getHttpEventQueryValueByNameSize)
tb_error getHttpEventQueryValueByNameSize(tb_event event, uint32_t *size, const char *name,
                                          uint32_t name_size);
TB_IMPORT(getHttpEventQueryValueByName)
tb_error getHttpEventQueryValueByName(tb_event event, const char *name, uint32_t name_size,
                                      char *out, uint32_t size);
// All names in the query, each followed by NUL.
TB_IMPORT(getHttpEventRequestQueryKeysSize)
tb_error getHttpEventRequestQueryKeysSize(tb_event event, uint32_t *size);
TB_IMPORT(getHttpEventRequestQueryKeys)
tb_error getHttpEventRequestQueryKeys(tb_event event, char *out);

// Reads the next part of the body, at most `size` bytes. TB_END_OF_FILE, perhaps together with the
// last bytes: it was all.
TB_IMPORT(readHttpEventBody)
tb_error readHttpEventBody(tb_event event, void *out, uint32_t size, uint32_t *read);
TB_IMPORT(closeHttpEventBody) tb_error closeHttpEventBody(tb_event event);

// --- The response -----------------------------------------------------------------------------

// Appends to the body.
TB_IMPORT(eventHttpWrite)
tb_error eventHttpWrite(tb_event event, const void *bytes, uint32_t size, uint32_t *written);
// 200 when it is never called. 100 to 999, else TB_HTTP_WRITE.
TB_IMPORT(eventHttpRetCode) tb_error eventHttpRetCode(tb_event event, uint32_t status);
// Adds a header; one of the same name stays.
TB_IMPORT(eventHttpHeaderAdd)
tb_error eventHttpHeaderAdd(tb_event event, const char *name, uint32_t name_size,
                            const char *value, uint32_t value_size);
// Status (307 or 308), Location and a small body.
TB_IMPORT(eventHttpRedirect)
tb_error eventHttpRedirect(tb_event event, const char *url, uint32_t url_size, uint32_t status);
// Sends what was written so far.
TB_IMPORT(eventHttpFlush) tb_error eventHttpFlush(tb_event event);

// --- Helpers ----------------------------------------------------------------------------------

static inline uint32_t tb_length(const char *text)
{
    uint32_t length = 0;
    while (text[length] != 0)
        length++;
    return length;
}

static inline uint32_t tb_event_type(tb_event event)
{
    uint32_t type = TB_EVENT_NONE;
    getEventType(event, &type);
    return type;
}

static inline tb_error tb_http_write(tb_event event, const void *bytes, uint32_t size)
{
    uint32_t written = 0;
    return eventHttpWrite(event, bytes, size, &written);
}

// Texts that end in NUL.
static inline tb_error tb_http_print(tb_event event, const char *text)
{
    return tb_http_write(event, text, tb_length(text));
}

static inline tb_error tb_http_header(tb_event event, const char *name, const char *value)
{
    return eventHttpHeaderAdd(event, name, tb_length(name), value, tb_length(value));
}

// The value of `name` in the query with a NUL behind it, and its length. What does not fit into
// `room` bytes is not copied; an absent one is empty: both give 0.
static inline uint32_t tb_http_query(tb_event event, const char *name, char *out, uint32_t room)
{
    uint32_t size = 0;
    uint32_t name_size = tb_length(name);
    if (room == 0)
        return 0;
    out[0] = 0;
    if (getHttpEventQueryValueByNameSize(event, &size, name, name_size) != TB_OK || size == 0 ||
        size >= room || getHttpEventQueryValueByName(event, name, name_size, out, size) != TB_OK)
        return 0;
    out[size] = 0;
    return size;
}

#endif
