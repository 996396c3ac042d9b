/* envelope.h: for whom a message of channels_redis.core's wire is: "__asgi_channel__", a name or a list of names, in its map.
 *
 * Owner:   the caller's bytes.
 * Thread:  any.
 * Limits:  a name has at most ENVELOPE_NAME bytes. No recursion; what is not well-formed is an error.
 */
#ifndef PENEUS_CHANNELLAYER_BUS_ENVELOPE_H
#define PENEUS_CHANNELLAYER_BUS_ENVELOPE_H

#include <stdbool.h>
#include <stddef.h>

#include "channellayer/bytes.h"
#include "channellayer/layer.h"

enum { ENVELOPE_NAME = 1024 };

enum envelope_result {
    ENVELOPE_NONE = 0,       /* the message has no name in it */
    ENVELOPE_OK = 1,         /* one, by itself */
    ENVELOPE_LIST = 2,       /* a list of them, perhaps empty */
    ENVELOPE_MALFORMED = -1, /* it is no map, or not well-formed */
    ENVELOPE_NO_MEMORY = -2,
};

/* Appends to out the message with count names in it: as a list, or, where list is false, the one name. The message is one that
 * this process has encoded: it is not looked into. ENVELOPE_OK, _MALFORMED, _NO_MEMORY. */
int envelope_add(struct bytes *out, bool json, const void *message, size_t length, const struct name *names, size_t count, bool list);

/* Appends to out the message without names, and calls each() for each of them; they last as long as the call, and none is
 * called for where the result is an error. ENVELOPE_OK, _LIST; ENVELOPE_NONE: out is the message; ENVELOPE_MALFORMED, _NO_MEMORY. */
int envelope_take(struct bytes *out, bool json, const void *message, size_t length,
                  void (*each)(void *context, struct name name), void *context);

#endif
