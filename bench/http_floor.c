// The floor of our HTTP/1.1: a server that answers PONG and does nothing else, to be held against
// nginx.
#include "base/str.h"
#include "http/server.h"

#include <stdio.h>
#include <stdlib.h>

static void floor_on_request(void *data, http_exchange *x)
{
    (void)data;
    http_header type = {STR("Content-Type"), STR("text/plain")};
    http_answer(x, 200, &(http_headers){&type, 1}, STR("PONG"));
}

static void floor_on_signal(void *data, int number)
{
    (void)number;
    loop_stop(data);
}

static err floor_run(uint16_t port)
{
    loop *l = NULL;
    http_server *s = NULL;
    signal_watch *watch = NULL;
    int fd = -1;
    TRY(loop_open(&l));
    TRY(http_server_open(&s, &(http_server_settings){
                                 .loop = l, .handler = floor_on_request, .server_name = "ctau"}));
    TRY(socket_listen("127.0.0.1", port, false, &fd));
    TRY(http_server_listen(s, fd, NULL, NULL));
    TRY(signal_watch_open(&watch, l, 15, floor_on_signal, l));
    loop_run(l);
    signal_watch_close(watch);
    http_server_close(s);
    loop_close(l);
    return ok();
}

int main(int argc, char **argv)
{
    uint64_t port = 8081;
    if (argc > 1 && str_number(str_of(argv[1]), &port).code != OK)
        return 2;
    err e = floor_run((uint16_t)port);
    if (e.code != OK)
        fprintf(stderr, "http_floor: %s\n", e.what);
    return e.code != OK;
}
