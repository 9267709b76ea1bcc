// git's pkt-lines as far as we read and write them: the head of a push, the report that answers it.
#pragma once
#include "base/base.h"
#include "base/buf.h"

enum {
    PKT_DATA_MAX = 65516,
    PUSH_HEAD_MAX = 1024 * 1024,
    PUSH_COMMANDS_MAX = 10000,
    PUSH_OPTIONS_MAX = 64
};

typedef enum { PKT_LINE, PKT_FLUSH, PKT_MORE, PKT_BAD } pkt_kind;
// Cuts one pkt-line off the front of *in. PKT_MORE: it is not all there yet, nothing is cut.
pkt_kind pkt_cut(str *in, str *line);
void pkt_add(buf *out, str line); // at most PKT_DATA_MAX bytes
void pkt_add_format(buf *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
void pkt_add_flush(buf *out);
void pkt_add_band(buf *out, char band, str bytes); // side-band-64k, as many pkt-lines as it takes

typedef struct push_command {
    str before, after; // 40 hex digits; all zeros: made or deleted
    str ref;
} push_command;
typedef struct push_head {
    push_command *commands;
    size_t count;
    bool report_status, side_band, atomic, push_options;
    str deployment; // of the push option deployment=ID/N, empty without one
    uint64_t deployment_size;
} push_head;
typedef enum { PUSH_HEAD_MORE, PUSH_HEAD_WHOLE, PUSH_HEAD_BAD } push_head_result;
// Reads commands, flush, and push options with their flush when they were agreed on; what follows
// is the pack. Texts point into `bytes`, the commands live in the arena, which is used only once
// the head is whole. A head of a flush alone is whole and holds no command. PUSH_HEAD_BAD: *why is
// a static text.
push_head_result push_head_read(arena *a, str bytes, push_head *out, const char **why);

// Takes receive-pack's answer apart: its report (pkt-lines) and all else that it wants shown
// (side-band pkt-lines). False when it is no such answer; what was understood before is there then.
bool push_answer_split(str answer, bool side_band, buf *shown, buf *report);
// Writes the report again, with "ng REF WHY" for "ok REF" where why(data, ref) gives a text, and a
// flush behind.
void push_report_rewrite(str report, const char *(*why)(void *data, str ref), void *data, buf *out);
