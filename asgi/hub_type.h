/* hub_type.h: peneus._core.Hub: the hub of the processes of one machine, hosted by this one.
 *
 * Owner:   Python; close(), or its end, ends the hub.
 * Thread:  any with the GIL.
 * Limits:  channellayer/bus/hub_server.h.
 */
#ifndef PENEUS_ASGI_HUB_TYPE_H
#define PENEUS_ASGI_HUB_TYPE_H

#include <Python.h>

extern PyType_Spec hub_spec;

#endif
