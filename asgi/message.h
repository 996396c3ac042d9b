/* message.h: reading the dict that an application gave to send().
 *
 * Owner:   nobody; values are borrowed from the dict.
 * Thread:  with the GIL.
 * Limits:  none.
 */
#ifndef PENEUS_ASGI_MESSAGE_H
#define PENEUS_ASGI_MESSAGE_H

#include <Python.h>
#include <stdbool.h>

/* *value: what message has under key, borrowed, or NULL where it has nothing or None. 0, or -1 with an exception. */
int message_get(PyObject *message, PyObject *key, PyObject **value);

/* The truth of message[key]; false where there is nothing. 0, or -1 with an exception. */
int message_flag(PyObject *message, PyObject *key, bool *value);

/* message[key], a whole number from minimum to maximum. fallback where there is nothing; with fallback -1 that is a
 * ValueError. -1 with an exception. */
int message_number(PyObject *message, PyObject *key, int minimum, int maximum, int fallback);

/* message[key] as contiguous bytes in *view, which the caller releases; empty where there is nothing. 0, or -1 with an exception. */
int message_bytes(PyObject *message, PyObject *key, Py_buffer *view);

#endif
