/* settings_in.h: struct server_settings out of a mapping with its fields' names.
 *
 * Owner:   nobody.
 * Thread:  with the GIL.
 * Limits:  none; python/peneus/settings.py checks what people write.
 */
#ifndef PENEUS_ASGI_SETTINGS_IN_H
#define PENEUS_ASGI_SETTINGS_IN_H

#include <Python.h>

#include "server/settings.h"

/* 0; -1 with an exception that names the field that is missing or out of range. settings->server_name lives as long as mapping. */
int settings_read(PyObject *mapping, struct server_settings *settings);

#endif
