// What workers know of the universe's deny list: they can read no file, so they are told.
#include "base/clock.h"
#include "mesh/deny.h"
#include "worker/workers_inner.h"

static void denied_send(slot *s, str list)
{
    worker_denied m = {.list = list};
    if (slot_send(s, MSG_worker_denied, &m, NULL).code != OK)
        slot_end(s, "takes no messages");
}

static err denied_list(workers *w, buf *out)
{
    buf_open(out, MESSAGE_BYTES_MAX);
    deny_write(w->settings.deny, out);
    if (out->error.code != OK)
        log_fail(w->settings.log, "workers do not know the deny list", out->error, NULL);
    return out->error;
}

void denied_tell(slot *s)
{
    workers *w = s->workers;
    OWNED(buf_close) buf list;
    buf_open(&list, 0);
    if (w->settings.deny != NULL && denied_list(w, &list).code == OK)
        denied_send(s, buf_str(&list));
}

void denied_look(workers *w)
{
    OWNED(buf_close) buf list;
    buf_open(&list, 0);
    if (w->settings.deny == NULL)
        return;
    uint64_t version = deny_version(w->settings.deny, clock_now_ms());
    if (version == w->denied_version || denied_list(w, &list).code != OK)
        return;
    w->denied_version = version;
    for (size_t i = 0; i < w->count; i++)
        if (w->slots[i].link != NULL)
            denied_send(&w->slots[i], buf_str(&list));
}
