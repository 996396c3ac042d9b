/* http.h: send() for HTTP responses, and for a response that denies a WebSocket.
 *
 * Owner:   nobody.
 * Thread:  the loop's, with the GIL.
 * Limits:  connection.h's.
 */
#ifndef PENEUS_ASGI_HTTP_H
#define PENEUS_ASGI_HTTP_H

#include <Python.h>

#include "asgi/connection.h"

/* http.response.start and http.response.body (and their websocket. names); the state allows them. 0, or -1 with an exception. */
int http_send_start(struct pyconnection *connection, PyObject *message);
int http_send_body(struct pyconnection *connection, PyObject *message);

#endif
