#include "asgi/message.h"

int message_get(PyObject *message, PyObject *key, PyObject **value)
{
    PyObject *found = PyDict_GetItemWithError(message, key);
    *value = found == NULL || found == Py_None ? NULL : Py_NewRef(found);
    return found == NULL && PyErr_Occurred() ? -1 : 0;
}

int message_flag(PyObject *message, PyObject *key, bool *value)
{
    PyObject *object;
    *value = false;
    if (message_get(message, key, &object) < 0)
        return -1;
    if (object == NULL)
        return 0;
    int truth = PyObject_IsTrue(object);
    Py_DECREF(object);
    *value = truth > 0;
    return truth < 0 ? -1 : 0;
}

/* The number that object is, or -1 with an exception. */
static int number_in(PyObject *object, PyObject *key, int minimum, int maximum)
{
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
    int number = number_in(object, key, minimum, maximum);
    Py_DECREF(object);
    return number;
}

int message_view(PyObject *object, PyObject *key, Py_buffer *view)
{
    if (PyObject_GetBuffer(object, view, PyBUF_SIMPLE) == 0)
        return 0;
    if (PyErr_ExceptionMatches(PyExc_TypeError) || PyErr_ExceptionMatches(PyExc_BufferError))
        PyErr_Format(PyExc_TypeError, "%R must be bytes, not %R", key, (PyObject *)Py_TYPE(object));
    return -1;
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
    int result = message_view(object, key, view);
    Py_DECREF(object);
    return result;
}
