/* http2_history.h: how the last streams of a connection ended. nghttp2 forgets a stream with its end and passes over what still comes for
 * it; RFC 9113, 5.1 wants that told from a fault. Sans I/O.
 *
 * Owner:   the session embeds it.
 * Thread:  the I/O thread.
 * Limits:  HISTORY_SIZE streams; what comes for older ones is passed over.
 */
#ifndef PENEUS_SERVER_HTTP2_HISTORY_H
#define PENEUS_SERVER_HTTP2_HISTORY_H

#include <stdint.h>

enum { HISTORY_SIZE = 64 };

enum http2_ended {
    HTTP2_NOT_ENDED,
    HTTP2_ENDED_BY_PEER, /* it said END_STREAM or RST_STREAM: nothing may follow */
    HTTP2_RESET_BY_US,   /* the peer may not know yet */
};

struct http2_history {
    int32_t last;  /* the highest id that the peer has opened */
    uint32_t count; /* in all; the last HISTORY_SIZE of them are here */
    int32_t ids[HISTORY_SIZE];
    unsigned char ended[HISTORY_SIZE];
};

/* The peer opens stream id, which is higher than last. */
void http2_history_open(struct http2_history *history, int32_t id);

/* A stream has ended; the first word counts. */
void http2_history_end(struct http2_history *history, int32_t id, enum http2_ended how);

/* HEADERS or DATA come for a stream that there is no more, or has never been: the error code of RFC 9113, or 0: passed over. */
uint32_t http2_history_judge(const struct http2_history *history, int32_t id);

#endif
