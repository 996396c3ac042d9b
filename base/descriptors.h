/* descriptors.h: whether the process may open more files.
 *
 * Owner:   nobody.
 * Thread:  any; another one may open what was found to be free.
 * Limits:  DESCRIPTORS_MOST at a time.
 */
#ifndef PENEUS_BASE_DESCRIPTORS_H
#define PENEUS_BASE_DESCRIPTORS_H

#include <stdbool.h>

/* LOOP: what libuv's first loop of a process needs; where it does not get them, libuv aborts. */
enum { DESCRIPTORS_MOST = 16, DESCRIPTORS_LOOP = 8 };

/* Whether count file descriptors can be opened. */
bool descriptors_are_left(unsigned count);

#endif
