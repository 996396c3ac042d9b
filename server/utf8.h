/* utf8.h: is a text that comes in pieces valid UTF-8 (RFC 3629), told at the first byte that is not.
 *
 * Owner:   the struct that embeds it.
 * Thread:  its owner's.
 * Limits:  none.
 */
#ifndef PENEUS_SERVER_UTF8_H
#define PENEUS_SERVER_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* All zero: between two characters. */
struct utf8 {
    unsigned char missing;  /* continuation bytes still to come */
    unsigned char low, high; /* the range of the next one */
};

/* Takes the next piece: false when no text goes on like this. */
bool utf8_feed(struct utf8 *utf8, const unsigned char *bytes, size_t length);

/* True when the text may end here. */
static inline bool utf8_complete(const struct utf8 *utf8)
{
    return utf8->missing == 0;
}

#endif
