// The vocabulary of the whole house: errors, slices, arenas, owned handles.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MUST_USE     __attribute__((warn_unused_result))
#define OWNED(drop)  __attribute__((cleanup(drop)))
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define STR(literal) ((str){"" literal, sizeof(literal) - 1})
#define STR_ARG(s)   (int)(s).len, (s).at

// What went wrong, small enough to return by value. `what` is a static string.
// The order is part of the wire format (mesh error replies carry the number): append only.
typedef enum {
    OK,
    ERR_MEMORY,      // our own allocation failed or an arena's budget is used up
    ERR_LIMIT,       // a named limit was exceeded
    ERR_SYNTAX,      // foreign bytes are not of their grammar
    ERR_ABSENT,      // there is no such thing
    ERR_DENIED,      // not allowed
    ERR_SYSTEM,      // a system call or library failed, see `sys`
    ERR_CONFLICT,    // compare-and-set lost, or the name is taken
    ERR_TIMEOUT,     // the deadline passed
    ERR_BUSY,        // try again later
    ERR_FULL,        // no space left on the disk or in a quota
    ERR_CLOSED,      // the peer or handle is gone
    ERR_UNSUPPORTED, // understood, and not done here
} err_code;
typedef struct err {
    err_code code;
    int sys; // errno or a library's own number, for the log
    const char *what;
} err;

// A slice never owns its bytes and need not end in NUL.
typedef struct str {
    const char *at;
    size_t len;
} str;

// An arena hands out zeroed memory until its limit and frees it all at once.
typedef struct arena arena;
err arena_open(arena **out, size_t limit) MUST_USE;
void *arena_take(arena *a, size_t size) MUST_USE; // NULL past the limit
void arena_close(arena *a);                       // NULL is fine
void arena_reset(arena *a);                       // as new; keeps its first chunk for the next use
void arena_drop(arena **a);                       // for OWNED(arena_drop)

// Gives what was freed back to the system: takes up to some milliseconds, for after large work.
void memory_give_back(void);

// Descriptors that close themselves when their scope ends; -1 is none.
void fd_drop(int *f);
static inline int fd_move(int *f)
{
    int moved = *f;
    *f = -1;
    return moved;
}

static inline err ok(void)
{
    return (err){.code = OK};
}
static inline err fail(err_code c, int sys, const char *what)
{
    return (err){.code = c, .sys = sys, .what = what};
}
// ERR_FULL for ENOSPC and EDQUOT, ERR_ABSENT for ENOENT, ERR_DENIED for EACCES and EPERM,
// ERR_CONFLICT for EEXIST, ERR_MEMORY for ENOMEM, else ERR_SYSTEM.
#ifdef __clang_analyzer__ // it reads one file at a time, and must know that this is never OK
static inline err fail_errno(int number, const char *what)
{
    return fail(ERR_SYSTEM, number, what);
}
#else
err fail_errno(int number, const char *what);
#endif
const char *err_name(err_code c); // "ERR_ABSENT" as "absent", for logs and JSON

#define TRY(call)                  \
    do {                           \
        err try_result = (call);   \
        if (try_result.code != OK) \
            return try_result;     \
    } while (0)
