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

/* The held head, if there is one, on its own: the body follows in other commands. 0, or -1 with an exception. */
int http_send_head(struct pyconnection *connection);

/* length bytes of body are about to be sent, or would be, were it not HEAD; more: not the last. The connection's state follows. */
void http_count_body(struct pyconnection *connection, uint64_t length, bool more);

/* The command of those bytes is on its way: the callbacks that follow the last. 0, or -1 with a KeyboardInterrupt or SystemExit. */
int http_body_sent(struct pyconnection *connection, bool more);

/* A piece of body, with the held head before it; the state has been checked. 0, or -1 with an exception. */
int http_send_bytes(struct pyconnection *connection, const Py_buffer *body, bool more);

#endif
