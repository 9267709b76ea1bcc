// The kinds of values that configuration knows: names, sizes, durations, host names, paths, ids.
#pragma once
#include "base/base.h"

enum {
    NAME_LEN_MAX = 250,
    PATH_LEN_MAX = 1024,
    FQDN_LEN_MAX = 253,
    ID_LEN_MIN = 8,
    ID_LEN_MAX = 64,
};

bool name_is_valid(str s); // ^[A-Za-z][A-Za-z0-9_-]*$, at most NAME_LEN_MAX
bool id_is_valid(str s);   // base58, ID_LEN_MIN to ID_LEN_MAX characters
bool path_is_valid(str s); // starts with `/`; printable ASCII or UTF-8, no blank, `?` or `#`
bool email_is_valid(str s);
bool fqdn_is_valid(str s); // letters of either case, at least two labels

// "10MB", "32MiB" or a bare number of bytes; units B KB MB GB TB PB and KiB ... PiB, exactly so.
// ERR_SYNTAX, or ERR_LIMIT past 63 bits.
err bytes_read(str s, uint64_t *out) MUST_USE;
// As Go writes them: "10s", "6m40s", "1.5h", "250ms"; rounded up to a millisecond, never
// negative. ERR_SYNTAX, or ERR_LIMIT past 292 years.
err duration_read(str s, uint64_t *out_ms) MUST_USE;
