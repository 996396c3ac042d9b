/* peneus._core.Connection: what callbacks, and current_connection, show of an exchange. */
#include "asgi/awaitable.h"
#include "asgi/connection.h"
#include "asgi/kick.h"
#include "base/alloc.h"
#include "server/event.h"

int pyconnection_current_owner(struct state *state, uint64_t *owner)
{
    PyObject *current;
    *owner = 0;
    if (PyContextVar_Get(state->current_connection, NULL, &current) < 0)
        return -1;
    if (current != NULL && Py_IS_TYPE(current, state->connection_type))
        *owner = ((struct pyconnection *)current)->owner;
    Py_XDECREF(current);
    return 0;
}

static PyObject *get_scope(PyObject *self, void *ignored)
{
    (void)ignored;
    return Py_NewRef(((struct pyconnection *)self)->scope);
}

static PyObject *get_task(PyObject *self, void *ignored)
{
    (void)ignored;
    PyObject *task = ((struct pyconnection *)self)->task;
    return Py_NewRef(task == NULL ? Py_None : task);
}

static PyObject *get_protocol(PyObject *self, void *ignored)
{
    (void)ignored;
    struct pyconnection *connection = (struct pyconnection *)self;
    const struct strings *s = &connection->server->state->strings;
    return Py_NewRef(connection->websocket ? s->websocket : s->http);
}

static PyObject *get_state(PyObject *self, void *ignored)
{
    (void)ignored;
    return PyUnicode_FromString(pyconnection_state_name(((struct pyconnection *)self)->state));
}

static PyObject *get_status(PyObject *self, void *ignored)
{
    (void)ignored;
    return PyLong_FromLong(((struct pyconnection *)self)->status);
}

static PyObject *get_sent(PyObject *self, void *ignored)
{
    (void)ignored;
    return PyLong_FromUnsignedLongLong(((struct pyconnection *)self)->sent);
}

static PyObject *get_started(PyObject *self, void *ignored)
{
    (void)ignored;
    return PyFloat_FromDouble(((struct pyconnection *)self)->started);
}

static PyObject *get_owner(PyObject *self, void *ignored)
{
    (void)ignored;
    return PyLong_FromUnsignedLongLong(((struct pyconnection *)self)->owner);
}

static PyObject *get_told(PyObject *self, void *ignored)
{
    (void)ignored;
    return PyBool_FromLong(((struct pyconnection *)self)->told);
}

static PyObject *get_stood_still(PyObject *self, void *ignored)
{
    (void)ignored;
    return PyFloat_FromDouble((double)pyconnection_stood_still((struct pyconnection *)self) * 1e-9);
}

static PyGetSetDef properties[] = {
    {"scope", get_scope, NULL, "The scope, as the application got it.", NULL},
    {"task", get_task, NULL, "The application's task; None where it has none (yet, or any more).", NULL},
    {"protocol", get_protocol, NULL, "'http' or 'websocket'.", NULL},
    {"state", get_state, NULL, "The state of the exchange, by name.", NULL},
    {"status", get_status, NULL, "Status of the response; 0 before there is one.", NULL},
    {"sent", get_sent, NULL, "Bytes of response body that the application has sent.", NULL},
    {"started", get_started, NULL, "time.monotonic() at which the application was called.", NULL},
    {"told", get_told, NULL, "Whether receive() has given the disconnect.", NULL},
    {"stood_still", get_stood_still, NULL, "Seconds that the event loop has stood still since the disconnect came.", NULL},
    {"owner", get_owner, NULL, "Id of its owner in the channel layer.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyObject *group_names(const struct owner_report *report)
{
    PyObject *names = PyList_New((Py_ssize_t)report->name_count);
    for (size_t i = 0; names != NULL && i < report->name_count; i++) {
        PyObject *name = PyUnicode_FromString(report->names[i]);
        if (name == NULL)
            Py_CLEAR(names);
        else
            PyList_SET_ITEM(names, (Py_ssize_t)i, name);
    }
    return names;
}

static PyObject *report_method(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    struct owner_report report = {0};
    if (owner_describe(kick_owners(), ((struct pyconnection *)self)->owner, &report) < 0)
        Py_RETURN_NONE;
    PyObject *names = group_names(&report);
    for (size_t i = 0; i < report.name_count; i++)
        mem_free(report.names[i]);
    if (names == NULL)
        return NULL;
    return Py_BuildValue("{snsnsNsKsKsK}", "channels", (Py_ssize_t)report.channels, "groups", (Py_ssize_t)report.groups,
                         "group_names", names, "queued", (unsigned long long)report.queued, "queued_bytes",
                         (unsigned long long)report.queued_bytes, "dropped", (unsigned long long)report.dropped);
}

static PyMethodDef methods[] = {
    {"report", report_method, METH_NOARGS, "What it holds or held in the channel layers; None where its owner has ended."},
    {NULL, NULL, 0, NULL},
};

static PyObject *repr(PyObject *self)
{
    struct pyconnection *connection = (struct pyconnection *)self;
    return PyUnicode_FromFormat("<peneus connection: %s, %s>", connection->websocket ? "websocket" : "http",
                                pyconnection_state_name(connection->state));
}

static int traverse(PyObject *self, visitproc visit, void *arg)
{
    struct pyconnection *connection = (struct pyconnection *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(connection->server);
    Py_VISIT(connection->scope);
    Py_VISIT(connection->task);
    Py_VISIT(connection->client);
    int result = awaitable_visit_all(&connection->receivers, visit, arg);
    return result != 0 ? result : awaitable_visit_all(&connection->senders, visit, arg);
}

static int clear(PyObject *self)
{
    struct pyconnection *connection = (struct pyconnection *)self;
    Py_CLEAR(connection->scope);
    Py_CLEAR(connection->task);
    return 0;
}

static void dealloc(PyObject *self)
{
    struct pyconnection *connection = (struct pyconnection *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    clear(self);
    list_remove(&connection->turn);
    if (pyconnection_running(connection))
        owner_end(kick_owners(), connection->owner); /* its server was collected while it ran */
    for (struct queue_item *item = connection->inbox.first; item != NULL;) {
        struct event *event = list_entry(item, struct event, item);
        item = item->next;
        event_destroy(event);
    }
    if (connection->disconnect != NULL)
        event_destroy(connection->disconnect);
    if (connection->head != NULL)
        command_destroy(connection->head);
    Py_CLEAR(connection->target);
    Py_CLEAR(connection->client);
    Py_CLEAR(connection->method);
    Py_CLEAR(connection->file);
    Py_CLEAR(connection->server);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot slots[] = {
    {Py_tp_doc, "One exchange: an HTTP request and its response, or a WebSocket."},
    {Py_tp_getset, properties},
    {Py_tp_methods, methods},
    {Py_tp_repr, repr},
    {Py_tp_traverse, traverse},
    {Py_tp_clear, clear},
    {Py_tp_dealloc, dealloc},
    {0, NULL},
};

PyType_Spec pyconnection_spec = {
    .name = "peneus._core.Connection",
    .basicsize = sizeof(struct pyconnection),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};
