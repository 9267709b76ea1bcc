// Answers every request with PONG.
#include <taubyte.h>

TB_EXPORT(ping)
uint32_t ping(tb_event event)
{
    if (tb_event_type(event) != TB_EVENT_HTTP)
        return 1;
    return tb_http_write(event, "PONG", 4);
}
