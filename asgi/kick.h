/* kick.h: the process's registry of owners, and the way back from an owner to the connection it belongs to: a group with
 * overflow "close" closes the connection whose mailbox is full, on whichever server it is.
 *
 * Owner:   the process, for ever; each target is its server's.
 * Thread:  any; one short lock.
 * Limits:  one target for each running exchange.
 */
#ifndef PENEUS_ASGI_KICK_H
#define PENEUS_ASGI_KICK_H

#include <stdint.h>

#include "channellayer/owner.h"

struct server;

/* The registry, made by the first call. */
struct owners *kick_owners(void);

/* A tag for owner_open() that leads to exchange of server; 0 (which leads nowhere) when there is no memory. */
uint64_t kick_add(struct server *server, uint64_t exchange);

/* Forgets tag: when it returns, nobody sends to its server on its account. 0 and a stale tag do nothing. */
void kick_remove(uint64_t tag);

/* Forgets all tags of server. */
void kick_remove_server(const struct server *server);

#endif
