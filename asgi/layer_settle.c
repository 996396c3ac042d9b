/* Layer.settled(): waits until the bus has confirmed what was asked of it before. */
#include "asgi/layer_wait.h"

static PyObject *answer(int status)
{
    if (status == LAYER_FULL)
        Py_RETURN_NONE;
    return PyBool_FromLong(status == LAYER_OK);
}

static int attempt(struct awaitable *awaitable, PyObject **result)
{
    struct layer_wait *wait = (struct layer_wait *)awaitable;
    if (wait->told) {
        *result = answer(wait->told_status);
        return 1;
    }
    if (layer_wait_arm(wait) < 0)
        return -1;
    int status = layer_settle(layer_wait_native(wait), wait->port->sink, wait->token);
    if (status == LAYER_EMPTY) {
        layer_wait_begin(wait);
        return 0;
    }
    layer_wait_disarm(wait);
    if (status != LAYER_OK) {
        PyErr_NoMemory();
        return -1;
    }
    *result = answer(status);
    return 1;
}

static void left(struct awaitable *awaitable, int woken, int again)
{
    (void)again;
    if (!woken)
        layer_wait_disarm((struct layer_wait *)awaitable); /* what the bus tells later finds nobody */
}

static const struct awaitable_operations operations = { attempt, layer_wait_loop, left, .repeatable = 0 };

PyObject *layer_settle_new(struct layer_object *layer)
{
    struct layer_wait *wait = layer_wait_new(state_of(Py_TYPE(layer))->layer_settle_type, &operations, layer);
    if (wait != NULL)
        PyObject_GC_Track(wait);
    return (PyObject *)wait;
}

static void dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    layer_wait_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot slots[] = {
    AWAITABLE_SLOTS,
    {Py_tp_traverse, layer_wait_traverse},
    {Py_tp_clear, layer_wait_clear},
    {Py_tp_dealloc, dealloc},
    {0, NULL},
};

PyType_Spec layer_settle_spec = {
    .name = "peneus._core.LayerSettle",
    .basicsize = sizeof(struct layer_wait),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};
