// The gateway: forwards a public request to a substrate and its answer back.
#include "worker/worker_inner.h"

void proxy_request(worker *w, http_exchange *x)
{
    (void)w;
    static const refusal absent = {503, "backend", "no substrate is there", {0}};
    refuse(x, &absent);
}
