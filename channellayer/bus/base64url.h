/* base64url.h: base 64 with "-" and "_", padded. Source: RFC 4648, 5.
 *
 * Owner:   the caller's bytes.
 * Thread:  any.
 * Limits:  none.
 */
#ifndef PENEUS_CHANNELLAYER_BUS_BASE64URL_H
#define PENEUS_CHANNELLAYER_BUS_BASE64URL_H

#include <stddef.h>

#include "channellayer/bytes.h"

static inline size_t base64url_length(size_t length)
{
    return (length + 2) / 3 * 4;
}

/* Writes base64url_length(length) bytes to out. */
void base64url_encode(unsigned char *out, const unsigned char *data, size_t length);

/* Writes to out, which has room for length / 4 * 3 bytes: how many they are; -1: text is not just what encode would have
 * written of them. out may be text. */
long base64url_decode(unsigned char *out, const unsigned char *text, size_t length);

#endif
