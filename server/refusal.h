/* refusal.h: requests that the server answers by itself, before any application has heard of them. Private to server/.
 *
 * Owner:   nobody.
 * Thread:  the I/O thread.
 * Limits:  LOGGED_LENGTH bytes of method and target. Its events weigh on the load as heads do; where there is no room for another head, or
 *          no memory, nothing is announced.
 */
#ifndef PENEUS_SERVER_REFUSAL_H
#define PENEUS_SERVER_REFUSAL_H

#include <stdint.h>

#include "server/event.h"

struct connection;

enum { LOGGED_LENGTH = 2048 };

/* Announces EVENT_REFUSED about a request of the client whose socket connection has, if anybody wants to know (tells_refusals). Method and
 * target are pieces of bytes, as far as they have been read; bytes NULL: not at all. reason is a literal, or NULL. */
void refusal_announce(struct connection *connection, uint16_t status, const char *reason, const unsigned char *bytes, struct piece method,
                      struct piece target);

#endif
