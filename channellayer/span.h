/* span.h: bytes that lie somewhere else.
 *
 * Owner:   nobody; a struct span only points.
 * Thread:  any.
 * Limits:  none.
 */
#ifndef PENEUS_CHANNELLAYER_SPAN_H
#define PENEUS_CHANNELLAYER_SPAN_H

#include <stddef.h>

struct span {
    const unsigned char *bytes;
    size_t length;
};

#endif
