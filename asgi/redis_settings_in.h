/* redis_settings_in.h: struct redis_settings out of a dict; its keys stand in bus_settings.h.
 *
 * Owner:   the caller has the one reference.
 * Thread:  with the GIL.
 * Limits:  none.
 */
#ifndef PENEUS_ASGI_REDIS_SETTINGS_IN_H
#define PENEUS_ASGI_REDIS_SETTINGS_IN_H

#include <Python.h>

struct redis_settings;

/* NULL with an exception that names the key. */
struct redis_settings *redis_settings_read(PyObject *dict);

#endif
