/* websocket.h: send() for WebSockets.
 *
 * Owner:   nobody.
 * Thread:  the loop's, with the GIL.
 * Limits:  connection.h's; of a close reason the first 123 bytes are sent, less where they end within a character (RFC 6455, 5.5).
 */
#ifndef PENEUS_ASGI_WEBSOCKET_H
#define PENEUS_ASGI_WEBSOCKET_H

#include <Python.h>

#include "asgi/connection.h"

/* Each: the state allows it; 0, or -1 with an exception. */
int websocket_send_accept(struct pyconnection *connection, PyObject *message);
int websocket_send_message(struct pyconnection *connection, PyObject *message);
int websocket_send_close(struct pyconnection *connection, PyObject *message);

#endif
