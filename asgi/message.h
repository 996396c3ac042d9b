/* message.h: reading the dict that an application gave to send().
 *
 * Owner:   nobody; values are the caller's to release: the dict may change whenever the application's code runs, and that is in
 *          the lookup itself, in __bool__, __buffer__, __repr__, an iteration, and wherever an object is freed.
 * Thread:  with the GIL.
 * Limits:  none.
 */
#ifndef PENEUS_ASGI_MESSAGE_H
#define PENEUS_ASGI_MESSAGE_H

#include <Python.h>
#include <stdbool.h>

/* *value: what message has under key, a new reference, or NULL where it has nothing or None. 0, or -1 with an exception and NULL. */
int message_get(PyObject *message, PyObject *key, PyObject **value);

/* The truth of message[key]; false where there is nothing. 0, or -1 with an exception. */
int message_flag(PyObject *message, PyObject *key, bool *value);

/* message[key], a whole number from minimum to maximum. fallback where there is nothing; with fallback -1 that is a
 * ValueError. -1 with an exception. */
int message_number(PyObject *message, PyObject *key, int minimum, int maximum, int fallback);

/* message[key] as contiguous bytes in *view, which the caller releases; empty, with no obj, where there is nothing. 0, or -1 with an
 * exception. */
int message_bytes(PyObject *message, PyObject *key, Py_buffer *view);

/* The same of object, the value of key. */
int message_view(PyObject *object, PyObject *key, Py_buffer *view);

#endif
