// Catches both outputs of a command line in memory files.
#include "base/str.h"
#include "base/test.h"
#include "cli/test_inner.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

enum { WORDS_MAX = 32 };

static str caught_text(arena *a, int fd)
{
    off_t size = lseek(fd, 0, SEEK_END);
    char *text = arena_take(a, (size_t)size + 1);
    CHECK(text != NULL && pread(fd, text, (size_t)size, 0) == size);
    return (str){text, (size_t)size};
}

caught cli_catch(arena *a, const cli_program *p, const char *line, void *data)
{
    char *words[WORDS_MAX + 1];
    int count = 0;
    for (str rest = str_of(line); rest.at != NULL && count < WORDS_MAX;)
        words[count++] = (char *)str_c(a, str_cut(&rest, ' '));
    words[count] = NULL;
    int saved[2], files[2];
    for (int i = 0; i < 2; i++) {
        saved[i] = dup(i + 1);
        files[i] = memfd_create("caught", MFD_CLOEXEC);
        CHECK(saved[i] >= 0 && files[i] >= 0 && dup2(files[i], i + 1) == i + 1);
    }
    caught c = {.code = cli_run(p, count, words, data)};
    for (int i = 0; i < 2; i++) {
        CHECK(dup2(saved[i], i + 1) == i + 1);
        close(saved[i]);
    }
    c.out = caught_text(a, files[0]);
    c.errors = caught_text(a, files[1]);
    close(files[0]);
    close(files[1]);
    return c;
}
