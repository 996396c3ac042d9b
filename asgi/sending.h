/* sending.h: what send() returns: an awaitable that does the work when it is awaited, and waits while too much is unwritten.
 *
 * Owner:   Python, as awaitable.h's. It owns the event until its first step.
 * Thread:  its loop's, with the GIL. It may be made in any thread; one that awaits it on another loop sends too, but cannot wait.
 * Limits:  SENDINGS_SPARE of them are kept by the module, for the next send().
 */
#ifndef PENEUS_ASGI_SENDING_H
#define PENEUS_ASGI_SENDING_H

#include <Python.h>

#include "asgi/state.h"

/* An awaitable that sends message, whatever that is, on connection: what is wrong with it is raised when it is awaited. NULL with a
 * MemoryError. */
PyObject *sending_new(PyObject *connection, PyObject *message);

/* Frees those that are kept; no more are from now on. Before the types of state are gone. */
void sending_clear(struct state *state);

extern PyType_Spec sending_spec;

#endif
