/* proxy_protocol.h: the header with which a proxy begins a connection, saying whose it is: versions 1 and 2 of HAProxy's PROXY
 * protocol. Sans I/O.
 *
 * Owner:   nobody: functions only.
 * Thread:  any.
 * Limits:  107 bytes in version 1, PROXY_LIMIT in version 2, with which everything that comes before the request is counted.
 */
#ifndef PENEUS_SERVER_PROXY_PROTOCOL_H
#define PENEUS_SERVER_PROXY_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/address.h"

enum { PROXY_LIMIT = 4096 };

struct proxy_header {
    bool has_addresses; /* no: the proxy speaks for itself (LOCAL), or does not know, or it was a Unix socket */
    bool secure;        /* the client speaks TLS with the proxy */
    struct address client, server;
    uint16_t client_port, server_port;
};

enum proxy_result {
    PROXY_DONE,
    PROXY_MORE, /* it goes on */
    PROXY_BAD,  /* malformed, too long, with a wrong checksum, or no such header at all */
};

/* Reads the first bytes of a connection, all that have come so far. PROXY_DONE: *header, and of how many bytes, *taken. */
enum proxy_result proxy_read(const unsigned char *bytes, size_t length, struct proxy_header *header, size_t *taken);

#endif
