/* node.h: who a request came from, and for which host, as proxies write it in headers.
 *
 * Owner:   nobody: functions only.
 * Thread:  any.
 * Limits:  a host has at most 255 bytes, without its port.
 */
#ifndef PENEUS_SERVER_NODE_H
#define PENEUS_SERVER_NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/address.h"

/* Bytes somewhere else. */
struct text {
    const char *at;
    size_t length;
};

enum node {
    NODE_ADDRESS,
    NODE_HIDDEN, /* "unknown", or a made-up name such as "_proxy1" (RFC 7239, 6) */
    NODE_BAD,
};

/* "192.0.2.1", "192.0.2.1:80", "2001:db8::1", "[2001:db8::1]:80", "unknown" or "_hidden". *port is 0 where there is none. */
enum node node_read(struct text text, struct address *address, uint16_t *port);

/* A decimal number of at most 5 digits and 65535. */
bool node_port(struct text text, uint16_t *port);

/* A host with or without a port, such as a Host header has: a name, an IPv4 address or an IPv6 one in brackets. */
bool node_is_host(struct text text);

#endif
