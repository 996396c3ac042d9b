/* delegate.h: a coroutine around an awaitable that is none.
 *
 * Owner:   the task that runs it.
 * Thread:  the loop's, with the GIL.
 * Limits:  none.
 */
#ifndef PENEUS_ASGI_DELEGATE_H
#define PENEUS_ASGI_DELEGATE_H

#include <Python.h>

#include "asgi/state.h"

/* A coroutine that awaits awaitable; NULL with a TypeError where it cannot be awaited. */
PyObject *delegate_new(struct state *state, PyObject *awaitable);

extern PyType_Spec delegate_spec;

#endif
