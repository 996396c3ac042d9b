/* decode.h: an encoded channel message as the object that its reader gets.
 *
 * Owner:   nobody.
 * Thread:  with the GIL.
 * Limits:  none.
 */
#ifndef PENEUS_ASGI_DECODE_H
#define PENEUS_ASGI_DECODE_H

#include <Python.h>

#include "asgi/state.h"
#include "channellayer/message.h"

/* decode(a view of message), as a new reference; NULL with its exception. Takes the reference to message. */
PyObject *decode_message(struct state *state, PyObject *decode, struct message *message);

#endif
