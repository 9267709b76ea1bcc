// What stands before a message on the mesh's servers, and in its subject: written and read.
#pragma once
#include "base/base.h"
#include "mesh/shards.h"

// How far the logs are: a request or a reply is read where its records are there as well.
typedef struct positions {
    uint64_t at[SHARDS_MAX]; // 0: not known
    bool own[SHARDS_MAX];    // the sender keeps that log itself
} positions;
enum { POSITION_BYTES = 9, POSITIONS_BYTES_MAX = 2 + SHARDS_MAX * POSITION_BYTES };
str positions_write(const positions *p, char out[static POSITIONS_BYTES_MAX]);
// Takes them off the front of `bytes`; false: malformed. A log that is not known here is left out.
bool positions_read(str *bytes, positions *out);

// Of a request's subject and reply subject: its kind (MESSAGE_KINDS: not known here) and who asks.
// False: it is no request, or the answer would go to somebody else. The server checks who
// publishes, not where answers shall go.
bool request_read(str subject, str reply, size_t *kind, str *from);
size_t message_kind_find(str name); // MESSAGE_KINDS: none
