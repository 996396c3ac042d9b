/* tls_type.h: peneus._core.TLS: what listeners encrypt with: files that are read when it is made, and again by reload().
 *
 * Owner:   Python; listeners keep what they need of it.
 * Thread:  any with the GIL, which it gives away while files are read.
 * Limits:  server/tls_context.h.
 */
#ifndef PENEUS_ASGI_TLS_TYPE_H
#define PENEUS_ASGI_TLS_TYPE_H

#include <Python.h>

#include "asgi/state.h"

struct tls_store;

/* The store of object, a TLS or None, borrowed: 0, or -1 with a TypeError. None gives NULL. */
int tls_store_of(struct state *state, PyObject *object, struct tls_store **store);

extern PyType_Spec tls_spec;

#endif
