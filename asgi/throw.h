/* throw.h: the generator protocol's exceptions, for the types here that behave like coroutines.
 *
 * Owner:   nobody.
 * Thread:  with the GIL.
 * Limits:  none.
 */
#ifndef PENEUS_ASGI_THROW_H
#define PENEUS_ASGI_THROW_H

#include <Python.h>

/* Sets the exception that throw(type_or_exception[, value[, traceback]]) names. */
void throw_arguments(PyObject *args);

/* Sets StopIteration with value. */
void stop_iteration(PyObject *value);

#endif
