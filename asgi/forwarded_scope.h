/* forwarded_scope.h: what trusted proxies say of a request, put into its scope: client, scheme and the host header.
 *
 * Owner:   the scope.
 * Thread:  with the GIL.
 * Limits:  server/forwarded.h.
 */
#ifndef PENEUS_ASGI_FORWARDED_SCOPE_H
#define PENEUS_ASGI_FORWARDED_SCOPE_H

#include <Python.h>

#include "asgi/server_type.h"
#include "server/event.h"

/* Corrects a scope that is complete but for prepare_scope; nothing where the request does not come from a trusted proxy. What is
 * malformed is ignored, counted, and told to on_malformed. 0, or -1 with an exception. */
int forwarded_scope(PyObject *scope, struct pyserver *server, const struct request_event *request);

#endif
