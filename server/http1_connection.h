/* http1_connection.h: HTTP/1.1 on a connection: requests become exchanges, one at a time, and their responses bytes.
 *
 * Owner:   the connection embeds it.
 * Thread:  the I/O thread.
 * Limits:  struct server_settings; a request that comes before its predecessor's response, or while head_backlog is used up, waits in
 *          the connection's rest.
 *
 *   IDLE ──first byte──▶ HEAD ──head──▶ BODY ──end of request──▶ RESPONDING ──response──▶ IDLE
 *                                        └── response complete first: the rest is thrown away, up to DISCARD_LIMIT ──▶ IDLE
 */
#ifndef PENEUS_SERVER_HTTP1_CONNECTION_H
#define PENEUS_SERVER_HTTP1_CONNECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/handshake.h"
#include "server/response_body.h"
#include "server/http1_parser.h"
#include "server/http1_writer.h"
#include "server/pace.h"

struct command;
struct connection;
struct event;

enum { DISCARD_LIMIT = 64 * 1024 };

enum http1_state {
    HTTP1_IDLE,       /* waits for a request */
    HTTP1_HEAD,       /* waits for the rest of a head */
    HTTP1_BODY,       /* waits for the rest of a request's body */
    HTTP1_RESPONDING, /* waits for the rest of the response; input waits */
};

struct http1_connection {
    enum http1_state state;
    bool fresh;            /* nothing has come in yet */
    bool responded;        /* the head of the response is out */
    bool has_body;         /* the request has: EVENT_BODY until its end */
    bool continue_pending; /* the client waits for 100 Continue */
    bool websocket;        /* the request is a WebSocket handshake */
    struct http1_parser parser;
    struct http1_response response;
    struct response_body body_out;
    struct event *body;    /* of the request; being filled */
    size_t body_room;      /* of body */
    size_t input_left;     /* of the input being parsed: the most that its body can be */
    uint64_t body_bytes;   /* of the request's body so far */
    struct pace body_pace; /* while DEADLINE_BODY is set */
    size_t discarded;      /* bytes of body that came after the response */
    char accept[HANDSHAKE_ACCEPT_SIZE];
    struct deflate_terms deflate; /* of the WebSocket that it asks for */
};

void http1_connection_begin(struct connection *connection);
void http1_connection_deinit(struct connection *connection);

/* The client speaks HTTP without TLS, where TLS is spoken: 400, and goodbye. */
void http1_refuse_plain(struct connection *connection);

/* There are too many connections: 503 without waiting for a request, and goodbye. */
void http1_turn_away(struct connection *connection);

/* Takes input; returns how much of it. */
size_t http1_input(struct connection *connection, const unsigned char *bytes, size_t length);

/* All that an HTTP exchange gets, and before accept a WebSocket. ACCEPT is websocket_accept()'s. */
void http1_command(struct connection *connection, struct command *command);

/* The response is out: the exchange ends; the next request, or goodbye. */
void http1_response_complete(struct connection *connection);

void http1_deadline(struct connection *connection, int which);
void http1_finished(struct connection *connection);
void http1_drain(struct connection *connection);

#endif
