/* http2_connection.h: HTTP/2 on a connection (nghttp2): frames in and out, its streams, and what it bears of a client that floods.
 *
 * Owner:   the connection holds a struct http2_session; freed with it.
 * Thread:  the I/O thread.
 * Limits:  http2_max_concurrent_streams; of each stream's body receive_window (its window opens as the application takes it); FILL_LIMIT bytes
 *          of frames queued for the socket, plus one DATA frame; http2_control_rate control frames per second; http2_max_applications
 *          that run, those of ended streams included; head_window bytes of heads that wait for them.
 *
 *   http2_begin ─▶ open ──drain──▶ told (GOAWAY, no last stream yet) ──PING answered──▶ leaving (GOAWAY) ──last stream──▶ LINGERING
 *                   └────────── terminate: a fault, idle, a flood (GOAWAY with its code) ───────────────────────────────▶ LINGERING
 */
#ifndef PENEUS_SERVER_HTTP2_CONNECTION_H
#define PENEUS_SERVER_HTTP2_CONNECTION_H

#include <nghttp2/nghttp2.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "server/http2_history.h"
#include "server/unsent.h"

struct connection;
struct ending;
struct http2_stream;

/* Control frames are paid from a purse that holds this many seconds of http2_control_rate. */
enum { FILL_LIMIT = 64 * 1024, CONTROL_SECONDS = 10, FRAME_HEADER = 9 };

struct http2_session {
    struct connection *connection;
    nghttp2_session *nghttp2;
    struct list_node streams; /* struct http2_stream */
    size_t stream_count;
    struct unsent unsent;     /* of its streams */
    size_t preface_left;      /* of the client's input */
    size_t header_length;     /* of the frame's header, as far as it has come */
    size_t payload_left;      /* of the frame */
    unsigned char header[FRAME_HEADER];
    struct http2_history history;
    double purse;             /* control frames that it may still send at once */
    uint64_t filled_at;       /* loop time of the purse */
    bool busy;                /* nghttp2 is at work: it must not be asked for output */
    bool told;                /* that no more streams are wanted */
    bool leaving;             /* the last GOAWAY is out */
    bool failed;              /* nghttp2 ran out of memory: it may only be deleted, and the connection is closed */
};

/* server_settings.http2 */
enum { HTTP2_OFF, HTTP2_ON, HTTP2_ONLY };

/* Whether bytes are the beginning of HTTP/2 by prior knowledge, as far as they go. */
bool http2_is_preface(const unsigned char *bytes, size_t length);

/* An HTTP/1 connection on which nothing was said yet becomes one of HTTP/2. It may be closed, as there is no memory. */
void http2_begin(struct connection *connection);
void http2_connection_deinit(struct connection *connection);

/* Takes input; returns how much of it. */
size_t http2_input(struct connection *connection, const unsigned char *bytes, size_t length);

/* Moves what the session wants to say into the transport, as far as there is room. */
void http2_fill(struct connection *connection);

/* The same before a stream is reset, so that what was said before is not lost; not while nghttp2 is at work. */
void http2_push(struct http2_session *session);

/* The transport is about to be closed: what can still be said is said; then the streams end as ending says. */
void http2_say_goodbye(struct connection *connection);
void http2_end_streams(struct connection *connection, const struct ending *ending);

void http2_deadline(struct connection *connection, int which);
void http2_drain(struct connection *connection, uint16_t code);

/* Returns our stream for id, or NULL if it has been closed. nghttp2 may call back for a closed stream until it has sent the
 * RST_STREAM, so callbacks look the stream up here and never keep a pointer to it. */
struct http2_stream *http2_find_stream(struct http2_session *session, int32_t id);

/* The client pays one control frame of http2_control_rate. One that has nothing left is told to calm down (GOAWAY). */
void http2_pay(struct http2_session *session);

/* A stream has gone: there may be nothing left to wait for. */
void http2_stream_gone(struct http2_session *session);

/* error: what a function of nghttp2 returned. If it is fatal (no memory), the connection is closed with the next flush. */
void http2_check(struct http2_session *session, int error);

/* GOAWAY with code (RFC 9113, 7); the streams end. */
void http2_terminate(struct http2_session *session, uint32_t code);

#endif
