#include "asgi/hub_type.h"

#include <errno.h>

#include "asgi/numbers.h"
#include "channellayer/bus/hub_server.h"

enum { ERROR_SIZE = 512 };

struct hub_object {
    PyObject_HEAD
    struct hub *hub; /* NULL once it is closed */
};

static PyObject *hub_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"path", NULL};
    PyObject *path;
    char error[ERROR_SIZE];
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&:Hub", names, PyUnicode_FSConverter, &path))
        return NULL;
    struct hub_object *self = (struct hub_object *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->hub = hub_create(PyBytes_AS_STRING(path), error, sizeof error);
        if (self->hub == NULL) {
            PyObject *arguments = Py_BuildValue("(is)", errno, error);
            if (arguments != NULL)
                PyErr_SetObject(PyExc_OSError, arguments);
            Py_XDECREF(arguments);
            Py_CLEAR(self);
        }
    }
    Py_DECREF(path);
    return (PyObject *)self;
}

static PyObject *hub_object_close(PyObject *self, PyObject *ignored)
{
    struct hub_object *object = (struct hub_object *)self;
    struct hub *hub = object->hub;
    (void)ignored;
    object->hub = NULL;
    if (hub != NULL)
        hub_close(hub);
    Py_RETURN_NONE;
}

static PyObject *hub_object_stats(PyObject *self, PyObject *ignored)
{
    struct hub *hub = ((struct hub_object *)self)->hub;
    struct hub_stats stats = {0};
    (void)ignored;
    if (hub != NULL)
        hub_stats(hub, &stats);
    const struct number numbers[] = {
        {"members", stats.members},     {"groups", stats.groups},   {"published", stats.published},
        {"forwarded", stats.forwarded}, {"dropped", stats.dropped}, {"refused", stats.refused},
    };
    return numbers_dict(numbers, sizeof numbers / sizeof numbers[0]);
}

static void hub_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    struct hub *hub = ((struct hub_object *)self)->hub;
    if (hub != NULL)
        hub_close(hub);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"close", hub_object_close, METH_NOARGS, "Ends the hub; its socket is gone when this returns. Twice does nothing."},
    {"stats", hub_object_stats, METH_NOARGS, "Gauges and counters, by name."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "The hub of the processes of one machine."},
    {Py_tp_new, hub_new},
    {Py_tp_dealloc, hub_dealloc},
    {Py_tp_methods, methods},
    {0, NULL},
};

PyType_Spec hub_spec = {
    .name = "peneus._core.Hub",
    .basicsize = sizeof(struct hub_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};
