/* redis_tls.h: the client's end of a TLS connection to a Redis, from its settings.
 *
 * Owner:   the caller, until hiredis takes the session.
 * Thread:  any; one that blocks: files are read, anew for each connection, so renewed certificates are found.
 * Limits:  TLS 1.2 and later.
 */
#ifndef PENEUS_CHANNELLAYER_BUS_REDIS_TLS_H
#define PENEUS_CHANNELLAYER_BUS_REDIS_TLS_H

#include <stddef.h>

struct redis_tls;
struct ssl_st;

/* A session for a connection to host (a name or a number; NULL: a Unix socket). NULL: reason says why. */
struct ssl_st *redis_tls_open(const struct redis_tls *tls, const char *host, char *reason, size_t size);

/* Why the last operation of ssl failed, for people; empties the thread's queue of errors. */
void redis_tls_reason(const struct ssl_st *ssl, char *reason, size_t size);

#endif
