/* redis_wire.h: one socket to a Redis: connected without waiting, with TLS or not, and what is said on it.
 *
 * Owner:   the link that opens it; freed by itself after redis_wire_close().
 * Thread:  that of its loop.
 * Limits:  what is not yet written waits in memory, and the bus bounds it. Of what comes, a line has at most WIRE_LINE bytes, an array
 *          WIRE_ELEMENTS elements and a string WIRE_STRING bytes; until redis_wire_trust() it is WIRE_FEW elements, and WIRE_LINE bytes of a
 *          string. A server that sends more is lost.
 *
 * hiredis gives the socket, the TLS, the writer and the reader. Its asynchronous context is not used: that keeps its own
 * table of subscriptions, takes the error of a SUBSCRIBE for another command's answer, knows no SSUBSCRIBE, and looks names
 * up while everything waits. Here replies are handed on in order; what they answer is the link's to know.
 */
#ifndef PENEUS_CHANNELLAYER_BUS_REDIS_WIRE_H
#define PENEUS_CHANNELLAYER_BUS_REDIS_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "channellayer/layer.h"

struct redisReply;
struct redis_tls;
struct redis_wire;

enum { WIRE_LINE = 64 * 1024, WIRE_FEW = 256, WIRE_ELEMENTS = 1024 * 1024, WIRE_STRING = 512 * 1024 * 1024 };

struct redis_wire_events {
    void (*on_open)(void *context);
    void (*on_reply)(void *context, const struct redisReply *reply); /* freed after the call */
    void (*on_lost)(void *context, const char *reason);              /* close it; nothing more comes */
};

struct redis_wire_target {
    const char *number; /* IPv4 or IPv6; NULL: path */
    int port;
    const char *path;
    const char *name;   /* that a certificate is checked against; NULL: none */
    const struct redis_tls *tls; /* NULL: without */
};

/* Begins to connect. NULL: reason says why it cannot. */
struct redis_wire *redis_wire_open(uv_loop_t *loop, const struct redis_wire_target *target, const struct redis_wire_events *events,
                                   void *context, char *reason, size_t size);

/* No event comes any more. May be called from within one. */
void redis_wire_close(struct redis_wire *wire);

/* The server has greeted: from now on it may send messages. */
void redis_wire_trust(struct redis_wire *wire);

/* Adds a command to what is written at the end of this turn of the loop. 0, or -1 when there is no memory: nothing was added. */
int redis_wire_send(struct redis_wire *wire, size_t count, const struct name *words);

#endif
