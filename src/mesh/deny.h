// The universe's deny list: certificates and nodes that no door lets in any more.
#pragma once
#include "base/base.h"
#include "base/buf.h"

// A file of lines, the same that meshd watches: a serial number in lower-case hex, or `node NAME`
// (short name; an @UNIVERSE behind it counts for nothing). What follows a '#' is a comment; empty
// lines count for nothing.
//
// At a door: tls_settings.allow, which is asked at full and at resumed handshakes alike, refuses
// when deny_has(list, serial_hex, identity_read()'s node, clock_now_ms()). A connection that was
// open before is looked up again with the next request (http_peer() has both). Each process has a
// `deny` of its own for the one file.
typedef struct deny deny;
enum {
    DENY_STAT_MS = 250, // a change is seen within so long
    DENY_BYTES_MAX = 1 << 20,
    DENY_ENTRIES_MAX = 16384,
    DENY_WORD_MAX = 64, // of a serial number or a node's name
    DENY_WHY_MAX = 200,
};

// The list in folder/deny, made (and the folder, 0700) when absent. ERR_SYNTAX, ERR_LIMIT: nothing
// is opened; *problem (NULL: not wanted) says "FILE:LINE: reason", in `a`.
err deny_open(deny **out, const char *folder, arena *a, str *problem) MUST_USE;
void deny_close(deny *d); // NULL is fine

// Is this certificate or this node denied? Looks at the file's times at most every DENY_STAT_MS,
// and reads it when it changed: made for a loop thread. A file that has errors or is gone leaves
// the former list in force.
bool deny_has(deny *d, str serial_hex, str node, uint64_t now_ms);
// Why the file is not what is in force: "FILE:LINE: reason", empty when it is. Lives until the next
// call with this list.
str deny_problem(const deny *d);
size_t deny_count(const deny *d);

// The list as another process may be given it, which cannot read the file: deny_write's lines.
// deny_version grows with each list that is put in force (looks at the file as deny_has does).
uint64_t deny_version(deny *d, uint64_t now_ms);
void deny_write(const deny *d, buf *out);
// A list from such lines; it follows no file. ERR_SYNTAX, ERR_LIMIT.
err deny_of(deny **out, str text) MUST_USE;

// Durable, and in force here, when they return; one of serial and node is given, the other is
// empty. Other lines and comments stay. They wait for the disk: not on a loop thread. ERR_SYNTAX:
// no serial number or name, or the file has errors (mend it first); ERR_LIMIT: it is full.
err deny_add(deny *d, str serial_hex, str node, str why) MUST_USE; // there already: fine
err deny_remove(deny *d, str serial_hex, str node) MUST_USE;       // ERR_ABSENT: it was not there

// What these bytes are as a list. *line and *reason tell of the first error.
err deny_check(str text, size_t *count, size_t *line, const char **reason) MUST_USE;
