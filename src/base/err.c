// Turns system error numbers into our errors, and our errors into words.
#include "base/base.h"

#include <errno.h>

#ifndef __clang_analyzer__
err fail_errno(int number, const char *what)
{
    switch (number) {
    case ENOSPC:
    case EDQUOT:
        return fail(ERR_FULL, number, what);
    case ENOENT:
        return fail(ERR_ABSENT, number, what);
    case EACCES:
    case EPERM:
        return fail(ERR_DENIED, number, what);
    case EEXIST:
        return fail(ERR_CONFLICT, number, what);
    case ENOMEM:
        return fail(ERR_MEMORY, number, what);
    default:
        return fail(ERR_SYSTEM, number, what);
    }
}
#endif

const char *err_name(err_code c)
{
    static const char *const names[] = {
        [OK] = "ok",
        [ERR_MEMORY] = "memory",
        [ERR_LIMIT] = "limit",
        [ERR_SYNTAX] = "syntax",
        [ERR_ABSENT] = "absent",
        [ERR_DENIED] = "denied",
        [ERR_SYSTEM] = "system",
        [ERR_CONFLICT] = "conflict",
        [ERR_TIMEOUT] = "timeout",
        [ERR_BUSY] = "busy",
        [ERR_FULL] = "full",
        [ERR_CLOSED] = "closed",
        [ERR_UNSUPPORTED] = "unsupported",
    };
    return (size_t)c < COUNT(names) ? names[c] : "unknown";
}
