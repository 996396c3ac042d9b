/* redis_greeting.h: what is said first on a connection: protocol, user, database, and whether this server is the master and serves.
 *
 * Owner:   whoever embeds it, the link; it sends by the function it is given.
 * Thread:  the link's.
 * Limits:  one step at a time; the link bounds the time of all.
 */
#ifndef PENEUS_CHANNELLAYER_BUS_REDIS_GREETING_H
#define PENEUS_CHANNELLAYER_BUS_REDIS_GREETING_H

#include <stddef.h>

#include "channellayer/bus/redis_link.h"

enum redis_greeting_step { GREETING_HELLO, GREETING_AUTH, GREETING_SELECT, GREETING_ROLE, GREETING_PING, GREETING_DONE };

struct redis_greeting {
    enum redis_greeting_step step; /* whose answer it waits for */
    int protocol;                  /* that is spoken: 2 or 3 */
    const struct redis_host *host;
    /* Sends words; the answer comes with the greeting as context. REDIS_LINK_OK or another. */
    int (*send)(void *context, size_t count, const struct name *words, struct redis_reader reader);
    /* The end. refusal: what is wrong; NULL: the connection may be used. */
    void (*done)(void *context, const char *refusal);
    void *context; /* of send and done */
};

/* The other fields are filled. */
void redis_greeting_begin(struct redis_greeting *greeting);

#endif
