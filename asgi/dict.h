/* dict.h: what is done to Python's dicts everywhere here.
 *
 * Owner:   nobody: functions only.
 * Thread:  with the GIL.
 * Limits:  none.
 */
#ifndef PENEUS_ASGI_DICT_H
#define PENEUS_ASGI_DICT_H

#include <Python.h>

/* dict[key] = value, whose reference is taken; NULL: making it has failed. 0, or -1 with an exception. */
static inline int dict_set_steal(PyObject *dict, PyObject *key, PyObject *value)
{
    if (value == NULL)
        return -1;
    int result = PyDict_SetItem(dict, key, value);
    Py_DECREF(value);
    return result;
}

#endif
