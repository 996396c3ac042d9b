/* relay_event.h: a message that is itself something to send to a client: {"type": "websocket.send", "text" or "bytes"}, or
 * {"type": "websocket.close", "code", "reason"}, as the ASGI specification has them.
 *
 * Owner:   the caller; text points into the message, or into owned.
 * Thread:  any.
 * Limits:  none; other keys of the message are ignored.
 */
#ifndef PENEUS_CHANNELLAYER_RELAY_EVENT_H
#define PENEUS_CHANNELLAYER_RELAY_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "channellayer/span.h"

struct message;

enum relay_kind { RELAY_TEXT, RELAY_BYTES, RELAY_CLOSE };

struct relay_event {
    enum relay_kind kind;
    uint16_t code;              /* RELAY_CLOSE */
    const unsigned char *bytes; /* what to send; RELAY_CLOSE: the reason. Text is not checked to be UTF-8 */
    size_t length;
    unsigned char *owned;       /* of JSON with escapes; or NULL */
};

/* 1: message is such an event, to be ended with relay_event_deinit(); 0: it is none; -1: it is one, and there is no memory.
 * *key: the value of the message's field "key", as it stands there; length 0: it has none. */
int relay_event_read(struct relay_event *event, const struct message *message, bool json, struct span *key);
void relay_event_deinit(struct relay_event *event);

#endif
