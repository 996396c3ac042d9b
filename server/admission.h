/* admission.h: who may come in: the limits of connections in all and for each address, and of handshakes in progress.
 *
 * Owner:   the server has the counts; each connection is one of them until it is freed.
 * Thread:  the I/O thread.
 * Limits:  REFUSED_LIMIT connections that are told at the same time that they are too many; further ones are reset.
 */
#ifndef PENEUS_SERVER_ADMISSION_H
#define PENEUS_SERVER_ADMISSION_H

#include <stdbool.h>

struct connection;
struct server;

enum { REFUSED_LIMIT = 64, REFUSED_MS = 1000, HANDSHAKE_GRACE_MS = 1000 };

/* A connection is there, and counted. False: limit_connections is exceeded. */
bool admission_has_room(const struct server *server);

/* Its client's address is known. False: that one has as many connections as it may, or there is no memory to count it. A trusted proxy
 * may have any number, and so may clients of Unix sockets. */
bool admission_count(struct connection *connection);

/* Refuses a connection that has just come: 503 where plain HTTP is spoken, else a reset. */
void admission_refuse(struct connection *connection, bool plain);

/* The connection is not ready for requests yet: TLS's handshake or a PROXY header is to come; and: it is, or has gone. */
void admission_handshake_begins(struct connection *connection);
void admission_handshake_ends(struct connection *connection);

/* Whether one more handshake may begin: where there are limit_handshakes, the oldest is dropped, if it has had HANDSHAKE_GRACE_MS. */
bool admission_handshake_fits(struct server *server);

/* The connection is freed. */
void admission_leave(struct connection *connection);

#endif
