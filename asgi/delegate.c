/* A coroutine around an awaitable that is none: what an application may return, and a Task does not take. */
#include "asgi/delegate.h"

#include "asgi/throw.h"

struct delegate {
    PyObject_HEAD
    PyObject *iterator; /* the awaitable's */
};

static PySendResult delegate_send(PyObject *self, PyObject *value, PyObject **result)
{
    return PyIter_Send(((struct delegate *)self)->iterator, value, result);
}

static PyObject *self_iterator(PyObject *self)
{
    return Py_NewRef(self);
}

static PyObject *step(PyObject *self, PyObject *value)
{
    PyObject *result = NULL;
    PySendResult sent = delegate_send(self, value, &result);
    if (sent != PYGEN_RETURN)
        return result;
    stop_iteration(result);
    Py_DECREF(result);
    return NULL;
}

static PyObject *delegate_next(PyObject *self)
{
    return step(self, Py_None);
}

static PyObject *method_throw(PyObject *self, PyObject *args)
{
    PyObject *throw_method = PyObject_GetAttrString(((struct delegate *)self)->iterator, "throw");
    if (throw_method == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError))
            return NULL;
        PyErr_Clear(); /* an iterator that cannot be told: the exception is raised here */
        throw_arguments(args);
        return NULL;
    }
    PyObject *result = PyObject_CallObject(throw_method, args);
    Py_DECREF(throw_method);
    return result;
}

static PyObject *method_close(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    PyObject *close_method = PyObject_GetAttrString(((struct delegate *)self)->iterator, "close");
    if (close_method == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError))
            return NULL;
        PyErr_Clear(); /* an iterator without close() has nothing to close */
        Py_RETURN_NONE;
    }
    PyObject *result = PyObject_CallNoArgs(close_method);
    Py_DECREF(close_method);
    return result;
}

PyObject *delegate_new(struct state *state, PyObject *awaitable)
{
    PyAsyncMethods *async = Py_TYPE(awaitable)->tp_as_async;
    if (async == NULL || async->am_await == NULL) {
        PyErr_Format(PyExc_TypeError, "the application returned %R, which cannot be awaited: it must be an async callable",
                     awaitable);
        return NULL;
    }
    PyObject *iterator = async->am_await(awaitable);
    if (iterator == NULL)
        return NULL;
    struct delegate *delegate = PyObject_GC_New(struct delegate, state->delegate_type);
    if (delegate == NULL) {
        Py_DECREF(iterator);
        return NULL;
    }
    delegate->iterator = iterator;
    PyObject_GC_Track(delegate);
    return (PyObject *)delegate;
}

static int traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((struct delegate *)self)->iterator);
    return 0;
}

static void dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_CLEAR(((struct delegate *)self)->iterator);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"send", step, METH_O, "As a coroutine's."},
    {"throw", method_throw, METH_VARARGS, "As a coroutine's."},
    {"close", method_close, METH_NOARGS, "As a coroutine's."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_am_await, self_iterator},     {Py_am_send, delegate_send}, {Py_tp_iter, self_iterator},
    {Py_tp_iternext, delegate_next},  {Py_tp_methods, methods},    {Py_tp_traverse, traverse},
    {Py_tp_dealloc, dealloc},         {0, NULL},
};

PyType_Spec delegate_spec = {
    .name = "peneus._core.Delegate",
    .basicsize = sizeof(struct delegate),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};
