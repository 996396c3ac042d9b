/* scope.h: the scope of one exchange, as the ASGI specification for HTTP and WebSocket (version 2.5) has it.
 *
 * Owner:   the application gets a dict of its own, down to what it may change: headers, asgi, subprotocols, extensions, state.
 * Thread:  with the GIL.
 * Limits:  none; the request's size is limited by server/settings.h.
 */
#ifndef PENEUS_ASGI_SCOPE_H
#define PENEUS_ASGI_SCOPE_H

#include <Python.h>
#include <stdbool.h>

#include "asgi/server_type.h"
#include "server/event.h"

/* A dict with every key of server's scopes and the values that are the same for all. NULL with an exception. */
PyObject *scope_prototype(const struct pyserver *server, PyObject *root_path, bool websocket);

/* The extensions of enum pyconnection_offer that request's scope has. */
unsigned scope_offers(const struct pyserver *server, const struct request_event *request);

/* A new dict, through prepare_scope where there is one; NULL with an exception. */
PyObject *scope_new(struct pyserver *server, const struct request_event *request);

#endif
