/* http_fields.h: send() for fields that stand outside a response's head: early hints before it, trailers behind its body.
 *
 * Owner:   nobody.
 * Thread:  the loop's, with the GIL.
 * Limits:  TRAILERS_LIMIT bytes of trailers in all.
 */
#ifndef PENEUS_ASGI_HTTP_FIELDS_H
#define PENEUS_ASGI_HTTP_FIELDS_H

#include <Python.h>

#include "asgi/connection.h"

enum { TRAILERS_LIMIT = 64 * 1024 };

/* http.response.start wants to send trailers: 0, or -1 with a RuntimeError where the scope does not offer them. */
int http_check_trailers(struct pyconnection *connection);

/* http.response.trailers and http.response.early_hint; the state allows them. 0, or -1 with an exception. */
int http_send_trailers(struct pyconnection *connection, PyObject *message);
int http_send_hint(struct pyconnection *connection, PyObject *message);

#endif
