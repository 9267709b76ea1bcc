// Host functions of WASI preview 1: arguments, clocks, dice and two output streams, but no files.
#include "base/clock.h"
#include "vm/abi_inner.h"

#include <string.h>

// Numbers of the specification.
enum {
    WASI_SUCCESS = 0,
    WASI_BADF = 8,
    WASI_FAULT = 21,
    WASI_INVAL = 28,
    WASI_NOTSUP = 58,
    WASI_SPIPE = 70,
};
enum { VECTORS_MAX = 1024, SUBSCRIPTIONS_MAX = 1024, SUBSCRIPTION_BYTES = 48, EVENT_BYTES = 32 };

uint32_t preview_args_sizes(guest *g, wasmtime_val_raw_t *values)
{
    uint32_t len = (uint32_t)g->call->module->f.name.len + 1;
    return guest_put_u32(g, (uint32_t)values[0].i32, 1) &&
                   guest_put_u32(g, (uint32_t)values[1].i32, len)
               ? WASI_SUCCESS
               : WASI_FAULT;
}

uint32_t preview_args(guest *g, wasmtime_val_raw_t *values)
{
    str name = g->call->module->f.name;
    uint8_t *to = guest_at(g, (uint32_t)values[1].i32, (uint32_t)name.len + 1);
    if (to == NULL || !guest_put_u32(g, (uint32_t)values[0].i32, (uint32_t)values[1].i32))
        return WASI_FAULT;
    if (name.len > 0)
        memcpy(to, name.at, name.len);
    to[name.len] = 0;
    return WASI_SUCCESS;
}

uint32_t preview_environ_sizes(guest *g, wasmtime_val_raw_t *values)
{
    return guest_put_u32(g, (uint32_t)values[0].i32, 0) &&
                   guest_put_u32(g, (uint32_t)values[1].i32, 0)
               ? WASI_SUCCESS
               : WASI_FAULT;
}

uint32_t preview_environ(guest *g, wasmtime_val_raw_t *values)
{
    (void)g;
    (void)values;
    return WASI_SUCCESS;
}

static bool clock_of(int32_t id, clockid_t *out)
{
    switch (id) {
    case 0:
        *out = CLOCK_REALTIME;
        return true;
    case 1: // monotonic
    case 2: // processor time of the process and of the thread: ours is none of the guest's business
    case 3:
        *out = CLOCK_MONOTONIC;
        return true;
    default:
        return false;
    }
}

static uint64_t clock_read(clockid_t which)
{
    struct timespec now = {0};
    (void)clock_gettime(which, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

uint32_t preview_clock_time(guest *g, wasmtime_val_raw_t *values)
{
    clockid_t which;
    if (!clock_of(values[0].i32, &which))
        return WASI_INVAL;
    return guest_put_u64(g, (uint32_t)values[2].i32, clock_read(which)) ? WASI_SUCCESS : WASI_FAULT;
}

uint32_t preview_clock_res(guest *g, wasmtime_val_raw_t *values)
{
    clockid_t which;
    if (!clock_of(values[0].i32, &which))
        return WASI_INVAL;
    return guest_put_u64(g, (uint32_t)values[1].i32, 1) ? WASI_SUCCESS : WASI_FAULT;
}

// All or nothing by contract; past the limit it is refused instead of keeping the loop busy.
uint32_t preview_random(guest *g, wasmtime_val_raw_t *values)
{
    uint32_t len = (uint32_t)values[1].i32;
    uint8_t *to = guest_at(g, (uint32_t)values[0].i32, len);
    if (to == NULL)
        return WASI_FAULT;
    if (len > RANDOM_BYTES_MAX)
        return WASI_INVAL;
    random_bytes(to, len);
    return WASI_SUCCESS;
}

static uint32_t u32_at(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static uint64_t u64_at(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

// stream, vectors, count, written
uint32_t preview_write(guest *g, wasmtime_val_raw_t *values)
{
    int32_t stream = values[0].i32;
    uint32_t count = (uint32_t)values[2].i32;
    if (stream != 1 && stream != 2)
        return WASI_BADF;
    if (count > VECTORS_MAX)
        return WASI_INVAL;
    const uint8_t *vectors = guest_at(g, (uint32_t)values[1].i32, count * 8);
    if (vectors == NULL)
        return WASI_FAULT;
    uint64_t written = 0;
    for (uint32_t i = 0; i < count; i++) {
        str bytes;
        if (!guest_text(g, u32_at(vectors + (size_t)8 * i), u32_at(vectors + (size_t)8 * i + 4),
                        &bytes))
            return WASI_FAULT;
        guest_output_write(&g->call->output, stream, bytes);
        written += bytes.len;
    }
    if (written > UINT32_MAX || !guest_put_u32(g, (uint32_t)values[3].i32, (uint32_t)written))
        return WASI_FAULT;
    return WASI_SUCCESS;
}

// stdin is empty.
uint32_t preview_read(guest *g, wasmtime_val_raw_t *values)
{
    if (values[0].i32 != 0)
        return WASI_BADF;
    return guest_put_u32(g, (uint32_t)values[3].i32, 0) ? WASI_SUCCESS : WASI_FAULT;
}

uint32_t preview_stream(guest *g, wasmtime_val_raw_t *values)
{
    (void)g;
    return (uint32_t)values[0].i32 <= 2 ? WASI_SUCCESS : WASI_BADF;
}

uint32_t preview_seek(guest *g, wasmtime_val_raw_t *values)
{
    (void)g;
    return (uint32_t)values[0].i32 <= 2 ? WASI_SPIPE : WASI_BADF;
}

// A character device; stdin may be read, the others written.
uint32_t preview_stream_state(guest *g, wasmtime_val_raw_t *values)
{
    enum { STATE_BYTES = 24, CHARACTER_DEVICE = 2, RIGHT_READ = 2, RIGHT_WRITE = 64 };
    uint32_t stream = (uint32_t)values[0].i32;
    if (stream > 2)
        return WASI_BADF;
    uint8_t *to = guest_at(g, (uint32_t)values[1].i32, STATE_BYTES);
    if (to == NULL)
        return WASI_FAULT;
    memset(to, 0, STATE_BYTES);
    to[0] = CHARACTER_DEVICE;
    to[8] = stream == 0 ? RIGHT_READ : RIGHT_WRITE;
    return WASI_SUCCESS;
}

uint32_t preview_no_file(guest *g, wasmtime_val_raw_t *values)
{
    (void)g;
    (void)values;
    return WASI_BADF;
}

uint32_t preview_unsupported(guest *g, wasmtime_val_raw_t *values)
{
    (void)g;
    (void)values;
    return WASI_NOTSUP;
}

uint32_t preview_yield(guest *g, wasmtime_val_raw_t *values)
{
    (void)g;
    (void)values;
    return WASI_SUCCESS;
}

uint32_t preview_exit(guest *g, wasmtime_val_raw_t *values)
{
    g->call->exited = true;
    g->call->exit_code = (uint32_t)values[0].i32;
    g->leave = true;
    return 0;
}

// Nanoseconds from now until a clock subscription is due; false for a clock that we have not.
static bool clock_due(const uint8_t *subscription, uint64_t *due)
{
    clockid_t which;
    uint64_t timeout = u64_at(subscription + 24);
    if (!clock_of((int32_t)u32_at(subscription + 16), &which))
        return false;
    *due = timeout;
    if (subscription[40] & 1) { // an absolute time
        uint64_t now = clock_read(which);
        *due = timeout > now ? timeout - now : 0;
    }
    return true;
}

typedef struct poll_plan {
    uint64_t due_ns; // of the earliest clock
    bool streams;    // a stream is asked for: those are always ready
} poll_plan;

static uint32_t poll_read(const uint8_t *subscriptions, uint32_t count, poll_plan *plan)
{
    *plan = (poll_plan){.due_ns = UINT64_MAX};
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *s = subscriptions + (size_t)SUBSCRIPTION_BYTES * i;
        uint64_t due;
        if (s[8] != 0) {
            plan->streams = true;
        } else {
            if (!clock_due(s, &due))
                return WASI_INVAL;
            if (due < plan->due_ns)
                plan->due_ns = due;
        }
    }
    return WASI_SUCCESS;
}

// Writes the events that are due at the plan's time (the guest sees them when it wakes up).
static uint32_t
poll_answer(const uint8_t *subscriptions, uint32_t count, const poll_plan *plan, uint8_t *events)
{
    uint32_t written = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint8_t s[SUBSCRIPTION_BYTES]; // events may lie over subscriptions
        memcpy(s, subscriptions + (size_t)SUBSCRIPTION_BYTES * i, sizeof s);
        uint64_t due = 0;
        if (s[8] == 0 && clock_due(s, &due) && due > (plan->streams ? 0 : plan->due_ns))
            continue;
        uint8_t *event = events + (size_t)EVENT_BYTES * written++;
        memset(event, 0, EVENT_BYTES);
        memcpy(event, s, 8); // userdata
        event[10] = s[8];
    }
    return written;
}

// subscriptions, events, count, events written
uint32_t preview_poll(guest *g, wasmtime_val_raw_t *values)
{
    uint32_t count = (uint32_t)values[2].i32;
    if (count == 0 || count > SUBSCRIPTIONS_MAX)
        return WASI_INVAL;
    uint8_t *subscriptions = guest_at(g, (uint32_t)values[0].i32, count * SUBSCRIPTION_BYTES);
    uint8_t *events = guest_at(g, (uint32_t)values[1].i32, count * EVENT_BYTES);
    if (subscriptions == NULL || events == NULL ||
        guest_at(g, (uint32_t)values[3].i32, sizeof(uint32_t)) == NULL)
        return WASI_FAULT;
    poll_plan plan;
    uint32_t bad = poll_read(subscriptions, count, &plan);
    if (bad != WASI_SUCCESS)
        return bad;
    uint64_t wait_us = plan.streams ? 0 : (plan.due_ns + 999) / 1000;
    if (plan.due_ns > UINT64_MAX - 999)
        wait_us = UINT64_MAX / 1000;
    guest_wait(g, plan.streams ? 0 : wait_us);
    if (g->leave)
        return 0;
    uint32_t written = poll_answer(subscriptions, count, &plan, events);
    guest_put_u32(g, (uint32_t)values[3].i32, written);
    return WASI_SUCCESS;
}
