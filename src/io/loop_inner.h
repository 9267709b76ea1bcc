// What the files of io/ know of the loop: its libuv loop, shared buffers, the coarse tick.
#pragma once
#include "base/fault.h"
#include "io/loop.h"

#include <uv.h>

#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>

enum {
    LOOP_READ_BYTES = 64 * 1024,    // one read's worth, shared by all streams of the loop
    LOOP_PLAIN_BYTES = 96 * 1024,   // what one read and a held-back record can decrypt to
    LOOP_CIPHER_BYTES = 128 * 1024, // records on their way to one write
    LOOP_RECORD_BYTES = 16 * 1024,  // plain bytes of one full TLS record
    LOOP_TICK_MS = 50,              // grain of loop_deadline
    LOOP_SPARE_MAX = 512,           // connections' memory kept for the next ones
};

typedef struct loop_task {
    struct loop_task *next;
    void (*run)(void *data);
    void *data;
} loop_task;
typedef struct loop_queue {
    loop_task *first;
    loop_task **last;
} loop_queue;

// A deadline of LOOP_TICK_MS grain, embedded in its owner: costs nothing while none is set.
typedef struct loop_deadline {
    struct loop_deadline *next;
    struct loop_deadline **link; // NULL: not set
    uint64_t at_ms;
    void (*on)(struct loop_deadline *d);
} loop_deadline;

struct loop {
    uv_loop_t uv;
    uv_async_t async;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_check_t defer_check;
    uv_idle_t defer_idle;
    uv_timer_t tick;
    uv_timer_t turn;
    uv_mutex_t lock; // guards `posted` alone
    loop_queue posted;
    loop_queue deferred;
    size_t works;
    loop_deadline *deadlines;
    bool awake; // between the end of a wait and the start of the next
    bool stopped;
    uint64_t woke_ns;
    loop_delays delays;
    void (*before_wait)(void *data);
    void (*after_wait)(void *data);
    void *hook_data;
    char *read_bytes;   // LOOP_READ_BYTES
    char *plain_bytes;  // LOOP_PLAIN_BYTES, made with the first TLS connection as the next two
    char *cipher_bytes; // LOOP_CIPHER_BYTES
    char *record_bytes; // LOOP_RECORD_BYTES
    size_t cipher_len;
    struct loop_spare *spare;
    size_t spare_count;
};

// Every callback that libuv runs in its poll phase says this first: hooks and the delay histogram
// need it.
void loop_woke(loop *l);
static inline void loop_wake(loop *l)
{
    if (!l->awake)
        loop_woke(l);
}

// For io/ files that need libuv's loop and nothing else of ours.
uv_loop_t *loop_uv(loop *l);

void loop_queue_init(loop_queue *q);
bool loop_queue_run(loop_queue *q); // what is in it now; true when there was something
void loop_on_posted(uv_async_t *a);
void loop_on_deferred(uv_check_t *c);
void loop_on_tick(uv_timer_t *t);

void loop_deadline_set(loop *l,
                       loop_deadline *d,
                       uint64_t after_ms,
                       void (*on)(loop_deadline *d)); // again: replaces
void loop_deadline_clear(loop_deadline *d);           // not set: nothing happens

// Memory of `size` bytes, zeroed, kept by loop_spare_give for the next one (one size per loop
// only).
void *loop_spare_take(loop *l, size_t size) MUST_USE;
void loop_spare_give(loop *l, void *at);

// Zeroed memory; NULL when there is none or the fault plan says so.
static inline void *io_take(size_t size)
{
    return fault_hits(FAULT_MEMORY) ? NULL : calloc(1, size);
}
typedef union io_address {
    struct sockaddr any;
    struct sockaddr_in four;
    struct sockaddr_in6 six;
    struct sockaddr_storage room;
} io_address;
// "127.0.0.1" or "::1"; ERR_SYNTAX otherwise: names are not looked up here.
err io_address_read(const char *text, uint16_t port, io_address *out) MUST_USE;
uint16_t io_address_port(const io_address *a); // 0 when it has none

// libuv's negative numbers as errors: gone peers are ERR_CLOSED, taken addresses ERR_CONFLICT.
err io_fail(int uv_number, const char *what);
