/* server_methods.h: the methods of peneus._core.Server.
 *
 * Owner:   the type.
 * Thread:  the loop's, but shutdown() and stop(): any; with the GIL.
 * Limits:  none.
 */
#ifndef PENEUS_ASGI_SERVER_METHODS_H
#define PENEUS_ASGI_SERVER_METHODS_H

#include <Python.h>

#include "asgi/server_type.h"

extern PyMethodDef pyserver_methods[];
extern PyGetSetDef pyserver_properties[];

/* Stops the I/O thread if it runs, joins it and frees the native server. Twice does nothing. */
void pyserver_close_native(struct pyserver *server);

#endif
