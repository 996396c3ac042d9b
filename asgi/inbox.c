/* An event and a message know when they were made (clock_ns), so the older of the two is the next. While there is neither, the
 * inbox stands in two places: among its connection's receivers and, with a token, among those who wait for its channel. */
#include "asgi/inbox.h"

#include "asgi/connection.h"
#include "asgi/decode.h"
#include "asgi/errors.h"
#include "asgi/layer_wait.h"
#include "channellayer/layer_take.h"

struct inbox {
    struct layer_wait wait;
    struct pyconnection *connection;
    PyObject *channel; /* str */
    size_t capacity;
    PyObject *decode;
    unsigned in_a_row; /* results since it last waited */
};

static int give(struct inbox *inbox, int got)
{
    inbox->in_a_row++;
    return got;
}

static int give_message(struct inbox *inbox, struct message *message, PyObject **result)
{
    inbox->wait.told = 0;
    *result = decode_message(state_of(Py_TYPE(inbox)), inbox->decode, message);
    return give(inbox, *result == NULL ? -1 : 1);
}

/* The connection has an event, made at `when`. After the disconnect it has one for ever: then messages come first. */
static int take_older(struct inbox *inbox, struct name channel, uint64_t when, PyObject **result)
{
    struct layer_wait *wait = &inbox->wait;
    struct message *message;
    uint64_t before = inbox->connection->told ? UINT64_MAX : when;
    if (layer_take_before(layer_wait_native(wait), channel, before, &message) == LAYER_OK)
        return give_message(inbox, message, result);
    if (wait->told) {
        wait->told = 0;
        layer_pass(layer_wait_native(wait), wait->told_channel);
    }
    return give(inbox, pyconnection_take_event(inbox->connection, result));
}

static int take_message_or_wait(struct inbox *inbox, struct name channel, PyObject **result)
{
    struct layer_wait *wait = &inbox->wait;
    struct message *message;
    if (layer_wait_arm(wait) < 0)
        return -1;
    wait->told = 0;
    int got = layer_receive(layer_wait_native(wait), channel, inbox->capacity, wait->port->sink, wait->token, &message);
    if (got == LAYER_EMPTY && pyconnection_next_at(inbox->connection) != PYCONNECTION_NOTHING) {
        layer_cancel(layer_wait_native(wait), channel, wait->port->sink, wait->token); /* other code ran meanwhile */
        layer_wait_disarm(wait);
        return give(inbox, pyconnection_take_event(inbox->connection, result));
    }
    if (got != LAYER_EMPTY)
        layer_wait_disarm(wait);
    if (got == LAYER_EMPTY || got == LAYER_UNKNOWN) {
        inbox->in_a_row = 0;
        list_append(&inbox->connection->receivers, &wait->awaitable.link);
        return 0;
    }
    if (got == LAYER_OK)
        return give_message(inbox, message, result);
    PyErr_NoMemory();
    return -1;
}

static int attempt(struct awaitable *awaitable, PyObject **result)
{
    struct inbox *inbox = (struct inbox *)awaitable;
    struct name channel;
    /* Neither a consumer that asks on after the disconnect nor one that sends to its own group keeps the loop from everyone else. */
    if (inbox->in_a_row >= INBOX_IN_A_ROW) {
        inbox->in_a_row = 0;
        return AWAITABLE_TURN;
    }
    if (layer_name(inbox->channel, &channel) < 0)
        return -1;
    uint64_t when = pyconnection_next_at(inbox->connection);
    if (when != PYCONNECTION_NOTHING)
        return take_older(inbox, channel, when, result);
    int got = pyconnection_take_event(inbox->connection, result); /* asks for what a request's client holds back */
    return got != 0 ? give(inbox, got) : take_message_or_wait(inbox, channel, result);
}

/* awaitable.c has taken it out of the connection's list. */
static void left(struct awaitable *awaitable, int woken, int again)
{
    (void)woken;
    struct inbox *inbox = (struct inbox *)awaitable;
    struct layer_wait *wait = &inbox->wait;
    if (wait->told) {
        /* Its token was forgotten when it was told. The message it was told of is still in the mailbox. */
        if (!again)
            layer_pass(layer_wait_native(wait), wait->told_channel);
        return;
    }
    struct name channel;
    PyObject *error = error_take();
    if (layer_name(inbox->channel, &channel) == 0)
        layer_cancel(layer_wait_native(wait), channel, wait->port->sink, wait->token);
    if (error != NULL)
        error_set(error);
    layer_wait_disarm(wait);
}

static const struct awaitable_operations operations = { attempt, layer_wait_loop, left, .repeatable = 1 };

static PyObject *inbox_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"layer", "connection", "channel", "capacity", "decode", NULL};
    struct state *state = state_of(type);
    PyObject *layer, *connection, *channel, *decode;
    Py_ssize_t capacity;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!O!UnO:Inbox", names, state->layer_type, &layer,
                                     state->connection_type, &connection, &channel, &capacity, &decode))
        return NULL;
    if (capacity <= 0) {
        PyErr_SetString(PyExc_ValueError, "capacity must be at least 1");
        return NULL;
    }
    struct layer_wait *wait = layer_wait_new(type, &operations, (struct layer_object *)layer);
    if (wait == NULL)
        return NULL;
    struct inbox *inbox = (struct inbox *)wait;
    inbox->connection = (struct pyconnection *)Py_NewRef(connection);
    inbox->channel = Py_NewRef(channel);
    inbox->capacity = (size_t)capacity;
    inbox->decode = Py_NewRef(decode);
    inbox->in_a_row = 0;
    PyObject_GC_Track(inbox);
    return (PyObject *)inbox;
}

static int traverse(PyObject *self, visitproc visit, void *arg)
{
    struct inbox *inbox = (struct inbox *)self;
    Py_VISIT(inbox->connection);
    Py_VISIT(inbox->decode);
    return layer_wait_traverse(self, visit, arg);
}

static int clear(PyObject *self)
{
    struct inbox *inbox = (struct inbox *)self;
    layer_wait_clear(self); /* first: it leaves what it waits for */
    Py_CLEAR(inbox->connection);
    Py_CLEAR(inbox->channel);
    Py_CLEAR(inbox->decode);
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

static PyType_Slot inbox_slots[] = {
    {Py_tp_doc, "await inbox: the next event of connection or message of channel, whichever came first."},
    {Py_tp_new, inbox_new},
    AWAITABLE_SLOTS,
    {Py_tp_traverse, traverse},
    {Py_tp_clear, clear},
    {Py_tp_dealloc, dealloc},
    {0, NULL},
};

PyType_Spec inbox_spec = {
    .name = "peneus._core.Inbox",
    .basicsize = sizeof(struct inbox),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = inbox_slots,
};
