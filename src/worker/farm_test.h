// What tests of worker processes share: a farm of them with one guest, and a client.
#pragma once
#include "base/buf.h"
#include "base/test.h"
#include "http/client.h"
#include "worker/workers.h"

typedef struct farm {
    loop *loop;
    workers *workers;
    http_client *client;
    log_sink *log;
    int module_fd;
    bool module_withheld; // on_module_want answers nothing
    bool closed;
    unsigned wants, losts;
    uint64_t calls, failures;
    char lost_function[64], lost_path[128];
    buf lines; // "function|stream|text\n"
} farm;

void farm_open(farm *f,
               size_t slots); // workers opened, public door on a free port, events set; not started
void farm_open_with(farm *f, size_t slots, str ca_pem);
void farm_close(farm *f);
void farm_start(farm *f); // until all are ready
// Publishes one function for each export of the guest: host hello.black.localtau, path /EXPORT,
// methods GET and POST.
void farm_publish(farm *f, const route_function *settings);
typedef struct reply {
    unsigned status;
    err error;
    bool done;
    char head[2048]; // "name: value\n"
    char body[8192];
    size_t len;
    uint64_t pieces;
} reply;
void farm_send(farm *f,
               reply *r,
               const http_client_request *request); // address and callbacks are filled in
void farm_wait(farm *f, reply *r);
void farm_get(farm *f, reply *r, const char *path);
int guest_module(void); // the guest, compiled: a sealed memory file
