// What a guest answers: status, headers and body, kept until they go out.
#include "base/str.h"
#include "vm/vm_inner.h"

void answer_clear(answer *a)
{
    a->status = 0;
    a->committed = false;
    a->flush = false;
    a->headers = 0;
    a->body_bytes = 0;
    buf_clear(&a->head);
    buf_reuse(&a->body);
}

void answer_close(answer *a)
{
    buf_close(&a->head);
    buf_close(&a->body);
}

// RFC 9110 5.6.2.
static bool name_is_token(str name)
{
    static const char others[] = "!#$%&'*+-.^_`|~";
    for (size_t i = 0; i < name.len; i++) {
        char c = name.at[i];
        char lower = (char)(c | 0x20);
        if ((lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9'))
            continue;
        if (c == '\0' || str_find_byte((str){others, sizeof others - 1}, c) == sizeof others - 1)
            return false;
    }
    return name.len > 0;
}

static bool value_is_clean(str value)
{
    for (size_t i = 0; i < value.len; i++)
        if (value.at[i] == '\r' || value.at[i] == '\n' || value.at[i] == '\0')
            return false;
    return true;
}

bool answer_header(answer *a, str name, str value)
{
    if (a->headers == VM_HEADERS_MAX || !name_is_token(name) || !value_is_clean(value) ||
        name.len > VM_HEADER_BYTES_MAX || value.len > VM_HEADER_BYTES_MAX ||
        a->head.len + name.len + value.len > VM_HEADER_BYTES_MAX)
        return false;
    head_span *span = &a->spans[a->headers];
    span->name_at = (uint32_t)a->head.len;
    span->name_len = (uint32_t)name.len;
    buf_add(&a->head, name);
    span->value_at = (uint32_t)a->head.len;
    span->value_len = (uint32_t)value.len;
    buf_add(&a->head, value);
    if (a->head.error.code != OK)
        return false;
    a->headers++;
    return true;
}

bool answer_has(const answer *a, str name)
{
    for (uint32_t i = 0; i < a->headers; i++)
        if (str_is_nocase((str){a->head.at + a->spans[i].name_at, a->spans[i].name_len}, name))
            return true;
    return false;
}

const vm_header *answer_headers(answer *a)
{
    for (uint32_t i = 0; i < a->headers; i++) {
        const head_span *span = &a->spans[i];
        a->list[i].name = (str){a->head.at + span->name_at, span->name_len};
        a->list[i].value = (str){a->head.at + span->value_at, span->value_len};
    }
    return a->list;
}

uint16_t answer_status(const answer *a)
{
    return a->status != 0 ? a->status : 200;
}
