#include "asgi/decode.h"

#include "asgi/layer_type.h"

/* A message as a buffer, for as long as the decoder keeps a view of it. */
struct message_object {
    PyObject_HEAD
    struct message *message;
};

PyObject *decode_message(struct state *state, PyObject *decode, struct message *message)
{
    struct message_object *object = PyObject_New(struct message_object, state->message_type);
    if (object == NULL) {
        message_release(message);
        return NULL;
    }
    object->message = message;
    PyObject *view = PyMemoryView_FromObject((PyObject *)object);
    PyObject *decoded = view == NULL ? NULL : PyObject_CallOneArg(decode, view);
    Py_XDECREF(view);
    Py_DECREF(object);
    return decoded;
}

static int message_buffer(PyObject *self, Py_buffer *view, int flags)
{
    struct message *message = ((struct message_object *)self)->message;
    return PyBuffer_FillInfo(view, self, message->bytes, (Py_ssize_t)message->length, 1, flags);
}

static void message_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    message_release(((struct message_object *)self)->message);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot message_slots[] = {
    {Py_bf_getbuffer, message_buffer},
    {Py_tp_dealloc, message_dealloc},
    {0, NULL},
};

PyType_Spec message_spec = {
    .name = "peneus._core.Message",
    .basicsize = sizeof(struct message_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = message_slots,
};
