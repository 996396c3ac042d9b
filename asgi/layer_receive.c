/* The pending receive() of a layer, and the message it hands to the decoder. */
#include "asgi/awaitable.h"
#include "asgi/layer_type.h"
#include "asgi/port.h"

struct layer_receive {
    struct awaitable awaitable; /* source: the layer */
    PyObject *channel;          /* str */
    size_t capacity;
    PyObject *decode;
    PyObject *loop;
    struct port *port;
    uint64_t token;             /* 0 while it does not wait */
    uint64_t told_channel;      /* of the sink_item, when it was told */
};

static struct layer *native(const struct layer_receive *receive)
{
    return ((struct layer_object *)receive->awaitable.source)->layer;
}

/* A message as a buffer, for as long as the decoder keeps a view of it. */
struct message_object {
    PyObject_HEAD
    struct message *message;
};

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

/* Takes the reference to message. */
static PyObject *decode_message(struct state *state, PyObject *decode, struct message *message)
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

/* The loop is known only when somebody awaits. */
static int find_port(struct layer_receive *receive, struct state *state)
{
    if (receive->port != NULL)
        return 0;
    receive->loop = PyObject_CallNoArgs(state->get_running_loop);
    if (receive->loop == NULL)
        return -1;
    receive->port = port_of(state, receive->loop);
    return receive->port == NULL ? -1 : 0;
}

static void forget_token(struct layer_receive *receive)
{
    slots_remove(&receive->port->waiters, receive->token);
    receive->token = 0;
}

static int attempt(struct awaitable *awaitable, PyObject **result)
{
    struct layer_receive *receive = (struct layer_receive *)awaitable;
    struct state *state = state_of(Py_TYPE(awaitable));
    struct name channel;
    if (find_port(receive, state) < 0 || layer_name(receive->channel, &channel) < 0)
        return -1;
    receive->token = slots_add(&receive->port->waiters, awaitable);
    if (receive->token == 0) {
        PyErr_NoMemory();
        return -1;
    }
    struct message *message;
    int got = layer_receive(native(receive), channel, receive->capacity, receive->port->sink, receive->token, &message);
    if (got == LAYER_EMPTY)
        return 0;
    forget_token(receive);
    if (got != LAYER_OK) {
        PyErr_NoMemory();
        return -1;
    }
    *result = decode_message(state, receive->decode, message);
    return *result == NULL ? -1 : 1;
}

static PyObject *loop_of(struct awaitable *awaitable)
{
    return ((struct layer_receive *)awaitable)->loop;
}

static void left(struct awaitable *awaitable, int woken, int again)
{
    struct layer_receive *receive = (struct layer_receive *)awaitable;
    if (woken) {
        /* Its token was forgotten when it was told. The message it was told of is still in the mailbox. */
        if (!again)
            layer_pass(native(receive), receive->told_channel);
        return;
    }
    struct name channel;
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (layer_name(receive->channel, &channel) == 0)
        layer_cancel(native(receive), channel, receive->port->sink, receive->token);
    PyErr_Restore(type, value, traceback);
    forget_token(receive);
}

static const struct awaitable_operations operations = { attempt, loop_of, left };

int port_told(struct awaitable *awaitable, const struct sink_item *item)
{
    struct layer_receive *receive = (struct layer_receive *)awaitable;
    int result = 0;
    if (receive == NULL) {
        layer_pass(item->layer, item->channel);
    } else {
        receive->told_channel = item->channel;
        forget_token(receive);
        Py_INCREF(awaitable);
        result = awaitable_wake(awaitable, 1);
        Py_DECREF(awaitable);
    }
    layer_release(item->layer);
    return result;
}

PyObject *layer_receive_new(struct layer_object *layer, PyObject *channel, size_t capacity, PyObject *decode)
{
    struct state *state = state_of(Py_TYPE(layer));
    struct layer_receive *receive = PyObject_GC_New(struct layer_receive, state->layer_receive_type);
    if (receive == NULL)
        return NULL;
    struct awaitable *awaitable = &receive->awaitable;
    awaitable->operations = &operations;
    awaitable->phase = AWAITABLE_FRESH;
    awaitable->woken = 0;
    awaitable->source = Py_NewRef((PyObject *)layer);
    awaitable->pause = NULL;
    list_init(&awaitable->link);
    receive->channel = Py_NewRef(channel);
    receive->capacity = capacity;
    receive->decode = Py_NewRef(decode);
    receive->loop = NULL;
    receive->port = NULL;
    receive->token = 0;
    receive->told_channel = 0;
    PyObject_GC_Track(receive);
    return (PyObject *)receive;
}

static int traverse(PyObject *self, visitproc visit, void *arg)
{
    struct layer_receive *receive = (struct layer_receive *)self;
    Py_VISIT(receive->decode);
    Py_VISIT(receive->loop);
    return awaitable_traverse(self, visit, arg);
}

static int clear(PyObject *self)
{
    struct layer_receive *receive = (struct layer_receive *)self;
    awaitable_clear(self);
    Py_CLEAR(receive->channel);
    Py_CLEAR(receive->decode);
    Py_CLEAR(receive->loop);
    Py_CLEAR(receive->port);
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
