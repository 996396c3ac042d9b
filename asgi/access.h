/* access.h: the lines of the access log, as calls of on_access.
 *
 * Owner:   nobody.
 * Thread:  the loop's, with the GIL.
 * Limits:  one "complete" for each request that was answered; for a WebSocket "connecting", then "connected" or "rejected",
 *          then, unless it was rejected, "disconnected". Nothing is computed where on_access is None.
 */
#ifndef PENEUS_ASGI_ACCESS_H
#define PENEUS_ASGI_ACCESS_H

#include "asgi/connection.h"

/* Each: 0, or -1 with a KeyboardInterrupt or SystemExit out of the callback; any other exception goes to the loop's handler. */
int access_complete(struct pyconnection *connection);
int access_connecting(struct pyconnection *connection);
int access_connected(struct pyconnection *connection);
int access_rejected(struct pyconnection *connection);
int access_disconnected(struct pyconnection *connection);

/* on_refused about a request that no application hears of. */
int access_refused(struct pyserver *server, const struct refusal_event *refusal);

/* on_closed about an exchange that the server ends. */
int callback_closed(struct pyconnection *connection, const struct event *disconnect);

/* Calls callback (NULL: nothing happens) with the connection and argument (NULL: none) as access_ functions do. what names it. */
int callback_call(struct pyconnection *connection, PyObject *callback, PyObject *argument, const char *what);

/* on_fault about a body that is longer or shorter than its Content-Length. */
int callback_framing(struct pyconnection *connection, uint64_t sent, uint64_t promised);

/* on_fault about a file of the response that was cut off while it was being sent. */
int callback_file(struct pyconnection *connection, uint64_t sent, uint64_t expected);

/* on_fault with a sentence (takes the reference; NULL: an exception is set). */
int callback_fault(struct pyconnection *connection, PyObject *sentence);

#endif
