#include "asgi/eager.h"

#include "asgi/server_type.h"

static int plain_task(struct pyserver *server, PyObject *coroutine, PyObject *context, PyObject **task)
{
    struct state *state = server->state;
#if PY_VERSION_HEX >= 0x030C0000
    PyObject *arguments[] = {coroutine, server->loop, context, Py_True};
    *task = PyObject_Vectorcall(state->task_class, arguments, 1, state->eager_names);
#elif PY_VERSION_HEX >= 0x030B0000
    PyObject *arguments[] = {coroutine, server->loop, context};
    *task = PyObject_Vectorcall(state->task_class, arguments, 1, state->context_names);
#else
    /* Task() copies the context that is current. */
    PyObject *names = PyTuple_Pack(1, state->strings.loop);
    PyObject *arguments[] = {coroutine, server->loop};
    *task = NULL;
    if (names != NULL && PyContext_Enter(context) == 0) {
        *task = PyObject_Vectorcall(state->task_class, arguments, 1, names);
        PyContext_Exit(context);
    }
    Py_XDECREF(names);
#endif
    return *task == NULL ? -1 : 0;
}

#if PY_VERSION_HEX >= 0x030B0000 && PY_VERSION_HEX < 0x030C0000

static PyObject *catch_step(PyObject *self, PyObject *const *arguments, Py_ssize_t count, PyObject *names)
{
    struct pyserver *server = (struct pyserver *)self;
    struct eager *eager = &server->eager;
    if (eager->context != NULL && eager->step == NULL && count == 1 && names != NULL && PyTuple_GET_SIZE(names) == 1 &&
        arguments[1] == eager->context) {
        eager->step = Py_NewRef(arguments[0]);
        Py_RETURN_NONE;
    }
    return PyObject_Vectorcall(server->call_soon, arguments, (size_t)count, names);
}

static PyMethodDef catcher_method = {"call_soon", (PyCFunction)(void (*)(void))catch_step,
                                     METH_FASTCALL | METH_KEYWORDS, NULL};

/* Whether server's loop has a call_soon of its own, beside its class's: somebody's who wants to see each call, at any time. Plain tasks
 * then. A loop without attributes counts as one. -1 with an exception. */
static int is_patched(struct pyserver *server)
{
    PyObject *attributes = PyObject_GenericGetDict(server->loop, NULL);
    if (attributes == NULL) {
        PyErr_Clear();
        return 1;
    }
    int patched = PyDict_Contains(attributes, server->state->strings.call_soon);
    Py_DECREF(attributes);
    return patched;
}

int eager_init(struct pyserver *server)
{
    struct eager *eager = &server->eager;
    PyObject *name = server->state->strings.call_soon;
    int patched = is_patched(server);
    if (patched != 0)
        return patched < 0 ? -1 : 0;
    eager->catcher = PyCFunction_New(&catcher_method, (PyObject *)server);
    if (eager->catcher == NULL)
        return -1;
    if (PyObject_SetAttr(server->loop, name, eager->catcher) < 0) {
        PyErr_Clear(); /* a loop that keeps its attributes to itself: plain tasks */
        return 0;
    }
    eager->usable = true;
    return PyObject_DelAttr(server->loop, name);
}

static int run_step(struct eager *eager, PyObject *context)
{
    PyObject *step = eager->step;
    eager->step = NULL;
    if (step == NULL)
        return 0;
    PyObject *done = NULL;
    if (PyContext_Enter(context) == 0) {
        done = PyObject_CallNoArgs(step);
        /* An exception that is set must survive the exit. */
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        PyContext_Exit(context);
        PyErr_Restore(type, value, traceback);
    }
    Py_DECREF(step);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

int eager_task(struct pyserver *server, PyObject *coroutine, PyObject *context, PyObject **task)
{
    struct eager *eager = &server->eager;
    PyObject *name = server->state->strings.call_soon;
    int patched = eager->usable ? is_patched(server) : 1;
    if (patched > 0)
        return plain_task(server, coroutine, context, task);
    if (patched < 0 || PyObject_SetAttr(server->loop, name, eager->catcher) < 0)
        return -1;
    eager->context = context;
    int made = plain_task(server, coroutine, context, task);
    eager->context = NULL;
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (PyObject_DelAttr(server->loop, name) < 0)
        PyErr_WriteUnraisable(server->loop);
    PyErr_Restore(type, value, traceback);
    if (made < 0) {
        Py_CLEAR(eager->step);
        return -1;
    }
    return run_step(eager, context);
}

#else

int eager_init(struct pyserver *server)
{
    server->eager.usable = PY_VERSION_HEX >= 0x030C0000;
    return 0;
}

int eager_task(struct pyserver *server, PyObject *coroutine, PyObject *context, PyObject **task)
{
    return plain_task(server, coroutine, context, task);
}

#endif
