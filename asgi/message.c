#include "asgi/message.h"

int message_get(PyObject *message, PyObject *key, PyObject **value)
{
    *value = PyDict_GetItemWithError(message, key);
    if (*value == NULL && PyErr_Occurred())
        return -1;
    if (*value == Py_None)
        *value = NULL;
    return 0;
}

int message_flag(PyObject *message, PyObject *key, bool *value)
{
    PyObject *object;
    *value = false;
    if (message_get(message, key, &object) < 0)
        return -1;
    if (object == NULL || object == Py_False)
        return 0;
    int truth = PyObject_IsTrue(object);
    *value = truth > 0;
    return truth < 0 ? -1 : 0;
}

int message_number(PyObject *message, PyObject *key, int minimum, int maximum, int fallback)
{
    PyObject *object;
    if (message_get(message, key, &object) < 0)
        return -1;
    if (object == NULL) {
        if (fallback < 0)
            PyErr_Format(PyExc_ValueError, "this event needs the key %R; it was %R", key, message);
        return fallback;
    }
    long value = 0;
    int overflow = 0;
    if (PyLong_Check(object))
        value = PyLong_AsLongAndOverflow(object, &overflow);
    else
        PyErr_Format(PyExc_TypeError, "%R must be an int, not %R", key, object);
    if (PyErr_Occurred())
        return -1;
    if (overflow != 0 || value < minimum || value > maximum) {
        PyErr_Format(PyExc_ValueError, "%R must be a number from %d to %d, not %R", key, minimum, maximum, object);
        return -1;
    }
    return (int)value;
}

int message_bytes(PyObject *message, PyObject *key, Py_buffer *view)
{
    PyObject *object;
    if (message_get(message, key, &object) < 0)
        return -1;
    if (object == NULL) {
        *view = (Py_buffer){ .buf = (void *)"" };
        return 0;
    }
    if (PyObject_GetBuffer(object, view, PyBUF_SIMPLE) == 0)
        return 0;
    PyErr_Format(PyExc_TypeError, "%R must be bytes, not %R", key, (PyObject *)Py_TYPE(object));
    return -1;
}
