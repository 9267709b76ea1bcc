// What reading and making snapshots share: their marks, and a consumer for one question.
#pragma once
#include "base/hash.h"
#include "mesh/nats_inner.h"

enum { MARK_ID_TEXT = 17, SNAPSHOT_API_MS = 2000 };

// The mark of a snapshot, as it stands under snap.SHARD.done.
typedef struct mark {
    char id[MARK_ID_TEXT];
    uint64_t revision, bytes, pieces; // revision 0: there is none
    uint64_t entry;                   // of the stream, where it stands
    char sha256[SHA256_HEX + 1];
} mark;

// One question to the stream, with a consumer of its own: the newest mark, or a snapshot's pieces.
typedef struct reading {
    nats_log *log;
    nats_subscription *delivery;
    uint64_t request;
    char id[MARK_ID_TEXT];
    bool pieces; // else marks
    mark newest;
    void (*on_mark)(nats_log *l, const mark *newest);
    void (*on_piece)(nats_log *l, str payload);
    void (*on_none)(nats_log *l); // no pieces
    void (*on_failure)(nats_log *l, err e);
} reading;
// Every message under snap.SHARD.done: whoever may write to any log can make a server put its
// acknowledgement there, so that the newest that is a mark counts.
void reading_start_mark(reading *r, nats_log *l);
void reading_start_pieces(reading *r, nats_log *l, const char *snapshot);
void reading_close(reading *r);

void snapshot_id(char out[MARK_ID_TEXT]);
void sha256_drop(sha256_stream **hash);
void snapshot_make_close(nats_log *l);
