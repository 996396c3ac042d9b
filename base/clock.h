/* clock.h: time that only goes forward.
 *
 * Owner:   nobody.
 * Thread:  any.
 * Limits:  milliseconds or nanoseconds in 64 bits.
 */
#ifndef PENEUS_BASE_CLOCK_H
#define PENEUS_BASE_CLOCK_H

#include <stdint.h>

/* Milliseconds since some point in the past (CLOCK_MONOTONIC). */
uint64_t clock_ms(void);

/* Nanoseconds since the same point: to tell what came first. */
uint64_t clock_ns(void);

#endif
