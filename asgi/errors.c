#include "asgi/errors.h"

#include <assert.h>

PyObject *error_take(void)
{
#if PY_VERSION_HEX >= 0x030C0000
    return PyErr_GetRaisedException();
#else
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (type == NULL)
        return NULL;
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL)
        PyException_SetTraceback(value, traceback);
    Py_DECREF(type);
    Py_XDECREF(traceback);
    return value;
#endif
}

void error_set(PyObject *error)
{
#if PY_VERSION_HEX >= 0x030C0000
    PyErr_SetRaisedException(error);
#else
    PyErr_Restore(Py_NewRef((PyObject *)Py_TYPE(error)), error, PyException_GetTraceback(error));
#endif
}

int error_report(struct state *state, PyObject *loop, const char *message)
{
    if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) || PyErr_ExceptionMatches(PyExc_SystemExit))
        return -1;
    PyObject *error = error_take();
    assert(error != NULL);
    PyObject *context = PyDict_New();
    PyObject *text = PyUnicode_FromString(message);
    int failed = context == NULL || text == NULL ||
                 PyDict_SetItem(context, state->strings.message, text) < 0 ||
                 PyDict_SetItem(context, state->strings.exception, error) < 0;
    PyObject *done = NULL;
    if (!failed)
        done = PyObject_CallMethodOneArg(loop, state->strings.call_exception_handler, context);
    if (done == NULL)
        PyErr_WriteUnraisable(error);
    Py_XDECREF(done);
    Py_XDECREF(context);
    Py_XDECREF(text);
    Py_DECREF(error);
    return 0;
}
