// The parts of a link that its files share: connection, subscriptions, requests, what waits.
#pragma once
#include "base/buf.h"
#include "io/conn.h"
#include "mesh/mesh_inner.h"
#include "mesh/nats_line.h"
#include "mesh/nats_link.h"

enum {
    LINK_SLOTS = 256,
    LINK_OUT_BYTES_IDLE = 256 << 10, // of memory kept for what is written
    LINK_PAYLOAD_BYTES_FIRST = 1 << 20,
    LINK_PAYLOAD_BYTES_MAX = 64 << 20, // whatever the server says
    LINK_DENIALS = 32,
    LINK_DENIAL_MS = 60000, // the same again is not logged meanwhile
    LINK_SUBJECT_BYTES_MAX = 1024,
    LINK_SECRET_BYTES = 16, // of a request, in hex
};

typedef enum {
    LINK_IDLE,       // until `retry_ms`
    LINK_CONNECTING, // until on_connect
    LINK_GREETING,   // until PONG
    LINK_READY,
} link_state;

struct nats_subscription {
    chain link; // in the order of opening
    chain slot;
    nats_link *owner;
    uint64_t number;
    char *subject, *queue;
    bool delivery;
    nats_received *on;
    void *data;
};

typedef struct link_request {
    chain link; // of its slot
    uint64_t number, until_ms;
    size_t place;                       // in the heap
    char secret[LINK_SECRET_BYTES + 1]; // in the reply subject: who knows it was asked
    char *subject;
    err error; // what its end says at `until_ms`
    nats_replied *on_reply;
    void *data;
} link_request;

// What waits for a connection.
typedef struct link_waiting {
    chain link;
    uint64_t request; // 0: of none
    size_t payload_bytes;
    buf bytes;
} link_waiting;

// A deferred call, which may come after the link was closed.
typedef struct link_flusher {
    nats_link *owner;
} link_flusher;

struct nats_link {
    loop *loop;
    log_sink *log;
    mesh_server *servers;
    size_t servers_count, server; // the one that is tried or connected
    char *node, *universe;
    str ca_pem;
    void (*on_state)(void *data, bool connected);
    void *data;
    tls_context *tls;
    unsigned depth; // calls from the loop under way
    bool closing;

    link_state state;
    conn *conn;
    nats_line line;
    bool greeted;       // INFO came
    bool refused;       // the server did not want us
    unsigned failures;  // since a connection held
    unsigned pings;     // unanswered
    uint64_t retry_ms;  // IDLE: when to try
    uint64_t greet_ms;  // CONNECTING, GREETING: when to give up
    uint64_t ready_ms;  // since when
    uint64_t read_ms;   // when last something came
    uint64_t pinged_ms; // when last asked
    size_t payload_max;

    buf out; // written at the end of the turn
    link_flusher *flusher;
    chain waiting; // for a connection
    size_t waiting_bytes;

    timer *timer;
    uint64_t due_ms; // when it fires; 0: it does not

    char inbox[80]; // "re.NODE.INCARNATION."
    size_t inbox_len;
    uint64_t numbers;
    chain subscriptions, subscription_slots[LINK_SLOTS], request_slots[LINK_SLOTS];
    link_request **heap; // the first ends first
    size_t heap_count, heap_room;
    uint64_t strays;
    struct {
        uint64_t digest, at_ms;
    } denials[LINK_DENIALS]; // logged lately
};

enum { LINK_INBOX_NUMBER = 1 };

// CONNECT was said: the server is told of each subscription from now on.
static inline bool link_greeted(const nats_link *n)
{
    return n->state == LINK_READY || (n->state == LINK_GREETING && n->greeted);
}

void link_due(nats_link *n, uint64_t at_ms); // link_tick() runs then at the latest
void link_flush_soon(nats_link *n);
// Of a subject in our inbox; the rest of it is the secret.
bool link_number(nats_link *n, str subject, uint64_t *out, str *secret);
// The lines that put the link's interest on a new connection.
void link_subscribe_all(nats_link *n);
// `request` 0: none.
err link_publish(nats_link *n, const nats_outgoing *out, uint64_t request) MUST_USE;
void link_send_waiting(nats_link *n);
void link_on_message(nats_link *n, const nats_event *event);
void link_subscriptions_close(nats_link *n);

link_request *link_request_find(nats_link *n, uint64_t number);
void link_request_end(nats_link *n, link_request *r, err e, const nats_message *m);
void link_requests_tick(nats_link *n, uint64_t now_ms);
void link_requests_close(nats_link *n);
bool link_on_reply(nats_link *n, const nats_message *m); // false: its subject is none of ours
void link_on_error(nats_link *n, str text);              // what -ERR said
