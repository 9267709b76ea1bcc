// One line per event: logfmt on a terminal, JSON otherwise; level, universe, node and fields.
#pragma once
#include "base/base.h"

typedef enum { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR } log_level;
// A log is an object, not a global: whoever logs was given one. NULL is a log that drops all.
// Lines may be logged from any thread.
typedef struct log_sink log_sink;
err log_open(log_sink **out, int fd, bool json, log_level least) MUST_USE; // borrows the descriptor
void log_close(log_sink *l);
// A child sink with a fixed prefix of fields, e.g. log_scope(l, "node=tns@blackhole"); close it
// as well.
err log_scope(log_sink **out, log_sink *parent, const char *name, str value) MUST_USE;
// log_line(l, LOG_INFO, "job moved", "job", id, "to", STR("done"), NULL): pairs of const char *,
// str; NULL ends.
void log_line(log_sink *l, log_level level, const char *event, ...);
// level error, with code, errno text and pairs
void log_fail(log_sink *l, const char *event, err e, ...);
