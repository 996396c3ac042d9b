/* name.h: comparing and hashing the names of channels and groups.
 *
 * Owner:   nobody; a struct name only points.
 * Thread:  any.
 * Limits:  none here; the caller has checked the names.
 */
#ifndef PENEUS_CHANNELLAYER_NAME_H
#define PENEUS_CHANNELLAYER_NAME_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "channellayer/layer.h"

/* hash_bytes() of the name. */
uint64_t name_hash(struct name name);

static inline bool name_equal(struct name a, struct name b)
{
    return a.length == b.length && memcmp(a.bytes, b.bytes, a.length) == 0;
}

/* A name with a "!", or one that begins with prefix (not empty) and ends in a point and 32 hexadecimal digits. */
bool name_is_local(struct name name, struct name prefix);

#endif
