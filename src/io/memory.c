// Memory files: sealed ones that are handed out, shared ones that count.
#include "io/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MEMFD_EXECUTABLE = 0x10 }; // MFD_EXEC, kernel 6.3

static int memory_create(const char *name)
{
    int f = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MEMFD_EXECUTABLE);
    if (f < 0 && errno == EINVAL) // older kernels have no such flag, and no need of it
        f = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return f;
}

err memory_file(const char *name, str bytes, int *fd)
{
    OWNED(fd_drop) int f = memory_create(name);
    if (f < 0)
        return fail_errno(errno, "create memory file");
    for (size_t done = 0; done < bytes.len;) {
        ssize_t n = write(f, bytes.at + done, bytes.len - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return fail_errno(n < 0 ? errno : EIO, "fill memory file");
        done += (size_t)n;
    }
    if (lseek(f, 0, SEEK_SET) != 0)
        return fail_errno(errno, "rewind memory file");
    if (fcntl(f, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) != 0)
        return fail_errno(errno, "seal memory file");
    *fd = fd_move(&f);
    return ok();
}

err memory_map_shared(int fd, size_t size, void **at)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return fail_errno(errno, "stat shared memory");
    // Touching what is past the end would be a SIGBUS.
    if (size == 0 || info.st_size < 0 || (size_t)info.st_size < size)
        return fail(ERR_LIMIT, 0, "shared memory is smaller than asked");
    void *mapped = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED)
        return fail_errno(errno, "map shared memory");
    *at = mapped;
    return ok();
}

err memory_shared(const char *name, size_t size, int *fd, void **at)
{
    OWNED(fd_drop) int f = memory_create(name);
    if (f < 0)
        return fail_errno(errno, "create shared memory");
    if (ftruncate(f, (off_t)size) != 0)
        return fail_errno(errno, "size shared memory");
    // Both sides write, but neither may pull the pages from under the other.
    if (fcntl(f, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) != 0)
        return fail_errno(errno, "seal shared memory's size");
    TRY(memory_map_shared(f, size, at));
    *fd = fd_move(&f);
    return ok();
}
