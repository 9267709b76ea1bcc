// What the files of the client share: calls, the links they run on, and pools of idle links.
#pragma once
#include "http/chunked.h"
#include "http/client.h"
#include "http/parse.h"

enum {
    CLIENT_POOL_BUCKETS = 64,
    CLIENT_LINKS_MAX = 8192,             // open connections of one client
    CLIENT_CALL_MS = 30 * 1000,          // default deadline
    CLIENT_IDLE_MS = 30 * 1000,          // an unused link is closed after that
    CLIENT_TICK_MS = 50,                 // while calls are under way
    CLIENT_IDLE_TICK_MS = 5000,          // while only idle links are left
    CLIENT_HEAD_MAX = 64 * 1024,         // of an answer, and of all its interim answers
    CLIENT_HEADERS_MAX = 320,            // a guest may send 256, and its server adds some
    CLIENT_INTERIM_MAX = 16,             // 1xx answers before the real one
    CLIENT_BODY_MAX = 64 * 1000 * 1000,  // default of a collected answer
    CLIENT_REST_MAX = 64 * 1024,         // of an answer, kept while its reader is paused
    CLIENT_REST_BYTES = 1024 * 1024,     // and what one read brings
    CLIENT_UPLOAD_MAX = 4 * 1024 * 1024, // of a streamed body, waiting for its connection
};

typedef struct client_link client_link;
typedef struct client_pool {
    struct client_pool *next; // of its bucket
    http_client *client;
    char *address, *server_name; // server_name may be NULL
    uint16_t port;
    tls_context *tls;
    client_link *idle;        // last used first
    size_t idle_count, links; // links: and calls, all who still know it
} client_pool;

struct client_link {
    client_pool *pool;
    conn *c;
    http_call *call; // NULL while idle
    bool reused, connected;
    uint64_t idle_since_ms;
    client_link *next; // of the idle list
};

typedef enum { CALL_HEAD, CALL_BODY, CALL_DONE } call_state;
struct http_call {
    http_client *client;
    http_call *next, *previous;
    client_link *link; // NULL once done
    client_pool *pool;
    unsigned holds;

    void (*on_head)(void *data, http_call *c, const http_answer_head *head);
    void (*on_piece)(void *data, http_call *c, str piece);
    void (*on_done)(void *data, http_call *c, err e, const http_answer_head *head, str body);
    void (*on_drain)(void *data, http_call *c);
    void *data;
    uint64_t deadline_ms;

    buf out; // the request, until it is written or may no longer be repeated
    bool streamed, upload_over, repeatable, is_head;

    call_state state;
    bool answered;                           // a byte of the answer came
    bool paused, reading, scheduled, excess; // excess: bytes behind the answer
    bool ended;                              // with `end`: the peer sends nothing more
    err end;
    err failed; // to be told on the next turn
    unsigned interim;
    buf head;
    http_scan scan;
    http_header *headers;
    http_head parsed;
    http_answer_head answer;
    uint64_t left; // of a body with a length; UINT64_MAX: until the end of the connection
    http_chunked chunked;
    buf body, rest;
};

struct http_client {
    loop *loop;
    size_t idle_per_address_max;
    client_pool *pools[CLIENT_POOL_BUCKETS];
    http_call *calls;
    size_t links, idle;
    timer *tick;
    uint64_t tick_ms; // 0: stopped
    unsigned idle_turns;
    bool closed;
};

// call.c
extern const conn_events client_link_events;
void client_call_done(http_call *c,
                      err e); // tells on_done and frees; the link is kept if it can be used again
void client_call_schedule(http_call *c);  // looks at it on the next turn
void client_call_started(http_call *c);   // its link can be used: writes the request, calls nobody
void client_call_connected(http_call *c); // its link was made: as above, and on_drain
void client_call_broke(http_call *c, err e); // the link is gone: another try or the end
void client_call_release(http_call *c);
err client_request_write(buf *out,
                         const http_client_request *r) MUST_USE; // request.c: head and body

// client.c
err client_link_open(http_call *c) MUST_USE; // a fresh connection for the call
void client_link_close(client_link *k);      // whatever it does
void client_link_idle(client_link *k);       // its call is over and it can be used again
void client_tick_update(http_client *c);
void client_call_free(http_call *c);
void client_pool_release(client_pool *p);
