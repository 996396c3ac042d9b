/* proxy_connection.h: a connection that begins with a PROXY header, from which it learns whose it is.
 *
 * Owner:   the connection. It holds one reference to the listener's TLS store from proxy_connection_begin() until TLS has started, or
 *          until the connection is freed.
 * Thread:  the I/O thread.
 * Limits:  header_timeout for the header, limit_handshakes connections that wait for theirs, proxy_protocol.h for its size.
 */
#ifndef PENEUS_SERVER_PROXY_CONNECTION_H
#define PENEUS_SERVER_PROXY_CONNECTION_H

#include <stddef.h>

struct connection;
struct tls_store;

/* In CONNECTION_PROXY; tls: what follows the header is encrypted, or NULL. A peer that is not trusted is closed. */
void proxy_connection_begin(struct connection *connection, struct tls_store *tls);

/* Takes input: all of it. */
void proxy_connection_input(struct connection *connection, const unsigned char *bytes, size_t length);

/* Releases the reference to the TLS store, if the connection still holds it. */
void proxy_connection_deinit(struct connection *connection);

#endif
