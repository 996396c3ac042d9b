/* deadline.h: the deadlines of one connection, on one timer.
 *
 * Owner:   the connection embeds it; its timer handle is closed with the connection's other handles.
 * Thread:  the I/O thread.
 * Limits:  one deadline of each kind. Setting one later, or clearing it, costs nothing: the timer then fires for nothing once.
 */
#ifndef PENEUS_SERVER_DEADLINE_H
#define PENEUS_SERVER_DEADLINE_H

#include <stdint.h>
#include <uv.h>

enum deadline {
    DEADLINE_HANDSHAKE, /* TLS: not over */
    DEADLINE_IDLE,     /* HTTP: no request */
    DEADLINE_HEADER,   /* HTTP: the head is not complete */
    DEADLINE_BODY,     /* the window in which some of a body, or of a WebSocket message that has begun, must come */
    DEADLINE_HTTP,     /* HTTP: the response is not complete */
    DEADLINE_CONNECT,  /* WebSocket: not accepted */
    DEADLINE_LIFETIME, /* WebSocket */
    DEADLINE_PING,     /* WebSocket: silence */
    DEADLINE_PONG,     /* WebSocket: silence after a ping */
    DEADLINE_LINGER,   /* closing: the peer has not closed */
    DEADLINE_SEND,     /* the window in which some of what is written must reach the peer */
    DEADLINE_WATCH,    /* the socket is not read: time to look whether the peer has left */
    DEADLINE_COUNT
};

struct deadlines {
    uv_timer_t timer;
    uint64_t at[DEADLINE_COUNT]; /* loop time in ms; 0: none */
    uint64_t armed;              /* when the timer fires; 0: it does not */
    void (*passed)(void *context, enum deadline which);
    void *context;
};

void deadlines_init(struct deadlines *deadlines, uv_loop_t *loop, void (*passed)(void *context, enum deadline which),
                    void *context);

/* which passes in ms milliseconds from now; 0: never. */
void deadline_set(struct deadlines *deadlines, enum deadline which, uint64_t ms);

static inline void deadline_clear(struct deadlines *deadlines, enum deadline which)
{
    deadlines->at[which] = 0;
}

#endif
