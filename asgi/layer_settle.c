/* Layer.settled(): waits until the bus has confirmed what was asked of it before. */
#include "asgi/layer_wait.h"

#include <string.h>

struct layer_settle {
    struct layer_wait wait;
    PyObject *name; /* str, of a group or a channel; or NULL: everything */
    int group;
    int joined;
    uint64_t wait_ms;
};

/* True; False; None: the channel is full; or a str: why the other side has refused it. */
static PyObject *answer(int status, const struct message *reason)
{
    if (status == LAYER_FULL)
        Py_RETURN_NONE;
    if (status == LAYER_REFUSED && reason != NULL)
        return PyUnicode_DecodeUTF8((const char *)reason->bytes, (Py_ssize_t)reason->length, "replace");
    return PyBool_FromLong(status == LAYER_OK);
}

static int attempt(struct awaitable *awaitable, PyObject **result)
{
    struct layer_settle *settle = (struct layer_settle *)awaitable;
    struct layer_wait *wait = &settle->wait;
    if (wait->told) {
        *result = answer(wait->told_status, wait->told_answer);
        return *result != NULL ? 1 : -1;
    }
    struct settling what = { .joined = settle->joined, .wait_ms = settle->wait_ms };
    if (settle->name != NULL && layer_name(settle->name, settle->group ? &what.group : &what.channel) < 0)
        return -1;
    if (layer_wait_arm(wait) < 0)
        return -1;
    int status = layer_settle(layer_wait_native(wait), &what, wait->port->sink, wait->token);
    if (status == LAYER_EMPTY) {
        layer_wait_begin(wait);
        return 0;
    }
    layer_wait_disarm(wait);
    if (status != LAYER_OK) {
        PyErr_NoMemory();
        return -1;
    }
    *result = answer(status, NULL);
    return 1;
}

static void left(struct awaitable *awaitable, int woken, int again)
{
    (void)again;
    if (!woken)
        layer_wait_disarm((struct layer_wait *)awaitable); /* what the bus tells later finds nobody */
}

static const struct awaitable_operations operations = { attempt, layer_wait_loop, left, .repeatable = 0 };

PyObject *layer_settle_new(struct layer_object *layer, PyObject *name, int group, int joined, uint64_t wait_ms)
{
    struct layer_wait *wait = layer_wait_new(state_of(Py_TYPE(layer))->layer_settle_type, &operations, layer);
    if (wait == NULL)
        return NULL;
    struct layer_settle *settle = (struct layer_settle *)wait;
    settle->name = Py_XNewRef(name);
    settle->group = group;
    settle->joined = joined;
    settle->wait_ms = wait_ms;
    PyObject_GC_Track(wait);
    return (PyObject *)wait;
}

static int clear(PyObject *self)
{
    layer_wait_clear(self);
    Py_CLEAR(((struct layer_settle *)self)->name);
    return 0;
}

static void dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot slots[] = {
    AWAITABLE_SLOTS,
    {Py_tp_traverse, layer_wait_traverse},
    {Py_tp_clear, clear},
    {Py_tp_dealloc, dealloc},
    {0, NULL},
};

PyType_Spec layer_settle_spec = {
    .name = "peneus._core.LayerSettle",
    .basicsize = sizeof(struct layer_settle),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};
