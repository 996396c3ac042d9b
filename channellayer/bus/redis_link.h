/* redis_link.h: one connection to one Redis, made anew for as long as it lives: with TLS, user, database, RESP3 where the
 * server has it; by way of Sentinel to whoever is the master.
 *
 * Owner:   the bus that creates it; it is freed after on_closed.
 * Thread:  that of its loop.
 * Limits:  none of its own: a bus bounds what it asks for. A server that is silent for silence_ms while it owes an answer,
 *          is lost; one that owes none is asked (PING). Between attempts it waits 50 ms to 5 s, a random part of it.
 */
#ifndef PENEUS_CHANNELLAYER_BUS_REDIS_LINK_H
#define PENEUS_CHANNELLAYER_BUS_REDIS_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "channellayer/bus/redis_config.h"

struct redisReply; /* hiredis.h */
struct redis_link;

/* Called on the loop; from within the functions below only where these say so. Each may call all of them. Any may be NULL. */
struct redis_link_events {
    void (*on_up)(void *context);   /* commands may be sent from now on */
    /* It was up and is lost; every command has had its answer, or NULL. It is being made again. */
    void (*on_down)(void *context, const char *reason);
    /* An attempt to connect has failed; there will be others. */
    void (*on_failed)(void *context, const char *reason);
    /* The server has answered command, its first word, with an error; the reader hears of it next. Not called for quiet readers, nor
     * for an error that ends the connection: on_down gives that as its reason. */
    void (*on_error)(void *context, const char *command, const char *error);
    /* What no command asked for: an array or push "message", "smessage", "pmessage", "sunsubscribe" of a moved slot. */
    void (*on_push)(void *context, const struct redisReply *push);
    void (*on_closed)(void *context); /* after redis_link_destroy(): the last call */
};

/* The answer to a command; NULL: the connection was lost before. An error is an answer (REDIS_REPLY_ERROR). SUBSCRIBE and
 * its kin get one for each topic, or one error for all of them. reply is freed after the call.
 *
 * After an error that says that this server is not the one to use (redis_error.h) the link is not up any more: it waits a moment
 * for the other answers, and makes another connection, for which it looks up the address again. */
struct redis_reader {
    void (*on_reply)(void *context, void *argument, const struct redisReply *reply);
    void *argument; /* with the events' context */
    bool quiet;     /* it takes care of errors itself: no on_error */
};

/* host lives as long as the link; it may be REDIS_SINGLE or REDIS_SENTINEL. Its addresses may be exchanged for others on the loop's
 * thread. silence_ms: 0 for a default (3 s); a link that waits in
 * blocking commands adds their time. The first attempt begins on the loop's next turn. NULL when there is no memory. */
struct redis_link *redis_link_create(uv_loop_t *loop, const struct redis_host *host, uint64_t silence_ms,
                                     const struct redis_link_events *events, void *context);

/* Answers every command with NULL before it returns; closes, and then calls on_closed and frees. Once. */
void redis_link_destroy(struct redis_link *link);

bool redis_link_is_up(const struct redis_link *link);

/* Whether on_up has been called and on_down has not. */
bool redis_link_is_connected(const struct redis_link *link);

/* RESP 2 or 3, while it is up. */
int redis_link_protocol(const struct redis_link *link);

/* The host, name or number, that it is connected to or was last; NULL: none yet, or a Unix socket. */
const char *redis_link_host(const struct redis_link *link);

/* When it was heard from last (uv_now()); 0: never. */
uint64_t redis_link_heard_at(const struct redis_link *link);

/* Gives the connection up and makes another soon. Calls on_down, or on_failed where it was not up, before it returns. */
void redis_link_renew(struct redis_link *link, const char *reason);

enum {
    REDIS_LINK_OK = 0,
    REDIS_LINK_DOWN = -1,      /* it is not up */
    REDIS_LINK_NO_MEMORY = -2, /* nothing was sent, and it stays up */
};

/* Sends a command of count words; everything that is sent in one turn of the loop leaves in one write. */
int redis_link_send(struct redis_link *link, size_t count, const struct name *words, struct redis_reader reader);

#endif
