// Datagrams on the loop: read into the loop's shared buffer, sent at once or dropped.
#include "io/udp.h"

#include "io/loop_inner.h"

#include <string.h>

struct udp {
    uv_udp_t handle;
    loop *loop;
    udp_received *on_datagram;
    void *data;
    bool closing;
};

static void udp_on_closed(uv_handle_t *h)
{
    free(h->data);
}

static void udp_on_room(uv_handle_t *h, size_t wanted, uv_buf_t *out)
{
    (void)wanted;
    const udp *u = h->data;
    *out = (uv_buf_t){.base = u->loop->read_bytes, .len = LOOP_READ_BYTES};
}

static void udp_on_datagram(
    uv_udp_t *h, ssize_t count, const uv_buf_t *b, const struct sockaddr *from, unsigned flags)
{
    udp *u = h->data;
    loop_wake(u->loop);
    // Errors here are those of single datagrams (an unreachable port): there is nobody to tell.
    if (u->closing || count < 0 || from == NULL || (flags & UV_UDP_PARTIAL) != 0)
        return;
    udp_from sender = {0};
    memcpy(sender.address, from,
           from->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
    u->on_datagram(u->data, u, (str){b->base, (size_t)count}, &sender);
}

err udp_open(
    udp **out, loop *l, const char *address, uint16_t port, udp_received *on_datagram, void *data)
{
    io_address at;
    TRY(io_address_read(address, port, &at));
    udp *u = io_take(sizeof(*u));
    if (u == NULL)
        return fail(ERR_MEMORY, 0, "bind datagrams");
    (void)uv_udp_init(&l->uv, &u->handle); // makes no socket yet, so cannot fail
    u->handle.data = u;
    u->loop = l;
    u->on_datagram = on_datagram;
    u->data = data;
    int rc = uv_udp_bind(&u->handle, &at.any, at.any.sa_family == AF_INET6 ? UV_UDP_IPV6ONLY : 0);
    if (rc == 0)
        rc = uv_udp_recv_start(&u->handle, udp_on_room, udp_on_datagram);
    if (rc != 0) {
        udp_close(u);
        return io_fail(rc, "bind datagrams");
    }
    *out = u;
    return ok();
}

err udp_send(udp *u, str bytes, const udp_from *to)
{
    if (u->closing)
        return fail(ERR_CLOSED, 0, "send datagram");
    uv_buf_t b = {.base = (char *)bytes.at, .len = bytes.len};
    int rc = uv_udp_try_send(&u->handle, &b, 1, (const struct sockaddr *)to->address);
    if (rc == UV_EAGAIN)
        return ok(); // datagrams may be lost, and this one was
    return rc >= 0 ? ok() : io_fail(rc, "send datagram");
}

uint16_t udp_port(const udp *u)
{
    io_address name = {0};
    int len = sizeof(name);
    return uv_udp_getsockname(&u->handle, &name.any, &len) == 0 ? io_address_port(&name) : 0;
}

void udp_close(udp *u)
{
    if (u == NULL || u->closing)
        return;
    u->closing = true;
    uv_close((uv_handle_t *)&u->handle, udp_on_closed);
}
