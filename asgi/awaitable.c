#include "asgi/awaitable.h"

#include "asgi/pause.h"
#include "asgi/throw.h"

void awaitable_init(struct awaitable *awaitable, const struct awaitable_operations *operations, PyObject *source)
{
    awaitable->operations = operations;
    awaitable->phase = AWAITABLE_FRESH;
    awaitable->woken = 0;
    awaitable->source = Py_NewRef(source);
    awaitable->pause = NULL;
    list_init(&awaitable->link);
}

PyObject *awaitable_new(struct state *state, const struct awaitable_operations *operations, PyObject *source)
{
    struct awaitable *awaitable = PyObject_GC_New(struct awaitable, state->awaitable_type);
    if (awaitable == NULL)
        return NULL;
    awaitable_init(awaitable, operations, source);
    PyObject_GC_Track(awaitable);
    return (PyObject *)awaitable;
}

/* Takes it out of its list, and the list's reference with it: the caller has another one. */
static void unlink_waiting(struct awaitable *awaitable)
{
    if (list_empty(&awaitable->link))
        return;
    list_remove(&awaitable->link);
    Py_DECREF(awaitable);
}

/* The only one to leave WAITING. */
static void stop_waiting(struct awaitable *awaitable, int again)
{
    if (awaitable->phase != AWAITABLE_WAITING)
        return;
    int woken = awaitable->woken;
    awaitable->woken = 0;
    awaitable->phase = again ? AWAITABLE_FRESH : AWAITABLE_DONE;
    unlink_waiting(awaitable);
    awaitable->operations->left(awaitable, woken, again);
    Py_CLEAR(awaitable->pause);
}

void awaitable_leave(struct awaitable *awaitable)
{
    stop_waiting(awaitable, 0);
    awaitable->phase = AWAITABLE_DONE;
}

int awaitable_wake(struct awaitable *awaitable, int at_once)
{
    if (awaitable->phase != AWAITABLE_WAITING || awaitable->woken)
        return 0;
    awaitable->woken = 1;
    unlink_waiting(awaitable); /* from now on the loop has the task */
    PyObject *pause = Py_NewRef(awaitable->pause);
    int result = pause_end(pause, at_once);
    Py_DECREF(pause);
    return result;
}

void awaitable_forget(struct awaitable *awaitable)
{
    unlink_waiting(awaitable);
}

int awaitable_wake_all(struct list_node *list, int at_once)
{
    /* Whoever runs may wait again, or end any other wait: so those to wake are taken aside, and each time the first is taken. */
    struct list_node waiting;
    list_init(&waiting);
    while (!list_empty(list)) {
        struct list_node *node = list->next;
        list_remove(node);
        list_append(&waiting, node);
    }
    int result = 0;
    while (result == 0 && !list_empty(&waiting)) {
        struct awaitable *awaitable = list_entry(waiting.next, struct awaitable, link);
        Py_INCREF(awaitable);
        result = awaitable_wake(awaitable, at_once);
        Py_DECREF(awaitable);
    }
    while (!list_empty(&waiting)) {
        struct list_node *node = waiting.next;
        list_remove(node);
        list_append(list, node);
    }
    return result;
}

/* Begins to wait: yields the pause, as the loop's tasks expect. */
static PySendResult begin_waiting(struct awaitable *awaitable, PyObject **result)
{
    if (!list_empty(&awaitable->link))
        Py_INCREF(awaitable); /* the list's */
    awaitable->phase = AWAITABLE_WAITING;
    awaitable->pause = pause_new(state_of(Py_TYPE(awaitable)), awaitable->operations->loop(awaitable));
    if (awaitable->pause == NULL) {
        stop_waiting(awaitable, 0);
        return PYGEN_ERROR;
    }
    *result = Py_NewRef(awaitable->pause);
    return PYGEN_NEXT;
}

PySendResult awaitable_send(PyObject *self, PyObject *value, PyObject **result)
{
    (void)value;
    struct awaitable *awaitable = (struct awaitable *)self;
    *result = NULL;
    if (awaitable->phase == AWAITABLE_DONE && awaitable->operations->repeatable)
        awaitable->phase = AWAITABLE_FRESH;
    if (awaitable->phase == AWAITABLE_DONE) {
        PyErr_SetString(PyExc_RuntimeError, "this receive() or send() was awaited already: call it again for each await");
        return PYGEN_ERROR;
    }
    if (awaitable->phase == AWAITABLE_ATTEMPTING ||
        (awaitable->phase == AWAITABLE_WAITING && pause_pending(awaitable->pause))) {
        PyErr_SetString(PyExc_RuntimeError, "this receive() or send() is being awaited by another task");
        return PYGEN_ERROR;
    }
    stop_waiting(awaitable, 1);
    awaitable->phase = AWAITABLE_ATTEMPTING;
    int attempt = awaitable->operations->attempt(awaitable, result);
    if (attempt == 0)
        return begin_waiting(awaitable, result);
    if (attempt == AWAITABLE_TURN) {
        awaitable->phase = AWAITABLE_FRESH;
        *result = Py_NewRef(Py_None); /* what a bare yield gives: the task goes on in the loop's next turn */
        return PYGEN_NEXT;
    }
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

int awaitable_visit_all(const struct list_node *list, visitproc visit, void *arg)
{
    for (const struct list_node *node = list->next; node != list; node = node->next) {
        struct awaitable *awaitable = list_entry(node, struct awaitable, link);
        Py_VISIT(awaitable);
    }
    return 0;
}

int awaitable_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct awaitable *awaitable = (struct awaitable *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(awaitable->source);
    Py_VISIT(awaitable->pause);
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
