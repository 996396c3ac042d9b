#include "asgi/throw.h"

void throw_arguments(PyObject *args)
{
    PyObject *type;
    PyObject *value = NULL;
    PyObject *traceback = NULL;
    if (!PyArg_ParseTuple(args, "O|OO:throw", &type, &value, &traceback))
        return;
    if (traceback != NULL && traceback != Py_None && !PyTraceBack_Check(traceback)) {
        PyErr_SetString(PyExc_TypeError, "throw() third argument must be a traceback object");
        return;
    }
    if (PyExceptionInstance_Check(type)) {
        if (traceback != NULL && traceback != Py_None)
            PyException_SetTraceback(type, traceback);
        PyErr_SetObject((PyObject *)Py_TYPE(type), type);
    } else if (PyExceptionClass_Check(type)) {
        PyErr_SetObject(type, value == Py_None ? NULL : value);
    } else {
        PyErr_SetString(PyExc_TypeError, "exceptions must be classes or instances deriving from BaseException");
    }
}

void stop_iteration(PyObject *value)
{
    /* Made by hand: PyErr_SetObject() would take a tuple for the arguments. */
    PyObject *stop = PyObject_CallOneArg(PyExc_StopIteration, value);
    if (stop == NULL)
        return;
    PyErr_SetObject(PyExc_StopIteration, stop);
    Py_DECREF(stop);
}
