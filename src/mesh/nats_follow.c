// Consumers: made by meshd for this node (follow.SHARD.NODE), and what comes with each delivery.
#include "base/json.h"
#include "base/str.h"
#include "mesh/nats_inner.h"

#include <stdio.h>

uint64_t
nats_follow(nats_log *l, const char *question, uint64_t deadline_ms, nats_replied *on, void *data)
{
    char subject[3 * NAME_BYTES_MAX];
    str payload = str_of(question);
    (void)snprintf(subject, sizeof subject, "follow.%s.%s", l->name, l->n->node);
    return nats_request(
        l->n->link,
        &(nats_outgoing){.subject = str_of(subject), .pieces = &payload, .pieces_count = 1},
        deadline_ms, on, data);
}

err nats_api_read(arena *a, str answer, const char *refused, const json **out)
{
    TRY(json_read(a, answer, out, NULL));
    const json *problem = json_field(*out, "error");
    return problem == NULL ? ok()
                           : fail(ERR_BUSY, (int)json_whole(problem, "err_code", 0), refused);
}

err nats_follow_read(str answer, uint64_t *pending)
{
    OWNED(arena_drop) arena *a = NULL;
    const json *reply = NULL;
    TRY(arena_open(&a, 1 << 20));
    TRY(nats_api_read(a, answer, "no consumer can be made now", &reply));
    *pending = json_whole(reply, "num_pending", UINT64_MAX);
    return ok();
}

bool nats_delivery_read(str reply, delivery_meta *out)
{
    str tokens[16];
    size_t count = 0;
    while (reply.len > 0 && count < COUNT(tokens))
        tokens[count++] = str_cut(&reply, '.');
    size_t skip = count >= 11 ? 2 : 0;
    if (count < 9 + skip || !str_is(tokens[1], STR("ACK")))
        return false;
    out->consumer = tokens[3 + skip];
    return str_number(tokens[5 + skip], &out->entry).code == OK &&
           str_number(tokens[6 + skip], &out->number).code == OK &&
           str_number(tokens[8 + skip], &out->pending).code == OK;
}

uint64_t nats_header_number(str headers, str name)
{
    while (headers.len > 0) {
        str line = str_cut(&headers, '\n');
        if (!str_starts(line, name))
            continue;
        line = str_from(line, name.len);
        while (line.len > 0 && (line.at[0] == ':' || line.at[0] == ' '))
            line = str_from(line, 1);
        while (line.len > 0 && (line.at[line.len - 1] == '\r' || line.at[line.len - 1] == ' '))
            line.len--;
        uint64_t value;
        return str_number(line, &value).code == OK ? value : UINT64_MAX;
    }
    return UINT64_MAX;
}
