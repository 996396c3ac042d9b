/* errors.h: taking an exception out of the interpreter, and giving one that has no caller to the event loop.
 *
 * Owner:   nobody.
 * Thread:  with the GIL.
 * Limits:  none.
 */
#ifndef PENEUS_ASGI_ERRORS_H
#define PENEUS_ASGI_ERRORS_H

#include <Python.h>

#include "asgi/state.h"

/* The exception that is set, with its traceback, as a new reference; none is set afterwards. NULL when none was. */
PyObject *error_take(void);

/* Sets error again; takes the reference. */
void error_set(PyObject *error);

/* Gives the exception that is set to loop.call_exception_handler with message, which says what failed. KeyboardInterrupt and
 * SystemExit stay set: -1. Otherwise 0. */
int error_report(struct state *state, PyObject *loop, const char *message);

#endif
