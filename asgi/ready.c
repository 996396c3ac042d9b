/* The awaitable that is done with None: what send() returns when there is nothing to wait for. One object serves all. */
#include "asgi/awaitable.h"
#include "asgi/throw.h"

static PySendResult ready_send(PyObject *self, PyObject *value, PyObject **result)
{
    (void)self;
    (void)value;
    *result = Py_NewRef(Py_None);
    return PYGEN_RETURN;
}

static PyObject *ready_next(PyObject *self)
{
    (void)self;
    return NULL; /* StopIteration with None */
}

static PyObject *method_send(PyObject *self, PyObject *value)
{
    (void)self;
    (void)value;
    stop_iteration(Py_None);
    return NULL;
}

static PyObject *method_throw(PyObject *self, PyObject *args)
{
    (void)self;
    throw_arguments(args);
    return NULL;
}

static PyObject *method_close(PyObject *self, PyObject *ignored)
{
    (void)self;
    (void)ignored;
    Py_RETURN_NONE;
}

static PyMethodDef ready_methods[] = {
    {"send", method_send, METH_O, "As a coroutine's."},
    {"throw", method_throw, METH_VARARGS, "As a coroutine's."},
    {"close", method_close, METH_NOARGS, "As a coroutine's."},
    {NULL, NULL, 0, NULL},
};

static void ready_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot ready_slots[] = {
    {Py_am_await, awaitable_self}, {Py_am_send, ready_send},     {Py_tp_iter, awaitable_self},
    {Py_tp_iternext, ready_next},  {Py_tp_methods, ready_methods}, {Py_tp_dealloc, ready_dealloc},
    {0, NULL},
};

PyType_Spec ready_spec = {
    .name = "peneus._core.Ready",
    .basicsize = sizeof(PyObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = ready_slots,
};
