/* peers.h: the scope's "client" and "server" for the connections that come again with each of their requests.
 *
 * Owner:   struct pyserver: connections of two servers may have the same id.
 * Thread:  with the GIL.
 * Limits:  PEERS connections; a new one replaces the one in its place.
 */
#ifndef PENEUS_ASGI_PEERS_H
#define PENEUS_ASGI_PEERS_H

#include <Python.h>
#include <stdint.h>

#include "server/event.h"

enum { PEERS = 1024 };

struct peer {
    uint64_t connection; /* 0: empty */
    PyObject *client;    /* (host, port), or None for a Unix socket */
    PyObject *server;    /* (host, port) or (path, None) */
};

struct peers {
    struct peer *peers; /* PEERS, made with the first */
};

/* The peer of connection, whose references are the table's; NULL with an exception. */
const struct peer *peers_get(struct peers *peers, uint64_t connection, const struct endpoints *endpoints);

void peers_clear(struct peers *peers);

#endif
