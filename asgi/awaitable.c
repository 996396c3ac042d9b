#include "asgi/awaitable.h"

#include "asgi/throw.h"

PyObject *awaitable_new(struct state *state, const struct awaitable_operations *operations, PyObject *source)
{
    struct awaitable *awaitable = PyObject_GC_New(struct awaitable, state->awaitable_type);
    if (awaitable == NULL)
        return NULL;
    awaitable->operations = operations;
    awaitable->phase = AWAITABLE_FRESH;
    awaitable->woken = 0;
    awaitable->source = Py_NewRef(source);
    awaitable->future = NULL;
    awaitable->iterator = NULL;
    list_init(&awaitable->link);
    PyObject_GC_Track(awaitable);
    return (PyObject *)awaitable;
}

/* The only one to leave WAITING. */
static void stop_waiting(struct awaitable *awaitable, int again)
{
    if (awaitable->phase != AWAITABLE_WAITING)
        return;
    int woken = awaitable->woken;
    awaitable->woken = 0;
    awaitable->phase = again ? AWAITABLE_FRESH : AWAITABLE_DONE;
    list_remove(&awaitable->link);
    awaitable->operations->left(awaitable, woken, again);
    Py_CLEAR(awaitable->iterator);
    Py_CLEAR(awaitable->future);
}

void awaitable_leave(struct awaitable *awaitable)
{
    stop_waiting(awaitable, 0);
    awaitable->phase = AWAITABLE_DONE;
}

void awaitable_wake(struct awaitable *awaitable)
{
    if (awaitable->phase != AWAITABLE_WAITING || awaitable->woken)
        return;
    awaitable->woken = 1;
    struct state *state = state_of(Py_TYPE(awaitable));
    PyObject *future = Py_NewRef(awaitable->future);
    PyObject *done = PyObject_CallMethodNoArgs(future, state->strings.done);
    /* A future that is done was cancelled with its task. */
    if (done == Py_False) {
        PyObject *set = PyObject_CallMethodOneArg(future, state->strings.set_result, Py_None);
        Py_XDECREF(set);
    }
    Py_XDECREF(done);
    if (PyErr_Occurred())
        PyErr_WriteUnraisable(future);
    Py_DECREF(future);
}

void awaitable_wake_all(struct list_node *list)
{
    /* They leave the list only when their tasks run, but setting a result may run anything in a debugging loop. */
    for (struct list_node *node = list->next; node != list;) {
        struct awaitable *awaitable = list_entry(node, struct awaitable, link);
        node = node->next;
        Py_INCREF(awaitable);
        awaitable_wake(awaitable);
        Py_DECREF(awaitable);
    }
}

/* Begins to wait: yields the future, as the loop's tasks expect. */
static PySendResult begin_waiting(struct awaitable *awaitable, PyObject **result)
{
    awaitable->phase = AWAITABLE_WAITING;
    awaitable->future = awaitable->operations->future(awaitable);
    if (awaitable->future != NULL) {
        PyAsyncMethods *async = Py_TYPE(awaitable->future)->tp_as_async;
        if (async == NULL || async->am_await == NULL)
            PyErr_SetString(PyExc_TypeError, "loop.create_future() returned what cannot be awaited");
        else
            awaitable->iterator = async->am_await(awaitable->future);
    }
    if (awaitable->iterator != NULL && PyIter_Send(awaitable->iterator, Py_None, result) == PYGEN_NEXT)
        return PYGEN_NEXT;
    if (!PyErr_Occurred())
        PyErr_SetString(PyExc_RuntimeError, "a new future of the loop is already done");
    stop_waiting(awaitable, 0);
    return PYGEN_ERROR;
}

PySendResult awaitable_send(PyObject *self, PyObject *value, PyObject **result)
{
    (void)value;
    struct awaitable *awaitable = (struct awaitable *)self;
    *result = NULL;
    if (awaitable->phase == AWAITABLE_DONE) {
        PyErr_SetString(PyExc_RuntimeError, "this receive() or send() was awaited already: call it again for each await");
        return PYGEN_ERROR;
    }
    if (awaitable->phase == AWAITABLE_WAITING) {
        PyObject *ignored = NULL;
        PySendResult step = PyIter_Send(awaitable->iterator, Py_None, &ignored);
        if (step == PYGEN_NEXT) {
            *result = ignored;
            return PYGEN_NEXT;
        }
        Py_XDECREF(ignored);
        stop_waiting(awaitable, step == PYGEN_RETURN);
        if (step == PYGEN_ERROR)
            return PYGEN_ERROR;
    }
    int attempt = awaitable->operations->attempt(awaitable, result);
    if (attempt == 0)
        return begin_waiting(awaitable, result);
    awaitable->phase = AWAITABLE_DONE;
    return attempt > 0 ? PYGEN_RETURN : PYGEN_ERROR;
}

PyObject *awaitable_self(PyObject *self)
{
    return Py_NewRef(self);
}

/* What a generator's send() gives: the yielded value, or StopIteration with the result. */
static PyObject *as_generator(PySendResult step, PyObject *result)
{
    if (step == PYGEN_RETURN) {
        stop_iteration(result);
        Py_DECREF(result);
        return NULL;
    }
    return result;
}

PyObject *awaitable_next(PyObject *self)
{
    PyObject *result;
    PySendResult step = awaitable_send(self, Py_None, &result);
    return as_generator(step, result);
}

static PyObject *method_send(PyObject *self, PyObject *value)
{
    PyObject *result;
    PySendResult step = awaitable_send(self, value, &result);
    return as_generator(step, result);
}

static PyObject *method_throw(PyObject *self, PyObject *args)
{
    awaitable_leave((struct awaitable *)self);
    throw_arguments(args);
    return NULL;
}

static PyObject *method_close(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    awaitable_leave((struct awaitable *)self);
    Py_RETURN_NONE;
}

PyMethodDef awaitable_methods[] = {
    {"send", method_send, METH_O, "As a coroutine's."},
    {"throw", method_throw, METH_VARARGS, "As a coroutine's."},
    {"close", method_close, METH_NOARGS, "As a coroutine's."},
    {NULL, NULL, 0, NULL},
};

int awaitable_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct awaitable *awaitable = (struct awaitable *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(awaitable->source);
    Py_VISIT(awaitable->future);
    Py_VISIT(awaitable->iterator);
    return 0;
}

int awaitable_clear(PyObject *self)
{
    struct awaitable *awaitable = (struct awaitable *)self;
    awaitable_leave(awaitable);
    Py_CLEAR(awaitable->source);
    return 0;
}

static void dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    awaitable_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot awaitable_slots[] = {
    AWAITABLE_SLOTS,
    {Py_tp_traverse, awaitable_traverse},
    {Py_tp_clear, awaitable_clear},
    {Py_tp_dealloc, dealloc},
    {0, NULL},
};

PyType_Spec awaitable_spec = {
    .name = "peneus._core.Awaitable",
    .basicsize = sizeof(struct awaitable),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = awaitable_slots,
};
