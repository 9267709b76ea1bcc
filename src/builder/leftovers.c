// Rooms that outlived a builder which was killed, found by their host name and ended.
#include "base/file.h"
#include "base/str.h"
#include "builder/builder_inner.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

enum { LEFTOVER_LINE_BYTES = 64 * 1024 };

// The arguments of a process stand in its cmdline, each ended by NUL.
static bool leftover_is(str arguments, const char *host)
{
    str program = str_cut(&arguments, '\0');
    if (!str_ends(program, STR("bwrap")))
        return false;
    while (arguments.len > 0)
        if (str_is(str_cut(&arguments, '\0'), STR("--hostname")))
            return str_is(str_cut(&arguments, '\0'), str_of(host));
    return false;
}

static void leftover_end(const char *number, const char *host)
{
    arena *a;
    if (arena_open(&a, 2 * LEFTOVER_LINE_BYTES).code != OK)
        return;
    str arguments;
    const char *path = str_format(a, "/proc/%s/cmdline", number).at;
    // One that is gone meanwhile, or another user's, is none of ours.
    if (path != NULL && file_read(a, path, LEFTOVER_LINE_BYTES, &arguments).code == OK &&
        leftover_is(arguments, host))
        (void)kill((pid_t)strtol(number, NULL, 10), SIGKILL);
    arena_close(a);
}

void leftovers_end(const char *host)
{
    DIR *d = opendir("/proc");
    for (struct dirent *entry; d != NULL && (entry = readdir(d)) != NULL;)
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
            leftover_end(entry->d_name, host);
    if (d != NULL)
        (void)closedir(d);
}
