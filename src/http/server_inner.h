// What the files of the server share: the connection with its one exchange, and the server.
#pragma once
#include "http/chunked.h"
#include "http/parse.h"
#include "http/server.h"

enum {
    EXCHANGE_HEAD_INLINE = 1024,       // bytes of a head that need no allocation
    EXCHANGE_HEADERS_INLINE = 24,      // headers that need none
    EXCHANGE_MEMORY_MAX = 1024 * 1024, // of the request's arena
    EXCHANGE_REST_MAX = 64 * 1024,     // bytes kept of a pipeline before reading pauses
    EXCHANGE_REST_BYTES = EXCHANGE_REST_MAX + 1024 * 1024, // and what one read brings
    EXCHANGE_SKIP_MAX = 64 * 1024,    // of an unread body, before the connection ends instead
    EXCHANGE_FLUSH_BYTES = 64 * 1024, // what conn_close_after_writes() is trusted with
    EXCHANGE_PUMP_MAX = 128,          // requests of one pipeline before others get their turn
    SERVER_SPARE_MAX = 64,            // unused exchanges kept
    SERVER_SWEEP_MS = 500,
    SERVER_COMMON_MAX = 256, // "Server" and "Date" lines
    ANSWER_HEAD_MAX = 256 * 1024,
    ANSWER_KEEP_MAX = 32 * 1024,                 // of the scratch buffer between answers
    EXCHANGE_HEAD_KEEP = 8 * 1024,               // of a head's storage between requests
    EXCHANGE_SKIP_BYTES = 2 * EXCHANGE_SKIP_MAX, // with chunk heads
    ANSWER_JOIN_MAX = 16 * 1024,                 // bodies up to this are copied behind the head
};

typedef enum {
    PHASE_HEAD,   // between requests, or a head is incomplete
    PHASE_BUSY,   // the handler has it
    PHASE_SKIP,   // answered; the rest of the body is dropped
    PHASE_FLUSH,  // answered for the last time; the peer still takes bytes
    PHASE_ZOMBIE, // broken, and the handler without on_broken will still answer
    PHASE_GONE,
} exchange_phase;
typedef enum { READ_NONE, READ_COLLECT, READ_STREAM } read_mode;
typedef enum { ANSWER_NONE, ANSWER_STARTED, ANSWER_DONE } answer_state;

// A connection and its one exchange; connections live longer than exchanges and are used again.
struct http_exchange {
    http_server *server;
    conn *c;                        // NULL once broken, closed or taken
    http_exchange *next, *previous; // of the server's list; `next` alone on the spare list
    void *door;
    void *user;
    void (*broken)(void *user, http_exchange *x);
    void (*on_drain)(void *user, http_exchange *x);
    arena *memory; // of the request, reset behind it
    str id;

    exchange_phase phase;
    unsigned holds; // stack frames and posted calls that still know it
    bool pumping, scheduled;
    bool ended;           // the peer sends nothing more
    bool disowned;        // the handler is done with it, whatever becomes of the answer
    bool dead;            // a write failed; the next turn breaks it
    bool last;            // the connection ends after this answer
    bool reading;         // not paused, be it by the handler or because `rest` is full
    const str *input;     // while pumping: what is not consumed yet
    uint64_t deadline_ms; // 0: none
    uint64_t flow_since_ms, flow_left; // when the peer last took bytes, and how many it left
    size_t requests;

    char *head; // storage of the head: inline or allocated
    size_t head_len, head_room;
    http_scan scan;
    http_header *headers;
    size_t headers_room;
    http_head parsed;
    buf rest; // bytes that came early

    read_mode mode;
    bool body_over, paused, continued,
        refused; // refused: 413 is due as soon as the handler returns
    uint64_t body_left, body_seen, body_max;
    http_chunked chunked;
    buf body;
    void (*on_body)(void *user, http_exchange *x, str body);
    void (*on_piece)(void *user, http_exchange *x, str piece, bool end);

    answer_state answer;
    unsigned status;
    bool answer_chunked, answer_bodiless;
    uint64_t answer_left; // of an announced length; UINT64_MAX when none was
    uint64_t answer_bytes, started_us;

    char head_inline[EXCHANGE_HEAD_INLINE];
    http_header headers_inline[EXCHANGE_HEADERS_INLINE];
};

typedef struct server_door {
    http_server *server;
    listener *listener;
    void *door;
    struct server_door *next;
} server_door;

struct http_server {
    http_server_settings settings;
    http_limits limits; // with the defaults filled in
    char name[64];
    server_door *doors;
    http_exchange *first;
    size_t connections;
    uint64_t bodies; // bytes of collected bodies that are held
    http_exchange *spare;
    size_t spares;
    timer *sweep;
    bool draining, accept_paused, closed;
    size_t users; // exchanges that are not spare, and calls under way: it is freed after the last
    uint64_t date_until_ms; // `common` is good until then
    size_t common_len;
    char common[SERVER_COMMON_MAX];
    buf out; // one answer's head and small body, used within one call
};

// intake.c
// One step with what is there; false when it needs more bytes, or somebody else's turn.
bool exchange_step(http_exchange *x, str *in, unsigned *budget);
void exchange_refuse_head(http_exchange *x,
                          unsigned status,
                          const char *what); // what never became a request

// exchange.c
uint64_t exchange_now(const http_exchange *x);
void exchange_next(http_exchange *x);  // waits for the next head
void exchange_flush(http_exchange *x); // leaves, after a long queue is written
void exchange_bury(http_exchange *x);  // a zombie's handler is done with it
extern const conn_events exchange_events;
void exchange_begin(http_exchange *x);      // a fresh connection: waits for its first head
void exchange_schedule(http_exchange *x);   // pumps on the next turn
void exchange_answered(http_exchange *x);   // the answer is complete: next request, or the end
void exchange_weigh_body(http_exchange *x); // the last answer, when its body costs too much to skip
void exchange_refuse(http_exchange *x,
                     unsigned status,
                     const char *what); // our own answer, then the end
void exchange_drop_body(http_exchange *x);
void exchange_break(http_exchange *x, bool abort); // the connection goes; calls `broken` once
void exchange_leave(http_exchange *x);             // as above, after what is queued was written
void exchange_timeout(http_exchange *x);
void exchange_report(http_exchange *x, unsigned status); // on_finished
void exchange_detach(http_exchange *x);  // forgets its connection without closing it
void exchange_release(http_exchange *x); // a hold goes; frees what is gone

// server.c
void http_server_forget(http_exchange *x);  // leaves the list of connections
void http_server_recycle(http_exchange *x); // frees it or keeps it for the next connection
void http_server_release(http_server *s);
str http_server_common(http_server *s); // "Server: x\r\nDate: ...\r\n"

// answer.c
void exchange_answer(http_exchange *x, unsigned status, const http_headers *headers, str body);
