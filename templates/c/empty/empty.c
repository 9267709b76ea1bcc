// An empty function: it answers 200 with nothing.
#include <taubyte.h>

TB_EXPORT(empty)
uint32_t empty(tb_event event)
{
    (void)event;
    return 0;
}
