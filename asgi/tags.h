/* tags.h: the hooks of a server: an exchange begins with an owner in the channel layer, and ends with its closing.
 *
 * Owner:   struct pyserver.
 * Thread:  tags_begun and tags_ended: the server's I/O thread, without the GIL.
 * Limits:  one tag for each running exchange.
 */
#ifndef PENEUS_ASGI_TAGS_H
#define PENEUS_ASGI_TAGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct outlet;
struct server;

struct tags {
    struct server *server;
    struct outlet *outlet; /* counted; NULL before the server is there */
    uint64_t *tags; /* kick.h, by slots_index(exchange) */
    size_t room;
};

/* server_hooks.exchange_begun and exchange_ended; context is the struct tags. */
uint64_t tags_begun(void *context, uint64_t exchange, bool websocket);
void tags_ended(void *context, uint64_t exchange, uint64_t owner);

/* After the I/O thread's end, or before its start. */
void tags_deinit(struct tags *tags);

#endif
