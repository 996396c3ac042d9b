/* http2_stream.h: one stream of HTTP/2. It is a connection of its own whose bytes another one carries, so that whatever is above
 * a connection, WebSockets (RFC 8441) and their broadcasts included, does not know the difference.
 *
 * Owner:   its connection; the session has it in its list while nghttp2 knows the stream.
 * Thread:  the I/O thread.
 * Limits:  the client may send as much as the stream's window is open, which it is again when the application has taken what came.
 *          What is written waits in the connection's outbox until the client's window takes it: send_window and
 *          websocket_write_limit bound it.
 */
#ifndef PENEUS_SERVER_HTTP2_STREAM_H
#define PENEUS_SERVER_HTTP2_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "server/deflate.h"
#include "server/http1_writer.h"
#include "server/http2_head.h"
#include "server/pace.h"
#include "server/response_body.h"

struct buffer;
struct command;
struct connection;
struct ending;
struct http2_session;

struct http2_stream {
    struct list_node of_session;
    struct http2_session *session; /* NULL: the stream has gone, or the session */
    struct connection *connection;
    int32_t id;
    bool websocket;           /* a valid handshake */
    bool has_body;
    bool responded;
    bool continue_pending;    /* the client waits for 100 Continue */
    bool starved;             /* nghttp2 waits to be told that there is more to send */
    bool input_ended;         /* END_STREAM has come; it is told when what came before has been taken */
    bool input_end_told;
    bool blamed;              /* the client has paid for a fault in it */
    uint32_t code;            /* to be reset with, when it ends before its time */
    size_t untaken;           /* bytes that came and whose room in the window has not been given back */
    uint64_t body_bytes;
    struct pace body_pace;
    struct http2_head head;   /* until it is complete; then it counts the trailers */
    struct http1_response response;
    struct response_body body_out;
    struct command *trailers; /* to follow the body; NULL: none */
    struct deflate_terms deflate;
};

/* A new stream of session, with its connection. NULL when there is no memory. */
struct http2_stream *http2_stream_create(struct http2_session *session, int32_t id);
void http2_stream_destroy(struct http2_stream *stream);

/* Its connection is closed: the stream is reset, if it is not over. */
void http2_stream_detach(struct http2_stream *stream);

/* A request whose head has been read so far, or all of it, is refused with status, or reset instead. */
void http2_stream_tell_refused(const struct http2_stream *stream, uint16_t status);

/* From the session: the head is complete; bytes; END_STREAM has come, or has gone out; the stream is over. */
void http2_stream_begin(struct http2_stream *stream, bool has_body);
void http2_stream_input(struct http2_stream *stream, const unsigned char *bytes, size_t length);
void http2_stream_input_ended(struct http2_stream *stream);
void http2_stream_said_all(struct http2_stream *stream);
void http2_stream_closed(struct http2_stream *stream);

/* Its response is cut off, which the client can tell by the reset. */
void http2_stream_cut(struct connection *connection, const struct ending *ending);

/* Its outbox has more to send, or is complete: nghttp2 is to ask for it. */
void http2_stream_ready(struct http2_stream *stream);

/* Moves length bytes of what waits behind out. */
void http2_stream_give(struct http2_stream *stream, struct buffer *out, size_t length);

/* From the connection, as http1_connection.h has them. */
size_t http2_stream_body(struct connection *connection, const unsigned char *bytes, size_t length);
void http2_stream_command(struct connection *connection, struct command *command);
void http2_stream_deadline(struct connection *connection, int which);
void http2_stream_finished(struct connection *connection);
void http2_stream_drain(struct connection *connection);

/* From response_body.h: the response is complete; COMMAND_TRAILERS, which the stream keeps; COMMAND_HINT. */
void http2_stream_response_complete(struct connection *connection);
void http2_stream_keep_trailers(struct connection *connection, struct command *command);
void http2_stream_hint(struct connection *connection, const struct command *command);

/* Input was taken, or not: opens the window, and tells the end. */
void http2_stream_taken(struct connection *connection);

#endif
