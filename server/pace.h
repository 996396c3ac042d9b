/* pace.h: whether bytes move fast enough: those of a request's body to us, and those that we write to the peer.
 *
 * Owner:   whoever waits for the bytes embeds it, and has a deadline for each window.
 * Thread:  the I/O thread.
 * Limits:  a window may begin anew where the peer is not to blame.
 */
#ifndef PENEUS_SERVER_PACE_H
#define PENEUS_SERVER_PACE_H

#include <stdbool.h>
#include <stdint.h>

struct pace {
    uint64_t moved;  /* in all, when the window began */
    uint64_t began;  /* loop time in ms */
};

/* A window begins: moved bytes have moved so far. */
static inline void pace_begin(struct pace *pace, uint64_t moved, uint64_t now)
{
    *pace = (struct pace){ .moved = moved, .began = now };
}

/* The window is over: at least one byte, and rate of them a second, have moved in it. */
static inline bool pace_is_kept(const struct pace *pace, uint64_t moved, uint64_t now, uint64_t rate)
{
    uint64_t bytes = moved - pace->moved;
    return moved > pace->moved && bytes >= (now - pace->began) * rate / 1000;
}

#endif
