/* loop_clock.h: a clock that goes while the event loop runs, and stops while something blocks the loop.
 *
 * Owner:   the pyserver that contains it.
 * Thread:  the loop's, with the GIL.
 * Limits:  a pause of less than two beats counts as running. Without beats it is an ordinary clock.
 */
#ifndef PENEUS_ASGI_LOOP_CLOCK_H
#define PENEUS_ASGI_LOOP_CLOCK_H

#include <stdint.h>

enum { NS_PER_MS = 1000000 };

/* All zero to begin with. */
struct loop_clock {
    uint64_t ran_ns;       /* the clock at the last beat */
    uint64_t beat_ns;      /* the last beat, by clock_ns(); 0: none yet */
    uint64_t allowance_ns; /* how far the clock goes on without a beat */
};

/* The loop runs now, and will beat again in interval_ns, unless something blocks it. */
void loop_clock_beat(struct loop_clock *clock, uint64_t now_ns, uint64_t interval_ns);

/* Nanoseconds: now_ns less all the time that the loop has stood still. */
uint64_t loop_clock_at(const struct loop_clock *clock, uint64_t now_ns);

#endif
