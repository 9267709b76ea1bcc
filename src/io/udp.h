// Datagrams on the loop: bound sockets for the DNS server.
#pragma once
#include "base/base.h"
#include "io/loop.h"

typedef struct udp udp;
typedef struct udp_from {
    _Alignas(8) unsigned char address[128]; // a sockaddr, to be given back to udp_send
} udp_from;
typedef void udp_received(void *data, udp *u, str bytes, const udp_from *from);
err udp_open(udp **out,
             loop *l,
             const char *address,
             uint16_t port,
             udp_received *on_datagram,
             void *data) MUST_USE;
err udp_send(udp *u, str bytes, const udp_from *to) MUST_USE; // dropped when the socket is full
uint16_t udp_port(const udp *u); // what it is bound to (port 0 picks one)
void udp_close(udp *u);
