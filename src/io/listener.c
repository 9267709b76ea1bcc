// Listening sockets: made here or handed over by descriptor, accepted in batches on the loop.
#include "io/conn_inner.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 4096 }; // the kernel cuts it to somaxconn

struct listener {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } io;
    loop *loop;
    conn_settings settings;
    listener_accept *on_accept;
    void *data;
    loop_deadline retry;
    bool unix_socket;
    bool closing;
    bool paused;
    bool waiting; // libuv holds one connection and asks for no more until that is taken
};

static void listener_on_closed(uv_handle_t *h)
{
    listener *l = h->data;
    tls_context_close(l->settings.tls);
    free(l);
}

void listener_close(listener *l)
{
    if (l == NULL || l->closing)
        return;
    l->closing = true;
    loop_deadline_clear(&l->retry);
    uv_close(&l->io.handle, listener_on_closed);
}

static void listener_on_retry(loop_deadline *d);

static void listener_take(listener *l)
{
    conn *c = NULL;
    err e = conn_new(&c, l->loop, &l->settings, l->unix_socket);
    if (e.code != OK) {
        // Memory is short: libuv keeps the socket and stops accepting until it is taken.
        loop_deadline_set(l->loop, &l->retry, LOOP_TICK_MS, listener_on_retry);
        return;
    }
    if (uv_accept(&l->io.stream, &c->io.stream) != 0) {
        conn_close(c);
        return;
    }
    c->ready = c->tls == NULL;
    l->on_accept(l->data, c);
    if (c->closing)
        return;
    if (c->tls != NULL || !c->paused)
        conn_start_reading(c);
    if (c->tls != NULL)
        conn_tls_start(c);
}

static void listener_on_retry(loop_deadline *d)
{
    listener *l = (listener *)((char *)d - offsetof(listener, retry));
    l->waiting = l->paused;
    if (!l->paused)
        listener_take(l);
}

// libuv accepts until the backlog is empty and calls this for each.
static void listener_on_connection(uv_stream_t *s, int status)
{
    listener *l = s->data;
    loop_wake(l->loop);
    if (l->closing || status < 0)
        return;
    l->waiting = l->paused;
    if (!l->paused)
        listener_take(l);
}

void listener_pause(listener *l, bool paused)
{
    l->paused = paused;
    if (paused || !l->waiting || l->closing)
        return;
    // Not from here: on_accept is never called before the call that leads to it has returned.
    loop_deadline_set(l->loop, &l->retry, 0, listener_on_retry);
}

err listener_open(listener **out,
                  loop *l,
                  int fd,
                  const conn_settings *settings,
                  listener_accept *on_accept,
                  void *data)
{
    io_address name = {0};
    socklen_t len = sizeof(name);
    if (getsockname(fd, &name.any, &len) != 0) {
        int number = errno;
        (void)close(fd);
        return fail_errno(number, "open listener");
    }
    listener *n = io_take(sizeof(*n));
    if (n == NULL) {
        (void)close(fd);
        return fail(ERR_MEMORY, 0, "open listener");
    }
    n->loop = l;
    n->settings = *settings;
    n->settings.tls = settings->tls != NULL ? tls_context_take(settings->tls) : NULL;
    n->on_accept = on_accept;
    n->data = data;
    n->unix_socket = name.any.sa_family == AF_UNIX;
    int rc = 0;
    if (n->unix_socket) {
        (void)uv_pipe_init(&l->uv, &n->io.pipe, 0);
        rc = uv_pipe_open(&n->io.pipe, fd);
    } else {
        int yes = 1; // accepted sockets inherit it: no call per connection
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
        (void)uv_tcp_init(&l->uv, &n->io.tcp);
        rc = uv_tcp_open(&n->io.tcp, fd);
    }
    n->io.handle.data = n;
    if (rc != 0)
        (void)close(fd);
    else
        rc = uv_listen(&n->io.stream, BACKLOG, listener_on_connection);
    if (rc != 0) {
        listener_close(n);
        return io_fail(rc, "open listener");
    }
    *out = n;
    return ok();
}

err socket_listen(const char *address, uint16_t port, bool shared, int *fd)
{
    io_address at;
    int yes = 1;
    TRY(io_address_read(address, port, &at));
    socklen_t len = at.any.sa_family == AF_INET ? sizeof(at.four) : sizeof(at.six);
    OWNED(fd_drop) int f = socket(at.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (f < 0 || setsockopt(f, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) != 0 ||
        (shared && setsockopt(f, SOL_SOCKET, SO_REUSEPORT, &yes, sizeof(yes)) != 0) ||
        (at.any.sa_family == AF_INET6 &&
         setsockopt(f, IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof(yes)) != 0) ||
        bind(f, &at.any, len) != 0 || listen(f, BACKLOG) != 0)
        return io_fail(-errno, "listen");
    *fd = fd_move(&f);
    return ok();
}

err socket_listen_unix(const char *path, unsigned mode, int *fd)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    size_t len = strlen(path);
    if (len == 0 || len >= sizeof(at.sun_path))
        return fail(ERR_LIMIT, 0, "listen: path of a Unix socket");
    memcpy(at.sun_path, path, len);
    OWNED(fd_drop) int f = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (f < 0)
        return io_fail(-errno, "listen");
    // Until chmod() nobody but us may connect: there is no backlog to connect to before listen().
    if (bind(f, (const struct sockaddr *)&at, sizeof(at)) != 0)
        return io_fail(-errno, "listen");
    if (chmod(path, (mode_t)mode) != 0 || listen(f, BACKLOG) != 0) {
        int number = errno;
        (void)unlink(path);
        return io_fail(-number, "listen");
    }
    *fd = fd_move(&f);
    return ok();
}

uint16_t socket_port(int fd)
{
    io_address name = {0};
    socklen_t len = sizeof(name);
    return getsockname(fd, &name.any, &len) == 0 ? io_address_port(&name) : 0;
}
