/* websocket_connection.h: a WebSocket on a connection: messages, pings, deadlines, and the closing handshake.
 *
 * Owner:   the connection embeds it.
 * Thread:  the I/O thread.
 * Limits:  struct server_settings; pings are not answered while PONG_LIMIT bytes wait to be written.
 *
 * While a message has come in part, body_timeout and min_rate hold for it as for a request's body: otherwise 1008.
 *
 * Where the client breaks the protocol, the application first gets the time to answer the messages before (EVENT_ASK): it would be
 * chance otherwise whether the client hears of them. Then, or after close_timeout, the connection is closed with the fault's code.
 *
 * zlib's work on large messages is done in slices (work.h). While a message that came in is inflated, nothing more is taken (busy). One that
 * goes out has its place in the outbox, as an unsettled BROADCAST_OWN, and shuts it until it is compressed; those behind it wait there too.
 *
 * The exchange ends when either side's close frame is sent or received: from then on nothing reaches the application.
 */
#ifndef PENEUS_SERVER_WEBSOCKET_CONNECTION_H
#define PENEUS_SERVER_WEBSOCKET_CONNECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/event.h"
#include "server/pace.h"
#include "server/websocket.h"

struct command;
struct connection;

enum { PONG_LIMIT = 64 * 1024 };

struct websocket_connection {
    struct websocket session;
    bool closing;       /* our close frame is out: waits for the peer's */
    bool busy;          /* the session is to go on in this connection's next turn */
    bool failed;        /* session->code says with what; nothing more is read, and the application asked whether it has done */
    uint64_t last_read; /* loop time */
    uint64_t pinged;    /* loop time of the ping that DEADLINE_PONG is about */
    struct pace message_pace; /* while DEADLINE_BODY is set */
    struct deflating *deflating; /* the message at the outbox's gate; NULL: it has not begun, or there is none */
};

/* COMMAND_ACCEPT: answers the handshake of an HTTP/1 connection and turns it into a WebSocket. */
void websocket_accept(struct connection *connection, const struct command *command);

/* The handshake's answer is out: the connection, of HTTP/1 or a stream, is a WebSocket from here on. deflate becomes its own; NULL: none. */
void websocket_begin(struct connection *connection, struct deflate *deflate);
void websocket_connection_deinit(struct connection *connection);

/* Takes input; returns how much of it. */
size_t websocket_input(struct connection *connection, const unsigned char *bytes, size_t length);

/* Its turn (work.h): a slice of what there is to inflate, and of what there is to compress. */
void websocket_work(struct connection *connection);

/* A broadcast that its outbox may have waited for has been compressed. */
void websocket_settle(struct connection *connection);

/* MESSAGE, CLOSE, CONSUMED. */
void websocket_command(struct connection *connection, struct command *command);

/* COMMAND_BROADCAST */
void websocket_broadcast(struct connection *connection, struct command *command, uint64_t label);

/* Sends a close frame and ends the exchange. */
void websocket_close(struct connection *connection, uint16_t code, const unsigned char *reason, size_t length,
                     enum disconnect_cause cause);

void websocket_deadline(struct connection *connection, int which);

#endif
