// One connection to the universe's meshd servers: publish, subscribe, request; it reconnects
// itself.
#pragma once
#include "base/base.h"
#include "base/log.h"
#include "io/loop.h"
#include "mesh/mesh.h"

typedef struct nats_link nats_link;
typedef struct nats_subscription nats_subscription;
typedef struct nats_message {
    str subject; // as published (a stream's message keeps the one it was stored under)
    str reply;   // empty: none
    str headers; // the block after "NATS/1.0…\r\n", empty: none
    unsigned
        status; // of the header's first line (503: nobody listens, 100: a consumer's beat), 0: none
    str payload;
} nats_message;
// On the loop, never before the call that asked for it has returned; texts live in the call.
typedef void nats_received(void *data, const nats_message *m);
// OK and the message; ERR_TIMEOUT; ERR_BUSY (nobody listens); ERR_DENIED; ERR_CLOSED
// (nats_link_close); what nats_publish would have said.
typedef void nats_replied(void *data, err e, const nats_message *m);

typedef struct nats_link_settings {
    loop *loop;
    log_sink *log;
    const mesh_server *servers; // tried in turn from a random one on; copied
    size_t servers_count;
    str node;                             // short name: the inbox is re.NODE.INCARNATION.>
    str certificate_pem, key_pem, ca_pem; // the server must be an elder of `universe`
    str universe;
    void (*on_state)(void *data, bool connected); // may be NULL
    void *data;
} nats_link_settings;
// Returns at once. ERR_ABSENT: no servers.
err nats_link_open(nats_link **out, const nats_link_settings *settings) MUST_USE;
// NULL is fine, and so is a call from within a callback of the link. Requests end with ERR_CLOSED
// within the call; subscriptions end with the link: forget them.
void nats_link_close(nats_link *n);
err nats_link_identity(nats_link *n, str certificate_pem, str key_pem) MUST_USE; // next connections
bool nats_link_connected(const nats_link *n);
size_t nats_link_payload_max(const nats_link *n); // of the server last connected to; 1 MiB before

// Subscriptions live over reconnects. `queue` empty: no group. Once unsubscribed, no callback.
err nats_subscribe(nats_subscription **out,
                   nats_link *n,
                   str subject,
                   str queue,
                   nats_received *on,
                   void *data) MUST_USE;
// The same for the subject that a consumer delivers to: messages come with the subject they were
// stored under, whatever it is. With nats_subscribe() such a message is dropped and counted.
err nats_subscribe_delivery(nats_subscription **out,
                            nats_link *n,
                            str subject,
                            str queue,
                            nats_received *on,
                            void *data) MUST_USE;
void nats_unsubscribe(
    nats_subscription *s); // NULL is fine; before nats_link_close, which ends them
uint64_t nats_link_strays(const nats_link *n); // messages dropped because of their subject

// Requests may be made as this name too (nats_outgoing.as): its inbox is heard as well, if the
// server allows it.
err nats_link_name(nats_link *n, str name) MUST_USE;

typedef struct nats_outgoing {
    str subject;
    str as;            // requests: in whose inbox the answer comes; empty: the node's
    str reply;         // empty: none
    str headers;       // "Name: value\r\n…", empty: none
    const str *pieces; // of the payload
    size_t pieces_count;
} nats_outgoing;
// Copies. While there is no connection it waits (at most NATS_WAITING_BYTES_MAX: ERR_LIMIT). What
// was written to a connection that breaks may be lost. ERR_LIMIT: larger than the server takes.
enum { NATS_WAITING_BYTES_MAX = 64 << 20 };
err nats_publish(nats_link *n, const nats_outgoing *out) MUST_USE;
// With a reply subject of its own in our inbox; on_reply once. The number names it for
// nats_request_cancel (no callback follows); 0, and no callback, while the link closes. ERR_DENIED:
// the server does not let us publish that. What can not be sent ends on a later turn.
uint64_t nats_request(nats_link *n,
                      const nats_outgoing *out,
                      uint64_t deadline_ms,
                      nats_replied *on_reply,
                      void *data);
void nats_request_cancel(nats_link *n, uint64_t number);
