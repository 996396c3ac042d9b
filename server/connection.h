/* connection.h: one client's socket: which protocol it speaks, and how it ends.
 *
 * Owner:   the server's list; freed after the close callbacks of its two handles.
 * Thread:  the I/O thread.
 * Limits:  REST_LIMIT bytes of input that its protocol does not take yet; above, the socket is not read. While the protocol takes
 *          nothing, the socket is not read either, but with TLS, and is looked at every WATCH_MS whether the client has left.
 *          HALF_CLOSED_MS for a client that has ended its side behind a whole HTTP/1 request, and takes nothing.
 *
 *   PROXY ──▶ HTTP1 ──accept──▶ WEBSOCKET ◀──accept── STREAM ◀─┄ HTTP2 ◀──preface, ALPN── HTTP1
 *               └───────────────────┴───────┬───────────┴──────────┘
 *                                           ▼
 *                                       LINGERING ──▶ CLOSED        (any state may go to CLOSED)
 *
 * A stream of HTTP/2 is a connection too, which another one carries (http2_stream.h).
 */
#ifndef PENEUS_SERVER_CONNECTION_H
#define PENEUS_SERVER_CONNECTION_H

#include <stdbool.h>

#include "base/list.h"
#include "server/buffer.h"
#include "server/deadline.h"
#include "server/event.h"
#include "server/exchange.h"
#include "server/http1_connection.h"
#include "server/http2_connection.h"
#include "server/http2_stream.h"
#include "server/pace.h"
#include "server/transport.h"
#include "server/unsent.h"
#include "server/websocket_connection.h"
#include "server/work.h"

struct census_entry;
struct command;
struct load;
struct server;
struct tls;
struct tls_store;

enum { REST_LIMIT = 64 * 1024, WATCH_MS = 100, HALF_CLOSED_MS = 1000 };

enum connection_state {
    CONNECTION_PROXY,     /* waits for a PROXY header; afterwards it is as if it began */
    CONNECTION_HTTP1,     /* waits for requests and responses */
    CONNECTION_HTTP2,     /* carries streams */
    CONNECTION_STREAM,    /* one of them: waits for its request and response */
    CONNECTION_WEBSOCKET, /* waits for messages both ways */
    CONNECTION_LINGERING, /* all is said: waits for the peer to close, so that it can read what we wrote */
    CONNECTION_CLOSED,    /* waits for its handles' close callbacks */
};

/* Which member of the union there is, until the end. */
enum connection_protocol { PROTOCOL_HTTP1, PROTOCOL_HTTP2, PROTOCOL_STREAM, PROTOCOL_WEBSOCKET };

struct connection {
    struct list_node of_server;
    struct list_node of_corked;
    struct list_node of_awaiting;   /* of server, while its outbox waits for a broadcast that is being compressed (squeeze.h) */
    struct work work;               /* websocket_work() */
    struct list_node of_held;       /* of server, while its next request waits for room: input is neither taken nor read */
    struct list_node of_handshakes; /* of server, while TLS or a PROXY header is to come */
    uint64_t handshake_began;       /* loop time */
    struct tls_store *tls_store;    /* counted; proxy_connection.c releases it. NULL: no TLS, or TLS has started */
    struct census_entry *origin;    /* where it is counted for its address; NULL: it is not */
    struct load *load;          /* counted: of an HTTP/2 connection and its streams; otherwise the server's */
    struct server *server;
    uint64_t id;
    enum connection_state state;
    enum connection_protocol protocol;
    struct http2_stream *stream; /* NULL: it has a socket of its own */
    bool refused;               /* it was one too many */
    bool in_input;              /* the protocol is taking input: it is not offered any again */
    unsigned open_handles;
    struct transport transport;
    struct deadlines deadlines;
    struct endpoints endpoints;
    struct buffer rest;         /* input not taken yet */
    struct exchange *exchange;  /* the present one, OPEN; or NULL */
    struct pace sending;        /* while DEADLINE_SEND is set */
    size_t unwritten;           /* as last counted in bytes_unwritten */
    struct unsent_holder unsent_in_all, unsent_in_session; /* the second: of a stream */
    bool choked;                /* its next request is read when the client has taken more of the responses before */
    size_t lingered;            /* bytes thrown away while LINGERING */
    size_t awaited;             /* unwritten at the last connection_is_writing() */
    uint64_t deserted;          /* loop time when a peer whose input waits was seen to have ended, or, where it is answered all the same, last
                                 * took something; 0: it has not ended */
    uint64_t deserted_with;     /* transport_delivered() then */
    union {
        struct http1_connection http1;
        struct websocket_connection websocket;
        struct http2_session *http2;
    };
};

/* A connection whose transport's handle is to be initialised and accepted, and endpoints filled in; then connection_begin(). */
struct connection *connection_create(struct server *server);
void connection_begin(struct connection *connection);

/* What it asks of the application's thread counts to load from now on; takes the reference. */
void connection_set_load(struct connection *connection, struct load *load);

/* A stream's connection, which carrier bears. */
struct connection *connection_create_stream(struct connection *carrier, struct http2_stream *stream);

/* The client speaks TLS, with what store has at present; NULL: it does not. Before anything has come, but a PROXY header. Where there is no
 * memory for it, the connection is closed, and counted as one that could not be accepted. */
void connection_start_tls(struct connection *connection, struct tls_store *store);

/* Every change of state goes through here. */
void connection_set_state(struct connection *connection, enum connection_state state);

/* There is output: it is written at the end of this batch. */
void connection_cork(struct connection *connection);

/* Writes what is corked, and gives credit to the exchange. */
void connection_flush(struct connection *connection);

/* Writes now what the socket takes, of a stream what its windows let out. It may be closed by that. */
void connection_push(struct connection *connection);

/* The next request waits for server_takes_heads(), and is read then; the connection may be closed by that. */
void connection_hold(struct connection *connection);
void connection_unhold(struct connection *connection);

static inline bool connection_is_held(const struct connection *connection)
{
    return !list_empty(&connection->of_held);
}

/* Its input is not taken at present, as its application is behind, or we are. */
static inline bool connection_is_paused(const struct connection *connection)
{
    return (connection->exchange != NULL && connection->exchange->paused) ||
           (connection->state == CONNECTION_WEBSOCKET && connection->websocket.busy);
}

/* Offers the rest of the input to the protocol again, and reads on or not. */
void connection_resume(struct connection *connection);

/* The client has ended, and what it had sent has not been taken: the subscriptions end now, the exchange when the input has been taken or
 * application_close_timeout has passed. The connection may be closed by that. */
void connection_watch(struct connection *connection);

/* Resets connections of unsent until it has at most limit bytes, or one holder. Whether there were any. */
bool connection_shed(struct unsent *unsent, size_t limit);

/* Output is on its way to a slow reader: some of it has left since the last question. Who would close asks first. */
bool connection_is_writing(struct connection *connection);

/* Says goodbye: what is written goes out, the peer reads EOF and is waited for. */
void connection_linger(struct connection *connection);

/* Closes at once. An exchange that is left ends as ending says. */
void connection_close(struct connection *connection, const struct ending *ending);

/* The same, as a reset: what the client has not taken is thrown away. */
void connection_reset(struct connection *connection, const struct ending *ending);

/* Ends the present exchange, if there is one. */
void connection_end_exchange(struct connection *connection, const struct ending *ending);

/* The exchange ends, or is about to, for a fault of the client. Over HTTP/2 the client pays for that as for a reset; over HTTP/1 it loses
 * its connection. */
void connection_blame(struct connection *connection);

/* A command for the present exchange, which is connection->exchange. Who keeps the command says so in it (kept). */
void connection_command(struct connection *connection, struct command *command);

/* A COMMAND_BROADCAST for the present exchange: a message for label, or a close. */
void connection_broadcast(struct connection *connection, struct command *command, uint64_t label);

/* The application of the present exchange has ended. */
void connection_finished(struct connection *connection, bool failed);

/* COMMAND_SHUTDOWN reaches the connection: code is for WebSockets. */
void connection_drain(struct connection *connection, uint16_t code);

#endif
