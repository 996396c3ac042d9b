/* clock.h: time that only goes forward.
 *
 * Owner:   nobody.
 * Thread:  any.
 * Limits:  milliseconds in 64 bits.
 */
#ifndef PENEUS_BASE_CLOCK_H
#define PENEUS_BASE_CLOCK_H

#include <stdint.h>

/* Milliseconds since some point in the past (CLOCK_MONOTONIC). */
uint64_t clock_ms(void);

#endif
