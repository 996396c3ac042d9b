#include "asgi/sending.h"

#include "asgi/awaitable.h"
#include "asgi/connection.h"
#include "asgi/errors.h"

struct sending {
    struct awaitable awaitable; /* source: the connection */
    PyObject *message;          /* until it is read */
};

static int attempt(struct awaitable *awaitable, PyObject **result)
{
    struct sending *sending = (struct sending *)awaitable;
    struct pyconnection *connection = (struct pyconnection *)awaitable->source;
    PyObject *message = sending->message;
    if (message != NULL) {
        sending->message = NULL;
        int sent = pyconnection_send_event(connection, message);
        Py_DECREF(message);
        if (sent < 0)
            return -1;
    } else if (connection->state == CONNECTION_GONE) {
        pyconnection_raise_gone(connection);
        return -1;
    }
    if (!pyconnection_may_send(connection)) {
        list_append(&connection->senders, &awaitable->link);
        return 0;
    }
    *result = Py_NewRef(Py_None);
    return 1;
}

static PyObject *loop_of(struct awaitable *awaitable)
{
    return ((struct pyconnection *)awaitable->source)->server->loop;
}

static void left(struct awaitable *awaitable, int woken, int again)
{
    (void)awaitable;
    (void)woken;
    (void)again;
}

static const struct awaitable_operations operations = { attempt, loop_of, left, .repeatable = 0 };

PyObject *sending_new(PyObject *connection, PyObject *message)
{
    struct state *state = state_of(Py_TYPE(connection));
    struct sending *sending;
    if (state->sending_count > 0) {
        sending = (struct sending *)state->sendings[--state->sending_count];
        (void)PyObject_Init((PyObject *)sending, state->sending_type);
    } else if ((sending = PyObject_GC_New(struct sending, state->sending_type)) == NULL) {
        return NULL;
    }
    awaitable_init(&sending->awaitable, &operations, connection);
    sending->message = Py_NewRef(message);
    PyObject_GC_Track(sending);
    return (PyObject *)sending;
}

void sending_clear(struct state *state)
{
    state->sending_room = 0;
    while (state->sending_count > 0)
        PyObject_GC_Del(state->sendings[--state->sending_count]);
}

/* As a coroutine does: a forgotten await is a message that nobody gets. */
static void warn(struct sending *sending)
{
    PyObject *error = error_take();
    if (PyErr_WarnEx(PyExc_RuntimeWarning, "send() was never awaited: the event has not been sent", 1) < 0)
        PyErr_WriteUnraisable(sending->awaitable.source);
    if (error != NULL)
        error_set(error);
}

static int traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(((struct sending *)self)->message);
    return awaitable_traverse(self, visit, arg);
}

static int clear(PyObject *self)
{
    awaitable_clear(self);
    Py_CLEAR(((struct sending *)self)->message);
    return 0;
}

static void dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    struct sending *sending = (struct sending *)self;
    struct pyconnection *connection = (struct pyconnection *)sending->awaitable.source; /* NULL: it was garbage */
    struct state *state = connection == NULL ? NULL : connection->server->state;
    PyObject_GC_UnTrack(self);
    if (sending->awaitable.phase == AWAITABLE_FRESH && sending->message != NULL)
        warn(sending);
    clear(self);
    if (state != NULL && state->sending_count < state->sending_room)
        state->sendings[state->sending_count++] = self;
    else
        type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot slots[] = {
    AWAITABLE_SLOTS,
    {Py_tp_traverse, traverse},
    {Py_tp_clear, clear},
    {Py_tp_dealloc, dealloc},
    {0, NULL},
};

PyType_Spec sending_spec = {
    .name = "peneus._core.Sending",
    .basicsize = sizeof(struct sending),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};
