// Host functions of the HTTP event: what came in, and what goes out.
#include "base/str.h"
#include "vm/abi_inner.h"

#include <string.h>

enum { EVENT_ID = 0 }; // the one event of a call

uint32_t abi_event_type(guest *g, wasmtime_val_raw_t *values)
{
    if (values[0].i32 == EVENT_ID)
        guest_put_u32(g, (uint32_t)values[1].i32, g->call->event.kind);
    return 0;
}

// SDK_OK when `id` names an HTTP event.
static uint32_t event_check(const guest *g, int32_t id)
{
    if (id != EVENT_ID)
        return SDK_EVENT;
    return g->call->event.kind == VM_EVENT_HTTP ? SDK_OK : SDK_NIL;
}
#define EVENT(g, values)                                    \
    do {                                                    \
        uint32_t event_bad = event_check(g, values[0].i32); \
        if (event_bad != SDK_OK)                            \
            return event_bad;                               \
    } while (0)

static str header_value(const vm_event *e, str name)
{
    for (size_t i = 0; i < e->headers_count; i++)
        if (str_is_nocase(e->headers[i].name, name))
            return e->headers[i].value;
    return (str){NULL, 0};
}

uint32_t abi_give_size(const guest *g, int32_t at, size_t size)
{
    return guest_put_u32(g, (uint32_t)at, (uint32_t)size) ? SDK_OK : SDK_MEMORY_WRITE;
}

uint32_t abi_give(const guest *g, int32_t at, str value)
{
    uint8_t *to = guest_at(g, (uint32_t)at, (uint32_t)value.len);
    if (to == NULL)
        return SDK_ADDRESS;
    if (value.len > 0)
        memcpy(to, value.at, value.len);
    return SDK_OK;
}

// Three of the calls insist on the length that their size call told.
static uint32_t give_exact(const guest *g, const wasmtime_val_raw_t *values, str value)
{
    if ((uint32_t)values[2].i32 != value.len)
        return SDK_BUFFER;
    return abi_give(g, values[1].i32, value);
}

uint32_t abi_method_size(guest *g, wasmtime_val_raw_t *values)
{
    EVENT(g, values);
    return abi_give_size(g, values[1].i32, g->call->event.method.len);
}

uint32_t abi_method(guest *g, wasmtime_val_raw_t *values)
{
    EVENT(g, values);
    return give_exact(g, values, g->call->event.method);
}

uint32_t abi_host_size(guest *g, wasmtime_val_raw_t *values)
{
    EVENT(g, values);
    return abi_give_size(g, values[1].i32, g->call->event.host.len);
}

uint32_t abi_host(guest *g, wasmtime_val_raw_t *values)
{
    EVENT(g, values);
    return give_exact(g, values, g->call->event.host);
}

uint32_t abi_path_size(guest *g, wasmtime_val_raw_t *values)
{
    EVENT(g, values);
    return abi_give_size(g, values[1].i32, g->call->event.path.len);
}

uint32_t abi_path(guest *g, wasmtime_val_raw_t *values)
{
    EVENT(g, values);
    return give_exact(g, values, g->call->event.path);
}

uint32_t abi_agent_size(guest *g, wasmtime_val_raw_t *values)
{
    EVENT(g, values);
    str agent = header_value(&g->call->event, STR("User-Agent"));
    return abi_give_size(g, values[1].i32, agent.len);
}

uint32_t abi_agent(guest *g, wasmtime_val_raw_t *values)
{
    EVENT(g, values);
    return abi_give(g, values[1].i32, header_value(&g->call->event, STR("User-Agent")));
}

// event, size, key pointer, key length
uint32_t abi_header_size(guest *g, wasmtime_val_raw_t *values)
{
    str key;
    EVENT(g, values);
    if (!guest_text(g, (uint32_t)values[2].i32, (uint32_t)values[3].i32, &key))
        return SDK_ADDRESS;
    return abi_give_size(g, values[1].i32, header_value(&g->call->event, key).len);
}

// event, key pointer, key length, buffer, ignored
uint32_t abi_header(guest *g, wasmtime_val_raw_t *values)
{
    str key;
    EVENT(g, values);
    if (!guest_text(g, (uint32_t)values[1].i32, (uint32_t)values[2].i32, &key))
        return SDK_ADDRESS;
    return abi_give(g, values[3].i32, header_value(&g->call->event, key));
}

// As Go's net/http spells it, which is what guests of the original compare with: "content-type"
// becomes "Content-Type".
static void name_add(buf *out, str name)
{
    bool first = true;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.at[i];
        if (first && c >= 'a' && c <= 'z')
            c = (char)(c - 'a' + 'A');
        else if (!first && c >= 'A' && c <= 'Z')
            c = (char)(c - 'A' + 'a');
        buf_add_byte(out, c);
        first = name.at[i] == '-';
    }
    buf_add_byte(out, '\0');
}

static str header_names(guest *g)
{
    const vm_event *e = &g->call->event;
    buf *out = &g->call->scratch;
    buf_clear(out);
    for (size_t i = 0; i < e->headers_count && i < LIST_ENTRIES_MAX; i++) {
        bool seen = str_is_nocase(e->headers[i].name, STR("Host"));
        for (size_t k = 0; k < i && !seen; k++)
            seen = str_is_nocase(e->headers[k].name, e->headers[i].name);
        if (!seen)
            name_add(out, e->headers[i].name);
    }
    return buf_str(out);
}

uint32_t abi_header_keys_size(guest *g, wasmtime_val_raw_t *values)
{
    EVENT(g, values);
    return abi_give_size(g, values[1].i32, header_names(g).len);
}

uint32_t abi_header_keys(guest *g, wasmtime_val_raw_t *values)
{
    EVENT(g, values);
    return abi_give(g, values[1].i32, header_names(g));
}

// event, size, key pointer, key length
uint32_t abi_query_size(guest *g, wasmtime_val_raw_t *values)
{
    str key;
    EVENT(g, values);
    if (!guest_text(g, (uint32_t)values[2].i32, (uint32_t)values[3].i32, &key))
        return SDK_ADDRESS;
    query_value(g->call->event.query, key, &g->call->scratch);
    return abi_give_size(g, values[1].i32, g->call->scratch.len);
}

// event, key pointer, key length, buffer, ignored
uint32_t abi_query(guest *g, wasmtime_val_raw_t *values)
{
    str key;
    EVENT(g, values);
    if (!guest_text(g, (uint32_t)values[1].i32, (uint32_t)values[2].i32, &key))
        return SDK_ADDRESS;
    query_value(g->call->event.query, key, &g->call->scratch);
    return abi_give(g, values[3].i32, buf_str(&g->call->scratch));
}

uint32_t abi_query_keys_size(guest *g, wasmtime_val_raw_t *values)
{
    EVENT(g, values);
    query_keys(g->call->event.query, &g->call->scratch);
    return abi_give_size(g, values[1].i32, g->call->scratch.len);
}

uint32_t abi_query_keys(guest *g, wasmtime_val_raw_t *values)
{
    EVENT(g, values);
    query_keys(g->call->event.query, &g->call->scratch);
    return abi_give(g, values[1].i32, buf_str(&g->call->scratch));
}

// event, buffer, capacity, count: the last bytes come together with SDK_EOF.
uint32_t abi_body_read(guest *g, wasmtime_val_raw_t *values)
{
    vm_call *c = g->call;
    EVENT(g, values);
    if (c->body_closed)
        return SDK_READ_BODY;
    uint32_t capacity = (uint32_t)values[2].i32;
    uint8_t *to = guest_at(g, (uint32_t)values[1].i32, capacity);
    if (to == NULL)
        return SDK_ADDRESS;
    if (guest_at(g, (uint32_t)values[3].i32, sizeof(uint32_t)) == NULL)
        return SDK_MEMORY_WRITE;
    size_t rest = c->event.body.len - c->body_read;
    uint32_t count = rest < capacity ? (uint32_t)rest : capacity;
    if (count > 0)
        memcpy(to, c->event.body.at + c->body_read, count);
    c->body_read += count;
    guest_put_u32(g, (uint32_t)values[3].i32, count);
    return c->body_read == c->event.body.len ? SDK_EOF : SDK_OK;
}

uint32_t abi_body_close(guest *g, wasmtime_val_raw_t *values)
{
    EVENT(g, values);
    g->call->body_closed = true;
    return SDK_OK;
}

// Appends to the body; more than the limit ends the guest.
static bool body_write(guest *g, str bytes)
{
    vm_call *c = g->call;
    uint64_t limit = c->module->f.response_bytes_max;
    if (bytes.len > limit - c->answer.body_bytes) {
        guest_refuse(g, VM_RESPONSE, "the response is larger than %llu bytes",
                     (unsigned long long)limit);
        return false;
    }
    buf_add(&c->answer.body, bytes);
    if (c->answer.body.error.code != OK) {
        guest_refuse(g, VM_REFUSED, "no memory left for the response");
        return false;
    }
    c->answer.body_bytes += bytes.len;
    return true;
}

// event, bytes, length, count
uint32_t abi_write(guest *g, wasmtime_val_raw_t *values)
{
    str bytes;
    EVENT(g, values);
    if (!guest_text(g, (uint32_t)values[1].i32, (uint32_t)values[2].i32, &bytes))
        return SDK_ADDRESS;
    if (guest_at(g, (uint32_t)values[3].i32, sizeof(uint32_t)) == NULL)
        return SDK_MEMORY_WRITE;
    if (!body_write(g, bytes))
        return SDK_WRITE;
    guest_put_u32(g, (uint32_t)values[3].i32, (uint32_t)bytes.len);
    return SDK_OK;
}

// Interim statuses (1xx) are accepted and left out: the answer's own comes later or is 200.
static bool status_set(guest *g, int32_t status)
{
    if (status < 100 || status > 999)
        return false;
    if (status >= 200 && !g->call->answer.committed)
        g->call->answer.status = (uint16_t)status;
    return true;
}

uint32_t abi_status(guest *g, wasmtime_val_raw_t *values)
{
    EVENT(g, values);
    return status_set(g, values[1].i32) ? SDK_OK : SDK_WRITE;
}

// event, key pointer, key length, value pointer, value length
uint32_t abi_header_add(guest *g, wasmtime_val_raw_t *values)
{
    str key, value;
    EVENT(g, values);
    if (!guest_text(g, (uint32_t)values[1].i32, (uint32_t)values[2].i32, &key) ||
        !guest_text(g, (uint32_t)values[3].i32, (uint32_t)values[4].i32, &value))
        return SDK_ADDRESS;
    if (g->call->answer.committed) // too late to be sent, as with net/http no error
        return SDK_OK;
    return answer_header(&g->call->answer, key, value) ? SDK_OK : SDK_WRITE;
}

// What is between the quotes of href must not end them.
static void html_add(buf *out, str text)
{
    for (size_t i = 0; i < text.len; i++) {
        switch (text.at[i]) {
        case '&':
            buf_add(out, STR("&amp;"));
            break;
        case '<':
            buf_add(out, STR("&lt;"));
            break;
        case '>':
            buf_add(out, STR("&gt;"));
            break;
        case '"':
            buf_add(out, STR("&#34;"));
            break;
        default:
            buf_add_byte(out, text.at[i]);
        }
    }
}

// event, url pointer, url length, status
uint32_t abi_redirect(guest *g, wasmtime_val_raw_t *values)
{
    str url;
    vm_call *c = g->call;
    EVENT(g, values);
    if (!guest_text(g, (uint32_t)values[1].i32, (uint32_t)values[2].i32, &url))
        return SDK_ADDRESS;
    if (c->answer.committed || !answer_header(&c->answer, STR("Location"), url) ||
        !status_set(g, values[3].i32))
        return SDK_WRITE;
    if (!answer_has(&c->answer, STR("Content-Type")))
        answer_header(&c->answer, STR("Content-Type"), STR("text/html; charset=utf-8"));
    buf_clear(&c->scratch);
    buf_add(&c->scratch, STR("<a href=\""));
    html_add(&c->scratch, url);
    buf_add(&c->scratch, STR("\">moved</a>\n"));
    return body_write(g, buf_str(&c->scratch)) ? SDK_OK : SDK_WRITE;
}

// The owner gets it when the slice ends: no callback runs on a guest's stack.
uint32_t abi_flush(guest *g, wasmtime_val_raw_t *values)
{
    EVENT(g, values);
    g->call->answer.flush = true;
    return SDK_OK;
}
