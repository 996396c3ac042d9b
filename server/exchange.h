/* exchange.h: one request and its response, or one WebSocket: what one call of the application sees. It knows nothing of
 * how its bytes are framed.
 *
 * Owner:   the server's table; freed when both its client side has ended and its application has FINISHED.
 * Thread:  the I/O thread.
 * Limits:  receive_window of what is announced and not consumed; send_window of what is sent and not written.
 *
 *   exchange_begin ─▶ OPEN ─┬─ exchange_complete (the whole response) ─┬─▶ ENDED ── FINISHED ─▶ freed
 *                           └─ exchange_end (anything else; DISCONNECT)┘
 */
#ifndef PENEUS_SERVER_EXCHANGE_H
#define PENEUS_SERVER_EXCHANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/event.h"

struct connection;
struct kill;
struct load;
struct server;

enum exchange_state {
    EXCHANGE_OPEN,  /* has a connection */
    EXCHANGE_ENDED, /* has none: waits for its application */
};

struct exchange {
    uint64_t id;
    uint64_t owner;
    struct server *server;
    struct connection *connection; /* NULL once ENDED */
    enum exchange_state state;
    bool finished;          /* the application has */
    bool unsubscribed;      /* the exchange_ended hook has run */
    bool paused;            /* the receive window is used up: input waits until at least half of it is free */
    size_t received;        /* event_cost() of what is announced and not consumed */
    size_t unacknowledged;  /* command_cost() of what is sent, less what EVENT_WRITTEN has returned */
    struct load *load;      /* counted: its connection's */
    struct kill *kill;      /* runs from DISCONNECT until the application ends */
};

/* How an exchange ends, for EVENT_DISCONNECT. */
struct ending {
    enum disconnect_cause cause;
    uint16_t code;
    uint16_t status;
    uint64_t expected, actual;
    const unsigned char *reason;
    size_t reason_length;
};

/* A new exchange of connection, with an owner; NULL when there is no memory. */
struct exchange *exchange_begin(struct server *server, struct connection *connection, bool websocket);

/* The exchange that id names, or NULL. */
struct exchange *exchange_find(struct server *server, uint64_t id);

/* Announces EVENT_REQUEST, which weighs on the connection's load until the application's thread has taken it. */
void exchange_announce_request(struct exchange *exchange, struct request_event *request);

/* Announces EVENT_BODY or EVENT_MESSAGE, and takes its cost of the receive window. */
void exchange_announce(struct exchange *exchange, struct event *event);

/* COMMAND_CONSUMED. True: input may go on. */
bool exchange_consumed(struct exchange *exchange, size_t amount);

/* Announces EVENT_WRITTEN when it is time; unwritten is what the connection still holds. */
void exchange_written(struct exchange *exchange, size_t unwritten);

/* The client has gone, but what it had sent is still to be announced: the subscriptions end now, DISCONNECT follows later. */
void exchange_unsubscribe(struct exchange *exchange);

/* OPEN -> ENDED: the subscriptions end here, then DISCONNECT is announced. The exchange may be freed. */
void exchange_end(struct exchange *exchange, const struct ending *ending);

/* OPEN -> ENDED after a complete response: the subscriptions end, nothing is announced but a last EVENT_WRITTEN, where it is worth one.
 * The exchange may be freed. */
void exchange_complete(struct exchange *exchange);

/* COMMAND_SPARE: EVENT_KILL comes again in ms, unless the application ends before. */
void exchange_spare(struct exchange *exchange, uint64_t ms);

/* The application has ended. The exchange is freed if it is ENDED. */
void exchange_finish(struct exchange *exchange);

/* Closes what the exchanges hold of the loop, before it stops. */
void exchanges_stop(struct server *server);

/* Frees every exchange that is left, after the loop has stopped. */
void exchanges_destroy(struct server *server);

#endif
