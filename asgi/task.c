#include "asgi/task.h"

#include "asgi/access.h"
#include "asgi/delegate.h"
#include "asgi/errors.h"
#include "asgi/kick.h"
#include "asgi/sending.h"

static PyMethodDef receive_method = {"receive", pyconnection_receive, METH_NOARGS, "Awaits the next event of this exchange."};
static PyMethodDef send_method = {"send", sending_new, METH_O, "Sends an event of this exchange."};

/* What the server says for an application that ended without a response of its own. */
enum { STATUS_INTERNAL_ERROR = 500 };

static bool is_fatal(void)
{
    return PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) || PyErr_ExceptionMatches(PyExc_SystemExit);
}

/* The last lines of an exchange that its application leaves before its client does. */
static int log_end(struct pyconnection *connection)
{
    switch (connection->state) {
    case HTTP_REQUEST:
    case HTTP_STARTED:
        connection->status = STATUS_INTERNAL_ERROR;
        return access_complete(connection);
    case HTTP_STREAMING:
    case HTTP_TRAILERS:
        return access_complete(connection);
    case WEBSOCKET_CONNECTING:
    case DENIAL_STARTED:
        connection->status = STATUS_INTERNAL_ERROR;
        return access_rejected(connection);
    case DENIAL_STREAMING:
        return access_rejected(connection);
    case WEBSOCKET_OPEN:
        return access_disconnected(connection);
    case WEBSOCKET_CLOSED:
        return connection->disconnect == NULL ? access_disconnected(connection) : 0;
    default:
        return 0;
    }
}

/* What is missing where the application returned, or was cancelled by somebody else; NULL: nothing. */
static const char *missing(const struct pyconnection *connection)
{
    switch (connection->state) {
    case HTTP_REQUEST:
        return "before it sent a response";
    case HTTP_STARTED:
    case HTTP_STREAMING:
    case HTTP_TRAILERS:
    case DENIAL_STARTED:
    case DENIAL_STREAMING:
        return "before its response was complete";
    case WEBSOCKET_CONNECTING:
        return "before it accepted or closed the WebSocket";
    default:
        return NULL;
    }
}

/* error: what the application raised, or NULL. */
static int end(struct pyconnection *connection, PyObject *error)
{
    struct pyserver *server = connection->server;
    if (!pyconnection_running(connection)) {
        /* It was killed; only what it raises otherwise than by its cancellation is news. */
        if (error == NULL || connection->life != LIFE_KILLED || PyErr_GivenExceptionMatches(error, PyExc_GeneratorExit))
            return 0;
        return callback_call(connection, server->on_error, error, "Exception in Peneus's on_error callback");
    }
    const char *lack = missing(connection); /* of one that was told to end, as the server drains, nothing more is expected */
    int result = 0;
    if (error != NULL)
        result |= callback_call(connection, server->on_error, error, "Exception in Peneus's on_error callback");
    else if (lack != NULL && connection->life != LIFE_CANCELLED && !connection->told)
        result |= callback_fault(connection, PyUnicode_FromFormat("the application ended %s", lack));
    result |= log_end(connection);
    if (pyconnection_running(connection)) /* a callback that runs the loop may have got its kill */
        pyconnection_finish(connection, LIFE_ENDED, error != NULL || lack != NULL);
    return result;
}

/* The exception of a task that is done; NULL where there was none or it was cancelled. */
static PyObject *outcome(struct state *state, PyObject *task)
{
    PyObject *result = PyObject_CallMethodNoArgs(task, state->strings.result);
    Py_XDECREF(result);
    if (result != NULL)
        return NULL;
    PyObject *error = error_take();
    PyObject *cancelled = PyObject_CallMethodNoArgs(task, state->strings.cancelled);
    if (cancelled == Py_True)
        Py_CLEAR(error);
    else if (cancelled == NULL)
        PyErr_WriteUnraisable(task);
    Py_XDECREF(cancelled);
    return error;
}

static int done(struct pyconnection *connection, PyObject *task)
{
    PyObject *error = outcome(connection->server->state, task);
    int result = end(connection, error);
    Py_XDECREF(error);
    Py_CLEAR(connection->task);
    return result;
}

static PyObject *done_callback(PyObject *self, PyObject *task)
{
    if (done((struct pyconnection *)self, task) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef done_method = {"application_done", done_callback, METH_O, NULL};

static int watch(struct pyconnection *connection)
{
    const struct strings *s = &connection->server->state->strings;
    PyObject *task = Py_NewRef(connection->task);
    PyObject *is_done = PyObject_CallMethodNoArgs(task, s->done);
    int result = -1;
    if (is_done == Py_True) {
        result = done(connection, task);
    } else if (is_done != NULL) {
        PyObject *callback = PyCFunction_New(&done_method, (PyObject *)connection);
        PyObject *added = callback == NULL ? NULL : PyObject_CallMethodOneArg(task, s->add_done_callback, callback);
        Py_XDECREF(callback);
        Py_XDECREF(added);
        result = added == NULL ? -1 : 0;
    }
    Py_XDECREF(is_done);
    Py_DECREF(task);
    return result;
}

/* application(scope, receive, send), inside context: a coroutine. */
static PyObject *call(struct pyconnection *connection)
{
    struct pyserver *server = connection->server;
    PyObject *self = (PyObject *)connection;
    PyObject *token = PyContextVar_Set(server->state->current_connection, self);
    PyObject *receive = PyCFunction_New(&receive_method, self);
    PyObject *send = PyCFunction_New(&send_method, self);
    PyObject *result = NULL;
    if (token != NULL && receive != NULL && send != NULL) {
        PyObject *arguments[] = {connection->scope, receive, send};
        result = PyObject_Vectorcall(server->application, arguments, 3, NULL);
    }
    Py_XDECREF(token);
    Py_XDECREF(receive);
    Py_XDECREF(send);
    if (result == NULL || PyCoro_CheckExact(result))
        return result;
    PyObject *coroutine = delegate_new(server->state, result);
    Py_DECREF(result);
    return coroutine;
}

static PyObject *call_in(struct pyconnection *connection, PyObject *context)
{
    if (PyContext_Enter(context) < 0)
        return NULL;
    PyObject *coroutine = call(connection);
    PyObject *error = coroutine == NULL ? error_take() : NULL;
    PyContext_Exit(context);
    if (error != NULL)
        error_set(error);
    return coroutine;
}

/* The application could not be started, or its first step ended the program: an exception is set. */
static int start_failed(struct pyconnection *connection)
{
    bool fatal = is_fatal();
    PyObject *error = error_take();
    if (connection->task != NULL)
        Py_XDECREF(outcome(connection->server->state, connection->task)); /* so that nobody logs it as never retrieved */
    Py_CLEAR(connection->task);
    int result = 0;
    if (pyconnection_running(connection))
        result = end(connection, error);
    if (!fatal || result < 0) {
        Py_DECREF(error);
        return result;
    }
    error_set(error);
    return -1;
}

int task_start(struct pyconnection *connection)
{
    struct pyserver *server = connection->server;
    if (connection->life == LIFE_CANCELLED) {
        pyconnection_finish(connection, LIFE_ENDED, true); /* before it began */
        return 0;
    }
    connection->life = LIFE_RUNNING;
    PyObject *context = PyContext_Copy(server->context);
    PyObject *coroutine = context == NULL ? NULL : call_in(connection, context);
    PyObject *task = NULL;
    int result = coroutine == NULL ? -1 : eager_task(server, coroutine, context, &task);
    connection->task = task;
    if (result == 0)
        result = watch(connection);
    Py_XDECREF(coroutine);
    Py_XDECREF(context);
    return result < 0 ? start_failed(connection) : 0;
}

static int cancel(struct pyconnection *connection)
{
    if (connection->task == NULL)
        return 0;
    PyObject *task = Py_NewRef(connection->task);
    PyObject *cancelled = PyObject_CallMethodNoArgs(task, connection->server->state->strings.cancel);
    Py_XDECREF(cancelled);
    Py_DECREF(task);
    if (cancelled != NULL)
        return 0;
    return error_report(connection->server->state, connection->server->loop,
                        "Exception in the cancellation of an application's task");
}

int task_kill(struct pyconnection *connection)
{
    struct pyserver *server = connection->server;
    server->applications_killed++;
    int result = callback_call(connection, server->on_kill, NULL, "Exception in Peneus's on_kill callback");
    result |= cancel(connection);
    if (pyconnection_running(connection))
        pyconnection_finish(connection, LIFE_KILLED, true);
    return result;
}

int task_cancel(struct pyconnection *connection)
{
    if (pyconnection_running(connection))
        connection->life = LIFE_CANCELLED;
    return cancel(connection);
}
