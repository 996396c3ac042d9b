/* pace.h: whether bytes move fast enough: those of a request's body to us, and those that we write to the peer.
 *
 * Owner:   whoever waits for the bytes embeds it, and has a deadline for each window.
 * Thread:  the I/O thread.
 * Limits:  a window is measured in the time in which the peer could move bytes; pace_hold() takes the rest out of it.
 */
#ifndef PENEUS_SERVER_PACE_H
#define PENEUS_SERVER_PACE_H

#include <stdbool.h>
#include <stdint.h>

struct pace {
    uint64_t moved;   /* in all, when the window began */
    uint64_t began;   /* loop time in ms */
    uint64_t held;    /* ms of the window, up to held_at, in which the peer could not move any */
    uint64_t held_at; /* loop time in ms; 0: the peer can move bytes */
};

/* A window begins: moved bytes have moved so far. */
static inline void pace_begin(struct pace *pace, uint64_t moved, uint64_t now)
{
    *pace = (struct pace){ .moved = moved, .began = now };
}

/* From now on the peer can (held: false) or cannot (held: true) move bytes. */
static inline void pace_hold(struct pace *pace, bool held, uint64_t now)
{
    if (pace->held_at != 0)
        pace->held += now - pace->held_at;
    pace->held_at = held ? now : 0;
}

/* The ms of the window in which the peer could move bytes. */
static inline uint64_t pace_time(const struct pace *pace, uint64_t now)
{
    return (pace->held_at != 0 ? pace->held_at : now) - pace->began - pace->held;
}

/* The window is over: at least one byte, and rate of them a second, have moved in it. */
static inline bool pace_is_kept(const struct pace *pace, uint64_t moved, uint64_t now, uint64_t rate)
{
    uint64_t bytes = moved - pace->moved;
    return moved > pace->moved && bytes >= pace_time(pace, now) * rate / 1000;
}

#endif
