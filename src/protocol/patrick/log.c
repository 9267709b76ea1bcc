// Logs of jobs: one file each, appended while the job runs, read from any offset.
#include "base/file.h"
#include "base/str.h"
#include "protocol/patrick/patrick_inner.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LOG_PIECE_BYTES_MAX = 256 * 1024 };

// The id becomes a file's name: nothing but base58 gets through.
static err log_path(struct patrick *p, arena *a, str id, const char **out)
{
    for (size_t i = 0; i < id.len; i++) {
        char c = id.at[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')))
            return fail(ERR_SYNTAX, 0, "not a job's id");
    }
    if (id.len == 0 || id.len > 64)
        return fail(ERR_SYNTAX, 0, "not a job's id");
    *out = str_format(a, "%s/logs/%.*s", p->context.folder, STR_ARG(id)).at;
    return *out == NULL ? fail(ERR_MEMORY, 0, "open log") : ok();
}

static err log_append(const char *path, str text, uint64_t *size)
{
    OWNED(fd_drop) int f = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    struct stat info;
    if (f < 0 || fstat(f, &info) != 0)
        return fail_errno(errno, "open job log");
    if ((uint64_t)info.st_size + text.len > JOB_LOG_BYTES_MAX)
        return fail(ERR_LIMIT, 0, "the job's log is full (10 MiB)");
    ssize_t n = write(f, text.at, text.len);
    if (n < 0)
        return fail_errno(errno, "write job log");
    *size = (uint64_t)info.st_size + (uint64_t)n;
    return ok();
}

static void
patrick_on_log_add(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)header;
    struct patrick *p = data;
    const patrick_log_add_request *request = fields;
    const char *path;
    patrick_log_add_reply reply = {0};
    err e = log_path(p, mesh_incoming_arena(in), request->id, &path);
    if (e.code == OK)
        e = log_append(path, request->text, &reply.bytes);
    if (e.code != OK)
        mesh_answer_err(in, e);
    else
        mesh_answer(in, &reply);
}

static err log_read(const char *path, arena *a, uint64_t offset, size_t size, str *out)
{
    OWNED(fd_drop) int f = open(path, O_RDONLY | O_CLOEXEC);
    if (f < 0 && errno == ENOENT) {
        *out = STR("");
        return ok();
    }
    char *bytes = arena_take(a, size);
    if (f < 0 || bytes == NULL)
        return f < 0 ? fail_errno(errno, "open job log") : fail(ERR_MEMORY, 0, "read job log");
    ssize_t n = pread(f, bytes, size, (off_t)offset);
    if (n < 0)
        return fail_errno(errno, "read job log");
    *out = (str){bytes, (size_t)n};
    return ok();
}

static void
patrick_on_log(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)header;
    struct patrick *p = data;
    const patrick_log_request *request = fields;
    arena *a = mesh_incoming_arena(in);
    size_t size = request->bytes_max == 0 || request->bytes_max > LOG_PIECE_BYTES_MAX
                      ? LOG_PIECE_BYTES_MAX
                      : (size_t)request->bytes_max;
    const char *path;
    job_record job;
    patrick_log_reply reply = {.offset = request->offset};
    err e = patrick_job_get(p, a, request->id, &job, NULL);
    if (e.code == OK)
        e = log_path(p, a, request->id, &path);
    if (e.code == OK)
        e = log_read(path, a, request->offset, size, &reply.text);
    if (e.code != OK) {
        mesh_answer_err(in, e);
        return;
    }
    reply.offset += reply.text.len;
    reply.complete = reply.text.len < size && patrick_job_has_ended(job.state);
    mesh_answer(in, &reply);
}

err patrick_log_serve(struct patrick *p)
{
    enum { PATH_BYTES = 8192 };
    OWNED(arena_drop) arena *a = NULL;
    TRY(arena_open(&a, PATH_BYTES));
    const char *folder = str_format(a, "%s/logs", p->context.folder).at;
    if (folder == NULL)
        return fail(ERR_LIMIT, 0, "path too long");
    TRY(file_make_folders(folder, 0700));
    TRY(mesh_serve(p->context.mesh, MSG_patrick_log_add, patrick_on_log_add, p));
    return mesh_serve(p->context.mesh, MSG_patrick_log, patrick_on_log, p);
}
