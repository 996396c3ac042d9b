/* tls_scope.h: ASGI's extension "tls": what the application sees of a TLS connection.
 *
 * Owner:   the scope that it is put into; a dict of its own for each request.
 * Thread:  with the GIL.
 * Limits:  server/tls_info.h.
 */
#ifndef PENEUS_ASGI_TLS_SCOPE_H
#define PENEUS_ASGI_TLS_SCOPE_H

#include <Python.h>

#include "asgi/strings.h"
#include "server/tls_info.h"

/* The extension's dict; NULL with an exception. */
PyObject *tls_scope(const struct strings *strings, const struct tls_info *info);

#endif
