// Streams one blob as an HTTP answer: read by helper threads, sent as fast as the peer takes it.
#include "base/str.h"
#include "mesh/blob_inner.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct sending {
    loop *loop;
    http_exchange *x;
    int file;
    uint64_t at, size;
    ssize_t got;
    bool working; // a helper thread reads
    bool busy;    // within a call of the exchange
    bool broken;  // x is gone
    char chunk[BLOB_CHUNK_BYTES];
} sending;

static void sending_settle(sending *s)
{
    if (!s->broken || s->working || s->busy)
        return;
    fd_drop(&s->file);
    free(s);
}

static void sending_on_broken(void *user, http_exchange *x)
{
    (void)x;
    sending *s = user;
    s->broken = true;
    sending_settle(s);
}

static void sending_end(sending *s, void (*end)(http_exchange *x))
{
    http_exchange *x = s->x;
    http_on_broken(x, NULL);
    http_on_drain(x, NULL);
    s->broken = true;
    sending_settle(s);
    end(x);
}

static void sending_read(void *data)
{
    sending *s = data;
    do
        s->got = pread(s->file, s->chunk, sizeof s->chunk, (off_t)s->at);
    while (s->got < 0 && errno == EINTR);
}

static void sending_next(sending *s);

static void sending_on_read(void *data)
{
    sending *s = data;
    s->working = false;
    if (s->broken) {
        sending_settle(s);
        return;
    }
    if (s->got <= 0) { // the peer sees less than was announced
        sending_end(s, http_break);
        return;
    }
    s->at += (uint64_t)s->got;
    s->busy = true;
    err e = http_send(s->x, (str){s->chunk, (size_t)s->got});
    s->busy = false;
    if (s->broken)
        sending_settle(s);
    else if (e.code == OK)
        sending_next(s);
    else if (e.code != ERR_CLOSED) // when closed, on_broken comes
        sending_end(s, http_break);
}

static void sending_next(sending *s)
{
    if (s->working || s->broken)
        return;
    if (s->at >= s->size) {
        sending_end(s, http_finish);
        return;
    }
    if (http_send_full(s->x))
        return;
    s->working = true;
    if (loop_work(s->loop, sending_read, sending_on_read, s).code == OK)
        return;
    s->working = false;
    sending_end(s, http_break);
}

static void sending_on_drain(void *user, http_exchange *x)
{
    (void)x;
    sending_next(user);
}

void mesh_blob_answer(loop *l, blobs *b, http_exchange *x, str hash)
{
    sha256 name;
    struct stat info;
    OWNED(fd_drop) int file = -1;
    err e = sha256_from_hex(hash, &name);
    if (e.code != OK)
        e = fail(ERR_SYNTAX, 0, "a blob is named by the 64 hex digits of its sha256");
    else if (b == NULL || (e = blobs_open_fd(b, &name, &file)).code == ERR_ABSENT)
        e = fail(ERR_ABSENT, 0, "this node does not have this blob");
    if (e.code == OK && fstat(file, &info) != 0)
        e = fail_errno(errno, "read blob");
    sending *s = e.code == OK ? malloc(sizeof *s) : NULL;
    if (e.code == OK && s == NULL)
        e = fail(ERR_MEMORY, 0, "send blob");
    if (e.code != OK) {
        http_answer_err(x, e);
        return;
    }
    s->loop = l;
    s->x = x;
    s->file = fd_move(&file);
    s->at = 0;
    s->size = (uint64_t)info.st_size;
    s->working = s->broken = false;
    s->busy = true;
    http_header type = {STR("Content-Type"), STR("application/octet-stream")};
    http_set_user(x, s);
    http_on_broken(x, sending_on_broken);
    http_on_drain(x, sending_on_drain);
    http_start(x, 200, &(http_headers){&type, 1}, s->size);
    s->busy = false;
    if (s->broken)
        sending_settle(s);
    else
        sending_next(s);
}
