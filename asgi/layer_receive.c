/* The pending receive() of a layer. */
#include "asgi/decode.h"
#include "asgi/layer_wait.h"

struct layer_receive {
    struct layer_wait wait;
    PyObject *channel; /* str */
    size_t capacity;
    PyObject *decode;
    PyObject *never; /* called with the channel's name when it has ended; or None */
};

/* Soon: the application's code does not run in the middle of ours. */
static void never_comes(struct layer_wait *wait)
{
    struct layer_receive *receive = (struct layer_receive *)wait;
    if (receive->never == Py_None)
        return;
    PyObject *handle = PyObject_CallMethod(wait->loop, "call_soon", "OO", receive->never, receive->channel);
    if (handle == NULL)
        PyErr_WriteUnraisable(receive->never);
    Py_XDECREF(handle);
}

static int attempt(struct awaitable *awaitable, PyObject **result)
{
    struct layer_receive *receive = (struct layer_receive *)awaitable;
    struct layer_wait *wait = &receive->wait;
    struct name channel;
    if (layer_name(receive->channel, &channel) < 0 || layer_wait_arm(wait) < 0)
        return -1;
    struct message *message;
    int got = layer_receive(layer_wait_native(wait), channel, receive->capacity, wait->port->sink, wait->token, &message);
    if (got == LAYER_EMPTY) {
        layer_wait_begin(wait);
        return 0;
    }
    layer_wait_disarm(wait);
    if (got == LAYER_UNKNOWN) {
        never_comes(wait);
        return 0;
    }
    if (got != LAYER_OK) {
        PyErr_NoMemory();
        return -1;
    }
    *result = decode_message(state_of(Py_TYPE(awaitable)), receive->decode, message);
    return *result == NULL ? -1 : 1;
}

static void left(struct awaitable *awaitable, int woken, int again)
{
    struct layer_receive *receive = (struct layer_receive *)awaitable;
    struct layer_wait *wait = &receive->wait;
    if (woken) {
        /* Its token was forgotten when it was told. The message it was told of is still in the mailbox. */
        if (!again)
            layer_pass(layer_wait_native(wait), wait->told_channel);
        return;
    }
    struct name channel;
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (layer_name(receive->channel, &channel) == 0)
        layer_cancel(layer_wait_native(wait), channel, wait->port->sink, wait->token);
    PyErr_Restore(type, value, traceback);
    layer_wait_disarm(wait);
}

static const struct awaitable_operations operations = { attempt, layer_wait_loop, left, .repeatable = 0 };

PyObject *layer_receive_new(struct layer_object *layer, PyObject *channel, size_t capacity, PyObject *decode, PyObject *never)
{
    struct state *state = state_of(Py_TYPE(layer));
    struct layer_wait *wait = layer_wait_new(state->layer_receive_type, &operations, layer);
    if (wait == NULL)
        return NULL;
    struct layer_receive *receive = (struct layer_receive *)wait;
    receive->channel = Py_NewRef(channel);
    receive->capacity = capacity;
    receive->decode = Py_NewRef(decode);
    receive->never = Py_NewRef(never);
    wait->never = never_comes;
    PyObject_GC_Track(receive);
    return (PyObject *)receive;
}

static int traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(((struct layer_receive *)self)->decode);
    Py_VISIT(((struct layer_receive *)self)->never);
    return layer_wait_traverse(self, visit, arg);
}

static int clear(PyObject *self)
{
    struct layer_receive *receive = (struct layer_receive *)self;
    layer_wait_clear(self);
    Py_CLEAR(receive->channel);
    Py_CLEAR(receive->decode);
    Py_CLEAR(receive->never);
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

static PyType_Slot layer_receive_slots[] = {
    AWAITABLE_SLOTS,
    {Py_tp_traverse, traverse},
    {Py_tp_clear, clear},
    {Py_tp_dealloc, dealloc},
    {0, NULL},
};

PyType_Spec layer_receive_spec = {
    .name = "peneus._core.LayerReceive",
    .basicsize = sizeof(struct layer_receive),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = layer_receive_slots,
};
