/* hash.h: a hash of bytes that others choose.
 *
 * Owner:   nobody.
 * Thread:  any.
 * Limits:  none.
 */
#ifndef PENEUS_BASE_HASH_H
#define PENEUS_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* SipHash-1-3 under a key that is random in each process: who chooses the bytes cannot choose collisions. */
uint64_t hash_bytes(const void *bytes, size_t length);

#endif
