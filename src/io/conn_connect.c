// Connecting to TCP addresses and Unix sockets, bounded by the handshake's deadline.
#include "io/conn_inner.h"

#include <string.h>
#include <sys/un.h>

static void conn_on_connect_late(loop_deadline *d)
{
    conn *c = (conn *)((char *)d - offsetof(conn, deadline));
    conn_fail(c, fail(ERR_TIMEOUT, 0, "connect"));
}

static void conn_on_connected(uv_connect_t *r, int status)
{
    conn *c = r->handle->data;
    loop_wake(c->loop);
    if (c->closing)
        return;
    if (status < 0) {
        conn_fail(c, io_fail(status, "connect"));
        return;
    }
    conn_start_reading(c);
    if (c->tls != NULL)
        conn_tls_start(c);
    else
        conn_become_ready(c);
}

static err conn_begin(conn *c, conn_connected *on_connect, void *owner)
{
    if (c->tls != NULL && c->tls->context->server)
        return fail(ERR_UNSUPPORTED, 0, "connect with a server's TLS context");
    c->owner = owner;
    c->on_connect = on_connect;
    loop_deadline_set(c->loop, &c->deadline, c->handshake_ms, conn_on_connect_late);
    return fault_hits(FAULT_CONNECT) ? fail(ERR_CLOSED, 0, "connect") : ok();
}

static err conn_begin_tcp(conn *c, const char *address, uint16_t port)
{
    io_address to;
    TRY(io_address_read(address, port, &to));
    (void)uv_tcp_nodelay(&c->io.tcp, 1); // remembered until there is a socket
    int rc = uv_tcp_connect(&c->request.connect, &c->io.tcp, &to.any, conn_on_connected);
    return rc == 0 ? ok() : io_fail(rc, "connect");
}

err conn_connect(conn **out,
                 loop *l,
                 const char *address,
                 uint16_t port,
                 const char *server_name,
                 const conn_settings *settings,
                 conn_connected *on_connect,
                 void *owner)
{
    conn *c = NULL;
    TRY(conn_new(&c, l, settings, false));
    err e = conn_begin(c, on_connect, owner);
    if (e.code == OK && c->tls != NULL)
        e = conn_tls_name(c, server_name, address, port);
    if (e.code == OK)
        e = conn_begin_tcp(c, address, port);
    if (e.code != OK) {
        conn_close(c);
        return e;
    }
    *out = c;
    return ok();
}

err conn_connect_unix(conn **out,
                      loop *l,
                      const char *path,
                      const conn_settings *settings,
                      conn_connected *on_connect,
                      void *owner)
{
    conn *c = NULL;
    if (strlen(path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
        return fail(ERR_LIMIT, 0, "connect: path of a Unix socket");
    TRY(conn_new(&c, l, settings, true));
    err e = conn_begin(c, on_connect, owner);
    if (e.code == OK && c->tls != NULL)
        e = conn_tls_name(c, NULL, path, 0);
    if (e.code != OK) {
        conn_close(c);
        return e;
    }
    uv_pipe_connect(&c->request.connect, &c->io.pipe, path, conn_on_connected);
    *out = c;
    return ok();
}
