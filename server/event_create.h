/* event_create.h: how the I/O thread makes events. Private to server/.
 *
 * Owner:   the caller, until it queues the event.
 * Thread:  the I/O thread.
 * Limits:  see event.h.
 */
#ifndef PENEUS_SERVER_EVENT_CREATE_H
#define PENEUS_SERVER_EVENT_CREATE_H

#include "server/event.h"
#include "server/http1_parser.h"

/* An event with a copy of bytes (NULL: room for them); NULL when there is no memory. */
struct event *event_create(enum event_kind kind, uint64_t exchange, const void *bytes, size_t length);

/* EVENT_REQUEST with a copy of head, for an exchange that is yet to begin; the caller fills in what head does not say. NULL when there is no memory. */
struct request_event *request_event_create(const struct http1_head *head);

#endif
