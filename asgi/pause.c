#include "asgi/pause.h"

#include "asgi/errors.h"

enum pause_state {
    PAUSE_PENDING,   /* waits for pause_end() or cancel() */
    PAUSE_OVER,
    PAUSE_CANCELLED,
};

struct pause {
    PyObject_HEAD
    enum pause_state state;
    char blocking;      /* _asyncio_future_blocking: it was yielded, and the task has not yet seen it */
    PyObject *loop;
    PyObject *callback; /* the task's, or NULL */
    PyObject *context;  /* to run it in */
    PyObject *message;  /* cancel()'s, or NULL */
};

PyObject *pause_new(struct state *state, PyObject *loop)
{
    struct pause *pause = PyObject_GC_New(struct pause, state->pause_type);
    if (pause == NULL)
        return NULL;
    pause->state = PAUSE_PENDING;
    pause->blocking = 1;
    pause->loop = Py_NewRef(loop);
    pause->callback = NULL;
    pause->context = NULL;
    pause->message = NULL;
    PyObject_GC_Track(pause);
    return (PyObject *)pause;
}

int pause_pending(PyObject *pause)
{
    return ((struct pause *)pause)->state == PAUSE_PENDING;
}

/* The callback has been called, or will be: forgets it. */
static int run_soon(struct pause *pause)
{
    PyObject *callback = pause->callback;
    PyObject *context = pause->context;
    if (callback == NULL)
        return 0;
    pause->callback = NULL;
    pause->context = NULL;
    struct state *state = state_of(Py_TYPE(pause));
    PyObject *arguments[] = {pause->loop, callback, (PyObject *)pause, context};
    PyObject *handle = PyObject_VectorcallMethod(state->strings.call_soon, arguments, 3, state->context_name);
    Py_DECREF(callback);
    Py_DECREF(context);
    Py_XDECREF(handle);
    return handle == NULL ? -1 : 0;
}

static int run_now(struct pause *pause)
{
    PyObject *callback = pause->callback;
    PyObject *context = pause->context;
    if (callback == NULL)
        return 0;
    pause->callback = NULL;
    pause->context = NULL;
    PyObject *done = NULL;
    PyObject *error = NULL;
    if (PyContext_Enter(context) == 0) {
        done = PyObject_CallOneArg(callback, (PyObject *)pause);
        if (done == NULL)
            error = error_take();
        PyContext_Exit(context);
    }
    if (error != NULL)
        error_set(error);
    Py_DECREF(callback);
    Py_DECREF(context);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

int pause_end(PyObject *object, int at_once)
{
    struct pause *pause = (struct pause *)object;
    if (pause->state != PAUSE_PENDING)
        return 0;
    pause->state = PAUSE_OVER;
    if ((at_once ? run_now : run_soon)(pause) == 0)
        return 0;
    return error_report(state_of(Py_TYPE(pause)), pause->loop, "Exception in the step of a task");
}

static PyObject *cancel(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"msg", NULL};
    struct pause *pause = (struct pause *)self;
    PyObject *message = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:cancel", names, &message))
        return NULL;
    if (pause->state != PAUSE_PENDING)
        Py_RETURN_FALSE;
    pause->state = PAUSE_CANCELLED;
    Py_XSETREF(pause->message, message == Py_None ? NULL : Py_NewRef(message));
    if (run_soon(pause) < 0)
        return NULL;
    Py_RETURN_TRUE;
}

static PyObject *result(PyObject *self, PyObject *ignored)
{
    struct pause *pause = (struct pause *)self;
    struct state *state = state_of(Py_TYPE(self));
    (void)ignored;
    switch (pause->state) {
    case PAUSE_PENDING:
        PyErr_SetString(state->invalid_state_error, "Result is not set.");
        return NULL;
    case PAUSE_CANCELLED:
        if (pause->message == NULL)
            PyErr_SetNone(state->cancelled_error);
        else
            PyErr_SetObject(state->cancelled_error, pause->message);
        return NULL;
    default:
        Py_RETURN_NONE;
    }
}

static PyObject *done(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    return PyBool_FromLong(((struct pause *)self)->state != PAUSE_PENDING);
}

static PyObject *cancelled(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    return PyBool_FromLong(((struct pause *)self)->state == PAUSE_CANCELLED);
}

static PyObject *get_loop(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    return Py_NewRef(((struct pause *)self)->loop);
}

static PyObject *add_done_callback(PyObject *self, PyObject *const *arguments, Py_ssize_t count, PyObject *names)
{
    struct pause *pause = (struct pause *)self;
    Py_ssize_t named = names == NULL ? 0 : PyTuple_GET_SIZE(names);
    if (count != 1 || named > 1 ||
        (named == 1 && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), "context") != 0)) {
        PyErr_SetString(PyExc_TypeError, "add_done_callback(callback, *, context=None)");
        return NULL;
    }
    if (pause->callback != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "only one task can wait here: each await needs a receive() or send() of its own");
        return NULL;
    }
    PyObject *context = named == 1 && arguments[1] != Py_None ? Py_NewRef(arguments[1]) : PyContext_CopyCurrent();
    if (context == NULL)
        return NULL;
    if (!PyContext_CheckExact(context)) {
        Py_DECREF(context);
        PyErr_SetString(PyExc_TypeError, "context must be a contextvars.Context");
        return NULL;
    }
    Py_XSETREF(pause->callback, Py_NewRef(arguments[0]));
    Py_XSETREF(pause->context, context);
    if (pause->state != PAUSE_PENDING && run_soon(pause) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *remove_done_callback(PyObject *self, PyObject *callback)
{
    struct pause *pause = (struct pause *)self;
    PyObject *mine = Py_XNewRef(pause->callback);
    int same = mine == NULL ? 0 : PyObject_RichCompareBool(mine, callback, Py_EQ);
    if (same > 0 && pause->callback == mine) {
        Py_CLEAR(pause->callback);
        Py_CLEAR(pause->context);
    }
    Py_XDECREF(mine);
    return same < 0 ? NULL : PyLong_FromLong(same);
}

static PyMethodDef methods[] = {
    {"cancel", (PyCFunction)(void (*)(void))cancel, METH_VARARGS | METH_KEYWORDS, "As a future's."},
    {"result", result, METH_NOARGS, "As a future's."},
    {"done", done, METH_NOARGS, "As a future's."},
    {"cancelled", cancelled, METH_NOARGS, "As a future's."},
    {"get_loop", get_loop, METH_NOARGS, "As a future's."},
    {"add_done_callback", (PyCFunction)(void (*)(void))add_done_callback, METH_FASTCALL | METH_KEYWORDS, "As a future's."},
    {"remove_done_callback", remove_done_callback, METH_O, "As a future's."},
    {NULL, NULL, 0, NULL},
};

static PyObject *get_blocking(PyObject *self, void *ignored)
{
    (void)ignored;
    return PyBool_FromLong(((struct pause *)self)->blocking);
}

static int set_blocking(PyObject *self, PyObject *value, void *ignored)
{
    (void)ignored;
    int truth = value == NULL ? 0 : PyObject_IsTrue(value);
    ((struct pause *)self)->blocking = (char)(truth > 0);
    return truth < 0 ? -1 : 0;
}

static PyGetSetDef properties[] = {
    {"_asyncio_future_blocking", get_blocking, set_blocking, "See asyncio.isfuture().", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyObject *repr(PyObject *self)
{
    static const char *const names[] = {"pending", "over", "cancelled"};
    return PyUnicode_FromFormat("<peneus wait: %s>", names[((struct pause *)self)->state]);
}

static int traverse(PyObject *self, visitproc visit, void *arg)
{
    struct pause *pause = (struct pause *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(pause->loop);
    Py_VISIT(pause->callback);
    Py_VISIT(pause->context);
    Py_VISIT(pause->message);
    return 0;
}

static int clear(PyObject *self)
{
    struct pause *pause = (struct pause *)self;
    Py_CLEAR(pause->loop);
    Py_CLEAR(pause->callback);
    Py_CLEAR(pause->context);
    Py_CLEAR(pause->message);
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
    {Py_tp_doc, "What a task waits on; see asyncio.isfuture()."},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {Py_tp_repr, repr},
    {Py_tp_traverse, traverse},
    {Py_tp_clear, clear},
    {Py_tp_dealloc, dealloc},
    {0, NULL},
};

PyType_Spec pause_spec = {
    .name = "peneus._core.Pause",
    .basicsize = sizeof(struct pause),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};
